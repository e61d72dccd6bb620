"""Threads that act in an event loop's place."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from edgesplit_agent.compute.lending_loop import LendingLoop
from edgesplit_agent.compute.worker import Job, Worker
from tests.waiting import until


def run(main: Callable[[LendingLoop], Any]) -> Any:
    """Run a coroutine function on a loop that lends itself."""
    with asyncio.Runner(loop_factory=LendingLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, LendingLoop)
        return runner.run(main(loop))


def in_thread(work: Callable[[], object]) -> threading.Thread:
    """A thread that was started."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def act_in_place(loop: LendingLoop, callback: Callable[[], object]) -> None:
    """Act from a thread until the loop was found waiting, once."""
    acted = threading.Event()

    def act() -> None:
        if threading.current_thread() is not threading.main_thread():
            callback()
            acted.set()

    def keep_trying() -> None:
        while not acted.wait(0.002):
            loop.act(act)

    in_thread(keep_trying)


def test_a_thread_acts_while_the_loop_waits_and_what_it_schedules_is_done() -> None:
    async def main(loop: LendingLoop) -> bool:
        future: asyncio.Future[bool] = loop.create_future()
        act_in_place(loop, lambda: loop.call_soon(future.set_result, asyncio.get_running_loop() is loop))
        return await asyncio.wait_for(future, 30)

    assert run(main)


def test_a_timer_set_by_another_thread_is_kept_though_the_loop_waits_for_a_later_one() -> None:
    async def main(loop: LendingLoop) -> None:
        rung: asyncio.Future[None] = loop.create_future()
        act_in_place(loop, lambda: loop.call_later(0.01, rung.set_result, None))
        await asyncio.wait_for(rung, 30)

    run(main)


def test_nobody_acts_while_the_loop_does_something() -> None:
    async def main(loop: LendingLoop) -> list[int]:
        acted: list[int] = []
        thread = in_thread(lambda: loop.act(lambda: acted.append(threading.get_ident())))
        thread.join()  # the loop stands in this callback all the time, and is not waited for
        assert not acted
        await until(lambda: acted)
        return acted

    assert run(main) == [threading.get_ident()]


def test_the_loop_does_nothing_while_somebody_acts() -> None:
    async def main(loop: LendingLoop) -> list[str]:
        order: list[str] = []
        both: asyncio.Future[None] = loop.create_future()

        def end() -> None:
            order.append("loop")
            both.set_result(None)

        def act() -> None:
            loop.call_soon_threadsafe(end)
            time.sleep(0.05)  # time enough for a loop that would not wait
            order.append("thread")

        act_in_place(loop, act)
        await asyncio.wait_for(both, 30)
        return order

    assert run(main) == ["thread", "loop"]


def test_what_a_callback_raises_is_reported_as_the_loop_does() -> None:
    async def main(loop: LendingLoop) -> list[str]:
        reported: list[str] = []
        loop.set_exception_handler(lambda _, context: reported.append(repr(context["exception"])))
        thread = in_thread(lambda: loop.act(lambda: 1 / 0))
        await asyncio.to_thread(thread.join)
        return reported

    assert run(main) == ["ZeroDivisionError('division by zero')"]


def test_a_loop_that_debugs_is_only_called_in_its_own_thread() -> None:
    async def main(loop: LendingLoop) -> int:
        loop.set_debug(True)
        future: asyncio.Future[int] = loop.create_future()
        in_thread(lambda: loop.act(lambda: future.set_result(threading.get_ident())))
        return await asyncio.wait_for(future, 10)

    assert run(main) == threading.get_ident()


def test_a_closed_loop_is_said() -> None:
    loop = LendingLoop()
    loop.close()
    with pytest.raises(RuntimeError):
        loop.act(lambda: None)


def test_the_worker_tells_of_a_result_in_its_own_thread_where_nothing_else_waits() -> None:
    async def main(_: LendingLoop) -> tuple[list[int], list[int]]:
        worker, ran, told = Worker(), list[int](), list[int]()
        everything = asyncio.Event()

        def note(result: int, _: BaseException | None) -> None:
            ran.append(result)
            told.append(threading.get_ident())
            if len(told) >= 3:
                everything.set()

        go_on = threading.Event()
        worker.submit(Job(lambda: (go_on.wait(10), threading.get_ident())[1], note, 1), share="m")
        worker.submit(Job(threading.get_ident, note, 2), share="m")
        worker.submit(Job(threading.get_ident, note, 3), share="m")
        go_on.set()
        await asyncio.wait_for(everything.wait(), 10)
        async with asyncio.timeout(30):
            while told[-1] != ran[-1]:  # the loop may not have come to its waiting when a job is done
                everything.clear()
                worker.submit(Job(threading.get_ident, note, 4), share="m")
                await asyncio.wait_for(everything.wait(), 10)
        await worker.close()
        return ran, told

    ran, told = run(main)
    here = threading.get_ident()
    assert here not in ran
    assert told[:2] == [here, here]  # others waited
    assert told[2] in {here, ran[2]}  # those before may still have been on their way
    assert told[-1] == ran[-1]
