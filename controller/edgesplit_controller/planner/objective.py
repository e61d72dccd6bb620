"""Prices: what each variable adds to latency, energy and device energy, as integers for CP-SAT.

Owns: the linear measures of the model and their scaling. Its rule: integer rounding stays far below the tolerance
of 1e-6 (each coefficient is off by at most half a unit, and a plan's value is at least 2^36 units). Not here:
which measure to minimise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ortools.sat.python import cp_model

from edgesplit_controller.planner.costs import MEASURES, Costs
from edgesplit_controller.planner.reduction import Reduction
from edgesplit_controller.planner.variables import Var, Variables

__all__ = ["Goal", "Limit", "Prices", "add_limit", "minimise", "prices_of"]

LARGEST_COEFFICIENT = 2.0**50
"""Of a limit's prices, so that thousands of them sum within 64 bits."""

UNITS = 2.0**40
"""Model units of a typical value."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A weighted sum of the measures (latency, energy, device energy) to minimise."""

    weights: tuple[float, float, float]

    def value(self, measures: NDArray[np.float64]) -> float:
        """The goal's value of a plan's measures, shape (3,)."""
        return float(np.dot(self.weights, measures))


@dataclass(frozen=True, slots=True)
class Limit:
    """An upper bound on one measure."""

    measure: int
    bound: float

    def keeps(self, value: float) -> bool:
        """Whether a value is under the bound, rounding errors aside."""
        return value <= self.bound + 1e-10 * abs(self.bound)


@dataclass(frozen=True, slots=True)
class Prices:
    """Variables with a price and their prices.

    Attributes:
        variables: Any kind; a price is per unit of its value.
        measures: Shape (variables, 3). [s, J, J]
        largest: The most one variable can add, shape (3,). [s, J, J]
        units: Model units a plan's value should have; more where single variables are large.
    """

    variables: list[Var]
    measures: NDArray[np.float64]
    largest: NDArray[np.float64]
    units: float = UNITS


def prices_of(costs: Costs, reduction: Reduction, variables: Variables) -> Prices:
    """Collect the price of every place, quantization, encoding and sending."""
    priced: list[Var] = []
    rows: list[NDArray[np.float64]] = []
    for unit, place in enumerate(variables.place):
        compute = costs.compute[:, list(reduction.units[unit])].sum(axis=1)
        for node, var in place.items():
            priced.append(var)
            rows.append(compute[:, node])
    for operator, by_node in variables.quantize.items():
        saved = costs.quantized_compute[:, operator] - costs.compute[:, operator]
        for node, var in by_node.items():
            priced.append(var)
            rows.append(saved[:, node])
    for wire in variables.wires:
        modes = wire.tensor.modes
        for (sender, index), var in wire.carrier.offers.items():
            if modes[index].codec is not None:
                priced.append(var)
                rows.append(modes[index].encode[:, sender])
        for ((sender, index), receiver), var in wire.sent.items():
            priced.append(var)
            rows.append(modes[index].transfer[:, sender, receiver])
    measures = np.array(rows).reshape(-1, MEASURES)
    return Prices(priced, measures, measures.max(axis=0, initial=0.0))


def minimise(model: cp_model.CpModel, prices: Prices, goal: Goal, typical: float) -> float:
    """Set the objective.

    Args:
        model: Receives it.
        prices: Of its variables.
        goal: What to minimise.
        typical: The goal's value at a known plan, which sets the scale.

    Returns:
        Model units per unit of the goal.
    """
    scale = prices.units / typical if typical > 0 else 1.0
    coefficients = np.rint(prices.measures @ np.array(goal.weights) * scale).astype(np.int64)
    model.minimize(cp_model.LinearExpr.weighted_sum(prices.variables, coefficients.tolist()))
    return scale


def add_limit(model: cp_model.CpModel, prices: Prices, limit: Limit) -> None:
    """Bound a measure, rounded so that no plan at the bound is lost."""
    scale = prices.units / limit.bound if limit.bound > 0 else prices.units
    # Far below the prices a limit would need larger integers than there are; the caller asks first whether it is
    # within reach at all (`planning.py`).
    scale = min(scale, LARGEST_COEFFICIENT / max(float(prices.largest[limit.measure]), 1e-300))
    coefficients = np.rint(prices.measures[:, limit.measure] * scale).astype(np.int64)
    slack = len(prices.variables) // 2
    expression = cp_model.LinearExpr.weighted_sum(prices.variables, coefficients.tolist())
    model.add(expression <= round(limit.bound * scale) + slack)
