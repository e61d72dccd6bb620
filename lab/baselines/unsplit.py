"""Device only, edge only, cloud only: no split, everything on one node.

Owns: these plans. Its rule: what may not run there (input, output, pins) stays where it may, at the source if it can. Not here: whether
it is any good.

What people do without a partitioner: compute where the data is, or send the input away and get the answer back.
"""

from __future__ import annotations

from edgesplit.planning.problem import Problem
from lab.baselines.prices import MethodHasNoPlan, RawPrices

__all__ = ["everything_on"]


def everything_on(problem: Problem, node: str) -> dict[str, str]:
    """Every operator on one node.

    Raises:
        MethodHasNoPlan: There is no such node, it has no room, or no links.
    """
    if node not in {known.name for known in problem.nodes}:
        raise MethodHasNoPlan(f"everything on {node} is no plan, for {node} may not be used")
    prices, node_of = RawPrices(problem), dict[str, str]()
    for operator in problem.operators:
        places = prices.places(operator)
        node_of[operator.name] = next(name for name in (node, problem.source, *places) if name in places)
    if not prices.fits(node_of):
        raise MethodHasNoPlan(f"everything on {node} is no plan, for its weights find no room there")
    if prices.total(node_of) is None:
        raise MethodHasNoPlan(f"everything on {node} is no plan, for links to or from it are missing")
    return node_of
