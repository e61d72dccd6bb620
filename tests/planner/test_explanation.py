"""Explanations: every number is that of a plan that trying everything would find."""

from __future__ import annotations

import msgspec
import pytest

from edgesplit.planning.plan import Assignment, Ranges
from edgesplit.planning.problem import Constraints, Problem
from edgesplit_controller.planner import evaluate, score, solve
from edgesplit_controller.planner.studies.explanation import explain
from tests.planner.brute_force import all_assignments, exact_costs, random_problem


def with_max_noise(problem: Problem, max_noise: float | None) -> Problem:
    return msgspec.structs.replace(
        problem, constraints=msgspec.structs.replace(problem.constraints, max_noise=max_noise)
    )


def best_where(problem: Problem, ranges: Ranges, wanted: tuple[str, tuple[str, ...]] | None) -> float | None:
    """Least score among plans; with a producer and readers together, if wanted."""
    found: list[float] = []
    alone = evaluate(problem, Assignment({operator.name: problem.source for operator in problem.operators}))
    for assignment in all_assignments(problem):
        if wanted is not None and len({assignment.node_of[name] for name in (wanted[0], *wanted[1])}) > 1:
            continue
        latency_s, energy_j, kept = exact_costs(problem, assignment)
        if kept:
            measured = msgspec.structs.replace(alone, latency_s=latency_s, energy_j=energy_j)
            found.append(score(problem, measured, ranges))
    return min(found, default=None)


@pytest.mark.parametrize("seed", range(25))
def test_a_cuts_price_is_that_of_the_best_plan_without_it(seed: int) -> None:
    problem = random_problem(seed, operators=4)
    solution = solve(problem)
    if solution.assignment is None or solution.score is None:
        return
    plan = solution.assignment
    found = explain(problem, plan, time_limit_s=60.0)
    assert found.complete
    tensors = {tensor.name: tensor for tensor in problem.tensors}
    for cut in found.cuts:
        readers = tuple(c for c in tensors[cut.tensor].consumers if plan.node_of[c] == cut.to)
        assert readers
        best = best_where(problem, solution.ranges, (tensors[cut.tensor].producer, readers))
        if best is None:
            assert "no plan keeps the constraints without it" in cut.text
            continue
        assert cut.score_change is not None
        assert cut.score_change == pytest.approx(best - solution.score, abs=1e-5)
        assert cut.score_change >= -1e-6
    crossing = {
        (tensor.name, plan.node_of[tensor.producer], plan.node_of[consumer])
        for tensor in problem.tensors
        for consumer in tensor.consumers
        if plan.node_of[tensor.producer] != plan.node_of[consumer]
    }
    assert {(cut.tensor, cut.from_, cut.to) for cut in found.cuts} == crossing


@pytest.mark.parametrize("seed", range(25))
def test_the_noise_bound_binds_exactly_when_a_noisier_plan_is_better(seed: int) -> None:
    problem = with_max_noise(random_problem(seed, operators=4), 0.02)
    solution = solve(problem)
    if solution.assignment is None or solution.score is None:
        return
    found = explain(problem, solution.assignment, time_limit_s=60.0)
    free = best_where(with_max_noise(problem, None), solution.ranges, None)
    assert free is not None
    named = [binding for binding in found.bindings if binding.constraint == "noise"]
    assert bool(named) == (solution.score - free > 1e-6)
    for binding in named:
        assert binding.limit == 0.02
        assert binding.value is not None
        assert binding.slack == pytest.approx(0.02 - binding.value)
        gains = [r.score_gain for r in found.relaxations if r.change == "max_noise 0.02 -> none"]
        assert gains == [pytest.approx(solution.score - free, abs=1e-5)]


def test_relaxing_never_makes_worse_and_the_best_comes_first() -> None:
    problem = random_problem(14, operators=6)
    plan = solve(problem).assignment
    assert plan is not None
    gains = [relaxation.score_gain for relaxation in explain(problem, plan, time_limit_s=60.0).relaxations]
    assert gains == sorted(gains, reverse=True)
    assert all(gain >= 0 for gain in gains)


def test_a_plan_that_is_not_the_best_is_explained_too() -> None:
    problem = msgspec.structs.replace(random_problem(8, operators=4), constraints=Constraints())
    worst = Assignment({o.name: "device" if o.role else "edge" for o in problem.operators})
    assert evaluate(problem, worst).violations == ()
    found = explain(problem, worst, time_limit_s=60.0)
    # A cut that costs more than it brings is never told as if it paid: the plan is not the best one, and that is said.
    costly = [cut for cut in found.cuts if cut.score_change is not None and cut.score_change < -1e-6]
    assert costly
    assert all("the plan is not the best one under these figures" in cut.text for cut in costly)
    assert found.cuts
    assert found.complete


def test_without_time_the_cuts_are_still_listed() -> None:
    problem = random_problem(14, operators=6)
    plan = solve(problem).assignment
    assert plan is not None
    found = explain(problem, plan, time_limit_s=0.0)
    assert not found.complete
    assert all("time did not suffice" in cut.text for cut in found.cuts)
