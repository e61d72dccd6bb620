"""What runs in the compute thread, and what does not need to."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from edgesplit_agent.compute.worker import PROFILING_PRIORITY, Ahead, Job, Worker
from tests.waiting import until


class Results:
    """What became of jobs, and the thread that each ran in."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.done: list[Any] = []
        self.arrived = asyncio.Event()

    def note(self, result: Any, error: BaseException | None) -> None:
        """A job ended."""
        self.done.append(error or result)
        self.arrived.set()

    def where(self) -> int:
        """Remember the thread."""
        self.threads.append(threading.get_ident())
        return len(self.threads)


async def test_a_brief_job_runs_at_once_where_nothing_else_is_computed() -> None:
    worker, results = Worker(), Results()
    worker.submit(Job(results.where, results.note, 1, brief=True), share="m")
    assert results.done == [1]
    assert results.threads == [threading.get_ident()]
    worker.submit(Job(results.where, results.note, 2), share="m")
    await results.arrived.wait()
    await until(lambda: len(results.done) == 2)
    assert results.threads[1] != threading.get_ident()
    await worker.close()


async def test_a_brief_job_waits_for_what_runs_and_for_what_came_before() -> None:
    worker, results, go_on = Worker(), Results(), threading.Event()
    worker.submit(Job(lambda: go_on.wait(10), results.note, 1), share="m")
    worker.submit(Job(lambda: "second", results.note, 2), share="m")
    worker.submit(Job(lambda: "brief", results.note, 3, brief=True), share="m")
    assert results.done == []
    go_on.set()
    await until(lambda: len(results.done) == 3)
    assert results.done == [True, "second", "brief"]
    await worker.close()


async def test_a_brief_job_that_raises_is_told_as_any_other() -> None:
    worker, results = Worker(), Results()
    worker.submit(Job(lambda: 1 / 0, results.note, 1, brief=True), share="m")
    assert [type(error) for error in results.done] == [ZeroDivisionError]
    worker.submit(Job(lambda: 5, results.note, 2, brief=True), share="m")
    assert results.done[1] == 5
    await worker.close()


async def test_what_is_ahead_of_a_job_is_older_work_of_others_or_its_own() -> None:
    worker, results, go_on = Worker(), Results(), threading.Event()
    assert worker.ahead_of(2) is Ahead.NOTHING
    worker.submit(Job(lambda: go_on.wait(10), results.note, 2), share="m")
    worker.submit(Job(lambda: "later", results.note, 3), share="m")
    await until(lambda: worker.ahead_of(1) is Ahead.OTHERS)  # it runs then
    assert worker.ahead_of(2) is Ahead.OWN
    worker.submit(Job(lambda: "earlier", results.note, 1), share="n")
    assert worker.ahead_of(2) is Ahead.OTHERS
    go_on.set()
    await until(lambda: len(results.done) == 3 and worker.ahead_of(2) is Ahead.NOTHING)
    gate = threading.Event()
    timing = asyncio.ensure_future(worker.run(gate.wait, priority=PROFILING_PRIORITY))
    await until(lambda: worker.ahead_of(4) is Ahead.OTHERS)
    gate.set()
    await timing
    await worker.close()
