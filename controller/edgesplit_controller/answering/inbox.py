"""Request-reply server for splitctl: a sign of life, progress, one result or failure.

Owns: the request-reply exchange: a sign of life at once and while work goes on, exactly one result or failure. Its
rule: whatever a handler raises becomes one sentence for the client; nothing a client sends stops the controller. Not
here: what the operations do (`answering/dispatch.py`), who may ask (`edgesplit.mqtt.signed`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from edgesplit.errors import EdgesplitError, InvalidInput, NotTrusted, Overloaded, ProtocolMismatch
from edgesplit.mqtt.topic_filters import matches
from edgesplit.operations.operation import OPERATION_REQUEST, Operation, OperationRequest, Reply
from edgesplit.release import PROTOCOL
from edgesplit.trust.signing import in_envelope
from edgesplit.trust.subjects import PeerCertificate, Subject

__all__ = ["Inbox", "Perform", "Progress", "Send"]

SIGN_OF_LIFE_S = 2.0
PROGRESS_EVERY_S = 0.1
REMEMBERED_REQUESTS = 512
REFUSALS_A_MINUTE = 30
"""Requests that are refused unheard are answered so often; whoever floods them need not be told each time."""
MOST_REQUESTS = 256
"""Under way at a time."""

Progress = Callable[[str, float | None], None]
"""Told, on the loop, what is being done and how much of that step is done."""
Send = Callable[[str, Reply], bool]
"""Publishes a reply to a client; whether it is under way."""
Perform = Callable[[Operation, Progress, Subject | None], Awaitable[Any]]
"""Carries out an operation that somebody asks for, where that is known, and returns its document."""


class Inbox:
    """Answers requests, each in a task of its own.

    Args:
        perform: Carries out an operation.
        send: Publishes a reply.
        version: This release, for sentences about mismatches.
    """

    def __init__(self, perform: Perform, send: Send, version: str) -> None:
        self._perform = perform
        self._send = send
        self._version = version
        self._log = structlog.get_logger(part="requests")
        self._seen: deque[str] = deque(maxlen=REMEMBERED_REQUESTS)
        self._refused_s: deque[float] = deque(maxlen=REFUSALS_A_MINUTE)
        self._tasks: set[asyncio.Task[None]] = set()

    def receive(self, topic: str, envelope: OperationRequest | None, signer: PeerCertificate | None = None) -> None:
        """Take in a request; one that the broker delivers twice is answered once.

        Args:
            topic: Where it came.
            envelope: The request.
            signer: Whose it is; None in a fleet without an authority.
        """
        if envelope is None or envelope.id in self._seen:
            return
        self._seen.append(envelope.id)
        (client,) = OPERATION_REQUEST.names(topic)
        if len(self._tasks) >= MOST_REQUESTS:
            text = f"the controller is answering {MOST_REQUESTS} requests: ask again later"
            self._send(client, _failure(envelope.id, Overloaded.code, text, 1))
            return
        asker = signer.subject if signer is not None else None
        task = asyncio.create_task(self._answer(client, envelope, asker), name=f"request-{envelope.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def refuse(self, topic: str, payload: bytes, reason: str) -> None:
        """Tell whoever asked, as far as it can be read, why a message is not believed; nothing else becomes of it."""
        if not matches(OPERATION_REQUEST.filter(), topic) or len(payload) > OPERATION_REQUEST.limit_bytes:
            return
        now_s = time.monotonic()
        if len(self._refused_s) == REFUSALS_A_MINUTE and now_s - self._refused_s[0] < 60.0:
            return
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            request = msgspec.json.decode(in_envelope(payload) or payload, type=OperationRequest)
            if request.id not in self._seen:  # whoever sends another's request again must not seem to end it
                self._refused_s.append(now_s)
                (client,) = OPERATION_REQUEST.names(topic)
                text = f"the controller refuses the request: {reason}"
                self._send(client, _failure(request.id, NotTrusted.code, text, 1))

    async def close(self) -> None:
        """Give up what is being done."""
        running = tuple(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _answer(self, client: str, envelope: OperationRequest, asker: Subject | None) -> None:
        progress = _ProgressReplies(envelope.id, lambda reply: self._send(client, reply))
        progress.say("accepted", None)
        alive = asyncio.create_task(progress.keep_alive())
        try:
            operation = self._operation(envelope)
            document = await self._perform(operation, progress.say, asker)
            reply = Reply(id=envelope.id, kind="result", value=msgspec.Raw(msgspec.json.encode(document)))
        except EdgesplitError as error:
            reply = _failure(envelope.id, error.code, str(error), error.exit_code)
        except asyncio.CancelledError:
            text = "the controller is stopping: run the command again once it is back"
            self._send(client, _failure(envelope.id, "controller-stopping", text, 4))
            raise
        except Exception as error:
            # A defect here must not leave the client waiting, nor end the controller.
            self._log.exception("request-failed", client=client)
            text = f"the controller failed unexpectedly ({type(error).__name__}: {error}): see its log"
            reply = _failure(envelope.id, "internal", " ".join(text.split()), 1)
        finally:
            alive.cancel()
        if not self._send(client, reply):
            # Held back by the bus; while the broker is away this one is lost as well, and the client is told otherwise.
            size = f"{len(reply.value):,} B"
            text = f"the answer of {size} is more than the broker takes: raise its limit (Mosquitto: max_packet_size)"
            self._send(client, _failure(envelope.id, "answer-too-large", text, 1))

    def _operation(self, envelope: OperationRequest) -> Operation:
        if envelope.protocol != PROTOCOL:
            raise ProtocolMismatch(
                f"this splitctl speaks protocol {envelope.protocol} and the controller (edgesplit {self._version}) "
                f"speaks {PROTOCOL}: install the same release on both"
            )
        try:
            operation: Operation = msgspec.json.decode(envelope.operation, type=Operation)
            return operation
        except msgspec.DecodeError as error:
            raise InvalidInput(f"the controller does not understand the request: {error}") from error


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


def _failure(request: str, code: str, text: str, exit_code: int) -> Reply:
    return Reply(id=request, kind="failure", text=text, code=code, exit_code=exit_code)
