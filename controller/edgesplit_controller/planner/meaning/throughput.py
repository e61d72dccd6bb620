"""Throughput: how many requests a second a plan sustains when many are on their way at a time, and what bounds that.

Owns: what of one request takes the time of a node or of a link direction, beside the load of others. Its rule: a node is busy while it
computes or codes, a link direction while bytes leave (its latency does not occupy it), so that the next request may follow as soon as
the busiest of them is free: the rate is 1 / its period. Not here: the limit on a rate (`limits`), the order in which requests go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.meaning.sums import Rates, ResourceUse

__all__ = ["Busiest", "Period", "breakable", "busiest", "periods", "watched_at_first"]

MANY = 16
"""Nodes and links that are watched from the beginning, which are all of four nodes; of more, nodes alone."""

LEAST_SHARE = 1e-9
"""Of a node's or a link's time: what others leave of it counts as no less, so that a period remains a number."""

CAUTION = 1 + 1e-9
"""On sums of floating point that say which period a plan may have at most."""


@dataclass(frozen=True, slots=True)
class Period:
    """The time between two requests that one node or link needs, as a sum over choices. [s]

    Attributes:
        subject: The node, or the link as `FROM:TO`.
        sum: What adds to it.
    """

    subject: str
    sum: Rates


@dataclass(frozen=True, slots=True)
class Busiest:
    """What bounds the rate of a plan.

    Attributes:
        period_s: The time between two requests that it needs; 0 where nothing takes any time. [s]
        subject: The node, or the link as `FROM:TO`; empty where nothing takes any time.
    """

    period_s: Fraction
    subject: str


def periods(problem: Problem) -> list[Period]:
    """Of every node, then of every link."""
    nodes = [Period(node.name, Rates(compute={node.name: _stretch(node.load)})) for node in problem.nodes]
    links = [
        Period(f"{link.source}:{link.target}", Rates(occupied={(link.source, link.target): _stretch(link.load)}))
        for link in problem.links
    ]
    return nodes + links


def busiest(among: Sequence[Period], usage: ResourceUse) -> Busiest:
    """What needs the longest period under an assignment; of several the first.

    Args:
        among: Of `periods`.
        usage: What the assignment uses.
    """
    found = Busiest(Fraction(0), "")
    for period in among:
        period_s, _ = period.sum.exact(usage)
        if period_s > found.period_s:
            found = Busiest(period_s, period.subject)
    return found


def breakable(problem: Problem, period_s: float) -> tuple[Period, ...]:
    """Those of `periods` that some assignment may exceed a period by.

    Args:
        problem: A valid problem.
        period_s: The longest allowed. [s]
    """
    both = zip(periods(problem), _most_s(problem), strict=True)
    return tuple(period for period, most_s in both if most_s * CAUTION > period_s)


def watched_at_first(problem: Problem) -> frozenset[str] | None:
    """The nodes and links whose periods a search begins with; None: all.

    Of many nodes there are far more links, next to none of which any plan of interest keeps busy: they are watched once one does.
    """
    rate_hz = problem.constraints.min_rate_hz
    if rate_hz is None or len(breakable(problem, 1 / rate_hz)) <= MANY:
        return None
    return frozenset(node.name for node in problem.nodes)


def _stretch(load: float) -> float:
    """What a second of one's own takes of the time of something that others use, too."""
    return 1.0 / max(1.0 - load, LEAST_SHARE)


def _most_s(problem: Problem) -> list[float]:
    """Of every node, then of every link, a period that no assignment exceeds. [s]"""
    every = [node.name for node in problem.nodes]
    pins = problem.constraints.pins or {}
    places = {
        operator.name: frozenset({problem.source} if operator.role else pins.get(operator.name, every))
        for operator in problem.operators
    }
    busy_s = {
        node: sum(
            max(operator.time_s[node], (operator.quantized_time_s or {}).get(node, 0.0))
            for operator in problem.operators
            if node in places[operator.name]
        )
        for node in every
    }
    sent_s = [0.0] * len(problem.links)
    for tensor in problem.tensors:
        codecs, senders = tensor.codecs or (), places[tensor.producer]
        receivers = frozenset[str]().union(*(places[consumer] for consumer in tensor.consumers))
        for node in every:
            if node in senders and receivers - {node}:
                busy_s[node] += max((codec.encode_s.get(node, 0.0) for codec in codecs), default=0.0)
            if node in receivers and senders - {node}:
                busy_s[node] += max((codec.decode_s.get(node, 0.0) for codec in codecs), default=0.0)
        size = max([tensor.bytes, tensor.quantized_bytes or 0.0, *(codec.bytes for codec in codecs)])
        for index, link in enumerate(problem.links):
            if link.source in senders and link.target in receivers:
                sent_s[index] += size / link.bandwidth_bytes_per_s
    return [
        *(busy_s[node.name] * _stretch(node.load) for node in problem.nodes),
        *(seconds * _stretch(link.load) for seconds, link in zip(sent_s, problem.links, strict=True)),
    ]
