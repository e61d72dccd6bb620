"""Limits on sums of per-choice costs: what each one is a sum of, its bound, its place in the file, its sentences.

Owns: the one description of every limit that a problem sets: rate, noise, device energy, memory. Cost tables, bounds, Pareto labels,
CP-SAT, exact judging, evaluation, `infeasible` reasons and explanations all take it from here. Its rule: a new limit is one class
here, named in `KINDS`; its rates are at least 0. Not here: adding up (`exact`, `costs`), solving.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import msgspec

from edgesplit.formatting import joules, rate, size
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.meaning.sums import OutputNoise, Rates, ResourceUse, Summed, energy_of
from edgesplit_controller.planner.meaning.throughput import Period, breakable, busiest
from edgesplit_controller.planner.meaning.tolerance import exact_sum, keeps

__all__ = [
    "KINDS",
    "Conflict",
    "DeviceEnergyLimit",
    "Limit",
    "MemoryLimit",
    "Nearest",
    "NoiseLimit",
    "RateLimit",
    "limits_of",
]


@dataclass(frozen=True, slots=True)
class Nearest:
    """The least bound that gives a plan, as far as time sufficed to find it.

    Attributes:
        value: It.
        settled: Whether none much below it does.
        subject: The node or link at which the limit is met first, of a limit on all of them; else empty.
    """

    value: float
    settled: bool
    subject: str = ""

    @property
    def phrase(self) -> str:
        """Before the value, in a sentence."""
        return "the least that gives a plan is" if self.settled else "a plan is known with"


@dataclass(frozen=True, slots=True)
class Conflict:
    """A limit without which there is a plan: its own sentence, and its remedy beside another's; no full stop."""

    sentence: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Limit(ABC):
    """One number of a problem that must not be exceeded.

    Attributes:
        bound: That number, or what it allows.
        subject: The node or link (`a:b`) it is about; empty where it is about the whole plan.
        sums: Each must not exceed the bound.
    """

    bound: float
    subject: str
    sums: tuple[Summed, ...]

    constraint: ClassVar[str]
    """Its kind, as `explain` names it."""
    easing: ClassVar[float] = 1.25
    """By which factor `explain` raises it first; 0 drops it at once."""

    @classmethod
    @abstractmethod
    def of(cls, problem: Problem) -> Sequence[Limit]:
        """Those of a problem that some assignment may break."""

    @abstractmethod
    def restated(self, problem: Problem, bound: float | None) -> Problem:
        """The problem with another bound in its place; None is none."""

    @abstractmethod
    def told(self, bound: float | None) -> str:
        """A bound for people; None is none."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Within a sentence: `the device energy limit`."""

    @abstractmethod
    def violation(self, used: Fraction) -> str:
        """One sentence that says how it is broken."""

    @abstractmethod
    def conflict(self, problem: Problem, nearest: Nearest) -> Conflict:
        """Why it leaves no plan, and what would."""

    def change(self, bound: float | None) -> str:
        """Another bound in its place, in a few words."""
        return f"{self.name.removeprefix('the ')} {self.told(self.bound)} -> {self.told(bound)}"

    def together(self, problem: Problem, limits: Sequence[Limit], factor: Nearest | None) -> Conflict:
        """Why several of one kind leave no plan where none alone is the matter.

        Args:
            problem: Without a plan.
            limits: All of this kind, this one included.
            factor: By which all together would have to grow.
        """
        more = "more" if factor is None else f"{factor.value:.4g} times as much"
        names = ", ".join(limit.name for limit in limits)
        return Conflict(f"Together {names} leave no plan: one needs {more} of each", f"allow {more} of each of {names}")

    def exact(self, usage: ResourceUse) -> tuple[Fraction, Fraction]:
        """The largest of its sums, and the magnitudes behind it."""
        return max(total.exact(usage) for total in self.sums)

    def broken(self, usage: ResourceUse) -> str | None:
        """One sentence, if an assignment breaks it."""
        used, magnitude = self.exact(usage)
        return None if keeps(used, magnitude, self.bound) else self.violation(used)


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
        return _constrained(problem, max_noise=bound)

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
        return "The noise {} exceeds max_noise {}.".format(*_apart(used, self.bound))

    def conflict(self, problem: Problem, nearest: Nearest) -> Conflict:
        """With the least noise that gives a plan."""
        digits = _telling(nearest.value, self.bound)
        least, limit = f"{_rounded_up(nearest.value, digits):.{digits}g}", f"{self.bound:.{digits}g}"
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
        return _constrained(problem, device_energy_limit_j=bound)

    def told(self, bound: float | None) -> str:
        """Joules."""
        return "none" if bound is None else joules(bound)

    @property
    def name(self) -> str:
        """Of the device, which is the source."""
        return "the device energy limit"

    def violation(self, used: Fraction) -> str:
        """With as many digits as it takes."""
        return "The device's energy {} J exceeds {} J.".format(*_apart(used, self.bound))

    def conflict(self, problem: Problem, nearest: Nearest) -> Conflict:
        """With the least energy that is reachable."""
        digits = _telling(nearest.value, self.bound)
        least, limit = f"{_rounded_up(nearest.value, digits):.{digits}g}", f"{self.bound:.{digits}g}"
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
        return [cls(1 / rate_hz, "", tuple(period.sum for period in found), found)]

    def restated(self, problem: Problem, bound: float | None) -> Problem:
        """With another `min_rate_hz`."""
        return _constrained(problem, min_rate_hz=None if bound is None else 1 / bound)

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
        return "The plan sustains {} requests/s of min_rate_hz {}.".format(*_apart(1 / used, 1 / self.bound))

    def conflict(self, problem: Problem, nearest: Nearest) -> Conflict:
        """With the highest rate that is reachable, and what bounds it."""
        asked_hz = 1 / self.bound
        if nearest.value <= 0:
            raise AssertionError("a plan that takes no time sustains any rate")
        digits = _telling(1 / nearest.value, asked_hz)
        reachable = f"{_rounded_down(1 / nearest.value, digits):.{digits}g}"
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


def _constrained(problem: Problem, **constraints: float | None) -> Problem:
    return msgspec.structs.replace(problem, constraints=msgspec.structs.replace(problem.constraints, **constraints))


def _apart(value: Fraction, limit: float) -> tuple[str, str]:
    """Both with as many digits as it takes to tell them apart."""
    texts = ((f"{float(value):.{digits}g}", f"{limit:.{digits}g}") for digits in (6, 9, 12, 17))
    return next((pair for pair in texts if pair[0] != pair[1]), (f"{float(value):.17g}", f"{limit:.17g}"))


def _telling(value: float, limit: float) -> int:
    """As many digits as it takes to tell a value from the limit that it exceeds; six at least."""
    return next((digits for digits in range(6, 17) if f"{value:.{digits}g}" != f"{limit:.{digits}g}"), 17)


def _rounded_up(value: float, digits: int) -> float:
    """To so many digits, so that the value a sentence names suffices; rounding errors aside."""
    if value <= 0:
        return value
    unit = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    return math.ceil(value / unit - 1e-6) * unit


def _rounded_down(value: float, digits: int) -> float:
    """The same of a value that must not be exceeded."""
    unit = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    return math.floor(value / unit + 1e-6) * unit
