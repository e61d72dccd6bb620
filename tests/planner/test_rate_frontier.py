"""Frontiers of latency or energy and rate, against all plans there are."""

from __future__ import annotations

import itertools

import pytest

from edgesplit.errors import PlanInfeasible
from edgesplit_controller.planner import evaluate
from edgesplit_controller.planner.studies.rate_frontier import RateAxis, rate_frontier
from tests.planner.brute_force import all_assignments
from tests.planner.exact_sums import exact_sums, keeps_limits
from tests.planner.test_rate import asking, relay, uneven


@pytest.mark.parametrize("axis", ["latency", "energy"])
@pytest.mark.parametrize("seed", [seed for seed in range(20) if seed % 8 != 7])
def test_no_plan_dominates_a_point(seed: int, axis: RateAxis) -> None:
    problem, _ = uneven(seed)
    every = [exact_sums(problem, assignment) for assignment in all_assignments(problem)]
    plans = [
        (float(sums.latency_s if axis == "latency" else sums.energy_j), float(sums.period_s))
        for sums in every
        if keeps_limits(problem, sums)
    ]
    if not plans:
        with pytest.raises(PlanInfeasible):
            rate_frontier(problem, axis, points=6)
        return
    found = rate_frontier(problem, axis, points=6).points
    assert 1 <= len(found) <= 6
    for point in found:
        evaluation = evaluate(problem, point.assignment)
        assert not evaluation.violations
        value = evaluation.latency_s if axis == "latency" else evaluation.energy_j
        period_s = 1 / evaluation.rate_hz if evaluation.rate_hz is not None else 0.0
        best = min(other for other, needed_s in plans if needed_s <= period_s * (1 + 1e-9))
        assert point.status == "optimal"
        assert value <= best * (1 + 2e-6) + 1e-9
    ends = [evaluate(problem, point.assignment) for point in (found[0], found[-1])]
    first = ends[0].latency_s if axis == "latency" else ends[0].energy_j
    assert first == pytest.approx(min(value for value, _ in plans), rel=2e-6)
    least_s = min(period_s for _, period_s in plans)
    assert (1 / ends[1].rate_hz if ends[1].rate_hz else 0.0) <= least_s * 1.01 + 1e-12


def test_points_rise_in_both_and_are_told() -> None:
    seen: list[object] = []
    found = rate_frontier(relay(), "latency", points=5, on_point=seen.append).points
    rates = [(evaluate(relay(), point.assignment).rate_hz or 0.0, point.latency_s) for point in found]
    assert len(rates) == 2
    assert all(a < b for a, b in itertools.pairwise(rates))
    assert len(seen) >= len(found)


def test_without_a_plan_at_the_rate_asked_for_there_is_no_frontier() -> None:
    with pytest.raises(PlanInfeasible, match="highest that is reachable is 2 requests/s"):
        rate_frontier(asking(relay(), 3.0), "latency")


def test_rates_begin_at_the_one_asked_for() -> None:
    found = rate_frontier(asking(relay(), 1.9), "latency").points
    assert [evaluate(relay(), point.assignment).rate_hz for point in found] == [2.0]
