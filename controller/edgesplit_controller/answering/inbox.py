"""Request-reply server for splitctl over the broker.

Owns: which requests are taken up, and who is told that one is not. Its rule: a request is answered once, however often it is delivered;
nothing a client sends stops the controller. Not here: the replies to one (`answering/replies.py`), what the operations do
(`answering/dispatch.py`), who may ask (`edgesplit.mqtt.signed`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable

import msgspec

from edgesplit.errors import NotTrusted, Overloaded, ProtocolMismatch
from edgesplit.mqtt.topic_filters import matches
from edgesplit.operations.operation import OPERATION_REQUEST, Operation, OperationRequest, Reply
from edgesplit.release import PROTOCOL
from edgesplit.trust.signing import in_envelope
from edgesplit.trust.subjects import PeerCertificate, Subject
from edgesplit_controller.answering.replies import Perform, Progress, decoded_operation, failure, last_reply

__all__ = ["Inbox", "Send"]

REMEMBERED_REQUESTS = 512
REFUSALS_A_MINUTE = 30
"""Requests that are refused unheard are answered so often; whoever floods them need not be told each time."""
MOST_REQUESTS = 256
"""Under way at a time."""

Send = Callable[[str, Reply], bool]
"""Publishes a reply to a client; whether it is under way."""


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
            self._send(client, failure(envelope.id, Overloaded.code, text, 1))
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
                self._send(client, failure(request.id, NotTrusted.code, text, 1))

    async def close(self) -> None:
        """Give up what is being done."""
        running = tuple(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _answer(self, client: str, envelope: OperationRequest, asker: Subject | None) -> None:
        async def work(progress: Progress) -> object:
            return await self._perform(self._operation(envelope), progress, asker)

        try:
            reply = await last_reply(envelope.id, work, lambda reply: self._send(client, reply), client)
        except asyncio.CancelledError:
            text = "the controller is stopping: run the command again once it is back"
            self._send(client, failure(envelope.id, "controller-stopping", text, 4))
            raise
        if not self._send(client, reply):
            # Held back by the bus; while the broker is away this one is lost as well, and the client is told otherwise.
            size = f"{len(reply.value):,} B"
            text = f"the answer of {size} is more than the broker takes: raise its limit (Mosquitto: max_packet_size)"
            self._send(client, failure(envelope.id, "answer-too-large", text, 1))

    def _operation(self, envelope: OperationRequest) -> Operation:
        if envelope.protocol != PROTOCOL:
            raise ProtocolMismatch(
                f"this splitctl speaks protocol {envelope.protocol} and the controller (edgesplit {self._version}) "
                f"speaks {PROTOCOL}: install the same release on both"
            )
        return decoded_operation(envelope.operation)
