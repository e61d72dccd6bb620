"""Tensors that come too early or too late.

Owns: the bounded store of tensors of epochs that are not ready here, and the memory of executions that have ended.
Its rule: both are bounded, in bytes or in time. Not here: what is done with them (`machine.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgesplit.tensors import Array
from edgesplit_agent.serving.events import ExecutionKey

__all__ = ["Early", "EarlyTensors", "EndedExecutions"]

PATIENCE_S = 0.25
"""Longest that tensors of an epoch that is not ready here are kept. A source starts requests only on epochs that every
participant has prepared, so this one was restarted: the source had better take another plan than wait. [s]"""
MEMORY_S = 60.0
"""How long an ended execution is remembered, so that its late tensors are known as such. [s]"""


@dataclass(slots=True)
class Early:
    """What came of one execution before it could start."""

    expires_at_s: float
    arrivals: list[tuple[str, Mapping[str, Array]]] = field(default_factory=list[tuple[str, "Mapping[str, Array]"]])

    @property
    def nbytes(self) -> int:
        """Of all arrays. [B]"""
        return sum(array.nbytes for _, arrays in self.arrivals for array in arrays.values())


class EarlyTensors:
    """Tensors of executions whose epoch is unknown or still being prepared here.

    Args:
        limit_bytes: Of all of them together. [B]
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._kept: dict[ExecutionKey, Early] = {}
        self._nbytes = 0

    def __bool__(self) -> bool:
        """Whether anything is kept."""
        return bool(self._kept)

    def keep(
        self, key: ExecutionKey, peer: str, arrays: Mapping[str, Array], expires_at_s: float, now_s: float
    ) -> bool:
        """Store what came; False where it does not fit (then nothing of the execution is kept)."""
        nbytes = sum(array.nbytes for array in arrays.values())
        if self._nbytes + nbytes > self.limit_bytes:
            self.drop(key)
            return False
        early = self._kept.setdefault(key, Early(min(expires_at_s, now_s + PATIENCE_S)))
        early.arrivals.append((peer, arrays))
        self._nbytes += nbytes
        return True

    def take(self, model: str, epoch: int) -> list[tuple[ExecutionKey, Early]]:
        """Hand out all that came for an epoch."""
        return [(key, self._pop(key)) for key in list(self._kept) if (key.model, key.epoch) == (model, epoch)]

    def overdue(self, now_s: float) -> list[tuple[ExecutionKey, Early]]:
        """Hand out what waited in vain."""
        return [(key, self._pop(key)) for key, early in list(self._kept.items()) if now_s >= early.expires_at_s]

    def drop(self, key: ExecutionKey) -> None:
        """Forget an execution's tensors."""
        if key in self._kept:
            self._pop(key)

    def _pop(self, key: ExecutionKey) -> Early:
        early = self._kept.pop(key)
        self._nbytes -= early.nbytes
        return early


class EndedExecutions:
    """Executions that have ended here a short while ago."""

    def __init__(self) -> None:
        self._ended_at_s: dict[ExecutionKey, float] = {}

    def __contains__(self, key: ExecutionKey) -> bool:
        """Whether it ended here lately."""
        return key in self._ended_at_s

    def add(self, key: ExecutionKey, now_s: float) -> None:
        """Remember one."""
        self._ended_at_s.pop(key, None)
        self._ended_at_s[key] = now_s

    def forget(self, now_s: float) -> None:
        """Drop those whose late tensors can hardly come any more; insertion order is time order."""
        for key, at_s in list(self._ended_at_s.items()):
            if now_s < at_s + MEMORY_S:
                return
            del self._ended_at_s[key]
