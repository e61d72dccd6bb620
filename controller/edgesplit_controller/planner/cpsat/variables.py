"""Decision variables of the CP-SAT model: the flow formulation.

Owns: which yes-no questions the model asks. Its rule: a variable exists only for a choice the reduction left open
and that has links. Not here: constraints, prices.

For an edge from a producer to a consumer, `flow[(a, k), b]` says that the producer sits on `a`, its tensor is in
mode `k`, and the consumer sits on `b`. With its marginals tied to both ends the linear relaxation is almost
integral, which the usual `z >= x_i + x_j - 1` is far from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.bounds.reduction import Reduction
from edgesplit_controller.planner.cpsat.solver_library import cp_model
from edgesplit_controller.planner.meaning.costs import Costs, Precision, WireTensor

__all__ = ["Carrier", "FlowVariables", "Variables", "Wire", "make_variables"]

Var = cp_model.IntVar
Sender = tuple[int, int]
"""Node the producer sits on, and index of the tensor's mode."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """What a producer offers: exactly one of these is true.

    Attributes:
        unit: The producer's unit.
        operator: The producer, where precision matters.
        offers: (node, mode) to its variable.
        precisions: Of each mode.
    """

    unit: int
    operator: int
    offers: Mapping[Sender, Var]
    precisions: tuple[Precision, ...]


@dataclass(frozen=True, slots=True)
class FlowVariables:
    """Joint choice of a carrier and one consuming unit."""

    carrier: Carrier
    unit: int
    joint: Mapping[tuple[Sender, int], Var]


@dataclass(frozen=True, slots=True)
class Wire:
    """A tensor that may be cut: its carrier, its flows, and what is sent."""

    tensor: WireTensor
    carrier: Carrier
    flows: tuple[FlowVariables, ...]
    sent: Mapping[tuple[Sender, int], Var]


@dataclass(slots=True)
class Variables:
    """All variables of one model.

    Attributes:
        place: Per unit, node to variable.
        quantize: Operator to node to variable: it runs there in int8.
        pattern: One per pattern, or per quantizable operator when there is no table.
        carriers: Every distinct one with variables of its own.
        flows: Every distinct one.
        wires: One per tensor that may be cut.
    """

    place: list[dict[int, Var]] = field(default_factory=list)
    quantize: dict[int, dict[int, Var]] = field(default_factory=dict)
    pattern: list[Var] = field(default_factory=list)
    carriers: list[Carrier] = field(default_factory=list)
    flows: list[FlowVariables] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)


def make_variables(model: cp_model.CpModel, costs: Costs, reduction: Reduction, patterns: Patterns | None) -> Variables:
    """Create every variable.

    Args:
        model: Receives the variables.
        costs: The problem's.
        reduction: Units and domains.
        patterns: Allowed quantization patterns; None when there is no table.
    """
    variables = Variables()
    one = model.new_constant(1)
    for domain in reduction.domain:
        nodes = [int(node) for node in np.flatnonzero(domain)]
        fixed = len(nodes) == 1
        variables.place.append({node: one if fixed else model.new_bool_var("") for node in nodes})
    open_operators = costs.quantizable
    if patterns is not None:
        ever = np.atleast_1d(patterns.members.any(axis=0))
        open_operators = tuple(o for o, used in zip(patterns.operators, ever.tolist(), strict=True) if used)
        variables.pattern = [model.new_bool_var("") for _ in patterns.noise]
    for operator in open_operators:
        unit = int(reduction.unit_of[operator])
        variables.quantize[operator] = {node: model.new_bool_var("") for node in variables.place[unit]}
    _make_wires(model, costs, reduction, variables)
    return variables


def _make_wires(model: cp_model.CpModel, costs: Costs, reduction: Reduction, variables: Variables) -> None:
    known_carriers: dict[tuple[int, int], Carrier] = {}
    known_flows: dict[tuple[int, int], FlowVariables] = {}
    for tensor in costs.tensors:
        unit = int(reduction.unit_of[tensor.producer])
        readers = sorted({int(reduction.unit_of[o]) for o in tensor.consumers} - {unit})
        if not readers:
            continue
        carrier = _carrier(model, tensor, unit, variables, known_carriers)
        flows: list[FlowVariables] = []
        for reader in readers:
            key = id(carrier), reader
            if key not in known_flows:
                known_flows[key] = _flow(model, tensor, carrier, reader, variables)
                variables.flows.append(known_flows[key])
            flows.append(known_flows[key])
        variables.wires.append(Wire(tensor, carrier, tuple(flows), _sent(model, flows)))


def _carrier(
    model: cp_model.CpModel,
    tensor: WireTensor,
    unit: int,
    variables: Variables,
    known: dict[tuple[int, int], Carrier],
) -> Carrier:
    """Tensors without choice share their unit's places; raw ones share their operator's precision."""
    coded = any(mode.codec is not None for mode in tensor.modes)
    key = (unit, -1) if len(tensor.modes) == 1 else (unit, tensor.producer)
    if not coded and key in known:
        return known[key]
    places = variables.place[unit]
    precisions: tuple[Precision, ...] = tuple(mode.precision for mode in tensor.modes)
    if len(tensor.modes) == 1:
        offers = {(node, 0): var for node, var in places.items()}
        carrier = Carrier(unit, tensor.producer, offers, precisions)
    else:
        offers = {
            (node, index): model.new_bool_var("")
            for node in places
            for index, mode in enumerate(tensor.modes)
            if np.isfinite(mode.encode[:, node]).all()
            and (mode.precision != "int8" or tensor.producer in variables.quantize)
        }
        carrier = Carrier(unit, tensor.producer, offers, precisions)
        variables.carriers.append(carrier)
    if not coded:
        known[key] = carrier
    return carrier


def _flow(
    model: cp_model.CpModel, tensor: WireTensor, carrier: Carrier, reader: int, variables: Variables
) -> FlowVariables:
    places = variables.place[reader]
    joint: dict[tuple[Sender, int], Var] = {}
    pairs = [
        (sender, node)
        for sender in carrier.offers
        for node in places
        if np.isfinite(tensor.modes[sender[1]].transfer[0, sender[0], node])
    ]
    senders = [sender for sender, _ in pairs]
    receivers = [node for _, node in pairs]
    for sender, node in pairs:
        # Where one end has no other choice, the other end's variable is the joint one.
        if len(places) == 1 and senders.count(sender) == 1:
            joint[sender, node] = carrier.offers[sender]
        elif len(carrier.offers) == 1 and receivers.count(node) == 1:
            joint[sender, node] = places[node]
        else:
            joint[sender, node] = model.new_bool_var("")
    return FlowVariables(carrier, reader, joint)


def _sent(model: cp_model.CpModel, flows: list[FlowVariables]) -> dict[tuple[Sender, int], Var]:
    """What crosses: with one reader its flow itself, with several a variable above all of theirs."""
    crossing: dict[tuple[Sender, int], list[Var]] = {}
    for flow in flows:
        for (sender, node), var in flow.joint.items():
            if sender[0] != node:
                crossing.setdefault((sender, node), []).append(var)
    return {key: found[0] if len(found) == 1 else model.new_bool_var("") for key, found in crossing.items()}
