"""Profile measurement: how long every unit of a model takes on this node, in float and in int8.

Owns: the course of it, and running graphs under onnxruntime's profiler. Its rule: the whole float model is timed at moments
spread over the whole course; its time is where those lie, and everything else is a ratio to it, taken in turn. The runs go through
the serving worker one at a time and give way to requests, so that profiling delays none. Not here: which models (`profiler.py`),
what makes a moment (`timing/whole_timer.py`).

onnxruntime's profiler slows the runs it watches, so that only the units' shares are taken from those. Units do not run
alone: what changes of form between them costs is fitted to the times of a few parts of the model.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import structlog

from edgesplit.control.component_messages import GraphRef
from edgesplit.control.profile_messages import (
    CalibrationGraph,
    CalibrationPlan,
    ExecutionProfile,
    ModelOffer,
    ProfilePlan,
)
from edgesplit.errors import EdgesplitError, PreparationFailed, first_line
from edgesplit.planning.origins import Origin, weakest
from edgesplit.wire.tensors import Array
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.compute.providers import CPU
from edgesplit_agent.compute.runtime import RuntimeOptions, give_memory_back, has_integers, providers_of
from edgesplit_agent.compute.session_pool import digests_of, sizes_of
from edgesplit_agent.compute.worker import Worker
from edgesplit_agent.profiling.machine_lock import machine_lock
from edgesplit_agent.profiling.profile_store import OF_FLOAT, GraphTimes, ProfileStore
from edgesplit_agent.profiling.timing.kernel_times import (
    INTEGER_KERNELS,
    Kernel,
    is_opaque,
    kernel_runs,
    modelled_times,
    unit_spreads,
    unit_times,
)
from edgesplit_agent.profiling.timing.profile_inputs import profile_inputs
from edgesplit_agent.profiling.timing.robust_statistics import location, spread, standard_error
from edgesplit_agent.profiling.timing.timed_runs import TimedRuns
from edgesplit_agent.profiling.timing.transition_times import Sample, fit_transitions
from edgesplit_agent.profiling.timing.whole_timer import WholeTimer, series

__all__ = ["ProfileMeasurement", "blobs_of"]

INT8_PAIRS_S, INT8_PAIRS = 1.0, 2
"""Aimed at for each of three stretches in turn with the int8 form, and pairs that each has at least. [s, 1]"""
PART_PAIRS_S, PART_PAIRS = 1.2, 3
"""The same of each part of the calibration. [s, 1]"""
Plan = TypeVar("Plan", ProfilePlan, CalibrationPlan)


@dataclass(frozen=True)
class _Shares:
    """What one graph's units take of its time, and the graph of the whole float model's; as `GraphTimes` says."""

    units: dict[str, float]
    integer_units: dict[str, float]
    provider: str
    origin: Origin = "measured"
    ratios: Sequence[float] = ()
    spreads: Mapping[str, float] = field(default_factory=dict[str, float])


class _TimedPart(NamedTuple):
    """A part of the calibration, and its time over that of the whole. [1]"""

    part: CalibrationGraph
    ratio: float


class _Found(NamedTuple):
    """All that was measured beside moments of the whole, and what it took of the node's time. [s]"""

    of_float: GraphTimes
    of_int8: GraphTimes | None
    parts: Sequence[_TimedPart]
    seconds: float


class ProfileMeasurement:
    """Measures one model at a time.

    Args:
        cache: Holds the graphs.
        worker: Serves, and times between requests.
        options: How sessions are built, and which clock counts.
        store: Keeps what was found out so far.
        runtime: Name and version of the runtime.
    """

    def __init__(
        self, cache: BlobCache, worker: Worker, options: RuntimeOptions, store: ProfileStore, *, runtime: str
    ) -> None:
        self._cache = cache
        self._options = options
        self._store = store
        self._runtime = runtime
        self._runs = TimedRuns(worker, lambda: options)
        self._log = structlog.get_logger(part="profiling")

    def inputs(self, offer: ModelOffer) -> dict[str, Array]:
        """What to feed a whole model."""
        plan = self._read(offer.profile_plan, ProfilePlan)
        return profile_inputs(plan.inputs, plan.values)

    async def take(self, offer: ModelOffer, progress: Callable[[float], None]) -> ExecutionProfile:
        """Measure a model, or go on from where an agent that ended meanwhile had come to.

        Raises:
            EdgesplitError, OSError: It failed.
        """
        async with self._cache.held(*blobs_of(offer)), machine_lock(enabled=self._options.alone):
            plan = self._read(offer.profile_plan, ProfilePlan)
            whole = WholeTimer(self._runs, profile_inputs(plan.inputs, plan.values))
            progress(0.1)
            of_float = await self._kept(OF_FLOAT, offer, whole, partial(self._float_times, offer, plan, whole))
            progress(0.4)
            of_int8: GraphTimes | None = None
            if offer.quantized_graph is not None:
                timing = partial(self._int8_times, offer, offer.quantized_graph, plan, whole)
                of_int8 = await self._kept("int8", offer, whole, timing)
            progress(0.7)
            before_s = self._runs.spent_s
            timed: list[_TimedPart] = []
            if offer.calibration_plan:
                parts = self._read(offer.calibration_plan, CalibrationPlan).graphs
                timed = await self._part_times(parts, offer, plan, whole, lambda done: progress(0.7 + 0.3 * done))
            seconds = sum(times.seconds for times in (of_float, of_int8) if times) + self._runs.spent_s - before_s
        whole.session = None
        # The whole model needed more than any part that will be served here.
        await asyncio.to_thread(give_memory_back)
        return self._profile(plan, whole, _Found(of_float, of_int8, timed, seconds))

    def _profile(self, plan: ProfilePlan, whole: WholeTimer, found: _Found) -> ExecutionProfile:
        """Ratios and shares, times what the whole model takes."""
        of_float, of_int8 = found.of_float, found.of_int8
        whole_s, rested = location(whole.moments), location(whole.rested)
        int8_s = whole_s * location(of_int8.ratios) if of_int8 is not None else 0.0
        time_s = {unit: whole_s * share for unit, share in of_float.shares.items()}
        integer_time_s = {unit: int8_s * of_int8.integer_shares[unit] for unit in plan.quantizable} if of_int8 else {}
        samples: list[Sample] = []
        for part, ratio in found.parts:
            kernels_s = sum(
                integer_time_s[unit] if of_int8 and unit in part.quantized else time_s[unit] for unit in part.units
            )
            samples.append(Sample(kernels_s, ratio * whole_s, part.transition_bytes))
        return ExecutionProfile(
            time_s=time_s,
            quantized_time_s={unit: int8_s * of_int8.shares[unit] for unit in plan.quantizable} if of_int8 else {},
            whole_s=whole_s,
            rested_s=whole_s * rested,
            runs=whole.count,
            provider=of_float.provider,
            threads=self._options.threads,
            runtime=self._runtime,
            integer_time_s=integer_time_s,
            transition_s_per_byte=fit_transitions(samples),
            origin=weakest(times.origin for times in (of_float, of_int8) if times is not None),
            whole_spread=spread(whole.moments),
            moments=len(whole.moments),
            rested_spread=rested * standard_error(whole.rested),
            seconds=found.seconds,
            unit_spreads=of_float.spreads,
            quantized_unit_spreads=_spreads_of(of_int8.spreads, plan.quantizable) if of_int8 else {},
        )

    async def _kept(
        self, name: str, offer: ModelOffer, whole: WholeTimer, timing: Callable[[], Awaitable[_Shares]]
    ) -> GraphTimes:
        """Measure one graph, or take over what an agent that ended meanwhile had found out."""
        kept = self._store.part(offer, name)
        if kept is not None:
            whole.moments += kept.moments
            whole.rested += kept.rested
            whole.count += kept.runs
            return kept
        before_s, moments, rested, count = self._runs.spent_s, len(whole.moments), len(whole.rested), whole.count
        found = await timing()
        times = GraphTimes(
            shares=found.units,
            integer_shares=found.integer_units,
            provider=found.provider,
            origin=found.origin,
            ratios=tuple(found.ratios),
            moments=tuple(whole.moments[moments:]),
            rested=tuple(whole.rested[rested:]),
            runs=whole.count - count,
            seconds=self._runs.spent_s - before_s,
            spreads=dict(found.spreads),
        )
        self._store.keep_part(offer, name, times)
        return times

    async def _open_whole(self, offer: ModelOffer, whole: WholeTimer) -> Path:
        path = self._cache.path(offer.float_graph.digest)
        if whole.session is None:
            whole.session = await self._runs.opened(path, self._options)
            await whole.run()
        return path

    async def _float_times(self, offer: ModelOffer, plan: ProfilePlan, whole: WholeTimer) -> _Shares:
        """The whole float model: a moment before, one halfway and one after it is watched."""
        path = await self._open_whole(offer, whole)
        await whole.moment()
        found = await self._shares(path, plan, whole.inputs, whole.moment, lambda: location(whole.moments))
        await whole.moment()
        return found

    async def _int8_times(self, offer: ModelOffer, graph: GraphRef, plan: ProfilePlan, whole: WholeTimer) -> _Shares:
        """The same of its int8 form, each time in turn with the float one."""
        await self._open_whole(offer, whole)
        path = self._cache.path(graph.digest)
        session = await self._runs.opened(path, self._options)
        await self._runs.once(session, whole.inputs)
        ratios: list[float] = []

        async def compare() -> None:
            ratios.extend(await whole.ratios(session, whole.inputs, INT8_PAIRS_S, INT8_PAIRS))

        await compare()
        found = await self._shares(
            path, plan, whole.inputs, compare, lambda: location(whole.moments) * location(ratios)
        )
        await compare()
        return replace(found, ratios=ratios)

    async def _shares(
        self,
        path: Path,
        plan: ProfilePlan,
        inputs: Mapping[str, Array],
        between: Callable[[], Awaitable[None]],
        whole_s: Callable[[], float],
    ) -> _Shares:
        """What share of a graph's time its units take.

        Args:
            path: The graph.
            plan: Which kernel belongs to which unit.
            inputs: Of the graph.
            between: Done halfway.
            whole_s: What the graph takes as far as it is known then. [s]
        """
        runs, provider = await self._watched(path, self._options, inputs, between)
        if is_opaque(runs[-1], plan):
            # What a provider compiled into one kernel, or only launched, is shared out as the processor would take it.
            processor, _ = await self._watched(path, replace(self._options, provider=CPU), inputs, between)
            seconds = whole_s()
            modelled = modelled_times(runs, plan, seconds, unit_times(processor, plan, 1.0))
            shares = {unit: taken_s / seconds for unit, taken_s in modelled.items()}
            self._log.info("units-modelled", provider=provider, text="units share the whole as on the processor")
            return _Shares(shares, shares, provider, "modelled")
        shares = unit_times(runs, plan, 1.0)
        integers = unit_times(runs, plan, 1.0, only=INTEGER_KERNELS)
        # Where the runtime made no integer kernel of a unit, all of its time is its own.
        integers = {unit: integers[unit] or share for unit, share in shares.items()}
        return _Shares(shares, integers, provider, spreads=unit_spreads(runs, plan))

    async def _watched(
        self,
        path: Path,
        options: RuntimeOptions,
        inputs: Mapping[str, Array],
        between: Callable[[], Awaitable[None]],
    ) -> tuple[list[list[Kernel]], str]:
        """Kernels of the runs that stand for the others, and the provider."""
        with tempfile.TemporaryDirectory(prefix="edgesplit-profile-") as folder:
            watched = await self._runs.opened(path, options, profile_prefix=Path(folder) / "run")
            provider = providers_of(watched)[0]
            await series(self._runs, watched, inputs, between)
            report = Path(await asyncio.to_thread(watched.end_profiling))
            del watched
            runs = await asyncio.to_thread(kernel_runs, report)
        if not runs:
            raise PreparationFailed("onnxruntime's profile holds no run")
        # The first run allocates and is not representative, nor is one that gave way to a request.
        kernels = max(map(len, runs))
        return [run for run in runs[1:] if len(run) == kernels] or runs, provider

    async def _part_times(
        self,
        parts: tuple[CalibrationGraph, ...],
        offer: ModelOffer,
        plan: ProfilePlan,
        whole: WholeTimer,
        progress: Callable[[float], None],
    ) -> list[_TimedPart]:
        """Parts of the model in turn with the whole."""
        await self._open_whole(offer, whole)
        found: list[_TimedPart] = []
        for number, part in enumerate(parts, start=1):
            session = await self._runs.opened(self._cache.path(part.graph.digest), self._options)
            inputs = profile_inputs(part.inputs, plan.values)
            try:
                await self._runs.once(session, inputs)
                ratios = await whole.ratios(session, inputs, PART_PAIRS_S, PART_PAIRS)
            except Exception as error:  # onnxruntime raises pybind types without a common base
                if isinstance(error, EdgesplitError) or not has_integers(part.inputs):
                    raise
                # Made-up values of a tensor at a cut, an index beyond its table: the other parts tell enough.
                self._log.info("part-not-timed", part=part.name, error=first_line(error))
                continue
            finally:
                del session
            found.append(_TimedPart(part, location(ratios)))
            progress(number / len(parts))
        return found

    def _read(self, digest: str, kind: type[Plan]) -> Plan:
        try:
            return msgspec.json.decode(self._cache.path(digest).read_bytes(), type=kind)
        except msgspec.DecodeError as error:
            raise PreparationFailed(f"{kind.__name__} {digest[:12]} cannot be read: {error}") from error


def _spreads_of(spreads: Mapping[str, float], units: Sequence[str]) -> dict[str, float]:
    return {unit: spreads[unit] for unit in units if unit in spreads}


def blobs_of(offer: ModelOffer) -> tuple[set[str], dict[str, int]]:
    """What profiling a model needs, and the sizes that are known. [B]"""
    graphs = [graph for graph in (offer.float_graph, offer.quantized_graph) if graph is not None]
    digests = {offer.profile_plan, *offer.calibration_graphs}.union(*(digests_of(graph) for graph in graphs))
    return digests | {*filter(None, [offer.calibration_plan])}, sizes_of(*graphs)
