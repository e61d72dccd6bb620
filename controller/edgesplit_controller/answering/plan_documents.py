"""Plan document, from what the controller knows: predicted beside measured.

Owns: their building. Its rule: pure; figures are passed on, never invented: what is unknown is None. Not here: the
types (`edgesplit.operations.plan_operations`), handling requests (`plan_answers.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import msgspec

from edgesplit.control.figure_messages import Usage
from edgesplit.operations.goal_operations import PinRow
from edgesplit.operations.plan_operations import (
    ComponentRow,
    DeclinedDocument,
    FallbackRow,
    MeasuredDocument,
    MeasuredNoise,
    MeasuredShare,
    PlanDocument,
    SourceRow,
)
from edgesplit.operations.plan_summary import PlanSummary
from edgesplit.operations.study_operations import PlacedNetwork
from edgesplit.operations.waiting_document import WaitingDocument, WaitingRow
from edgesplit.planning.battery_allowance import BatteryAllowance
from edgesplit.planning.goals import PinRule
from edgesplit.planning.origins import Origin, weakest
from edgesplit.planning.plan import Assignment, Component, Evaluation, per_node
from edgesplit.planning.problem import Problem
from edgesplit.planning.spreads import PredictionInterval
from edgesplit_controller.answering.serving.energy_report import energy_rows
from edgesplit_controller.deciding.changes.declined import Declined
from edgesplit_controller.deciding.noise_guard import NoiseFinding
from edgesplit_controller.fleet.node_speeds import Speeds
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.planner import evaluate
from edgesplit_controller.planner.studies.together import jain_index
from edgesplit_controller.planner.studies.waiting.loaded_latency import COVERED, ExpectedWaiting
from edgesplit_controller.stating.pinning import reach
from edgesplit_controller.storage.deployment_state import DeploymentState, PlanRecord

__all__ = [
    "declined_document",
    "fallback_rows",
    "measured_document",
    "measured_noise",
    "pin_rows",
    "placed_network",
    "plan_document",
    "plan_summary",
    "source_row",
]


def plan_document(
    plan: PlanRecord,
    usage: Sequence[Usage],
    serving: int | None,
    *,
    speeds: Speeds,
    pins: tuple[PinRow, ...] = (),
    fallbacks: Mapping[str, FallbackRow] | None = None,
    battery: BatteryAllowance | None = None,
    noise: MeasuredNoise | None = None,
    declined: Declined | None = None,
    sources: tuple[SourceRow, ...] = (),
    served_per_s: float | None = None,
    waiting: ExpectedWaiting,
    paused_unix_s: float | None = None,
) -> PlanDocument:
    """`splitctl plan`."""
    evaluation, assignment = plan.evaluation, plan.assignment
    model = plan.problem.model
    rows = {node.name: speeds.row(node.name, model) for node in plan.problem.nodes}
    return PlanDocument(
        model=model,
        epoch=plan.epoch.number,
        status=plan.status,
        latency_s=evaluation.timeline_s,
        energy_j=evaluation.energy_j,
        device_energy_j=evaluation.device_energy_j,
        noise=evaluation.noise,
        score=plan.score,
        gap=plan.gap,
        per_node=per_node(plan.problem, assignment, evaluation),
        components=_component_rows(plan, speeds),
        quantized=tuple(sorted(assignment.quantized)),
        codecs=dict(assignment.codecs),
        timeline=evaluation.timeline,
        solve_s=plan.solve_s,
        reason=plan.reason,
        source=plan.epoch.source,
        goals=plan.goals,
        measured=msgspec.structs.replace(
            measured_document(usage, plan.epoch.source),
            noise=noise if noise is not None else MeasuredNoise(),
            requests_per_s=served_per_s,
        ),
        serving=serving,
        pins=pins,
        forbidden=plan.goals.forbidden,
        on=plan.goals.on,
        candidates=tuple(node.name for node in plan.problem.nodes),
        fallbacks=dict(fallbacks or {}),
        battery=battery,
        energy_per_node=energy_rows(plan, usage),
        speeds={node: row for node, row in rows.items() if row is not None},
        declined=DeclinedDocument() if declined is None else declined_document(declined),
        latency_interval_s=plan.latency_interval_s,
        energy_interval_j=plan.energy_interval_j,
        fixed=plan.fixed,
        sources=sources,
        rate_hz=evaluation.rate_hz,
        bottleneck=evaluation.bottleneck,
        concession=plan.concession,
        waiting_s=_finite(waiting.covered_s),
        loaded_latency_s=_finite(evaluation.timeline_s + waiting.covered_s),
        waiting=_waiting_document(waiting),
        fairness=_fairness(sources),
        paused_unix_s=paused_unix_s,
    )


def _waiting_document(waiting: ExpectedWaiting) -> WaitingDocument:
    places = {
        resource if isinstance(resource, str) else ":".join(resource): WaitingRow(
            load=place.load, mean_s=_finite(place.mean_s)
        )
        for resource, place in waiting.places.items()
    }
    return WaitingDocument(
        origin="modelled",
        covered=COVERED,
        share=waiting.share,
        mean_s=_finite(waiting.mean_s),
        worst_s=_finite(waiting.worst_s),
        places=places,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _fairness(rows: Sequence[SourceRow]) -> float | None:
    """How evenly the sources of a model are slowed; None where there is nothing to compare."""
    slow_downs = [
        row.measured_latency_s / row.latency_s
        for row in rows
        if row.measured_latency_s is not None and row.latency_s > 0
    ]
    return jain_index(slow_downs) if len(slow_downs) > 1 else None


def source_row(name: str, plan: PlanRecord, usage: Sequence[Usage]) -> SourceRow:
    """What serves at one source, by the name of its deployment, and what its plan's requests took."""
    return SourceRow(
        source=plan.epoch.source,
        name=name,
        epoch=plan.epoch.number,
        latency_s=plan.evaluation.timeline_s,
        energy_j=plan.evaluation.energy_j,
        nodes=plan.epoch.participants,
        measured_latency_s=measured_document(usage, plan.epoch.source).latency_s,
    )


def plan_summary(
    problem: Problem,
    status: str,
    assignment: Assignment,
    evaluation: Evaluation,
    interval: PredictionInterval | None,
    *,
    waiting: ExpectedWaiting | None = None,
) -> PlanSummary:
    """A plan in figures, under a problem that need not be that of its making; `waiting` where it was looked at."""
    return PlanSummary(
        status=status,
        latency_s=evaluation.timeline_s,
        energy_j=evaluation.energy_j,
        device_energy_j=evaluation.device_energy_j,
        noise=evaluation.noise,
        per_node=per_node(problem, assignment, evaluation),
        quantized=tuple(sorted(assignment.quantized)),
        broken=evaluation.violations,
        latency_interval_s=interval.latency_s if interval is not None else None,
        energy_interval_j=interval.energy_j if interval is not None else None,
        rate_hz=evaluation.rate_hz,
        bottleneck=evaluation.bottleneck,
        loaded_latency_s=None if waiting is None else _finite(evaluation.timeline_s + waiting.covered_s),
    )


def _component_rows(plan: PlanRecord, speeds: Speeds) -> tuple[ComponentRow, ...]:
    """Components as they were cut, with what is expected and what was measured of each."""
    graphs = {
        (node, part.component): part.graph.digest for node, spec in plan.specs.items() for part in spec.components
    }
    expected_s = _expected_s(plan.evaluation)
    cut = plan.components or plan.evaluation.components
    comparable = [part.operators for part in cut] == [part.operators for part in plan.evaluation.components]
    rows: list[ComponentRow] = []
    for part in cut:
        timing = speeds.timing(part.node, plan.problem.model, graphs.get((part.node, part.id), ""))
        measured_s = timing.recent_s if timing is not None else None
        rows.append(_component_row(part, expected_s.get(part.id) if comparable else None, measured_s))
    return tuple(rows)


def _component_row(part: Component, predicted_s: float | None, measured_s: float | None = None) -> ComponentRow:
    return ComponentRow(
        id=part.id,
        node=part.node,
        operators=part.operators,
        inputs=part.inputs,
        outputs=part.outputs,
        predicted_s=predicted_s,
        measured_s=measured_s,
    )


def placed_network(source: str, assignment: Assignment, evaluation: Evaluation) -> PlacedNetwork:
    """Where the parts of a plan that might be would run."""
    expected_s = _expected_s(evaluation)
    return PlacedNetwork(
        source=source,
        components=tuple(_component_row(part, expected_s.get(part.id)) for part in evaluation.components),
        quantized=tuple(sorted(assignment.quantized)),
        codecs=dict(assignment.codecs),
        timeline=evaluation.timeline,
    )


def _expected_s(evaluation: Evaluation) -> dict[int, float]:
    """What each component is predicted to compute, by its number. [s]"""
    expected_s: dict[int, float] = {}
    for entry in evaluation.timeline:
        if entry.kind == "compute" and entry.component is not None:
            expected_s[entry.component] = expected_s.get(entry.component, 0.0) + entry.end_s - entry.start_s
    return expected_s


def fallback_rows(
    deployment: DeploymentState,
    plan: PlanRecord,
    is_prepared: Callable[[str, int], bool],
    interval_of: Callable[[Assignment, Evaluation], PredictionInterval | None],
) -> dict[str, FallbackRow]:
    """What takes over for each node of a plan that could vanish; a node without an answer is left out.

    Args:
        deployment: Of the model; `plan` is its active one.
        plan: The plan.
        is_prepared: Whether a node says that it has an epoch ready.
        interval_of: How sure another assignment's figures are under the plan's problem.
    """
    rows: dict[str, FallbackRow] = {}
    source, local = plan.epoch.source, plan.epoch.local_fallback
    if local is not None:
        alone = _local_row(plan, local, interval_of, prepared=is_prepared(source, local))
        rows = {node: alone for node in plan.epoch.participants if node != source}
    for fallback in deployment.rollout.fallbacks:
        made = deployment.fallbacks[fallback.number]
        row = FallbackRow(
            epoch=fallback.number,
            latency_s=made.latency_s,
            energy_j=made.energy_j,
            noise=made.noise,
            per_node=made.per_node,
            prepared=fallback.ready,
            latency_interval_s=made.latency_interval_s,
            energy_interval_j=made.energy_interval_j,
        )
        rows |= dict.fromkeys(fallback.lost, row)
    return rows


def _local_row(
    plan: PlanRecord,
    epoch: int,
    interval_of: Callable[[Assignment, Evaluation], PredictionInterval | None],
    *,
    prepared: bool,
) -> FallbackRow:
    """Everything in float on the source."""
    assignment = Assignment({operator.name: plan.epoch.source for operator in plan.problem.operators})
    evaluation = evaluate(plan.problem, assignment)
    interval = interval_of(assignment, evaluation)
    return FallbackRow(
        epoch=epoch,
        latency_s=evaluation.timeline_s,
        energy_j=evaluation.energy_j,
        noise=evaluation.noise,
        per_node=per_node(plan.problem, assignment, evaluation),
        prepared=prepared,
        latency_interval_s=interval.latency_s if interval is not None else None,
        energy_interval_j=interval.energy_j if interval is not None else None,
    )


def measured_document(usage: Sequence[Usage], source: str) -> MeasuredDocument:
    """Means per request over all nodes that took part.

    Args:
        usage: One entry a node, of the same epoch.
        source: Counts requests and latency.
    """
    at_source = next((entry for entry in usage if entry.node == source), None)
    if at_source is None or at_source.requests == 0:
        failed = at_source.failed if at_source is not None else 0
        return MeasuredDocument(
            requests=0, failed=failed, latency_s=None, energy_j=None, device_energy_j=None, energy_origin=None
        )
    # Each node counts since it prepared the epoch, and reports at its own moment: per-node means are comparable.
    energy_j = sum(entry.energy_j / entry.requests for entry in usage if entry.requests > 0)
    origins: list[Origin] = [entry.energy_origin for entry in usage if entry.requests > 0]
    return MeasuredDocument(
        requests=at_source.requests,
        failed=at_source.failed,
        latency_s=at_source.latency_sum_s / at_source.requests,
        energy_j=energy_j,
        device_energy_j=at_source.energy_j / at_source.requests,
        energy_origin=weakest(origins),
        per_node={entry.node: _share(entry) for entry in usage if entry.requests > 0},
        unplanned=at_source.unplanned,
    )


def _share(entry: Usage) -> MeasuredShare:
    """Means per request of one node."""
    requests = entry.requests
    return MeasuredShare(
        requests=requests,
        compute_s=max(entry.compute_s - entry.coding_s, 0.0) / requests,
        coding_s=entry.coding_s / requests,
        transmit_s=entry.transmit_s / requests,
        waiting_s=entry.waiting_s / requests,
        handling_s=entry.handling_s / requests,
    )


def declined_document(declined: Declined) -> DeclinedDocument:
    """Plans of a model that were made again and declined."""
    return DeclinedDocument(
        count=declined.count,
        since_unix_s=declined.since_unix_s,
        last_unix_s=declined.last_unix_s,
        last_reason=declined.last_reason,
    )


def measured_noise(finding: NoiseFinding) -> MeasuredNoise:
    """What checks of served requests found."""
    report = finding.report
    if report is None or report.samples == 0:
        return MeasuredNoise(note=finding.note)
    return MeasuredNoise(
        samples=report.samples,
        mean=report.mean,
        max=report.max,
        last=report.last,
        deviation=report.deviation,
        measure=report.measure,
        exceeds=finding.breaks_bound,
        note=finding.note,
    )


def pin_rows(graph: ModelGraph, rules: Sequence[PinRule], source: str | None) -> tuple[PinRow, ...]:
    """Pins and what they reach.

    Args:
        graph: The model.
        rules: The pins.
        source: Stands in where a pin names no node; None while there is none.
    """
    reached = [reach(graph, rule, source) for rule in rules]
    return tuple(
        PinRow(select=pin.selector, nodes=pin.nodes, operators=pin.operators, units=pin.units, also=pin.also)
        for pin in reached
    )
