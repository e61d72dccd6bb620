"""Tries to deploy what stands beside a model's first deployment: one at a time of each, again later where one failed.

Owns: which run, which failed and why, and when it is time for the next. Its rule: a failure is logged and told to who asks, never raised. Not
here: what is to be deployed (`shape_watch.py`, `source_watch.py`), deploying (`deciding/deployer.py`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Coroutine
from typing import Any

import structlog

from edgesplit.errors import EdgesplitError
from edgesplit.retrying import Retry, RetryRule, retry_after

__all__ = ["DeploymentTries"]

AGAIN = RetryRule(first_s=10.0, most_s=300.0)
"""Between two tries to deploy one that failed."""
UNDER_WAY = "it is under way"


class DeploymentTries:
    """Of one kind of deployment.

    Args:
        part: Of the log.
        failed: What a failure is called there.
        clock: Monotonic. [s]
    """

    def __init__(self, part: str, failed: str, clock: Callable[[], float]) -> None:
        self._failed = failed
        self._clock = clock
        self._retries: dict[str, Retry] = {}
        self._refusals: dict[str, str] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._log = structlog.get_logger(part=part)

    @property
    def running(self) -> Collection[str]:
        """Names of those that are tried now."""
        return self._running.keys()

    def why(self, name: str) -> str:
        """Why one is not there yet."""
        return self._refusals.get(name) or UNDER_WAY

    def is_due(self, name: str) -> bool:
        """Whether it may be tried now: it is not yet, and the last failure was long enough ago."""
        retry = self._retries.get(name)
        return name not in self._running and (retry is None or self._clock() >= retry.next_at_s)

    def begin(self, name: str, deploying: Callable[[], Coroutine[Any, Any, object]]) -> asyncio.Task[None]:
        """Try one, unless that is under way."""
        task = self._running.get(name)
        if task is None:
            task = self._running[name] = asyncio.create_task(self._try(name, deploying), name=f"deploy-{name}")
            task.add_done_callback(lambda _: self._running.pop(name, None))
        return task

    async def cancel(self, name: str) -> None:
        """End a try that is under way."""
        task = self._running.get(name)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def forget(self, name: str) -> None:
        """Whatever failed before says nothing any more."""
        self._retries.pop(name, None)
        self._refusals.pop(name, None)

    async def close(self) -> None:
        """End all that are under way."""
        await asyncio.gather(*(self.cancel(name) for name in tuple(self._running)))

    async def _try(self, name: str, deploying: Callable[[], Coroutine[Any, Any, object]]) -> None:
        try:
            await deploying()
        except EdgesplitError as error:
            now_s = self._clock()
            retry = retry_after(self._retries.get(name), now_s, random.random(), AGAIN)  # noqa: S311  no secret
            self._retries[name], self._refusals[name] = retry, str(error)
            next_try_s = retry.next_at_s - now_s
            self._log.warning(self._failed, model=name, reason=str(error), next_try_s=next_try_s)
        else:
            self.forget(name)
