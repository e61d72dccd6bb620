"""Quick profile: the whole float model timed a few times, shared out over its units by floating-point operations.

Owns: what a node can say of a model within seconds of its offer. Its rule: it is labelled modelled and of one moment, so that
whoever plans by it knows how little it is worth; the measured profile replaces it. Not here: that one
(`profile_measurement.py`), when which is taken (`profiler.py`).
"""

from __future__ import annotations

import asyncio

import msgspec

from edgesplit.control.profile_messages import ExecutionProfile, ModelOffer, ProfilePlan
from edgesplit.errors import PreparationFailed
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.compute.runtime import RuntimeOptions, give_memory_back, providers_of
from edgesplit_agent.compute.session_pool import digests_of, sizes_of
from edgesplit_agent.compute.worker import Worker
from edgesplit_agent.profiling.machine_lock import machine_lock
from edgesplit_agent.profiling.timing.profile_inputs import profile_inputs
from edgesplit_agent.profiling.timing.robust_statistics import location
from edgesplit_agent.profiling.timing.timed_runs import TimedRuns

__all__ = ["QuickProfile", "shares_of"]

SERIES_S = 0.4
"""Aimed at for the runs behind the first, which allocates. [s]"""
MOST_RUNS = 6


class QuickProfile:
    """Takes them.

    Args:
        cache: Holds the graph.
        worker: Serves, and times between requests.
        options: How sessions are built, and which clock counts.
        runtime: Name and version of the runtime.
    """

    def __init__(self, cache: BlobCache, worker: Worker, options: RuntimeOptions, *, runtime: str) -> None:
        self._cache = cache
        self._options = options
        self._runtime = runtime
        self._runs = TimedRuns(worker, lambda: options)

    async def take(self, offer: ModelOffer) -> ExecutionProfile | None:
        """Time the whole float model; None where the offer does not say what its units compute.

        Raises:
            EdgesplitError, OSError: It failed.
        """
        needed = {offer.profile_plan, *digests_of(offer.float_graph)}
        async with self._cache.held(needed, sizes_of(offer.float_graph)):
            plan = self._plan(offer)
            if not plan.flops:
                return None
            # A lock of its own: another agent's measured profile takes a minute, and nobody should wait for that.
            async with machine_lock(enabled=self._options.alone, name="-quick"):
                seconds, provider = await self._times(offer, plan)
        await asyncio.to_thread(give_memory_back)
        whole_s = location(seconds)
        return ExecutionProfile(
            time_s={unit: whole_s * share for unit, share in shares_of(plan).items()},
            quantized_time_s={},
            whole_s=whole_s,
            runs=len(seconds),
            provider=provider,
            threads=self._options.threads,
            runtime=self._runtime,
            origin="modelled",
            moments=1,
            seconds=sum(seconds),
        )

    async def _times(self, offer: ModelOffer, plan: ProfilePlan) -> tuple[list[float], str]:
        """Runs behind a first one, and the provider. [s]"""
        inputs = profile_inputs(plan.inputs, plan.values)
        session = await self._runs.opened(self._cache.path(offer.float_graph.digest), self._options)
        first_s = await self._runs.once(session, inputs)
        wanted = min(max(int(SERIES_S / first_s), 1), MOST_RUNS)
        return [await self._runs.once(session, inputs) for _ in range(wanted)], providers_of(session)[0]

    def _plan(self, offer: ModelOffer) -> ProfilePlan:
        try:
            return msgspec.json.decode(self._cache.path(offer.profile_plan).read_bytes(), type=ProfilePlan)
        except msgspec.DecodeError as error:
            raise PreparationFailed(f"ProfilePlan {offer.profile_plan[:12]} cannot be read: {error}") from error


def shares_of(plan: ProfilePlan) -> dict[str, float]:
    """What share of the whole model's time its units take, as far as their operations say. [1]"""
    total = sum(plan.flops.get(unit, 0.0) for unit in plan.units)
    if not total > 0:
        return dict.fromkeys(plan.units, 1.0 / len(plan.units)) if plan.units else {}
    return {unit: plan.flops.get(unit, 0.0) / total for unit in plan.units}
