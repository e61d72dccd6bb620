"""Lagrange multipliers: the next prices of limits, by the cutting-plane method.

Owns: the small linear program that maximises the least of all known tangents. Its rule: it sees numbers only. Not
here: evaluating the relaxation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from ortools.linear_solver import pywraplp

from edgesplit_controller.planner.meaning.indexed_plan import Plan
from edgesplit_controller.planner.meaning.measures import SumLimit, WeightedSum

__all__ = ["best_prices"]

LARGEST = 1e4
"""Of a price, in units of the objective's value per limit; more would only spread rounding errors."""


def best_prices(
    plans: Sequence[Plan], objective: WeightedSum, limits: Sequence[SumLimit]
) -> tuple[NDArray[np.float64], float]:
    """Prices at which the least of all tangents is greatest.

    Args:
        plans: Seen so far; each gives the tangent objective + sum of price * excess.
        objective: What is minimised.
        limits: One price each.

    Returns:
        The prices, shape (limits,), and the tangents' value there, which no bound can exceed; minus infinity
        when the program could not be solved and the search for prices should end.
    """
    values = np.array([objective.value(plan.measures) for plan in plans])
    excess = np.array([[plan.measures[x.measure] - x.bound for x in limits] for plan in plans])
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
