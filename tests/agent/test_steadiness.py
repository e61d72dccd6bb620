"""How steady a machine is: what blocks of the reference workload mean, what the kernel counts, when it is measured."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgesplit.control.figure_messages import Steadiness
from edgesplit_agent.compute.background_work import BackgroundWork
from edgesplit_agent.compute.worker import Worker
from edgesplit_agent.reporting.collectors.busy_clock import BusyClock
from edgesplit_agent.reporting.reporter import regime_differs
from edgesplit_agent.steadiness import steadiness_watch
from edgesplit_agent.steadiness.kernel_counters import KernelCounters, Reading, lost_between
from edgesplit_agent.steadiness.steadiness_estimate import LEAST_BLOCKS, Block, estimated, next_regime
from edgesplit_agent.steadiness.steadiness_watch import SteadinessWatch
from edgesplit_agent.steadiness.workload import SLICES, Workload
from tests.waiting import until

RUN_S = 1.1e-3
TEN_MINUTES = 60
RUNS = 9


def blocks(
    noise: float,
    *,
    count: int = TEN_MINUTES,
    seed: int = 1,
    slower: Callable[[float], float] = lambda _at_s: 1.0,
    burst: float = 0.0,
    rested: float = 1.0,
    rested_noise: float = 0.0,
    scatter: float = 0.0,
) -> list[Block]:
    """Blocks of a machine, one every ten seconds.

    Args:
        noise: Of a moment, relative.
        slower: Factor of the machine at a time.
        burst: Share of moments that take half as long again.
        rested: What a pause costs, as a factor, and how that varies.
        scatter: Of half a moment, relative: what a longer run averages.
    """
    draw = random.Random(seed)

    def moment(at_s: float) -> float:
        return RUN_S * slower(at_s) * math.exp(draw.gauss(0, noise)) * (1.5 if draw.random() < burst else 1.0)

    made: list[Block] = []
    for number in range(count):
        at_s = 10.0 * number
        pair = moment(at_s), moment(at_s + 1)
        soon, later = ((one * math.exp(draw.gauss(0, scatter)), one * math.exp(draw.gauss(0, scatter))) for one in pair)
        made.append(Block(at_s, pair[0] * rested * math.exp(draw.gauss(0, rested_noise)), soon, later, RUNS))
    return made


# --- what blocks mean --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.005, 0.01, 0.03])
@pytest.mark.parametrize("seed", range(5))
def test_a_steady_host_is_said_to_vary_as_it_does(noise: float, seed: int) -> None:
    said = estimated(blocks(noise, seed=seed), "unknown")
    assert said.regime == "steady"
    assert said.seconds_spread == pytest.approx(noise, rel=0.35)
    assert said.minutes_spread < 0.6 * noise
    assert said.rested_ratio == pytest.approx(1.0, abs=0.01)
    assert said.samples == RUNS * TEN_MINUTES


@pytest.mark.parametrize("seed", range(5))
def test_what_only_single_runs_scatter_by_is_left_out(seed: int) -> None:
    said = estimated(blocks(0.02, scatter=0.08, seed=seed), "unknown")
    assert said.regime == "steady"
    assert said.spread < 0.05  # 0.06 with all that runs scatter by


@pytest.mark.parametrize("seed", range(5))
def test_a_host_with_bursts_is_restless_within_seconds(seed: int) -> None:
    said = estimated(blocks(0.01, burst=0.15, seed=seed), "steady")
    assert said.regime == "restless"
    assert said.seconds_spread > 0.06


def test_a_single_accident_makes_no_host_restless() -> None:
    made = blocks(0.01, count=LEAST_BLOCKS)
    made[2] = Block(made[2].at_s, RUN_S, (RUN_S, RUN_S), (RUN_S, 20 * RUN_S), RUNS)
    said = estimated(made, "steady")
    assert said.regime == "steady"
    assert said.seconds_spread < 0.04


@pytest.mark.parametrize("seed", range(5))
def test_a_host_that_drifts_is_restless_over_minutes_though_not_within_seconds(seed: int) -> None:
    said = estimated(blocks(0.01, slower=lambda at_s: 1 + 0.15 * math.sin(at_s / 120), seed=seed), "steady")
    assert said.regime == "restless"
    assert said.seconds_spread < 0.02
    assert said.minutes_spread == pytest.approx(0.15 / math.sqrt(2), rel=0.4)


@pytest.mark.parametrize("seed", range(5))
def test_what_pauses_cost_is_told_apart_from_noise(seed: int) -> None:
    said = estimated(blocks(0.01, rested=1.3, rested_noise=0.1, seed=seed), "steady")
    assert said.regime == "steady"
    assert said.seconds_spread < 0.02
    assert said.rested_ratio == pytest.approx(1.3, rel=0.05)
    assert said.rested_spread == pytest.approx(0.1, rel=0.4)


def test_too_few_blocks_say_nothing() -> None:
    few = blocks(0.01, count=LEAST_BLOCKS - 1)
    assert estimated(few, "restless") == Steadiness(samples=RUNS * len(few))
    assert estimated([], "unknown") == Steadiness()
    enough = estimated(blocks(0.01, count=LEAST_BLOCKS), "unknown")
    assert enough.regime == "steady"
    assert enough.minutes_spread == 0.0


def test_a_regime_changes_only_beyond_both_thresholds() -> None:
    assert [next_regime("steady", spread) for spread in (0.03, 0.05, 0.061)] == ["steady", "steady", "restless"]
    assert [next_regime("restless", spread) for spread in (0.061, 0.05, 0.03)] == ["restless", "restless", "steady"]
    assert next_regime("unknown", 0.05) == "steady"


def test_a_spread_between_the_thresholds_does_not_make_the_regime_flicker() -> None:
    made = blocks(0.05, count=10 * TEN_MINUTES, seed=3)
    regime, said = "steady", []
    for end in range(TEN_MINUTES, len(made)):
        regime = estimated(made[end - TEN_MINUTES : end], "restless" if regime == "restless" else "steady").regime
        said.append(regime)
    assert sum(one != other for one, other in itertools.pairwise(said)) <= 3


# --- what the kernel counts --------------------------------------------------------------------------------------------


def machine(folder: Path, files: dict[str, str]) -> KernelCounters:
    """Counters in a folder; a core's frequency stands where this process' first core has it."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return KernelCounters(folder / "proc", folder / "sys", clock=lambda: 100.0)


def mount(folder: Path, kind: str, root: str, options: str = "rw") -> str:
    return f"31 23 0:28 {root} {folder}/group rw,relatime - {kind} {kind} {options}\n"


def test_steal_waiting_and_frequency_are_read_where_the_kernel_tells(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    counters = machine(
        tmp_path,
        {
            "proc/stat": "cpu  10 20 30 400 5 0 6 29 7 7\ncpu0 1 2\n",
            "proc/self/task/77/schedstat": "3000000000 1000000000 12\n",
            f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq": "1800000\n",
        },
    )
    reading = counters.read(77)
    assert (reading.stolen, reading.passed) == (29, 500)
    assert (reading.ran_s, reading.waited_s) == (3.0, 1.0)
    assert reading.frequency_hz == 1.8e9
    assert reading.throttled_s == {}


@pytest.mark.parametrize("root", ["/", "/docker/one"])
def test_throttling_is_read_from_groups_of_version_2_own_and_above(tmp_path: Path, root: str) -> None:
    path = f"{root.rstrip('/')}/slice/agent"
    counters = machine(
        tmp_path,
        {
            "proc/self/mountinfo": mount(tmp_path, "cgroup2", root),
            "proc/self/cgroup": f"0::{path}\n",
            "group/slice/agent/cpu.stat": "usage_usec 5\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
            "group/slice/cpu.stat": "usage_usec 5\nnr_periods 40\nnr_throttled 3\nthrottled_usec 2500000\n",
        },
    )
    assert counters.read(1).throttled_s == {f"{tmp_path}/group/slice": 2.5}


def test_throttling_is_read_from_groups_of_version_1(tmp_path: Path) -> None:
    counters = machine(
        tmp_path,
        {
            "proc/self/mountinfo": mount(tmp_path, "cgroup", "/", "rw,cpu,cpuacct"),
            "proc/self/cgroup": "5:memory:/elsewhere\n2:cpu,cpuacct:/edge\n0::/\n",
            "group/edge/cpu.stat": "nr_periods 9\nnr_throttled 3\nthrottled_time 1500000000\n",
        },
    )
    assert counters.read(1).throttled_s == {f"{tmp_path}/group/edge": 1.5}


@pytest.mark.parametrize("stat", ["", "cpu  1 2 3\n", "intr 4\n", "cpu  a b c d e f g h\n"])
def test_a_kernel_that_tells_nothing_is_no_error(tmp_path: Path, stat: str) -> None:
    reading = machine(tmp_path, {"proc/stat": stat, "proc/self/cgroup": "garbage\n"}).read(1)
    assert reading == Reading(100.0)
    lost = lost_between(reading, reading)
    assert (lost.stolen, lost.throttled, lost.waited) == (None, None, None)


def test_shares_are_those_of_the_time_between_two_readings() -> None:
    before = Reading(10.0, 5, 1000, {"outer": 1.0}, 4.0, 1.0)
    now = Reading(20.0, 55, 2000, {"outer": 3.0, "inner": 1.0}, 7.0, 2.0)
    lost = lost_between(before, now)
    assert lost.stolen == pytest.approx(0.05)
    assert lost.throttled == pytest.approx(0.2)
    assert lost.waited == pytest.approx(0.25)


def test_this_machine_can_be_read() -> None:
    reading = KernelCounters().read(threading.get_native_id())
    assert reading.passed > 0
    assert reading.ran_s is None or reading.ran_s > 0


# --- when it is measured -----------------------------------------------------------------------------------------------


def test_the_workload_gives_way_between_any_two_slices() -> None:
    workload = Workload()
    assert (workload.run(time.perf_counter, lambda: False) or 0.0) > 0
    for wanted in range(SLICES):
        asked = iter([False] * wanted + [True])
        assert workload.run(time.perf_counter, asked.__next__) is None
        assert list(asked) == []


class Watched:
    """A watch on a worker of its own, without the long pauses."""

    def __init__(self) -> None:
        self.busy = BusyClock()
        self.worker = Worker(self.busy.time)
        self.background = BackgroundWork()
        self.spent: list[float] = []
        self.told: list[Steadiness] = []
        self.watch = SteadinessWatch(
            self.worker,
            timer=lambda: time.perf_counter,
            last_computed_s=self.busy.last_computed_s,
            background=self.background,
            spent=self.spent.append,
            told=self.told.append,
        )


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BLOCK_EVERY_S": 0.01, "APART_S": 0.001, "SHARE_LIMIT": 1.0}.items():
        monkeypatch.setattr(steadiness_watch, name, value)


@contextmanager
def going_on(watch: SteadinessWatch) -> Iterator[asyncio.Task[None]]:
    task = asyncio.create_task(watch.run_for_ever())
    try:
        yield task
    finally:
        task.cancel()


@pytest.mark.usefixtures("hasty")
async def test_blocks_of_a_real_machine_become_a_regime() -> None:
    made = Watched()
    assert made.watch.steadiness == Steadiness()
    with going_on(made.watch):
        await until(lambda: len(made.told) >= LEAST_BLOCKS)
    await made.worker.close()
    said = made.watch.steadiness
    assert said.regime in {"steady", "restless"}
    assert said.rested_spread > 0
    assert said.samples >= RUNS * LEAST_BLOCKS
    assert said.cost_share > 0
    assert sum(made.spent) > 0


@pytest.mark.usefixtures("hasty")
async def test_nothing_is_measured_beside_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Watched()
    tried = 0

    class Counted(Workload):
        def run(self, clock: Callable[[], float], unwanted: Callable[[], bool]) -> float | None:
            nonlocal tried
            tried += 1
            return super().run(clock, unwanted)

    looks = 0

    def look() -> float:
        nonlocal looks
        looks += 1
        return made.busy.last_computed_s()

    monkeypatch.setattr(steadiness_watch, "Workload", Counted)
    monkeypatch.setattr(steadiness_watch, "QUIET_S", 3600.0)
    made.watch._last_computed_s = look
    await made.worker.run(lambda: None, priority=1)
    with going_on(made.watch):
        await until(lambda: looks >= 3)
        assert tried == 0
        # Once that is long ago, it is.
        monkeypatch.setattr(steadiness_watch, "QUIET_S", 0.0)
        await until(lambda: made.told)
    await made.worker.close()


@pytest.mark.usefixtures("hasty")
async def test_nothing_is_measured_beside_the_agents_own_work() -> None:
    made, looks = Watched(), 0

    def look() -> float:
        nonlocal looks
        looks += 1
        return made.busy.last_computed_s()

    made.watch._last_computed_s = look
    with going_on(made.watch), made.background.under_way():
        await until(lambda: looks >= 3)
        assert made.spent == []
    await made.worker.close()


@pytest.mark.usefixtures("hasty")
async def test_a_request_that_comes_in_a_run_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Watched()
    loop = asyncio.get_running_loop()
    began = asyncio.Event()

    class Endless(Workload):
        def run(self, _clock: Callable[[], float], unwanted: Callable[[], bool]) -> float | None:
            loop.call_soon_threadsafe(began.set)
            while not unwanted():
                pass
            return None

    monkeypatch.setattr(steadiness_watch, "Workload", Endless)
    with going_on(made.watch):
        await began.wait()
        assert await made.worker.run(lambda: "served", priority=1) == "served"
        await until(lambda: made.spent)
    await made.worker.close()
    assert made.told == []


def test_news_is_what_a_machine_became_not_what_its_estimate_wanders_by() -> None:
    said = Steadiness(seconds_spread=0.02, regime="steady", samples=100)
    assert not regime_differs(said, Steadiness(seconds_spread=0.05, stolen=0.1, regime="steady", samples=400))
    assert regime_differs(said, Steadiness(seconds_spread=0.02, regime="restless", samples=100))
    assert regime_differs(None, said)
    assert not regime_differs(None, None)
