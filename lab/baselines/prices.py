"""Prices of float plans with raw tensors: what operators and transfers cost, where operators may run, what fits into memory.

Owns: these sums and checks, for methods that build plans themselves. Its rule: docs/problem-file.md under `sum`, without int8 and
codecs; everything is done one after another. Not here: choosing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgesplit.planning.problem import Objective, Operator, Problem, Tensor

__all__ = ["Cost", "MethodHasNoPlan", "RawPrices", "weigher"]


class MethodHasNoPlan(Exception):
    """A method makes no plan of a problem; the message is one sentence that says why."""


@dataclass(frozen=True)
class Cost:
    """What something takes.

    Attributes:
        latency_s: Of a request. [s]
        energy_j: Of all nodes. [J]
    """

    latency_s: float
    energy_j: float


class RawPrices:
    """Of one problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._nodes = {node.name: node for node in problem.nodes}
        self._links = {(link.source, link.target): link for link in problem.links}

    @cached_property
    def others(self) -> tuple[str, ...]:
        """Nodes that the source can send to and hear from."""
        source = self.problem.source
        return tuple(
            name
            for name in self._nodes
            if name != source and (source, name) in self._links and (name, source) in self._links
        )

    def places(self, operator: Operator) -> tuple[str, ...]:
        """Nodes on which an operator may run: roles stay at the source, pins hold."""
        if operator.role is not None:
            return (self.problem.source,)
        pinned = (self.problem.constraints.pins or {}).get(operator.name)
        return tuple(name for name in self._nodes if pinned is None or name in pinned)

    def compute(self, operator: Operator, node: str) -> Cost:
        """One operator in float."""
        seconds = operator.time_s[node]
        return Cost(seconds, seconds * self._nodes[node].compute_power_w)

    def transfer(self, tensor: Tensor, sender: str, receiver: str) -> Cost | None:
        """One tensor, raw; None without a link."""
        link = self._links.get((sender, receiver))
        if link is None:
            return None
        seconds = link.latency_s + tensor.bytes / link.bandwidth_bytes_per_s
        return Cost(seconds, seconds * self._nodes[sender].transmit_power_w)

    def total(self, node_of: Mapping[str, str]) -> Cost | None:
        """A whole plan; None where a tensor has no link to travel on."""
        latency_s = energy_j = 0.0
        for operator in self.problem.operators:
            node = node_of[operator.name]
            seconds = operator.time_s[node]
            latency_s += seconds
            energy_j += seconds * self._nodes[node].compute_power_w
        for tensor in self.problem.tensors:
            sender = node_of[tensor.producer]
            for receiver in {node_of[consumer] for consumer in tensor.consumers}:
                if receiver == sender:
                    continue
                sent = self.transfer(tensor, sender, receiver)
                if sent is None:
                    return None
                latency_s += sent.latency_s
                energy_j += sent.energy_j
        return Cost(latency_s, energy_j)

    def fits(self, node_of: Mapping[str, str]) -> bool:
        """Whether every node has room for the weights that a plan gives it."""
        held = dict.fromkeys(self._nodes, 0.0)
        for operator in self.problem.operators:
            held[node_of[operator.name]] += operator.weight_bytes
        return all(self.room(name, held[name]) for name in held)

    def room(self, node: str, nbytes: float) -> bool:
        """Whether a node has room for so many bytes of weights."""
        limit = self._nodes[node].memory_bytes
        return limit is None or nbytes <= limit


def weigher(objective: Objective, costs: Sequence[Cost]) -> tuple[float, float]:
    """Factors on latency and energy under which a method that knows one measure minimises the weighted sum of both.

    Each is taken as a multiple of its best: with one weight 0, the other measure alone decides.

    Args:
        objective: Holds the weights.
        costs: Of the plans among which the best values are found.
    """
    best_s, best_j = min(cost.latency_s for cost in costs), min(cost.energy_j for cost in costs)
    return objective.latency_weight / (best_s or 1.0), objective.energy_weight / (best_j or 1.0)
