"""Crossing, a primal heuristic: one assignment up to some operator, another one from there on.

Owns: the best such crossing of two. Its rule: it proves nothing; what it finds is measured, and judged elsewhere. Not here: which two.

Of a mixture that keeps a limit at the best prices, one part usually exceeds it and another one has room. Operators are about in the order of the
graph, so that a crossing has hardly more cuts than its parts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.branching.batch import Choices
from edgesplit_controller.planner.branching.restrictions import FAR, Pricing

__all__ = ["crossing"]

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

AT_FIRST = 32
"""Operators tried at first."""

EXCESS_COSTS = 3.0
"""Times its value, per relative excess over a limit: what an assignment that does not keep it is worth less."""


Pair = tuple[Choices, Choices]


def crossing(pricing: Pricing, pair: Pair, operators: int, prices: Floats) -> tuple[Choices, float]:
    """The best assignment that is the first one up to an operator and the second one from there on, and what it is worth.

    Args:
        pricing: Of the objective.
        pair: Choices of all variables in either.
        operators: How many of the variables are operators; the others, bits, stay together: of two listed patterns a mixture need not
            be listed.
        prices: By which tensors are coded.

    Returns:
        The assignment, and its value, more where it exceeds a limit; the first one and infinity where the two agree.
    """
    first, second = pair
    differing = np.flatnonzero(first[:operators] != second[:operators])
    if not len(differing):
        return first, np.inf
    step = -(-len(differing) // AT_FIRST)
    choice, value, place = _best(pricing, _crossed(pair, differing[::step], operators), prices)
    if step > 1:
        place %= len(differing[::step])
        nearby = differing[max(0, (place - 1) * step) : (place + 1) * step + 1]
        finer, better, _ = _best(pricing, _crossed(pair, nearby, operators), prices)
        if better < value:
            return finer, better
    return choice, value


def _crossed(pair: Pair, begins: Ints, operators: int) -> Choices:
    """Crossings at some operators, with the first one's bits, then with the second one's where these differ."""
    first, second = pair
    mixed = np.where(begins[:, None] <= np.arange(len(first)), second, first)
    if (first[operators:] != second[operators:]).any():
        mixed = np.concatenate([mixed, mixed])
    mixed[: len(begins), operators:], mixed[len(begins) :, operators:] = first[operators:], second[operators:]
    return mixed


def _best(pricing: Pricing, mixed: Choices, prices: Floats) -> tuple[Choices, float, int]:
    values, measures = pricing.measures(mixed, prices)
    room = np.where(pricing.bounds == 0.0, 1.0, np.abs(pricing.bounds))
    excess = np.maximum(np.where(np.isfinite(measures), measures, FAR) - pricing.bounds, 0.0) / room
    values = values * (1 + EXCESS_COSTS * excess.sum(axis=1))
    best = int(values.argmin())
    return mixed[best], float(values[best]), best
