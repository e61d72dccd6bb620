"""Labels on parts: under limits on memory and noise they find what trying everything finds, and never claim more than they looked at."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edgesplit.planning.problem import Problem
from edgesplit_controller.planner import solve
from edgesplit_controller.planner.bounds.labels.caps import CapRun
from edgesplit_controller.planner.bounds.labels.dominance import undominated
from edgesplit_controller.planner.bounds.noise_patterns import pattern_table
from edgesplit_controller.planner.bounds.relaxation import relax
from edgesplit_controller.planner.branching.batch import Batch
from edgesplit_controller.planner.branching.label_search import LabelSearch
from edgesplit_controller.planner.branching.restrictions import Pricing
from edgesplit_controller.planner.meaning.costs import costs_of
from edgesplit_controller.planner.meaning.indexed_plan import Plan, plan_of
from edgesplit_controller.planner.meaning.measures import NOISE, SumLimit, WeightedSum
from tests.planner.brute_force import all_assignments, best_score, exact_costs, random_problem

OBJECTIVE = WeightedSum((1.0, 0.3, 0.0))
MUCH = 1e6
"""Above every plan's value."""


def tight(seed: int, operators: int = 4) -> Problem:
    """A small problem with codecs whose nodes have room for less than all weights, and a bound on noise."""
    problem = random_problem(seed, operators=operators, precisions=seed % 2 == 0)
    weights = sum(operator.weight_bytes for operator in problem.operators)
    share = 0.35 + 0.1 * (seed % 4)
    nodes = tuple(msgspec.structs.replace(node, memory_bytes=share * weights) for node in problem.nodes)
    noise = problem.constraints.max_noise
    constraints = msgspec.structs.replace(problem.constraints, max_noise=0.05 if noise is None else noise)
    return msgspec.structs.replace(problem, nodes=nodes, constraints=constraints)


class Searched:
    """Labels over one small problem, and what they offered."""

    def __init__(self, problem: Problem) -> None:
        self.costs = costs_of(problem)
        relaxation = relax(self.costs, pattern_table(problem, self.costs))
        assert relaxation is not None
        assert relaxation.complete
        self.limits: list[SumLimit] = [*self.costs.limits]
        self.pricing = Pricing(relaxation, self.costs, OBJECTIVE, self.limits)
        self.labels = LabelSearch(self.pricing, self.costs)
        self.offered: list[Plan] = []

    def offer(self, plan: Plan) -> float:
        if all(limit.keeps(float(plan.measures[limit.measure])) for limit in self.limits):
            self.offered.append(plan)
        return min((OBJECTIVE.value(plan.measures) for plan in self.offered), default=float("inf"))


def best_value(problem: Problem, searched: Searched) -> float:
    values = [float("inf")]
    for assignment in all_assignments(problem):
        if exact_costs(problem, assignment)[2]:
            plan = plan_of(assignment, searched.costs)
            assert plan is not None
            values.append(OBJECTIVE.value(plan.measures))
    return min(values)


@pytest.mark.parametrize("seed", range(40))
def test_labels_find_the_best_plan_under_memory_and_noise(seed: int) -> None:
    problem = tight(seed)
    searched = Searched(problem)
    wanted = best_value(problem, searched)
    start = searched.pricing.best(MUCH, lambda: 60.0)
    assert start.bound <= wanted
    found = searched.labels.search(start.best, MUCH, every=True, offer=searched.offer, left_s=lambda: 60.0)
    assert found is not None
    assert found.settled
    assert found.value == pytest.approx(min(wanted, MUCH), rel=1e-12)
    assert found.bound <= min(wanted, MUCH)


@pytest.mark.parametrize("seed", range(40))
def test_below_the_best_plan_there_is_nothing(seed: int) -> None:
    problem = tight(seed)
    searched = Searched(problem)
    wanted = best_value(problem, searched)
    if not np.isfinite(wanted) or wanted == 0.0:
        return
    start = searched.pricing.best(MUCH, lambda: 60.0)
    ceiling = 0.999 * wanted
    found = searched.labels.search(start.best, ceiling, every=True, offer=searched.offer, left_s=lambda: 60.0)
    assert found is not None
    assert found.settled
    assert not searched.offered
    assert ceiling * (1 - 1e-9) <= found.bound <= ceiling


def test_the_most_promising_labels_prove_nothing_where_others_were_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """But what they find is a plan."""
    monkeypatch.setattr("edgesplit_controller.planner.branching.label_search.WIDTH", 1)
    partial, plans = 0, 0
    for seed in range(30):
        problem = tight(seed)
        searched = Searched(problem)
        start = searched.pricing.best(MUCH, lambda: 60.0)
        found = searched.labels.search(start.best, MUCH, every=False, offer=searched.offer, left_s=lambda: 60.0)
        assert found is not None
        if not found.every:
            partial += 1
            assert found.bound == -np.inf
            assert not found.settled
        if searched.offered:
            plans += 1
            assert found.value >= best_value(problem, searched) * (1 - 1e-12)
    assert partial > 3
    assert plans > 10


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("labels", ["few", "too many", "not offered", "none"])
def test_the_score_under_memory_and_noise_is_that_of_trying_everything(
    seed: int, labels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever becomes of labels: few, too many of them, none that is a plan for the exact limits, none tried. Never by search first."""
    monkeypatch.setattr("edgesplit_controller.planner.solving.session.FEW_PLACES", 0)
    monkeypatch.setattr("edgesplit_controller.planner.solving.branched.FEW_FLOWS", 0)
    monkeypatch.setattr("edgesplit_controller.planner.solving.branched.LARGE", 0)
    if labels == "too many":
        monkeypatch.setattr("edgesplit_controller.planner.branching.label_search.MOST_LABELS", 5)
    if labels == "not offered":
        monkeypatch.setattr("edgesplit_controller.planner.branching.label_search.TRIED", 0)
    if labels == "none":
        monkeypatch.setattr("edgesplit_controller.planner.branching.label_search.MOST_LIMITS", -1)
    problem = tight(1000 + seed, operators=4)
    wanted = best_score(problem)
    assert solve(problem).score == (None if wanted is None else pytest.approx(wanted, abs=1e-6))


@pytest.mark.parametrize("seed", range(12))
def test_bounds_at_many_prices_at_once_are_those_at_each(seed: int) -> None:
    problem = tight(seed, operators=6)
    costs = costs_of(problem)
    relaxation = relax(costs, pattern_table(problem, costs))
    assert relaxation is not None
    prices = np.random.default_rng(seed).uniform(0.0, 2.0, (4, len(costs.sums)))
    prices[0, NOISE:] = 0.0
    for run, weights in zip(Batch(relaxation, costs).completions(prices), prices, strict=True):
        minimised = relaxation.elimination.minimise(relaxation.tables(weights, costs.allowed))
        alone = CapRun.of(weights, minimised, relaxation.elimination)
        possible = alone.least < 1e200
        assert possible.any()
        assert run.least[possible] == pytest.approx(alone.least[possible])
        assert run.outside[possible] == pytest.approx(alone.outside[possible], abs=1e-6)
        assert (run.least[~possible] >= 1e200).all()
        reached = alone.messages < 1e200
        assert run.messages[reached] == pytest.approx(alone.messages[reached])


@pytest.mark.parametrize("measures", [3, 4, 5])
def test_of_many_labels_none_is_left_that_another_dominates(measures: int) -> None:
    draw = np.random.default_rng(measures)
    group = draw.integers(0, 3, 1500)
    judged = draw.integers(0, 9, (measures, 1500)).astype(np.float64)
    kept = undominated(group, judged)
    for one in kept.tolist():
        others = kept[(group[kept] == group[one]) & (kept != one)]
        assert not (judged[:, others] <= judged[:, [one]]).all(axis=0).any()
