"""Profiler: how long every unit of a model takes on this node, in float and in int8.

Owns: running the whole model under onnxruntime's profiler and reading its report. Its rule: the runs go through the
serving worker one at a time and give way to requests, so that profiling delays none. Not here: which
graphs (the controller's `ModelOffer`) and what becomes of the times (its planner).

The profiler slows the runs it watches, so the unit times are scaled to the median of unwatched runs. Units do not run
alone: what changes of form between them cost is fitted to the times of a few parts of the model, each run in turn with
the whole, so that a machine that becomes faster or slower meanwhile does not show.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import structlog

from edgesplit.control.component_messages import GraphRef
from edgesplit.control.profile_messages import (
    CalibrationGraph,
    CalibrationPlan,
    ExecutionProfile,
    ModelOffer,
    ProfilePlan,
    ProfileReport,
    ProfileRequest,
)
from edgesplit.errors import EdgesplitError, PreparationFailed, first_line
from edgesplit.planning.origins import weakest
from edgesplit.wire.tensors import Array
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.compute.background_work import BackgroundWork
from edgesplit_agent.compute.providers import CPU
from edgesplit_agent.compute.runtime import (
    RuntimeOptions,
    give_memory_back,
    has_integers,
    open_session,
    providers_of,
)
from edgesplit_agent.compute.session_pool import digests_of, sizes_of
from edgesplit_agent.compute.worker import Worker
from edgesplit_agent.profiling.attempts import Attempts
from edgesplit_agent.profiling.codec_times import CodecTimer
from edgesplit_agent.profiling.machine_lock import machine_lock
from edgesplit_agent.profiling.profile_store import GraphTimes, ProfileStore
from edgesplit_agent.profiling.timing.kernel_times import (
    INTEGER_KERNELS,
    Kernel,
    is_opaque,
    kernel_runs,
    modelled_times,
    unit_times,
)
from edgesplit_agent.profiling.timing.profile_inputs import profile_inputs
from edgesplit_agent.profiling.timing.timed_runs import TimedRuns
from edgesplit_agent.profiling.timing.transition_times import Sample, fit_transitions

__all__ = ["Profiler"]

REST_LIMIT_S, REST_RUNS = 0.5, 3.0
"""A pause as long as some runs, and at most so long, stands for the time between requests. [s, 1]"""
Plan = TypeVar("Plan", ProfilePlan, CalibrationPlan)


@dataclass
class _ProfilingJob:
    """A model that is being profiled, or was.

    Attributes:
        asked: Of the last request to measure it once more; comes back in what is said.
        once_more: What is known of it does not count until it was measured again.
    """

    offer: ModelOffer
    attempts: Attempts = field(init=False)
    asked: str = ""
    once_more: bool = False


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
        self._runs = TimedRuns(worker, lambda: self._options)
        self._codecs = CodecTimer(cache.folder, worker, lambda: self._options)
        self._store = ProfileStore(cache.folder, runtime=runtime, provider=options.provider, threads=options.threads)
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
        plan = self._read(offer.profile_plan, ProfilePlan)
        return profile_inputs(plan.inputs, plan.values)

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
        if job.attempts.retry is None:
            self._report(job, "running", 0.0, profile=stored)  # a further try is said once it gets somewhere
        started = time.monotonic()
        # Before its turn: while nobody gives the blobs, other models are measured, and what is served is timed.
        await self._cache.fetch(*_blobs(offer))
        async with self._one_at_a_time:
            with self._background_work.under_way():
                await self._codecs.ensure()
                if job.once_more:
                    self._store.forget_parts(offer)
                say = partial(self._report, job, "running", profile=stored)
                profile = await self._profile(offer, say)
        seconds = round(time.monotonic() - started, 2)
        job.once_more = False
        self._log.info("profiled", model=offer.model, seconds=seconds, whole_s=profile.whole_s, runs=profile.runs)
        self._report(job, "done", 1.0, profile=profile)

    def _say_failed(self, job: _ProfilingJob, error: Exception) -> None:
        model, retry = job.offer.model, job.attempts.retry
        if isinstance(error, EdgesplitError | OSError):
            text = str(error)
            again = {"tried_again_in_s": round(retry.next_at_s - retry.failed_at_s, 1)} if retry is not None else {}
            self._log.error("profiling-failed", model=model, error=text, **again)
        else:
            text = f"{type(error).__name__}: {error}"
            self._log.error("profiling-failed", model=model, error=text, exc_info=error)
        self._report(job, "failed", 1.0, text, self._store.profile(job.offer))

    def _stated(self, profile: ExecutionProfile) -> ExecutionProfile:
        """A profile as the controller is told it: with codecs, and as slow as emulation makes the node."""
        timing = self._codecs.timing
        whole = msgspec.structs.replace(profile, codec_times=timing.of_float, integer_codec_times=timing.of_integers)
        return whole.scaled(self._slow_down)

    def _report(
        self,
        job: _ProfilingJob,
        state: Literal["running", "done", "failed"],
        fraction: float,
        detail: str = "",
        profile: ExecutionProfile | None = None,
    ) -> None:
        offer, retry = job.offer, job.attempts.retry
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
        )
        self._publish(report)

    async def _profile(self, offer: ModelOffer, progress: Callable[[float], None]) -> ExecutionProfile:
        async with self._cache.held(*_blobs(offer)), machine_lock(enabled=self._options.alone):
            plan = self._read(offer.profile_plan, ProfilePlan)
            progress(0.1)
            measured = await self._times(
                offer, "float", offer.float_graph, plan, lambda part: progress(0.1 + 0.3 * part)
            )
            quantized: GraphTimes | None = None
            if offer.quantized_graph is not None:
                quantized = await self._times(
                    offer, "int8", offer.quantized_graph, plan, lambda part: progress(0.4 + 0.3 * part)
                )
            costs: dict[str, float] = {}
            if offer.calibration_plan:
                parts = self._read(offer.calibration_plan, CalibrationPlan).graphs
                costs = await self._calibrate(
                    offer, plan, parts, (measured, quantized), lambda part: progress(0.7 + 0.3 * part)
                )
        profile = ExecutionProfile(
            time_s=measured.units_s,
            quantized_time_s={unit: quantized.units_s[unit] for unit in plan.quantizable} if quantized else {},
            whole_s=measured.whole_s,
            rested_s=measured.rested_s,
            runs=measured.runs,
            provider=measured.provider,
            threads=self._options.threads,
            runtime=self._runtime,
            integer_time_s={unit: quantized.integer_s[unit] for unit in plan.quantizable} if quantized else {},
            transition_s_per_byte=costs,
            origin=weakest(times.origin for times in (measured, quantized) if times is not None),
        )
        self._store.keep(offer, profile)
        self._cache.prune()
        # The whole model needed more than any part that will be served here.
        await asyncio.to_thread(give_memory_back)
        return profile

    def _read(self, digest: str, kind: type[Plan]) -> Plan:
        try:
            return msgspec.json.decode(self._cache.path(digest).read_bytes(), type=kind)
        except msgspec.DecodeError as error:
            raise PreparationFailed(f"{kind.__name__} {digest[:12]} cannot be read: {error}") from error

    async def _times(
        self, offer: ModelOffer, name: str, graph: GraphRef, plan: ProfilePlan, progress: Callable[[float], None]
    ) -> GraphTimes:
        """Measure one graph, or go on from where an agent that ended meanwhile had come to."""
        times = self._store.part(offer, name)
        if times is None:
            times = await self._measure(graph, plan, progress)
            self._store.keep_part(offer, name, times)
        progress(1.0)
        return times

    async def _measure(self, graph: GraphRef, plan: ProfilePlan, progress: Callable[[float], None]) -> GraphTimes:
        path = self._cache.path(graph.digest)
        inputs = profile_inputs(plan.inputs, plan.values)
        session = await asyncio.to_thread(open_session, path, self._options)
        provider = providers_of(session)[0]
        walls_s = await self._runs.series(session, inputs)
        rested_s = await self._runs.rested(session, inputs, min(REST_LIMIT_S, REST_RUNS * statistics.median(walls_s)))
        progress(0.5)
        del session
        whole_s = statistics.median(walls_s)
        representative = await self._watched(path, self._options, inputs)
        if is_opaque(representative[-1], plan):
            # What a provider compiled into one kernel, or only launched, is shared out as the processor would take it.
            processor = await self._watched(path, replace(self._options, provider=CPU), inputs)
            units_s = modelled_times(representative, plan, whole_s, unit_times(processor, plan, whole_s))
            self._log.info("units-modelled", provider=provider, text="units share the whole as on the processor")
            return GraphTimes(whole_s, units_s, units_s, len(walls_s), provider, "modelled", rested_s)
        units_s = unit_times(representative, plan, whole_s)
        integer_s = unit_times(representative, plan, whole_s, only=INTEGER_KERNELS)
        # Where the runtime made no integer kernel of a unit, all of its time is its own.
        integer_s = {unit: integer_s[unit] or seconds for unit, seconds in units_s.items()}
        return GraphTimes(whole_s, units_s, integer_s, len(walls_s), provider, rested_s=rested_s)

    async def _watched(self, path: Path, options: RuntimeOptions, inputs: dict[str, Array]) -> list[list[Kernel]]:
        """Kernels of the runs that stand for the others."""
        with tempfile.TemporaryDirectory(prefix="edgesplit-profile-") as folder:
            watched = await asyncio.to_thread(open_session, path, options, profile_prefix=Path(folder) / "run")
            await self._runs.series(watched, inputs)
            report = Path(await asyncio.to_thread(watched.end_profiling))
            del watched
            runs = await asyncio.to_thread(kernel_runs, report)
        if not runs:
            raise PreparationFailed("onnxruntime's profile holds no run")
        # The first run allocates and is not representative, nor is one that gave way to a request.
        kernels = max(map(len, runs))
        return [run for run in runs[1:] if len(run) == kernels] or runs

    async def _calibrate(
        self,
        offer: ModelOffer,
        plan: ProfilePlan,
        parts: tuple[CalibrationGraph, ...],
        measured: tuple[GraphTimes, GraphTimes | None],
        progress: Callable[[float], None],
    ) -> dict[str, float]:
        """Seconds per byte of every kind of change of form. [s/B]"""
        in_float, in_integer = measured
        whole = await asyncio.to_thread(open_session, self._cache.path(offer.float_graph.digest), self._options)
        whole_inputs = profile_inputs(plan.inputs, plan.values)
        samples: list[Sample] = []
        for number, part in enumerate(parts, start=1):
            session = await asyncio.to_thread(open_session, self._cache.path(part.graph.digest), self._options)
            inputs = profile_inputs(part.inputs, plan.values)
            try:
                ratio = await self._runs.ratio((session, inputs), (whole, whole_inputs))
            except Exception as error:  # onnxruntime raises pybind types without a common base
                if isinstance(error, EdgesplitError) or not has_integers(part.inputs):
                    raise
                # Made-up values of a tensor at a cut, an index beyond its table: the other parts tell enough.
                self._log.info("part-not-timed", part=part.name, error=first_line(error))
                continue
            finally:
                del session
            kernels_s = sum(
                in_integer.integer_s[unit] if in_integer and unit in part.quantized else in_float.units_s[unit]
                for unit in part.units
            )
            samples.append(Sample(kernels_s, ratio * in_float.whole_s, part.transition_bytes))
            progress(number / len(parts))
        return fit_transitions(samples) if samples else {}


def _blobs(offer: ModelOffer) -> tuple[set[str], dict[str, int]]:
    """What profiling a model needs, and the sizes that are known. [B]"""
    graphs = [graph for graph in (offer.float_graph, offer.quantized_graph) if graph is not None]
    digests = {offer.profile_plan, *offer.calibration_graphs}.union(*(digests_of(graph) for graph in graphs))
    return digests | {*filter(None, [offer.calibration_plan])}, sizes_of(*graphs)
