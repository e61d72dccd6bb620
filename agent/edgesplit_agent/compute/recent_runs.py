"""Recent runs of one piece of work: their interquartile mean, their quickest quarter, with change detection.

Owns: what that work typically takes now. Its rule: a single run hardly moves it, and three in a row that all lie beyond
every run before them, by a notable share, are a change: what was before is forgotten. Not here: what is said of runs
(`profiling/live_timings.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from edgesplit.significance import OWN_TIME_CHANGE, differs

__all__ = ["RecentRuns", "middle_mean", "quickest_mean"]

REMEMBERED, QUICKEST_OF = 16, 48
"""Runs that are typical, and those among which the quickest are sought: a spell of a dozen must not fill them."""
CHANGED_RUNS = 3
"""So many in a row beyond all others are a change. Of 16 runs that differ by chance alone the last three are the longest
three, or the shortest three, once in 280 times; then their mean stands in until there are more."""
SPELL_CHANGE = 0.5
"""Repetitions tell what work takes while nothing disturbs it: that it takes a fifth longer three times in a row is a spell. [1]"""
LEAST_CUT = 3
"""Of fewer values none is left out of their mean."""


class RecentRuns:
    """The last runs of one piece of work, but for a very first that warms up; used in one thread at a time."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=QUICKEST_OF)
        self._warm = False

    @property
    def count(self) -> int:
        """How many are remembered."""
        return len(self._seconds)

    def add(self, seconds: float, *, warm: bool = False) -> None:
        """It ran once more; `warm`: again, right behind itself, to tell what it takes while nothing disturbs it. [s]"""
        if not self._warm and not warm:
            self._warm = True
            return
        self._seconds.append(seconds)
        runs = list(self._seconds) if warm else self._latest
        last, before = runs[-CHANGED_RUNS:], runs[:-CHANGED_RUNS]
        if len(before) >= CHANGED_RUNS and _beyond(last, before, SPELL_CHANGE if warm else OWN_TIME_CHANGE):
            self._seconds = deque(last, maxlen=QUICKEST_OF)

    def quickest_s(self, otherwise_s: float) -> float:
        """What it takes while nothing disturbs it; `otherwise_s` where no run is remembered. [s]"""
        return quickest_mean(self._seconds) if self._seconds else otherwise_s

    def typical_s(self, otherwise_s: float) -> float:
        """What it takes; `otherwise_s` where no run is remembered. [s]"""
        return middle_mean(self._latest) if self._seconds else otherwise_s

    @property
    def _latest(self) -> list[float]:
        return list(self._seconds)[-REMEMBERED:]


def _beyond(last: Sequence[float], before: Sequence[float], rise: float) -> bool:
    """Whether these all lie on one side of those, and notably so: by `rise` where they are longer. [1]"""
    if max(last) < min(before):
        return differs(middle_mean(before), middle_mean(last), OWN_TIME_CHANGE)
    return min(last) > max(before) and middle_mean(last) > (1 + rise) * middle_mean(before)


def quickest_mean(seconds: Sequence[float]) -> float:
    """Mean of the quickest quarter: what neighbours, other work and pauses cost only ever makes runs longer. [s]"""
    ordered = sorted(seconds)
    quickest = ordered[: max(len(ordered) // 4, 1)]
    return sum(quickest) / len(quickest)


def middle_mean(seconds: Sequence[float]) -> float:
    """Mean of the middle half: an outlier does not count, and means of parts add up as the parts do. [s]

    A run under a processor quota takes one of a few times, depending on where in the quota's period it begins; a
    median would jump between them.
    """
    ordered = sorted(seconds)
    cut = max(len(ordered) // 4, 1) if len(ordered) >= LEAST_CUT else 0
    middle = ordered[cut : len(ordered) - cut]
    return sum(middle) / len(middle)
