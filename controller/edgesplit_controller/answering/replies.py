"""Replies to one operation: a sign of life, progress bounded in number, then exactly one result or failure.

Owns: what whoever asked is told, and in which order. Its rule: whatever carrying it out raises becomes one sentence, and nothing that is
asked stops the controller. Not here: what carries replies (`inbox.py` over MQTT, the dashboard over HTTP), what operations do
(`dispatch.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from edgesplit.errors import EdgesplitError, InvalidInput
from edgesplit.operations.operation import Operation, Reply
from edgesplit.trust.subjects import Subject

__all__ = ["Perform", "Progress", "decoded_operation", "failure", "last_reply"]

SIGN_OF_LIFE_S = 2.0
PROGRESS_EVERY_S = 0.1

Progress = Callable[[str, float | None], None]
"""Told, on the loop, what is being done and how much of that step is done."""
Perform = Callable[[Operation, Progress, Subject | None], Awaitable[Any]]
"""Carries out an operation that somebody asks for, where that is known, and returns its document."""


async def last_reply(
    request: str, work: Callable[[Progress], Awaitable[Any]], send: Callable[[Reply], object], who: str
) -> Reply:
    """Carry something out, tell how far it is, and return the reply that ends it.

    Args:
        request: Its identifier, for all replies.
        work: Told how to tell progress; returns the document.
        send: Sends replies of progress.
        who: Asks, for the log.
    """
    progress = _ProgressReplies(request, send)
    progress.say("accepted", None)
    alive = asyncio.create_task(progress.keep_alive())
    try:
        document = await work(progress.say)
        return Reply(id=request, kind="result", value=msgspec.Raw(msgspec.json.encode(document)))
    except EdgesplitError as error:
        return failure(request, error.code, str(error), error.exit_code)
    except Exception as error:
        # A defect here must not leave the client waiting, nor end the controller.
        structlog.get_logger(part="requests").exception("request-failed", client=who)
        text = f"the controller failed unexpectedly ({type(error).__name__}: {error}): see its log"
        return failure(request, "internal", " ".join(text.split()), 1)
    finally:
        alive.cancel()


def decoded_operation(content: bytes | msgspec.Raw) -> Operation:
    """Read an operation.

    Raises:
        InvalidInput: It is none that this release knows.
    """
    try:
        operation: Operation = msgspec.json.decode(content, type=Operation)
        return operation
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"the controller does not understand the request: {error}") from error


def failure(request: str, code: str, text: str, exit_code: int) -> Reply:
    """The reply that ends a request without a document."""
    return Reply(id=request, kind="failure", text=text, code=code, exit_code=exit_code)


class _ProgressReplies:
    """Progress for one client, bounded in number."""

    def __init__(self, request: str, send: Callable[[Reply], object]) -> None:
        self._request = request
        self._send = send
        self._last: tuple[str, float | None] = ("", None)
        self._sent_s = 0.0

    def say(self, text: str, fraction: float | None) -> None:
        """Tell the client, unless nothing new was to tell within a moment."""
        now_s = time.monotonic()
        is_new_step = text != self._last[0]
        self._last = (text, fraction)
        if is_new_step or fraction == 1.0 or now_s - self._sent_s >= PROGRESS_EVERY_S:
            self._sent_s = now_s
            self._send(Reply(id=self._request, kind="progress", text=text, fraction=fraction))

    async def keep_alive(self) -> None:
        """Repeat the last word while nothing else is said."""
        while True:
            await asyncio.sleep(SIGN_OF_LIFE_S)
            if time.monotonic() - self._sent_s >= SIGN_OF_LIFE_S:
                self._sent_s = 0.0
                self.say(*self._last)
