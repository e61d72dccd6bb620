"""Blocking calls that nobody may have to wait for, such as a name server's answer.

Owns: one call in a thread of its own, awaited. Its rule: whoever stops waiting leaves it behind, and so does a program that ends;
asyncio's own threads are waited for by both. Not here: what is called.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["in_daemon_thread"]

T = TypeVar("T")


async def in_daemon_thread(function: Callable[[], T], name: str) -> T:
    """Call a function that blocks, and await what it returns or raises; a cancelled wait leaves it running.

    Args:
        function: It.
        name: Of its thread.
    """
    ended: Future[T] = Future()
    ended.set_running_or_notify_cancel()  # who cancels the wait cancels no more than that

    def call() -> None:
        try:
            ended.set_result(function())
        except Exception as error:
            ended.set_exception(error)

    threading.Thread(target=call, name=name, daemon=True).start()
    return await asyncio.wrap_future(ended)
