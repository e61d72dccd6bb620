"""A deterministic event loop in virtual time, on which the programs of a whole fleet run as if each had a machine of its own.

Owns: the order in which things happen. Its rule: nothing here waits or reads a clock or a source of chance but the one it is given; the
same seed gives the same order. Within one program callbacks keep asyncio's order, between programs of one moment chance decides; a
program that crashed never runs again, whatever it had scheduled. Not here: networks, disks, faults.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar, cast

from edgesplit.errors import EdgesplitError

__all__ = ["SimulatedProgram", "VirtualLoop", "running_program"]

T = TypeVar("T")
THREAD_S = (0.0005, 0.03)
"""What work in another thread takes, least and most. [s]"""
CALLBACK_S = 1e-6
"""What each callback takes: a clock that stood still while something runs would be none. [s]"""
LAST_ROUNDS = 100
"""Turns that tasks of a crashed program get to end in; they can reach nothing any more."""

_program: contextvars.ContextVar[SimulatedProgram] = contextvars.ContextVar("program")


def running_program() -> SimulatedProgram | None:
    """The program as which something is done now."""
    return _program.get(None)


class SimulatedProgram:
    """One run of a program on a machine.

    Args:
        loop: All programs'.
        name: For people.
        wall_offset_s: How far its machine's wall clock is ahead of the simulation's time. [s]

    Attributes:
        alive: It runs; once False, nothing that it still does reaches anybody.
        booted_s: When it began: its monotonic clock starts there. [s]
    """

    def __init__(self, loop: VirtualLoop, name: str, wall_offset_s: Callable[[], float] = lambda: 0.0) -> None:
        self.name = name
        self.alive = True
        self.booted_s = loop.time()
        loop.programs.append(self)
        self.ready: deque[asyncio.Handle] = deque()
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.ending = self.queued = False
        self._loop = loop
        self._wall_offset_s = wall_offset_s
        self._context = contextvars.Context()
        self._context.run(_program.set, self)

    @property
    def context(self) -> contextvars.Context:
        """A new context of this program, for what happens to it from outside."""
        return self._context.copy()

    def monotonic(self) -> float:
        """Its monotonic clock, which begins anew with each run. [s]"""
        return self._loop.time() - self.booted_s

    def wall(self) -> float:
        """Its machine's wall clock. [s since the epoch]"""
        return 1_700_000_000.0 + self._loop.time() + self._wall_offset_s()

    def run(self, function: Callable[[], T]) -> T:
        """Do something as this program, now."""
        return self.context.run(function)

    def later(self, delay_s: float, function: Callable[..., object], *arguments: object) -> asyncio.TimerHandle:
        """Something happens to this program after a while, if it still runs then."""
        return self._loop.call_later(delay_s, function, *arguments, context=self.context)


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs callbacks, and skips the time in between.

    Args:
        chance: The history's.

    Attributes:
        defects: What programs that were alive raised where nobody expects it.
    """

    def __init__(self, chance: Random) -> None:
        self.defects: list[str] = []
        self.steps = 0
        self._chance = chance
        self._now_s = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = 0
        self._ready: list[SimulatedProgram] = []
        self.programs: list[SimulatedProgram] = []
        self.world = SimulatedProgram(self, "world")

    # --- driving it ------------------------------------------------------------------------------------------------

    def run_until(self, until_s: float) -> None:
        """Let everything happen that happens until then. [s]"""
        asyncio._set_running_loop(self)
        try:
            while True:
                self._run_ready()
                if not self._timers or self._timers[0][0] > until_s:
                    break
                self._now_s = max(self._now_s, self._timers[0][0])
                while self._timers and self._timers[0][0] <= self._now_s:
                    handle = heapq.heappop(self._timers)[2]
                    if not handle.cancelled():
                        self._enqueue(handle)
            self._now_s = max(self._now_s, until_s)
        finally:
            asyncio._set_running_loop(None)

    def crash(self, program: SimulatedProgram) -> None:
        """End a program at once: nothing that it does from here on reaches anybody."""
        if program.alive:
            program.alive, program.ending = False, True
            self.call_soon(self._bury, program, context=self.world.context)

    def _bury(self, program: SimulatedProgram) -> None:
        """End its tasks now, in an order of their own, not whenever memory happens to be collected."""
        for _ in range(LAST_ROUNDS):
            # Again, for what ends may begin something else.
            for task in tuple(program.tasks):
                task.cancel()
            if not program.ready:
                break
            # Tasks are stepped outside of any other: this runs as a plain callback.
            for _ in range(len(program.ready)):
                handle = program.ready.popleft()
                if not handle.cancelled():
                    handle._run()
        program.ending = False
        program.ready.clear()
        program.tasks.clear()

    def _run_ready(self) -> None:
        while self._ready:
            place = int(self._chance.random() * len(self._ready))
            program = self._ready[place]
            self._ready[place] = self._ready[-1]
            self._ready.pop()
            for _ in range(len(program.ready)):
                if not program.alive:
                    break
                handle = program.ready.popleft()
                if not handle.cancelled():
                    self.steps += 1
                    self._now_s += CALLBACK_S
                    handle._run()
            program.queued = bool(program.ready) and program.alive
            if program.queued:
                self._ready.append(program)

    def _enqueue(self, handle: asyncio.Handle) -> None:
        program = handle._context.get(_program, self.world)  # type: ignore[attr-defined]
        if not (program.alive or program.ending):
            return
        program.ready.append(handle)
        if program.alive and not program.queued:
            program.queued = True
            self._ready.append(program)

    # --- what asyncio asks of a loop -------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now_s

    def call_soon(  # type: ignore[override]  # as all of asyncio's own loops
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._enqueue(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now_s + max(delay, 0.0), callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._numbers += 1
        heapq.heappush(self._timers, (when, self._numbers, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is left where it is, and left out when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
        **_more: object,
    ) -> asyncio.Task[T]:
        program = (contextvars.copy_context() if context is None else context).get(_program, self.world)
        if not (program.alive or program.ending):
            coro.close()  # what is left of a program that is gone begins nothing
            return cast(asyncio.Task[T], self.create_future())
        task = asyncio.Task(coro, loop=self, name=str(name or "task"), context=context)
        program.tasks[task] = None

        def ended(done: asyncio.Task[T]) -> None:
            program.tasks.pop(done, None)
            if not done.cancelled() and program.alive:
                self._note(program, done.exception(), done.get_name())

        task.add_done_callback(ended)
        return task

    def run_in_executor(self, executor: object, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Another thread is one that needs a while; what it does happens at once at its end."""
        future: asyncio.Future[T] = self.create_future()

        def work() -> None:
            if future.done():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:
                future.set_exception(error)

        self.call_later(self._chance.uniform(*THREAD_S), work)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        program = contextvars.copy_context().get(_program, self.world)
        if program.alive:
            self._note(program, context.get("exception"), str(context.get("message")))

    def _note(self, program: SimulatedProgram, error: BaseException | None, what: str) -> None:
        if error is not None and not isinstance(error, EdgesplitError | asyncio.CancelledError):
            self.defects.append(f"{self._now_s:.3f} {program.name}: {what}: {type(error).__name__}: {error}")

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False
