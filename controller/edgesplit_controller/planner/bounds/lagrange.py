"""The next prices of a Lagrangian search.

Owns: the small linear program that maximises the least of all known tangents. Its rule: it sees numbers only. Not
here: evaluating the relaxation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from ortools.linear_solver import pywraplp

from edgesplit_controller.planner.cpsat.objective import Goal, SumLimit
from edgesplit_controller.planner.meaning.costs import MEASURES

__all__ = ["best_prices"]

LARGEST = 1e4
"""Of a price, in units of the goal's value per limit; more would only spread rounding errors."""


class Seen(Protocol):
    """Assignments with their extended measures."""

    @property
    def rows(self) -> Sequence[tuple[object, NDArray[np.float64]]]:
        """Each with latency, energy, device energy, noise and memory."""
        ...


def best_prices(pool: Seen, goal: Goal, limits: Sequence[SumLimit]) -> tuple[NDArray[np.float64], float]:
    """Prices at which the least of all tangents is greatest.

    Args:
        pool: Assignments seen; each gives the tangent goal + sum of price * excess.
        goal: What is minimised.
        limits: One price each.

    Returns:
        The prices, shape (limits,), and the tangents' value there, which no bound can exceed; minus infinity
        when the program could not be solved and the search for prices should end.
    """
    values = np.array([goal.value(row[:MEASURES]) for _, row in pool.rows])
    excess = np.array([[row[x.measure] - x.bound for x in limits] for _, row in pool.rows])
    excess = excess.reshape(-1, len(limits))
    scales = np.abs(excess).max(axis=0, initial=0.0)
    scales[scales == 0.0] = 1.0
    excess /= scales
    unit = float(np.abs(values).max(initial=0.0)) or 1.0
    solver = pywraplp.Solver.CreateSolver("GLOP")
    level = solver.NumVar(-solver.infinity(), 2.0 * LARGEST, "")
    prices = [solver.NumVar(0.0, LARGEST, "") for _ in limits]
    for value, slopes in zip(values / unit, excess, strict=True):
        row = solver.Constraint(-solver.infinity(), float(value))
        row.SetCoefficient(level, 1.0)
        for price, slope in zip(prices, slopes, strict=True):
            row.SetCoefficient(price, -float(slope))
    solver.Maximize(level)
    if solver.Solve() != pywraplp.Solver.OPTIMAL:
        return np.zeros(len(limits)), -float("inf")
    found = np.array([max(0.0, price.solution_value()) for price in prices])
    return found * unit / scales, level.solution_value() * unit
