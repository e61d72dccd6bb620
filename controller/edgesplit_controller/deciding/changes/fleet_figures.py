"""Figures of the fleet that a planning problem assumes.

Owns: their comparable form. Its rule: values only. Not here: comparing them (`replan_reasons.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgesplit.planning.problem import Problem

__all__ = ["Figures", "NodeFigures", "figures_of"]


@dataclass(frozen=True)
class NodeFigures:
    """What a plan assumes of a node.

    Attributes:
        times_s: Of every operator in float. [s]
        int8_times_s: Of every operator that has an int8 form on this node. [s]
    """

    compute_w: float
    transmit_w: float
    memory_bytes: float | None
    times_s: tuple[float, ...] = ()
    int8_times_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class Figures:
    """What a plan assumes of the fleet.

    Attributes:
        links: (from, to) to bandwidth [B/s] and latency [s].
        codecs: Whether any tensor may be coded.
    """

    nodes: Mapping[str, NodeFigures] = field(default_factory=dict[str, NodeFigures])
    links: Mapping[tuple[str, str], tuple[float, float]] = field(
        default_factory=dict[tuple[str, str], tuple[float, float]]
    )
    codecs: bool = False

    @property
    def int8(self) -> bool:
        """Whether any operator may run in int8."""
        return any(node.int8_times_s for node in self.nodes.values())


def figures_of(problem: Problem) -> Figures:
    """The fleet as a problem states it."""
    nodes: dict[str, NodeFigures] = {}
    for node in problem.nodes:
        times_s = tuple(operator.time_s[node.name] for operator in problem.operators)
        int8_times_s = tuple(
            operator.quantized_time_s[node.name] for operator in problem.operators if operator.quantized_time_s
        )
        nodes[node.name] = NodeFigures(
            node.compute_power_w, node.transmit_power_w, node.memory_bytes, times_s, int8_times_s
        )
    links = {(link.source, link.target): (link.bandwidth_bytes_per_s, link.latency_s) for link in problem.links}
    return Figures(nodes, links, any(tensor.codecs for tensor in problem.tensors))
