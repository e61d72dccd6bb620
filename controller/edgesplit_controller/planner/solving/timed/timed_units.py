"""Units for annealing: operators that rather stay together, by what separating them would cost were latencies sums.

Owns: coarse and fine units, in an order in which they may run. Its rule: a heuristic; nothing is proven by it. Not here: the moves
(`timed_annealing.py`).
"""

from __future__ import annotations

from edgesplit_controller.planner.bounds.presolve import Bounds
from edgesplit_controller.planner.bounds.reduction import Reduction, in_graph_order, merged, unreduced
from edgesplit_controller.planner.meaning.costs import Costs

__all__ = ["units_in_order"]

COARSENESS = (0.03, 0.1, 0.2, 0.4)
"""Shares by which a sum has to be longer where two operators are apart for them to be in one unit."""


def units_in_order(costs: Costs, summed: Bounds | None) -> list[Reduction]:
    """Units, the coarsest first, each put together of those that follow.

    Args:
        costs: The problem's.
        summed: Bounds of latencies that are sums; None: nothing is known, and every operator is a unit.
    """
    if summed is None:
        return [unreduced(costs)]
    found: list[Reduction] = []
    for share in COARSENESS:
        pairs = [pair for pair, least in summed.apart.items() if least > summed.value * (1 + share)]
        reduction = in_graph_order(costs, merged(costs, pairs, costs.allowed))
        if reduction.domain.any(axis=1).all():
            found.append(reduction)
    return found or [unreduced(costs)]
