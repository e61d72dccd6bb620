"""Branch and bound and the flow program: their bounds hold, their plans are plans, and what they prove is so."""

from __future__ import annotations

import random

import msgspec
import networkx
import numpy as np
import pytest

from edgesplit.planning.problem import Problem
from edgesplit_controller.planner import evaluate, solve
from edgesplit_controller.planner.bounds.noise_patterns import pattern_table
from edgesplit_controller.planner.bounds.presolve import Bounds, reduce
from edgesplit_controller.planner.bounds.reduction import Reduction, merged, unreduced
from edgesplit_controller.planner.bounds.relaxation import Relaxation, relax
from edgesplit_controller.planner.branching.batch import Batch, choices_open
from edgesplit_controller.planner.branching.branch_and_bound import Branching
from edgesplit_controller.planner.branching.contraction import contract
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.flows.flow_program import FlowProgram
from edgesplit_controller.planner.flows.timed_program import TimedFlowProgram, dominators
from edgesplit_controller.planner.linear.highs import LinearProgram, LinearSolver, QuietHighs, proven_bound
from edgesplit_controller.planner.linear.tangents import Tangents
from edgesplit_controller.planner.meaning.costs import Costs, costs_of
from edgesplit_controller.planner.meaning.indexed_plan import Plan, cheapest_modes, measured, plan_of
from edgesplit_controller.planner.meaning.measures import ENERGY_ALONE, LATENCY_ALONE, NOISE, WeightedSum
from edgesplit_controller.planner.solving.session import Session
from tests.planner.brute_force import all_assignments, best_score, exact_costs, makespan, random_problem
from tests.planner.test_labels import long_network


def with_memory(problem: Problem, *bounds: float | None) -> Problem:
    """The same with room for weights on each node. [B]"""
    nodes = tuple(
        msgspec.structs.replace(node, memory_bytes=bound) for node, bound in zip(problem.nodes, bounds, strict=True)
    )
    draw = random.Random(5)
    operators = tuple(msgspec.structs.replace(o, weight_bytes=draw.uniform(0.5, 1.5)) for o in problem.operators)
    return msgspec.structs.replace(problem, nodes=nodes, operators=operators)


def complete(problem: Problem) -> tuple[Costs, Relaxation]:
    costs = costs_of(problem)
    relaxation = relax(costs, pattern_table(problem, costs))
    assert relaxation is not None
    return costs, relaxation


@pytest.fixture(autouse=True)
def _no_search_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no problem were so small that search is tried before bounds are raised."""
    monkeypatch.setattr("edgesplit_controller.planner.solving.session.FEW_PLACES", 0)


@pytest.mark.parametrize("seed", range(12))
def test_several_eliminations_at_once_say_what_each_says_alone(seed: int) -> None:
    costs, relaxation = complete(random_problem(seed, precisions=True))
    draw = np.random.default_rng(seed)
    prices = draw.uniform(0.1, 2.0, (5, len(costs.sums)))
    open_ = np.stack([choices_open(relaxation, costs)] * 5)
    for row in range(1, 5):
        operator = int(draw.integers(len(costs.operators)))
        allowed = np.flatnonzero(costs.allowed[operator])
        open_[row, operator] = False
        open_[row, operator, draw.choice(allowed)] = True
    minima = Batch(relaxation, costs).minimise(prices, open_)
    for row in range(5):
        domain = open_[row, : len(costs.operators), : len(costs.nodes)]
        run = relaxation.elimination.minimise(relaxation.tables(prices[row], domain))
        assert minima.value[row] == pytest.approx(run.value)
        if run.value < 1e200:
            choice = minima.choice[row].tolist()
            node = tuple(choice[: len(costs.operators)])
            bits = frozenset(o for place, o in enumerate(relaxation.bits) if choice[len(costs.operators) + place])
            plan = measured(node, bits, cheapest_modes(node, bits, prices[row], costs), costs)
            assert prices[row] @ minima.measures[row] == pytest.approx(run.value)
            assert minima.measures[row] == pytest.approx(plan.measures)


@pytest.mark.parametrize("seed", range(8))
def test_a_contracted_plan_costs_what_it_costs_expanded(seed: int) -> None:
    problem = random_problem(seed, operators=6, precisions=True)
    costs = costs_of(problem)
    draw = random.Random(seed)
    pairs = [(t.producer, c) for t in costs.tensors for c in t.consumers if draw.random() < 0.4]
    reduction = merged(costs, pairs, costs.allowed)
    smaller = contract(costs, pattern_table(problem, costs), reduction)
    compared = 0
    for assignment in all_assignments(problem):
        plan = plan_of(assignment, costs)
        assert plan is not None
        nodes = {int(group): plan.node[operator] for operator, group in enumerate(smaller.group_of)}
        if any(nodes[int(group)] != plan.node[operator] for operator, group in enumerate(smaller.group_of)):
            continue
        of_group = {operator: group for group, operator in smaller.quantizable.items()}
        small = measured(
            tuple(nodes[group] for group in range(len(nodes))),
            frozenset(of_group[operator] for operator in plan.quantized),
            plan.mode,
            smaller.costs,
        )
        assert small.measures == pytest.approx(plan.measures)
        assert smaller.expanded(small) == plan
        compared += 1
        if compared == 200:
            break
    assert compared or not reduction.domain.any(axis=1).all()


def test_a_group_has_one_precision_at_most() -> None:
    problem = long_network(limit_j=None, weights=(1.0, 0.0), operators=40)
    costs = costs_of(problem)
    everything = Reduction(
        (tuple(range(len(costs.operators))),),
        np.zeros(len(costs.operators), dtype=np.intp),
        np.logical_and.reduce(costs.allowed, axis=0)[np.newaxis],
    )
    smaller = contract(costs, None, everything)
    assert len(smaller.costs.operators) == len(costs.quantizable)
    assert sorted(smaller.quantizable.values()) == sorted(costs.quantizable)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)])
def test_tight_memory_is_proven_by_branching_and_agrees_with_search(
    weights: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    total = 122.0
    problem = with_memory(long_network(limit_j=None, weights=weights), 0.1 * total, 0.4 * total, 0.6 * total)
    found = solve(problem)
    assert found.status == "optimal"
    monkeypatch.setattr("edgesplit_controller.planner.solving.session.branched", lambda *_, **__: (0.0, False))
    searched = solve(problem)
    assert searched.status == "optimal"
    assert found.score == pytest.approx(searched.score, abs=1e-6)
    assert found.assignment is not None
    assert not evaluate(problem, found.assignment).violations


def test_tight_memory_and_noise_of_codecs_are_proven_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mixtures differ in how tensors are coded, too."""
    problem = with_memory(long_network(limit_j=None, weights=(1.0, 0.0), operators=60, codecs=True), 6.0, 25.0, 37.0)
    found = solve(problem)
    assert found.status == "optimal"
    monkeypatch.setattr("edgesplit_controller.planner.solving.session.branched", lambda *_, **__: (0.0, False))
    searched = solve(problem)
    assert searched.status == "optimal"
    assert found.evaluation is not None
    assert searched.evaluation is not None
    assert found.evaluation.latency_s == pytest.approx(searched.evaluation.latency_s, rel=1e-8)


@pytest.mark.parametrize("seed", range(200, 230))
def test_limits_on_small_problems_are_branched_to_the_same_optimum(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if search were never quicker, and labels never suited."""
    monkeypatch.setattr("edgesplit_controller.planner.solving.branched.FEW_FLOWS", 0)
    monkeypatch.setattr("edgesplit_controller.planner.solving.branched.LARGE", 0)
    monkeypatch.setattr(
        "edgesplit_controller.planner.bounds.labels.labelling.Labelling.suits", staticmethod(lambda *_: False)
    )
    problem = random_problem(seed, operators=5, precisions=True)
    wanted = best_score(problem)
    assert solve(problem).score == (None if wanted is None else pytest.approx(wanted, abs=1e-6))


def test_the_tree_alone_finds_the_least_latency_under_tight_memory() -> None:
    problem = with_memory(long_network(limit_j=None, weights=(1.0, 0.0)), 12.0, 50.0, 73.0)
    costs, relaxation = complete(problem)
    session = Session(problem, None, Clock(60.0))
    branching = Branching(relaxation, costs, LATENCY_ALONE, session.limits)

    def offer(plan: Plan) -> float:
        session.known.keep(plan)
        return session.known.value(LATENCY_ALONE)

    assert branching.dive(offer=offer, left_s=lambda: 60.0) < float("inf")
    start = session.known.value(LATENCY_ALONE)
    verdict = branching.solve(ceiling=start, offer=offer, left_s=lambda: 60.0)
    assert verdict.proven
    best = session.known.value(LATENCY_ALONE)
    assert verdict.bound <= best <= start
    assert best == pytest.approx(verdict.bound, rel=1e-8)


def test_time_that_runs_out_leaves_a_bound_that_holds() -> None:
    problem = with_memory(long_network(limit_j=None, weights=(1.0, 0.0)), 12.0, 50.0, 73.0)
    costs, relaxation = complete(problem)
    session = Session(problem, None, Clock(60.0))
    best = session.best(LATENCY_ALONE)
    assert best.proven
    assert best.plan is not None
    rounds = iter([1.0] * 4)
    verdict = Branching(relaxation, costs, LATENCY_ALONE, session.limits).solve(
        ceiling=float("inf"),
        offer=lambda _: float("inf"),
        left_s=lambda: next(rounds, 0.0),
    )
    assert not verdict.proven
    assert 0 < verdict.bound <= LATENCY_ALONE.value(best.plan.measures)


# --- the flow program ------------------------------------------------------------------------------------------------


def feasible(problem: Problem, costs: Costs) -> list[Plan]:
    """Every plan that keeps the limits, by trying everything."""
    plans = []
    for assignment in all_assignments(problem):
        if exact_costs(problem, assignment)[2]:
            plan = plan_of(assignment, costs)
            assert plan is not None
            plans.append(plan)
    return plans


def flow_bounds(problem: Problem, costs: Costs, objective: WeightedSum, *, listed: bool) -> Bounds:
    patterns = pattern_table(problem, costs) if listed else None
    limits = [x for x in costs.limits if x.measure != NOISE]
    program = FlowProgram(costs, patterns, problem.constraints.max_noise)
    return program.bounds(LinearSolver().solve(program.program(objective, limits), 10.0))


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("seed", range(30))
def test_no_plan_is_below_what_the_flow_program_says_of_its_choices(seed: int, listed: bool) -> None:
    problem = random_problem(seed, operators=4, precisions=seed % 2 == 0, curved=seed % 3 == 0)
    costs = costs_of(problem)
    objective = WeightedSum((1.0, 0.3, 0.0))
    bounds = flow_bounds(problem, costs, objective, listed=listed)
    plans = feasible(problem, costs)
    if not plans:
        return
    assert np.isfinite(bounds.value)
    for plan in plans:
        value = objective.value(plan.measures) * (1 + 1e-12)
        assert bounds.value <= value
        assert (bounds.least[np.arange(len(plan.node)), list(plan.node)] <= value).all()
        for (producer, consumer), least in bounds.apart.items():
            assert plan.node[producer] == plan.node[consumer] or least <= value


@pytest.mark.parametrize("seed", range(10))
def test_large_graphs_are_reduced_by_flows_to_the_same_optimum(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What elimination takes on whole is solved as if it could not."""
    problem = random_problem(seed, operators=5)
    wanted = best_score(problem)
    monkeypatch.setattr("edgesplit_controller.planner.solving.session.relax", lambda *_: None)
    found = solve(problem)
    assert found.score == (None if wanted is None else pytest.approx(wanted, abs=1e-6))


def test_the_flow_program_closes_what_prices_leave_open() -> None:
    problem = long_network(limit_j=None, weights=(1.0, 0.0), nodes=4)
    costs = costs_of(problem)
    patterns = pattern_table(problem, costs)
    bounds = flow_bounds(problem, costs, ENERGY_ALONE, listed=True)
    best = Session(problem, None, Clock(60.0)).best(ENERGY_ALONE)
    assert best.plan is not None
    value = ENERGY_ALONE.value(best.plan.measures)
    assert bounds.value == pytest.approx(value, rel=1e-6)
    reduction, _ = reduce(costs, patterns, costs.allowed, bounds, value)
    assert len(reduction.units) < len(unreduced(costs).units)
    assert reduction.domain.sum() < costs.allowed.sum()


# --- linear programs ------------------------------------------------------------------------------------------------


def test_a_bound_holds_though_dual_values_are_wrong() -> None:
    draw = np.random.default_rng(3)
    for _ in range(20):
        rows, columns = 6, 9
        matrix = draw.uniform(-1, 1, (rows, columns))
        inside = draw.uniform(0, 1, columns)
        program = LinearProgram(
            cost=draw.uniform(-1, 1, columns),
            lower=np.zeros(columns),
            upper=np.ones(columns),
            starts=np.arange(0, rows * columns + 1, columns, dtype=np.int32),
            columns=np.tile(np.arange(columns, dtype=np.int32), rows),
            values=matrix.reshape(-1),
            row_lower=np.where(np.arange(rows) < 3, matrix @ inside, -np.inf),
            row_upper=matrix @ inside,
        )
        answer = LinearSolver().solve(program, 10.0)
        assert answer.values is not None
        optimum = float(program.cost @ answer.values)
        assert answer.bound <= optimum + 1e-12
        assert answer.bound == pytest.approx(optimum, abs=1e-6)
        wrong, _ = proven_bound(program, answer.duals + draw.normal(0, 0.1, rows))
        assert wrong <= optimum + 1e-9


def test_what_cannot_be_is_known(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """And HiGHS says nothing on standard output, which commands write their JSON to."""
    program = LinearProgram(
        cost=np.ones(1),
        lower=np.zeros(1),
        upper=np.ones(1),
        starts=np.array([0, 1], dtype=np.int32),
        columns=np.zeros(1, dtype=np.int32),
        values=np.ones(1),
        row_lower=np.array([2.0]),
        row_upper=np.array([np.inf]),
    )
    solver = LinearSolver()
    assert solver.solve(program, 10.0).bound == float("inf")
    assert capfd.readouterr() == ("", "")

    # Its word alone, without a ray that proves it, says nothing.
    def no_ray(_: QuietHighs) -> tuple[None, bool, None]:
        return None, False, None

    monkeypatch.setattr(QuietHighs, "getDualRay", no_ray)
    assert solver.solve(program, 10.0).bound == pytest.approx(0.0)


def test_tangents_give_the_prices_at_which_the_least_of_them_is_greatest() -> None:
    tangents = Tangents(np.array([10.0]))
    tangents.add(1.0, np.array([14.0]))  # too large by 4, and cheap
    tangents.add(5.0, np.array([8.0]))  # within by 2, and dear
    found = tangents.best(np.arange(2), np.zeros(1), 10)
    assert found is not None
    assert found.prices == pytest.approx([4 / 6])
    assert found.promise == pytest.approx(1 + 4 * 4 / 6)
    assert found.shares == pytest.approx([1 / 3, 2 / 3])
    assert tangents.best(np.zeros(0, dtype=np.intp), np.zeros(1), 10) is None


# --- the flow program with time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_no_schedule_is_shorter_than_the_program_with_time_says(seed: int) -> None:
    problem = random_problem(seed, operators=3, model="critical-path", precisions=seed % 2 == 0, curved=seed % 3 == 0)
    costs = costs_of(problem)
    limits = [x for x in costs.limits if x.measure != NOISE]
    program = TimedFlowProgram(costs, pattern_table(problem, costs), problem.constraints.max_noise, 100.0)
    answer = LinearSolver().solve(program.program(LATENCY_ALONE, limits), 10.0)
    bounds = program.bounds(answer)
    for assignment in all_assignments(problem):
        if exact_costs(problem, assignment)[2]:
            plan = plan_of(assignment, costs)
            assert plan is not None
            end_s = makespan(problem, assignment) * (1 + 1e-9)
            assert bounds.value <= end_s
            assert (bounds.least[np.arange(len(plan.node)), list(plan.node)] <= end_s).all()


def test_dominators_are_what_everything_else_comes_before_or_after() -> None:
    for seed in range(40):
        problem = random_problem(seed, operators=6)
        costs = costs_of(problem)
        graph: networkx.DiGraph[int] = networkx.DiGraph()
        graph.add_nodes_from(range(len(costs.operators)))
        graph.add_edges_from((t.producer, c) for t in costs.tensors for c in t.consumers)
        around = {o: networkx.descendants(graph, o) | networkx.ancestors(graph, o) | {o} for o in graph}
        assert dominators(costs) == [o for o in sorted(graph) if len(around[o]) == len(graph)], seed
