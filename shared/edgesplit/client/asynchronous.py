"""The asyncio client: requests to an agent over one connection.

Owns: `connect` and the two clients. Its rule: every failure is an `edgesplit.errors` class, and a request either
returns its outputs or raises; a lost connection is opened anew by the next request; an agent is told of a request that
nobody waits for any more. Not here: tensors' meaning, and which agent to ask (any agent passes a request on to the
model's source).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from edgesplit.client.call import Call
from edgesplit.client.patience import Patience
from edgesplit.client.proof import ClientProof
from edgesplit.errors import (
    EdgesplitError,
    InvalidInput,
    NodeUnreachable,
    Overloaded,
    RequestTimedOut,
    Unreachable,
    error_from_code,
)
from edgesplit.release import PROTOCOL, installed_version
from edgesplit.trust.subjects import PeerCertificate
from edgesplit.wire.connection import Connection
from edgesplit.wire.endpoints import open_connection
from edgesplit.wire.frames import Frame, FrameLimits, check_hello, pack_tensors, unpack_tensors
from edgesplit.wire.headers import Cancel, Failure, Hello, Infer, Ping, Result
from edgesplit.wire.send_queue import FrameGate
from edgesplit.wire.tensors import Array, given_out

__all__ = ["AsyncClient", "InferResult"]

_QUEUE_BYTES = 1 << 30
PROMPT_S = 0.001
"""After an answer that came sooner, the next one is awaited so long without going to sleep. [s]"""
_CHECKS = 4
"""How often, within the time after which a silent agent counts as gone, it is asked for a sign of life."""


@dataclass(frozen=True)
class InferResult:
    """What a request brought.

    Attributes:
        outputs: By ONNX name; texts are arrays of objects, bfloat16 that of ml_dtypes, or a structure of one uint16 without it.
        epoch: The plan's that computed them.
        latency_s: From the call to the outputs. [s]
    """

    outputs: dict[str, Array]
    epoch: int
    latency_s: float


class AsyncClient:
    """Requests to one agent, on the running event loop.

    Args:
        address: The agent's host:port, or unix:/path of its socket on this machine.
        timeout_s: For connecting and the greeting. [s]
        patience_s: See `edgesplit.connect`. [s]
        dead_after_s: While a request waits, an agent that neither takes nor sends a byte so long is lost. [s]
        identity: Greeting; an anonymous client's by default.
        gate_for: Given the agent's name, what to put in front of frames to it.
        limits: What is accepted from the agent.
        token, ca_file, cert_file, key_file: See `edgesplit.connect`.
        proof: What these make, where a program has it already.

    Raises:
        InvalidConfiguration: A file cannot be used, or a token would leave the machine in the clear.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = 5.0,
        patience_s: float = 0.0,
        dead_after_s: float = 10.0,
        identity: Hello | None = None,
        gate_for: Callable[[str], FrameGate] | None = None,
        limits: FrameLimits | None = None,
        token: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        cert_file: str | os.PathLike[str] | None = None,
        key_file: str | os.PathLike[str] | None = None,
        proof: ClientProof | None = None,
    ) -> None:
        self.address = address
        self._proof = proof or ClientProof.of(address, token, ca_file, cert_file, key_file)
        self._timeout_s = timeout_s
        self._patience = Patience(patience_s)
        self._dead_after_s = dead_after_s
        self._identity = identity or Hello(
            protocol=PROTOCOL,
            role="client",
            node="",
            version=installed_version(),
            instance=uuid.uuid4().hex,
            token=self._proof.token,
        )
        self._gate_for = gate_for
        self._limits = limits or FrameLimits()
        self._loop = asyncio.get_running_loop()
        self._connecting = asyncio.Lock()
        self._connection: Connection | None = None
        self._greeting: asyncio.Future[Hello] | None = None
        self._waiting: dict[int, asyncio.Future[Frame]] = {}
        self._watch: asyncio.Task[None] | None = None
        # Calls of the blocking client are prepared in their own threads; a counter gives no number twice.
        self._ids = itertools.count(1)
        self._is_prompt = False
        self._closed = False
        self.node = ""

    async def connect(self) -> Connection:
        """Connect unless connected.

        Raises:
            NodeUnreachable: No agent answers at the address.
            ProtocolMismatch: It speaks another version.
        """
        if self._closed:
            raise NodeUnreachable(f"this client of {self.address} was closed: connect again")
        async with self._connecting:
            if self._connection is not None:
                self._connection.catch_up()
                if not self._connection.is_open:
                    # Those who wait on it hear of its end before another takes its place.
                    await self._connection.wait_closed()
                    self._connection = None
            if self._connection is None:
                self._connection = await self._open()
            return self._connection

    @property
    def peer_certificate(self) -> PeerCertificate | None:
        """What the agent proved to be; None without TLS, and while there is no connection."""
        return None if self._connection is None else self._connection.peer_certificate

    @property
    def unsent(self) -> bool:
        """Whether something still waits to leave for the agent."""
        return self._connection is not None and self._connection.is_open and self._connection.pending_bytes > 0

    async def infer(
        self, model: str, inputs: Mapping[str, Array], *, deadline_s: float | None = None
    ) -> dict[str, Array]:
        """Outputs of `model`; see `infer_detailed`."""
        return (await self.infer_detailed(model, inputs, deadline_s=deadline_s)).outputs

    async def infer_detailed(
        self, model: str, inputs: Mapping[str, Array], *, deadline_s: float | None = None
    ) -> InferResult:
        """Run one request; several may be in flight. Cancelling the call cancels the request.

        Args:
            model: Name of a deployed model.
            inputs: Every input by its ONNX name; not to be changed until the call returns.
            deadline_s: Give up after this time. [s]

        Raises:
            InvalidInput: The deadline is no time.
            InvalidTensor: An input is missing or too many, or has another dtype or shape.
            RequestTimedOut: The deadline passed.
            NodeUnreachable: The agent does not answer, or the connection broke meanwhile.
            Overloaded: The source, or this agent, takes no more requests now.
            EdgesplitError: What else the agent answered (UnknownModel, NotDeployed).
        """
        return await self.complete(self.prepare(model, inputs, deadline_s=deadline_s))

    def prepare(self, model: str, inputs: Mapping[str, Array], *, deadline_s: float | None = None) -> Call:
        """What `complete` is to do; raises InvalidInput and InvalidTensor as `infer_detailed`."""
        if deadline_s is not None and not deadline_s >= 0:
            raise InvalidInput(f"deadline_s must be a number of seconds that is not negative, not {deadline_s}")
        started_s = time.monotonic()
        heads, payloads = pack_tensors([(name, array, "raw") for name, array in inputs.items()])
        return Call(Infer(id=next(self._ids), model=model, tensors=heads, deadline_s=deadline_s), payloads, started_s)

    async def complete(self, call: Call) -> InferResult:
        """Send a request, unless `hasten` has, and wait for its result; see `infer_detailed`."""
        while True:
            try:
                return await self._complete(call)
            except EdgesplitError as error:
                call.tries += 1
                draw = random.random()  # noqa: S311 - jitter, no secret
                pause_s = self._patience.pause_s(error, call.tries, call.lasted_s, time.monotonic(), draw)
                if pause_s is None or self._closed:
                    raise
            deadline_s = call.header.deadline_s
            await asyncio.sleep(pause_s if deadline_s is None else min(pause_s, max(call.left_s(deadline_s), 0.0)))
            call.answer = call.leaving = None

    async def _complete(self, call: Call) -> InferResult:
        deadline_s = call.header.deadline_s
        try:
            async with asyncio.timeout(None if deadline_s is None else call.left_s(deadline_s)):
                if call.answer is None:
                    connection = await self.connect()
                    call.answer = self._expect(call)
                    call.leaving = await connection.send_when_room(call.header, call.payloads)
                frame = await call.answer
        except TimeoutError:
            self._give_up(call)
            raise RequestTimedOut(f"no result of model {call.header.model!r} within {deadline_s:g} s") from None
        except asyncio.CancelledError:
            self._give_up(call)
            raise
        finally:
            self._waiting.pop(call.header.id, None)
        return self._result(call, frame)

    def hasten(self, call: Call, patience_s: float) -> InferResult | None:
        """Send a request and wait for its result a moment in this thread, while the event loop stands still.

        For a quick answer on a connection that is idle, that costs half of what the loop's turns would.

        Returns:
            None where it takes longer than `patience_s`, or needs the loop: `complete` goes on from there. [s]
        """
        connection = self._connection
        if connection is None:
            return None
        connection.catch_up()
        if not connection.is_open or connection.pending_bytes:
            return None
        call.answer = self._expect(call)
        try:
            call.leaving = connection.send(call.header, call.payloads)
            while not call.answer.done() and connection.is_open:
                left_s = call.left_s(patience_s)
                if left_s <= 0 or not connection.await_bytes(left_s, awake_s=PROMPT_S if self._is_prompt else 0.0):
                    self._is_prompt = False
                    return None
        except BaseException:
            self._give_up(call)
            raise
        self._is_prompt = call.left_s(PROMPT_S) > 0
        if not call.answer.done() or call.answer.exception() is not None:
            return None  # `complete` knows what follows
        return self._result(call, call.answer.result())

    def _expect(self, call: Call) -> asyncio.Future[Frame]:
        """Have the answer to a request noted once it comes."""
        answer = self._waiting[call.header.id] = self._loop.create_future()
        return answer

    def _result(self, call: Call, frame: Frame) -> InferResult:
        result = frame.header
        if not isinstance(result, Result):
            raise EdgesplitError(f"{self.address} answered a request with a {type(result).__name__} frame")
        found = unpack_tensors(result.tensors, frame.payloads)
        outputs = {name: given_out(array) for name, array in found.items()}
        return InferResult(outputs, result.epoch, time.monotonic() - call.started_s)

    async def close(self) -> None:
        """Disconnect; requests in flight fail."""
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
        if self._connection is not None:
            self._connection.close()
            await self._connection.wait_closed()

    def abort(self, reason: EdgesplitError) -> None:
        """End the connection at once; requests in flight fail, the next one connects anew."""
        if self._connection is not None:
            self._connection.abort(reason)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def on_opened(self, connection: Connection) -> None:
        """See `edgesplit.wire.connection.FrameReceiver`; the opener goes on by itself."""

    def on_frame(self, connection: Connection, frame: Frame) -> None:
        """See `edgesplit.wire.connection.FrameReceiver`."""
        header = frame.header
        if isinstance(header, Hello):
            check_hello(header)
            if self._greeting is not None and not self._greeting.done():
                self._greeting.set_result(header)
        elif isinstance(header, Result):
            self._settle(header.id, frame)
        elif isinstance(header, Failure):
            error = error_from_code(header.code, header.message)
            if header.id is None:
                connection.close(error, tell=False)
            else:
                self._settle(header.id, error)

    def on_closed(self, connection: Connection, reason: EdgesplitError | None) -> None:
        """See `edgesplit.wire.connection.FrameReceiver`."""
        if self._greeting is not None and not self._greeting.done():
            self._greeting.set_exception(reason or NodeUnreachable(f"{self.address} closed the connection"))
        if connection is self._connection:
            cause = str(reason) if reason is not None else f"the connection to {self.address} was closed"
            for identifier in list(self._waiting):
                self._settle(identifier, NodeUnreachable(f"the request was in flight when the node was lost: {cause}"))

    def _settle(self, identifier: int, outcome: Frame | EdgesplitError) -> None:
        # A result after its deadline finds nobody waiting.
        waiting = self._waiting.pop(identifier, None)
        if waiting is None or waiting.done():
            return
        if isinstance(outcome, Frame):
            waiting.set_result(outcome)
        else:
            waiting.set_exception(outcome)

    def _give_up(self, call: Call) -> None:
        """Take a request back, or have the agent stop working on it where it has left."""
        self._waiting.pop(call.header.id, None)
        connection = self._connection
        if connection is None or not connection.is_open or call.leaving is None:
            return
        if not connection.withdraw(call.leaving):
            with contextlib.suppress(Overloaded):  # then the connection is about to break, and ends the request too
                connection.send(Cancel(id=call.header.id))

    async def _expect_life(self, connection: Connection) -> None:
        """Abort a connection whose other side is silent while requests wait."""
        silent_s, step_s = 0.0, self._dead_after_s / _CHECKS
        progress = (0, 0)
        while True:
            await asyncio.sleep(step_s)
            if not connection.is_open:
                return
            moved = progress != (connection.sent_bytes, connection.received_bytes)
            silent_s = 0.0 if moved or not self._waiting else silent_s + step_s
            if silent_s >= self._dead_after_s:
                text = f"{self.address} gave no sign of life for {self._dead_after_s:g} s"
                connection.abort(NodeUnreachable(text))
            elif self._waiting and not connection.pending_bytes:
                connection.send(Ping(sequence=0), urgent=True)
            # Taken after the ping, which is no progress by itself.
            progress = (connection.sent_bytes, connection.received_bytes)

    async def _open(self) -> Connection:
        connection = await open_connection(
            self.address,
            self,
            limits=self._limits,
            queue_bytes=_QUEUE_BYTES,
            timeout_s=self._timeout_s,
            context=self._proof.context,
            expects=self._proof.expects,
        )
        self._greeting = self._loop.create_future()
        connection.send(self._identity, urgent=True)
        try:
            async with asyncio.timeout(self._timeout_s):
                hello = await self._greeting
        except TimeoutError:
            error = NodeUnreachable(f"{self.address} accepts connections but does not greet: is it an edgesplit agent?")
            connection.abort(error)
            raise error from None
        except Unreachable as error:
            raise NodeUnreachable(f"{self.address} does not answer as an agent: {error}") from error
        self.node = hello.node
        if self._gate_for is not None:
            connection.gate = self._gate_for(hello.node)
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self._loop.create_task(self._expect_life(connection))
        return connection
