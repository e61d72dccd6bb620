"""One request across nodes becomes one picture, on one clock, beside its plan."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from edgesplit.control.inquiry_messages import NodeTrace, PeerClock, StepKind, TracedStep
from edgesplit.operations.inspection.trace_operation import TraceDocument
from edgesplit.planning.goals import Goals
from edgesplit.planning.plan import Assignment, Evaluation, TimelineEntry
from edgesplit.planning.problem import Problem
from edgesplit_controller.answering.inspection.trace_document import trace_document
from edgesplit_controller.storage.deployment_state import PlanRecord
from edgesplit_controller.storage.rollout_state import Epoch

AHEAD_S = 5000.0
"""The cloud's clock, of the device's. [s]"""
TIMELINE = (
    TimelineEntry(kind="compute", start_s=0.0, end_s=0.1, node="device", component=0),
    TimelineEntry(kind="encode", start_s=0.1, end_s=0.11, node="device", tensor="x"),
    TimelineEntry(kind="transfer", start_s=0.11, end_s=0.2, source="device", target="cloud", tensor="x"),
    TimelineEntry(kind="decode", start_s=0.2, end_s=0.21, node="cloud", tensor="x"),
    TimelineEntry(kind="compute", start_s=0.21, end_s=0.3, node="cloud", component=1),
    TimelineEntry(kind="transfer", start_s=0.3, end_s=0.35, source="cloud", target="device", tensor="y"),
)


def plan(**changes: object) -> PlanRecord:
    evaluation = Evaluation(
        latency_s=0.35,
        timeline_s=0.35,
        energy_j=1.0,
        device_energy_j=1.0,
        noise=0.0,
        memory_bytes={},
        violations=(),
        components=(),
        timeline=TIMELINE,
    )
    problem = Problem(model="yolo", source="device", nodes=(), links=(), operators=(), tensors=())
    record = PlanRecord(
        epoch=Epoch(number=7, source="device", participants=("device", "cloud")),
        sha256="",
        specs={},
        problem=problem,
        assignment=Assignment({}),
        evaluation=evaluation,
        status="optimal",
        score=0.0,
        gap=0.0,
        solve_s=0.0,
        reason="",
        goals=Goals(),
    )
    return msgspec.structs.replace(record, **changes)


def step(kind: StepKind, start_s: float, end_s: float | None = None, **fields: object) -> TracedStep:
    made = TracedStep(kind=kind, start_s=start_s, end_s=start_s if end_s is None else end_s, on_epoch=7)
    return msgspec.structs.replace(made, **fields)


DEVICE = NodeTrace(
    request="r1",
    began_s=100.0,
    ended_s=100.4,
    now_s=101.0,
    steps=(
        step("compute", 100.0, 100.12, component=0),
        step("encode", 100.12, 100.13, tensors=("x",)),
        step("send", 100.13, tensors=("x",), peer="cloud", nbytes=1000),
        step("arrive", 100.4, tensors=("y@int8",), peer="cloud", nbytes=10),
    ),
    clocks=(PeerClock(peer="cloud", ahead_least_s=AHEAD_S - 0.002, ahead_most_s=AHEAD_S + 0.004),),
)
CLOUD = NodeTrace(
    request="r1",
    now_s=AHEAD_S + 101.0,
    steps=(
        step("arrive", AHEAD_S + 100.2, tensors=("x",), nbytes=1000),
        step("decode", AHEAD_S + 100.2, AHEAD_S + 100.21, tensors=("x",)),
        step("arrive", AHEAD_S + 100.21, tensors=("x",), peer="device", nbytes=4000),
        step("compute", AHEAD_S + 100.25, AHEAD_S + 100.33, component=1, waited_s=0.04),
        step("send", AHEAD_S + 100.34, tensors=("y@int8",), peer="device", nbytes=10),
    ),
)


def document(traces: Mapping[str, NodeTrace], **options: object) -> TraceDocument:
    arguments = {"missing": {}, "plans": {7: plan()}, "now_unix_s": 1000.0} | options
    return trace_document("yolo", "device", traces, **arguments)  # type: ignore[arg-type]


def test_steps_of_both_nodes_stand_on_one_clock_beside_the_plan() -> None:
    told = document({"device": DEVICE, "cloud": CLOUD})
    assert (told.request, told.epoch, told.predicted_latency_s) == ("r1", 7, 0.35)
    assert told.latency_s == pytest.approx(0.4)
    assert told.began_unix_s == pytest.approx(999.0)
    (clock,) = told.clocks
    assert clock.by == "links"
    assert clock.uncertain_s is not None
    assert abs(clock.ahead_s - AHEAD_S) <= clock.uncertain_s <= 0.0031
    off_s = 0.002
    seen = [(one.kind, one.node or f"{one.from_}:{one.to}", one.start_s, one.end_s) for one in told.steps]
    assert [(kind, where) for kind, where, *_ in seen] == [
        ("compute", "device"),
        ("encode", "device"),
        ("transfer", "device:cloud"),
        ("decode", "cloud"),
        ("compute", "cloud"),
        ("transfer", "cloud:device"),
    ]
    assert [start for *_, start, _ in seen] == pytest.approx([0.0, 0.12, 0.13, 0.2, 0.25, 0.34], abs=off_s)
    # The coded tensor had arrived when it began to be restored, not once it was.
    assert [end for *_, end in seen] == pytest.approx([0.12, 0.13, 0.2, 0.21, 0.33, 0.4], abs=off_s)
    foreseen = [(one.predicted_start_s, one.predicted_end_s) for one in told.steps]
    # The plan knows the tensor by its own name, whatever a quantized operator's output is called on the wire.
    assert foreseen == [(0.0, 0.1), (0.1, 0.11), (0.11, 0.2), (0.2, 0.21), (0.21, 0.3), (0.3, 0.35)]
    assert told.steps[4].waited_s == 0.04
    assert told.predicted == TIMELINE


def test_pings_that_contradict_the_request_are_not_believed() -> None:
    lying = PeerClock(peer="cloud", ahead_least_s=AHEAD_S + 30.0, ahead_most_s=AHEAD_S + 30.001)
    told = document({"device": msgspec.structs.replace(DEVICE, clocks=(lying,)), "cloud": CLOUD})
    (clock,) = told.clocks
    assert clock.by == "order"
    assert clock.uncertain_s is not None
    assert abs(clock.ahead_s - AHEAD_S) <= clock.uncertain_s
    assert all(one.end_s >= one.start_s for one in told.steps)


def test_a_node_that_tells_nothing_is_named_and_the_rest_is_shown() -> None:
    told = document({"device": DEVICE}, missing={"cloud": "it is offline"})
    assert [(gap.node, gap.reason) for gap in told.missing] == [("cloud", "it is offline")]
    assert [one.kind for one in told.steps] == ["compute", "encode"]
    assert told.clocks == ()


def test_a_node_without_a_common_moment_is_left_out_with_the_reason() -> None:
    alone = msgspec.structs.replace(CLOUD, steps=(step("compute", 7.0, 8.0, component=1),))
    told = document({"device": msgspec.structs.replace(DEVICE, clocks=()), "cloud": alone})
    assert [one.node for one in told.steps] == ["device", "device"]
    assert "cannot be compared" in told.missing[0].reason


def test_old_pings_bound_less() -> None:
    late = msgspec.structs.replace(DEVICE, now_s=DEVICE.now_s + 100.0)
    (clock,) = document({"device": late, "cloud": CLOUD}).clocks
    assert clock.uncertain_s == pytest.approx(0.003 + 1e-4 * 100.6, rel=1e-3)


def test_of_a_plan_that_is_forgotten_nothing_is_predicted() -> None:
    told = document({"device": DEVICE, "cloud": CLOUD}, plans={})
    assert told.predicted_latency_s is None
    assert told.predicted == ()
    assert all(one.predicted_start_s is None for one in told.steps)
