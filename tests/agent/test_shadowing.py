"""Running answered requests again on the float model: real onnxruntime, the node's worker, and what wants it first."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesplit.wire.tensors import Array
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.compute.interruption import Interruption
from edgesplit_agent.compute.session_pool import LoadedComponent, RuntimeOptions, SessionPool, open_session
from edgesplit_agent.compute.worker import PROFILING_PRIORITY, Worker
from edgesplit_agent.serving import shadow_runs
from edgesplit_agent.serving.machine.actions import ShadowRequest
from edgesplit_agent.serving.machine.events import ShadowChecked, ShadowDropped
from edgesplit_agent.serving.shadow_runs import SHADOW_PRIORITY, ShadowRunner
from tests.agent.graphs import Blobs, local_part, spec
from tests.waiting import let_others_run

X = np.arange(4, dtype=np.float32).reshape(1, 4)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_runs, "PAUSES_S", (0.0, 0.0, 0.0))


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    made = Worker()
    yield made
    await made.close()


def request(outputs: Array, metric: str = "") -> ShadowRequest:
    return ShadowRequest("m", 2, 1, {"x": X}, {"y": outputs}, (spec("y"),), metric)


class Session:
    """Gives 3x, or whatever it is told to do first."""

    def __init__(self, *first: Callable[[Any], None]) -> None:
        self.first = list(first)
        self.runs = 0

    def run(self, outputs: list[str], arrays: dict[str, Array], options: Any) -> list[Array]:
        """As onnxruntime's."""
        self.runs += 1
        if self.first:
            self.first.pop(0)(options)
        return [3 * arrays["x"] for _ in outputs]


def check(
    worker: Worker, session: Session, asked: ShadowRequest, *, metrics: tuple[str, ...] = (), wanted: bool = True
) -> asyncio.Task[ShadowChecked | ShadowDropped]:
    parts = {0: LoadedComponent(session, ["y"])}
    return asyncio.create_task(ShadowRunner(worker, metrics).check(asked, local_part(1), parts, lambda: wanted))


async def test_noise_is_the_mean_absolute_difference_to_the_float_model(worker: Worker, tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    pool = SessionPool(BlobCache(blobs.folder, 1 << 20, lambda: ""), RuntimeOptions())
    part = local_part(1, blobs.affine("x", "y", 3.0))
    parts = await pool.prepare(part.components)
    done = await ShadowRunner(worker).check(request(3 * X + 0.5), part, parts, lambda: True)
    assert isinstance(done, ShadowChecked)
    assert (done.model, done.epoch, done.measure, done.detail) == ("m", 2, "rho", "")
    assert done.noise == pytest.approx(0.5)
    await pool.close()


async def test_a_run_of_onnxruntime_ends_before_its_next_kernel_when_asked(worker: Worker, tmp_path: Path) -> None:
    path = tmp_path / "chain.onnx"
    path.write_bytes(Blobs(tmp_path / "blobs").chain(200).SerializeToString())
    session = open_session(path, RuntimeOptions())
    interruption = Interruption()
    interruption.ask()
    with pytest.raises(Exception, match="terminate"):
        session.run(["y"], {"x": np.ones((1, 64), np.float32)}, interruption.options)
    assert session.run(["y"], {"x": np.ones((1, 64), np.float32)}, Interruption().options)


async def test_a_check_gives_way_to_a_request_and_is_done_after_it(worker: Worker) -> None:
    begun = threading.Event()

    def until_asked(options: Any) -> None:
        begun.set()
        while not options.terminate:
            pass
        raise RuntimeError("Exiting due to terminate flag being set to true.")

    session = Session(until_asked)
    task = check(worker, session, request(3 * X))
    await asyncio.to_thread(begun.wait)
    runs_then = await worker.run(lambda: session.runs, priority=7)  # a request that was waiting would wait for ever
    assert runs_then == 1
    done = await task
    assert isinstance(done, ShadowChecked)
    assert (session.runs, done.noise) == (2, 0.0)


async def test_without_any_time_a_check_is_dropped_and_says_nothing(worker: Worker) -> None:
    def asked(options: Any) -> None:
        options.terminate = True
        raise RuntimeError("terminated")

    # Something urgent comes with every attempt.
    begun = [threading.Event() for _ in range(3)]

    def hold(event: threading.Event) -> Callable[[Any], None]:
        def run(options: Any) -> None:
            event.set()
            while not options.terminate:
                pass
            asked(options)

        return run

    session = Session(*map(hold, begun))
    task = check(worker, session, request(3 * X))
    for event in begun:
        await asyncio.to_thread(event.wait)
        await worker.run(lambda: None, priority=PROFILING_PRIORITY)
    assert await task == ShadowDropped("m", 2)


async def test_checks_wait_behind_requests_and_profiling(worker: Worker) -> None:
    order: list[str] = []
    gate = threading.Event()
    first = asyncio.create_task(worker.run(gate.wait, priority=0))
    await let_others_run()
    priorities = {"shadow": SHADOW_PRIORITY, "profiling": PROFILING_PRIORITY, "request": 5}
    jobs = [
        asyncio.create_task(worker.run(partial(order.append, name), priority=priority))
        for name, priority in priorities.items()
    ]
    await let_others_run()
    gate.set()
    await asyncio.gather(first, *jobs)
    assert order == ["request", "profiling", "shadow"]


async def test_a_check_nobody_wants_any_more_runs_nothing(worker: Worker) -> None:
    session = Session()
    assert await check(worker, session, request(X), wanted=False) == ShadowDropped("m", 2)
    assert session.runs == 0


async def test_a_float_model_that_fails_is_told_in_one_sentence(worker: Worker) -> None:
    def broken(_options: Any) -> None:
        raise RuntimeError("out of memory\nat kernel 7")

    done = await check(worker, Session(broken), request(X))
    assert done == ShadowDropped("m", 2, "the float model failed (out of memory)")


async def test_noise_without_bound_is_reported_as_a_number(worker: Worker) -> None:
    broken = 3 * X.copy()
    broken[0, 1] = np.nan
    done = await check(worker, Session(), request(broken))
    assert isinstance(done, ShadowChecked)
    assert 1e30 < done.noise < float("inf")


async def test_a_users_metric_is_used_where_the_agent_allows_it_and_told_where_not(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "agent_metric.py").write_text(
        "def worst(reference, noisy):\n    return float(abs(reference['y'] - noisy['y']).max())\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    off = 3 * X.copy()
    off[0, 2] += 2.0
    asked = request(off, "agent_metric:worst")
    done = await check(worker, Session(), asked, metrics=("agent_metric:worst",))
    assert done == ShadowChecked("m", 2, 2.0, "agent_metric:worst", "")
    done = await check(worker, Session(), asked)
    assert isinstance(done, ShadowChecked)
    assert (done.noise, done.measure) == (0.5, "rho")
    assert "[runtime] metrics" in done.detail
    assert "which the bound does not speak of" in done.detail


async def test_closing_while_a_check_runs_ends_it(worker: Worker) -> None:
    begun, ended = threading.Event(), threading.Event()

    def until_asked(options: Any) -> None:
        begun.set()
        while not options.terminate:
            pass
        ended.set()
        raise RuntimeError("terminated")

    task = check(worker, Session(until_asked), request(X))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.to_thread(ended.wait)
