"""Event loop driver for blocking callers: in the caller's own thread, or one in the background.

Owns: that choice. Its rule: a call that has the loop to itself runs it in its own thread, which saves two hand-overs
between threads; as soon as calls overlap, or something is to go on between calls, a thread of its own takes the loop
over for good. Not here: what runs on the loop (`client/asynchronous.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["LoopDriver"]

T = TypeVar("T")


class LoopDriver:
    """An event loop for threads; safe to use from several.

    Args:
        name: Of the background thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.new_event_loop()
        self._changed = threading.Condition()
        self._borrowed = False
        self._wanted = False
        self._thread: threading.Thread | None = None

    @contextmanager
    def standing_still(self) -> Generator[bool]:
        """Keep the loop from running as long as the block lasts; False where somebody runs it."""
        if not self._borrow():
            yield False
            return
        try:
            yield True
        finally:
            self._give_back()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to its end and return its result; an interrupt of the caller cancels it."""
        if not self._borrow():
            future = self.start(work)
            try:
                return future.result()
            except KeyboardInterrupt:
                future.cancel()
                raise
        try:
            return self._run_here(work)
        finally:
            self._give_back()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Have it run in the background; cancelling the future cancels it."""
        self.go_on()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def go_on(self) -> None:
        """Have the loop run from now on, whether anybody calls or not."""
        with self._changed:
            self._wanted = True
            self._start_if_wanted()

    def close(self) -> None:
        """End the loop; whatever still runs on it stops where it is."""
        with self._changed:
            self._changed.wait_for(lambda: not self._borrowed)
            thread = self._thread
        if thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
        self._loop.close()

    def _borrow(self) -> bool:
        """Take the loop for this thread; False where somebody runs it, or another loop runs here already."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            with self._changed:
                if self._borrowed or self._wanted:
                    return False
                self._borrowed = True
                return True
        return False

    def _give_back(self) -> None:
        with self._changed:
            self._borrowed = False
            self._start_if_wanted()
            self._changed.notify_all()

    def _start_if_wanted(self) -> None:
        if self._wanted and not self._borrowed and self._thread is None:
            self._thread = threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True)
            self._thread.start()

    def _run_here(self, work: Coroutine[Any, Any, T]) -> T:
        task = self._loop.create_task(work)
        try:
            return self._loop.run_until_complete(task)
        except KeyboardInterrupt:
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    self._loop.run_until_complete(task)
            raise
