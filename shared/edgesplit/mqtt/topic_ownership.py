"""Taking back what others publish on topics that only this program writes.

Owns: telling the echo of an own message from a stranger's, and how often a topic is put right. Its rule: pure; what
arrives on a topic while an own message to it is under way is older than that message, for a broker keeps the order
within a topic, and is put right by it. Whoever publishes again and again is answered ever later, so that two programs
that both mean to own a topic do not keep the broker busy. Not here: publishing (`mqtt/bus.py`), who owns what.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field

from edgesplit.mqtt.topic_filters import matches

__all__ = ["Ownership"]

AT_ONCE = 5
"""A topic is put right at once so often, then ever later."""
LONGEST_PAUSE_S = 30.0
QUIET_S = 60.0
"""After so long without a stranger's message a topic is put right at once again. [s]"""
REMEMBERED = 4096
"""Topics that are waited for or to be put right; of more, the oldest is forgotten until it is written again."""


@dataclass
class _Disturbed:
    """A topic that strangers wrote.

    Attributes:
        times: How often it was put right lately.
        heard_s: When it was written last. [s]
    """

    times: int = 0
    heard_s: float = 0.0


@dataclass
class Ownership:
    """The topics of one program.

    Attributes:
        filters: Topic filters, and whether what nobody remembers there is removed (else it is left alone).
    """

    filters: dict[str, bool] = field(default_factory=dict[str, bool])
    _under_way: dict[str, deque[bytes]] = field(default_factory=dict[str, deque[bytes]])
    _disturbed: dict[str, _Disturbed] = field(default_factory=dict[str, _Disturbed])

    def owns(self, topic: str) -> bool:
        """Whether only this program writes a topic."""
        return any(matches(own, topic) for own in self.filters)

    def removes_unknown(self, topic: str) -> bool:
        """Whether what is on a topic without having been published here is removed."""
        return any(remove for own, remove in self.filters.items() if matches(own, topic))

    def publishes(self, topic: str, payload: bytes) -> None:
        """A message to an own topic leaves now; it will come back."""
        if self.owns(topic):
            _bound(self._under_way)
            self._under_way.setdefault(topic, deque(maxlen=64)).append(_mark(payload))

    def is_foreign(self, topic: str, payload: bytes, wanted: bytes | None) -> bool:
        """Whether a message that arrived on an own topic has to be put right.

        Args:
            topic: Where it arrived.
            payload: What arrived; empty for a removal.
            wanted: What should be there; None for what nobody remembers.
        """
        under_way = self._under_way.get(topic)
        if under_way:
            mark = _mark(payload)
            if mark in under_way:
                while under_way.popleft() != mark:
                    pass
                if not under_way:
                    del self._under_way[topic]
            return False
        if wanted is None:
            return bool(payload) and self.removes_unknown(topic)
        return payload != wanted

    def pause_s(self, topic: str, now_s: float) -> float:
        """How long to wait before a topic is put right; counts as done. [s]"""
        _bound(self._disturbed)
        disturbed = self._disturbed.setdefault(topic, _Disturbed())
        if now_s - disturbed.heard_s > QUIET_S:
            disturbed.times = 0
        disturbed.times, disturbed.heard_s = disturbed.times + 1, now_s
        late = disturbed.times - AT_ONCE
        return 0.0 if late <= 0 else min(LONGEST_PAUSE_S, 0.25 * 2.0 ** min(late, 10))

    def disconnected(self) -> None:
        """What was under way may never come back."""
        self._under_way.clear()


def _bound(table: dict[str, deque[bytes]] | dict[str, _Disturbed]) -> None:
    while len(table) >= REMEMBERED:
        del table[next(iter(table))]


def _mark(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=16).digest()
