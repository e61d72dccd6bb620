"""Histories of events, one for each group of kinds, bounded in number and in age.

Owns: what is remembered and what is forgotten first. Its rule: pure; a kind that comes often, and a node or model about
which much is said, push out their own past only. Not here: the file and who is told (`events.py`).
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator

from edgesplit.control.event_kinds import HISTORIES, EventSelection, history_of
from edgesplit.control.event_messages import Event

__all__ = ["KEPT", "KEPT_S", "MOST", "EventHistory"]

KEPT_S = 30 * 86_400.0
"""For how long. [s]"""
KEPT = {
    "nodes": 5_000,
    "models": 2_000,
    "plans": 2_000,
    "peers": 2_000,
    "links": 1_000,
    "profiles": 1_000,
    "operators": 5_000,
    "other": 1_000,
}
"""How many of each history."""
MOST = sum(KEPT.values())
_Entry = tuple[int, Event]


class EventHistory:
    """All of them."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._about: dict[str, dict[tuple[str, str], deque[_Entry]]] = {history: {} for history in HISTORIES}
        self._counts = dict.fromkeys(HISTORIES, 0)

    def __len__(self) -> int:
        return sum(self._counts.values())

    def add(self, event: Event) -> int:
        """Remember an event, at the cost of the oldest about whom or what the most is remembered; returns its number."""
        history = history_of(event.kind)
        about = self._about[history]
        about.setdefault((event.node, event.model), deque()).append((number := next(self._numbers), event))
        self._counts[history] += 1
        if self._counts[history] > KEPT[history]:
            longest = max(about, key=lambda subject: len(about[subject]))
            about[longest].popleft()
            self._counts[history] -= 1
            if not about[longest]:
                del about[longest]
        return number

    def forget(self, before_unix_s: float) -> None:
        """Drop what is older. [s since the epoch]"""
        for history, about in self._about.items():
            for subject in tuple(about):
                kept = deque(
                    entry for entry in about[subject] if (entry[1].heard_unix_s or entry[1].at_unix_s) >= before_unix_s
                )
                self._counts[history] -= len(about[subject]) - len(kept)
                if kept:
                    about[subject] = kept
                else:
                    del about[subject]

    def __iter__(self) -> Iterator[Event]:
        return (event for _, event in self._numbered())

    def _numbered(self) -> Iterator[_Entry]:
        return heapq.merge(*(deque_ for about in self._about.values() for deque_ in about.values()))

    def last_numbered(self, limit: int) -> list[tuple[int, Event]]:
        """The newest with their numbers, which grow, oldest first."""
        return list(deque(self._numbered(), maxlen=max(limit, 0)))

    def last(self, limit: int, selection: EventSelection) -> list[Event]:
        """The newest of those that are selected, oldest first."""
        found: deque[Event] = deque((event for event in self if selection.takes(event)), maxlen=max(limit, 0))
        return list(found)
