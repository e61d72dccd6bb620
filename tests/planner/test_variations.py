"""Changed problems: valid, changed in one thing only, and refused in one sentence."""

from __future__ import annotations

import msgspec
import pytest

from edgesplit.errors import EdgesplitError, InvalidInput, PlanInfeasible, UnknownNode
from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import CodecOption, Constraints, Link, Node, Operator, Problem, Tensor
from edgesplit_controller.planner import evaluate, solve
from edgesplit_controller.planner.studies.variations import fallbacks, moved_off, with_link, without_node
from tests.planner.brute_force import random_problem


def three_nodes(pins: dict[str, tuple[str, ...]] | None = None) -> Problem:
    nodes = ("device", "edge", "cloud")
    time_s = {"device": 4.0, "edge": 1.0, "cloud": 0.5}
    codec = CodecOption(name="fp16", bytes=5.0, encode_s=dict.fromkeys(nodes, 0.1), decode_s=dict.fromkeys(nodes, 0.1))
    return Problem(
        model="m",
        source="device",
        nodes=tuple(Node(name=n, compute_power_w=1.0, transmit_power_w=1.0) for n in nodes),
        links=tuple(
            Link(source=a, target=b, bandwidth_bytes_per_s=10.0, latency_s=0.1)
            for a, b in (("device", "edge"), ("edge", "device"), ("device", "cloud"), ("cloud", "device"))
        ),
        operators=(
            Operator(name="in", time_s=dict.fromkeys(nodes, 0.0), role="input"),
            Operator(name="a", time_s=time_s, quantizable=True, quantized_time_s=time_s, members=("a/x", "a/y")),
            Operator(name="out", time_s=dict.fromkeys(nodes, 0.0), role="output"),
        ),
        tensors=(
            Tensor(name="t", bytes=10.0, producer="in", consumers=("a",), codecs=(codec,)),
            Tensor(name="u", bytes=10.0, producer="a", consumers=("out",)),
        ),
        constraints=Constraints(pins=pins),
    )


def test_a_node_leaves_with_its_links_times_and_pins() -> None:
    left = without_node(three_nodes({"a": ("edge", "cloud")}), "cloud")
    assert [n.name for n in left.nodes] == ["device", "edge"]
    assert [(link.source, link.target) for link in left.links] == [("device", "edge"), ("edge", "device")]
    assert left.operators[1].time_s == {"device": 4.0, "edge": 1.0}
    assert left.operators[1].quantized_time_s == {"device": 4.0, "edge": 1.0}
    assert left.tensors[0].codecs is not None
    assert left.tensors[0].codecs[0].encode_s == {"device": 0.1, "edge": 0.1}
    assert left.constraints.pins == {"a": ("edge",)}


def test_a_link_changes_alone() -> None:
    problem = three_nodes()
    slower = with_link(problem, "device", "edge", bandwidth_bytes_per_s=5.0)
    assert slower.links[0] == Link(source="device", target="edge", bandwidth_bytes_per_s=5.0, latency_s=0.1)
    assert slower.links[1:] == problem.links[1:]
    assert with_link(problem, "device", "edge", latency_s=1.0).links[0].bandwidth_bytes_per_s == 10.0
    added = with_link(problem, "edge", "cloud", bandwidth_bytes_per_s=7.0)
    assert added.links[-1] == Link(source="edge", target="cloud", bandwidth_bytes_per_s=7.0, latency_s=0.0)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda p: without_node(p, "moon"), UnknownNode, "no node 'moon'"),
        (lambda p: without_node(p, "device"), InvalidInput, "source 'device'"),
        (lambda p: without_node(three_nodes({"a": ("edge",)}), "edge"), PlanInfeasible, "'a' is pinned to edge"),
        (lambda p: with_link(p, "device", "moon", latency_s=0.0), UnknownNode, "no node 'moon'"),
        (lambda p: with_link(p, "edge", "edge", latency_s=0.0), InvalidInput, "to itself"),
        (lambda p: with_link(p, "edge", "cloud", latency_s=0.0), InvalidInput, "no link edge:cloud yet"),
        (lambda p: with_link(p, "device", "edge", bandwidth_bytes_per_s=0.0), InvalidInput, "above 0"),
        (lambda p: with_link(p, "device", "edge", bandwidth_bytes_per_s=float("nan")), InvalidInput, "above 0"),
        (lambda p: with_link(p, "device", "edge", latency_s=-1.0), InvalidInput, "latency"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(change, error: type[EdgesplitError], text: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=text):
        change(three_nodes())


def test_every_node_gets_a_plan_without_it() -> None:
    problem = three_nodes()
    plan = solve(problem).assignment
    assert plan is not None
    assert plan.node_of["a"] == "cloud"
    found = fallbacks(problem, plan, time_limit_s=10.0)
    assert list(found) == ["cloud", "edge"]
    assert found["cloud"].status == "optimal"
    assert found["cloud"].assignment is not None
    assert found["cloud"].assignment.node_of["a"] == "edge"
    assert found["edge"].assignment == plan


def test_a_node_that_a_pin_needs_has_no_fallback_and_says_why() -> None:
    problem = three_nodes({"a": ("edge",)})
    plan = solve(problem).assignment
    assert plan is not None
    found = fallbacks(problem, plan, time_limit_s=10.0)
    assert found["edge"].status == "infeasible"
    assert "pinned to edge" in found["edge"].reason


@pytest.mark.parametrize("seed", range(20))
def test_fallbacks_are_the_best_plans_of_the_smaller_problems(seed: int) -> None:
    problem = random_problem(seed, operators=4)
    plan = solve(problem).assignment
    if plan is None:
        return
    for node, fallback in fallbacks(problem, plan, time_limit_s=30.0).items():
        if fallback.assignment is None:
            assert fallback.reason
            continue
        smaller = without_node(problem, node)
        assert node not in fallback.assignment.node_of.values()
        assert not evaluate(smaller, fallback.assignment).violations
        if fallback.score is not None:
            assert fallback.score == pytest.approx(solve(smaller).score, abs=1e-9)


def test_what_ran_on_a_lost_node_moves_to_the_source() -> None:
    plan = Assignment({"in": "device", "a": "cloud", "out": "device"}, frozenset({"a"}), {"t": "fp16"})
    moved = moved_off(plan, without_node(three_nodes(), "cloud"))
    assert moved == Assignment({"in": "device", "a": "device", "out": "device"}, frozenset({"a"}), {"t": "fp16"})


def test_a_fallback_keeps_the_rate_where_it_can_and_is_the_best_at_any_rate_where_it_cannot() -> None:
    for rate_hz, kept in ((0.9, True), (3.0, False)):
        problem = msgspec.structs.replace(three_nodes(), constraints=Constraints(min_rate_hz=rate_hz))
        running = Assignment({"in": "device", "a": "cloud", "out": "device"})
        found = fallbacks(problem, running, time_limit_s=30.0)["cloud"]
        assert found.assignment is not None
        assert found.evaluation is not None
        assert found.assignment.node_of["a"] == "edge"
        assert found.evaluation.rate_hz is not None
        assert (found.evaluation.rate_hz >= rate_hz) == kept
