"""Decoding: from the solver's values to a plan, and from a plan to a hint.

Owns: the correspondence between variables and decisions. Its rule: a plan is read from the fewest
variables that determine it. Not here: costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.bounds.reduction import Reduction
from edgesplit_controller.planner.cpsat.variables import Var, Variables, Wire
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.indexed_plan import Plan, measured

__all__ = ["decode", "hint_for"]


def decode(
    values: Sequence[int], costs: Costs, reduction: Reduction, patterns: Patterns | None, variables: Variables
) -> Plan:
    """Read a solution; a pattern counts as a whole where that never hurts."""
    node = [0] * len(costs.operators)
    for unit, place in enumerate(variables.place):
        chosen = next(n for n, var in place.items() if values[var.index])
        for operator in reduction.units[unit]:
            node[operator] = chosen
    if patterns is not None and patterns.closed_below:
        row = next(index for index, var in enumerate(variables.pattern) if values[var.index])
        members = patterns.members[row]
        quantized = frozenset(o for o, used in zip(patterns.operators, members, strict=True) if used)
    else:
        quantized = frozenset(
            o for o, by_node in variables.quantize.items() if any(values[v.index] for v in by_node.values())
        )
    mode = {
        wire.tensor.name: index
        for wire in variables.wires
        for (_, index), var in wire.carrier.offers.items()
        if values[var.index]
        and wire.tensor.modes[index].codec is not None
        and any(node[o] != node[wire.tensor.producer] for o in wire.tensor.consumers)
    }
    return measured(tuple(node), quantized, mode, costs)


def hint_for(
    plan: Plan, reduction: Reduction, patterns: Patterns | None, variables: Variables
) -> list[tuple[Var, int]]:
    """Values of all variables at a known assignment; empty when the reduction excludes it."""
    node = [plan.node[unit[0]] for unit in reduction.units]
    if any(node[unit] not in place for unit, place in enumerate(variables.place)):
        return []
    hint: dict[int, tuple[Var, int]] = {}

    def put(var: Var, value: bool) -> None:
        hint[var.index] = (var, int(value))

    for unit, place in enumerate(variables.place):
        for n, var in place.items():
            put(var, n == node[unit])
    for operator, by_node in variables.quantize.items():
        for n, var in by_node.items():
            put(var, operator in plan.quantized and n == plan.node[operator])
    if patterns is not None:
        _hint_pattern(plan, patterns, variables, put)
    for wire in variables.wires:
        _hint_wire(plan, node, wire, put)
    return list(hint.values())


def _hint_pattern(plan: Plan, patterns: Patterns, variables: Variables, put: Callable[[Var, bool], None]) -> None:
    wanted = np.array([operator in plan.quantized for operator in patterns.operators], dtype=bool)
    fits = (patterns.members == wanted).all(axis=1)
    if not fits.any() and patterns.closed_below:
        fits = (patterns.members >= wanted).all(axis=1)
    row = int(np.argmax(fits)) if fits.any() else -1
    for index, var in enumerate(variables.pattern):
        put(var, index == row)


def _hint_wire(plan: Plan, node: Sequence[int], wire: Wire, put: Callable[[Var, bool], None]) -> None:
    sender = node[wire.carrier.unit]
    raw = "int8" if wire.tensor.producer in plan.quantized else "float"
    mode = plan.mode.get(wire.tensor.name)
    if mode is None:
        fitting = [i for i, m in enumerate(wire.tensor.modes) if m.codec is None and m.precision in (raw, "any")]
        mode = fitting[0]
    for key, var in wire.carrier.offers.items():
        put(var, key == (sender, mode))
    for flow in wire.flows:
        for (key, receiver), var in flow.joint.items():
            put(var, key == (sender, mode) and receiver == node[flow.unit])
    receivers = {node[flow.unit] for flow in wire.flows}
    for (key, receiver), var in wire.sent.items():
        put(var, key == (sender, mode) and receiver in receivers)
