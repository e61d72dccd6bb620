"""Timed runs of sessions between requests.

Owns: how a run is timed, and what all of them took of the node's time. Its rule: it goes through the serving worker after every
request and is given up as soon as one arrives; a node that is never idle long enough gets it done all the same, in turn with its
requests. Not here: what is timed (`whole_timer.py`) and why (`profile_measurement.py`, `retiming.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from edgesplit.wire.tensors import Array
from edgesplit_agent.compute.emulated_slowness import repeats
from edgesplit_agent.compute.interruption import Interruption
from edgesplit_agent.compute.recent_runs import RecentRuns
from edgesplit_agent.compute.runtime import RuntimeOptions, open_session, refusal
from edgesplit_agent.compute.worker import PROFILING_PRIORITY, Worker

__all__ = ["Taken", "TimedRuns"]

PATIENCE = 20
"""Runs that are given up in a row before one is carried through whatever comes."""
LEAST_S = 1e-9
"""A clock that did not advance has seen that much: times have logarithms. [s]"""


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
        options: Which clock counts, and how sessions are built.

    Attributes:
        spent_s: What opening and running took of the node's time so far, pauses not included. [s]
    """

    def __init__(self, worker: Worker, options: Callable[[], RuntimeOptions]) -> None:
        self._worker = worker
        self._options = options
        self._recent: WeakKeyDictionary[Any, RecentRuns] = WeakKeyDictionary()
        self.spent_s = 0.0

    async def opened(
        self,
        path: Path,
        options: RuntimeOptions,
        *,
        profile_prefix: Path | None = None,
        spent: Callable[[float], None] = lambda _: None,
    ) -> Any:
        """A session, opened beside serving in a thread of its own.

        Args:
            path: The graph.
            options: How it is built.
            profile_prefix: Where onnxruntime's profile is written; None for none.
            spent: Told the processor time that it took, in that thread. [s]
        """

        def build() -> Any:
            began_s = time.thread_time()
            try:
                return open_session(path, options, profile_prefix=profile_prefix)
            finally:
                spent(time.thread_time() - began_s)

        began_s = time.perf_counter()
        session = await asyncio.to_thread(build)
        self.spent_s += time.perf_counter() - began_s
        return session

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

    def typical(self, session: Any, seconds: float) -> float:
        """What a run of a session counts for: on a node that plays a slower one its quickest ones, as while serving. [s]"""
        if not repeats(self._options().slow_down):
            return seconds
        recent = self._recent.setdefault(session, RecentRuns())
        recent.add(seconds, warm=True)
        return recent.quickest_s(seconds)

    async def pause(self, seconds: float) -> None:
        """Let the node rest. [s]"""
        await asyncio.sleep(seconds)

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
            return Taken(None if interruption.asked else max(seconds, LEAST_S), wall_s, processor() - busy_s)

        taken = await self._worker.run(run, priority=PROFILING_PRIORITY, make_way=make_way)
        self.spent_s += taken.wall_s
        return taken
