"""Node subsets, a primal heuristic: good plans on few nodes, for problems whose relaxation over all nodes is too large to be exact.

Owns: choosing small sets of nodes and solving the problem on them. Its rule: it finds plans and proves nothing. Not
here: bounds over all nodes.

Most plans worth having use few of many machines, and over two or three nodes elimination is exact and fast.
"""

from __future__ import annotations

from collections.abc import Callable

from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.bounds.presolve import Pool, price_objective
from edgesplit_controller.planner.bounds.relaxation import relax
from edgesplit_controller.planner.meaning.costs import Costs, restricted
from edgesplit_controller.planner.meaning.indexed_plan import Plan, measured
from edgesplit_controller.planner.meaning.measures import WEIGHED, SumLimit, WeightedSum

__all__ = ["plans_on_subsets"]

PROMISING = 3


def plans_on_subsets(
    costs: Costs,
    patterns: Patterns | None,
    objectives: tuple[WeightedSum, ...],
    limits: tuple[SumLimit, ...],
    left_s: Callable[[], float],
) -> list[Plan]:
    """Solve on the source with each other node, then with the most promising ones together.

    Args:
        costs: The problem's.
        patterns: Allowed quantization patterns.
        objectives: What to minimise.
        limits: On measures; those of whole plans guide, a result may break them. What is limited on one node alone is
            not priced: few nodes seldom have room for everything, and prices that grow without end take their time.
        left_s: Time left; subsets end when two thirds of it at the start are gone. [s]
    """
    enough_s = left_s() / 3
    limits = tuple(limit for limit in limits if limit.measure < WEIGHED)
    found: list[Plan] = []
    ranked: dict[WeightedSum, list[tuple[float, int]]] = {objective: [] for objective in objectives}
    for other in range(len(costs.nodes)):
        if other == costs.source or left_s() < enough_s:
            continue
        pair = (costs.source, other)
        for objective, value, plans in _solve(
            pair, costs, patterns, objectives=objectives, limits=limits, left_s=left_s
        ):
            found += plans
            ranked[objective].append((value, other))
    for objective, ranking in ranked.items():
        if len(ranking) > 1 and left_s() > enough_s:
            best = tuple(node for _, node in sorted(ranking)[:PROMISING])
            several = _solve(
                (costs.source, *best), costs, patterns, objectives=(objective,), limits=limits, left_s=left_s
            )
            for _, _, plans in several:
                found += plans
    return found


def _solve(
    nodes: tuple[int, ...],
    costs: Costs,
    patterns: Patterns | None,
    *,
    objectives: tuple[WeightedSum, ...],
    limits: tuple[SumLimit, ...],
    left_s: Callable[[], float],
) -> list[tuple[WeightedSum, float, list[Plan]]]:
    """Per objective its bound on these nodes and the assignments met, with the nodes' own indices."""
    small = restricted(costs, nodes)
    relaxation = relax(small, patterns)
    if relaxation is None or not small.allowed.any(axis=1).all():
        return []
    results: list[tuple[WeightedSum, float, list[Plan]]] = []
    for objective in objectives:
        pool = Pool()
        priced = price_objective(
            relaxation,
            small,
            patterns,
            domain=small.allowed,
            objective=objective,
            limits=limits,
            pool=pool,
            ceiling=float("inf"),
            left_s=left_s,
        )
        plans = [
            measured(tuple(nodes[node] for node in found.node), found.quantized, found.mode, costs)
            for found in pool.plans
        ]
        results.append((objective, priced.value, plans))
    return results
