"""The frontier against all plans there are."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from edgesplit.errors import PlanInfeasible
from edgesplit.planning.problem import Constraints
from edgesplit_controller.planner import evaluate
from edgesplit_controller.planner.studies.frontier import FrontierPoint, frontier
from tests.planner.brute_force import Model, all_assignments, exact_costs, makespan, random_problem


@pytest.mark.parametrize(("model", "operators"), [("sum", 4), ("critical-path", 3)])
@pytest.mark.parametrize("seed", range(25))
def test_no_plan_dominates_a_point(seed: int, model: Model, operators: int) -> None:
    problem = random_problem(seed, operators=operators, model=model)
    everything: list[tuple[float, float]] = []
    for assignment in all_assignments(problem):
        latency_s, energy_j, kept = exact_costs(problem, assignment)
        if kept:
            everything.append((makespan(problem, assignment) if model == "critical-path" else latency_s, energy_j))
    if not everything:
        with pytest.raises(PlanInfeasible):
            frontier(problem, points=6)
        return
    found = frontier(problem, points=6).points
    assert 1 <= len(found) <= 6
    for point in found:
        assert point.status == "optimal"
        fastest = min(latency_s for latency_s, energy_j in everything if energy_j <= point.energy_j * (1 + 1e-9))
        assert point.latency_s <= fastest * (1 + 2e-6) + 1e-9
    assert found[0].latency_s == pytest.approx(min(latency_s for latency_s, _ in everything), rel=2e-6)
    assert found[-1].energy_j == pytest.approx(min(energy_j for _, energy_j in everything), rel=2e-6)


@pytest.mark.parametrize("seed", [3, 8, 21, 34])
def test_points_are_plans_from_the_fastest_to_the_most_frugal_and_reported(seed: int) -> None:
    problem = random_problem(seed, operators=8)
    seen: list[FrontierPoint] = []
    found = frontier(problem, points=8, on_point=seen.append).points
    assert set(map(id, found)) <= set(map(id, seen))
    assert all(a.latency_s < b.latency_s and a.energy_j > b.energy_j for a, b in itertools.pairwise(found))
    for point in found:
        evaluation = evaluate(problem, point.assignment)
        assert not evaluation.violations
        assert evaluation.latency_s == pytest.approx(point.latency_s)
        assert evaluation.energy_j == pytest.approx(point.energy_j)
        assert evaluation.noise == point.noise


def test_without_a_plan_there_is_no_frontier_and_the_reason_is_given() -> None:
    with pytest.raises(PlanInfeasible, match="device energy limit"):
        frontier(
            msgspec.structs.replace(random_problem(8, operators=4), constraints=Constraints(device_energy_limit_j=0.0))
        )
