"""Backlog of one peer: tensors that wait for room in the connection's queue.

Owns: their order, and dropping what has expired or is not wanted any more. Its rule: pure, times are handed in; what was
put first leaves first, and nothing leaves after its time. Not here: sending (`outgoing.py`), and who is admitted while
a peer is slow (`serving/machine/admitting/admission.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgesplit.wire.frames import PackedTensor
from edgesplit.wire.headers import ExecutionKey

__all__ = ["Backlog", "Waiting"]


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """One frame's tensors.

    Attributes:
        expires_at_s: None for no deadline. [s]
    """

    key: ExecutionKey
    tensors: Sequence[PackedTensor]
    expires_at_s: float | None

    @property
    def nbytes(self) -> int:
        """As they travel. [B]"""
        return sum(tensor.payload.nbytes for tensor in self.tensors)


class Backlog:
    """First in, first out."""

    def __init__(self) -> None:
        self._waiting: deque[Waiting] = deque()

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    def put(self, waiting: Waiting) -> None:
        """Let tensors wait."""
        self._waiting.append(waiting)

    def drop(self, key: ExecutionKey) -> None:
        """Forget an execution's tensors."""
        self._waiting = deque(waiting for waiting in self._waiting if waiting.key != key)

    def take(self, fits: Callable[[int], bool], now_s: float) -> Waiting | None:
        """The next that leaves now; None when nothing waits or the first does not fit.

        Args:
            fits: Whether the queue has room for so many bytes.
            now_s: What expired until then is dropped. [s]
        """
        while self._waiting:
            first = self._waiting[0]
            if first.expires_at_s is None or now_s < first.expires_at_s:
                return self._waiting.popleft() if fits(first.nbytes) else None
            self._waiting.popleft()
        return None

    def clear(self) -> list[ExecutionKey]:
        """Forget everything; whose tensors they were."""
        keys = [waiting.key for waiting in self._waiting]
        self._waiting.clear()
        return keys
