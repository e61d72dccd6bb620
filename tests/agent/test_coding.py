"""Codecs in turn with components."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable

import numpy as np
import pytest

from edgesplit.errors import FrameMalformed, PreparationFailed
from edgesplit.wire.frames import PackedTensor, pack_tensor
from edgesplit.wire.tensors import Array
from edgesplit_agent.compute import coding
from edgesplit_agent.compute.coding import Coder
from edgesplit_agent.compute.session_pool import RuntimeOptions, slowed
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
    arrays, seconds = await coder.decode([coded.tensor.head], [coded.tensor.payload], priority=1)
    np.testing.assert_array_equal(arrays["a"], array)
    assert seconds > 0


def test_work_is_slowed_down_by_its_own_time_and_not_by_its_waiting() -> None:
    options = RuntimeOptions(slow_down=3.0, alone=True)
    done, seconds, as_profiled_s = slowed(lambda: pack_tensor("a", LARGE, "lossless"), options, single_threaded=True)
    assert done.head.codec == "lossless"
    assert 0 < as_profiled_s <= seconds * 1.001


async def test_a_senseless_payload_is_an_error_of_the_frame(worker: Worker) -> None:
    packed = pack_tensor("a", LARGE, "lossless")
    with pytest.raises(FrameMalformed):
        await Coder(worker, RuntimeOptions).decode([packed.head], [packed.payload[::-1].copy()], priority=1)


def test_an_epoch_is_refused_for_a_codec_that_cannot_be_run_here() -> None:
    check_codecs(device_part(2, codec="int8-channel"))
    with pytest.raises(PreparationFailed, match="'int3' of tensor 'a' is unknown"):
        check_codecs(device_part(2, codec="int3"))
