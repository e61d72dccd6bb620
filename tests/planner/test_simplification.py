"""Plans within a tolerance of the best: simpler, never outside it, and none where none is asked for."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from bench.equal_nodes import equal_nodes
from bench.large_problem import large_problem
from edgesplit.planning.plan import Assignment, Solution
from edgesplit.planning.problem import Constraints, Link, Node, Objective, Operator, Problem, Tensor
from edgesplit_controller.planner import evaluate, score, solve

TOLERANCE = 0.02


def zigzag(gain: float, *, energy_weight: float = 0.0, pins: dict[str, tuple[str, ...]] | None = None) -> Problem:
    """A chain of six units, quicker by a share on the device and on the edge in turn. Links take next to nothing."""
    operators = [Operator(name="in", time_s={"device": 0.0, "edge": 0.0}, role="input")]
    for index in range(6):
        times = {"device": 0.1, "edge": 0.1} | {("device", "edge")[index % 2]: 0.1 * (1 - gain)}
        operators.append(Operator(name=f"u{index}", time_s=times))
    operators.append(Operator(name="out", time_s={"device": 0.0, "edge": 0.0}, role="output"))
    names = [operator.name for operator in operators]
    return Problem(
        model="zigzag",
        source="device",
        nodes=tuple(Node(name=name, compute_power_w=2.0, transmit_power_w=1.0) for name in ("device", "edge")),
        links=tuple(
            Link(source=start, target=end, bandwidth_bytes_per_s=1e9, latency_s=1e-5)
            for start, end in (("device", "edge"), ("edge", "device"))
        ),
        operators=tuple(operators),
        tensors=tuple(
            Tensor(name=f"t{index}", bytes=1000.0, producer=start, consumers=(end,))
            for index, (start, end) in enumerate(pairwise(names))
        ),
        objective=Objective(latency_weight=1.0, energy_weight=energy_weight),
        constraints=Constraints(pins=pins),
    )


def components(solution: Solution) -> int:
    assert solution.evaluation is not None
    return len(solution.evaluation.components)


def test_without_tolerance_the_best_plan_is_taken_and_nothing_conceded() -> None:
    solution = solve(zigzag(0.005), tolerance=0.0)
    assert solution.concession is None
    assert solution.score == pytest.approx(0.0, abs=1e-9)
    assert components(solution) == 6


def test_gains_within_the_tolerance_are_worth_no_cut() -> None:
    simple = solve(zigzag(0.03), tolerance=TOLERANCE)
    assert components(simple) == 1
    assert simple.concession is not None
    apart = solve(zigzag(0.03, pins={"u3": ("device",), "u2": ("edge",)}), tolerance=0.03)
    assert components(apart) == 2


def test_gains_beyond_the_tolerance_are_kept() -> None:
    best, simple = (solve(zigzag(0.5), tolerance=tolerance) for tolerance in (0.0, TOLERANCE))
    assert best.assignment == simple.assignment
    assert simple.concession is None


def test_pins_are_kept_whatever_they_cost() -> None:
    pinned: dict[str, tuple[str, ...]] = {"u1": ("edge",)}
    solution = solve(zigzag(0.01, pins=pinned), tolerance=0.5)
    assert solution.assignment is not None
    assert solution.assignment.node_of["u1"] == "edge"
    assert components(solution) == 1
    assert set(solution.assignment.node_of.values()) == {"device", "edge"}


def test_what_is_conceded_is_said_and_the_gap_grows_by_it() -> None:
    problem = equal_nodes(30, seed=1).as_measured
    best, simple = solve(problem), solve(problem, tolerance=0.2)
    said, evaluation = simple.concession, simple.evaluation
    assert said is not None
    assert evaluation is not None
    assert best.evaluation is not None
    assert said.components == 1 < said.components_of_best == components(best)
    assert said.latency_of_best_s == best.evaluation.latency_s
    assert said.share == pytest.approx(evaluation.latency_s / best.evaluation.latency_s - 1.0)
    assert simple.gap == pytest.approx(said.share, rel=1e-6)
    assert "1 component" in said.text
    assert "tolerance of 20.0%" in said.text


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("energy_weight", [0.0, 1.0])
def test_every_weighed_figure_and_the_timeline_keep_the_tolerance(seed: int, energy_weight: float) -> None:
    problem = large_problem(40, 3, seed)
    objective = Objective(latency_weight=1.0, energy_weight=energy_weight)
    problem = msgspec.structs.replace(problem, objective=objective)
    best, simple = solve(problem), solve(problem, tolerance=TOLERANCE)
    assert best.evaluation is not None
    assert simple.evaluation is not None
    assert simple.assignment is not None
    assert not evaluate(problem, simple.assignment).violations
    most = 1 + TOLERANCE + 1e-9
    assert simple.evaluation.latency_s <= best.evaluation.latency_s * most
    assert simple.evaluation.timeline_s <= best.evaluation.timeline_s * most
    assert energy_weight == 0 or simple.evaluation.energy_j <= best.evaluation.energy_j * most
    assert components(simple) <= components(best)
    assert simple.score == pytest.approx(score(problem, simple.evaluation, simple.ranges), abs=1e-9)
    assert simple.bound == pytest.approx(best.bound or 0.0, abs=1e-6)


def test_of_equally_simple_plans_the_serving_one_stays() -> None:
    nodes = equal_nodes(30, spread=0.01, seed=3)
    problem = nodes.as_measured
    # The input travels to either in the same time; the source itself is out of question.
    free = [operator.name for operator in problem.operators if operator.role is None]
    pins: dict[str, tuple[str, ...]] = dict.fromkeys(free, ("edge", "cloud"))
    problem = msgspec.structs.replace(problem, constraints=Constraints(pins=pins))
    for serving in ("edge", "cloud"):
        at = {operator.name: "device" if operator.role else serving for operator in problem.operators}
        solution = solve(problem, hint=Assignment(at), tolerance=TOLERANCE)
        assert solution.assignment is not None
        assert dict(solution.assignment.node_of) == at


def test_the_same_problem_gives_the_same_plan() -> None:
    problem = equal_nodes(40, seed=5).as_measured
    assert solve(problem, tolerance=TOLERANCE).assignment == solve(problem, tolerance=TOLERANCE).assignment
