"""Limits on sums of per-choice costs: what each one is a sum of, its bound, its place in the file, its sentences.

Owns: the one description of every limit that a problem sets: rate, noise, device energy, memory. Cost tables, bounds, Pareto labels,
CP-SAT, exact judging, evaluation, `infeasible` reasons and explanations all take it from here. Its rule: a new limit is one class
here, named in `KINDS`; its rates are at least 0. Not here: adding up (`exact`, `costs`), solving.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import msgspec

from edgesplit.formatting import joules, rate, size
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.meaning.limiting.limit_form import (
    Conflict,
    Limit,
    Nearest,
    apart,
    constrained,
    rounded_down,
    rounded_up,
    telling,
)
from edgesplit_controller.planner.meaning.sums import OutputNoise, Rates, ResourceUse, energy_of
from edgesplit_controller.planner.meaning.throughput import Period, breakable, busiest, periods
from edgesplit_controller.planner.meaning.tolerance import exact_sum, keeps

__all__ = [
    "KINDS",
    "DeviceEnergyLimit",
    "MemoryLimit",
    "NoiseLimit",
    "RateLimit",
    "judged_limits",
    "limits_of",
]


@dataclass(frozen=True, slots=True)
class NoiseLimit(Limit):
    """The bound on the output's noise. [1]"""

    constraint: ClassVar[str] = "noise"
    easing: ClassVar[float] = 1.5

    @classmethod
    def of(cls, problem: Problem) -> Sequence[Limit]:
        """At most one."""
        bound = problem.constraints.max_noise
        noisy = any(o.quantizable for o in problem.operators) or any(t.codecs for t in problem.tensors)
        return [] if bound is None or not noisy else [cls(bound, "", (OutputNoise(),))]

    def restated(self, problem: Problem, bound: float | None) -> Problem:
        """With another `max_noise`."""
        return constrained(problem, max_noise=bound)

    def told(self, bound: float | None) -> str:
        """A number."""
        return "none" if bound is None else f"{bound:.4g}"

    @property
    def name(self) -> str:
        """`explain` says which key it is."""
        return "the noise bound"

    def change(self, bound: float | None) -> str:
        """By the name of its key."""
        return f"max_noise {self.told(self.bound)} -> {self.told(bound)}"

    def violation(self, used: Fraction) -> str:
        """With as many digits as it takes."""
        return "The noise {} exceeds max_noise {}.".format(*apart(used, self.bound))

    def conflict(self, problem: Problem, nearest: Nearest) -> Conflict:
        """With the least noise that gives a plan."""
        digits = telling(nearest.value, self.bound)
        least, limit = f"{rounded_up(nearest.value, digits):.{digits}g}", f"{self.bound:.{digits}g}"
        return Conflict(
            f"The noise bound of {limit} conflicts with the limits on memory or links: {nearest.phrase} {least}; raise "
            "max_noise to at least that",
            f"raise max_noise from {limit} to {least}",
        )


@dataclass(frozen=True, slots=True)
class DeviceEnergyLimit(Limit):
    """The bound on the source's own energy. [J]"""

    constraint: ClassVar[str] = "device-energy"

    @classmethod
    def of(cls, problem: Problem) -> Sequence[Limit]:
        """At most one."""
        bound = problem.constraints.device_energy_limit_j
        return [] if bound is None else [cls(bound, "", (energy_of(problem, problem.source),))]

    def restated(self, problem: Problem, bound: float | None) -> Problem:
        """With another `device_energy_limit_j`."""
        return constrained(problem, device_energy_limit_j=bound)

    def told(self, bound: float | None) -> str:
        """Joules."""
        return "none" if bound is None else joules(bound)

    @property
    def name(self) -> str:
        """Of the device, which is the source."""
        return "the device energy limit"

    def violation(self, used: Fraction) -> str:
        """With as many digits as it takes."""
        return "The device's energy {} J exceeds {} J.".format(*apart(used, self.bound))

    def conflict(self, problem: Problem, nearest: Nearest) -> Conflict:
        """With the least energy that is reachable."""
        digits = telling(nearest.value, self.bound)
        least, limit = f"{rounded_up(nearest.value, digits):.{digits}g}", f"{self.bound:.{digits}g}"
        others: list[str] = []
        if problem.constraints.max_noise is not None and any(o.quantizable for o in problem.operators):
            others.append(f"max_noise {problem.constraints.max_noise:.6g}")
        if problem.constraints.pins:
            others.append("the pins")
        others.append("keeping input and output on the source")
        reach = "the least that is reachable is" if nearest.settled else "the least found is"
        return Conflict(
            f"The device energy limit of {limit} J conflicts with {' and '.join(others)}: {reach} {least} J; "
            "raise device_energy_limit_j to at least that or relax the other",
            f"raise device_energy_limit_j to {least} J",
        )


@dataclass(frozen=True, slots=True)
class RateLimit(Limit):
    """The longest time between two requests that nodes and links may need; its bound is that of the slowest rate allowed. [s]

    Attributes:
        periods: Whose sums these are, in their order.
    """

    periods: tuple[Period, ...] = ()

    constraint: ClassVar[str] = "rate"

    @classmethod
    def of(cls, problem: Problem) -> Sequence[Limit]:
        """At most one, of the nodes and links that some assignment keeps busy for longer."""
        rate_hz = problem.constraints.min_rate_hz
        found = () if rate_hz is None else breakable(problem, 1 / rate_hz)
        if rate_hz is None or not found:
            return []
        return [cls._on(1 / rate_hz, found)]

    @classmethod
    def every(cls, problem: Problem) -> Sequence[Limit]:
        """Of all nodes and links."""
        rate_hz = problem.constraints.min_rate_hz
        return [] if rate_hz is None else [cls._on(1 / rate_hz, tuple(periods(problem)))]

    @classmethod
    def _on(cls, period_s: float, found: tuple[Period, ...]) -> RateLimit:
        return cls(period_s, "", tuple(period.sum for period in found), found)

    def watching(self, watched: Collection[str]) -> RateLimit | None:
        """Of these nodes and links alone."""
        kept = tuple(period for period in self.periods if period.subject in watched)
        return self._on(self.bound, kept) if kept else None

    def restated(self, problem: Problem, bound: float | None) -> Problem:
        """With another `min_rate_hz`."""
        return constrained(problem, min_rate_hz=None if bound is None else 1 / bound)

    def told(self, bound: float | None) -> str:
        """As a rate."""
        return "none" if bound is None else rate(1 / bound)

    @property
    def name(self) -> str:
        """`explain` says which key it is."""
        return "the rate to be sustained"

    def change(self, bound: float | None) -> str:
        """By the name of its key."""
        return f"min_rate_hz {self.told(self.bound)} -> {self.told(bound)}"

    def broken(self, usage: ResourceUse) -> str | None:
        """With the rate that the plan sustains, and what bounds it."""
        used, magnitude = self.exact(usage)
        if keeps(used, magnitude, self.bound):
            return None
        return f"{self.violation(used)[:-1]}, bounded by {busiest(self.periods, usage).subject}."

    def violation(self, used: Fraction) -> str:
        """With as many digits as it takes."""
        return "The plan sustains {} requests/s of min_rate_hz {}.".format(*apart(1 / used, 1 / self.bound))

    def conflict(self, problem: Problem, nearest: Nearest) -> Conflict:
        """With the highest rate that is reachable, and what bounds it."""
        asked_hz = 1 / self.bound
        if nearest.value <= 0:
            raise AssertionError("a plan that takes no time sustains any rate")
        digits = telling(1 / nearest.value, asked_hz)
        reachable = f"{rounded_down(1 / nearest.value, digits):.{digits}g}"
        reach = "the highest that is reachable is" if nearest.settled else "the highest found is"
        return Conflict(
            f"The rate of {asked_hz:.{digits}g} requests/s cannot be sustained: {reach} {reachable} requests/s, bounded by "
            f"{nearest.subject}; lower min_rate_hz to at most that, or add nodes or bandwidth there",
            f"lower min_rate_hz to {reachable} requests/s, bounded by {nearest.subject}",
        )


@dataclass(frozen=True, slots=True)
class MemoryLimit(Limit):
    """The room for weights on one node. [B]"""

    constraint: ClassVar[str] = "memory"
    easing: ClassVar[float] = 0.0

    @classmethod
    def of(cls, problem: Problem) -> Sequence[Limit]:
        """One for every node that cannot hold all weights."""
        rooms = {node.name: node.memory_bytes for node in problem.nodes if node.memory_bytes is not None}
        total = exact_sum(operator.weight_bytes for operator in problem.operators) if rooms else Fraction(0)
        return [cls(room, name, (Rates(weight={name: 1.0}),)) for name, room in rooms.items() if room < total]

    def restated(self, problem: Problem, bound: float | None) -> Problem:
        """With another `memory_bytes` of its node."""
        nodes = (
            msgspec.structs.replace(node, memory_bytes=bound) if node.name == self.subject else node
            for node in problem.nodes
        )
        return msgspec.structs.replace(problem, nodes=tuple(nodes))

    def told(self, bound: float | None) -> str:
        """Bytes."""
        return "unlimited" if bound is None else size(bound)

    @property
    def name(self) -> str:
        """Of a node."""
        return f"the memory of {self.subject}"

    def violation(self, used: Fraction) -> str:
        """To the byte."""
        return f"The weights on {self.subject!r} need {float(used):.0f} B of its {self.bound:.0f} B."

    def conflict(self, problem: Problem, nearest: Nearest) -> Conflict:
        """With the least room that gives a plan."""
        least_bytes = math.ceil(nearest.value)
        return Conflict(
            f"The memory of {self.subject!r}, {self.bound:.0f} B, cannot hold the weights it would have to: "
            f"{nearest.phrase} {least_bytes} B; give it that much, or more to another node",
            f"give {self.subject!r} a memory of {least_bytes} B",
        )

    def together(self, problem: Problem, limits: Sequence[Limit], factor: Nearest | None) -> Conflict:
        """With what all limited nodes would need."""
        rooms = sum(node.memory_bytes for node in problem.nodes if node.memory_bytes is not None)
        total = sum(operator.weight_bytes for operator in problem.operators)
        more = "more" if factor is None else f"{factor.value:.4g} times as much"
        return Conflict(
            f"The nodes' memory, {rooms:.0f} B where it is limited, cannot hold weights of {total:.0f} B: no single "
            f"node's memory is the matter, a plan needs {more} on every limited node; give memory or add a node",
            f"give every limited node {more} memory",
        )


KINDS: tuple[type[Limit], ...] = (RateLimit, NoiseLimit, DeviceEnergyLimit, MemoryLimit)
"""Every kind of limit on a sum."""


def limits_of(problem: Problem) -> list[Limit]:
    """All limits on sums that a problem sets and that some assignment may break."""
    return [limit for kind in KINDS for limit in kind.of(problem)]


def judged_limits(problem: Problem) -> list[Limit]:
    """All limits that a plan is held to, whether or not some assignment may break them."""
    return [limit for kind in KINDS for limit in kind.every(problem)]
