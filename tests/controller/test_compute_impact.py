"""What a change of a node can do to a plan, and to one in its place."""

from __future__ import annotations

import random
from itertools import pairwise

import msgspec
import pytest

from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Constraints, Link, Node, Objective, Operator, Problem, Tensor
from edgesplit_controller.configuration import Thresholds
from edgesplit_controller.deciding.changes.fleet_figures import figures_of
from edgesplit_controller.deciding.changes.impact.compute_impact import ComputeImpact, compute_impact_of
from edgesplit_controller.deciding.changes.impact.link_impact import impact_of
from edgesplit_controller.deciding.changes.replan_reasons import reasons
from edgesplit_controller.planner import evaluate, solve

SPARE = "cloud"
NODES = ("device", "edge", SPARE)


def problem(seconds: dict[str, list[float]], *, energy_weight: float = 0.0, latency_weight: float = 1.0) -> Problem:
    """A chain of operators; what each takes on every node. Links are quick."""
    count = len(seconds["device"])
    names = ["in", *(f"u{index}" for index in range(count)), "out"]
    times = [
        dict.fromkeys(NODES, 0.0),
        *({n: seconds[n][i] for n in NODES} for i in range(count)),
        dict.fromkeys(NODES, 0.0),
    ]
    roles = ["input", *([None] * count), "output"]
    return Problem(
        model="m",
        source="device",
        nodes=tuple(Node(name=name, compute_power_w=3.0, transmit_power_w=2.0) for name in NODES),
        links=tuple(
            Link(source=start, target=end, bandwidth_bytes_per_s=1e8, latency_s=0.001)
            for start in NODES
            for end in NODES
            if start != end
        ),
        operators=tuple(
            Operator(name=name, time_s=taken, role=role)  # type: ignore[arg-type]
            for name, taken, role in zip(names, times, roles, strict=True)
        ),
        tensors=tuple(
            Tensor(name=f"t{index}", bytes=1e5, producer=start, consumers=(end,))
            for index, (start, end) in enumerate(pairwise(names))
        ),
        objective=Objective(latency_weight=latency_weight, energy_weight=energy_weight),
    )


def on(node: str, stated: Problem) -> Assignment:
    return Assignment({operator.name: "device" if operator.role else node for operator in stated.operators})


def impact(stated: Problem, assignment: Assignment) -> ComputeImpact:
    return compute_impact_of(stated, assignment, evaluate(stated, assignment))


def told(before: Problem, now: Problem, assignment: Assignment) -> list[str]:
    evaluation = evaluate(before, assignment)
    links = impact_of(before, assignment, evaluation, 0.0005)
    compute = compute_impact_of(before, assignment, evaluation)
    found = reasons(figures_of(before), figures_of(now), Thresholds(), links, compute=compute)
    return [reason.text for reason in found]


USUAL = {"device": [1.0, 1.0], "edge": [0.2, 0.2], SPARE: [0.3, 0.3]}


def test_a_node_that_the_plan_does_not_use_may_become_as_slow_as_it_likes() -> None:
    before, now = problem(USUAL), problem(USUAL | {SPARE: [0.9, 2.0]})
    assert impact(before, on("edge", before)).share(SPARE, *(figures_of(p).nodes[SPARE] for p in (before, now))) == 0
    assert told(before, now, on("edge", before)) == []


def test_a_node_that_the_plan_uses_counts_either_way() -> None:
    before = problem(USUAL)
    for seconds in ([0.3, 0.3], [0.1, 0.1]):
        assert len(told(before, problem(USUAL | {"edge": seconds}), on("edge", before))) == 1


def test_a_node_that_became_faster_counts_by_what_a_plan_could_save_there() -> None:
    before = problem(USUAL)
    assert told(before, problem(USUAL | {SPARE: [0.1, 0.1]}), on("edge", before)) != []
    small = USUAL | {SPARE: [0.01, 0.3]}
    assert told(problem(small), problem(small | {SPARE: [0.005, 0.3]}), on("edge", before)) == []


def test_power_is_no_occasion_where_energy_has_no_weight() -> None:
    for energy_weight, count in ((0.0, 0), (1.0, 1)):
        before = problem(USUAL, energy_weight=energy_weight)
        nodes = tuple(
            msgspec.structs.replace(node, compute_power_w=6.0) if node.name == "edge" else node for node in before.nodes
        )
        now = msgspec.structs.replace(before, nodes=nodes)
        assert len(told(before, now, on("edge", before))) == count


@pytest.mark.parametrize("measure", ["latency_s", "energy_j"])
def test_no_plan_gains_more_than_what_is_at_stake(measure: str) -> None:
    """The plan is the best of its figures: what it takes more and what another could save is all that can be gained."""
    chosen = random.Random(3)
    by_energy = float(measure == "energy_j")
    for _ in range(40):
        seconds = {name: [chosen.lognormvariate(-2, 1) for _ in range(5)] for name in NODES}
        before = problem(seconds, energy_weight=by_energy, latency_weight=1 - by_energy)
        plan = solve(before).assignment
        assert plan is not None
        node = chosen.choice(NODES)
        changed = seconds | {node: [taken_s * chosen.lognormvariate(0, 0.5) for taken_s in seconds[node]]}
        now = problem(changed, energy_weight=by_energy, latency_weight=1 - by_energy)
        share = impact(before, plan).share(node, *(figures_of(stated).nodes[node] for stated in (before, now)))
        best = solve(now).evaluation
        assert best is not None
        gain = getattr(evaluate(now, plan), measure) - getattr(best, measure)
        assert gain <= 2 * share * getattr(evaluate(before, plan), measure) + 1e-9


def test_a_node_that_may_bound_the_rate_counts_by_that_where_latency_has_no_weight() -> None:
    for rate_hz, count in ((None, 0), (2.0, 1)):
        before, now = (
            problem(seconds, energy_weight=1.0, latency_weight=0.0) for seconds in (USUAL, USUAL | {"edge": [0.2, 0.3]})
        )
        free = [msgspec.structs.replace(node, compute_power_w=0.0) for node in before.nodes]
        limited = [
            msgspec.structs.replace(stated, nodes=tuple(free), constraints=Constraints(min_rate_hz=rate_hz))
            for stated in (before, now)
        ]
        assert len(told(limited[0], limited[1], on("edge", before))) == count


def test_what_lies_within_a_restless_machines_own_spread_is_no_change() -> None:
    before, now = problem(USUAL), problem(USUAL | {"edge": [0.28, 0.28]})
    links = impact_of(before, on("edge", before), evaluate(before, on("edge", before)), 0.0005)
    figures = figures_of(before), figures_of(now)
    cases: tuple[tuple[dict[str, float], int], ...] = (
        ({}, 1),
        ({"edge": 0.3}, 1),
        ({"edge": 0.5}, 0),
        ({SPARE: 0.5}, 1),
    )
    for unrest, count in cases:
        found = reasons(
            figures[0], figures[1], Thresholds(), links, compute=impact(before, on("edge", before)), unrest=unrest
        )
        assert len(found) == count
    back = reasons(
        figures[1], figures[0], Thresholds(), links, compute=impact(now, on("edge", now)), unrest={"edge": 0.5}
    )
    assert back == ()
    twice = figures_of(problem(USUAL | {"edge": [0.1, 0.1]}))
    assert len(reasons(figures[0], twice, Thresholds(), links, unrest={"edge": 0.5})) == 1
