"""Retries of profiling until it succeeds or fails for good, hastened when the cause returns.

Owns: the task of one piece of work and the schedule of its tries. Its rule: an error that passes is tried again for as
long as the work is wanted; one that does not pass ends it. Not here: the schedule's figures (`edgesplit.retrying`), what
is tried, what is said of it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from edgesplit.retrying import Retry, hastened, is_passing, retry_after

__all__ = ["Attempts"]


class Attempts:
    """One piece of work, from its first try on.

    Args:
        attempt: Does the work; raises where it fails.
        failed: Told of each failure; `retry` is already known then, None where it failed for good.
        clock: Monotonic. [s]
        draw: Uniform in [0, 1).

    Attributes:
        retry: It fails for a passing reason, up to now; stays known while it is tried again.
    """

    def __init__(
        self,
        attempt: Callable[[], Awaitable[None]],
        *,
        failed: Callable[[Exception], None],
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.retry: Retry | None = None
        self._attempt = attempt
        self._failed = failed
        self._clock = clock
        self._draw = draw
        self._hastened = asyncio.Event()
        self._pausing = False
        self._task = asyncio.create_task(self._run())

    @property
    def under_way(self) -> bool:
        """Whether it is being tried now."""
        return not self._task.done() and not self._pausing

    @property
    def ended(self) -> bool:
        """Whether it succeeded or failed for good."""
        return self._task.done()

    def hasten(self) -> None:
        """What it failed for may be there again: try at once."""
        self._hastened.set()

    def cancel(self) -> asyncio.Task[None]:
        """The work is not wanted any more; returns what ends soon."""
        self._task.cancel()
        return self._task

    async def _run(self) -> None:
        while True:
            # What returned while nobody waited was there for this try.
            self._hastened.clear()
            try:
                await self._attempt()
            except Exception as error:  # whatever it is, the caller says so; it ends neither agent nor task
                passing = is_passing(error)
                self.retry = retry_after(self.retry, self._clock(), self._draw()) if passing else None
                self._failed(error)
                if self.retry is None:
                    return
                await self._pause(self.retry)
            else:
                return

    async def _pause(self, retry: Retry) -> None:
        self._pausing = True
        try:
            while (left_s := retry.next_at_s - self._clock()) > 0:
                try:
                    async with asyncio.timeout(left_s):
                        await self._hastened.wait()
                except TimeoutError:
                    continue
                self._hastened.clear()
                self.retry = retry = hastened(retry, self._clock())
        finally:
            self._pausing = False
