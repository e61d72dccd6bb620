"""Real onnxruntime sessions of components, and the worker that runs them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import helper

from edgesplit.control.component_messages import ComponentSpec, GraphRef
from edgesplit.errors import ArtifactMissing, PreparationFailed
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.compute import session_pool
from edgesplit_agent.compute.recent_runs import RecentRuns
from edgesplit_agent.compute.runtime import open_session
from edgesplit_agent.compute.session_pool import RuntimeOptions, SessionPool
from edgesplit_agent.compute.worker import PROFILING_PRIORITY, Worker
from tests.agent.graphs import Blobs, component, local_part
from tests.agent.open_graphs import halving, open_spec, opened, scaling
from tests.waiting import let_others_run, until

X = np.arange(4, dtype=np.float32).reshape(1, 4)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    """Already in the cache's folder."""
    return Blobs(tmp_path / "cache")


@pytest.fixture
async def pool(blobs: Blobs) -> AsyncIterator[SessionPool]:
    """Over that folder, with no controller."""
    pool = SessionPool(BlobCache(blobs.folder, 1, lambda: ""), RuntimeOptions())
    yield pool
    await pool.close()


async def test_a_component_with_weights_in_blobs_computes(pool: SessionPool, blobs: Blobs) -> None:
    components = await pool.prepare(local_part(1, blobs.affine("x", "y", 3.0)).components)
    computed = components[0].run({"x": X})
    np.testing.assert_allclose(computed.outputs["y"], 3 * X)
    assert computed.compute_s > 0
    assert pool.providers == ("CPUExecutionProvider",)


def counted_sessions(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows with every session that is opened."""
    opened: list[object] = []

    def counted(*arguments: Any, **options: Any) -> Any:
        opened.append(arguments)
        return open_session(*arguments, **options)

    monkeypatch.setattr(session_pool, "open_session", counted)
    return opened


async def test_epochs_with_the_same_component_share_it_and_blobs_in_use_stay(
    pool: SessionPool, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = counted_sessions(monkeypatch)
    graph = blobs.affine("x", "y", 3.0)
    first, second = await asyncio.gather(
        pool.prepare(local_part(1, graph).components), pool.prepare(local_part(2, graph).components)
    )
    assert len(opened) == 1
    np.testing.assert_allclose(first[0].run({"x": X}).outputs["y"], 3 * X)
    pool.release(local_part(1, graph).components)
    assert (blobs.folder / graph.digest).exists()
    np.testing.assert_allclose(second[0].run({"x": X}).outputs["y"], 3 * X)
    pool.release(local_part(2, graph).components)
    assert not (blobs.folder / graph.digest).exists()


async def test_emulated_slowness_counts_as_compute(pool: SessionPool, blobs: Blobs) -> None:
    components = await pool.prepare(local_part(1, blobs.affine("x", "y", 3.0)).components)
    plain_s = min(components[0].run({"x": X}).compute_s for _ in range(20))
    pool.set_slow_down(1000.0)
    assert components[0].run({"x": X}).compute_s > 100 * plain_s


async def test_the_same_component_of_two_epochs_is_slowed_by_the_runs_of_both(
    pool: SessionPool, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RecentRuns] = []

    def noting(
        work: Callable[[], Any], _options: RuntimeOptions, *, single_threaded: bool, recent: RecentRuns, repeated: bool
    ) -> tuple[Any, float, float]:
        assert single_threaded
        assert repeated
        asked.append(recent)
        return work(), 0.0, 0.0

    monkeypatch.setattr(session_pool, "slowed", noting)
    for epoch, factor in ((1, 3.0), (2, 3.0), (3, 4.0)):
        (await pool.prepare(local_part(epoch, blobs.affine("x", "y", factor)).components))[0].run({"x": X})
    first, same, other = asked
    assert first is same
    assert first is not other


async def test_a_graph_that_is_none_fails_with_a_sentence(pool: SessionPool, blobs: Blobs) -> None:
    digest = blobs.put(b"this is no graph")
    with pytest.raises(PreparationFailed, match=digest[:12]):
        await pool.prepare(local_part(1, GraphRef(digest=digest, nbytes=1)).components)


async def test_a_component_whose_planned_shape_is_wrong_fails_when_warmed(pool: SessionPool, blobs: Blobs) -> None:
    spec = local_part(1, blobs.affine("z", "y", 3.0))
    with pytest.raises(PreparationFailed, match="component 0"):
        await pool.prepare(spec.components)


async def test_nothing_is_kept_of_an_epoch_that_cannot_be_prepared(
    pool: SessionPool, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = counted_sessions(monkeypatch)
    good = blobs.affine("x", "a", 2.0)
    parts = (component(0, good, ["x"], ["a"]), component(1, GraphRef(digest="0" * 64, nbytes=1), ["a"], ["y"]))
    base = local_part(1)
    spec = type(base)(epoch=1, source="device", participants=base.participants, components=parts, outputs=("y",))
    with pytest.raises(ArtifactMissing):
        await pool.prepare(spec.components)
    opened.clear()
    await pool.prepare(parts[:1])
    assert len(opened) == 1  # the one that was opened before is not held any more


async def test_the_worker_runs_older_requests_first_and_profiling_last() -> None:
    worker = Worker()
    gate = threading.Event()
    order: list[str] = []
    blocker = asyncio.create_task(worker.run(gate.wait, priority=0))
    await let_others_run()
    tasks = [
        asyncio.create_task(worker.run(lambda: order.append("profiling"), priority=PROFILING_PRIORITY)),
        asyncio.create_task(worker.run(lambda: order.append("newer"), priority=2)),
        asyncio.create_task(worker.run(lambda: order.append("older"), priority=1)),
        asyncio.create_task(worker.run(lambda: order.append("cancelled"), priority=1)),
    ]
    await let_others_run()
    tasks.pop().cancel()
    gate.set()
    await asyncio.gather(blocker, *tasks)
    assert order == ["older", "newer", "profiling"]
    await worker.close()


async def test_the_worker_hands_errors_to_their_caller_and_goes_on() -> None:
    worker = Worker()
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0, priority=1)
    assert await worker.run(lambda: 7, priority=1) == 7
    await worker.close()


async def test_memory_is_given_back_once_more_after_the_last_session_went(
    pool: SessionPool, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[str] = []
    later: list[Callable[[], None]] = []

    def remember(_delay_s: float, what: Callable[[], None]) -> asyncio.TimerHandle:
        later.append(what)
        return loop.call_at(loop.time() + 3600.0, what)

    loop = asyncio.get_running_loop()

    monkeypatch.setattr(session_pool, "give_memory_back", lambda: given_back.append("memory"))
    spec = local_part(1, blobs.affine("x", "y", 3.0))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "call_later", remember)
        await pool.prepare(spec.components)
        pool.release(spec.components)
        for _ in range(2):
            later.pop()()
        assert later == []
    await until(lambda: given_back == ["memory", "memory"])


async def test_a_component_of_open_sizes_runs_at_any_and_tells_planned_ones_apart(
    pool: SessionPool, blobs: Blobs
) -> None:
    part = opened(local_part(1, halving(blobs, "x", "y", 3.0)))
    component = (await pool.prepare(part.components))[0]
    for length in (4, 10, 1000):
        x = np.random.default_rng(length).random((1, length), np.float32)
        np.testing.assert_allclose(component.run({"x": x}).outputs["y"], 3 * x)
    assert component.as_planned({"x": X})
    odd = {"x": np.ones((1, 5), np.float32)}
    assert not component.as_planned(odd)
    with pytest.raises(Exception, match="cannot be reshaped") as raised:
        component.run(odd)
    assert component.refuses(odd, raised.value)
    assert not component.refuses({"x": X}, raised.value)
    assert not component.refuses(odd, RuntimeError("Failed to allocate memory for requested buffer of size 1"))
    assert not component.refuses(odd, TypeError("a defect of ours"))


async def test_planning_shapes_with_the_same_graph_share_a_session_and_each_is_warmed_and_slowed_by_its_own_runs(
    pool: SessionPool, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions, warmed, recents = counted_sessions(monkeypatch), list[tuple[int, ...]](), list[RecentRuns | None]()

    def noting(
        work: Callable[[], Any],
        _options: RuntimeOptions,
        *,
        single_threaded: bool,
        recent: RecentRuns | None,
        repeated: bool,
    ) -> tuple[Any, float, float]:
        recents.append(recent)
        return work(), 0.0, 0.0

    monkeypatch.setattr(session_pool, "slowed", noting)
    monkeypatch.setattr(session_pool, "warm_up", lambda _session, part: warmed.append(part.inputs[0].typical))
    (small,) = opened(local_part(1, scaling(blobs, "x", "y", 3.0))).components
    large = msgspec.structs.replace(
        small, inputs=tuple(msgspec.structs.replace(spec, typical=(1, 64)) for spec in small.inputs)
    )
    for part, length in ((small, 4), (large, 64), (small, 4), (large, 64)):
        (await pool.prepare([part]))[0].run({"x": np.ones((1, length), np.float32)})
    assert len(sessions) == 1
    assert warmed == [(1, 4), (1, 64)]
    assert (recents[0] is recents[2], recents[1] is recents[3], recents[0] is recents[1]) == (True, True, False)


async def test_what_is_quick_on_little_is_not_thought_quick_on_much(pool: SessionPool, blobs: Blobs) -> None:
    component = (await pool.prepare(opened(local_part(1, scaling(blobs, "x", "y", 3.0))).components))[0]
    await until(lambda: component.run({"x": X}) and component.is_brief({"x": X}))
    assert not component.is_brief({"x": np.ones((1, 5), np.float32)})


async def test_memory_that_a_larger_request_took_is_given_back(
    pool: SessionPool, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[str] = []
    monkeypatch.setattr(session_pool, "give_memory_back", lambda: given_back.append("memory"))
    monkeypatch.setattr(session_pool, "TIDY_AFTER_S", 0.01)
    component = (await pool.prepare(opened(local_part(1, scaling(blobs, "x", "y", 3.0))).components))[0]
    await until(lambda: len(given_back) == 2)  # what preparing took, twice
    component.run({"x": X})
    await asyncio.sleep(0.05)
    assert len(given_back) == 2
    await asyncio.to_thread(component.run, {"x": np.ones((1, 5), np.float32)})
    await until(lambda: len(given_back) > 2)


async def test_a_component_that_is_given_sizes_is_packed_and_warmed_at_the_planned_ones(blobs: Blobs) -> None:
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "sizes"], ["y"], name="unit0.0", allowzero=1)],
        "sized",
        [helper.make_tensor_value_info("x", 1, (1, "length")), helper.make_tensor_value_info("sizes", 7, (2,))],
        [helper.make_tensor_value_info("y", 1, ("rows", "columns"))],
    )
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    sizes = TensorSpec(name="sizes", dtype="int64", shape=(2,))
    y = TensorSpec(name="y", dtype="float32", shape=(-1, -1), typical=(2, 2))
    part = ComponentSpec(
        component=0,
        graph=GraphRef(digest=blobs.put(data), nbytes=len(data)),
        inputs=(open_spec("x"), sizes),
        outputs=(y,),
        routes=(),
    )
    known: tuple[dict[str, tuple[int, ...]], ...] = ({}, {"sizes": (2, 2)})
    for values in known:
        # A pool of its own: one remembers what it could not pack.
        pool = SessionPool(BlobCache(blobs.folder, 1, lambda: ""), RuntimeOptions())
        component = (await pool.prepare([msgspec.structs.replace(part, values=values)]))[0]
        assert bool(list(blobs.folder.glob(f"{part.graph.digest}.packed-*"))) == bool(values)
        computed = component.run({"x": np.ones((1, 6), np.float32), "sizes": np.array([3, 2])})
        assert computed.outputs["y"].shape == (3, 2)
        await pool.close()
