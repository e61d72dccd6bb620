"""Threads without an event loop share one client."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import numpy as np
import pytest

import edgesplit
from edgesplit.client.loop_driver import LoopDriver
from edgesplit.errors import NodeUnreachable
from tests.dataplane.fakes import Plane, plane
from tests.waiting import until

IMAGE = np.ones((2, 3), dtype=np.float32)


class Agent:
    """A data plane on an event loop of another thread."""

    def __init__(self, listen: str) -> None:
        self._listen = listen
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._stop = asyncio.Event()
        self._plane: Plane | None = None
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._thread.start()
        assert self._up.wait(10)

    async def _serve(self) -> None:
        async with plane("device", listen=self._listen) as made:
            self._plane = made
            self._up.set()
            await self._stop.wait()

    @property
    def plane(self) -> Plane:
        """What it serves with."""
        assert self._plane is not None
        return self._plane

    def call(self, function: Callable[[], object]) -> None:
        """Call on its loop."""
        self._loop.call_soon_threadsafe(function)

    def await_true(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds."""
        asyncio.run_coroutine_threadsafe(until(condition), self._loop).result()

    def end(self) -> None:
        """Stop serving."""
        self.call(self._stop.set)
        self._thread.join()
        self._loop.close()


@contextmanager
def agent(listen: str = "127.0.0.1:0") -> Iterator[Agent]:
    serving = Agent(listen)
    try:
        yield serving
    finally:
        serving.end()


def test_a_client_that_one_thread_uses_needs_no_other() -> None:
    with agent() as serving, edgesplit.connect(serving.plane.address) as node:
        before = threading.active_count()
        node.infer("double", {"x": IMAGE})
        assert threading.active_count() == before


def test_an_agent_that_came_back_between_two_calls_is_asked_again() -> None:
    with agent() as first:
        address = first.plane.address
        node = edgesplit.connect(address)
        node.infer("double", {"x": IMAGE})
    with pytest.raises(NodeUnreachable, match="no agent accepts"):
        node.infer("double", {"x": IMAGE})
    with agent(address):
        np.testing.assert_array_equal(node.infer("double", {"x": IMAGE})["x"], 2 * IMAGE)
        node.close()


def test_a_call_that_waits_does_not_hold_up_another_threads() -> None:
    with agent() as serving, edgesplit.connect(serving.plane.address) as node:
        gate = serving.plane.handler.open
        serving.call(gate.clear)
        results: list[dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]] = []
        waiting = threading.Thread(target=lambda: results.append(node.infer("double", {"x": IMAGE})))
        waiting.start()
        serving.await_true(lambda: serving.plane.handler.inferring == 1)
        second = node.submit("double", {"x": 2 * IMAGE})
        serving.await_true(lambda: serving.plane.handler.inferring == 2)
        serving.call(gate.set)
        np.testing.assert_array_equal(second.result(10)["x"], 4 * IMAGE)
        waiting.join(10)
        np.testing.assert_array_equal(results[0]["x"], 2 * IMAGE)
        np.testing.assert_array_equal(node.infer("double", {"x": IMAGE})["x"], 2 * IMAGE)


def test_an_interrupt_ends_the_request_at_the_agent_and_the_client_lives_on() -> None:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with agent() as serving, edgesplit.connect(serving.plane.address) as node:
        gate = serving.plane.handler.open
        serving.call(gate.clear)
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(KeyboardInterrupt):
                node.infer("double", {"x": IMAGE})
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        serving.await_true(lambda: serving.plane.handler.cancelled == 1)
        serving.call(gate.set)
        node.infer("double", {"x": IMAGE})


async def test_a_client_can_be_used_where_another_loop_runs() -> None:
    with agent() as serving, edgesplit.connect(serving.plane.address) as node:
        np.testing.assert_array_equal(node.infer("double", {"x": IMAGE})["x"], 2 * IMAGE)


def test_what_is_left_to_do_goes_on_between_calls() -> None:
    driver, done = LoopDriver("test"), threading.Event()

    async def leave_something() -> None:
        asyncio.get_running_loop().call_later(0.02, done.set)

    driver.run(leave_something())
    driver.go_on()
    assert done.wait(10)
    driver.close()
