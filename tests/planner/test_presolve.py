"""Presolve: exact where it says so, and never in the way of an optimum."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesplit_controller.planner import noise_of
from edgesplit_controller.planner.bounds.elimination import plan_elimination
from edgesplit_controller.planner.bounds.noise_patterns import pattern_table
from edgesplit_controller.planner.bounds.reduction import unreduced
from edgesplit_controller.planner.cpsat.minimisation import build_model, solve_objective
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.meaning.costs import costs_of
from edgesplit_controller.planner.meaning.measures import (
    ENERGY,
    ENERGY_ALONE,
    LATENCY,
    LATENCY_ALONE,
    SumLimit,
    WeightedSum,
)
from edgesplit_controller.planner.solving.node_subsets import plans_on_subsets
from edgesplit_controller.planner.solving.recombination import recombine
from edgesplit_controller.planner.solving.session import Session
from tests.planner.brute_force import random_problem

SEEDS = st.integers(0, 1_000_000)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_elimination_finds_the_least_sum_and_every_choices_share(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))
    scope = st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=3, unique=True).map(tuple)
    scopes = [*data.draw(st.lists(scope, max_size=5)), *((v,) for v in range(len(sizes)))]
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    tables = [rng.random([sizes[v] for v in scope]) for scope in scopes]
    last = frozenset(data.draw(st.sets(st.integers(0, len(sizes) - 1))))
    found = plan_elimination(sizes, scopes, last, 1e6)
    assert found is not None
    run = found.minimise([t.transpose(a).copy() for t, a in zip(tables, found.axes, strict=True)])

    def total(choice: tuple[int, ...]) -> float:
        return sum(float(t[tuple(choice[v] for v in s)]) for t, s in zip(tables, scopes, strict=True))

    everything = {c: total(c) for c in itertools.product(*(range(size) for size in sizes))}
    assert run.value == pytest.approx(min(everything.values()))
    assert total(tuple(run.choice)) == pytest.approx(run.value)
    for bag, belief in zip(found.bags, found.beliefs(run), strict=True):
        for joint in np.ndindex(belief.shape):
            fits = [t for c, t in everything.items() if all(c[v] == j for v, j in zip(bag.scope, joint, strict=True))]
            assert float(belief[joint]) == pytest.approx(min(fits))


def test_elimination_that_would_not_fit_is_declined() -> None:
    assert plan_elimination([10] * 6, [tuple(range(6))], frozenset(), 1e5) is None


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_patterns_left_out_are_too_noisy_or_contained(seed: int) -> None:
    problem = random_problem(seed)
    costs = costs_of(problem)
    patterns = pattern_table(problem, costs)
    assert patterns is not None
    listed = {
        frozenset(np.flatnonzero(row).tolist()): n for row, n in zip(patterns.members, patterns.noise, strict=True)
    }
    limit = problem.constraints.max_noise
    for size in range(len(costs.quantizable) + 1):
        for chosen in itertools.combinations(range(len(costs.quantizable)), size):
            names = frozenset(costs.operators[costs.quantizable[place]] for place in chosen)
            noise = noise_of(problem, names)
            if frozenset(chosen) in listed:
                assert listed[frozenset(chosen)] == pytest.approx(noise, abs=1e-12)
                assert limit is None or noise <= limit
            elif limit is None or noise <= limit:
                assert patterns.closed_below
                assert any(frozenset(chosen) < other for other in listed)


@pytest.mark.parametrize("objective", [LATENCY_ALONE, ENERGY_ALONE])
@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_the_reduced_model_has_the_optimum_of_the_unreduced_one(objective: WeightedSum, seed: int) -> None:
    problem = random_problem(seed, operators=7)
    session = Session(problem, None, Clock(30.0))
    reduced = session.best(objective)
    costs = session.costs
    whole = solve_objective(
        build_model(problem, costs, session.patterns, unreduced(costs)),
        objective,
        limits=session.limits,
        start=None,
        clock=Clock(30.0),
        judge=lambda plan: objective.value(plan.measures),
    )
    assert whole.proven
    assert (whole.plan is None) == (reduced.plan is None)
    if whole.plan is not None and reduced.plan is not None:
        assert objective.value(reduced.plan.measures) == pytest.approx(objective.value(whole.plan.measures), rel=1e-6)
        assert reduced.bound <= objective.value(reduced.plan.measures) * (1 + 1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_plans_on_few_nodes_are_assignments_of_the_whole_problem(seed: int) -> None:
    problem = random_problem(seed)
    costs = costs_of(problem)
    patterns = pattern_table(problem, costs)
    for plan in plans_on_subsets(costs, patterns, (LATENCY_ALONE, ENERGY_ALONE), (), lambda: 10.0):
        assert len(plan.node) == len(costs.operators)
        assert np.isfinite(plan.measures[[LATENCY, ENERGY]]).all()


@pytest.mark.parametrize("objective", [LATENCY_ALONE, ENERGY_ALONE])
@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, data=st.data())
def test_a_narrowed_problem_is_the_problem_with_pins(objective: WeightedSum, seed: int, data: st.DataObject) -> None:
    problem = random_problem(seed, operators=6)
    operator = data.draw(st.sampled_from([o.name for o in problem.operators if o.role is None]))
    node = data.draw(st.sampled_from([n.name for n in problem.nodes]))
    session = Session(problem, None, Clock(30.0))
    session.best(objective)
    allowed = np.ones_like(session.costs.allowed)
    allowed[session.costs.operators.index(operator)] = np.array(session.costs.nodes) == node
    narrow = session.narrowed(allowed).best(objective)
    pins = {operator: tuple(n for n in (problem.constraints.pins or {}).get(operator, (node,)) if n == node)}
    if not pins[operator]:
        assert narrow.plan is None
        return
    merged = {**(problem.constraints.pins or {}), **pins}
    constraints = msgspec.structs.replace(problem.constraints, pins=merged)
    pinned = Session(msgspec.structs.replace(problem, constraints=constraints), None, Clock(30.0)).best(objective)
    assert (narrow.plan is None) == (pinned.plan is None)
    if narrow.plan is not None and pinned.plan is not None:
        assert objective.value(narrow.plan.measures) == pytest.approx(objective.value(pinned.plan.measures), rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_recombined_assignments_keep_limits_and_get_no_worse(seed: int) -> None:
    problem = random_problem(seed, operators=6)
    session = Session(problem, None, Clock(30.0))
    session.best(LATENCY_ALONE)
    session.best(ENERGY_ALONE)
    start = session.known.best(ENERGY_ALONE)
    if start is None:
        return
    limit = SumLimit(LATENCY, float(start.measures[LATENCY]))
    found = recombine(
        start,
        pool=session.known.pool,
        costs=session.costs,
        objective=ENERGY_ALONE,
        limits=(limit,),
        left_s=lambda: 10.0,
    )
    assert found is not None
    measures = found.measures
    assert limit.keeps(float(measures[LATENCY]))
    assert measures[ENERGY] <= start.measures[ENERGY] * (1 + 1e-12)
