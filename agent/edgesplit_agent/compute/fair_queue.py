"""Fair queueing of models on the compute thread (start-time fair queueing by consumed seconds).

Owns: the order of what waits for the compute thread. Its rule: pure; models share the thread's time evenly, whatever one
of them sends at once, and within a model the older request goes first. What is no request waits for all of them. Not
here: the thread (`worker.py`).

Models are served by start-time fair queueing [1]: each has a clock of the seconds it was given, and the one that is
furthest behind is next. One that had nothing to do comes in at the time of the others: it saves nothing up.

References: [1] P. Goyal, H. M. Vin, H. Cheng, Start-time fair queueing, SIGCOMM, 1996.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, TypeVar

__all__ = ["BACKGROUND", "FairQueue"]

J = TypeVar("J")
BACKGROUND = None
"""The share of what is no request."""


class FairQueue(Generic[J]):
    """Jobs that wait to compute, by share (a model's name) and priority (lower first; equal ones in the order of arrival)."""

    def __init__(self) -> None:
        self._waiting: dict[str | None, list[tuple[int, int, J]]] = {}
        self._given_s: dict[str, float] = {}
        self._now_s = 0.0
        self._numbers = itertools.count()

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    def __len__(self) -> int:
        """How much waits."""
        return sum(map(len, self._waiting.values()))

    def holds_before(self, priority: int) -> bool:
        """Whether anything waits whose priority is lower."""
        return any(waiting[0][0] < priority for waiting in self._waiting.values())

    def put(self, job: J, share: str | None, priority: int) -> None:
        """Let a job wait."""
        if share not in self._waiting:
            self._waiting[share] = []
            if share is not None:
                self._given_s[share] = max(self._given_s.get(share, 0.0), self._now_s)
        heapq.heappush(self._waiting[share], (priority, next(self._numbers), job))

    def take(self) -> tuple[J, str | None] | None:
        """The next job and its share; None when nothing waits."""
        shares = [share for share in self._waiting if share is not None]
        if not self._waiting:
            return None
        share = min(shares, key=self._start_tag) if shares else BACKGROUND
        if share is not None:
            self._now_s = self._given_s[share]
        waiting = self._waiting[share]
        _, _, job = heapq.heappop(waiting)
        if not waiting:
            del self._waiting[share]
        return job, share

    def spent(self, share: str | None, seconds: float) -> None:
        """A job of a share took so long. [s]"""
        if share is not None:
            self._given_s[share] = self._given_s.get(share, self._now_s) + seconds
            # One that is behind and has nothing to do would come in at the others' time anyway.
            for idle in [name for name, given_s in self._given_s.items() if given_s < self._now_s]:
                if idle not in self._waiting:
                    del self._given_s[idle]

    def clear(self) -> list[J]:
        """Hand out all that waits."""
        jobs = [job for waiting in self._waiting.values() for _, _, job in waiting]
        self._waiting.clear()
        return jobs

    def _start_tag(self, share: str) -> tuple[float, int, int]:
        priority, number, _ = self._waiting[share][0]
        return self._given_s[share], priority, number
