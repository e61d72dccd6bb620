"""A node says within seconds how fast it computes a model, and measures afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from edgesplit.control.component_messages import GraphRef
from edgesplit.control.profile_messages import ModelOffer, ProfilePlan, ProfileReport
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.compute.session_pool import RuntimeOptions
from edgesplit_agent.compute.worker import Worker
from edgesplit_agent.profiling.profile_measurement import ProfileMeasurement
from edgesplit_agent.profiling.profiler import Profiler
from edgesplit_agent.profiling.quick_profile import shares_of
from tests.agent.graphs import Blobs
from tests.waiting import until

UNITS = ("a", "b", "c", "d")
PLAN = ProfilePlan(
    units=UNITS,
    kernel_units={f"unit{index}": unit for index, unit in enumerate(UNITS)},
    quantizable=(),
    inputs=(TensorSpec(name="x", dtype="float32", shape=(1, 64)),),
    flops={"a": 1.0, "b": 2.0, "c": 1.0},
)


class Site:
    """A profiler that has all blobs, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.blobs = Blobs(folder)
        self.reports: list[ProfileReport] = []
        self.worker = Worker()
        self.cache = BlobCache(self.blobs.folder, 1 << 40, lambda: "")
        self.profiler = self.started()

    def started(self) -> Profiler:
        return Profiler(
            node="n",
            instance="i",
            runtime="r",
            cache=self.cache,
            worker=self.worker,
            options=RuntimeOptions(),
            publish=self.reports.append,
        )

    def offer(self, plan: ProfilePlan = PLAN) -> ModelOffer:
        data = self.blobs.chain(len(UNITS)).SerializeToString()
        return ModelOffer(
            model="chain",
            sha256="s",
            float_graph=GraphRef(digest=self.blobs.put(data), nbytes=len(data)),
            quantized_graph=None,
            profile_plan=self.blobs.put(msgspec.json.encode(plan)),
        )

    async def done(self, offer: ModelOffer) -> ProfileReport:
        def ended() -> ProfileReport | None:
            return next(
                (one for one in self.reports if one.state == "done" and one.offered == offer.profile_plan), None
            )

        return await until(ended)


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr("edgesplit_agent.profiling.profiler.FIRST_S", 0.0)
    here = Site(tmp_path)
    yield here
    await here.profiler.close()
    await here.worker.close()
    await here.cache.close()


async def test_the_whole_is_said_at_once_with_units_by_their_operations_and_measured_afterwards(site: Site) -> None:
    offer = site.offer()
    site.profiler.offer("chain", offer)
    done = await site.done(offer)
    quick = next(report for report in site.reports if report.profile is not None)
    assert quick.state == "running"
    assert quick.profile is not None
    assert (quick.profile.is_quick, quick.profile.origin, quick.profile.moments) == (True, "modelled", 1)
    whole_s = quick.profile.whole_s
    assert quick.profile.time_s == pytest.approx({"a": whole_s / 4, "b": whole_s / 2, "c": whole_s / 4, "d": 0.0})
    assert (quick.profile.quantized_time_s, quick.profile.codec_times) == ({}, {})
    assert done.profile is not None
    assert (done.profile.is_quick, done.profile.origin) == (False, "measured")
    states = [report.state for report in site.reports]
    assert states == sorted(states, key=["running", "done"].index)


async def test_the_float_graph_is_not_timed_again_for_a_later_offer_of_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = site.offer()
    site.profiler.offer("chain", offer)
    first = await site.done(offer)

    async def never(*_: object) -> None:
        raise AssertionError("the float graph was timed again")

    monkeypatch.setattr(ProfileMeasurement, "_float_times", never)
    monkeypatch.setattr("edgesplit_agent.profiling.quick_profile.QuickProfile.take", never)
    later = site.offer(msgspec.structs.replace(PLAN, kernel_units={**PLAN.kernel_units, "more": "a"}))
    site.reports.clear()
    site.profiler.offer("chain", later)
    done = await site.done(later)
    assert site.reports[0].profile == first.profile, "what was measured stands meanwhile"
    assert done.profile is not None
    assert first.profile is not None
    assert done.profile.time_s == first.profile.time_s


async def test_an_agent_that_restarts_says_what_it_knew(site: Site) -> None:
    offer = site.offer()
    site.profiler.offer("chain", offer)
    await until(lambda: any(report.profile is not None for report in site.reports))
    await site.profiler.close()
    known = next(report.profile for report in site.reports if report.profile is not None)
    site.reports.clear()
    site.profiler = site.started()
    site.profiler.offer("chain", offer)
    await until(lambda: bool(site.reports))
    first = site.reports[0].profile
    assert first is not None
    assert first.whole_s == known.whole_s or not first.is_quick
    await site.done(offer)


def test_units_of_no_operations_share_the_whole_evenly() -> None:
    assert shares_of(msgspec.structs.replace(PLAN, flops={})) == dict.fromkeys(UNITS, 0.25)
