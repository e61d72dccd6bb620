"""Profiling on a real runtime: it gives way to requests, and goes on where an agent that ended had come to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import pytest

from edgesplit.control.component_messages import GraphRef
from edgesplit.control.profile_messages import ExecutionProfile, ModelOffer, ProfilePlan, ProfileReport, ProfileRequest
from edgesplit.retrying import Retry, RetryRule, retry_after
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.artifacts.transfer import Transfers
from edgesplit_agent.compute.session_pool import RuntimeOptions
from edgesplit_agent.compute.worker import PROFILING_PRIORITY, Worker
from edgesplit_agent.profiling.profile_store import GraphTimes, ProfileStore
from edgesplit_agent.profiling.profiler import Profiler
from edgesplit_agent.profiling.timing.timed_runs import PATIENCE, TimedRuns
from tests.agent.graphs import Blobs
from tests.waiting import until

UNITS = tuple(f"u{index}" for index in range(8))


def offer_of(blobs: Blobs) -> ModelOffer:
    data = blobs.chain(len(UNITS)).SerializeToString()
    plan = ProfilePlan(
        units=UNITS,
        kernel_units={f"unit{index}": unit for index, unit in enumerate(UNITS)},
        quantizable=(),
        inputs=(TensorSpec(name="x", dtype="float32", shape=(1, 64)),),
    )
    return ModelOffer(
        model="chain",
        sha256="s",
        float_graph=GraphRef(digest=blobs.put(data), nbytes=len(data)),
        quantized_graph=None,
        profile_plan=blobs.put(msgspec.json.encode(plan)),
    )


@dataclass
class Site:
    """A profiler, the blobs it can fetch, and what it said."""

    profiler: Profiler
    reports: list[ProfileReport]
    said: asyncio.Event
    there: bool = False

    async def heard(self, state: str, asked: str = "") -> ProfileReport:
        """The next report of a state that was not taken before."""
        async with asyncio.timeout(60):
            while True:
                for place, report in enumerate(self.reports):
                    if report.state == state and report.asked == asked:
                        del self.reports[: place + 1]
                        return report
                self.said.clear()
                await self.said.wait()


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Site, ModelOffer]]:
    """An artifact server that is away until `there`."""
    monkeypatch.setattr("edgesplit_agent.artifacts.cache.FIRST_PAUSE_S", 0.001)
    elsewhere = Blobs(tmp_path / "elsewhere")
    offer = offer_of(elsewhere)
    cache = BlobCache(tmp_path / "cache", 1 << 40, lambda: "http://controller")
    worker = Worker()

    reports: list[ProfileReport] = []
    said = asyncio.Event()

    def heard(report: ProfileReport) -> None:
        reports.append(report)
        said.set()

    profiler = Profiler(
        node="n", instance="i", runtime="r", cache=cache, worker=worker, options=RuntimeOptions(), publish=heard
    )
    here = Site(profiler, reports, said)

    async def download(_transfers: Transfers, _source: object, digest: str, partial: Path, _nbytes: int | None) -> None:
        if not here.there:
            raise ConnectionRefusedError(111, "Connection refused")
        partial.write_bytes((elsewhere.folder / digest).read_bytes())

    monkeypatch.setattr(Transfers, "download", download)
    yield here, offer
    await profiler.close()
    await worker.close()
    await cache.close()


def never(before: Retry | None, now_s: float, draw: float) -> Retry:
    """A pause that no test waits for."""
    return retry_after(before, now_s, draw, RetryRule(first_s=3600.0))


async def test_what_failed_because_the_server_was_away_is_profiled_at_once_when_it_returns(
    site: tuple[Site, ModelOffer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgesplit_agent.profiling.attempts.retry_after", never)
    here, offer = site
    here.profiler.offer("chain", offer)
    failed = await here.heard("failed")
    assert "Connection refused" in failed.detail
    assert failed.retry is not None
    assert (failed.retry.attempts, failed.retry.next_try_s > 0) == (1, True)
    here.there = True
    here.profiler.cause_returned()
    done = await here.heard("done")
    assert done.profile is not None
    assert done.retry is not None
    assert done.retry.attempts == 1


async def test_a_graph_that_the_runtime_refuses_is_not_tried_again_by_itself_but_when_asked(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    offer = offer_of(blobs)
    broken = blobs.put(b"no graph")
    offer = msgspec.structs.replace(offer, float_graph=GraphRef(digest=broken, nbytes=8))
    reports: list[ProfileReport] = []
    worker = Worker()
    cache = BlobCache(blobs.folder, 1 << 40, lambda: "")
    profiler = Profiler(
        node="n",
        instance="i",
        runtime="r",
        cache=cache,
        worker=worker,
        options=RuntimeOptions(),
        publish=reports.append,
    )

    async def ended() -> None:
        await until(lambda: not profiler.busy)

    profiler.offer("chain", offer)
    await ended()
    assert (reports[-1].state, reports[-1].retry) == ("failed", None)
    count = len(reports)
    profiler.cause_returned()
    profiler.offer("chain", offer)
    assert not profiler.busy
    assert len(reports) == count
    profiler.ask(ProfileRequest(model="chain", sha256="s", asked="by somebody"))
    await ended()
    assert (reports[-1].state, reports[-1].asked) == ("failed", "by somebody")
    await profiler.close()
    await worker.close()
    await cache.close()


async def test_a_profile_stands_until_the_model_was_measured_once_more(site: tuple[Site, ModelOffer]) -> None:
    here, offer = site
    here.there = True
    here.profiler.offer("chain", offer)
    first = await here.heard("done")
    here.profiler.ask(ProfileRequest(model="chain", sha256="another model", asked="x"))
    assert not here.profiler.busy
    here.profiler.ask(ProfileRequest(model="chain", sha256="s", asked="again"))
    running = await here.heard("running", "again")
    assert running.profile == first.profile
    again = await here.heard("done", "again")
    assert again.profile is not None
    assert again.profile != first.profile
    assert again.detail == ""


async def profile_of(blobs: Blobs, offer: ModelOffer) -> ExecutionProfile:
    ended: asyncio.Future[ProfileReport] = asyncio.get_running_loop().create_future()

    def heard(report: ProfileReport) -> None:
        if report.state != "running" and not ended.done():
            ended.set_result(report)

    worker = Worker()
    profiler = Profiler(
        node="n",
        instance="i",
        runtime="r",
        cache=BlobCache(blobs.folder, 1 << 40, lambda: ""),
        worker=worker,
        options=RuntimeOptions(),
        publish=heard,
    )
    profiler.offer(offer.model, offer)
    try:
        async with asyncio.timeout(60):
            report = await ended
    finally:
        await profiler.close()
        await worker.close()
    assert report.profile is not None, report.detail
    return report.profile


def store_in(blobs: Blobs) -> ProfileStore:
    return ProfileStore(blobs.folder, runtime="r", provider="auto", threads=1)


async def test_units_sum_to_the_whole_and_the_result_is_kept(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    offer = offer_of(blobs)
    profile = await profile_of(blobs, offer)
    assert set(profile.time_s) == set(UNITS)
    assert {"int8", "lossless"} <= set(profile.codec_times)
    assert np.isclose(sum(profile.time_s.values()), profile.whole_s)
    assert profile.moments >= 3
    assert profile.whole_spread > 0
    assert profile.rested_spread > 0
    assert profile.runs >= profile.moments
    assert 0 < profile.seconds < 60
    # What codecs take is the node's, not the model's, and kept apart.
    alone = msgspec.structs.replace(profile, codec_times={}, integer_codec_times={})
    assert store_in(blobs).profile(offer) == alone
    part = store_in(blobs).part(offer, "float")
    assert part is not None, "a later offer of the same float graph needs it"
    assert list(part.moments)
    assert set(part.shares) == set(UNITS)


async def test_what_an_agent_that_ended_had_measured_is_not_measured_again(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    offer = offer_of(blobs)
    shares = dict.fromkeys(UNITS, 1 / len(UNITS))
    earlier = GraphTimes(
        shares=shares,
        integer_shares=shares,
        provider="CPUExecutionProvider",
        moments=(8.0, 8.0),
        rested=(1.5,),
        runs=5,
        seconds=40.0,
    )
    store_in(blobs).keep_part(offer, "float", earlier)
    profile = await profile_of(blobs, offer)
    assert profile.time_s == pytest.approx(dict.fromkeys(UNITS, 1.0))
    assert (profile.whole_s, profile.rested_s) == pytest.approx((8.0, 12.0))
    assert (profile.moments, profile.runs, profile.seconds) == (2, 5, 40.0)


def test_a_profile_of_an_earlier_release_is_read_without_what_that_did_not_measure(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    offer, store = offer_of(blobs), store_in(blobs)
    profile = ExecutionProfile(
        time_s={}, quantized_time_s={}, whole_s=8.0, runs=5, provider="", threads=1, runtime="", rested_s=9.0
    )
    store.keep(offer, msgspec.structs.replace(profile, whole_spread=0.1, moments=9, rested_spread=0.1, seconds=40.0))
    (path,) = tmp_path.glob("profile-*.json")
    said = msgspec.json.decode(path.read_bytes())
    for name in ("whole_spread", "moments", "rested_spread", "seconds"):
        del said[name]
    path.write_bytes(msgspec.json.encode(said))
    assert store_in(blobs).profile(offer) == profile


def test_a_part_of_an_earlier_release_is_measured_again(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    offer, store = offer_of(blobs), store_in(blobs)
    store.keep_part(
        offer,
        "float",
        GraphTimes(shares={}, integer_shares={}, provider="p", moments=(1.0,), rested=(1.0,), runs=1, seconds=1.0),
    )
    (path,) = tmp_path.glob("profile-*.float.json")
    earlier = {"whole_s": 1.0, "units_s": {}, "integer_s": {}, "runs": 5, "provider": "p", "rested_s": 1.1}
    path.write_bytes(msgspec.json.encode(earlier))
    assert store.part(offer, "float") is None


def test_a_part_under_other_conditions_or_unreadable_was_never_there(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    offer = offer_of(blobs)
    times = GraphTimes(shares={}, integer_shares={}, provider="p", moments=(1.0,), rested=(1.0,), runs=1, seconds=1.0)
    store = store_in(blobs)
    store.keep_part(offer, "float", times)
    assert store.part(offer, "float") == times
    assert store.part(offer, "int8") is None
    assert ProfileStore(tmp_path, runtime="r", provider="auto", threads=2).part(offer, "float") is None
    for path in tmp_path.glob("profile-*"):
        path.write_bytes(b"{")
    assert store.part(offer, "float") is None


class Endless:
    """A session that runs until it is asked to end, as one of a large model would for seconds."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.runs = 0

    def run(self, names: None, inputs: dict[str, Any], options: onnxruntime.RunOptions) -> None:
        self.begun.set()
        self.runs += 1
        if self.runs > PATIENCE:
            return
        while not options.terminate:
            threading.Event().wait(0.001)
        raise RuntimeError("ended")


async def test_a_run_gives_way_to_every_request_but_gets_done_in_the_end() -> None:
    worker, session = Worker(), Endless()
    runs = TimedRuns(worker, RuntimeOptions)
    timed = asyncio.create_task(runs.once(session, {}))
    answered = 0
    async with asyncio.timeout(60):
        while not timed.done():
            await asyncio.to_thread(session.begun.wait, 1.0)
            session.begun.clear()
            answered += await worker.run(lambda: 1, priority=PROFILING_PRIORITY - 1)
    assert timed.result() >= 0
    assert session.runs == PATIENCE + 1
    assert answered >= PATIENCE
    await worker.close()
