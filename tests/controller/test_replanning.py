"""When the controller plans again, and when it switches."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgesplit.plan import Assignment, Ranges
from edgesplit.problem import Link, Node, Objective, Operator, Problem
from edgesplit_controller.deployment.replanning import Decision, Figures, NodeFigures, Thresholds, decide, reasons
from edgesplit_controller.planner import evaluate

THRESHOLDS = Thresholds()
NODE = NodeFigures(3.0, 1.0, None, (0.01, 0.02), (0.01,))


def figures(bandwidth: float = 1e6, latency_s: float = 0.01, **nodes: NodeFigures) -> Figures:
    return Figures({"a": NODE, "b": NODE} | nodes, {("a", "b"): (bandwidth, latency_s)})


@pytest.mark.parametrize(
    ("now", "kinds"),
    [
        (figures(), []),
        (figures(bandwidth=1.19e6), []),
        (figures(bandwidth=0.81e6, latency_s=0.0119), []),
        (figures(bandwidth=1.3e6), ["link-changed"]),
        (figures(bandwidth=0.1e6), ["link-changed"]),
        (figures(latency_s=0.02), ["link-changed"]),
        (Figures({"a": NODE, "b": NODE}, {}), ["link-lost"]),
        (Figures({"a": NODE}, {}), ["node-left"]),
        (figures(c=NODE), ["node-joined"]),
        (figures(b=replace(NODE, times_s=(0.011, 0.022))), []),
        (figures(b=replace(NODE, times_s=(0.02, 0.04))), ["profile-changed"]),
        (figures(b=replace(NODE, times_s=(0.02, 0.01))), ["profile-changed"]),
        (figures(b=replace(NODE, int8_times_s=(0.005,))), ["profile-changed"]),
        (figures(b=replace(NODE, int8_times_s=())), ["profile-changed"]),
        (figures(b=replace(NODE, compute_w=6.0)), ["power-changed"]),
        (figures(b=replace(NODE, memory_bytes=100.0)), ["memory-changed"]),
    ],
)
def test_only_changes_beyond_the_threshold_are_reasons(now: Figures, kinds: list[str]) -> None:
    assert [reason.kind for reason in reasons(figures(), now, THRESHOLDS)] == kinds


def test_a_link_that_comes_up_and_tiny_latencies() -> None:
    assert [reason.kind for reason in reasons(Figures({"a": NODE, "b": NODE}), figures(), THRESHOLDS)] == [
        "link-appeared"
    ]
    assert reasons(figures(latency_s=0.0001), figures(latency_s=0.0004), THRESHOLDS) == ()


def test_a_links_delay_is_news_only_beside_what_the_plan_takes() -> None:
    slower = figures(latency_s=0.014)
    assert [reason.kind for reason in reasons(figures(), slower, THRESHOLDS, plan_s=0.3)] == ["link-changed"]
    assert reasons(figures(), slower, THRESHOLDS, plan_s=0.5) == ()


def problem(edge_s: float, max_noise: float | None = None) -> Problem:
    made = Problem(
        model="m",
        source="device",
        nodes=(
            Node(name="device", compute_power_w=3.0, transmit_power_w=1.0),
            Node(name="edge", compute_power_w=3.0, transmit_power_w=1.0),
        ),
        links=(
            Link(source="device", target="edge", bandwidth_bytes_per_s=1e9, latency_s=0.0),
            Link(source="edge", target="device", bandwidth_bytes_per_s=1e9, latency_s=0.0),
        ),
        operators=(Operator(name="op", time_s={"device": 1.0, "edge": edge_s}, weight_bytes=100.0),),
        tensors=(),
        objective=Objective(latency_weight=1.0),
    )
    made.validate()
    return made


def weigh(edge_s: float, forced: str = "") -> Decision:
    stated = problem(edge_s)
    here, there = Assignment({"op": "device"}), Assignment({"op": "edge"})
    return decide(
        evaluate(stated, here),
        evaluate(stated, there),
        stated,
        Ranges(best_latency_s=edge_s),
        assignments=(here, there),
        forced=forced,
        thresholds=THRESHOLDS,
    )


def test_small_gains_do_not_justify_a_switch_and_large_ones_do() -> None:
    assert not weigh(0.97).adopt
    assert "less than the 5%" in weigh(0.97).text
    assert weigh(0.9).adopt
    assert weigh(0.9).data["gain"] == pytest.approx(0.1)
    assert weigh(0.9).data["switch_cost_bytes"] == 100.0


def test_goals_switch_without_hysteresis_but_not_for_nothing() -> None:
    assert weigh(0.97, forced="goals were set").adopt
    assert not weigh(1.0, forced="goals were set").adopt


def test_a_plan_that_cannot_run_any_more_is_always_replaced() -> None:
    stated = problem(2.0)
    there = Assignment({"op": "edge"})
    new = evaluate(stated, there)
    decision = decide(None, new, stated, Ranges(), assignments=(None, there), forced="", thresholds=THRESHOLDS)
    assert decision.adopt


def test_the_same_assignment_is_never_a_switch() -> None:
    stated = problem(0.5)
    there = Assignment({"op": "edge"})
    both = evaluate(stated, there)
    decision = decide(both, both, stated, Ranges(), assignments=(there, there), forced="goals", thresholds=THRESHOLDS)
    assert (decision.adopt, decision.same) == (False, True)
