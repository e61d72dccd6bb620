from __future__ import annotations

import msgspec
import pytest

from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import CodecOption, Constraints, Link, Node, Objective, Operator, Problem, Tensor
from edgesplit_controller.planner import evaluate, solve
from lab.baselines.unsplit import everything_on
from lab.dynamics.conditions import Conditions, NodeCondition, Wanted
from lab.dynamics.true_problem import true_problem
from lab.scenarios.scenario import Change, LinkCut, NodeDies, QuotaChange, RateChange
from lab.testbed.shaping import Shape

BASE = Conditions(
    links={("device", "cloud"): Shape(5e6, 0.05), ("cloud", "device"): Shape(100e6, 0.05)},
    nodes={"device": NodeCondition(slow_down=4.0), "cloud": NodeCondition()},
    wanted=Wanted(max_noise=None),
)
CODEC = CodecOption(name="fp16", bytes=5e4, encode_s={"device": 0.01, "cloud": 0.001}, decode_s={"cloud": 0.002})
PROBLEM = Problem(
    model="tiny",
    source="device",
    nodes=(
        Node(name="device", compute_power_w=3.0, transmit_power_w=3.5),
        Node(name="cloud", compute_power_w=35.0, transmit_power_w=0.0),
    ),
    links=(
        Link(source="device", target="cloud", bandwidth_bytes_per_s=4.8e6, latency_s=0.051),
        Link(source="cloud", target="device", bandwidth_bytes_per_s=90e6, latency_s=0.049),
    ),
    operators=(
        Operator(name="in", time_s={"device": 0.0, "cloud": 0.0}, role="input"),
        Operator(name="a", time_s={"device": 0.4, "cloud": 0.1}),
        Operator(name="b", time_s={"device": 0.8, "cloud": 0.2}),
        Operator(name="out", time_s={"device": 0.0, "cloud": 0.0}, role="output"),
    ),
    tensors=(
        Tensor(name="x", bytes=2e5, producer="in", consumers=("a",), codecs=(CODEC,)),
        Tensor(name="y", bytes=1e5, producer="a", consumers=("b",)),
        Tensor(name="z", bytes=1e3, producer="b", consumers=("out",)),
    ),
    objective=Objective(latency_model="critical-path"),
    handling_s=0.01,
)


def after(*changes: Change) -> Problem:
    now = BASE
    for change in changes:
        now = now.after(change)
    return true_problem(PROBLEM, BASE, now)


def test_rates_are_the_true_ones_and_what_a_latency_has_over_its_delay_stays() -> None:
    there, back = after().links
    assert (there.bandwidth_bytes_per_s, back.bandwidth_bytes_per_s) == (5e6, 100e6)
    assert there.latency_s == pytest.approx(0.051)
    assert back.latency_s == pytest.approx(0.05)
    slower, _ = after(RateChange(at_s=0, ends=("device", "cloud"), bytes_per_s=1e5)).links
    assert slower.bandwidth_bytes_per_s == 1e5


def test_a_slower_node_computes_and_codes_slower() -> None:
    found = after(QuotaChange(at_s=0, node="cloud", cores=0.5))
    assert [operator.time_s["cloud"] for operator in found.operators] == [0.0, 0.2, 0.4, 0.0]
    assert [operator.time_s["device"] for operator in found.operators] == [0.0, 0.4, 0.8, 0.0]
    assert found.tensors[0].codecs is not None
    assert found.tensors[0].codecs[0].decode_s == {"cloud": 0.004}
    assert found.handling_s == PROBLEM.handling_s


@pytest.mark.parametrize("change", [NodeDies(at_s=0, node="cloud"), LinkCut(at_s=0, ends=("cloud", "device"))])
def test_what_cannot_be_reached_is_not_planned_for(change: Change) -> None:
    solution = solve(after(change))
    assert solution.assignment is not None
    assert set(solution.assignment.node_of.values()) == {"device"}


def test_a_dead_node_is_in_no_part_of_the_problem() -> None:
    pinned = msgspec.structs.replace(PROBLEM, constraints=Constraints(pins={"a": ("device", "cloud")}))
    found = true_problem(pinned, BASE, BASE.after(NodeDies(at_s=0, node="cloud")))
    assert [node.name for node in found.nodes] == ["device"]
    assert found.links == ()
    assert found.constraints.pins == {"a": ("device",)}
    assert b'"cloud"' not in msgspec.json.encode(found)


def test_the_best_plan_moves_with_the_truth() -> None:
    fast, slow = solve(after()), solve(after(RateChange(at_s=0, ends=("device", "cloud"), bytes_per_s=1e4)))
    assert fast.assignment is not None
    assert slow.assignment is not None
    assert fast.assignment.node_of["b"] == "cloud"
    assert slow.assignment.node_of["b"] == "device"


def test_everything_on_one_node_leaves_inputs_and_outputs_on_the_source() -> None:
    plan = Assignment(node_of=everything_on(PROBLEM, "cloud"))
    assert plan.node_of == {"in": "device", "a": "cloud", "b": "cloud", "out": "device"}
    assert evaluate(PROBLEM, plan).violations == ()
