"""Large problems under `critical-path`: bounds by branching hold for every schedule, annealed plans are plans, list schedules can be run."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Hashable

import msgspec
import numpy as np
import pytest

from edgesplit.planning.plan import Assignment, Solution
from edgesplit.planning.problem import Constraints, Problem
from edgesplit_controller.planner import evaluate, score, solve
from edgesplit_controller.planner.bounds.noise_patterns import pattern_table
from edgesplit_controller.planner.bounds.reduction import in_graph_order, merged, unreduced
from edgesplit_controller.planner.cpsat.schedule import worst_latency_s
from edgesplit_controller.planner.flows.stretch_intervals import StretchIntervals
from edgesplit_controller.planner.flows.timed_program import TimedFlowProgram
from edgesplit_controller.planner.linear.highs import LinearProgram, LinearSolver, WarmSolver
from edgesplit_controller.planner.meaning.costs import Costs, costs_of
from edgesplit_controller.planner.meaning.evaluation import end_of_timeline
from edgesplit_controller.planner.meaning.indexed_plan import Plan, PlanMeter, measured, plan_of
from edgesplit_controller.planner.meaning.list_schedule import Tasks, better_order, list_schedule, tails
from edgesplit_controller.planner.meaning.measures import ENERGY, LATENCY_ALONE, NOISE, WeightedSum
from edgesplit_controller.planner.meaning.quick_timeline import QuickTimeline
from edgesplit_controller.planner.solving.timed import timed_annealing
from edgesplit_controller.planner.solving.timed.timed_annealing import TimedAnnealing
from edgesplit_controller.planner.solving.timed.timed_branching import TimedBranching
from tests.planner.brute_force import all_assignments, makespan, random_problem
from tests.planner.exact_sums import exact_sums, keeps_limits
from tests.planner.extremes import extreme_problem

INTERVALS = "edgesplit_controller.planner.flows.stretch_intervals"
SEARCH = "edgesplit_controller.planner.solving.timed.timed_search"


def timed_problem(seed: int) -> Problem:
    """A small problem with a timeline: of ordinary figures, or with nodes up to 1e5 times as fast and times of every size."""
    if seed % 2:
        return extreme_problem(2 * seed + 1)
    return random_problem(seed, operators=3, model="critical-path", precisions=seed % 4 == 0)


def plans(problem: Problem) -> list[tuple[Assignment, float]]:
    """Every plan that keeps the limits, and the least end of its schedules. [s]"""
    return [
        (assignment, makespan(problem, assignment))
        for assignment in all_assignments(problem)
        if keeps_limits(problem, exact_sums(problem, assignment))
    ]


def stated(problem: Problem, objective: WeightedSum) -> tuple[Costs, TimedFlowProgram, LinearProgram]:
    costs = costs_of(problem)
    patterns = pattern_table(problem, costs)
    program = TimedFlowProgram(costs, patterns, problem.constraints.max_noise, 2.0 * worst_latency_s(costs))
    limits = [limit for limit in costs.limits if limit.measure != NOISE]
    return costs, program, program.program(objective, limits)


def counted(steps: int) -> Callable[[], float]:
    """Time left that runs out after so many looks at it."""
    looks = iter(range(steps, -1, -1))
    return lambda: float(next(looks, 0))


@pytest.mark.parametrize("steps", [12, 100_000])
@pytest.mark.parametrize("seed", range(60))
def test_no_plan_is_below_the_bound_of_the_tree(seed: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{INTERVALS}.WIDE", 1)
    problem = timed_problem(seed)
    found = plans(problem)
    if not found:
        return
    weights = (1.0, 0.0, 0.0) if seed % 3 else (1.0, 0.1, 0.0)
    objective = WeightedSum(weights)
    costs, program, linear = stated(problem, objective)
    tree = TimedBranching(
        program,
        linear,
        costs,
        pattern_table(problem, costs),
        objective=objective,
        seen=lambda _: float("inf"),
    )
    bound = tree.bound(float("inf"), counted(steps))
    for assignment, end_s in found:
        plan = plan_of(assignment, costs)
        assert plan is not None
        value = end_s * weights[0] + weights[1] * float(plan.measures[ENERGY])
        assert bound <= value * (1 + 1e-9), (seed, assignment)


def test_branching_proves_more_than_mixtures_allow() -> None:
    """Half of two operators on each of two nodes ends early without a transfer; no plan does."""
    problem = side_by_side(transfer_s=10.0)
    costs, program, linear = stated(problem, LATENCY_ALONE)
    mixed = LinearSolver().solve(linear, 10.0).bound
    best = min(end_s for _, end_s in plans(problem))
    tree = TimedBranching(
        program, linear, costs, pattern_table(problem, costs), objective=LATENCY_ALONE, seen=lambda _: best
    )
    assert best == pytest.approx(4.0)
    assert mixed < 0.95 * best
    assert tree.bound(best, counted(100_000)) == pytest.approx(best)
    assert tree.done


def side_by_side(transfer_s: float, *, beside: bool = False) -> Problem:
    """Four operators of a second each between an input and an output, on two nodes alike.

    Args:
        transfer_s: Of every tensor that is cut. [s]
        beside: The four are pinned to the other node, wait for one of a second at the source, and a fifth stands beside them.
    """
    base = random_problem(0, operators=1, model="critical-path")
    source, nodes = base.source, [node.name for node in base.nodes]
    seconds = dict.fromkeys(nodes, 1.0)
    nothing = dict.fromkeys(nodes, 0.0)
    operator, tensor = base.operators[0], base.tensors[0]
    plain = {"quantizable": False, "quantized_time_s": None, "weight_bytes": 0.0, "role": None}
    make = msgspec.structs.replace
    other = next(name for name in nodes if name != source)
    middle = [f"middle{index}" for index in range(4)]
    rim = [
        make(operator, **{**plain, "name": name, "time_s": nothing, "role": role})
        for name, role in (("in", "input"), ("out", "output"))
    ]
    inner = [make(operator, **{**plain, "name": name, "time_s": seconds}) for name in middle]
    size = {"bytes": transfer_s, "quantized_bytes": None, "codecs": None}
    tensors = [make(tensor, **size, name=f"to {name}", producer="in", consumers=(name,)) for name in middle]
    tensors += [make(tensor, **size, name=f"from {name}", producer=name, consumers=("out",)) for name in middle]
    pins: dict[str, tuple[str, ...]] = {}
    if beside:
        inner = [make(inner[0], name="first"), *inner, make(inner[0], name="beside", time_s=nothing)]
        tensors = [make(tensor, **size, name=f"to {name}", producer="first", consumers=(name,)) for name in middle]
        tensors += [make(tensor, **size, name=f"from {name}", producer=name, consumers=("out",)) for name in middle]
        for first, second in (("in", "first"), ("in", "beside"), ("beside", "out")):
            tensors.append(make(tensor, **size, name=f"{first} {second}", producer=first, consumers=(second,)))
        pins = {"first": (source,), "beside": (source,), **dict.fromkeys(middle, (other,))}
    links = tuple(make(link, bandwidth_bytes_per_s=1.0, latency_s=0.0) for link in base.links)
    return make(
        base,
        source=source,
        operators=(rim[0], *inner, rim[1]),
        tensors=tuple(tensors),
        links=links,
        noise_model=None,
        constraints=Constraints(pins=pins or None),
    )


def test_interval_rows_count_what_follows_an_operator_elsewhere() -> None:
    """Four runs of a second on one node that wait for one of a second on the other; something beside them keeps all in one stretch."""
    problem = side_by_side(transfer_s=0.01, beside=True)
    costs, program, linear = stated(problem, LATENCY_ALONE)
    solver, intervals = WarmSolver(linear), StretchIntervals(program, costs)
    answer = solver.solve(linear.upper, 10.0)
    assert answer.values is not None
    assert answer.bound < 4.5
    solver.add_rows(intervals.violated(answer.values, 100))
    best = min(end_s for _, end_s in plans(problem))
    assert 5.0 - 1e-9 <= solver.solve(linear.upper, 10.0).bound <= best


@pytest.mark.parametrize("seed", range(24))
def test_a_large_problem_is_bounded_and_planned_as_it_says(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every problem taken for a large one: the plan keeps the limits, and no plan's score is below the bound."""
    monkeypatch.setattr(f"{SEARCH}.SEARCHED_FLOWS", -1)
    monkeypatch.setattr(f"{INTERVALS}.WIDE", 1)
    problem = timed_problem(seed)
    solution: Solution = solve(problem, time_limit_s=0.4)
    found = plans(problem)
    assert (solution.status == "infeasible") == (not found)
    if solution.assignment is None or solution.bound is None:
        return
    assert keeps_limits(problem, exact_sums(problem, solution.assignment))
    for assignment, end_s in found:
        evaluation = msgspec.structs.replace(evaluate(problem, assignment), latency_s=end_s)
        assert solution.bound <= score(problem, evaluation, solution.ranges) + 2e-6, (seed, assignment)


# --- list schedules ---------------------------------------------------------------------------------------------------


def drawn_tasks(seed: int, count: int) -> Tasks:
    draw = random.Random(seed)
    after = [sorted({k for k in range(i + 1, count) if draw.random() < 0.3}) for i in range(count)]
    resources: list[Hashable] = [draw.choice(["a", "b", ("a", "b"), None]) for _ in range(count)]
    durations_s = [draw.choice([0.0, 1.0, draw.uniform(0.1, 3.0)]) for _ in range(count)]
    return Tasks(durations_s, [draw.choice([0.0, 0.0, 0.5]) for _ in range(count)], resources, after)


@pytest.mark.parametrize("seed", range(30))
def test_a_list_schedule_can_be_run(seed: int) -> None:
    tasks = drawn_tasks(seed, 9)
    draw = random.Random(seed)
    for priorities in (tails(tasks), [draw.random() for _ in range(9)]):
        end_s, starts_s = list_schedule(tasks, priorities, 2.0)
        done_s = [starts_s[i] + tasks.durations_s[i] + tasks.lags_s[i] for i in range(9)]
        assert end_s == pytest.approx(max(done_s))
        assert min(starts_s) >= 2.0
        for first in range(9):
            for second in tasks.after[first]:
                assert starts_s[second] >= done_s[first] - 1e-12
            for second in range(first):
                apart = [tasks.resources[i] is None or tasks.durations_s[i] == 0.0 for i in (first, second)]
                if tasks.resources[first] == tasks.resources[second] and not any(apart):
                    before, behind = sorted((first, second), key=starts_s.__getitem__)
                    assert starts_s[behind] >= starts_s[before] + tasks.durations_s[before] - 1e-12


def test_a_link_is_fed_before_what_is_more_urgent() -> None:
    """The longest way to the end goes through `long`, and the link would wait for it; the short run first keeps the link busy."""
    tasks = Tasks(
        durations_s=[3.0, 0.1, 3.0, 4.0],
        lags_s=[0.0] * 4,
        resources=["node", "node", "link", "link"],
        after=[[2], [3], [], []],
    )
    priorities = [10.0, 1.0, 1.0, 1.0]
    assert list_schedule(tasks, priorities)[0] == pytest.approx(10.1, abs=0.2)
    assert better_order(tasks, priorities, 200)[0] == pytest.approx(7.1)


@pytest.mark.parametrize("seed", range(30))
def test_other_orders_are_never_later_and_the_same_every_time(seed: int) -> None:
    tasks = drawn_tasks(seed, 12)
    at_first_s, _ = list_schedule(tasks, tails(tasks))
    end_s, starts_s, factors = better_order(tasks, tails(tasks), 50)
    assert end_s <= at_first_s
    assert (end_s, starts_s, factors) == better_order(tasks, tails(tasks), 50)
    weighed = [tail_s * factor for tail_s, factor in zip(tails(tasks), factors, strict=True)]
    assert list_schedule(tasks, weighed) == (end_s, starts_s)


def test_a_quick_timeline_is_never_earlier_than_the_best_one() -> None:
    checked = 0
    for seed in range(20):
        checked += quick_timelines_checked(seed)
    assert checked > 200


def quick_timelines_checked(seed: int) -> int:
    problem = random_problem(seed, operators=4, model="critical-path", precisions=seed % 2 == 0)
    costs = costs_of(problem)
    quick = QuickTimeline(costs, unreduced(costs).units)
    meter, checked = PlanMeter(costs), 0
    for assignment, end_s in plans(problem)[::7]:
        plan = plan_of(assignment, costs)
        assert plan is not None
        said_s = quick.grouped(plan.node, plan.quantized, plan.mode).end_s({})
        assert said_s >= end_s * (1 - 1e-9)
        assert end_of_timeline(problem, assignment) <= said_s * (1 + 1e-9)
        assert meter.measured(plan.node, plan.quantized, plan.mode).measures == pytest.approx(plan.measures)
        checked += 1
    return checked


def test_units_that_wait_for_each_other_become_one() -> None:
    for seed in range(30):
        costs = costs_of(random_problem(seed, operators=8))
        draw = random.Random(seed)
        edges = [(t.producer, consumer) for t in costs.tensors for consumer in t.consumers]
        drawn = merged(costs, draw.sample(edges, len(edges) // 2), costs.allowed)
        ordered = in_graph_order(costs, drawn)
        assert sorted(operator for unit in ordered.units for operator in unit) == list(range(len(costs.operators)))
        assert all(ordered.unit_of[first] <= ordered.unit_of[second] for first, second in edges)
        assert all(len({int(ordered.unit_of[operator]) for operator in unit}) == 1 for unit in drawn.units)


def test_annealing_finds_what_side_by_side_is_worth() -> None:
    """From everything on one node, where two nodes need half the time."""
    problem = side_by_side(transfer_s=0.01)
    costs = costs_of(problem)
    annealing = TimedAnnealing(costs, None, LATENCY_ALONE, costs.limits, [unreduced(costs)])
    start: Plan = measured((costs.source,) * len(costs.operators), frozenset(), {}, costs)
    assert annealing.value(start) == pytest.approx(4.0)
    found = annealing.improved([start], counted(4_000))
    assert found is not None
    best = min(end_s for _, end_s in plans(problem))
    assert found[1] == pytest.approx(best)
    assert found[0].measures[0] == pytest.approx(best)
    assert np.isfinite(found[0].measures).all()


def chain(count: int, transfer_s: float) -> Problem:
    """Operators of a second each in a row between an input and an output; the other node takes a quarter.

    Args:
        count: How many.
        transfer_s: Of every tensor that is cut. [s]
    """
    base = side_by_side(transfer_s)
    make = msgspec.structs.replace
    first, last, inner, tensor = base.operators[0], base.operators[-1], base.operators[1], base.tensors[0]
    quick = {node.name: 1.0 if node.name == base.source else 0.25 for node in base.nodes}
    row = [first, *(make(inner, name=f"step{index}", time_s=quick) for index in range(count)), last]
    tensors = tuple(
        make(tensor, name=f"of {one.name}", producer=one.name, consumers=(other.name,))
        for one, other in itertools.pairwise(row)
    )
    return make(base, operators=tuple(row), tensors=tensors)


def test_the_other_side_of_every_cut_is_tried_before_chance_has_to_find_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer than sixteen of forty steps elsewhere cost more than they save, and what grows by chance is smaller."""
    monkeypatch.setattr(timed_annealing, "GROWN", 1.0)
    problem = chain(40, transfer_s=6.0)
    costs = costs_of(problem)
    annealing = TimedAnnealing(costs, None, LATENCY_ALONE, costs.limits, [unreduced(costs)])
    start: Plan = measured((costs.source,) * len(costs.operators), frozenset(), {}, costs)
    found = annealing.improved([start], counted(300))
    assert found is not None
    assert found[1] == pytest.approx(6.0 + 40 * 0.25 + 6.0)


def test_annealing_goes_on_with_the_order_that_it_found() -> None:
    problem = side_by_side(transfer_s=0.01)
    costs = costs_of(problem)
    annealing = TimedAnnealing(costs, None, LATENCY_ALONE, costs.limits, [unreduced(costs)])
    start: Plan = measured((costs.source,) * len(costs.operators), frozenset(), {}, costs)
    first = annealing.improved([start], counted(1_000))
    assert first is not None
    again = annealing.improved([first[0]], counted(1))
    assert again is not None
    assert again[1] <= first[1]
