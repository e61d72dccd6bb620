"""A connection that carries frames, on asyncio, for agents and clients.

Owns: the socket's options, reading straight into tensors, the bounded send queue, and closing with a reason. Its rule:
tensor bytes are never copied on their way out, and a connection that breaks the protocol is closed with a reason while
everything else goes on. Not here: addresses and how a connection comes about (`endpoints.py`), what frames mean, retries.

asyncio's own transport copies what the kernel does not take at once (and on Python 3.11 joins scattered buffers), so
this class writes with `sendmsg` through a duplicate of the socket and leaves only the reading to the transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from edgesplit.errors import EdgesplitError, FrameTruncated, Overloaded, Unreachable
from edgesplit.frame_parser import FrameParser
from edgesplit.frames import Failure, Frame, FrameLimits, Header, encode_frame
from edgesplit.tensors import Array

__all__ = ["Connection", "FrameGate", "FrameReceiver"]

_LINGER_S = 1.0
"""How long a closing connection waits for its last frames to be taken."""
_COALESCE_BYTES = 1 << 16
_BURST_BYTES = 1 << 22
"""After this many bytes in one go the event loop gets its turn."""
_NOT_SENT_BYTES = 1 << 18
"""Bytes the kernel may hold unsent; more would make an urgent frame wait behind them."""
_MAX_BUFFERS = 64
_URGENT_BYTES = 1 << 20


class FrameReceiver(Protocol):
    """What a connection tells its user; called on the event loop."""

    def on_opened(self, connection: Connection) -> None:
        """The connection is made; nothing was exchanged yet."""

    def on_frame(self, connection: Connection, frame: Frame) -> None:
        """A frame arrived; an EdgesplitError raised here closes the connection with it."""

    def on_closed(self, connection: Connection, reason: EdgesplitError | None) -> None:
        """The connection ended: by this side's orderly `close()` (None) or for a reason. Called exactly once."""


class FrameGate(Protocol):
    """Decides when a frame may leave; the seam of link emulation."""

    def admit(self, nbytes: int, urgent: bool, release: Callable[[], None]) -> bool:
        """Call `release` now or later and return True, or drop the frame and return False."""
        ...


class Connection(asyncio.BufferedProtocol):
    """One connection; made by `open_connection` and `serve` of `endpoints.py`.

    Args:
        receiver: Who is told of frames and of the end.
        limits: What is accepted from the other side.
        queue_bytes: Frames waiting to leave may take this much together; a single larger frame may still wait alone.

    Attributes:
        gate: When set, asked before each frame leaves.
        peer_address: host:port of the other side.
        sent_bytes: Handed to the kernel so far. [B]
    """

    def __init__(self, receiver: FrameReceiver, *, limits: FrameLimits, queue_bytes: int) -> None:
        self._receiver = receiver
        self._parser = FrameParser(limits)
        self._queue_bytes = queue_bytes
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._urgent: deque[list[memoryview]] = deque()
        self._bulk: deque[list[memoryview]] = deque()
        self._writing: deque[memoryview] = deque()
        self._writer_armed = False
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False
        self._reason: EdgesplitError | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._discarded = memoryview(bytearray(1 << 16))
        self.gate: FrameGate | None = None
        self.peer_address = "?"
        self.pending_bytes = 0
        self.sent_bytes = 0

    @property
    def is_open(self) -> bool:
        """Whether frames can be sent."""
        return self._transport is not None and not self._closing

    @property
    def received_bytes(self) -> int:
        """Bytes that arrived so far. [B]"""
        return self._parser.received_bytes

    @property
    def in_frame(self) -> bool:
        """Whether a frame is arriving."""
        return self._parser.in_frame

    def send(self, header: Header, payloads: Sequence[Array] = (), *, urgent: bool = False) -> int:
        """Queue a frame; its tensors must not be changed until it has left.

        Args:
            header: Describes `payloads`.
            payloads: Coded tensors, C-contiguous.
            urgent: Overtakes queued frames (never a frame that has begun to leave).

        Returns:
            The frame's length. [B]

        Raises:
            Unreachable: The connection is closed.
            Overloaded: The queue is full.
        """
        if not self.is_open:
            raise Unreachable(f"the connection to {self.peer_address} is closed")
        buffers = encode_frame(header, payloads)
        nbytes = sum(buffer.nbytes for buffer in buffers)
        # A full queue must not keep acknowledgements back, but they are bounded too.
        limit = self._queue_bytes + (_URGENT_BYTES if urgent else 0)
        if self.pending_bytes and self.pending_bytes + nbytes > limit:
            raise Overloaded(
                f"{self.pending_bytes} B already wait to be sent to {self.peer_address}: it takes frames too slowly"
            )
        self._account(nbytes)

        def release() -> None:
            if self.is_open:
                (self._urgent if urgent else self._bulk).append(buffers)
                self._write()

        if self.gate is None:
            release()
        elif not self.gate.admit(nbytes, urgent, release):
            self._account(-nbytes)
        return nbytes

    async def send_when_room(self, header: Header, payloads: Sequence[Array] = ()) -> int:
        """Wait until the queue is at most half full, then `send`; the backpressure of a patient sender.

        Raises:
            Unreachable: The connection closed meanwhile.
        """
        nbytes = sum(payload.nbytes for payload in payloads)
        while self.is_open and self.pending_bytes and self.pending_bytes + nbytes > self._queue_bytes // 2:
            self._room.clear()
            await self._room.wait()
        return self.send(header, payloads)

    def close(self, reason: EdgesplitError | None = None, *, tell: bool = True) -> None:
        """End the connection in order, within a second.

        Args:
            reason: Given to `on_closed`, and sent to the other side as Failure; frames that have not begun to leave are
                dropped then. Without a reason, queued frames leave first.
            tell: False sends no Failure, as when the reason came from the other side.
        """
        if self._closing:
            return
        if self._reason is None:
            self._reason = reason
        if self._transport is None or self._socket is None:
            self._closing = True
            return
        if reason is not None:
            self._bulk.clear()
            self._urgent.clear()
            if tell:
                self._urgent.append(encode_frame(Failure(code=reason.code, message=str(reason))))
        self._closing = True
        self._loop.call_later(_LINGER_S, self._transport.abort)
        self._write()

    def abort(self, reason: EdgesplitError) -> None:
        """End the connection at once, sending nothing: for a peer that does not answer."""
        if self._reason is None and not self._closing:
            self._reason = reason
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Return when `on_closed` was called."""
        await asyncio.shield(self._ended)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio's own contract
        self._transport = transport
        writing: socket.socket = transport.get_extra_info("socket").dup()
        writing.setblocking(False)
        self._socket = writing
        name = transport.get_extra_info("peername")
        # The accepting side of a Unix socket learns no name.
        self.peer_address = f"{name[0]}:{name[1]}" if isinstance(name, tuple) else str(name or "a local program")
        with contextlib.suppress(OSError):
            writing.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            writing.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOT_SENT_BYTES)
        self._receiver.on_opened(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio.BufferedProtocol."""
        del sizehint
        return self._discarded if self._closing else self._parser.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio.BufferedProtocol."""
        if self._closing:
            return
        try:
            for frame in self._parser.received(nbytes):
                if not self._closing:
                    self._receiver.on_frame(self, frame)
        except EdgesplitError as error:
            self.close(error)

    def eof_received(self) -> bool:
        """See asyncio.Protocol."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if not self._closing and self._reason is None:
            self._reason = self._lost_reason(exc)
        self._closing = True
        self._transport = None
        if self._socket is not None:
            if self._writer_armed:
                self._loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None
        for waiting in (self._urgent, self._bulk, self._writing):
            waiting.clear()
        self.pending_bytes = 0
        self._room.set()
        self._receiver.on_closed(self, self._reason)
        if not self._ended.done():
            self._ended.set_result(None)

    def _lost_reason(self, error: Exception | None) -> EdgesplitError:
        cause = f" ({error})" if error is not None else ""
        if self._parser.in_frame:
            return FrameTruncated(f"{self.peer_address} closed the connection in the middle of a frame{cause}")
        return Unreachable(f"{self.peer_address} closed the connection{cause}")

    def _account(self, nbytes: int) -> None:
        self.pending_bytes += nbytes
        if nbytes < 0:
            self._room.set()

    def _write(self) -> None:
        """Hand the kernel what it takes; come back when it takes more."""
        if self._socket is None or self._writer_armed:
            return
        self._write_ready()

    def _write_ready(self) -> None:
        if self._socket is None:
            return
        budget = _BURST_BYTES
        try:
            while budget > 0 and self._load():
                buffers = [self._writing[index] for index in range(min(len(self._writing), _MAX_BUFFERS))]
                sent = self._socket.sendmsg(buffers)
                budget -= sent
                self._sent(sent)
        except (BlockingIOError, InterruptedError):
            pass  # Full for now: the loop calls again.
        except OSError as error:
            if not self._closing:
                self._reason = self._reason or self._lost_reason(error)
                self._closing = True
            if self._transport is not None:
                self._transport.abort()
            return
        self._arm(bool(self._writing or self._urgent or self._bulk))

    def _load(self) -> bool:
        """Choose what leaves next: urgent frames first, small ones together; False when nothing waits."""
        if not self._writing:
            loaded = 0
            while loaded < _COALESCE_BYTES and (self._urgent or self._bulk):
                frame = (self._urgent or self._bulk).popleft()
                self._writing.extend(frame)
                loaded += sum(buffer.nbytes for buffer in frame)
        return bool(self._writing)

    def _sent(self, nbytes: int) -> None:
        self.sent_bytes += nbytes
        self._account(-nbytes)
        while nbytes:
            first = self._writing[0]
            if nbytes < first.nbytes:
                self._writing[0] = first[nbytes:]
                return
            nbytes -= first.nbytes
            self._writing.popleft()

    def _arm(self, wanted: bool) -> None:
        if self._socket is None:
            return
        if wanted != self._writer_armed:
            self._writer_armed = wanted
            if wanted:
                self._loop.add_writer(self._socket, self._write_ready)
            else:
                self._loop.remove_writer(self._socket)
        if not wanted and self._closing:
            # The other side reads the end of the stream after the last frame, and closes.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
