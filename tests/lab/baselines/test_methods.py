"""Baselines are what their papers say: against trying everything, against a published example, and served as they are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec
import pytest

from bench.large_problem import large_problem
from edgesplit.planning.plan import Assignment, FixedPlan
from edgesplit.planning.problem import Constraints, Link, Node, Objective, Problem
from edgesplit.planning.problem_validation import topological_order
from edgesplit_controller.planner import evaluate, score, solve
from lab.baselines.dads import best_two_way_cut
from lab.baselines.heft import TaskGraph, heft_placement, schedule, upward_ranks
from lab.baselines.methods import plan_for
from lab.baselines.neurosurgeon import best_chain_cut
from lab.baselines.prices import MethodHasNoPlan
from lab.baselines.random_plan import drawn_plan
from lab.baselines.study import as_the_study_has_it, study_plan
from tests.planner.brute_force import best_score, exact_costs, random_problem

SEEDS = range(100)
METHODS = ("device", "edge", "cloud", "neurosurgeon", "dads", "heft", "study", "random-1", "random-2")


def plain(seed: int, operators: int = 6) -> Problem:
    """A random problem without limits on what methods of the literature do not know: device energy and noise."""
    problem = random_problem(seed, operators=operators)
    constraints = Constraints(pins=problem.constraints.pins)
    return msgspec.structs.replace(problem, constraints=constraints)


def costs(problem: Problem, node_of: dict[str, str]) -> tuple[float, float] | None:
    """Latency and energy of a float plan; None where memory or links forbid it."""
    links = {(link.source, link.target) for link in problem.links}
    for tensor in problem.tensors:
        sender = node_of[tensor.producer]
        if any((sender, node_of[reader]) not in links for reader in tensor.consumers if node_of[reader] != sender):
            return None
    latency_s, energy_j, kept = exact_costs(problem, Assignment(node_of))
    return (latency_s, energy_j) if kept else None


def weighed(problem: Problem, found: list[tuple[float, float]]) -> float:
    """The least weighted sum of latency and energy, each over its best."""
    best_s, best_j = min(cost[0] for cost in found), min(cost[1] for cost in found)
    return min(weigh(problem, cost, best_s, best_j) for cost in found)


def weigh(problem: Problem, cost: tuple[float, float], best_s: float, best_j: float) -> float:
    objective = problem.objective
    return objective.latency_weight * cost[0] / (best_s or 1.0) + objective.energy_weight * cost[1] / (best_j or 1.0)


def allowed(problem: Problem, node_of: dict[str, str]) -> bool:
    pins = problem.constraints.pins or {}
    return all(
        node_of[operator.name] == problem.source
        if operator.role is not None
        else node_of[operator.name] in pins.get(operator.name, {node.name for node in problem.nodes})
        for operator in problem.operators
    )


def partitions(problem: Problem) -> Iterator[dict[str, str]]:
    """Every plan over the source and one other node."""
    names = [operator.name for operator in problem.operators]
    for other in [node.name for node in problem.nodes if node.name != problem.source]:
        for places in itertools.product((problem.source, other), repeat=len(names)):
            yield dict(zip(names, places, strict=True))


def prefixes(problem: Problem) -> Iterator[dict[str, str]]:
    """Every plan with the first operators at the source and the others on one node."""
    free = {operator.name for operator in problem.operators if operator.role is None}
    names = [name for name in topological_order(problem) if name in free]
    pins = problem.constraints.pins or {}
    for other in [node.name for node in problem.nodes if node.name != problem.source]:
        for cut in range(len(names) + 1):
            wish = {name: problem.source if index < cut else other for index, name in enumerate(names)}
            turned = {
                name: node if node in pins.get(name, (node,)) else (other if node == problem.source else problem.source)
                for name, node in wish.items()
            }
            yield {operator.name: turned.get(operator.name, problem.source) for operator in problem.operators}


def two_way_links(problem: Problem, node_of: dict[str, str]) -> bool:
    """Whether the node beside the source has links both ways, without which a method does not consider it."""
    links = {(link.source, link.target) for link in problem.links}
    source = problem.source
    return all((source, node) in links and (node, source) in links for node in {*node_of.values()} - {source})


def feasible(problem: Problem, plans: Iterator[dict[str, str]]) -> list[tuple[float, float]]:
    found = [costs(problem, plan) for plan in plans if allowed(problem, plan) and two_way_links(problem, plan)]
    return [cost for cost in found if cost is not None]


@pytest.mark.parametrize("seed", SEEDS)
def test_neurosurgeon_finds_the_best_cut_of_the_chain(seed: int) -> None:
    problem = plain(seed)
    everything = feasible(problem, prefixes(problem))
    if not everything:
        with pytest.raises(MethodHasNoPlan):
            best_chain_cut(problem)
        return
    plan = best_chain_cut(problem)
    assert plan in [dict(one) for one in prefixes(problem)]
    cost = costs(problem, plan)
    assert cost is not None
    best_s, best_j = min(one[0] for one in everything), min(one[1] for one in everything)
    assert weigh(problem, cost, best_s, best_j) == pytest.approx(weighed(problem, everything))


@pytest.mark.parametrize("seed", SEEDS)
def test_dads_finds_the_best_partition_in_two(seed: int) -> None:
    problem = plain(seed)
    roomy = msgspec.structs.replace(
        problem, nodes=tuple(msgspec.structs.replace(node, memory_bytes=None) for node in problem.nodes)
    )
    everything = feasible(roomy, partitions(roomy))
    others = {node for plan in partitions(roomy) if two_way_links(roomy, plan) for node in plan.values()}
    if not everything or others == {roomy.source}:
        with pytest.raises(MethodHasNoPlan):
            best_two_way_cut(roomy)
        return
    cost = costs(roomy, best_two_way_cut(roomy))
    assert cost is not None
    best_s, best_j = min(one[0] for one in everything), min(one[1] for one in everything)
    assert weigh(roomy, cost, best_s, best_j) == pytest.approx(weighed(roomy, everything))


def test_random_problems_have_what_the_methods_differ_by() -> None:
    """Else the two tests above would prove little: pins, memory, branches, all kinds of weights, and problems without a plan."""
    problems = [plain(seed) for seed in SEEDS]
    assert {problem.objective.latency_weight for problem in problems} == {1.0, 0.0, 0.5, 0.8}
    assert any(problem.constraints.pins for problem in problems)
    assert any(node.memory_bytes for problem in problems for node in problem.nodes)
    assert any(len(tensor.consumers) > 1 for problem in problems for tensor in problem.tensors)
    solved = [problem for problem in problems if feasible(problem, prefixes(problem))]
    split = [problem for problem in solved if len({*best_chain_cut(problem).values()}) > 1]
    assert len(solved) > 70
    assert len(split) > 15


COMPUTE = {
    1: (14, 16, 9),
    2: (13, 19, 18),
    3: (11, 13, 19),
    4: (13, 8, 17),
    5: (12, 13, 10),
    6: (13, 16, 9),
    7: (7, 15, 11),
    8: (5, 11, 14),
    9: (18, 12, 20),
    10: (21, 7, 16),
}
"""Of the example in the paper: seconds of ten tasks on three processors."""
MESSAGES = {
    **{(1, 2): 18, (1, 3): 12, (1, 4): 9, (1, 5): 11, (1, 6): 14, (2, 8): 19, (2, 9): 16, (3, 7): 23},
    **{(4, 8): 27, (4, 9): 23, (5, 9): 13, (6, 8): 15, (7, 10): 17, (8, 10): 11, (9, 10): 13},
}
RANKS = {1: 108.0, 2: 77.0, 3: 80.0, 4: 80.0, 5: 69.0, 6: 63.333, 7: 42.667, 8: 35.667, 9: 44.333, 10: 14.667}


def published() -> TaskGraph:
    messages = {(str(a), str(b)): float(seconds) for (a, b), seconds in MESSAGES.items()}
    return TaskGraph(
        order=[str(task) for task in COMPUTE],
        compute_s={
            str(task): dict(zip(("P1", "P2", "P3"), map(float, times), strict=True)) for task, times in COMPUTE.items()
        },
        mean_s=messages,
        message_s=lambda edge, _sender, _receiver: messages[edge],
    )


def test_heft_gives_the_published_example_its_published_schedule() -> None:
    tasks = published()
    assert {int(task): rank for task, rank in upward_ranks(tasks).items()} == pytest.approx(RANKS, abs=1e-3)
    slots = schedule(tasks, lambda _processor, _nbytes: True)
    assert max(slot.end_s for slot in slots.values()) == 80.0
    assert {int(task): (slot.processor, slot.start_s, slot.end_s) for task, slot in slots.items()} == {
        1: ("P3", 0, 9),
        2: ("P1", 27, 40),
        3: ("P3", 9, 28),
        4: ("P2", 18, 26),
        5: ("P3", 28, 38),
        6: ("P2", 26, 42),
        7: ("P3", 38, 49),
        8: ("P1", 57, 62),
        9: ("P2", 56, 68),
        10: ("P2", 73, 80),
    }


def test_heft_fills_gaps() -> None:
    tasks = TaskGraph(
        order=("a", "b", "c"),
        compute_s={"a": {"one": 1.0, "two": 9.0}, "b": {"two": 9.0}, "c": {"two": 2.0}},
        mean_s={("a", "b"): 5.0},
        message_s=lambda _edge, _sender, _receiver: 5.0,
    )
    slots = schedule(tasks, lambda _processor, _nbytes: True)
    assert (slots["b"].start_s, slots["c"].start_s, slots["c"].end_s) == (6.0, 0.0, 2.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_heft_keeps_pins_roles_links_and_memory(seed: int) -> None:
    problem = plain(seed)
    try:
        plan = heft_placement(problem)
    except MethodHasNoPlan:
        return
    assert allowed(problem, plan)
    assert costs(problem, plan) is not None


@pytest.mark.parametrize("seed", range(40))
def test_the_studys_plan_is_the_best_without_codecs_and_with_tensors_in_float(seed: int) -> None:
    problem = random_problem(seed, operators=4)
    bare = as_the_study_has_it(problem)
    assert all(tensor.codecs is None and tensor.quantized_bytes is None for tensor in bare.tensors)
    best = best_score(bare)
    if best is None:
        with pytest.raises(MethodHasNoPlan, match="has no plan"):
            study_plan(problem)
        return
    plan = study_plan(problem)
    assert plan.codecs == {}
    assert not evaluate(bare, plan).violations
    ranges = solve(bare).ranges
    assert score(bare, evaluate(bare, plan), ranges) == pytest.approx(best, abs=1e-5)


def test_random_plans_differ_by_their_seed_alone() -> None:
    problem = large_problem(60, 3)
    assert drawn_plan(problem, 1) == drawn_plan(problem, 1)
    assert drawn_plan(problem, 1) != drawn_plan(problem, 2)
    assert set(drawn_plan(problem, 1).values()) == {"n0", "n1", "n2"}


def named(problem: Problem) -> Problem:
    """A large problem without limits, with all links, whose nodes are called as in the study."""
    nodes = tuple(msgspec.structs.replace(node, memory_bytes=None) for node in problem.nodes)
    links = tuple(
        Link(source=one.name, target=other.name, bandwidth_bytes_per_s=2e7 * (1 + place), latency_s=0.002)
        for place, one in enumerate(nodes)
        for other in nodes
        if one is not other
    )
    problem = msgspec.structs.replace(problem, nodes=nodes, links=links, constraints=Constraints())
    text = msgspec.json.encode(problem).decode()
    for old, new in (("n0", "device"), ("n1", "edge"), ("n2", "cloud")):
        text = text.replace(f'"{old}"', f'"{new}"')
    return msgspec.json.decode(text, type=Problem)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)])
@pytest.mark.parametrize("method", METHODS)
def test_every_methods_document_is_a_plan_that_can_be_served(method: str, weights: tuple[float, float]) -> None:
    objective = Objective(latency_weight=weights[0], energy_weight=weights[1])
    problem = msgspec.structs.replace(named(large_problem(120, 3)), objective=objective)
    document = plan_for(method, problem)
    plan = msgspec.json.decode(msgspec.json.encode(document), type=FixedPlan)
    assert set(plan.assignment) == {operator.name for operator in problem.operators}
    evaluation = evaluate(problem, Assignment(plan.assignment, frozenset(plan.quantized), plan.codecs))
    assert evaluation.violations == ()
    assert 0 < evaluation.timeline_s < float("inf")


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)])
def test_who_may_do_more_is_never_worse(weights: tuple[float, float]) -> None:
    """Under the sum and without int8 and codecs: alone, one cut, two parts, any plan."""
    objective = Objective(latency_weight=weights[0], energy_weight=weights[1])
    problem = msgspec.structs.replace(named(large_problem(120, 3)), objective=objective)

    def value(method: str) -> float:
        plan = plan_for(method, problem)
        evaluation = evaluate(problem, Assignment(plan["assignment"]))
        return evaluation.latency_s if weights[0] else evaluation.energy_j

    alone = min(value(name) for name in ("device", "edge", "cloud"))
    assert alone >= value("neurosurgeon") >= value("dads") >= value("study") - 1e-9
    assert value("random-1") > value("study")


def test_what_has_no_plan_says_so_in_a_sentence() -> None:
    problem = named(large_problem(20, 2))
    for method, text in (("cloud", "no method 'cloud'"), ("oracle", "no method 'oracle'")):
        with pytest.raises(MethodHasNoPlan, match=text):
            plan_for(method, problem)
    tight = msgspec.structs.replace(
        problem,
        nodes=tuple(
            Node(name=node.name, compute_power_w=1.0, transmit_power_w=1.0, memory_bytes=10.0) for node in problem.nodes
        ),
    )
    for method in ("device", "edge", "neurosurgeon", "dads", "heft", "study", "random-1"):
        with pytest.raises(MethodHasNoPlan):
            plan_for(method, tight)
