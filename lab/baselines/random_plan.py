"""Random plan: every operator on a node drawn at random, as a floor that any method should beat.

Owns: drawing it. Its rule: the same seed and problem give the same plan; nodes without room for an operator's weights are not drawn,
and every draw is tried until one has a link for each of its tensors. Not here: choosing anything.
"""

from __future__ import annotations

import random

from edgesplit.planning.problem import Problem
from lab.baselines.prices import MethodHasNoPlan, RawPrices

__all__ = ["drawn_plan"]

MOST_DRAWS = 100


def drawn_plan(problem: Problem, seed: int) -> dict[str, str]:
    """Operator to node.

    Raises:
        MethodHasNoPlan: No draw had room and links.
    """
    prices, drawing = RawPrices(problem), random.Random(seed)
    for _ in range(MOST_DRAWS):
        node_of = _drawn(prices, drawing)
        if node_of is not None and prices.total(node_of) is not None:
            return node_of
    raise MethodHasNoPlan(f"none of {MOST_DRAWS} random plans had room and links for everything")


def _drawn(prices: RawPrices, drawing: random.Random) -> dict[str, str] | None:
    held = {node.name: 0.0 for node in prices.problem.nodes}
    node_of: dict[str, str] = {}
    for operator in prices.problem.operators:
        places = [node for node in prices.places(operator) if prices.room(node, held[node] + operator.weight_bytes)]
        if not places:
            return None
        node = node_of[operator.name] = drawing.choice(places)
        held[node] += operator.weight_bytes
    return node_of
