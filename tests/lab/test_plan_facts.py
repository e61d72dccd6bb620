"""What is read from splitctl's documents: facts, signatures, means between two looks."""

from __future__ import annotations

from typing import Any

import pytest

from edgesplit.planning.problem import Link, Node, Operator, Problem, Tensor
from lab.running.visiting.plan_facts import counted, facts_of, plan_signature, solution_signature, spent

PLAN: dict[str, Any] = {
    "status": "optimal",
    "latency_s": 0.2,
    "latency_interval_s": [0.19, 0.22],
    "energy_j": 1.5,
    "noise": 0.01,
    "per_node": {
        "device": {"operators": 2, "components": 1, "quantized": 1},
        "edge": {"operators": 1, "components": 1, "quantized": 0},
        "cloud": {"operators": 0, "components": 0, "quantized": 0},
    },
    "components": [
        {"id": 0, "node": "device", "operators": ["a1", "a2"]},
        {"id": 1, "node": "edge", "operators": ["b"]},
    ],
    "quantized": ["a"],
    "codecs": {"x": "float16"},
    "timeline": [
        {"kind": "compute", "start_s": 0.0, "end_s": 0.1, "node": "device", "component": 0},
        {
            "kind": "transfer",
            "start_s": 0.1,
            "end_s": 0.12,
            "node": None,
            "from": "device",
            "to": "edge",
            "tensor": "x",
        },
    ],
    "solve_s": 0.05,
}
PROBLEM = Problem(
    model="net",
    nodes=tuple(Node(name=name, compute_power_w=1.0, transmit_power_w=1.0) for name in ("device", "edge")),
    links=(Link(source="device", target="edge", bandwidth_bytes_per_s=1e6, latency_s=0.0),),
    operators=(
        Operator(name="input", time_s={}, role="input"),
        Operator(name="a", time_s={"device": 0.1, "edge": 0.1}, members=("a1", "a2")),
        Operator(name="b", time_s={"device": 0.1, "edge": 0.1}),
    ),
    tensors=(Tensor(name="x", producer="a", consumers=("b",), bytes=10.0),),
    source="device",
)


def test_a_plans_facts_are_what_it_predicts() -> None:
    facts = facts_of(PLAN, signature="s", deploy_s=0.7)
    assert (facts.predicted_s, facts.interval_s, facts.predicted_j) == (0.2, (0.19, 0.22), 1.5)
    assert facts.operators == {"device": 2, "edge": 1}
    assert (facts.solve_s, facts.deploy_s, facts.signature) == (0.05, 0.7, "s")
    compute, transfer = facts.timeline
    assert (compute.what, compute.node, compute.link) == ("0", "device", None)
    assert (transfer.what, transfer.node, transfer.link) == ("x", None, "device->edge")


def test_a_plan_and_the_solution_it_was_made_of_have_one_signature() -> None:
    solution = {"assignment": {"a": "device", "b": "edge"}, "quantized": ["a"], "codecs": {"x": "float16"}}
    assert plan_signature(PLAN) == solution_signature(solution, PROBLEM)


@pytest.mark.parametrize(
    "change",
    [{"assignment": {"a": "edge", "b": "edge"}}, {"quantized": []}, {"codecs": {}}, {"codecs": {"x": "lossless"}}],
)
def test_another_place_precision_or_codec_is_another_plan(change: dict[str, Any]) -> None:
    solution = {"assignment": {"a": "device", "b": "edge"}, "quantized": ["a"], "codecs": {"x": "float16"}}
    assert plan_signature(PLAN) != solution_signature({**solution, **change}, PROBLEM)


def look(requests: int, compute_j: float | None, compute_s: float) -> dict[str, Any]:
    row = {"requests": requests, "compute_j": compute_j, "transmit_j": 0.5 if compute_j is not None else None}
    return {
        "energy_per_node": {"device": row},
        "measured": {"per_node": {"device": {"requests": requests, "compute_s": compute_s}}},
    }


def test_means_between_two_looks_are_of_the_requests_between_them() -> None:
    before, after = look(2, 10.0, 0.1), look(6, 2.5, 0.3)
    found = spent(before, after, ["device"])
    # (2.5 * 6 - 10 * 2) / 4 of computing, and the same of sending as ever.
    assert found.energy_j == pytest.approx(-1.25 + 0.5)
    assert found.compute_s == {"device": pytest.approx(0.4)}
    assert counted(after) == {"device": 6}


def test_the_first_requests_of_a_plan_have_nothing_before_them() -> None:
    before: dict[str, Any] = {"energy_per_node": {}, "measured": {"per_node": {}}}
    assert spent(before, look(4, 2.0, 0.1), ["device"]).energy_j == pytest.approx(2.5)


def test_energy_that_a_node_did_not_tell_is_not_a_smaller_sum() -> None:
    before, after = look(0, None, 0.0), look(4, 2.0, 0.1)
    assert spent(before, after, ["device", "edge"]).energy_j is None
    assert spent(after, after, ["device"]).energy_j is None
