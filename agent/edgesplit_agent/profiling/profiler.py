"""Profiler: how long every unit of a model takes on this node, in float and in int8.

Owns: running the whole model under onnxruntime's profiler and reading its report. Its rule: a quick profile is said within
seconds, the measured one follows; the runs go through the serving worker one at a time and give way to requests, so that
profiling delays none. Not here: which graphs (the controller's `ModelOffer`) and what becomes of the times (its planner).

The profiler slows the runs it watches, so the unit times are scaled to the median of unwatched runs. Units do not run
alone: what changes of form between them cost is fitted to the times of a few parts of the model, each run in turn with
the whole, so that a machine that becomes faster or slower meanwhile does not show.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import msgspec
import structlog

from edgesplit.control.profile_messages import (
    ExecutionProfile,
    ModelOffer,
    ProfileReport,
    ProfileRequest,
)
from edgesplit.errors import EdgesplitError
from edgesplit.wire.tensors import Array
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.compute.background_work import BackgroundWork
from edgesplit_agent.compute.emulated_slowness import repeats
from edgesplit_agent.compute.runtime import RuntimeOptions
from edgesplit_agent.compute.worker import Worker
from edgesplit_agent.profiling.attempts import Attempts
from edgesplit_agent.profiling.codec_times import CodecTimer
from edgesplit_agent.profiling.profile_measurement import ProfileMeasurement, blobs_of
from edgesplit_agent.profiling.profile_store import ProfileStore
from edgesplit_agent.profiling.quick_profile import QuickProfile

__all__ = ["Profiler"]

FIRST_S = 8.0
"""Behind a quick profile the measured one waits so long: a plan is likely to be prepared just then. [s]"""
PREPARING_S = 20.0
"""And while sessions are built here, at most so long. [s]"""


@dataclass
class _ProfilingJob:
    """A model that is being profiled, or was.

    Attributes:
        asked: Of the last request to measure it once more; comes back in what is said.
        once_more: What is known of it does not count until it was measured again.
        fraction: What was last said to be done. [1]
    """

    offer: ModelOffer
    attempts: Attempts = field(init=False)
    asked: str = ""
    once_more: bool = False
    fraction: float = 0.0


class Profiler:
    """Profiles every offered model once and remembers the result on disk; what failed in passing is tried again.

    Args:
        publish: Takes each report.
        background_work: Told while a model is profiled.
    """

    def __init__(
        self,
        *,
        node: str,
        instance: str,
        runtime: str,
        cache: BlobCache,
        worker: Worker,
        options: RuntimeOptions,
        publish: Callable[[ProfileReport], None],
        background_work: BackgroundWork | None = None,
    ) -> None:
        self._node = node
        self._instance = instance
        self._runtime = runtime
        self._cache = cache
        self._options = options
        self._codecs = CodecTimer(cache.folder, worker, lambda: self._options)
        self._store = ProfileStore(cache.folder, runtime=runtime, provider=options.provider, threads=options.threads)
        self._measurement = ProfileMeasurement(cache, worker, options, self._store, runtime=runtime)
        self._quick = QuickProfile(cache, worker, options, runtime=runtime)
        self._publish = publish
        self._background_work = background_work or BackgroundWork()
        self._one_at_a_time = asyncio.Lock()
        self._slow_down = options.slow_down
        self._jobs: dict[str, _ProfilingJob] = {}
        self._log = structlog.get_logger(part="profiling")

    def offer(self, model: str, offer: ModelOffer | None) -> None:
        """Begin profiling a model, or stop where it is gone; the same offer again changes nothing."""
        known = self._jobs.get(model)
        if known is not None:
            if known.offer == offer:
                return
            known.attempts.cancel()
            del self._jobs[model]
        if offer is not None:
            self._begin(_ProfilingJob(offer))

    def ask(self, request: ProfileRequest) -> None:
        """Somebody wants a model measured once more; what fails is tried at once, what is under way is not disturbed."""
        job = self._jobs.get(request.model)
        if job is None or job.offer.sha256 != request.sha256:
            return  # its offer comes later, and with it a first measurement
        job.asked = request.asked
        if job.attempts.ended:
            job.once_more = self._store.profile(job.offer) is not None
            self._begin(job)
        else:
            job.attempts.hasten()

    def cause_returned(self) -> None:
        """What profiling needs from others may be there again."""
        for job in self._jobs.values():
            job.attempts.hasten()

    def set_slow_down(self, slow_down: float) -> None:
        """Change the emulated factor; what was measured is said again with it, not measured again."""
        self._slow_down = slow_down
        for job in self._jobs.values():
            stored = self._store.profile(job.offer)
            if stored is not None:
                self._report(job, "done", 1.0, profile=stored)
            elif not job.attempts.ended and (standing := self._store.standing(job.offer)) is not None:
                self._report(job, "running", job.fraction, profile=standing)

    @property
    def busy(self) -> bool:
        """Whether a model is being profiled, or waits for it."""
        return any(job.attempts.under_way for job in self._jobs.values())

    @property
    def failing(self) -> bool:
        """Whether something waits to be tried again."""
        return any(job.attempts.retry is not None and not job.attempts.ended for job in self._jobs.values())

    def profiled(self) -> dict[str, tuple[ModelOffer, ExecutionProfile]]:
        """Models whose profile is there, with the times the machine itself takes."""
        stored = {model: (job.offer, self._store.profile(job.offer)) for model, job in self._jobs.items()}
        return {model: (offer, profile) for model, (offer, profile) in stored.items() if profile is not None}

    def inputs(self, offer: ModelOffer) -> dict[str, Array]:
        """What to feed a whole model."""
        return self._measurement.inputs(offer)

    async def close(self) -> None:
        """Stop profiling."""
        ending = [job.attempts.cancel() for job in self._jobs.values()]
        await asyncio.gather(*ending, return_exceptions=True)

    def _begin(self, job: _ProfilingJob) -> None:
        self._jobs[job.offer.model] = job
        job.attempts = Attempts(partial(self._report_profile, job), failed=partial(self._say_failed, job))

    async def _report_profile(self, job: _ProfilingJob) -> None:
        """Measure, or take what was measured earlier, and say so.

        Raises:
            EdgesplitError, OSError: It failed.
        """
        offer, stored = job.offer, self._store.profile(job.offer)
        if stored is not None and not job.once_more:
            await self._codecs.ensure()
            self._report(job, "done", 1.0, "measured earlier", stored)
            return
        standing = stored or self._store.standing(offer)
        if job.attempts.retry is None:
            self._report(job, "running", 0.0, profile=standing)  # a further try is said once it gets somewhere
        started = time.monotonic()
        if standing is None:
            standing = await self._quickly(job)
            if standing is not None:
                await self._until_quiet()
        # Before its turn: while nobody gives the blobs, other models are measured, and what is served is timed.
        await self._cache.fetch(*blobs_of(offer))
        async with self._one_at_a_time:
            with self._background_work.under_way():
                await self._codecs.ensure()
                if job.once_more:
                    self._store.forget_parts(offer)
                say = partial(self._report, job, "running", profile=standing)
                profile = await self._measurement.take(offer, say)
                self._store.keep(offer, profile)
                self._cache.prune()
        seconds = round(time.monotonic() - started, 2)
        job.once_more = False
        self._log.info("profiled", model=offer.model, seconds=seconds, whole_s=profile.whole_s, moments=profile.moments)
        self._report(job, "done", 1.0, profile=profile)

    async def _quickly(self, job: _ProfilingJob) -> ExecutionProfile | None:
        """Say something of a model within seconds.

        Raises:
            EdgesplitError, OSError: It failed.
        """
        with self._background_work.under_way():
            profile = await self._quick.take(job.offer)
        if profile is not None:
            self._codecs.recall()
            self._store.keep_standing(job.offer, profile)
            self._log.info("timed-quickly", model=job.offer.model, whole_s=profile.whole_s, runs=profile.runs)
            self._report(job, "running", 0.05, profile=profile)
        return profile

    async def _until_quiet(self) -> None:
        """Leave the node to whoever makes a plan of a quick profile."""
        await asyncio.sleep(FIRST_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PREPARING_S):
                await self._background_work.ended()

    def _say_failed(self, job: _ProfilingJob, error: Exception) -> None:
        model, retry = job.offer.model, job.attempts.retry
        if isinstance(error, EdgesplitError | OSError):
            text = str(error)
            again = {"tried_again_in_s": round(retry.next_at_s - retry.failed_at_s, 1)} if retry is not None else {}
            self._log.error("profiling-failed", model=model, error=text, **again)
        else:
            text = f"{type(error).__name__}: {error}"
            self._log.error("profiling-failed", model=model, error=text, exc_info=error)
        self._report(job, "failed", 1.0, text, self._store.profile(job.offer) or self._store.standing(job.offer))

    def _stated(self, profile: ExecutionProfile) -> ExecutionProfile:
        """A profile as the controller is told it: with codecs, and as slow as emulation makes the node."""
        timing = self._codecs.timing
        whole = msgspec.structs.replace(profile, codec_times=timing.of_float, integer_codec_times=timing.of_integers)
        return whole.scaled(self._slow_down, rests_once=repeats(self._slow_down))

    def _report(
        self,
        job: _ProfilingJob,
        state: Literal["running", "done", "failed"],
        fraction: float,
        detail: str = "",
        profile: ExecutionProfile | None = None,
    ) -> None:
        offer, retry = job.offer, job.attempts.retry
        job.fraction = fraction
        report = ProfileReport(
            node=self._node,
            instance=self._instance,
            model=offer.model,
            sha256=offer.sha256,
            state=state,
            fraction=fraction,
            detail=detail,
            profile=self._stated(profile) if profile is not None else None,
            retry=retry.said(time.monotonic()) if retry is not None else None,
            asked=job.asked,
            offered=offer.profile_plan,
        )
        self._publish(report)
