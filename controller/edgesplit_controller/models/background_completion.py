"""Background completion of models: one process at a time, from the first try until it succeeds or fails for good.

Owns: whose turn it is, how far it is, and trying again. Its rule: what fails for a passing reason is tried again for as long as
the model is there; a removed or replaced model's is ended at once; beside a first stage, which somebody waits for, no process of
a completion has memory: it is ended, and begins again afterwards; a controller that ends ends it, too, and begins it again when it
is back. Not here: the work (`intake/`), what becomes of it (`catalog.py`), who is told (the listener).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import structlog

from edgesplit.errors import EdgesplitError, StoreUnwritable
from edgesplit.operations.model_operations import CompletionRow
from edgesplit.retrying import Retry, RetryRule, is_passing, retry_after
from edgesplit_controller.models.intake_messages import (
    CompletionRequest,
    IntakeDone,
    IntakeFailed,
    IntakeProgress,
)
from edgesplit_controller.models.intake_runs import IntakeRun, run_in_process

__all__ = ["BackgroundCompletion", "CompletionListener"]

AGAIN = RetryRule(first_s=5.0, most_s=600.0)
MOST_DEATHS = 3
"""A process that says nothing of its end may have met a moment without memory; the third time in a row it is the model."""
FIRST_GUESS = 0.05
"""Less done says nothing of the time that is left. [1]"""
TOLD_EVERY_S = 10.0
"""Between two events of one step. [s]"""


class CompletionListener(Protocol):
    """Who is told."""

    def completing(self, model: str, row: CompletionRow) -> None:
        """It goes on."""

    def completion_failing(self, model: str, row: CompletionRow) -> None:
        """It failed for the first time, and is tried again."""

    def completion_ended(self, model: str, /) -> None:
        """Nothing is done for a model any more, whatever came of it."""


@dataclass
class _CompletionJob:
    """One model's.

    Attributes:
        task: Of all its tries.
        what: Is being done.
        fraction: Done of this try. [1]
        began_s: When it was asked for. [s]
        try_s: When the present try began. [s]
        told: Step and time of the last event. [s]
        reason: Why it fails so far.
        trying: The process of the present try; None where there is none.
    """

    began_s: float
    task: asyncio.Task[None] = field(init=False)
    trying: asyncio.Task[IntakeDone | IntakeFailed] | None = None
    what: str = "waiting for its turn"
    fraction: float = 0.0
    try_s: float | None = None
    told: tuple[str, float] = ("", float("-inf"))
    reason: str = ""
    deaths: int = 0
    retry: Retry | None = None


class BackgroundCompletion:
    """All models'.

    Args:
        run: Carries out one try.
        clock: Monotonic. [s]

    Attributes:
        listener: Who is told; nobody until there is one.
    """

    def __init__(self, run: IntakeRun = run_in_process, clock: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._standing_aside = 0
        self._may_run = asyncio.Event()
        self._may_run.set()
        self._jobs: dict[str, _CompletionJob] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger(part="completion")
        self.listener: CompletionListener | None = None

    @property
    def under_way(self) -> bool:
        """Whether any model is completed, or waits for it."""
        return bool(self._jobs)

    def start(
        self,
        model: str,
        request: CompletionRequest,
        done: Callable[[], Awaitable[None]],
        failed: Callable[[str], Awaitable[None]],
    ) -> None:
        """Complete a model.

        Args:
            model: Its name; what was being done for it is ended.
            request: What to do.
            done: Takes the result; raises where it cannot now.
            failed: Takes why it failed for good.
        """
        self.cancel(model)
        job = self._jobs[model] = _CompletionJob(self._clock())
        job.task = asyncio.create_task(self._until_ended(model, job, request, done, failed), name=f"complete-{model}")

    def cancel(self, model: str) -> None:
        """A model is gone, or another."""
        job = self._jobs.pop(model, None)
        if job is not None:
            job.task.cancel()
            self._ending.add(job.task)
            job.task.add_done_callback(self._ending.discard)

    @contextlib.asynccontextmanager
    async def standing_aside(self) -> AsyncGenerator[None]:
        """While somebody waits for a first stage: what is being completed is ended, and begins again afterwards."""
        self._standing_aside += 1
        self._may_run.clear()
        try:
            trying = [job.trying for job in self._jobs.values() if job.trying is not None]
            for task in trying:
                task.cancel()
            if trying:
                await asyncio.wait(trying)
            yield
        finally:
            self._standing_aside -= 1
            if not self._standing_aside:
                self._may_run.set()

    @contextlib.asynccontextmanager
    async def between(self) -> AsyncGenerator[None]:
        """A turn as completions have theirs, for what nobody waits for either; none of them runs meanwhile."""
        async with self._one_at_a_time:
            yield

    def row(self, model: str) -> CompletionRow | None:
        """How far a model is; None where nothing is done for it."""
        job = self._jobs.get(model)
        if job is None:
            return None
        now_s, left_s = self._clock(), None
        if job.try_s is not None and job.fraction >= FIRST_GUESS:
            left_s = (now_s - job.try_s) * (1.0 - job.fraction) / job.fraction
        retry = job.retry.said(now_s) if job.retry is not None else None
        return CompletionRow(
            what=job.what,
            fraction=job.fraction,
            left_s=left_s,
            since_s=now_s - job.began_s,
            reason=job.reason,
            attempts=retry.attempts if retry is not None else 0,
            next_try_s=retry.next_try_s if retry is not None and job.try_s is None else None,
        )

    async def ended(self, model: str) -> None:
        """Wait until nothing is done for a model any more."""
        while (job := self._jobs.get(model)) is not None:
            await asyncio.wait([job.task])

    async def close(self) -> None:
        """End what is being done; a controller that is back begins it again."""
        for model in tuple(self._jobs):
            self.cancel(model)
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _until_ended(
        self,
        model: str,
        job: _CompletionJob,
        request: CompletionRequest,
        done: Callable[[], Awaitable[None]],
        failed: Callable[[str], Awaitable[None]],
    ) -> None:
        try:
            while (refused := await self._attempt(model, job, request, done)) is not None:
                if not refused.passing or job.deaths >= MOST_DEATHS:
                    await self._until_kept(model, job, partial(failed, refused.reason))
                    return
                await self._pause(model, job, refused.reason)
        except asyncio.CancelledError:
            raise
        except Exception:  # a defect in completing one model must not go unseen, nor end the controller
            self._log.exception("completion-failed-unexpectedly", model=model)
        finally:
            if self._jobs.get(model) is job:
                del self._jobs[model]
                if self.listener is not None:
                    self.listener.completion_ended(model)

    async def _attempt(
        self, model: str, job: _CompletionJob, request: CompletionRequest, done: Callable[[], Awaitable[None]]
    ) -> IntakeFailed | None:
        """One try; why it failed, if it did."""
        ended: IntakeDone | IntakeFailed | None = None
        async with self._one_at_a_time:
            while ended is None:
                while self._standing_aside:
                    await self._may_run.wait()
                ended = await self._in_a_process(model, job, request)
        if isinstance(ended, IntakeFailed):
            job.deaths = job.deaths + 1 if ended.died else 0
            self._log.warning("completion-failed", model=model, reason=ended.reason, passing=ended.passing)
            return ended
        await self._until_kept(model, job, done)
        return None

    async def _in_a_process(
        self, model: str, job: _CompletionJob, request: CompletionRequest
    ) -> IntakeDone | IntakeFailed | None:
        """Run it; None where it had to stand aside."""
        job.try_s, job.fraction = self._clock(), 0.0
        job.trying = asyncio.ensure_future(self._run(request, lambda message: self._tell(model, job, message)))
        try:
            await asyncio.wait([job.trying])
        finally:
            trying, job.trying, job.try_s = job.trying, None, None
            if not trying.done():
                trying.cancel()
                await asyncio.wait([trying])
        if not trying.cancelled():
            return trying.result()
        job.what, job.fraction, job.told = "waiting for another model's first stage", 0.0, ("", float("-inf"))
        return None

    async def _until_kept(self, model: str, job: _CompletionJob, keep: Callable[[], Awaitable[None]]) -> None:
        """Have what was found out taken, which needs a store that can be written."""
        while True:
            try:
                await keep()
            except (EdgesplitError, OSError) as error:
                if not (isinstance(error, StoreUnwritable) or is_passing(error)):
                    raise
                await self._pause(model, job, str(error))
            else:
                return

    async def _pause(self, model: str, job: _CompletionJob, reason: str) -> None:
        first, job.reason = job.retry is None, reason
        job.what, job.retry = "waiting to try again", retry_after(job.retry, self._clock(), random.random(), AGAIN)  # noqa: S311  no secret
        row = self.row(model)
        if first and row is not None and self.listener is not None:
            self.listener.completion_failing(model, row)
        await asyncio.sleep(max(job.retry.next_at_s - self._clock(), 0.0))

    def _tell(self, model: str, job: _CompletionJob, message: IntakeProgress) -> None:
        job.what, job.fraction = message.what, message.fraction or 0.0
        step, told_s = job.told
        row = self.row(model)
        is_news = step != message.what or self._clock() - told_s >= TOLD_EVERY_S
        if is_news and row is not None and self.listener is not None:
            job.told = message.what, self._clock()
            self.listener.completing(model, row)
