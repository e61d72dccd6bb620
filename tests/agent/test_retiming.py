"""Retiming of idle models on a simulated machine: recovery is found in time, at a bounded cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.control.component_messages import GraphRef
from edgesplit.wire.tensors import Array
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.compute.background_work import BackgroundWork
from edgesplit_agent.compute.runtime import RuntimeOptions
from edgesplit_agent.compute.worker import Worker
from edgesplit_agent.profiling.live_timings import TimingBook
from edgesplit_agent.profiling.retiming import KEPT_OPEN_S, LOOK_EVERY_S, Retimer
from edgesplit_agent.profiling.retiming_schedule import DOUBT_SHARE, FIRST_S, OWED_S, ROUTINE_SHARE, Glimpses
from edgesplit_agent.profiling.timing.timed_runs import Taken, TimedRuns
from tests.agent.graphs import Blobs, local_part
from tests.agent.test_live_timings import Profiled, Time

OPENING_S, WORKLOAD_S = 0.3, 1.2e-3
HOUR_S = 3600.0
SHARE = ROUTINE_SHARE + DOUBT_SHARE
TOLD_S = 1.0
"""Timings are published every second. [s]"""


class SlowableRuns(TimedRuns):
    """Runs that take what a machine makes of them."""

    def __init__(self, time: Time, whole_s: float, slowness: Callable[[], float]) -> None:
        super().__init__(Worker(), RuntimeOptions)
        self._time, self._whole_s, self._slowness = time, whole_s, slowness
        self.opened_at_s: list[float] = []

    async def opened(self, *_: object, **__: object) -> Any:
        """Takes as long as a run."""
        self.opened_at_s.append(self._time.now_s)
        self._take(OPENING_S)
        return "session"

    async def attempt(self, session: Any, inputs: Mapping[str, Array]) -> Taken:
        """One run."""
        seconds = self._take(self._whole_s)
        return Taken(seconds, seconds, seconds)

    async def pause(self, seconds: float) -> None:
        """Nothing runs meanwhile."""
        self._time.now_s += seconds

    def _take(self, seconds: float) -> float:
        taken_s = seconds * self._slowness()
        self._time.now_s += taken_s
        self.spent_s += taken_s
        return taken_s


class Idle:
    """A node without requests, its clock, and how slow it is.

    Args:
        folder: For blobs.
        whole_s: Of its model, by the profile. [s]
        feels: Whether the workload is as slow as the model.
    """

    def __init__(self, folder: Path, whole_s: float, *, feels: bool = True) -> None:
        self.time, self.slowness, self._feels = Time(), 1.0, feels
        background = BackgroundWork(self.time)
        self.book = TimingBook("edge", "i", background, clock=self.time, wall_clock=self.time)
        self.runs = SlowableRuns(self.time, whole_s, lambda: self.slowness)
        self.workload_s = 0.0
        self.retimer = Retimer(
            Profiled(Blobs(folder), whole_s),
            self.book,
            cache=BlobCache(folder, 1 << 40, lambda: ""),
            runs=self.runs,
            options=RuntimeOptions,
            background_work=background,
            glimpse=self._glimpse,
            clock=self.time,
        )
        self._whole_s = whole_s
        self.ratio = 1.0
        """What was told last, over the profile's time."""

    @property
    def spent_s(self) -> float:
        """What retiming took of the node's time. [s]"""
        return self.runs.spent_s + self.workload_s

    async def _glimpse(self) -> float | None:
        seconds = WORKLOAD_S * (self.slowness if self._feels else 1.0)
        self.time.now_s += seconds
        self.workload_s += seconds
        return seconds

    async def idle(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Let so much time pass, or until something is so. [s]"""
        ends_s = self.time.now_s + seconds
        while self.time.now_s < ends_s and not until():
            self.time.now_s += LOOK_EVERY_S
            await self.retimer.look()
            for message in self.book.take_changed():
                if message.whole is not None:
                    self.ratio = message.whole.whole_s / self._whole_s

    def serve(self) -> None:
        """A component runs, as slowly as the machine is; then plans leave."""
        self.book.begin("m", local_part(1, GraphRef(digest="a", nbytes=0)))
        for _ in range(3):
            began_s = self.time.now_s
            self.time.now_s += 1.0
            self.book.ran("m", 1, 0, 1.0, began_s)

    async def recovery_s(self) -> float:
        """How long after its recovery that is told."""
        self.slowness = 1.0
        began_s = self.time.now_s
        await self.idle(HOUR_S, lambda: self.ratio < 1.1)
        return self.time.now_s - began_s + TOLD_S


@pytest.mark.parametrize("slow_for_s", [20.0, 61.0, 200.5, 1000.0, 4 * HOUR_S])
@pytest.mark.parametrize(("whole_s", "slowness"), [(0.4, 2.0), (0.4, 4.0), (0.02, 2.0)])
async def test_a_node_that_plans_left_is_found_recovered_within_ten_seconds_however_long_it_was_slow(
    tmp_path: Path, whole_s: float, slowness: float, slow_for_s: float
) -> None:
    node = Idle(tmp_path, whole_s)
    node.slowness = slowness
    node.serve()
    await node.idle(slow_for_s)
    assert node.ratio == pytest.approx(slowness)
    assert await node.recovery_s() < 10.0
    assert node.spent_s < FIRST_S + OWED_S + SHARE * node.time.now_s + 10 * slowness * whole_s


async def test_what_was_saved_pays_for_the_first_minute_where_the_workload_does_not_feel_the_slowness(
    tmp_path: Path,
) -> None:
    node = Idle(tmp_path, 0.4, feels=False)
    await node.idle(2 * HOUR_S)
    node.slowness = 4.0
    node.serve()
    await node.idle(45.0)
    assert node.ratio == pytest.approx(4.0)
    assert await node.recovery_s() < 10.0


@pytest.mark.parametrize("whole_s", [0.005, 0.02, 0.4, 3.0])
@pytest.mark.parametrize("slowness", [1.0, 3.0])
async def test_hours_of_idleness_cost_no_more_than_the_share(tmp_path: Path, whole_s: float, slowness: float) -> None:
    node = Idle(tmp_path, whole_s)
    node.slowness = slowness
    await node.idle(4 * HOUR_S)
    assert node.ratio == pytest.approx(slowness)
    assert node.spent_s < FIRST_S + 9 * whole_s * slowness + OPENING_S * slowness + SHARE * 4 * HOUR_S


async def test_a_session_is_kept_open_in_doubt_and_closed_where_there_is_none(tmp_path: Path) -> None:
    node = Idle(tmp_path, 0.02)
    node.slowness = 2.0
    node.serve()
    await node.idle(60.0)
    assert len(node.runs.opened_at_s) == 1
    assert node.retimer.open_sessions == 1
    await node.recovery_s()
    assert node.retimer.open_sessions == 0
    node.slowness = 2.0
    node.serve()
    await node.idle(20.0)
    assert node.retimer.open_sessions == 1
    for _ in range(int(KEPT_OPEN_S)):
        node.serve()  # nothing is in doubt that is served
        await node.idle(1.0)
    assert node.retimer.open_sessions == 0


@given(st.lists(st.floats(0.95, 1.05), max_size=40))
def test_a_workload_that_scatters_is_no_recovery(scatter: list[float]) -> None:
    glimpses = Glimpses()
    assert not any(glimpses.take(value, float(place)) for place, value in enumerate(scatter))


def test_one_fast_run_of_the_workload_is_looked_at_again_at_once_and_alone_is_no_recovery() -> None:
    glimpses = Glimpses()
    assert [glimpses.take(value, 0.0) for value in (2.0, 2.0, 1.0)] == [False, False, False]
    assert glimpses.is_due(0.5)
    assert not glimpses.take(2.0, 0.5)
    assert not glimpses.is_due(1.0)
    assert [glimpses.take(value, 4.0) for value in (1.0, 1.1)] == [False, True]
    glimpses.begin()
    assert not glimpses.take(1.0, 5.0)
