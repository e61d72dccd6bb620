"""Declined plans: how often plans were made again in vain, and which of them people are told.

Owns: the count of each model and what of it becomes an event. Its rule: a decision that answers what people were told is
told, as long as that does not go on and on; all are counted. Not here: deciding (`replan_reasons.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

__all__ = ["Allowance", "Declined", "DeclinedPlans"]

AT_ONCE = 8
"""So much is told in a row of what comes again and again. [1]"""
ONE_EACH_S = 900.0
"""After that one in this time. [s]"""
CHANCES_AT_ONCE = 6
"""Better chances that are looked at in a row: a link that recovers does so step by step, rate and latency, each of its directions. [1]"""
CHANCE_EACH_S = 300.0
"""After that one in this time: others come and go all day. [s]"""


@dataclass(frozen=True)
class Allowance:
    """What may be done at once, and then now and then.

    Attributes:
        most: At once. [1]
        each_s: Then one in this time. [s]
        left: Of that at the last one; all of it before. [1]
        at_s: When that was. [s]
    """

    most: int
    each_s: float
    left: float = math.inf
    at_s: float = 0.0

    def allows(self, now_s: float) -> bool:
        """Whether one more may be done. [s]"""
        return self._refilled(now_s) >= 1

    def spent(self, now_s: float) -> Allowance:
        """After one more, allowed or not. [s]"""
        return replace(self, left=max(self._refilled(now_s) - 1, 0.0), at_s=now_s)

    def _refilled(self, now_s: float) -> float:
        return min(self.most, self.left + (now_s - self.at_s) / self.each_s)


TELLING = Allowance(AT_ONCE, ONE_EACH_S)
CHANCES = Allowance(CHANCES_AT_ONCE, CHANCE_EACH_S)


@dataclass(frozen=True)
class Declined:
    """Plans of one model that were made again and declined.

    Attributes:
        count: Since the controller started.
        since_unix_s: When that was. [s since the epoch]
        last_unix_s: When the last one was; None without one. [s since the epoch]
        last_reason: What it was planned for, and why the plan stays.
    """

    count: int
    since_unix_s: float
    last_unix_s: float | None
    last_reason: str


@dataclass
class _DeclinedCount:
    count: int = 0
    untold: int = 0
    last_unix_s: float = 0.0
    last_reason: str = ""
    chances: Allowance = CHANCES


class DeclinedPlans:
    """The counts of all models, and what was told of links.

    Args:
        clock: Monotonic. [s]
        unix_clock: [s since the epoch]
    """

    def __init__(self, clock: Callable[[], float], unix_clock: Callable[[], float]) -> None:
        self._clock = clock
        self._unix_clock = unix_clock
        self._since_unix_s = unix_clock()
        self._models: dict[str, _DeclinedCount] = {}
        self._told: dict[tuple[str, ...], Allowance] = {}

    @property
    def counts(self) -> dict[str, int]:
        """Declined since this controller started, by model."""
        return {name: model.count for name, model in self._models.items()}

    def of(self, model: str) -> Declined:
        """What was declined of one model."""
        known = self._models.get(model) or _DeclinedCount()
        return Declined(
            count=known.count,
            since_unix_s=self._since_unix_s,
            last_unix_s=known.last_unix_s if known.count else None,
            last_reason=known.last_reason,
        )

    def may_tell(self, *about: str) -> bool:
        """Whether one more event may be told about something that comes and goes; it counts as told then."""
        allowance, now_s = self._told.get(about, TELLING), self._clock()
        if not allowance.allows(now_s):
            return False
        self._told[about] = allowance.spent(now_s)
        return True

    def add(self, model: str, reason: str, *, answers: bool, forced: bool) -> str | None:
        """Count one.

        Args:
            model: Its name.
            reason: Why it was planned and why it stays.
            answers: The occasion was told.
            forced: Somebody asked for it.

        Returns:
            What to add to the sentence of its event (of others that were not told), or None to tell nothing.
        """
        known = self._models.setdefault(model, _DeclinedCount())
        known.count += 1
        known.last_unix_s, known.last_reason = self._unix_clock(), reason
        if not forced and not (answers and self.may_tell("declined", model)):
            known.untold += 1
            return None
        untold, known.untold = known.untold, 0
        return f"; {untold} more were declined since the last that was told" if untold else ""

    def may_try(self, model: str) -> bool:
        """Whether a chance that the serving plan does not feel is worth planning now."""
        return (self._models.get(model) or _DeclinedCount()).chances.allows(self._clock())

    def tried(self, model: str, *, adopted: bool) -> None:
        """It was planned: many that come to nothing are followed by few."""
        known = self._models.setdefault(model, _DeclinedCount())
        known.chances = CHANCES if adopted else known.chances.spent(self._clock())

    def forget(self, model: str) -> None:
        """A model is gone."""
        self._models.pop(model, None)
