"""The form of a limit on sums: bound, sums, sentences, and the figures in these.

Owns: what every kind of limit has to say, and how its numbers are rounded for people. Its rule: a value that a sentence names
suffices when it is taken at its word. Not here: the kinds (`limits`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import msgspec

from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.meaning.sums import ResourceUse, Summed
from edgesplit_controller.planner.meaning.tolerance import keeps

__all__ = ["Conflict", "Limit", "Nearest", "apart", "constrained", "rounded_down", "rounded_up", "telling"]


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

    @classmethod
    def every(cls, problem: Problem) -> Sequence[Limit]:
        """The same, and those that none may break where it takes longer to tell them apart: for judging a plan."""
        return cls.of(problem)

    def watching(self, watched: Collection[str]) -> Limit | None:
        """The same of fewer nodes and links, where it is on many of them; None where none is left."""
        del watched
        return self

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


def constrained(problem: Problem, **constraints: float | None) -> Problem:
    """A problem with other limits."""
    return msgspec.structs.replace(problem, constraints=msgspec.structs.replace(problem.constraints, **constraints))


def apart(value: Fraction, limit: float) -> tuple[str, str]:
    """Both with as many digits as it takes to tell them apart."""
    texts = ((f"{float(value):.{digits}g}", f"{limit:.{digits}g}") for digits in (6, 9, 12, 17))
    return next((pair for pair in texts if pair[0] != pair[1]), (f"{float(value):.17g}", f"{limit:.17g}"))


def telling(value: float, limit: float) -> int:
    """As many digits as it takes to tell a value from the limit that it exceeds; six at least."""
    return next((digits for digits in range(6, 17) if f"{value:.{digits}g}" != f"{limit:.{digits}g}"), 17)


def rounded_up(value: float, digits: int) -> float:
    """To so many digits, so that the value a sentence names suffices; rounding errors aside."""
    if value <= 0:
        return value
    unit = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    return math.ceil(value / unit - 1e-6) * unit


def rounded_down(value: float, digits: int) -> float:
    """The same of a value that must not be exceeded."""
    unit = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    return math.floor(value / unit + 1e-6) * unit
