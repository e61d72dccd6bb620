"""Figures of the fleet that a planning problem assumes.

Owns: their comparable form. Its rule: values only. Not here: comparing them (`replan_reasons.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.meaning.sums import breakable

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
        loads: Share of its time that is promised to others, of each node and of each link as `FROM:TO`; without a rate to be sustained
            nothing, for then it counts for nothing. [1]
        bounding: Those of them whose load may keep some plan from that rate.
    """

    nodes: Mapping[str, NodeFigures] = field(default_factory=dict[str, NodeFigures])
    links: Mapping[tuple[str, str], tuple[float, float]] = field(
        default_factory=dict[tuple[str, str], tuple[float, float]]
    )
    codecs: bool = False
    loads: Mapping[str, float] = field(default_factory=dict[str, float])
    bounding: frozenset[str] = frozenset()

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
    loads, bounding = _loads(problem)
    return Figures(nodes, links, any(tensor.codecs for tensor in problem.tensors), loads, bounding)


def _loads(problem: Problem) -> tuple[dict[str, float], frozenset[str]]:
    """What others are promised, and where that may keep some plan from the rate asked for."""
    rate_hz = problem.constraints.min_rate_hz
    if rate_hz is None:
        return {}, frozenset()
    loads = {node.name: node.load for node in problem.nodes}
    loads |= {f"{link.source}:{link.target}": link.load for link in problem.links}
    # Of many nodes there are far more links, next to none of which anybody is promised anything of.
    loaded = msgspec.structs.replace(problem, links=tuple(link for link in problem.links if link.load > 0.0))
    subjects = (period.subject for period in breakable(loaded, 1 / rate_hz))
    return loads, frozenset(subject for subject in subjects if loads[subject] > 0.0)
