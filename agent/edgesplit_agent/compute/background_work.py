"""Background work that takes processor time beside serving: preparing epochs, profiling.

Owns: whether such work fell into a stretch of time. Its rule: runs that it fell into say nothing about the node's speed,
for it ends by itself and is of the agent's own making. Not here: the work, and the runs (`profiling/live_timings.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

__all__ = ["BackgroundWork"]


class BackgroundWork:
    """Remembers when such work was done; used on the event loop only.

    Args:
        clock: Monotonic. [s]
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._under_way = 0
        self._none = asyncio.Event()
        self._none.set()
        self._ended_s = float("-inf")

    @contextmanager
    def under_way(self) -> Generator[None, None, None]:
        """Do it within this context."""
        self._under_way += 1
        self._none.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._none.set()
            self._ended_s = self._clock()

    async def ended(self) -> None:
        """Wait until none is being done."""
        await self._none.wait()

    def since(self, started_s: float) -> bool:
        """Whether any was done from then until now. [s]"""
        return self._under_way > 0 or self._ended_s >= started_s
