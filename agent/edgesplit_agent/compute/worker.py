"""The compute thread: one job at a time, components of requests before slices of profiling.

Owns: the thread and its way from one job to the next. Its rule: one job at a time; the thread takes the next one without
asking the event loop, which only hears of results; what offers to make way is asked to when something more urgent comes.
With nothing else to compute, the thread tells of a result in the loop's place, where the loop lends that. A brief job that
finds nothing else to compute runs on the event loop itself, which waits for it.
Not here: what is computed, and in which order (`compute/fair_queue.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from edgesplit.names import base_name
from edgesplit_agent.compute.fair_queue import BACKGROUND, FairQueue
from edgesplit_agent.compute.lending_loop import LendingLoop

__all__ = ["PROFILING_PRIORITY", "Ahead", "Job", "Worker"]

T = TypeVar("T")
PROFILING_PRIORITY = 1 << 62
"""Of what waits for every request; larger values wait for smaller ones."""


class Ahead(Enum):
    """What a job finds before it."""

    NOTHING = auto()
    OWN = auto()
    """Work of its own request: a plan knows that it waits for that."""
    OTHERS = auto()


@dataclass(slots=True, eq=False)
class Job:
    """Something to compute.

    Attributes:
        function: Blocking.
        done: Told result or exception, on the event loop; not called for a job that was left out.
        priority: Lower goes first within its share.
        make_way: Called on the loop when something of a lower value comes while the function runs, which should then
            end soon.
        unwanted: Asked in the thread before it begins; a job that nobody wants any more is left out.
        brief: It is known to take less than two hand-overs between threads would add to it.
    """

    function: Callable[[], Any]
    done: Callable[[Any, BaseException | None], None]
    priority: int
    make_way: Callable[[], None] | None = None
    unwanted: Callable[[], bool] | None = None
    brief: bool = False


class Worker:
    """Runs jobs one after another in a thread; used on one event loop.

    Args:
        perform: Calls a job's function, in the thread; whoever counts computing does it there.
    """

    def __init__(self, perform: Callable[[Callable[[], Any]], Any] = lambda function: function()) -> None:
        self._perform = perform
        self._queue: FairQueue[Job] = FairQueue()
        self._lock = threading.Lock()
        self._tokens: SimpleQueue[bool] = SimpleQueue()
        self._yielding: Job | None = None
        self._untold: deque[None] = deque()
        """One for each result that the loop has yet to tell; no lock, for whoever holds one may have to wait for a core."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """How many jobs wait for the thread."""
        with self._lock:
            return len(self._queue)

    def ahead_of(self, priority: int) -> Ahead:
        """What a job of this priority would wait for if it came now; one priority is one request's."""
        if self._yielding is None and not self._queue:  # only who asks adds to them
            return Ahead.NOTHING
        with self._lock:
            running = self._yielding
            if (running is not None and running.priority != priority) or self._queue.holds_before(priority):
                return Ahead.OTHERS
            return Ahead.NOTHING if running is None and not self._queue else Ahead.OWN

    def submit(self, job: Job, share: str | None = BACKGROUND) -> None:
        """Have a job run; one that is brief may be done when this returns.

        Args:
            job: What.
            share: The model it belongs to, whose planning shapes share its time; `BACKGROUND` for what is no request.
        """
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._work, name="compute", daemon=True)
            self._thread.start()
        share = share and base_name(share)
        with self._lock:
            yielding = self._yielding
            here = job.brief and yielding is None and not self._queue
            if here:
                self._yielding = job
            else:
                self._queue.put(job, share, job.priority)
        if here:
            job.done(*self._finish(job, share))
            return
        self._tokens.put(True)
        if yielding is not None and yielding.make_way is not None and job.priority < yielding.priority:
            yielding.make_way()

    async def run(
        self,
        function: Callable[[], T],
        *,
        priority: int,
        make_way: Callable[[], None] | None = None,
        share: str = "",
    ) -> T:
        """Run a function in the thread; a caller cancelled before its turn takes it out of the queue.

        Args:
            function: Blocking.
            priority: Lower goes first; from `PROFILING_PRIORITY` on after every request.
            make_way: As `Job.make_way`.
            share: The model it belongs to, where it is for a request.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def done(result: T, error: BaseException | None) -> None:
            if future.done():
                return
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            elif error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        job = Job(function, done, priority, make_way, unwanted=future.cancelled)
        self.submit(job, BACKGROUND if priority >= PROFILING_PRIORITY else share)
        return await future

    async def close(self) -> None:
        """Drop what waits, let what runs end."""
        with self._lock:
            dropped = self._queue.clear()
        for job in dropped:
            job.done(None, asyncio.CancelledError())
        if self._thread is not None:
            self._tokens.put(False)
            await asyncio.to_thread(self._thread.join)
            # Results that the thread handed over last are still on their way.
            await asyncio.sleep(0)

    def _work(self) -> None:
        while self._tokens.get():
            self._do_next()

    def _do_next(self) -> None:
        """In a function of its own: what it holds must not be held while the thread waits."""
        with self._lock:
            taken = self._queue.take()
            if taken is None:
                return
            job, share = taken
            if job.unwanted is not None and job.unwanted():
                return
            self._yielding = job
        result, error = self._finish(job, share)
        assert self._loop is not None  # noqa: S101 - set before the thread starts
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            self._tell(self._loop, partial(job.done, result, error))

    def _tell(self, loop: asyncio.AbstractEventLoop, done: Callable[[], None]) -> None:
        """Have a result told in the loop's turn, after those before it."""
        if isinstance(loop, LendingLoop) and not self._queue and not self._untold:
            loop.act(done)
        else:
            self._untold.append(None)
            loop.call_soon_threadsafe(self._told, done)

    def _told(self, done: Callable[[], None]) -> None:
        self._untold.pop()
        done()

    def _finish(self, job: Job, share: str | None) -> tuple[Any, BaseException | None]:
        """Do what is to be done; its result or its exception, and the share charged with the time."""
        result, error, started_s = None, None, time.perf_counter()
        try:
            result = self._perform(job.function)
        except BaseException as raised:  # handed to the caller, whatever it is
            error = raised
        with self._lock:
            self._yielding = None
            self._queue.spent(share, time.perf_counter() - started_s)
        return result, error
