"""From the solver's values to an assignment, and back to a hint.

Owns: the correspondence between variables and decisions. Its rule: an assignment is read from the fewest
variables that determine it. Not here: costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgesplit.planning.plan import Assignment
from edgesplit_controller.planner.bounds.reduction import Reduction
from edgesplit_controller.planner.cpsat.variables import Var, Variables, Wire
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.noise_patterns import Patterns

__all__ = ["Labels", "decode", "hint_for", "labels_of", "to_assignment"]


@dataclass(frozen=True, slots=True)
class Labels:
    """An assignment by index.

    Attributes:
        node: Operator to node.
        quantized: Operators in int8.
        mode: Name of a tensor that travels coded, to its mode's index.
    """

    node: tuple[int, ...]
    quantized: frozenset[int]
    mode: Mapping[str, int]


def decode(
    values: Sequence[int], costs: Costs, reduction: Reduction, patterns: Patterns | None, variables: Variables
) -> Labels:
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
    return Labels(tuple(node), quantized, mode)


def to_assignment(labels: Labels, costs: Costs) -> Assignment:
    """Names for indices."""
    codecs = {
        tensor.name: codec
        for tensor in costs.tensors
        if tensor.name in labels.mode and (codec := tensor.modes[labels.mode[tensor.name]].codec) is not None
    }
    return Assignment(
        node_of={name: costs.nodes[node] for name, node in zip(costs.operators, labels.node, strict=True)},
        quantized=frozenset(costs.operators[operator] for operator in labels.quantized),
        codecs=codecs,
    )


def labels_of(assignment: Assignment, costs: Costs) -> Labels | None:
    """Indices for names; None when the assignment does not fit the problem (another model, a node gone)."""
    node_of, nodes = assignment.node_of, {name: index for index, name in enumerate(costs.nodes)}
    if any(node_of.get(name) not in nodes for name in costs.operators):
        return None
    quantized = frozenset(o for o in costs.quantizable if costs.operators[o] in assignment.quantized)
    mode = {
        tensor.name: index
        for tensor in costs.tensors
        for index, option in enumerate(tensor.modes)
        if option.codec is not None
        and assignment.codecs.get(tensor.name) == option.codec
        and option.precision in ("any", "int8" if tensor.producer in quantized else "float")
    }
    return Labels(tuple(nodes[node_of[name]] for name in costs.operators), quantized, mode)


def hint_for(
    labels: Labels, reduction: Reduction, patterns: Patterns | None, variables: Variables
) -> list[tuple[Var, int]]:
    """Values of all variables at a known assignment; empty when the reduction excludes it."""
    node = [labels.node[unit[0]] for unit in reduction.units]
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
            put(var, operator in labels.quantized and n == labels.node[operator])
    if patterns is not None:
        _hint_pattern(labels, patterns, variables, put)
    for wire in variables.wires:
        _hint_wire(labels, node, wire, put)
    return list(hint.values())


def _hint_pattern(labels: Labels, patterns: Patterns, variables: Variables, put: Callable[[Var, bool], None]) -> None:
    wanted = np.array([operator in labels.quantized for operator in patterns.operators], dtype=bool)
    fits = (patterns.members == wanted).all(axis=1)
    if not fits.any() and patterns.closed_below:
        fits = (patterns.members >= wanted).all(axis=1)
    row = int(np.argmax(fits)) if fits.any() else -1
    for index, var in enumerate(variables.pattern):
        put(var, index == row)


def _hint_wire(labels: Labels, node: Sequence[int], wire: Wire, put: Callable[[Var, bool], None]) -> None:
    sender = node[wire.carrier.unit]
    raw = "int8" if wire.tensor.producer in labels.quantized else "float"
    mode = labels.mode.get(wire.tensor.name)
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
