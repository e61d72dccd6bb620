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
_Subject = tuple[str, str]
"""Node and model."""


class _History:
    """Of one group of kinds: entries by whom or what they are about, and who has how many, so that room is made at once however many there are."""

    def __init__(self) -> None:
        self.about: dict[_Subject, deque[_Entry]] = {}
        self.count = 0
        self._by_length: dict[int, dict[_Subject, None]] = {}
        self._longest = 0

    def add(self, subject: _Subject, entry: _Entry) -> None:
        entries = self.about.setdefault(subject, deque())
        entries.append(entry)
        self.count += 1
        self._counted(subject, len(entries) - 1, len(entries))
        self._longest = max(self._longest, len(entries))

    def make_room(self) -> None:
        """Drop the oldest entry about whom or what there are the most."""
        subject = next(iter(self._by_length[self._longest]))
        entries = self.about[subject]
        entries.popleft()
        self.count -= 1
        self._counted(subject, len(entries) + 1, len(entries))
        if self._longest not in self._by_length:
            self._longest -= 1
        if not entries:
            del self.about[subject]

    def since(self, unix_s: float) -> _History:
        """What of it is no older. [s since the epoch]"""
        younger = _History()
        for subject, entries in self.about.items():
            for entry in entries:
                if (entry[1].heard_unix_s or entry[1].at_unix_s) >= unix_s:
                    younger.add(subject, entry)
        return younger

    def _counted(self, subject: _Subject, before: int, after: int) -> None:
        if before:
            del self._by_length[before][subject]
            if not self._by_length[before]:
                del self._by_length[before]
        if after:
            self._by_length.setdefault(after, {})[subject] = None


class EventHistory:
    """All of them."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._histories = {history: _History() for history in HISTORIES}

    def __len__(self) -> int:
        return sum(history.count for history in self._histories.values())

    def add(self, event: Event) -> int:
        """Remember an event, at the cost of the oldest about whom or what the most is remembered; returns its number."""
        group = history_of(event.kind)
        history = self._histories[group]
        history.add((event.node, event.model), (number := next(self._numbers), event))
        if history.count > KEPT[group]:
            history.make_room()
        return number

    def forget(self, before_unix_s: float) -> None:
        """Drop what is older. [s since the epoch]"""
        for name, history in self._histories.items():
            self._histories[name] = history.since(before_unix_s)

    def __iter__(self) -> Iterator[Event]:
        return (event for _, event in self._numbered())

    def _numbered(self) -> Iterator[_Entry]:
        return heapq.merge(*(entries for history in self._histories.values() for entries in history.about.values()))

    def last_numbered(self, limit: int) -> list[tuple[int, Event]]:
        """The newest with their numbers, which grow, oldest first."""
        return list(deque(self._numbered(), maxlen=max(limit, 0)))

    def last(self, limit: int, selection: EventSelection) -> list[Event]:
        """The newest of those that are selected, oldest first."""
        found: deque[Event] = deque((event for event in self if selection.takes(event)), maxlen=max(limit, 0))
        return list(found)
