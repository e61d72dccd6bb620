"""Blocking calls that nobody may have to wait for, such as a name server's answer.

Owns: one call in a thread of its own, awaited. Its rule: whoever stops waiting leaves it behind, and so does a program that ends;
asyncio's own threads are waited for by both. Not here: what is called.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["in_daemon_thread"]

T = TypeVar("T")


async def in_daemon_thread(function: Callable[[], T], name: str) -> T:
    """Call a function that blocks, and await what it returns or raises; a cancelled wait leaves it running.

    Args:
        function: It.
        name: Of its thread.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if ended.done():
            return
        if error is not None:
            ended.set_exception(error)
        else:
            ended.set_result(result)  # type: ignore[arg-type]

    def call() -> None:
        result, error = None, None
        try:
            result = function()
        except Exception as raised:
            error = raised
        # Nobody is left to be told once the loop is closed.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=call, name=name, daemon=True).start()
    return await ended
