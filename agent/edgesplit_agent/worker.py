"""The one thread that computes: components of requests, and slices of profiling between them.

Owns: the order of computations on this node. Its rule: one at a time, lowest priority value first, so that an older
request goes before a newer one and serving before profiling; what offers to make way is asked to when something more
urgent comes. Not here: what is computed.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["PROFILING_PRIORITY", "Worker"]

T = TypeVar("T")
_Job = tuple[int, int, Callable[[], Any], asyncio.Future[Any], Callable[[], None] | None]
"""Priority, number, function, result, how to ask it to end; the number settles every comparison."""
PROFILING_PRIORITY = 1 << 62
"""After every request."""


class Worker:
    """Runs functions one after another in a thread, by priority."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compute")
        self._waiting: list[_Job] = []
        self._numbers = itertools.count()
        self._running: asyncio.Task[None] | None = None
        self._yielding: tuple[int, Callable[[], None]] | None = None
        """Priority of what runs and how to ask it to end, where it offered that."""

    async def run(self, function: Callable[[], T], *, priority: int, make_way: Callable[[], None] | None = None) -> T:
        """Run a function in the thread; a caller cancelled before its turn takes it out of the queue.

        Args:
            function: Blocking.
            priority: Lower goes first; equal ones in the order of their calls.
            make_way: Called on the loop when something of a lower value comes while the function runs, which should
                then end soon.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._numbers), function, future, make_way))
        if self._yielding is not None and priority < self._yielding[0]:
            self._yielding[1]()
        if self._running is None:
            self._running = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                priority, _, function, future, make_way = heapq.heappop(self._waiting)
                if future.cancelled():
                    continue
                self._yielding = (priority, make_way) if make_way is not None else None
                try:
                    result = await loop.run_in_executor(self._executor, function)
                except Exception as error:  # handed to the caller, whatever it is
                    if not future.cancelled():
                        future.set_exception(error)
                else:
                    if not future.cancelled():
                        future.set_result(result)
        finally:
            self._running, self._yielding = None, None

    async def close(self) -> None:
        """Drop what waits, let what runs end."""
        for _, _, _, future, _ in self._waiting:
            future.cancel()
        self._waiting.clear()
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)
        self._executor.shutdown(wait=False)
