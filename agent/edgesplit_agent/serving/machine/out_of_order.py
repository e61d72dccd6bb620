"""Tensors that arrive out of order: before their epoch is ready here, or after their execution ended.

Owns: the bounded store of early tensors, and the memory of executions that have ended. Its rule: both are bounded, in
number, bytes and time, whoever sends; what a stranger sends (a node without a part in any epoch held here) finds a small
room of its own and gives way to what a known peer sends, never the other way round. Not here: what is done with them
(`request_flow.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgesplit.wire.headers import ExecutionKey
from edgesplit.wire.tensors import Array

__all__ = ["EarlyArrivals", "EarlyTensors", "EndedExecutions"]

PATIENCE_S = 0.25
"""Longest that tensors of an epoch that is not ready here are kept. A source starts requests only on epochs that every
participant has prepared, so this one was restarted: the source had better take another plan than wait. [s]"""
MOST_EARLY = 1024
"""Executions of known peers of which early tensors are kept."""
MOST_EARLY_OF_STRANGERS = 64
MEMORY_S = 60.0
"""How long an ended execution is remembered, so that its late tensors are known as such. [s]"""
MOST_ENDED = 1 << 16
"""Executions remembered as ended; the oldest are forgotten first. A thousand requests a second for `MEMORY_S`."""


@dataclass(slots=True)
class EarlyArrivals:
    """What came of one execution before it could start.

    Attributes:
        expires_at_s: When its request's time is up. [s]
        kept_until_s: How long it waits for its epoch here. [s]
    """

    expires_at_s: float
    kept_until_s: float
    arrivals: list[tuple[str, Mapping[str, Array]]] = field(default_factory=list[tuple[str, "Mapping[str, Array]"]])

    @property
    def nbytes(self) -> int:
        """Of all arrays. [B]"""
        return sum(array.nbytes for _, arrays in self.arrivals for array in arrays.values())


class EarlyTensors:
    """Tensors of executions whose epoch is unknown or still being prepared here.

    Args:
        limit_bytes: Of all of them together. [B]
        refused: Counts what found no room, and what gave way.
    """

    def __init__(self, limit_bytes: int, refused: Counter[str]) -> None:
        self.limit_bytes = limit_bytes
        self._refused = refused
        self._of_peers: dict[ExecutionKey, EarlyArrivals] = {}
        self._of_strangers: dict[ExecutionKey, EarlyArrivals] = {}
        self._nbytes = 0

    def __bool__(self) -> bool:
        """Whether anything is kept."""
        return bool(self._of_peers or self._of_strangers)

    def __len__(self) -> int:
        """Executions of which anything is kept."""
        return len(self._of_peers) + len(self._of_strangers)

    def keep(
        self,
        key: ExecutionKey,
        peer: str,
        arrays: Mapping[str, Array],
        expires_at_s: float,
        now_s: float,
        *,
        known: bool = True,
    ) -> bool:
        """Store what came; False where it does not fit (then nothing of the execution is kept)."""
        kept, most = (self._of_peers, MOST_EARLY) if known else (self._of_strangers, MOST_EARLY_OF_STRANGERS)
        nbytes = sum(array.nbytes for array in arrays.values())
        while known and self._of_strangers and self._nbytes + nbytes > self.limit_bytes:
            self._pop(self._of_strangers, next(iter(self._of_strangers)))
            self._refused["early-tensors"] += 1
        if self._nbytes + nbytes > self.limit_bytes or (key not in kept and len(kept) >= most):
            self._refused["early-tensors"] += 1
            if key in kept:
                self._pop(kept, key)
            return False
        early = kept.setdefault(key, EarlyArrivals(expires_at_s, min(expires_at_s, now_s + PATIENCE_S)))
        if len(early.arrivals) >= MOST_EARLY:
            self._refused["early-tensors"] += 1
            return True  # Nothing has so many senders: the rest of it is noise.
        early.arrivals.append((peer, arrays))
        self._nbytes += nbytes
        return True

    def take(self, model: str, epoch: int) -> list[tuple[ExecutionKey, EarlyArrivals]]:
        """Hand out all that came for an epoch."""
        return [
            (key, self._pop(kept, key))
            for kept in (self._of_peers, self._of_strangers)
            for key in list(kept)
            if (key.model, key.epoch) == (model, epoch)
        ]

    def overdue(self, now_s: float) -> list[tuple[ExecutionKey, EarlyArrivals, bool]]:
        """Hand out what waited in vain, and whether known peers sent it."""
        return [
            (key, self._pop(kept, key), kept is self._of_peers)
            for kept in (self._of_peers, self._of_strangers)
            for key, early in list(kept.items())
            if now_s >= early.kept_until_s
        ]

    def drop(self, key: ExecutionKey) -> None:
        """Forget an execution's tensors."""
        for kept in (self._of_peers, self._of_strangers):
            if key in kept:
                self._pop(kept, key)

    def _pop(self, kept: dict[ExecutionKey, EarlyArrivals], key: ExecutionKey) -> EarlyArrivals:
        early = kept.pop(key)
        self._nbytes -= early.nbytes
        return early


class EndedExecutions:
    """Executions that have ended here a short while ago.

    Args:
        refused: Counts what was forgotten before its time.
    """

    def __init__(self, refused: Counter[str]) -> None:
        self._refused = refused
        self._ended_at_s: dict[ExecutionKey, float] = {}

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._ended_at_s)

    def __contains__(self, key: ExecutionKey) -> bool:
        """Whether it ended here lately."""
        return key in self._ended_at_s

    def add(self, key: ExecutionKey, now_s: float) -> None:
        """Remember one."""
        self._ended_at_s.pop(key, None)
        if len(self._ended_at_s) >= MOST_ENDED:
            del self._ended_at_s[next(iter(self._ended_at_s))]
            self._refused["ended-requests"] += 1
        self._ended_at_s[key] = now_s

    def forget(self, now_s: float) -> None:
        """Drop those whose late tensors can hardly come any more; insertion order is time order."""
        for key, at_s in list(self._ended_at_s.items()):
            if now_s < at_s + MEMORY_S:
                return
            del self._ended_at_s[key]
