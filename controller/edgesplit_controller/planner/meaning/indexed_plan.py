"""Plans by index: which node, precision and codec every choice has, and what that costs in each measure.

Owns: the planner's own form of an assignment, and the way from and to names. Its rule: measures are floating point and not
scaled; what the solver rounds is measured here again. Not here: the referee, which is `evaluation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edgesplit.planning.plan import Assignment
from edgesplit_controller.planner.meaning.costs import Costs, Precision, WireTensor
from edgesplit_controller.planner.meaning.measures import LATENCY, NOISE

__all__ = ["Plan", "PlanMeter", "cheapest_modes", "measured", "plan_of", "to_assignment"]

Floats = NDArray[np.float64]
Cut = tuple[WireTensor, int, list[int]]
"""A tensor that travels, its sender and its receivers."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An assignment by index and what it costs.

    Attributes:
        node: Operator to node.
        quantized: Operators in int8.
        mode: Name of a tensor that travels coded, to its mode's index.
        measures: Shape (measures,), infinite where something is not possible; two plans are equal by their choices alone.
    """

    node: tuple[int, ...]
    quantized: frozenset[int]
    mode: Mapping[str, int]
    measures: Floats = field(compare=False)

    @property
    def key(self) -> tuple[tuple[int, ...], frozenset[int], frozenset[tuple[str, int]]]:
        """Its choices, hashable."""
        return self.node, self.quantized, frozenset(self.mode.items())

    def lasting(self, latency_s: float) -> Plan:
        """The same with the latency of a schedule. [s]"""
        measures = self.measures.copy()
        measures[LATENCY] = latency_s
        return replace(self, measures=measures)


class PlanMeter:
    """Adds up the measures of many plans of one problem: it finds what is cut without a look at every tensor.

    Args:
        costs: The problem's.
    """

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        reads = [(i, t.producer, consumer) for i, t in enumerate(costs.tensors) for consumer in t.consumers]
        self._tensor, self._producer, self._consumer = np.array(reads, dtype=np.intp).reshape(-1, 3).T

    def measured(self, node: tuple[int, ...], quantized: frozenset[int], mode: Mapping[str, int]) -> Plan:
        """As the function of that name."""
        place = np.array(node)
        cut = np.flatnonzero(place[self._producer] != place[self._consumer])
        receivers: dict[int, set[int]] = {}
        for tensor, receiver in zip(self._tensor[cut].tolist(), place[self._consumer[cut]].tolist(), strict=True):
            receivers.setdefault(tensor, set()).add(receiver)
        tensors = self._costs.tensors
        cuts = [(tensors[index], node[tensors[index].producer], sorted(to)) for index, to in receivers.items()]
        return _added_up(node, quantized, mode, self._costs, cuts)


def measured(node: tuple[int, ...], quantized: frozenset[int], mode: Mapping[str, int], costs: Costs) -> Plan:
    """A plan with its measures added up."""
    return _added_up(node, quantized, mode, costs, _cuts(node, costs))


def _added_up(
    node: tuple[int, ...], quantized: frozenset[int], mode: Mapping[str, int], costs: Costs, cuts: Sequence[Cut]
) -> Plan:
    place = np.array(node)
    own = costs.compute[:, np.arange(len(place)), place]
    if quantized:
        int8 = list(quantized)
        own[:, int8] = costs.quantized_compute[:, int8, place[int8]]
    total: Floats = own.sum(axis=1)
    sent = total[: costs.sent]
    for tensor, sender, receivers in cuts:
        chosen = tensor.modes[mode.get(tensor.name, _raw(tensor, quantized))]
        sent += chosen.transfer[:, sender, receivers].sum(axis=1) + chosen.encode[:, sender]
    total[NOISE] += costs.noise.of(quantized)
    return Plan(node, quantized, mode, total)


def to_assignment(plan: Plan, costs: Costs) -> Assignment:
    """Names for indices."""
    codecs = {
        tensor.name: codec
        for tensor in costs.tensors
        if tensor.name in plan.mode and (codec := tensor.modes[plan.mode[tensor.name]].codec) is not None
    }
    return Assignment(
        node_of={name: costs.nodes[node] for name, node in zip(costs.operators, plan.node, strict=True)},
        quantized=frozenset(costs.operators[operator] for operator in plan.quantized),
        codecs=codecs,
    )


def plan_of(assignment: Assignment, costs: Costs) -> Plan | None:
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
        and option.precision in ("any", _precision(tensor, quantized))
    }
    return measured(tuple(nodes[node_of[name]] for name in costs.operators), quantized, mode, costs)


def cheapest_modes(node: Sequence[int], quantized: AbstractSet[int], prices: Floats, costs: Costs) -> dict[str, int]:
    """The cheapest mode of every cut tensor; only codecs are listed.

    Args:
        node: Operator to node.
        quantized: Operators in int8.
        prices: Of the measures.
        costs: The problem's.
    """
    chosen: dict[str, int] = {}
    for tensor, sender, receivers in _cuts(node, costs):
        raw, fits = _raw(tensor, quantized), ("any", _precision(tensor, quantized))
        coded = (index for index, mode in enumerate(tensor.modes) if mode.codec is not None and mode.precision in fits)
        options = [raw, *coded]
        values: list[float] = []
        for index in options:
            mode = tensor.modes[index]
            cost = mode.transfer[:, sender, receivers].sum(axis=1) + mode.encode[:, sender]
            values.append(float(prices[: costs.sent] @ cost) if np.isfinite(cost).all() else np.inf)
        best = options[int(np.argmin(values))]
        if best != raw:
            chosen[tensor.name] = best
    return chosen


def _raw(tensor: WireTensor, quantized: AbstractSet[int]) -> int:
    """The raw mode that fits the producer's precision."""
    fits = ("any", _precision(tensor, quantized))
    return next(i for i, m in enumerate(tensor.modes) if m.codec is None and m.precision in fits)


def _precision(tensor: WireTensor, quantized: AbstractSet[int]) -> Precision:
    return "int8" if tensor.producer in quantized else "float"


def _cuts(node: Sequence[int], costs: Costs) -> list[Cut]:
    """Every cut tensor with its sender and its receivers."""
    cuts: list[Cut] = []
    for tensor in costs.tensors:
        sender = node[tensor.producer]
        receivers = {node[consumer] for consumer in tensor.consumers}
        receivers.discard(sender)
        if receivers:
            cuts.append((tensor, sender, sorted(receivers)))
    return cuts
