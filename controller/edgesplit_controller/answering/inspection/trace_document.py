"""Trace document: one request across nodes, on one clock, beside what its plan predicts.

Owns: how nodes' answers become one picture. Its rule: pure; a node's times are shifted, never stretched, and a step that cannot be placed is
left out. Not here: asking nodes (`inquiries.py`), the arithmetic of clocks (`clock_alignment.py`).

Between two nodes there are two kinds of bounds on how much their clocks differ: pings (less than a round trip apart; old ones are widened by
how far clocks may drift since), and the request itself, of which nothing arrived before it was sent. Where they
contradict each other, as after a clock's machine slept, the request's own order alone holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from edgesplit.control.inquiry_messages import NodeTrace, StepKind, TracedStep
from edgesplit.operations.inspection.trace_operation import TraceClock, TraceDocument, TraceGap, TraceStep
from edgesplit.planning.plan import TimelineEntry
from edgesplit_controller.answering.inspection.clock_alignment import Alignment, ClockBound, align
from edgesplit_controller.storage.deployment_state import PlanRecord

__all__ = ["trace_document"]

IN_INTEGERS = "@int8"
"""What the name of a quantized operator's output ends in on the wire."""
_AT_ONE_NODE: Mapping[StepKind, Literal["compute", "encode", "decode"]] = {
    "compute": "compute",
    "encode": "encode",
    "decode": "decode",
}
"""Kinds of steps that happen at one node; the others are the two ends of a transfer."""
DRIFT = 1e-4
"""Clocks of machines drift apart by less: 50 parts per million each. [1]"""


def trace_document(
    model: str,
    source: str,
    traces: Mapping[str, NodeTrace],
    *,
    missing: Mapping[str, str],
    plans: Mapping[int, PlanRecord],
    now_unix_s: float,
) -> TraceDocument:
    """`splitctl trace`.

    Args:
        model: Name of the deployment.
        source: The node that answered the request.
        traces: Node to what it knows of the request; the source's with when it began and ended.
        missing: Node to why it tells nothing.
        plans: Epoch to plan, of those that are still known.
        now_unix_s: When the source's trace came. [s since the epoch]
    """
    at_source = traces[source]
    began_s, ended_s = at_source.began_s or 0.0, at_source.ended_s or 0.0
    age_s = max(at_source.now_s - ended_s, 0.0)
    aligned, by = _aligned(source, traces, age_s)
    gaps = dict(missing)
    for node in traces.keys() - aligned.keys():
        gaps[node] = "its clock cannot be compared with the source's: neither pings nor tensors connect them"
    placed = {node: traces[node] for node in traces if node in aligned}
    zeros_s = {node: began_s + aligned[node].ahead_s for node in placed}
    epoch = min((step.on_epoch for step in at_source.steps), default=0)
    steps = sorted(_steps(placed, zeros_s), key=lambda step: (step.start_s, step.end_s))
    plan = plans.get(epoch)
    return TraceDocument(
        model=model,
        request=at_source.request,
        source=source,
        epoch=epoch,
        began_unix_s=now_unix_s - (at_source.now_s - began_s),
        latency_s=ended_s - began_s,
        predicted_latency_s=None if plan is None else plan.evaluation.timeline_s,
        steps=tuple(_beside(step, plans) for step in steps),
        predicted=() if plan is None else plan.evaluation.timeline,
        clocks=tuple(
            TraceClock(node=node, ahead_s=found.ahead_s, uncertain_s=found.uncertain_s, by=by)
            for node, found in sorted(aligned.items())
            if node != source and node in traces
        ),
        missing=tuple(TraceGap(node=node, reason=reason) for node, reason in sorted(gaps.items())),
    )


def _aligned(
    source: str, traces: Mapping[str, NodeTrace], age_s: float
) -> tuple[dict[str, Alignment], Literal["links", "order"]]:
    """How clocks differ from the source's, and by what that is known."""
    order = list(_order(traces))
    found = align(source, [*order, *_pings(traces, age_s)])
    if found is not None:
        return found, "links"
    return align(source, order) or {source: Alignment(0.0, 0.0)}, "order"


def _pings(traces: Mapping[str, NodeTrace], age_s: float) -> Iterator[ClockBound]:
    """What nodes' pings say of their peers' clocks, as they were when the request was answered."""
    drift_s = DRIFT * age_s
    for node, trace in traces.items():
        for clock in trace.clocks:
            yield ClockBound(node, clock.peer, clock.ahead_most_s + drift_s)
            yield ClockBound(clock.peer, node, drift_s - clock.ahead_least_s)


def _order(traces: Mapping[str, NodeTrace]) -> Iterator[ClockBound]:
    """Nothing arrives before it was sent."""
    for node, sent, arrived in _deliveries(traces):
        yield ClockBound(node, sent.peer, arrived.start_s - sent.start_s)


def _deliveries(traces: Mapping[str, NodeTrace]) -> Iterator[tuple[str, TracedStep, TracedStep]]:
    """Sending node, what it sent, and its arrival; what did not arrive, or where nobody tells, is left out."""
    arrivals: dict[tuple[str, int, str], TracedStep] = {}
    for node, trace in traces.items():
        for step in trace.steps:
            if step.kind == "arrive":
                for tensor in step.tensors:
                    key = node, step.on_epoch, tensor
                    # Coded tensors arrive, and once more when they are restored: the first counts.
                    if key not in arrivals or step.start_s < arrivals[key].start_s:
                        arrivals[key] = step
    for node, trace in traces.items():
        for step in trace.steps:
            if step.kind == "send" and step.tensors:
                arrived = arrivals.get((step.peer, step.on_epoch, step.tensors[0]))
                if arrived is not None:
                    yield node, step, arrived


def _steps(traces: Mapping[str, NodeTrace], zeros_s: Mapping[str, float]) -> Iterator[TraceStep]:
    """All steps, since the request came; `zeros_s` are the nodes' own clocks at that moment. [s]"""
    for node, trace in traces.items():
        for step in trace.steps:
            kind = _AT_ONE_NODE.get(step.kind)
            if kind is None:
                continue
            yield TraceStep(
                kind=kind,
                node=node,
                epoch=step.on_epoch,
                component=step.component,
                tensors=step.tensors,
                waited_s=step.waited_s,
                start_s=step.start_s - zeros_s[node],
                end_s=step.end_s - zeros_s[node],
            )
    for node, sent, arrived in _deliveries(traces):
        yield TraceStep(
            kind="transfer",
            node=None,
            from_=node,
            to=sent.peer,
            epoch=sent.on_epoch,
            tensors=sent.tensors,
            nbytes=sent.nbytes,
            start_s=sent.start_s - zeros_s[node],
            end_s=arrived.start_s - zeros_s[sent.peer],
        )


def _beside(step: TraceStep, plans: Mapping[int, PlanRecord]) -> TraceStep:
    """With when the plan has it: a frame of several tensors from the first one's start to the last one's end."""
    plan = plans.get(step.epoch)
    entries = [] if plan is None else [entry for entry in _comparable(plan) if _is_same(entry, step)]
    if not entries:
        return step
    return msgspec.structs.replace(
        step,
        predicted_start_s=min(entry.start_s for entry in entries),
        predicted_end_s=max(entry.end_s for entry in entries),
    )


def _comparable(plan: PlanRecord) -> Sequence[TimelineEntry]:
    """The plan's timeline, without components where later figures group operators in another way than they were cut."""
    cut = plan.components or plan.evaluation.components
    same = [part.operators for part in cut] == [part.operators for part in plan.evaluation.components]
    return [entry for entry in plan.evaluation.timeline if same or entry.kind != "compute"]


def _is_same(entry: TimelineEntry, step: TraceStep) -> bool:
    if entry.kind != step.kind:
        return False
    if entry.kind == "compute":
        return (entry.node, entry.component) == (step.node, step.component)
    where = (
        (entry.source, entry.target) == (step.from_, step.to) if entry.kind == "transfer" else entry.node == step.node
    )
    return where and entry.tensor in {name.removesuffix(IN_INTEGERS) for name in step.tensors}
