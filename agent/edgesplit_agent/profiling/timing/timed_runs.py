"""Timed runs of sessions between requests: single runs, series, and two sessions in turn.

Owns: how a run is timed. Its rule: it goes through the serving worker after every request and is given up as soon as one
arrives; a node that is never idle long enough gets it done all the same, in turn with its requests. Not here: what is
timed and why (`profiler.py`, `retiming.py`).
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgesplit.wire.tensors import Array
from edgesplit_agent.compute.interruption import Interruption
from edgesplit_agent.compute.runtime import RuntimeOptions, refusal
from edgesplit_agent.compute.worker import PROFILING_PRIORITY, Worker

__all__ = ["Taken", "TimedRuns"]

PATIENCE = 20
"""Runs that are given up in a row before one is carried through whatever comes."""
BUDGET_S = 3.0
"""Aimed at for a series. [s]"""
PAIRS_BUDGET_S = 1.2
"""Aimed at for two sessions in turn. [s]"""
MIN_RUNS, MAX_RUNS = 3, 40


@dataclass(frozen=True)
class Taken:
    """One run.

    Attributes:
        seconds: On the clock of profiles; None where the run was given up. [s]
        wall_s: What it took of the node's time. [s]
        processor_s: What it took of all cores together. [s]
    """

    seconds: float | None
    wall_s: float
    processor_s: float


class TimedRuns:
    """Runs sessions and says what that took.

    Args:
        worker: Serves, and times between requests.
        options: Which clock counts.
    """

    def __init__(self, worker: Worker, options: Callable[[], RuntimeOptions]) -> None:
        self._worker = worker
        self._options = options

    async def attempt(self, session: Any, inputs: Mapping[str, Array]) -> Taken:
        """Run once unless a request comes meanwhile."""
        interruption = Interruption()
        return await self._run(session, inputs, interruption, make_way=interruption.ask)

    async def once(self, session: Any, inputs: Mapping[str, Array]) -> float:
        """Run once, again and again where requests come. [s]"""
        for _ in range(PATIENCE):
            taken = await self.attempt(session, inputs)
            if taken.seconds is not None:
                return taken.seconds
        taken = await self._run(session, inputs, Interruption(), make_way=None)
        assert taken.seconds is not None  # noqa: S101 - nobody could ask it to end
        return taken.seconds

    async def series(self, session: Any, inputs: Mapping[str, Array]) -> list[float]:
        """Run one warm-up and as many runs as fit the budget; the runs' seconds. [s]"""
        await self.once(session, inputs)
        seconds = [await self.once(session, inputs)]
        wanted = min(max(int(BUDGET_S / max(seconds[0], 1e-6)), MIN_RUNS), MAX_RUNS)
        while len(seconds) < wanted:
            seconds.append(await self.once(session, inputs))
        return seconds

    async def rested(self, session: Any, inputs: Mapping[str, Array], pause_s: float) -> float:
        """Median of a few runs, each after a pause, as between requests: caches lost what they held. [s]"""
        seconds: list[float] = []
        for _ in range(MIN_RUNS):
            await asyncio.sleep(pause_s)
            seconds.append(await self.once(session, inputs))
        return statistics.median(seconds)

    async def ratio(self, first: tuple[Any, Mapping[str, Array]], second: tuple[Any, Mapping[str, Array]]) -> float:
        """Time of one session over that of another, run in turn. [1]"""
        seconds: tuple[list[float], list[float]] = ([], [])
        for session, inputs in (first, second):
            await self.once(session, inputs)
        wanted, rounds = MIN_RUNS, 0
        while rounds < wanted:
            for (session, inputs), series in zip((first, second), seconds, strict=True):
                series.append(await self.once(session, inputs))
            rounds += 1
            if rounds == 1:
                both_s = max(seconds[0][0] + seconds[1][0], 1e-6)
                wanted = min(max(int(PAIRS_BUDGET_S / both_s), MIN_RUNS), MAX_RUNS)
        return statistics.median(seconds[0]) / max(statistics.median(seconds[1]), 1e-9)

    async def _run(
        self,
        session: Any,
        inputs: Mapping[str, Array],
        interruption: Interruption,
        *,
        make_way: Callable[[], None] | None,
    ) -> Taken:
        options = self._options()
        clock, processor = options.clock, time.thread_time if options.threads == 1 else time.process_time

        def run() -> Taken:
            busy_s, began_s, started = processor(), time.perf_counter(), clock()
            try:
                session.run(None, dict(inputs), interruption.options)
            except Exception as error:  # onnxruntime raises pybind types without a common base
                if not interruption.asked:
                    raise refusal("onnxruntime does not run the model", error) from error
            seconds, wall_s = clock() - started, time.perf_counter() - began_s
            return Taken(None if interruption.asked else seconds, wall_s, processor() - busy_s)

        return await self._worker.run(run, priority=PROFILING_PRIORITY, make_way=make_way)
