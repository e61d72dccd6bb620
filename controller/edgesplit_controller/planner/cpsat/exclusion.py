"""Cover inequalities: cut off a find of the solver that breaks a limit by less than integers show.

Owns: the constraint that cuts off such a find. Its rule: nothing that keeps the limit is cut off. Not here: judging.

Costs are at least 0, so whatever holds all priced choices of the find exceeds the limit as well: a cover inequality
over them excludes the find and all that is like it.

References: L. A. Wolsey, Faces for a linear inequality in 0-1 variables, Mathematical Programming 8, 1975.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgesplit_controller.planner.cpsat.objective import Prices, Term
from edgesplit_controller.planner.cpsat.solver_library import cp_model
from edgesplit_controller.planner.cpsat.variables import Var, Variables
from edgesplit_controller.planner.meaning.measures import LATENCY, NOISE

__all__ = ["exclude"]


def exclude(
    model: cp_model.CpModel,
    values: Sequence[int],
    broken: frozenset[int],
    *,
    variables: Variables,
    prices: Prices,
) -> None:
    """Cut off a find and what is like it.

    Args:
        model: Receives the constraint.
        values: Of the find, by variable index.
        broken: Measures whose limits it exceeds; empty cuts off this assignment alone.
        variables: Of the model.
        prices: Of the model.
    """
    for measure in broken or {-1}:
        if measure == NOISE:
            chosen = _noisy(variables)
        elif measure == -1 or (measure == LATENCY and prices.makespan is not None):
            chosen = [Term(var) for var in _deciding(variables)]
        else:
            chosen = [t for t, row in zip(prices.terms, prices.measures, strict=True) if row[measure] > 0]
        clause = [literal for term in chosen for literal in _ended(term, values)]
        if measure in (NOISE, -1):
            # Quantizing more may make it quieter; here each way of quantizing counts by itself.
            clause += [
                var for by_node in variables.quantize.values() for var in by_node.values() if not values[var.index]
            ]
        model.add_bool_or(clause)


def _ended(term: Term, values: Sequence[int]) -> list[cp_model.LiteralT]:
    """What would end a term that the find holds."""
    if not values[term.variable.index] or (term.unless is not None and values[term.unless.index]):
        return []
    return [~term.variable, *([] if term.unless is None else [term.unless])]


def _noisy(variables: Variables) -> list[Term]:
    """What the noise depends on; a superset of codecs is at least as noisy."""
    codecs = [
        var
        for wire in variables.wires
        for (_, index), var in wire.carrier.offers.items()
        if wire.tensor.modes[index].noise > 0
    ]
    int8 = [var for by_node in variables.quantize.values() for var in by_node.values()]
    return [Term(var) for var in (*variables.pattern, *codecs, *int8)]


def _deciding(variables: Variables) -> list[Var]:
    """Everything that tells one assignment from another."""
    chosen = [*variables.pattern]
    chosen += [var for by_node in (*variables.place, *variables.quantize.values()) for var in by_node.values()]
    return chosen + [var for wire in variables.wires for var in wire.carrier.offers.values()]
