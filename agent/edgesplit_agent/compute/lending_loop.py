"""An asyncio event loop that another thread may act for while it sleeps.

Owns: the loop's turn, a lock that it holds whenever it does anything. Its rule: whoever has the turn acts as if on the loop,
one at a time, so that what belongs to the loop needs no other lock. Not here: who takes the turn (`compute/worker.py`).

A thread that has just computed is awake, and its processor too. To have the loop send what it computed costs a hand-over
between threads, and where the loop's processor slept meanwhile, it copies to sockets at little more than half its rate at
first (measured around 12 ms of computing: 2.4 instead of 1.4 ms for 4.7 MB).

Private to asyncio: `_set_running_loop`, which its documentation offers to makers of event loops alone, and that
`run_forever` does everything but waiting outside of the selector. Tried with the versions of `TRIED`; with any other
Python the turn is never lent, and what was computed is handed over to the loop's thread.
"""

from __future__ import annotations

import asyncio
import platform
import selectors
import threading
from collections.abc import Callable

from edgesplit.private_parts import TriedWith

__all__ = ["TRIED", "LendingLoop"]

TRIED = TriedWith("Python", "3.11", "3.14")


class LendingLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, with `act`.

    Args:
        python: The interpreter's version.
    """

    def __init__(self, python: str = platform.python_version()) -> None:
        self.lends = TRIED.covers(python) and hasattr(asyncio, "_set_running_loop")
        self._turn = threading.Lock()
        super().__init__(_LendingSelector(self._turn))

    def run_forever(self) -> None:
        """See asyncio; holds the turn but for the waiting."""
        with self._turn:
            super().run_forever()

    def act(self, callback: Callable[[], object]) -> None:
        """Call back in this thread as if on the loop if that waits for something, else have the loop call back.

        Args:
            callback: Must not block; what it raises is reported as from any callback of the loop.

        Raises:
            RuntimeError: The loop is closed.
        """
        # Not to be waited for: a busy loop gives its turn away for moments only, and the caller has other things to do.
        here = self.lends and self._turn.acquire(blocking=False)
        if here:
            try:
                here = self.is_running() and not self.get_debug()  # debugging, asyncio checks threads
                if here:
                    self._call_here(callback)
            finally:
                self._turn.release()
        # What was scheduled here is not known to a loop that waits already.
        self.call_soon_threadsafe(_nothing if here else callback)

    def _call_here(self, callback: Callable[[], object]) -> None:
        # What asyncio exports to those who write event loops, in every release from 3.7 on; of one thread each.
        asyncio._set_running_loop(self)
        try:
            callback()
        except Exception as error:
            self.call_exception_handler({"message": f"Exception in {callback!r}", "exception": error})
        finally:
            asyncio._set_running_loop(None)


class _LendingSelector(selectors.DefaultSelector):
    """Gives the turn away while it waits.

    Args:
        turn: Held by the loop's thread whenever it calls.
    """

    def __init__(self, turn: threading.Lock) -> None:
        super().__init__()
        self._turn = turn

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `selectors`."""
        self._turn.release()
        try:
            return super().select(timeout)
        finally:
            self._turn.acquire()


def _nothing() -> None:
    """Wakes the loop."""
