"""Sums over choices, described by rates: what a second of compute, a second on a link, a byte of weights adds to each.

Owns: the form in which latency, energies and whatever a problem limits are described, for cost tables and exact arithmetic alike; what
of one request takes the time of a node or link direction, which bounds how many a second there can be.
Its rule: rates are at least 0; nodes and links go by name. Not here: bounds on sums (`limits`), adding up (`costs`, `exact`).

A node is busy while it computes or codes, a link direction while bytes leave (its latency does not occupy it), so that the next request
may follow as soon as the busiest of them is free: the rate that a plan sustains is 1 / its period.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar

from edgesplit.planning.problem import Problem

__all__ = [
    "Busiest",
    "OutputNoise",
    "Period",
    "Rates",
    "ResourceUse",
    "Summed",
    "breakable",
    "busiest",
    "energy_of",
    "periods",
    "watched_at_first",
    "weighed_sums",
]

MANY = 16
"""Nodes and links that are watched from the beginning, which are all of four nodes; of more, nodes alone."""

LEAST_SHARE = 1e-9
"""Of a node's or a link's time: what others leave of it counts as no less, so that a period remains a number."""

CAUTION = 1 + 1e-9
"""On sums of floating point that say which period a plan may have at most."""

LinkEnds = tuple[str, str]
"""Sending and receiving node."""


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """What an assignment uses, exactly.

    Attributes:
        compute_s: Node to how long it computes, coding included. [s]
        transfer_s: Link to how long tensors are on it, one after the other, its latency included. [s]
        occupied_s: Link to how long they occupy it. [s]
        weight_bytes: Node to bytes of weights it holds, but for those it holds whatever the plan is. [B]
        noise: Of quantization and codecs. [1]
        noise_magnitude: The absolute values that were added up to it. [1]
    """

    compute_s: Mapping[str, Fraction]
    transfer_s: Mapping[LinkEnds, Fraction]
    occupied_s: Mapping[LinkEnds, Fraction]
    weight_bytes: Mapping[str, Fraction]
    noise: Fraction
    noise_magnitude: Fraction


@dataclass(frozen=True, slots=True)
class Rates:
    """A sum over choices, by what each thing done adds to it.

    Attributes:
        compute: Node to what a second of computing there adds, coding included.
        transfer: Link to what a second of a tensor on it adds, its latency included.
        occupied: Link to what a second adds for which a tensor occupies it.
        weight: Node to what a byte of weights there adds.
    """

    compute: Mapping[str, float] = field(default_factory=dict[str, float])
    transfer: Mapping[LinkEnds, float] = field(default_factory=dict[LinkEnds, float])
    occupied: Mapping[LinkEnds, float] = field(default_factory=dict[LinkEnds, float])
    weight: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def only_weights(self) -> bool:
        """Whether it counts bytes of weights and nothing else."""
        return not (self.compute or self.transfer or self.occupied)

    def exact(self, usage: ResourceUse) -> tuple[Fraction, Fraction]:
        """The sum, and the magnitudes behind its rounding; bytes are whole and have none."""
        total = sum((Fraction(rate) * usage.compute_s[node] for node, rate in self.compute.items()), Fraction(0))
        total += sum(Fraction(rate) * usage.weight_bytes[node] for node, rate in self.weight.items())
        for rates, seconds in ((self.transfer, usage.transfer_s), (self.occupied, usage.occupied_s)):
            total += sum(Fraction(rates[link]) * time_s for link, time_s in seconds.items() if link in rates)
        return total, Fraction(0) if self.only_weights else total


@dataclass(frozen=True, slots=True)
class OutputNoise:
    """The noise of the output: a polynomial over quantized operators, plus what codecs add."""

    only_weights: ClassVar[bool] = False

    def exact(self, usage: ResourceUse) -> tuple[Fraction, Fraction]:
        """The noise, and the magnitudes that were added up."""
        return usage.noise, usage.noise_magnitude


Summed = Rates | OutputNoise


def weighed_sums(problem: Problem) -> tuple[Rates, Rates, Rates]:
    """Latency, energy and device energy, in the order of the measures."""
    links = [(link.source, link.target) for link in problem.links]
    compute_w = {node.name: node.compute_power_w for node in problem.nodes}
    transmit_w = {node.name: node.transmit_power_w for node in problem.nodes}
    return (
        Rates(dict.fromkeys(compute_w, 1.0), dict.fromkeys(links, 1.0)),
        Rates(compute_w, {link: transmit_w[link[0]] for link in links}),
        energy_of(problem, problem.source),
    )


def energy_of(problem: Problem, name: str) -> Rates:
    """What one node spends on computing and sending. [J]"""
    node = next(node for node in problem.nodes if node.name == name)
    links = [(link.source, link.target) for link in problem.links if link.source == name]
    return Rates({name: node.compute_power_w}, dict.fromkeys(links, node.transmit_power_w))


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
