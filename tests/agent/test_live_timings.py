"""What is said of the last runs of components, and when whole models are timed again."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.control.component_messages import GraphRef
from edgesplit.control.plan_messages import EpochSpec
from edgesplit.control.profile_messages import ExecutionProfile, LiveTimings, ModelOffer
from edgesplit.wire.tensors import Array
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.compute.background_work import BackgroundWork
from edgesplit_agent.compute.coding import CodingKind, CodingTurn
from edgesplit_agent.compute.recent_runs import middle_mean
from edgesplit_agent.compute.session_pool import RuntimeOptions
from edgesplit_agent.compute.worker import PROFILING_PRIORITY, Worker
from edgesplit_agent.profiling.live_timings import MOST_CODINGS, TimingBook
from edgesplit_agent.profiling.retiming import RUNS, Retimer
from edgesplit_agent.profiling.retiming_schedule import Budget, Retimed, is_due
from edgesplit_agent.profiling.timing.timed_runs import TimedRuns
from tests.agent.graphs import Blobs, device_part, local_part
from tests.agent.open_graphs import opened
from tests.waiting import let_others_run, until

SHARE, SAVED_S, FIRST_S = 0.01, 20.0, 3.0
"""Of a budget of tests. [1, s, s]"""


class Time:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Bench:
    """A book and its clock."""

    def __init__(self) -> None:
        self.time = Time()
        self.background_work = BackgroundWork(self.time)
        self.book = TimingBook("edge", "i", self.background_work, clock=self.time, wall_clock=self.time)

    def run(self, *seconds: float, epoch: int = 1, every_s: float = 0.1) -> None:
        """Component 0 of an epoch, again and again."""
        for value in seconds:
            started_s = self.time.now_s
            self.time.now_s += every_s
            self.book.ran("m", epoch, 0, value, started_s)

    def said(self) -> LiveTimings:
        """The one message there is."""
        (message,) = self.book.take_changed()
        return message


def test_runs_are_numbered_and_their_age_is_said_whatever_the_wall_clock_was_set_to() -> None:
    bench, wall = Bench(), Time()
    wall.now_s = 5000.0
    bench.book = TimingBook("edge", "i", bench.background_work, clock=bench.time, wall_clock=wall)
    bench.book.begin("m", part(1))
    bench.run(1.0, 1.0, 1.0, 1.0, 1.0)
    (before,) = bench.said().components
    wall.now_s = 100.0
    bench.run(1.0)
    bench.book.timed_again("m", "s", [1.0, 1.0, 1.0])
    bench.time.now_s += 3.0
    said = bench.said()
    (after,) = said.components
    assert after.last_run_unix_s < before.last_run_unix_s
    assert after.number > before.number > 0
    assert after.ended_ago_s == pytest.approx(3.0)
    assert said.whole is not None
    assert said.whole.number > after.number


def part(epoch: int, digest: str = "a") -> EpochSpec:
    """The edge's part, one component."""
    return local_part(epoch, GraphRef(digest=digest, nbytes=0))


@pytest.fixture
def bench() -> Bench:
    """With epoch 1 prepared."""
    made = Bench()
    made.book.begin("m", part(1))
    return made


def test_a_steady_component_is_said_with_its_epoch_and_a_few_runs_are_not_enough(bench: Bench) -> None:
    bench.run(9.0, 0.02, 0.02)  # the first run after preparing does not count
    assert bench.said().components == ()
    bench.run(0.02)
    (timing,) = bench.said().components
    assert (timing.graph, timing.epoch, timing.component, timing.runs) == ("a", 1, 0, 3)
    assert timing.recent_s == pytest.approx(0.02)
    assert timing.last_run_unix_s == bench.time.now_s
    assert bench.book.take_changed() == []


def test_single_outliers_do_not_show_and_a_factor_of_two_shows_within_the_window(bench: Bench) -> None:
    bench.run(*[0.02] * 40, 0.5, *[0.02] * 5)
    assert bench.said().components[0].recent_s == pytest.approx(0.02)
    bench.run(*[0.04] * 21)
    assert bench.said().components[0].recent_s == pytest.approx(0.04)


def test_rare_requests_count_by_number_instead(bench: Bench) -> None:
    bench.run(*[0.02] * 20, every_s=30.0)
    bench.run(*[0.04] * 5, every_s=30.0)
    (timing,) = bench.said().components
    assert timing.recent_s == pytest.approx(0.04)
    assert timing.runs == 5


def test_of_long_runs_as_many_count_as_took_the_window(bench: Bench) -> None:
    bench.run(*[1.2] * 6, every_s=1.5)
    (timing,) = bench.said().components
    assert timing.recent_s == pytest.approx(1.2)
    assert timing.runs == 2
    bench.run(2.4, every_s=2.7)
    (timing,) = bench.said().components
    assert timing.recent_s == pytest.approx(2.4)
    assert timing.runs == 1


def test_every_run_is_said_once_outliers_too_and_the_last_few_where_there_are_many(bench: Bench) -> None:
    bench.run(9.0, 0.02, 0.02)
    assert bench.said().components == ()
    bench.run(0.5)
    (first,) = bench.said().components
    assert first.samples == (0.02, 0.02, 0.5)
    bench.run(*[0.01 * number for number in range(1, 41)])
    (second,) = bench.said().components
    assert second.samples == pytest.approx([0.01 * number for number in range(25, 41)])
    assert second.number > first.number
    bench.book.timed_again("m", "sha", [0.1, 0.3, 0.1])
    message = bench.said()
    assert (message.components[0].samples, message.components[0].number) == ((), second.number)
    assert message.whole is not None
    assert message.whole.samples == (0.1, 0.3, 0.1)


def code(bench: Bench, *seconds: float, tensor: str = "x", epoch: int = 1, nbytes: int = 64) -> None:
    """Code a tensor of an epoch, again and again."""
    for value in seconds:
        began_s = bench.time.now_s
        bench.time.now_s += 0.1
        kind = CodingKind(tensor, "int8", "encode", nbytes)
        bench.book.coded("m", epoch, CodingTurn(value, 0.0, 0.0, began_s, ((kind, value),)))


def test_codings_are_said_once_each_kind_apart_from_the_second_on(bench: Bench) -> None:
    code(bench, 9.0, 0.25, 0.5)
    code(bench, 9.0, 0.125, nbytes=32)
    bench.time.now_s += 3.0
    smaller, larger = bench.said().codings
    assert (larger.tensor, larger.codec, larger.direction, larger.nbytes) == ("x", "int8", "encode", 64)
    assert (larger.samples, smaller.samples) == ((0.25, 0.5), (0.125,))
    assert smaller.number > larger.number > 0
    assert smaller.ended_ago_s == pytest.approx(3.0)
    assert bench.book.take_changed() == []
    code(bench, *[0.25] * 40)
    (again,) = bench.said().codings
    assert len(again.samples) == 16
    assert again.number > smaller.number


def test_codings_beside_background_work_of_strangers_and_of_released_epochs_are_not_said(bench: Bench) -> None:
    code(bench, 9.0)
    with bench.background_work.under_way():
        code(bench, 0.5)
    bench.time.now_s += 0.1
    code(bench, 0.5, 0.5, tensor="nobody's")
    code(bench, 0.5, 0.5, epoch=7)
    assert bench.book.take_changed() == []
    code(bench, 0.25)
    bench.book.begin("m", part(2))
    code(bench, 9.0, epoch=2)
    (timing,) = bench.said().codings
    assert timing.samples == (0.25,)
    code(bench, 0.25)
    bench.book.reset()
    assert bench.said().codings == ()
    bench.book.forget("m", 1)
    code(bench, 0.25)
    assert bench.book.take_changed() == []


def test_as_many_kinds_of_coding_are_said_as_a_message_has_room_for(bench: Bench) -> None:
    for nbytes in range(1, 2 * MOST_CODINGS):
        code(bench, 0.25, 0.25, nbytes=nbytes)
    assert len(bench.said().codings) == MOST_CODINGS


def test_runs_beside_the_agents_background_work_do_not_count(bench: Bench) -> None:
    bench.run(*[0.02] * 5)
    bench.book.take_changed()
    with bench.background_work.under_way():
        bench.run(*[0.5] * 5)
    assert bench.book.take_changed() == []
    bench.run(*[0.02] * 5)
    assert bench.said().components[0].recent_s == pytest.approx(0.02)


def test_equal_components_of_two_epochs_share_their_runs_and_released_ones_are_forgotten(bench: Bench) -> None:
    bench.run(*[0.02] * 5)
    bench.book.begin("m", part(2))
    bench.run(9.0, *[0.02] * 4, epoch=2)
    (timing,) = bench.said().components
    assert (timing.epoch, timing.runs) == (2, 8)
    bench.book.forget("m", 1)
    assert bench.book.take_changed() == []
    bench.book.begin("m", part(3, "b"))
    bench.book.forget("m", 2)
    assert bench.said().components == ()
    bench.run(0.1, epoch=2)
    assert bench.book.take_changed() == []


def test_what_was_measured_at_another_speed_is_forgotten(bench: Bench) -> None:
    bench.run(*[0.02] * 5)
    bench.book.timed_again("m", "sha", [0.1] * 5)
    assert bench.said().whole is not None
    bench.book.reset()
    message = bench.said()
    assert (message.components, message.whole) == ((), None)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=64))
def test_the_middle_mean_lies_between_the_quartiles(seconds: list[float]) -> None:
    ordered, cut = sorted(seconds), len(seconds) // 4
    assert ordered[cut] * (1 - 1e-9) <= middle_mean(seconds) <= ordered[len(seconds) - 1 - cut] * (1 + 1e-9)


@given(st.lists(st.floats(0.9e-2, 1.1e-2), min_size=4, max_size=32), st.floats(1e-6, 1e6))
def test_one_wild_run_moves_the_middle_mean_no_further_than_the_others_spread(
    seconds: list[float], wild_s: float
) -> None:
    assert min(seconds) * (1 - 1e-9) <= middle_mean([*seconds, wild_s]) <= max(seconds) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("last", "served_s", "now_s", "due"),
    [
        (Retimed(0.0), float("-inf"), 9.0, False),
        (Retimed(0.0), float("-inf"), 11.0, True),  # never timed again since its profile
        (Retimed(0.0, 1.05), float("-inf"), 11.0, False),  # as fast as it should be
        (Retimed(0.0, 1.05), float("-inf"), 61.0, True),
        (Retimed(0.0, 2.0), float("-inf"), 5.0, False),
        (Retimed(0.0, 2.0), float("-inf"), 7.0, True),  # slow: it may have recovered
        (Retimed(0.0, 0.5), float("-inf"), 7.0, True),  # its profile was taken while it was busy
        (Retimed(0.0, 1.05), 1.0, 11.5, True),  # served since: what made the plan leave is not known here
        (Retimed(0.0, 2.0), 95.0, 100.0, False),  # serving shows its speed itself
    ],
)
def test_models_are_timed_again_soon_where_their_speed_is_in_doubt(
    last: Retimed, served_s: float, now_s: float, due: bool
) -> None:
    assert is_due(last, served_s, now_s) is due


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.floats(0.0, 5.0)), max_size=200))
def test_timing_again_takes_no_more_than_its_share(steps: list[tuple[float, float]]) -> None:
    budget, now_s, spent_s, last_s = Budget(SHARE, SAVED_S, FIRST_S, 0.0), 0.0, 0.0, 0.0
    for pause_s, cost_s in steps:
        now_s += pause_s
        if budget.allows(now_s):
            now_s += cost_s
            budget.spend(cost_s, now_s)
            spent_s, last_s = spent_s + cost_s, cost_s
    assert spent_s <= FIRST_S + last_s + SHARE * now_s + 1e-6
    budget.allows(now_s + 1e9)
    budget.spend(SAVED_S, now_s + 1e9)
    assert not budget.allows(now_s + 1e9)
    assert budget.allows(now_s + 1e9, owed_s=1.0)


async def test_the_worker_asks_what_runs_to_make_way_for_something_more_urgent_only() -> None:
    worker, begun, ended, asked = Worker(), threading.Event(), threading.Event(), list[str]()

    def time_runs() -> bool:
        begun.set()
        return ended.wait(30)

    def make_way() -> None:
        asked.append("asked")
        ended.set()

    timing = asyncio.create_task(worker.run(time_runs, priority=PROFILING_PRIORITY, make_way=make_way))
    assert await asyncio.to_thread(begun.wait, 30)
    other = asyncio.create_task(worker.run(lambda: 1, priority=PROFILING_PRIORITY))
    await let_others_run()
    assert asked == []
    assert await worker.run(lambda: 7, priority=1) == 7
    assert asked == ["asked"]
    assert await timing
    assert await other == 1
    assert await worker.run(lambda: 8, priority=1) == 8
    assert asked == ["asked"]
    await worker.close()


async def no_glimpse() -> float | None:
    """Something else was always to be computed."""
    return None


class Profiled:
    """One model of eight matrix products, with a profile."""

    busy = False

    def __init__(self, blobs: Blobs, whole_s: float) -> None:
        data = blobs.chain(8).SerializeToString()
        graph = GraphRef(digest=blobs.put(data), nbytes=len(data))
        self.offer = ModelOffer(
            model="m", sha256="s", float_graph=graph, quantized_graph=None, profile_plan=blobs.put(b"{}")
        )
        self.profile = ExecutionProfile(
            time_s={}, quantized_time_s={}, whole_s=whole_s, runs=1, provider="", threads=1, runtime=""
        )

    def profiled(self) -> dict[str, tuple[ModelOffer, ExecutionProfile]]:
        """All there are."""
        return {"m": (self.offer, self.profile)}

    def inputs(self, offer: ModelOffer) -> dict[str, Array]:
        """Ones."""
        return {"x": np.ones((1, 64), np.float32)}


async def test_an_idle_model_is_timed_again_with_real_runs(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    made, worker = Bench(), Worker()
    profiles, spent = Profiled(blobs, whole_s=1e3), list[float]()
    retimer = Retimer(
        profiles,
        made.book,
        cache=BlobCache(tmp_path, 1 << 40, lambda: ""),
        runs=TimedRuns(worker, RuntimeOptions),
        options=lambda: RuntimeOptions(slow_down=2.0),
        background_work=made.background_work,
        glimpse=no_glimpse,
        spent=spent.append,
        clock=lambda: 30.0 * asyncio.get_running_loop().time(),
    )
    task = asyncio.create_task(retimer.run_for_ever())
    said: list[LiveTimings] = []

    def heard() -> bool:
        said.extend(made.book.take_changed())
        return bool(said)

    await until(heard)
    task.cancel()
    await worker.close()
    whole = said[0].whole
    assert whole is not None
    assert (whole.sha256, whole.runs) == ("s", RUNS)
    assert 0 < whole.whole_s < 1e3
    assert len(spent) == 1 + 1 + RUNS  # the session and every run
    assert sum(spent) > 0
    assert msgspec.json.decode(msgspec.json.encode(said[0]), type=LiveTimings) == said[0]


def test_codings_of_other_sizes_than_planned_say_nothing_of_the_planned_one() -> None:
    bench = Bench()
    bench.book.begin("m", opened(device_part(2, codec="int8")))
    planned, other = (CodingKind("a", "int8", "encode", nbytes) for nbytes in (16, 4000))
    for kind in (planned, other, planned, other):
        bench.book.coded("m", 2, CodingTurn(0.1, 0.0, 0.0, bench.time.now_s, ((kind, 0.1),)))
    assert [coding.nbytes for coding in bench.said().codings] == [16]
