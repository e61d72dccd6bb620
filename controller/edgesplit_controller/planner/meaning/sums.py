"""Sums over choices, described by rates: what a second of compute, a second on a link, a byte of weights adds to each.

Owns: the form in which latency, energies and whatever a problem limits are described, for cost tables and exact arithmetic alike.
Its rule: rates are at least 0; nodes and links go by name. Not here: bounds on sums (`limits`), adding up (`costs`, `exact`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar

from edgesplit.planning.problem import Problem

__all__ = ["OutputNoise", "Rates", "ResourceUse", "Summed", "energy_of", "weighed_sums"]

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
