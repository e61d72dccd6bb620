"""Lagrange multipliers: the next prices of limits, by the cutting-plane method.

Owns: the small linear program that maximises the least of all known tangents. Its rule: it sees numbers only. Not
here: evaluating the relaxation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.linear.highs import LinearProgram, LinearSolver

__all__ = ["BestPrices", "Tangents"]

LARGEST = 1e4
"""Of a price, in units of the objective's value per limit; more would only spread rounding errors."""


Floats = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class BestPrices:
    """Where the least of some tangents is greatest.

    Attributes:
        prices: Of the limits, shape (limits,).
        promise: The tangents' value there, which no bound can exceed.
        tangents: Those considered, shape (tangents,).
        shares: Of each in the mixture that keeps the limits at that value (the dual solution), shape (tangents,).
    """

    prices: Floats
    promise: float
    tangents: Places
    shares: Floats


class Tangents:
    """Of assignments seen: each bounds the Lagrangian's value from above, objective + sum of price * (measure - bound).

    Args:
        bounds: Of the limits, shape (limits,).
    """

    def __init__(self, bounds: Floats) -> None:
        self.bounds = bounds
        self._values = np.empty(64)
        self._excess = np.empty((64, len(bounds)))
        self.count = 0
        self._solver = LinearSolver()

    def add(self, value: float, measures: Floats) -> None:
        """One more: the objective's value, and the limited measures."""
        if self.count == len(self._values):
            self._values = np.concatenate([self._values, np.empty(self.count)])
            self._excess = np.concatenate([self._excess, np.empty((self.count, len(self.bounds)))])
        self._values[self.count], self._excess[self.count] = value, measures - self.bounds
        self.count += 1

    def best(self, chosen: Places, near: Floats, most: int) -> BestPrices | None:
        """Prices at which the least of some tangents is greatest.

        Args:
            chosen: Which.
            near: Prices; of more tangents than `most`, the least ones there are considered.
            most: How many.

        Returns:
            The prices; None without tangents, or where the program could not be solved.
        """
        if not len(chosen):
            return None
        values, excess = self._values[chosen], self._excess[chosen]
        if len(chosen) > most:
            least = np.argpartition(values + excess @ near, most)[:most]
            chosen, values, excess = chosen[least], values[least], excess[least]
        found = _greatest(self._solver, values, excess)
        return None if found is None else BestPrices(found[0], found[1], chosen, found[2])


def _greatest(solver: LinearSolver, values: Floats, excess: Floats) -> tuple[Floats, float, Floats] | None:
    """Prices, the tangents' value, and the tangents' shares."""
    rows, limits = excess.shape
    scales = np.abs(excess).max(axis=0, initial=0.0)
    scales[scales == 0.0] = 1.0
    unit = float(np.abs(values).max(initial=0.0)) or 1.0
    level = 2.0 * LARGEST
    program = LinearProgram(
        cost=np.concatenate([[-1.0], np.zeros(limits)]),
        lower=np.concatenate([[-level * (limits + 1)], np.zeros(limits)]),
        upper=np.concatenate([[level], np.full(limits, LARGEST)]),
        starts=np.arange(0, rows * (limits + 1) + 1, limits + 1, dtype=np.int32),
        columns=np.tile(np.arange(limits + 1, dtype=np.int32), rows),
        values=np.concatenate([np.ones((rows, 1)), -excess / scales], axis=1).reshape(-1),
        row_lower=np.full(rows, -np.inf),
        row_upper=values / unit,
    )
    answer = solver.solve(program, 1.0)
    if answer.values is None:
        return None
    prices = np.maximum(answer.values[1:], 0.0) * unit / scales
    return prices, float(answer.values[0]) * unit, np.maximum(-answer.duals, 0.0)
