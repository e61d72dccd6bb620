"""Objective and limits of the CP-SAT model: what each variable adds to every measure, as integers.

Owns: the linear measures of the model and their scaling. Its rule: all costs are at least 0 and are rounded down, so that
the integer model is a relaxation: its bound holds for every plan, and no plan within a limit is lost. Scales come from
the value that is not to be exceeded: a choice that alone exceeds it is excluded, which bounds what is left, so
that sums fit 64 bits whatever figures the problem has. Not here: which measure to minimise; whether a plan at a
limit really keeps it, which is the referee's to say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.reduction import Reduction
from edgesplit_controller.planner.cpsat.solver_library import cp_model
from edgesplit_controller.planner.cpsat.variables import Var, Variables
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.measures import LATENCY, WEIGHED, SumLimit, WeightedSum
from edgesplit_controller.planner.meaning.tolerance import DOUBT, ULP

__all__ = [
    "FINE",
    "Makespan",
    "Prices",
    "Term",
    "add_at_most",
    "add_limit",
    "minimise",
    "prices_of",
]

FINE = 2.0**50
"""Most model units of a value that is not to be exceeded."""

LARGEST_SUM = 2.0**58
"""Of all coefficients of one row, each times its variable's largest value; CP-SAT admits less than 2^63."""

LARGEST_SCALE = 1e300

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Term:
    """What has a price: a variable, or a variable without another one that implies it (a place without int8)."""

    variable: Var
    unless: Var | None = None


@dataclass(frozen=True, slots=True)
class Makespan:
    """The end of a schedule as a variable.

    Attributes:
        variable: In ticks.
        tick_s: What one is. [s]
        horizon: The most ticks there can be.
    """

    variable: Var
    tick_s: float
    horizon: int


@dataclass(frozen=True, slots=True)
class Prices:
    """Terms and their prices.

    Attributes:
        terms: Yes-no choices; variables may repeat.
        measures: Each at least 0, shape (terms, measures).
        makespan: Stands for latency where there is a schedule.
    """

    terms: list[Term]
    measures: Floats
    makespan: Makespan | None = None

    def of(self, objective: WeightedSum) -> Floats:
        """The objective's value of every term, a schedule aside."""
        values: Floats = self.measures[:, :WEIGHED] @ np.array(objective.weights)
        return values

    def worst(self, objective: WeightedSum) -> float:
        """No assignment's value is above this."""
        most = float(self.of(objective).sum())
        if self.makespan is not None:
            most += objective.weights[LATENCY] * self.makespan.tick_s * self.makespan.horizon
        return most


def prices_of(costs: Costs, reduction: Reduction, variables: Variables) -> Prices:
    """Collect the price of every place, precision, encoding and sending; quantization's noise has constraints of its own."""
    unsent = np.zeros(len(costs.sums) - costs.sent)
    priced: list[Term] = []
    rows: list[Floats] = []
    for unit, place in enumerate(variables.place):
        fixed = [operator for operator in reduction.units[unit] if operator not in variables.quantize]
        compute = costs.compute[:, fixed].sum(axis=1)
        for node, var in place.items():
            priced.append(Term(var))
            rows.append(compute[:, node])
    for operator, by_node in variables.quantize.items():
        place = variables.place[int(reduction.unit_of[operator])]
        for node, var in by_node.items():
            priced += [Term(var), Term(place[node], unless=var)]
            rows += [costs.quantized_compute[:, operator, node], costs.compute[:, operator, node]]
    for wire in variables.wires:
        modes = wire.tensor.modes
        for (sender, index), var in wire.carrier.offers.items():
            if modes[index].codec is not None:
                priced.append(Term(var))
                rows.append(np.concatenate([modes[index].encode[:, sender], unsent]))
        for ((sender, index), receiver), var in wire.sent.items():
            priced.append(Term(var))
            rows.append(np.concatenate([modes[index].transfer[:, sender, receiver], unsent]))
    return Prices(priced, np.array(rows).reshape(-1, len(costs.sums)))


def minimise(model: cp_model.CpModel, prices: Prices, objective: WeightedSum, ceiling: float, units: float) -> float:
    """Set the objective.

    Args:
        model: Receives it, and the exclusion of what alone exceeds the ceiling.
        prices: Of its variables.
        objective: What to minimise.
        ceiling: Values above it are of no interest.
        units: Model units the ceiling should have.

    Returns:
        Model units per unit of the objective.
    """
    values = _possible(model, prices.terms, prices.of(objective), ceiling)
    total = float(values.sum())
    makespan, tick = prices.makespan, 0.0
    if makespan is not None:
        tick = objective.weights[LATENCY] * makespan.tick_s
        total += tick * makespan.horizon
    scale = _scale(ceiling, total, units)
    if makespan is None or tick == 0:
        model.minimize(_rounded_down(prices.terms, values, scale))
        return scale
    # A tick is to be a whole number of units, or its rounding would count as often as there are ticks.
    scale = max(1.0, float(np.floor(tick * scale))) / tick
    if total * scale > 2 * LARGEST_SUM:
        scale = LARGEST_SUM / total
    ticks = int(np.floor(tick * scale * (1 + ULP))) * makespan.variable
    model.minimize(_rounded_down(prices.terms, values, scale) + ticks)
    return scale


def add_limit(model: cp_model.CpModel, prices: Prices, limit: SumLimit) -> None:
    """Bound a measure, rounded so that no plan within the bound is lost."""
    if prices.makespan is None or limit.measure != LATENCY:
        amounts = prices.measures[:, limit.measure]
        counted = np.flatnonzero(amounts).tolist()
        add_at_most(model, [prices.terms[index] for index in counted], amounts[counted].tolist(), limit.bound)
        return
    ticks = limit.bound * (1 + DOUBT) / prices.makespan.tick_s
    model.add(prices.makespan.variable <= int(min(ticks, 2.0 * prices.makespan.horizon)) + 1)


def add_at_most(
    model: cp_model.CpModel,
    terms: Sequence[Term],
    amounts: Sequence[float],
    limit: float,
    *,
    only_if: Var | None = None,
) -> None:
    """Bound a sum: exactly where amounts are whole quarters, else rounded so that nothing within the limit is lost.

    Args:
        model: Receives the constraint.
        terms: Yes-no choices.
        amounts: One per term; where none is negative, what alone exceeds the limit is excluded.
        limit: What the sum must not exceed.
        only_if: Where this is no, the sum may be anything.
    """
    values = np.array(amounts)
    if only_if is None and (values >= 0).all():
        values = _possible(model, terms, values, limit)
    total = float(np.abs(values).sum())
    if total == 0.0 and limit >= 0:
        return
    scale = 4.0
    if total > FINE or not (np.mod(scale * values, 1.0) == 0).all():
        # A power of two scales without rounding; what is lost is what is smaller than a unit.
        scale = 2.0 ** min(math.floor(math.log2(FINE) - math.log2(total)), 1000)
    most = math.floor(max(-LARGEST_SUM, min(scale * (limit + DOUBT * total), LARGEST_SUM)))
    bounded = model.add(_weighted(terms, np.floor(scale * values)) <= most)
    if only_if is not None:
        bounded.only_enforce_if(only_if)


def _possible(model: cp_model.CpModel, terms: Sequence[Term], costs: Floats, ceiling: float) -> Floats:
    """Exclude every term that alone exceeds the ceiling; the costs of the others."""
    excessive = costs > ceiling * (1 + DOUBT)
    for index in np.flatnonzero(excessive).tolist():
        term = terms[index]
        if term.unless is None:
            model.add(term.variable == 0)
        else:
            model.add_implication(term.variable, term.unless)
    return np.where(excessive, 0.0, costs)


def _scale(ceiling: float, total: float, units: float) -> float:
    """Model units per unit of a measure: fine, and without overflow."""
    if ceiling <= 0 or total <= 0:
        return 1.0
    return min(units / ceiling, LARGEST_SUM / total, LARGEST_SCALE)


def _rounded_down(terms: Sequence[Term], costs: Floats, scale: float) -> cp_model.LinearExpr:
    """Costs of 0 or more as whole units, never more than they are."""
    return _weighted(terms, np.floor(costs * scale * (1 - 4 * ULP)))


def _weighted(terms: Sequence[Term], units: Floats) -> cp_model.LinearExpr:
    variables: list[Var] = []
    weights: list[int] = []
    for term, unit in zip(terms, units.tolist(), strict=True):
        variables.append(term.variable)
        weights.append(int(unit))
        if term.unless is not None:
            variables.append(term.unless)
            weights.append(-int(unit))
    return cp_model.LinearExpr.weighted_sum(variables, weights)
