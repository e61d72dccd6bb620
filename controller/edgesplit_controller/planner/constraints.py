"""The constraints of the CP-SAT model.

Owns: what makes an assignment a plan. Its rule: every constraint here is in INTERFACES' meaning of the problem
file, or ties the flow formulation together. Not here: limits on the measures, which `objective` scales.
"""

from __future__ import annotations

import math

import numpy as np
from ortools.sat.python import cp_model

from edgesplit.problem import Problem
from edgesplit_controller.planner.costs import Costs
from edgesplit_controller.planner.noise import Patterns
from edgesplit_controller.planner.reduction import Reduction
from edgesplit_controller.planner.variables import Carrier, Var, Variables

__all__ = ["add_constraints"]

NOISE_SCALE = 10**8
NOISE_DUST = 1e-4
"""Model units by which floating point may be off an exact tie; all else is rounded to the safe side."""

MEMORY_SCALE = 4


def add_constraints(
    model: cp_model.CpModel,
    variables: Variables,
    *,
    problem: Problem,
    costs: Costs,
    reduction: Reduction,
    patterns: Patterns | None,
) -> None:
    """Add everything but limits on latency and energy."""
    for place in variables.place:
        if len(place) != 1:
            model.add_exactly_one(place.values())
    _tie_quantization(model, costs, reduction, patterns, variables)
    _tie_flows(model, variables)
    _limit_noise(model, problem, costs, patterns, variables)
    _limit_memory(model, costs, reduction, variables)


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


def _limit_noise(
    model: cp_model.CpModel,
    problem: Problem,
    costs: Costs,
    patterns: Patterns | None,
    variables: Variables,
) -> None:
    """Noise of the pattern plus that of every codec in use; patterns alone are within the limit as listed."""
    limit = problem.constraints.max_noise
    codecs = _codec_choices(variables)
    if limit is None or (patterns is not None and not codecs):
        return
    parts: list[Var] = []
    prices: list[int] = []
    if patterns is not None:
        parts += variables.pattern
        prices += [_noise_units(float(noise)) for noise in patterns.noise]
    else:
        _add_polynomial(model, problem, costs, variables, parts=parts, prices=prices)
    for carrier_offer, noise in codecs:
        parts.append(carrier_offer)
        prices.append(_noise_units(noise))
    if parts:
        model.add(_sum(parts, prices) <= math.floor(limit * NOISE_SCALE + NOISE_DUST))


def _noise_units(noise: float) -> int:
    """Noise in model units, rounded up."""
    return math.ceil(noise * NOISE_SCALE - NOISE_DUST)


def _codec_choices(variables: Variables) -> list[tuple[Var, float]]:
    return [
        (var, wire.tensor.modes[index].noise)
        for wire in variables.wires
        for (_, index), var in wire.carrier.offers.items()
        if wire.tensor.modes[index].noise > 0
    ]


def _add_polynomial(
    model: cp_model.CpModel,
    problem: Problem,
    costs: Costs,
    variables: Variables,
    *,
    parts: list[Var],
    prices: list[int],
) -> None:
    """The interaction polynomial with one variable per product, for more operators than a table holds."""
    index_of = {name: index for index, name in enumerate(costs.operators)}
    bits: dict[int, Var] = {}
    for operator, by_node in variables.quantize.items():
        bits[operator] = model.new_bool_var("")
        _equal(model, list(by_node.values()), [bits[operator]])
    if problem.noise_model is None:
        return
    any_bit = model.new_bool_var("")
    model.add_max_equality(any_bit, list(bits.values()))
    parts.append(any_bit)
    prices.append(_noise_units(problem.noise_model.intercept))
    for term in problem.noise_model.terms:
        members = sorted({index_of[name] for name in term.operators})
        if not all(member in bits for member in members):
            continue
        product = any_bit
        if members:
            product = bits[members[0]] if len(members) == 1 else model.new_bool_var("")
        if len(members) > 1:
            model.add_min_equality(product, [bits[member] for member in members])
        parts.append(product)
        prices.append(_noise_units(term.coefficient))


def _limit_memory(model: cp_model.CpModel, costs: Costs, reduction: Reduction, variables: Variables) -> None:
    """Weights on a node fit; quantized ones take a quarter."""
    for node, room in enumerate(costs.memory_bytes):
        if room >= costs.weight_bytes.sum():
            continue
        parts: list[Var] = []
        sizes: list[int] = []
        for unit, place in enumerate(variables.place):
            size = costs.weight_bytes[list(reduction.units[unit])].sum()
            if node in place and size > 0:
                parts.append(place[node])
                sizes.append(math.ceil(size * MEMORY_SCALE))
        for operator, by_node in variables.quantize.items():
            if node in by_node and costs.weight_bytes[operator] > 0:
                parts.append(by_node[node])
                sizes.append(-math.floor(0.75 * costs.weight_bytes[operator] * MEMORY_SCALE))
        if parts:
            model.add(_sum(parts, sizes) <= math.floor(room * MEMORY_SCALE))
