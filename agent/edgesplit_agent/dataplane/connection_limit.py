"""Limit of accepted connections: which of them gives way when there are too many.

Owns: what is known of each, the bounds of their number, and when one is too slow. Its rule: pure, times are handed in; a
known agent never gives way, nor does a connection on which something goes on; those that have not greeted go first. Not
here: what is said on them (`incoming.py`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from edgesplit.trust.access import Permit
from edgesplit.wire.connection import Connection
from edgesplit.wire.headers import Hello
from edgesplit_agent.dataplane.limits import Limits

__all__ = ["Guest", "StallWatch", "gives_way", "is_full"]

GRACE_S = 1.0
"""Whoever came or said something so lately does not give way. [s]"""


@dataclass
class StallWatch:
    """Whether a frame that began goes on, and whether what waits to be read is read.

    Attributes:
        received_bytes: When it was looked at last. [B]
        sent_bytes: Likewise. [B]
    """

    received_bytes: int = 0
    sent_bytes: int = 0
    _begun_s: float | None = None
    _begun_bytes: int = 0
    _moved_s: float = 0.0
    _unread_s: float | None = None

    def arriving(self, received_bytes: int, in_frame: bool, now_s: float, limits: Limits) -> bool:
        """Look at what arrived; False where a frame stands still or trickles."""
        moved, self.received_bytes = received_bytes != self.received_bytes, received_bytes
        if not in_frame:
            self._begun_s = None
            return True
        if self._begun_s is None:
            self._begun_s, self._begun_bytes, self._moved_s = now_s, received_bytes, now_s
        if moved:
            self._moved_s = now_s
        if now_s - self._moved_s >= limits.frame_stall_s:
            return False
        span_s = now_s - self._begun_s
        enough_bytes = limits.least_bytes_per_s * span_s
        return span_s < 2 * limits.frame_stall_s or received_bytes - self._begun_bytes >= enough_bytes

    def leaving(self, sent_bytes: int, pending_bytes: int, now_s: float, limits: Limits) -> bool:
        """Look at what left; False where the other side has read nothing for too long."""
        moved, self.sent_bytes = sent_bytes != self.sent_bytes, sent_bytes
        if moved or not pending_bytes or self._unread_s is None:
            self._unread_s = now_s
        return now_s - self._unread_s < limits.unread_s


@dataclass
class Guest:
    """State of one accepted connection.

    Attributes:
        overdue: Ends it unless it greets.
        used_s: When it came, or when its last frame did. [s]
        tasks: Decoding of its tensors, and answers that wait for room.
        infers: Its requests, and how each is given up.
        permit: What it may do in a secured fleet, once it has greeted.
    """

    connection: Connection
    overdue: asyncio.TimerHandle
    used_s: float
    hello: Hello | None = None
    permit: Permit | None = None
    pace: StallWatch = field(default_factory=StallWatch)
    tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    infers: dict[int, Callable[[], None] | None] = field(default_factory=dict[int, "Callable[[], None] | None"])

    @property
    def host(self) -> str:
        """Where it came from; empty for a program of this machine on a Unix socket."""
        return self.connection.peer_host

    @property
    def busy(self) -> bool:
        """Whether something goes on that somebody waits for."""
        return self.hello is not None and bool(
            self.infers or self.tasks or self.connection.pending_bytes or self.connection.in_frame
        )


def is_full(guests: Iterable[Guest], host: str, limits: Limits) -> bool:
    """Whether there is no place for another connection from there."""
    by_host = Counter(guest.host for guest in guests if guest.connection.is_open)
    return by_host.total() >= limits.max_connections or bool(
        host and by_host[host] >= limits.max_connections_per_address
    )


def gives_way(guests: Iterable[Guest], now_s: float, is_known: Callable[[str], bool]) -> Guest | None:
    """Whose connection is worth least: has not greeted, then agents nobody knows, then clients; the longest silent first."""
    candidates = [
        (_worth(guest, is_known), guest.used_s, number, guest)
        for number, guest in enumerate(guests)
        if now_s - guest.used_s >= GRACE_S and not guest.busy and guest.connection.is_open
    ]
    worth, _, _, guest = min(candidates, default=(_KNOWN, 0.0, 0, None))
    return guest if worth < _KNOWN else None


_KNOWN = 3


def _worth(guest: Guest, is_known: Callable[[str], bool]) -> int:
    if guest.hello is None:
        return 0
    if guest.hello.role == "agent":
        return _KNOWN if is_known(guest.hello.node) else 1
    return 2
