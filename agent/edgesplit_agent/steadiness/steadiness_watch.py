"""Watching how steady the machine is: the schedule of the reference workload, in the compute thread after all else.

Owns: when it runs, and what it cost. Its rule: never beside serving or the agent's own work, whose runs say more; it
gives way within a slice and takes at most a thousandth of a core. Not here: what is run (`workload.py`), what it means
(`steadiness_estimate.py`), saying it (`reporting/`).
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import structlog

from edgesplit.control.figure_messages import Steadiness
from edgesplit_agent.compute.background_work import BackgroundWork
from edgesplit_agent.compute.worker import PROFILING_PRIORITY, Worker
from edgesplit_agent.steadiness.kernel_counters import KernelCounters, Reading, lost_between
from edgesplit_agent.steadiness.steadiness_estimate import Block, estimated
from edgesplit_agent.steadiness.workload import Workload

__all__ = ["SHARE_LIMIT", "SteadinessWatch"]

BLOCK_EVERY_S = 10.0
"""Also the pause before a run that counts as rested. [s]"""
SHARE_LIMIT = 0.001
"""Of one core; where the workload takes long, blocks are further apart. [1]"""
QUIET_S = 5.0
"""Since anything else was computed here: caches and clocks have forgotten it. [s]"""
APART_S = 1.0
"""Between the moments of a block. [s]"""
HALF = 2
"""Runs of half a moment, after one that comes back from a pause."""
KEPT_BLOCKS = 60
"""Some ten minutes of an idle machine."""
KEPT_S = 1800.0
"""What is older says nothing of now. [s]"""


@dataclass(frozen=True)
class _Moment:
    """What one visit to the compute thread found.

    Attributes:
        rested_s: Of the first run. [s]
        halves: Means of the runs behind it. [s]
        thread: The kernel's number of the compute thread.
    """

    rested_s: float
    halves: tuple[float, float]
    thread: int


@dataclass(frozen=True)
class _Visit:
    """Runs of the workload in a row, and the native identifier of the thread. [s]"""

    runs: list[float]
    thread: int


class SteadinessWatch:
    """Measures for ever; used on the event loop.

    Args:
        worker: Serves, and runs this in between.
        timer: The clock that this node's runs are timed with.
        last_computed_s: When the compute thread last did anything, now if it does; on `clock`. [s]
        background: The agent's own work, beside which nothing is measured.
        spent: Told the processor time that it took. [s]
        told: Told what is known after each block.
        kernel: What the kernel counts.
        clock: Monotonic. [s]
    """

    def __init__(
        self,
        worker: Worker,
        *,
        timer: Callable[[], Callable[[], float]],
        last_computed_s: Callable[[], float],
        background: BackgroundWork,
        spent: Callable[[float], None] = lambda _: None,
        told: Callable[[Steadiness], None] = lambda _: None,
        kernel: KernelCounters | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker = worker
        self._timer = timer
        self._last_computed_s = last_computed_s
        self._background = background
        self._spent, self._told = spent, told
        self._kernel = kernel or KernelCounters()
        self._clock = clock
        self._began_s = clock()
        self._spent_s = 0.0
        self._workload: Workload | None = None
        self._own_s = float("-inf")
        self._blocks: deque[tuple[Block, Reading]] = deque(maxlen=KEPT_BLOCKS)
        self._said = Steadiness()
        self._log = structlog.get_logger(part="steadiness")

    @property
    def steadiness(self) -> Steadiness:
        """What is known now."""
        old = bool(self._blocks) and self._blocks[-1][0].at_s < self._clock() - KEPT_S
        return Steadiness(cost_share=self._said.cost_share) if old else self._said

    async def run_for_ever(self) -> None:
        """Measure a block, and rest in proportion to what it took."""
        pause_s = BLOCK_EVERY_S
        while True:
            await asyncio.sleep(pause_s)
            before_s = self._spent_s
            if self._undisturbed() and (block := await self._block()) is not None:
                self._take(*block)
            pause_s = max(BLOCK_EVERY_S, (self._spent_s - before_s) / SHARE_LIMIT)

    async def glimpse(self) -> float | None:
        """What one run of the workload takes just now, for whoever waits until the machine is faster; None where it was given up. [s]"""
        if self._workload is None and not await self._prepared():
            return None
        visit = await self._visit(1)
        return visit.runs[0] if visit is not None else None

    def _take(self, block: Block, reading: Reading) -> None:
        """A block was measured."""
        self._blocks.append((block, reading))
        while self._blocks[0][0].at_s < block.at_s - KEPT_S:
            self._blocks.popleft()
        lost = lost_between(self._blocks[0][1], reading)
        self._said = msgspec.structs.replace(
            estimated([known for known, _ in self._blocks], self._said.regime),
            stolen=lost.stolen or 0.0,
            throttled=lost.throttled,
            waited=lost.waited,
            frequency_hz=reading.frequency_hz,
            cost_share=self._spent_s / max(block.at_s - self._began_s, BLOCK_EVERY_S),
        )
        self._told(self._said)

    def _undisturbed(self) -> bool:
        """Whether nothing but this was computed lately."""
        now_s = self._clock()
        computed_s = self._last_computed_s()
        others = computed_s > self._own_s and computed_s > now_s - QUIET_S
        return not others and not self._background.since(now_s - QUIET_S)

    async def _block(self) -> tuple[Block, Reading] | None:
        """Two moments; None where anything else was to be computed."""
        if self._workload is None and not await self._prepared():
            return None
        first = await self._moment()
        if first is None:
            return None
        await asyncio.sleep(APART_S)
        if not self._undisturbed():
            return None
        second = await self._moment()
        if second is None:
            return None
        reading = await asyncio.to_thread(self._read, second.thread)
        return Block(self._clock(), first.rested_s, first.halves, second.halves, 1 + 4 * HALF), reading

    async def _prepared(self) -> bool:
        """Whether the workload's buffers are there; filling them takes milliseconds, which no request is to wait for."""
        try:
            self._workload = await asyncio.to_thread(Workload)
        except MemoryError:
            self._log.warning("steadiness-unmeasured", cause="no memory is left for the workload's buffers")
        return self._workload is not None

    def _read(self, thread: int) -> Reading:
        """In a thread of its own: no request is to wait for files."""
        began_s = time.thread_time()
        reading = self._kernel.read(thread)
        self._spend(time.thread_time() - began_s)
        return reading

    def _spend(self, seconds: float) -> None:
        self._spent_s += seconds
        self._spent(seconds)

    async def _moment(self) -> _Moment | None:
        """Runs after a pause and in a row; None where they were given up."""
        visit = await self._visit(1 + 2 * HALF)
        if visit is None:
            return None
        halves = statistics.fmean(visit.runs[1 : 1 + HALF]), statistics.fmean(visit.runs[1 + HALF :])
        return _Moment(visit.runs[0], halves, visit.thread)

    async def _visit(self, count: int) -> _Visit | None:
        """One visit to the compute thread; None where it was given up."""
        asked = False
        spent_s = 0.0

        def ask() -> None:
            nonlocal asked
            asked = True

        def work() -> _Visit | None:
            nonlocal spent_s
            began_s = time.thread_time()
            try:
                return self._run(count, lambda: asked)
            finally:
                spent_s = time.thread_time() - began_s

        found = await self._worker.run(work, priority=PROFILING_PRIORITY, make_way=ask)
        self._own_s = self._last_computed_s()
        self._spend(spent_s)
        return found

    def _run(self, count: int, unwanted: Callable[[], bool]) -> _Visit | None:
        """In the compute thread."""
        assert self._workload is not None  # noqa: S101 - made before the first visit
        timer = self._timer()
        runs: list[float] = []
        for _ in range(count):
            seconds = self._workload.run(timer, unwanted)
            if seconds is None:
                return None
            runs.append(max(seconds, 1e-9))
        return _Visit(runs, threading.get_native_id())
