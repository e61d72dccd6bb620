"""Limits on log lines: so many of an event in so much time.

Owns: counting and dropping. Its rule: pure, times are handed in; the next line that passes says how many were dropped. Not here: how a
line looks (`set_up.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import structlog

__all__ = ["MOST_EVENTS", "EventLimit", "LineLimit"]

MOST_LINES, WINDOW_S = 1000, 60.0
"""Of one event, in so much time: whatever strangers find to repeat, a log stays readable and a disk has room. [1, s]"""
MOST_EVENTS = 512
"""Events that are counted by themselves; others, whose names strangers may have chosen, together."""


class EventLimit:
    """A processor of structlog that drops what comes too often, by event; the next line that passes says how many were.

    Args:
        clock: Monotonic. [s]
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._limits: dict[str, LineLimit] = {}
        self._dropped: Counter[str] = Counter()

    def __call__(self, _logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """Pass a line on, or drop it."""
        event = str(line.get("event", ""))
        if event not in self._limits and len(self._limits) >= MOST_EVENTS:
            event = ""
        if not self._limits.setdefault(event, LineLimit(MOST_LINES, WINDOW_S)).allows(self._clock()):
            self._dropped[event] += 1
            raise structlog.DropEvent
        if dropped := self._dropped.pop(event, 0):
            line["dropped_before"] = dropped
        return line


class LineLimit:
    """At most so many lines in so much time, for what a stranger could cause without end; pure, times are handed in.

    Args:
        most: In a window.
        window_s: Its length. [s]
    """

    def __init__(self, most: int, window_s: float) -> None:
        self._most = most
        self._window_s = window_s
        self._begun_s = float("-inf")
        self._count = 0

    def allows(self, now_s: float) -> bool:
        """Count one; whether it may be logged. [s]"""
        if now_s - self._begun_s >= self._window_s:
            self._begun_s, self._count = now_s, 0
        self._count += 1
        return self._count <= self._most
