"""A rate to be sustained: plans, refusals, reachable rates and what bounds them, held against trying everything."""

from __future__ import annotations

import itertools
import random
import re

import msgspec
import pytest

from edgesplit.errors import InvalidProblem
from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Constraints, Link, Node, Operator, Problem, Tensor
from edgesplit.planning.problem_file import problem_from_json, problem_to_json
from edgesplit_controller.planner import evaluate, solve
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.meaning import throughput
from edgesplit_controller.planner.solving.reasons.reachable_rate import highest_rate
from edgesplit_controller.planner.studies.explanation import explain
from tests.planner.brute_force import all_assignments, random_problem
from tests.planner.claims import wrong_claims
from tests.planner.exact_sums import ExactSums, exact_sums, keeps_limits


def asking(problem: Problem, rate_hz: float | None) -> Problem:
    return msgspec.structs.replace(
        problem, constraints=msgspec.structs.replace(problem.constraints, min_rate_hz=rate_hz)
    )


def every_plan(problem: Problem) -> list[ExactSums]:
    """Of plans that keep every limit but a rate."""
    free = asking(problem, None)
    every = (exact_sums(free, assignment) for assignment in all_assignments(free))
    return [sums for sums in every if keeps_limits(free, sums)]


def uneven(seed: int) -> tuple[Problem, random.Random]:
    """A problem whose nodes are up to 1e5 times as fast as others, and partly taken by others."""
    r = random.Random(f"rate {seed}")
    problem = random_problem(
        seed, operators=2 + seed % 3, model="critical-path" if seed % 8 == 7 else "sum", precisions=seed % 2 == 1
    )
    speed = {node.name: 10 ** -r.choice([0.0, 0.0, r.uniform(0, 5)]) for node in problem.nodes}

    def scaled(times: dict[str, float]) -> dict[str, float]:
        return {node: time_s * speed[node] for node, time_s in times.items()}

    def load() -> float:
        return r.choice([0.0, 0.0, 0.0, 0.3, 0.9, 1.0])

    return (
        msgspec.structs.replace(
            problem,
            nodes=tuple(msgspec.structs.replace(node, load=load()) for node in problem.nodes),
            links=tuple(msgspec.structs.replace(link, load=load()) for link in problem.links),
            operators=tuple(
                msgspec.structs.replace(
                    operator,
                    time_s=scaled(operator.time_s),
                    quantized_time_s=operator.quantized_time_s and scaled(operator.quantized_time_s),
                )
                for operator in problem.operators
            ),
        ),
        r,
    )


def with_a_rate(seed: int) -> tuple[Problem, list[ExactSums]]:
    """A rate that some plans sustain, about to sustain, or none does; and the plans that there are."""
    problem, r = uneven(seed)
    plans = every_plan(problem)
    periods_s = sorted({float(sums.period_s) for sums in plans if sums.period_s})
    if not periods_s:
        return asking(problem, r.uniform(0.1, 10.0)), plans
    chosen = 1 / r.choice([periods_s[0], r.choice(periods_s[: 1 + len(periods_s) // 4]), r.choice(periods_s)])
    return asking(problem, chosen * r.choice([1.0, 1.0, 0.97, 1 + 1e-6, 1.3])), plans


def said_hz(reason: str) -> float:
    found = re.search(r"the highest (?:that is reachable|found) is ([-+.e\d]+) requests/s, bounded by \S+[;.]", reason)
    assert found is not None, reason
    return float(found[1])


@pytest.mark.parametrize("seed", range(60))
def test_the_best_plan_at_a_rate_is_found_and_proven(seed: int) -> None:
    problem, plans = with_a_rate(seed)
    solution = solve(problem)
    assert not wrong_claims(problem, solution)
    if solution.status == "infeasible" and plans:
        highest_hz = 1 / float(min(sums.period_s for sums in plans))
        assert 0.98 * highest_hz <= said_hz(solution.reason) <= highest_hz * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(100, 140))
def test_links_that_are_watched_only_once_a_plan_needs_them_are_kept_all_the_same(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "MANY", 0)
    problem, plans = with_a_rate(seed)
    solution = solve(problem)
    assert not wrong_claims(problem, solution)
    if solution.status == "infeasible" and plans:
        assert said_hz(solution.reason) >= 0.98 / float(min(sums.period_s for sums in plans))


@pytest.mark.parametrize("seed", range(20))
def test_a_load_without_a_rate_changes_no_plan(seed: int) -> None:
    problem, _ = uneven(seed)
    idle = msgspec.structs.replace(
        problem,
        nodes=tuple(msgspec.structs.replace(node, load=0.0) for node in problem.nodes),
        links=tuple(msgspec.structs.replace(link, load=0.0) for link in problem.links),
    )
    found, expected = solve(problem), solve(idle)
    assert (found.status, found.assignment, found.score) == (expected.status, expected.assignment, expected.score)


def relay(
    *, rate_hz: float | None = None, edge_load: float = 0.0, link_load: float = 0.0, latency_s: float = 5.0
) -> Problem:
    """Two operators of 0.4 s on the device and 0.1 s on the edge, 50 bytes between them and to them, on links of 100 B/s."""
    ends = {"device": 0.0, "edge": 0.0}
    times = {"device": 0.4, "edge": 0.1}
    names = ("in", "a", "b", "out")
    return Problem(
        model="relay",
        source="device",
        nodes=(
            Node(name="device", compute_power_w=1.0, transmit_power_w=1.0),
            Node(name="edge", compute_power_w=1.0, transmit_power_w=1.0, load=edge_load),
        ),
        links=(
            Link(source="device", target="edge", bandwidth_bytes_per_s=100.0, latency_s=latency_s, load=link_load),
            Link(source="edge", target="device", bandwidth_bytes_per_s=1000.0, latency_s=latency_s),
        ),
        operators=(
            Operator(name="in", time_s=ends, role="input"),
            Operator(name="a", time_s=times),
            Operator(name="b", time_s=times),
            Operator(name="out", time_s=ends, role="output"),
        ),
        tensors=tuple(
            Tensor(name=start, bytes=50.0, producer=start, consumers=(end,)) for start, end in itertools.pairwise(names)
        ),
        constraints=Constraints(min_rate_hz=rate_hz),
    )


def placed(a: str, b: str) -> Assignment:
    return Assignment({"in": "device", "a": a, "b": b, "out": "device"})


@pytest.mark.parametrize(
    ("assignment", "rate_hz", "bottleneck"),
    [
        (placed("device", "device"), 1 / 0.8, "device"),
        (placed("device", "edge"), 1 / 0.5, "device:edge"),
        (placed("edge", "edge"), 1 / 0.5, "device:edge"),
    ],
)
def test_the_busiest_node_or_link_bounds_the_rate_and_latency_does_not(
    assignment: Assignment, rate_hz: float, bottleneck: str
) -> None:
    found = evaluate(relay(), assignment)
    assert found.rate_hz == pytest.approx(rate_hz)
    assert found.bottleneck == bottleneck


def test_what_others_take_is_left_out() -> None:
    by_edge = evaluate(relay(edge_load=0.75, link_load=0.2), placed("edge", "edge"))
    assert by_edge.rate_hz == pytest.approx(0.25 / 0.2)
    assert by_edge.bottleneck == "edge"
    by_link = evaluate(relay(edge_load=0.5, link_load=0.2), placed("edge", "edge"))
    assert by_link.rate_hz == pytest.approx(0.8 / 0.5)
    assert by_link.bottleneck == "device:edge"


def test_a_plan_that_takes_no_time_has_no_rate() -> None:
    idle = msgspec.structs.replace(
        relay(),
        operators=tuple(msgspec.structs.replace(o, time_s={"device": 0.0, "edge": 0.0}) for o in relay().operators),
    )
    found = evaluate(idle, placed("device", "device"))
    assert (found.rate_hz, found.bottleneck) == (None, None)


def test_a_plan_below_the_rate_breaks_it_and_says_what_bounds_it() -> None:
    found = evaluate(relay(rate_hz=1.5), placed("device", "device"))
    assert found.violations == ("The plan sustains 1.25 requests/s of min_rate_hz 1.5, bounded by device.",)
    assert not evaluate(relay(rate_hz=1.25), placed("device", "device")).violations


@pytest.mark.parametrize("model", ["sum", "critical-path"])
def test_the_rate_makes_work_move_although_that_takes_longer(model: str) -> None:
    def asked(rate_hz: float | None) -> Problem:
        problem = relay(rate_hz=rate_hz)
        objective = msgspec.structs.replace(problem.objective, latency_model=model)
        return msgspec.structs.replace(problem, objective=objective)

    free, bound = solve(asked(None)), solve(asked(2.0))
    assert free.assignment == placed("device", "device")
    assert bound.assignment is not None and bound.evaluation is not None
    assert "edge" in bound.assignment.node_of.values()
    assert (bound.evaluation.rate_hz, bound.evaluation.bottleneck) == (2.0, "device:edge")


def test_a_rate_out_of_reach_names_the_highest_and_what_bounds_it() -> None:
    solution = solve(relay(rate_hz=3.0))
    assert solution.status == "infeasible"
    assert solution.reason == (
        "The rate of 3 requests/s cannot be sustained: the highest that is reachable is 2 requests/s, bounded by "
        "device:edge; lower min_rate_hz to at most that, or add nodes or bandwidth there."
    )


def test_the_highest_rate_is_that_of_a_plan() -> None:
    found = highest_rate(relay(), Clock(60.0))
    assert found is not None and found.settled
    assert found.period_s == pytest.approx(0.5)
    assert found.subject == "device:edge"
    assert evaluate(relay(), found.assignment).rate_hz == pytest.approx(1 / found.period_s)


def test_what_the_rate_costs_is_explained() -> None:
    tight = relay(rate_hz=2.0)
    kept = solve(tight)
    assert kept.assignment is not None
    found = explain(tight, kept.assignment, time_limit_s=60.0)
    assert [(binding.constraint, binding.subject) for binding in found.bindings] == [("rate", "")]
    assert any(relaxed.constraint == "rate" and relaxed.score_gain > 0.1 for relaxed in found.relaxations)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"min_rate_hz": 0.0}, "constraint min_rate_hz is 0.0; it must be greater than 0"),
        ({"load": 1.1}, "load of node 'device' is 1.1; give a share from 0 to 1"),
    ],
)
def test_figures_that_cannot_be_are_refused(changed: dict[str, float], said: str) -> None:
    problem = relay(rate_hz=changed.get("min_rate_hz"))
    first = msgspec.structs.replace(problem.nodes[0], load=changed.get("load", 0.0))
    with pytest.raises(InvalidProblem, match=re.escape(said)):
        problem_from_json(problem_to_json(msgspec.structs.replace(problem, nodes=(first, *problem.nodes[1:]))))
