"""What is fuzzed: everything that reads bytes a stranger can send.

Owns: one target a class. Its rule: a target returns for any input; it raises only for a defect: an exception that is no
answer, memory beyond what the limits allow, a connection that is not closed, or closed without a reason. Not here:
where inputs come from (`__main__.py`, `test_corpus.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import ssl
import tempfile
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import structlog

from edgesplit.errors import EdgesplitError, InvalidInput, Overloaded, ProtocolError
from edgesplit.release import PROTOCOL
from edgesplit.trust.access import Access
from edgesplit.wire.frames import FrameLimits, encode_frame, unpack_tensors
from edgesplit.wire.headers import Failure, Hello, Infer, Result, Tensors
from edgesplit.wire.parser import FrameParser
from edgesplit_agent.configuration import HttpSection
from edgesplit_agent.dataplane.emulation import Emulation
from edgesplit_agent.dataplane.limits import Limits
from edgesplit_agent.dataplane.plane import DataPlane
from edgesplit_agent.http.endpoint import HttpEndpoint
from edgesplit_agent.openinference.failures import BodyTooLarge, BodyTooSlow
from edgesplit_agent.openinference.memory import Memory
from edgesplit_agent.openinference.receiving import BodyEnvelope, Receiver
from edgesplit_agent.reporting.metrics import PrometheusMetrics
from tests.dataplane.fakes import RecordingHost
from tests.dataplane.fleets import MadeFleet
from tests.fuzz.signed_payloads import SignedPayloads
from tests.openinference.fakes import FakeModels, spec

__all__ = ["TARGETS", "Target", "bounded"]

LIMIT_BYTES = 1 << 16
"""Of bodies in all targets: small, so that what exceeds it shows."""
MEMORY_BYTES = 16 << 20
"""Most that one input may take, with all of Python's own overhead. [B]"""
ANSWER_S = 10.0
"""In which a connection must have ended. [s]"""
FRAMES = FrameLimits(header_bytes=LIMIT_BYTES, body_bytes=LIMIT_BYTES)


class Target(Protocol):
    """One thing that is fuzzed."""

    def run(self, data: bytes) -> None:
        """Feed an input; raise for a defect."""

    def close(self) -> None:
        """End what it started."""


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Check that what happens inside takes no more memory than `MEMORY_BYTES` at any time."""
    if not tracemalloc.is_tracing():
        tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    yield
    peak = tracemalloc.get_traced_memory()[1] - before
    if peak > MEMORY_BYTES:
        raise AssertionError(f"an input took {peak} B of memory")


class FrameStream:
    """The frame parser and the decoding of tensors; the first byte says how the stream is cut."""

    def run(self, data: bytes) -> None:
        """See `Target`."""
        step, stream = (data[0] * 16 + 1, data[1:]) if data else (1, b"")
        parser = FrameParser(FRAMES)
        try:
            for start in range(0, len(stream), step):
                for frame in parser.feed(stream[start : start + step]):
                    if isinstance(frame.header, Tensors | Infer | Result):
                        unpack_tensors(frame.header.tensors, frame.payloads)
        except ProtocolError as error:
            if not str(error):
                raise AssertionError("an error without a sentence") from error

    def close(self) -> None:
        """See `Target`."""


class _Memory:
    """A body that is there already."""

    def __init__(self, data: bytes) -> None:
        self._chunks = [data[start : start + 1000] for start in range(0, len(data), 1000)]

    async def readany(self) -> bytes:
        return self._chunks.pop(0) if self._chunks else b""


class InferenceBody:
    """A request's body, compressed or not, with or without a head; the first three bytes say which."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        limits = HttpSection(max_body_bytes=LIMIT_BYTES, max_json_bytes=LIMIT_BYTES, max_buffered_bytes=1 << 20)
        self._memory = Memory(limits.max_buffered_bytes)
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._receiver = Receiver(limits, self._thread)

    def run(self, data: bytes) -> None:
        """See `Target`."""
        kind, length, body = data[:1], int.from_bytes(data[1:3], "little"), data[3:]
        form = kind[0] if kind else 0
        envelope = BodyEnvelope(
            encoding=("", "gzip", "deflate", "br")[form & 3],
            head_length=None if form & 4 else str(length),
            content_length=None if form & 8 else len(body),
        )
        self._loop.run_until_complete(self._receive(envelope, body))
        if self._memory.used_bytes:
            raise AssertionError(f"{self._memory.used_bytes} B are counted after the request ended")

    async def _receive(self, envelope: BodyEnvelope, body: bytes) -> None:
        with self._memory.account() as account:
            try:
                _, arrays = await self._receiver.receive(envelope, _Memory(body), [spec("x")], account)
            except (InvalidInput, BodyTooLarge, BodyTooSlow, Overloaded) as error:
                if not str(error):
                    raise AssertionError("an error without a sentence") from error
                return
            if sum(array.nbytes for array in arrays.values()) > LIMIT_BYTES:
                raise AssertionError("the inputs are larger than the limit")

    def close(self) -> None:
        """See `Target`."""
        self._thread.shutdown()
        self._loop.close()


class _Server:
    """A server on a loop of its own, and what went wrong inside it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self._note)
        self.defects: list[str] = []
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
        structlog.configure(processors=[self._note_event])

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.defects.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _note_event(self, _logger: Any, method: str, event: Any) -> Any:
        # An exception that is logged with its traceback is one that nobody expected.
        if method in {"exception", "critical"} or event.get("exc_info"):
            self.defects.append(str(event))
        raise structlog.DropEvent

    async def exchange(self, address: str, data: bytes, context: ssl.SSLContext | None = None) -> bytes:
        """Send bytes and the end of the stream, and return all that comes back until the server closes.

        asyncio's TLS cannot end one direction alone: what follows the bytes then breaks the protocol, and so ends the connection.
        """
        host, port = address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        answer = b""
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(data)
                await writer.drain()
                if context is None:
                    writer.write_eof()
                else:
                    writer.write(bytes(LIMIT_BYTES * 2))
                async with asyncio.timeout(ANSWER_S):
                    while piece := await reader.read(1 << 16):
                        answer += piece
        except TimeoutError:
            raise AssertionError(f"the connection was not closed within {ANSWER_S:g} s") from None
        finally:
            writer.close()
        return answer

    def check(self) -> None:
        """Raise for what went wrong inside."""
        if self.defects:
            defects, self.defects = self.defects, []
            raise AssertionError("; ".join(defects))

    def close(self) -> None:
        """End the loop."""
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        structlog.reset_defaults()


def _plane_of(host: RecordingHost, access: Access | None = None) -> DataPlane:
    """A data plane on a free port that tells `host` what arrives."""
    return DataPlane(
        "device",
        "instance",
        "1",
        listen="127.0.0.1:0",
        emulation=Emulation(),
        limits=replace(Limits(probing=False), frames=FRAMES),
        emit=host.emit,
        host=host,
        counters=host,
        access=access,
    )


class Conversation:
    """A data plane's socket. The first byte says as what the stranger greets, if at all."""

    def __init__(self) -> None:
        self._server = _Server()
        self._host = RecordingHost()
        self._server.loop.run_until_complete(self._start())

    async def _start(self) -> None:
        self._plane = _plane_of(self._host)
        self._address = await self._plane.start()

    def run(self, data: bytes) -> None:
        """See `Target`."""
        form, stream = (data[0] % 3, data[1:]) if data else (0, b"")
        if form:
            role: Literal["agent", "client"] = "agent" if form == 1 else "client"
            hello = Hello(protocol=PROTOCOL, role=role, node="stranger", version="1", instance="i")
            stream = b"".join(encode_frame(hello)) + stream
        broken = self._breaks(stream)
        answer = self._server.loop.run_until_complete(self._server.exchange(self._address, stream))
        headers = [frame.header for frame in FrameParser(FrameLimits()).feed(answer)]
        told = any(isinstance(header, Failure) and header.id is None and header.message for header in headers)
        if broken and not told:
            raise AssertionError(f"the connection was closed without a reason: {headers!r:.300}")
        self._server.check()
        self._host.tensors.clear()
        self._host.aborts.clear()

    def _breaks(self, stream: bytes) -> bool:
        """Whether the stream is no sequence of frames, so that the agent must say so."""
        try:
            FrameParser(FRAMES).feed(stream)
        except EdgesplitError:
            return True
        return False

    def close(self) -> None:
        """See `Target`."""
        self._server.loop.run_until_complete(self._plane.close())
        self._server.close()


class SecuredConversation:
    """A secured data plane's socket. The first byte says whether the bytes come inside TLS, and as what the stranger greets."""

    def __init__(self) -> None:
        self._server = _Server()
        self._host = RecordingHost()
        self._folder = Path(tempfile.mkdtemp(prefix="edgesplit-fuzz-"))
        self._fleet = MadeFleet(self._folder)
        self._server.loop.run_until_complete(self._start())

    async def _start(self) -> None:
        self._plane = _plane_of(self._host, self._fleet.node("device", local_clients=False))
        self._address = await self._plane.start()

    def run(self, data: bytes) -> None:
        """See `Target`."""
        form, stream = (data[0] % 4, data[1:]) if data else (0, b"")
        if not form:
            self._server.loop.run_until_complete(self._server.exchange(self._address, stream))
        else:
            roles: tuple[Literal["agent", "client"], ...] = ("agent", "client")
            if form < len(roles) + 1:
                hello = Hello(protocol=PROTOCOL, role=roles[form - 1], node="", version="1", instance="i")
                stream = b"".join(encode_frame(msgspec.structs.replace(hello, node="stranger"))) + stream
            context = self._fleet.node("stranger").contexts.client
            self._server.loop.run_until_complete(self._server.exchange(self._address, stream, context))
        self._server.check()
        self._host.tensors.clear()
        self._host.aborts.clear()

    def close(self) -> None:
        """See `Target`."""
        self._server.loop.run_until_complete(self._plane.close())
        self._server.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class HttpSocket:
    """The HTTP endpoint's socket: inference, metadata, blobs, metrics."""

    def __init__(self) -> None:
        self._server = _Server()
        self._folder = Path(tempfile.mkdtemp(prefix="edgesplit-fuzz-"))
        self._server.loop.run_until_complete(self._start())

    async def _start(self) -> None:
        section = HttpSection(
            listen="127.0.0.1:0", max_body_bytes=LIMIT_BYTES, max_json_bytes=LIMIT_BYTES, max_buffered_bytes=1 << 20
        )
        self._endpoint = HttpEndpoint(
            section,
            PrometheusMetrics("device", "1.0"),
            FakeModels(),
            blobs=self._folder,
            ready=lambda: True,
            version="1.0",
        )
        self._address = await self._endpoint.start()

    def run(self, data: bytes) -> None:
        """See `Target`."""
        answer = self._server.loop.run_until_complete(self._server.exchange(self._address, data))
        if answer and not answer.startswith(b"HTTP/1."):
            raise AssertionError(f"the answer is no HTTP: {answer[:100]!r}")
        if b" 500 Internal" in answer:
            raise AssertionError(f"the endpoint broke: {answer[:300]!r}")
        self._server.check()
        application = self._endpoint.application
        if application is not None and application.inference.memory.used_bytes:
            raise AssertionError("memory is counted after the connection ended")

    def close(self) -> None:
        """See `Target`."""
        self._server.loop.run_until_complete(self._endpoint.close())
        self._server.close()
        shutil.rmtree(self._folder, ignore_errors=True)


TARGETS: dict[str, type[Target]] = {
    "frames": FrameStream,
    "conversation": Conversation,
    "secured": SecuredConversation,
    "body": InferenceBody,
    "http": HttpSocket,
    "signed": SignedPayloads,
}
