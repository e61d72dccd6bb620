"""Stream of the dashboard: what changed, told to every page that is open (server-sent events).

Owns: who listens, and what each was told. Its rule: nothing is done while nobody listens; documents are made once for all; whoever reads
slowly misses documents that newer ones replaced, holds nobody up, and is cut off when it takes nothing at all. Not here: the documents
(`stream_documents.py`), who may listen (`browser_admission.py`).

    serving    {"controller_instance": ...}, first of all
    fleet, activity, status, models    whole documents, when they changed
    event      one event each, with an id from which a page that comes back goes on
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Protocol

import msgspec
import structlog
from aiohttp import web

from edgesplit.control.event_messages import Event
from edgesplit.errors import Overloaded
from edgesplit_controller.dashboard.api_answers import failed
from edgesplit_controller.dashboard.stream_documents import TOLD_AGAIN_S, Made
from edgesplit_controller.event_log import EventLog

__all__ = ["Stream"]

MOST_LISTENERS = 64
MOST_EVENTS = 200
"""That a page is told when it comes, and that wait for one that reads slowly."""
RETRY_MS = 2000
SILENCE_S = 15.0
"""After which a comment is sent, so that proxies and browsers know that somebody is there. [s]"""
STALL_S = 30.0
"""Longest that a listener may take nothing. [s]"""
_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Documents(Protocol):
    """What is told."""

    @property
    def every_s(self) -> float:
        """Between two documents of a kind. [s]"""
        ...

    async def all(self) -> Mapping[str, Made]:
        """One of each kind."""
        ...


class Stream:
    """Of one controller.

    Args:
        documents: Makes documents.
        events: What happened.
        instance: Under which the controller holds its name: another one after each start.
        clock: Monotonic. [s]
    """

    def __init__(self, documents: Documents, events: EventLog, instance: str, clock: Callable[[], float]) -> None:
        self._documents = documents
        self._events = events
        self._instance = instance
        self._clock = clock
        self._listeners: set[_Listener] = set()
        self._latest: dict[str, tuple[Made, float]] = {}
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(part="dashboard")

    def __len__(self) -> int:
        """How many listen."""
        return len(self._listeners)

    async def serve(self, request: web.Request, holds: Callable[[], bool]) -> web.StreamResponse:
        """Tell somebody what changes until they go.

        Args:
            request: Of the listener.
            holds: Whether it may still be told.
        """
        if len(self._listeners) >= MOST_LISTENERS:
            text = f"{MOST_LISTENERS} pages of the dashboard are open: close some"
            return failed(Overloaded(text), HTTPStatus.SERVICE_UNAVAILABLE)
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(request)
        listener = _Listener()
        listener.offer("", f"retry: {RETRY_MS}\n\n".encode())
        listener.offer("serving", _message("serving", msgspec.json.encode({"controller_instance": self._instance})))
        for number, event in self._missed(request.headers.get("Last-Event-ID", "")):
            listener.tell(self._event(number, event))
        for kind, (made, _) in self._latest.items():
            listener.offer(kind, _message(kind, made.content))
        self._listeners.add(listener)
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name="dashboard-stream")
        try:
            await self._send(response.write, listener, holds)
        except (TimeoutError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._listeners.discard(listener)
        return response

    def look_again(self) -> None:
        """Have every listener's right looked at again, now."""
        for listener in self._listeners:
            listener.wake.set()

    async def close(self) -> None:
        """End all; pages come back by themselves."""
        for listener in self._listeners:
            listener.is_over = True
            listener.wake.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _send(
        self, write: Callable[[bytes], Awaitable[None]], listener: _Listener, holds: Callable[[], bool]
    ) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SILENCE_S):
                    await listener.wake.wait()
            listener.wake.clear()
            if listener.is_over or not holds():
                return
            async with asyncio.timeout(STALL_S):
                await write(listener.taken() or b":\n\n")

    async def _keep(self) -> None:
        """Make documents and tell of them for as long as somebody listens."""
        self._events.watchers.append(self._on_event)
        try:
            while self._listeners:
                began_s = self._clock()
                try:
                    made = await self._documents.all()
                except Exception:
                    # A defect here must not end what pages are told from then on.
                    self._log.exception("stream-failed")
                else:
                    self._tell(made, began_s)
                await asyncio.sleep(max(0.0, began_s + self._documents.every_s - self._clock()))
        finally:
            self._events.watchers.remove(self._on_event)
            self._latest.clear()
            self._task = None

    def _tell(self, made: Mapping[str, Made], now_s: float) -> None:
        for kind, document in made.items():
            before = self._latest.get(kind)
            if before is not None and before[0].key == document.key and now_s - before[1] < TOLD_AGAIN_S:
                continue
            self._latest[kind] = document, now_s
            message = _message(kind, document.content)
            for listener in self._listeners:
                listener.offer(kind, message)

    def _on_event(self, number: int, event: Event) -> None:
        message = self._event(number, event)
        for listener in self._listeners:
            listener.tell(message)

    def _event(self, number: int, event: Event) -> bytes:
        return _message("event", msgspec.json.encode(event), f"id: {self._instance}.{number}\n")

    def _missed(self, last: str) -> list[tuple[int, Event]]:
        """Events that a page does not have; `last`: the id of the last that it has, or empty."""
        instance, _, number = last.rpartition(".")
        newest = self._events.last_numbered(MOST_EVENTS)
        if instance != self._instance or not (number.isascii() and number.isdecimal() and len(number) < 20):
            return newest
        return [entry for entry in newest if entry[0] > int(number)]


class _Listener:
    """A page: what it was not told yet.

    Attributes:
        wake: Set while there is something.
        is_over: The controller ends.
    """

    def __init__(self) -> None:
        self._documents: dict[str, bytes] = {}
        self._events: deque[bytes] = deque(maxlen=MOST_EVENTS)
        self.wake = asyncio.Event()
        self.is_over = False

    def offer(self, kind: str, message: bytes) -> None:
        """A document takes the place of an earlier one of its kind."""
        self._documents[kind] = message
        self.wake.set()

    def tell(self, message: bytes) -> None:
        """An event follows others; of too many the oldest go."""
        self._events.append(message)
        self.wake.set()

    def taken(self) -> bytes:
        """All of it, which is told now."""
        content = b"".join((*self._documents.values(), *self._events))
        self._documents.clear()
        self._events.clear()
        return content


def _message(kind: str, content: bytes, head: str = "") -> bytes:
    return b"".join((head.encode(), f"event: {kind}\ndata: ".encode(), content, b"\n\n"))
