"""Constraints of the CP-SAT model.

Owns: what makes an assignment a plan. Its rule: every constraint here is in the problem file's
meaning (docs/problem-file.md), or ties the flow formulation together. Not here: limits on the measures, which `objective` scales.
"""

from __future__ import annotations

import numpy as np

from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.bounds.reduction import Reduction
from edgesplit_controller.planner.cpsat.noise_limit import limit_noise
from edgesplit_controller.planner.cpsat.solver_library import cp_model
from edgesplit_controller.planner.cpsat.variables import Carrier, Var, Variables
from edgesplit_controller.planner.meaning.costs import Costs

__all__ = ["add_constraints"]


def add_constraints(
    model: cp_model.CpModel,
    variables: Variables,
    *,
    problem: Problem,
    costs: Costs,
    reduction: Reduction,
    patterns: Patterns | None,
) -> None:
    """Add everything but limits on sums; noise, which is no sum of choices, is limited here."""
    for place in variables.place:
        if len(place) != 1:
            model.add_exactly_one(place.values())
    _tie_quantization(model, costs, reduction, patterns, variables)
    _tie_flows(model, variables)
    limit_noise(model, problem, costs, patterns, variables)


def _sum(variables: list[Var], weights: list[int]) -> cp_model.LinearExprT:
    return cp_model.LinearExpr.weighted_sum(variables, weights)


def _equal(model: cp_model.CpModel, parts: list[Var], whole: list[Var]) -> None:
    """The parts sum to the whole."""
    if parts != whole:
        model.add(_sum(parts + whole, [1] * len(parts) + [-1] * len(whole)) == 0)


def _tie_quantization(
    model: cp_model.CpModel,
    costs: Costs,
    reduction: Reduction,
    patterns: Patterns | None,
    variables: Variables,
) -> None:
    """An operator is quantized where it runs, and only if the chosen pattern holds it."""
    for operator, by_node in variables.quantize.items():
        place = variables.place[int(reduction.unit_of[operator])]
        for node, var in by_node.items():
            model.add_implication(var, place[node])
    if patterns is None:
        return
    model.add_exactly_one(variables.pattern)
    for column, operator in enumerate(patterns.operators):
        if operator not in variables.quantize:
            continue
        holders = [variables.pattern[row] for row in np.flatnonzero(patterns.members[:, column])]
        runs = list(variables.quantize[operator].values())
        expression = _sum(runs + holders, [1] * len(runs) + [-1] * len(holders))
        model.add(expression <= 0 if patterns.closed_below else expression == 0)


def _tie_flows(model: cp_model.CpModel, variables: Variables) -> None:
    """Carriers to places and precisions, flows to both their ends, sending to flows."""
    for carrier in variables.carriers:
        _tie_carrier(model, variables, carrier)
    for flow in variables.flows:
        for sender, offer in flow.carrier.offers.items():
            _equal(model, [var for (s, _), var in flow.joint.items() if s == sender], [offer])
        for node, place in variables.place[flow.unit].items():
            _equal(model, [var for (_, n), var in flow.joint.items() if n == node], [place])
    for wire in variables.wires:
        for key, var in wire.sent.items():
            for flow in wire.flows:
                if key in flow.joint and flow.joint[key].index != var.index:
                    model.add_implication(flow.joint[key], var)


def _tie_carrier(model: cp_model.CpModel, variables: Variables, carrier: Carrier) -> None:
    """A tensor is on offer where its producer is, raw in its producer's precision."""
    for node, place in variables.place[carrier.unit].items():
        here = {index: var for (sender, index), var in carrier.offers.items() if sender == node}
        _equal(model, list(here.values()), [place])
        quantized = variables.quantize.get(carrier.operator, {}).get(node)
        if quantized is None:
            continue
        for index, var in here.items():
            if carrier.precisions[index] == "int8":
                model.add_implication(var, quantized)
            elif carrier.precisions[index] == "float":
                model.add_implication(var, ~quantized)
