"""Memory limit over the bodies of all HTTP requests together.

Owns: the count. Its rule: a request takes as its bytes arrive, gives all back when it ends, and the one that would
exceed the limit is refused; an answer, already computed, is counted but never refused. Not here: the bytes.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from edgesplit.errors import Overloaded

__all__ = ["Account", "Memory"]


class Memory:
    """Bytes held by all requests.

    Args:
        limit_bytes: Of all together. [B]
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0

    def account(self) -> Account:
        """Of one request."""
        return Account(self)


class Account:
    """Bytes held by one request; a context manager that gives them back."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.nbytes = 0

    def take(self, nbytes: int) -> None:
        """Hold more.

        Raises:
            Overloaded: All requests together would hold more than they may.
        """
        if self._memory.used_bytes + nbytes > self._memory.limit_bytes:
            raise Overloaded(
                f"the bodies of all HTTP requests take {self._memory.used_bytes} of {self._memory.limit_bytes} B: "
                "send again later or slower"
            )
        self.count(nbytes)

    def count(self, nbytes: int) -> None:
        """Hold more, whatever the limit is."""
        self._memory.used_bytes += nbytes
        self.nbytes += nbytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._memory.used_bytes -= self.nbytes
        self.nbytes = 0
