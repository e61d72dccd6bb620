"""The referee: costs, limits and timelines against a plain reading of the problem file."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesplit.errors import InvalidInput
from edgesplit.planning.plan import Assignment, Ranges
from edgesplit.planning.problem import Objective, Problem
from edgesplit_controller.planner import evaluate, score
from tests.planner.brute_force import Model, all_assignments, exact_costs, makespan, random_problem

SEEDS = st.integers(0, 1_000_000)


def some_assignments(problem: Problem, seed: int, count: int) -> list[Assignment]:
    everything = list(itertools.islice(all_assignments(problem), 2000))
    random.Random(seed).shuffle(everything)
    return everything[:count]


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_costs_and_limits_match_a_plain_reading(seed: int) -> None:
    problem = random_problem(seed)
    for assignment in some_assignments(problem, seed, 5):
        latency_s, energy_j, kept = exact_costs(problem, assignment)
        found = evaluate(problem, assignment)
        assert found.latency_s == pytest.approx(latency_s, rel=1e-12, abs=1e-12)
        assert found.energy_j == pytest.approx(energy_j, rel=1e-12, abs=1e-12)
        assert (not found.violations) == kept


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, operators=st.integers(2, 5))
def test_the_critical_path_is_the_best_of_all_orders(seed: int, operators: int) -> None:
    problem = random_problem(seed, model="critical-path", operators=operators)
    for assignment in some_assignments(problem, seed, 4):
        found = evaluate(problem, assignment)
        assert found.latency_s == pytest.approx(makespan(problem, assignment), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("model", ["sum", "critical-path"])
@settings(max_examples=50, deadline=None)
@given(seed=SEEDS)
def test_a_timeline_shares_nothing_and_waits_for_everything(model: Model, seed: int) -> None:
    problem = random_problem(seed, model=model)
    links = {(link.source, link.target): link for link in problem.links}
    for assignment in some_assignments(problem, seed, 3):
        found = evaluate(problem, assignment)
        busy: dict[object, list[tuple[float, float]]] = {}
        ready: dict[tuple[str | None, str | None], float] = {}
        for entry in found.timeline:
            end_s = entry.end_s
            if entry.kind == "transfer":
                end_s -= links[str(entry.source), str(entry.target)].latency_s
            if end_s > entry.start_s:
                busy.setdefault(entry.node or (entry.source, entry.target), []).append((entry.start_s, end_s))
            if entry.kind in ("transfer", "decode"):
                key = entry.tensor, entry.target or entry.node
                ready[key] = max(ready.get(key, 0.0), entry.end_s)
        for intervals in busy.values():
            intervals.sort()
            assert all(a[1] <= b[0] + 1e-9 for a, b in itertools.pairwise(intervals))
        starts = {e.component: e.start_s for e in found.timeline if e.kind == "compute"}
        for component in found.components:
            for tensor in component.inputs:
                assert starts[component.id] >= ready.get((tensor, component.node), 0.0) - 1e-9
        assert found.timeline_s >= max((e.end_s for e in found.timeline), default=0.0) - 1e-12


def test_a_transfer_without_a_link_is_a_violation_and_takes_forever() -> None:
    problem = random_problem(3)
    bare = Problem(**{**{f: getattr(problem, f) for f in problem.__struct_fields__}, "links": ()})
    moved = {o.name: "edge" if o.role is None else "device" for o in problem.operators}
    found = evaluate(bare, Assignment(moved))
    assert found.latency_s == float("inf")
    assert any("without a link" in sentence for sentence in found.violations)


def test_an_incomplete_assignment_is_refused() -> None:
    problem = random_problem(3)
    with pytest.raises(InvalidInput, match="'in'"):
        evaluate(problem, Assignment({}))
    complete = {o.name: "device" for o in problem.operators}
    with pytest.raises(InvalidInput, match="'ghost'"):
        evaluate(problem, Assignment(complete, frozenset({"ghost"})))
    with pytest.raises(InvalidInput, match="'zip'"):
        evaluate(problem, Assignment(complete, codecs={"t0": "zip"}))


def test_a_tiny_range_counts_as_its_best_value() -> None:
    problem = random_problem(3)
    both = Objective(latency_weight=1, energy_weight=3)
    problem = Problem(**{**{f: getattr(problem, f) for f in problem.__struct_fields__}, "objective": both})
    found = evaluate(problem, Assignment({o.name: "device" for o in problem.operators}))
    ranges = Ranges(
        best_latency_s=found.latency_s / 2,
        latency_at_best_energy_s=found.latency_s / 2,
        best_energy_j=found.energy_j / 2,
        energy_at_best_latency_j=found.energy_j,
    )
    assert score(problem, found, ranges) == pytest.approx(0.25 * 1 + 0.75 * 1)
