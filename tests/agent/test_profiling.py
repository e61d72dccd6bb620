"""Profiling on a real runtime: it gives way to requests, and goes on where an agent that ended had come to."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime

from edgesplit.messages import GraphRef, TensorSpec
from edgesplit.profiles import ExecutionProfile, ModelOffer, ProfilePlan, ProfileReport
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.compute.sessions import RuntimeOptions
from edgesplit_agent.compute.worker import PROFILING_PRIORITY, Worker
from edgesplit_agent.profiling.profiler import Profiler
from edgesplit_agent.profiling.store import GraphTimes, ProfileStore
from edgesplit_agent.profiling.timed_runs import PATIENCE, TimedRuns
from tests.agent.graphs import Blobs

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
    # What codecs take is the node's, not the model's, and kept apart.
    alone = msgspec.structs.replace(profile, codec_times={}, integer_codec_times={})
    assert store_in(blobs).profile(offer) == alone
    assert list(tmp_path.glob("profile-*.float.json")) == []


async def test_what_an_agent_that_ended_had_measured_is_not_measured_again(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    offer = offer_of(blobs)
    earlier = GraphTimes(8.0, dict.fromkeys(UNITS, 1.0), dict.fromkeys(UNITS, 1.0), 5, "CPUExecutionProvider")
    store_in(blobs).keep_part(offer, "float", earlier)
    profile = await profile_of(blobs, offer)
    assert profile.time_s == earlier.units_s
    assert profile.whole_s == 8.0


def test_a_part_under_other_conditions_or_unreadable_was_never_there(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    offer = offer_of(blobs)
    times = GraphTimes(1.0, {}, {}, 1, "p")
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
