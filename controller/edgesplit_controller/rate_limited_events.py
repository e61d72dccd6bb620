"""Rate-limited events: what strangers or defects cause is told once in a while, however often it happens.

Owns: when the same was told last, and how much agents told. Its rule: whoever floods topics must not flood the events. Not here: the events (`event_log.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from edgesplit.daemon.logs import LineLimit
from edgesplit_controller.event_log import EventLog

__all__ = ["EventFlood", "RateLimitedEvents"]

EVERY_S = 600.0
"""The same is told once in this time. [s]"""
MOST_A_MINUTE = 20
REMEMBERED = 4096
"""Things that were told; of more, the oldest is forgotten."""


class RateLimitedEvents:
    """Adds events, each once in a while and few of a kind.

    Args:
        events: Where they go.
        clock: Monotonic. [s]
    """

    def __init__(self, events: EventLog, clock: Callable[[], float]) -> None:
        self._events = events
        self._clock = clock
        self._told: dict[str, float] = {}
        self._recent: dict[str, deque[float]] = {}

    def add(self, what: str, kind: str, text: str) -> None:
        """Tell it, unless the same was told lately or much else of its kind was: a flood of one kind drowns no other.

        Args:
            what: What is the same.
            kind: Of the event.
            text: Its sentence.
        """
        now_s = self._clock()
        if now_s - self._told.get(what, float("-inf")) < EVERY_S:
            return
        recent = self._recent.setdefault(kind, deque(maxlen=MOST_A_MINUTE))
        if len(recent) == recent.maxlen and now_s - recent[0] < 60.0:
            return
        self._told.pop(what, None)
        while len(self._told) >= REMEMBERED:
            del self._told[next(iter(self._told))]
        self._told[what] = now_s
        recent.append(now_s)
        self._events.add(kind, text)


class EventFlood:
    """How many events agents may tell; whose node is not registered shares with all others of that kind.

    Args:
        clock: Monotonic. [s]
    """

    MOST_OF_ONE = 300
    """A minute; a node of fifty models that loses a peer tells a few dozen."""
    MOST_OF_ALL = 10_000

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._all = LineLimit(self.MOST_OF_ALL, 60.0)
        self._of: dict[str, LineLimit] = {}

    def allows(self, origin: str, *, known: bool) -> bool:
        """Count one; whether it is kept."""
        now_s = self._clock()
        name = origin if known else ""
        if name not in self._of and len(self._of) >= REMEMBERED:
            del self._of[next(iter(self._of))]
        return self._of.setdefault(name, LineLimit(self.MOST_OF_ONE, 60.0)).allows(now_s) and self._all.allows(now_s)
