"""Bounds by choice put together: of two kinds of proof, of several measures, of limits on measures.

Owns: this arithmetic. Its rule: what comes out holds for every plan that what went in holds for. Not here: how bounds are proven.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.presolve import Bounds
from edgesplit_controller.planner.meaning.measures import SumLimit
from edgesplit_controller.planner.meaning.tolerance import DOUBT

__all__ = ["nothing_known", "raised", "stronger", "under_limits", "weighed"]


def nothing_known(domain: NDArray[np.bool_]) -> Bounds:
    """Of an objective that is at least 0, by choice, shape (operators, nodes)."""
    return Bounds(0.0, np.where(domain, 0.0, np.inf), {}, None)


def raised(bounds: Bounds, value: float) -> Bounds:
    """No plan is below a value, whatever it chooses."""
    apart = {pair: max(distance, value) for pair, distance in bounds.apart.items()}
    return Bounds(max(bounds.value, value), np.maximum(bounds.least, value), apart, bounds.pattern)


def stronger(first: Bounds, second: Bounds) -> Bounds:
    """Of each choice the higher bound; patterns' are the first one's, who knows which are left."""
    apart = dict(first.apart)
    for pair, distance in second.apart.items():
        apart[pair] = max(apart.get(pair, -np.inf), distance)
    return Bounds(max(first.value, second.value), np.maximum(first.least, second.least), apart, first.pattern)


def weighed(floors: Iterable[tuple[float, Bounds]]) -> Bounds | None:
    """Of a weighted sum of measures, from the bounds of each; None of nothing.

    A plan with some choice has at least so much of each measure, whichever plan is best in it.
    """
    parts = [(weight, floor) for weight, floor in floors if weight > 0]
    if not parts:
        return None
    value = sum(weight * floor.value for weight, floor in parts)
    least = np.sum([weight * floor.least for weight, floor in parts], axis=0)
    pairs = set(parts[0][1].apart).intersection(*(floor.apart for _, floor in parts[1:]))
    apart = {pair: sum(weight * floor.apart[pair] for weight, floor in parts) for pair in pairs}
    return Bounds(value, least, apart, None)


def under_limits(bounds: Bounds, floors: Mapping[int, Bounds], limits: Iterable[SumLimit]) -> Bounds:
    """Choices that alone exceed a limit are out of reach.

    Args:
        bounds: Of some objective.
        floors: Of measures.
        limits: On measures; those without a floor say nothing.
    """
    least, apart = bounds.least, dict(bounds.apart)
    for limit in limits:
        floor = floors.get(limit.measure)
        if floor is not None:
            most = limit.bound * (1 + DOUBT)
            least = np.where(floor.least > most, np.inf, least)
            apart.update((pair, np.inf) for pair, distance in floor.apart.items() if distance > most)
    return Bounds(bounds.value, least, apart, bounds.pattern)
