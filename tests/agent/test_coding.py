"""Codecs in turn with components."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import numpy as np
import pytest

from edgesplit.errors import FrameMalformed, PreparationFailed
from edgesplit.wire.frames import PackedTensor, pack_tensor
from edgesplit.wire.tensors import Array
from edgesplit_agent.compute import coding
from edgesplit_agent.compute.coding import Coder
from edgesplit_agent.compute.emulated_slowness import slowed
from edgesplit_agent.compute.recent_runs import RecentRuns
from edgesplit_agent.compute.session_pool import RuntimeOptions
from edgesplit_agent.compute.worker import Worker
from edgesplit_agent.serving.preparation import check_codecs
from tests.agent.graphs import device_part
from tests.waiting import let_others_run

LARGE = np.random.default_rng(0).normal(size=(1, 16, 64, 64)).astype(np.float32)
SMALL = LARGE[:, :1, :8, :8].copy()


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    """The node's."""
    made = Worker()
    yield made
    await made.close()


async def test_an_older_requests_tensor_is_coded_before_a_newer_ones_component(worker: Worker) -> None:
    gate = threading.Event()
    done: list[str] = []

    async def note(name: str, work: Awaitable[object]) -> None:
        await work
        done.append(name)

    busy = asyncio.ensure_future(worker.run(gate.wait, priority=0))
    waiting = [
        asyncio.ensure_future(note("newer component", worker.run(lambda: None, priority=3))),
        asyncio.ensure_future(
            note("older tensor", Coder(worker, RuntimeOptions).encode("a", LARGE, "int8", priority=2))
        ),
    ]
    await let_others_run()  # all of them are with the worker then
    gate.set()
    await asyncio.gather(busy, *waiting)
    assert done == ["older tensor", "newer component"]


@pytest.mark.parametrize(
    ("array", "slow_down", "thread"), [(LARGE, 1.0, "compute"), (SMALL, 1.0, "MainThread"), (SMALL, 2.0, "compute")]
)
async def test_the_event_loop_codes_only_what_takes_it_no_time(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, array: Array, slow_down: float, thread: str
) -> None:
    threads: list[str] = []

    def noting(name: str, array: Array, codec: str) -> PackedTensor:
        threads.append(threading.current_thread().name)
        return pack_tensor(name, array, codec)

    monkeypatch.setattr(coding, "pack_tensor", noting)
    coder = Coder(worker, lambda: RuntimeOptions(slow_down=slow_down))
    coded = await coder.encode("a", array, "lossless", priority=1)
    assert threads == [thread]
    arrays, turn = await coder.decode([coded.tensor.head], [coded.tensor.payload], priority=1)
    np.testing.assert_array_equal(arrays["a"], array)
    assert turn.seconds > 0


def test_work_is_slowed_down_by_its_own_time_and_not_by_its_waiting() -> None:
    options = RuntimeOptions(slow_down=3.0, alone=True)
    done, seconds, as_profiled_s = slowed(
        lambda: pack_tensor("a", LARGE, "lossless"), options, single_threaded=True, recent=RecentRuns()
    )
    assert done.head.codec == "lossless"
    assert 0 < as_profiled_s <= seconds * 1.001


@pytest.mark.parametrize("array", [LARGE, SMALL])
async def test_each_tensor_of_a_frame_is_a_run_of_its_own_kind_and_what_travels_raw_is_none(
    worker: Worker, array: Array
) -> None:
    coder = Coder(worker, RuntimeOptions, clock=lambda: 7.0)
    coded = await coder.encode("a", array, "int8", priority=1, share="m")
    ((kind, seconds),) = coded.turn.runs
    assert kind == ("a", "int8", "encode", array.nbytes)
    assert (coded.turn.began_s, coded.turn.waited_s) == (7.0, 0.0)
    assert 0 < seconds <= coded.turn.seconds
    frame = [coded.tensor, pack_tensor("b", array), pack_tensor("c", array, "fp16")]
    heads, payloads = [packed.head for packed in frame], [packed.payload for packed in frame]
    arrays, turn = await coder.decode(heads, payloads, priority=1, share="m")
    assert list(arrays) == ["a", "b", "c"]
    assert [kind for kind, _ in turn.runs] == [
        ("a", "int8", "decode", array.nbytes),
        ("c", "fp16", "decode", array.nbytes),
    ]
    assert sum(seconds for _, seconds in turn.runs) <= turn.seconds


async def test_what_a_codec_cannot_hold_is_no_run_of_it(worker: Worker) -> None:
    infinite = np.full((1, 4), np.inf, np.float32)
    coded = await Coder(worker, RuntimeOptions).encode("a", infinite, "int8", priority=1)
    assert (coded.tensor.head.codec, coded.turn.runs) == ("raw", ())


@pytest.mark.parametrize(("other", "waited_s", "planned_s"), [(0, 2.5, 0.0), (1, 0.0, 2.5)])
async def test_a_coding_waits_for_other_requests_or_as_planned_for_its_own(
    worker: Worker, other: int, waited_s: float, planned_s: float
) -> None:
    gate, now_s = threading.Event(), 1.0
    busy = asyncio.ensure_future(worker.run(gate.wait, priority=other))
    await let_others_run()
    coding_task = asyncio.ensure_future(
        Coder(worker, RuntimeOptions, clock=lambda: now_s).encode("a", LARGE, "int8", priority=1)
    )
    await let_others_run()
    now_s = 3.5
    gate.set()
    turn = (await coding_task).turn
    await busy
    assert (turn.waited_s, turn.planned_s, turn.began_s) == (waited_s, planned_s, 3.5)


async def test_on_an_emulated_node_each_kind_of_coding_is_slowed_by_its_own_recent_runs(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RecentRuns] = []
    given: list[bool] = []

    def noting(
        work: Callable[[], PackedTensor],
        _options: RuntimeOptions,
        *,
        single_threaded: bool,
        recent: RecentRuns,
        repeated: bool,
        displaced: bool,
    ) -> tuple[PackedTensor, float, float]:
        assert single_threaded
        assert displaced
        given.append(repeated)
        asked.append(recent)
        return work(), 0.0, 0.0

    monkeypatch.setattr(coding, "slowed", noting)
    monkeypatch.setattr(coding, "REMEMBERED", 2)
    coder = Coder(worker, lambda: RuntimeOptions(slow_down=2.0))
    for name, codec, share in (
        ("a", "int8", "m"), ("a", "int8", "m"), ("a", "fp16", "m"), ("a", "int8", "m"), ("a", "int8", "n"),
        ("a", "int8", "m"), ("a", "fp16", "m"), ("a", "int8", ""), ("a", "int8", ""),
    ):  # fmt: skip
        await coder.encode(name, SMALL, codec, priority=1, share=share)
    assert given == [True] * 7 + [False] * 2  # of a stranger's nothing is known that it could be held against
    first, again, other, once_more, of_another, kept, forgotten, strangers, strangers_too = asked
    assert first is again is once_more is kept
    assert len({id(one) for one in (first, other, of_another, forgotten, strangers, strangers_too)}) == 6


async def test_a_senseless_payload_is_an_error_of_the_frame(worker: Worker) -> None:
    packed = pack_tensor("a", LARGE, "lossless")
    with pytest.raises(FrameMalformed):
        await Coder(worker, RuntimeOptions).decode([packed.head], [packed.payload[::-1].copy()], priority=1)


def test_an_epoch_is_refused_for_a_codec_that_cannot_be_run_here() -> None:
    check_codecs(device_part(2, codec="int8-channel"))
    with pytest.raises(PreparationFailed, match="'int3' of tensor 'a' is unknown"):
        check_codecs(device_part(2, codec="int3"))
