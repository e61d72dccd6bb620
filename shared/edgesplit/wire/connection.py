"""A framed connection on asyncio sockets, for agents and clients.

Owns: the socket's options, reading straight into tensors, the bounded send queue, and closing with a reason. Its rule:
tensor bytes are never copied on their way out, and a connection that breaks the protocol is closed with a reason while
everything else goes on. Not here: addresses and how a connection comes about (`wire/endpoints.py`), the order in which
frames leave (`wire/socket_writer.py`, `wire/send_queue.py`), what frames mean, retries.

asyncio's own transport copies what the kernel does not take at once, goes through its selector for every read, and registers its
reader when it likes: until 3.11.3 even after it was told to pause. So there is none. The connection owns a non-blocking socket, plain
or with TLS (`wire/secured/secure_socket.py`), and asks the loop for nothing but `add_reader` and `add_writer`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from edgesplit.errors import EdgesplitError, FrameTruncated, NotTrusted, Overloaded, Unreachable
from edgesplit.trust.subjects import PeerCertificate
from edgesplit.trust.tls import explain_handshake
from edgesplit.wire.address import is_loopback
from edgesplit.wire.frames import Frame, FrameLimits, encode_frame
from edgesplit.wire.headers import Failure, Header, Probe
from edgesplit.wire.parser import FrameParser
from edgesplit.wire.secured.secure_socket import SecureSocket
from edgesplit.wire.send_queue import FrameGate, Lane, OutgoingFrame
from edgesplit.wire.socket_writer import SocketWriter
from edgesplit.wire.tcp_options import (
    acknowledged,
    end_when_vanished,
    models_path,
    pace,
    peer_of,
    start_afresh,
    window_shut,
)
from edgesplit.wire.tensors import Array

__all__ = ["Connection", "FrameReceiver"]

_LINGER_S = 1.0
"""How long a closing connection waits for its last frames to be taken."""
_BURST_BYTES = 1 << 22
"""After this many bytes in one go the event loop gets its turn."""
_MORE_BYTES = 1 << 14
"""A read that brought so much is followed by another at once: the rest is arriving."""
_URGENT_BYTES = 1 << 20
_give_way = getattr(os, "sched_yield", lambda: None)
_DISCARDED = memoryview(bytearray(1 << 16))
"""Where bytes go that nobody wants any more; of all connections, for it is never read."""


class FrameReceiver(Protocol):
    """What a connection tells its user; called on the event loop."""

    def on_opened(self, connection: Connection) -> None:
        """The connection is made; nothing was exchanged yet."""

    def on_frame(self, connection: Connection, frame: Frame) -> None:
        """A frame arrived; an EdgesplitError raised here closes the connection with it."""

    def on_closed(self, connection: Connection, reason: EdgesplitError | None) -> None:
        """The connection ended: by this side's orderly `close()` (None) or for a reason. Called exactly once."""


class Connection:
    """One connection; made by `open_connection` and `serve` of `wire/endpoints.py`.

    Args:
        own: Connected, non-blocking, and past its handshake where it is secured; the connection's from now on.
        receiver: Who is told of frames and of the end.
        limits: What is accepted from the other side.
        greeting: What is accepted before it has said who it is; None: the same.
        queue_bytes: Frames waiting to leave may take this much together; a single larger frame may still wait alone.

    Attributes:
        gate: When set, asked before each frame leaves.
        on_room: When set, called whenever the kernel took bytes; it must not send before it has returned.
        on_unfinished: When set, called whenever a frame is here in part and nothing more of it came.
        peer_address: host:port of the other side.
        peer_host: Without the port; empty for a program of this machine on a Unix socket.
        peer_certificate: What the other side proved to be; None without TLS, and where it showed nothing.
    """

    def __init__(
        self,
        own: socket.socket | SecureSocket,
        receiver: FrameReceiver,
        *,
        limits: FrameLimits,
        queue_bytes: int,
        greeting: FrameLimits | None = None,
    ) -> None:
        self._receiver = receiver
        self._parser = FrameParser(limits, greeting)
        self._queue_bytes = queue_bytes
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | SecureSocket | None = own
        self._secure = own if isinstance(own, SecureSocket) else None
        self._bare = own.bare if isinstance(own, SecureSocket) else own
        self._returning = False
        self._gated_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False
        self._ending = False
        self._reason: EdgesplitError | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self.gate: FrameGate | None = None
        self.on_room: Callable[[], None] | None = None
        self.on_unfinished: Callable[[], None] | None = None
        self.peer_host, self.peer_address = peer_of(self._bare)
        self.peer_certificate: PeerCertificate | None = None if self._secure is None else self._secure.peer_certificate
        self._bare.setblocking(False)
        with contextlib.suppress(OSError):
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end_when_vanished(self._bare)
        self._writer = SocketWriter(
            own, self._loop, on_taken=self._taken, on_empty=self._emptied, on_broken=self._break
        )

    def start(self) -> None:
        """Begin to read; the receiver is told first that there is a connection."""
        self._receiver.on_opened(self)
        if self._socket is not None and not self._ending:
            self._loop.add_reader(self._socket, self._read_ready)
            if self._secure is not None:
                self._come_back(self._secure)

    @property
    def is_local(self) -> bool:
        """Whether the other side is a program of this machine."""
        return self._bare.family == socket.AF_UNIX or is_loopback(self.peer_host)

    @property
    def pending_bytes(self) -> int:
        """Of frames that wait to leave. [B]"""
        return self._gated_bytes + self._writer.waiting_bytes

    @property
    def sent_bytes(self) -> int:
        """Handed to the kernel so far. [B]"""
        return self._writer.sent_bytes

    @property
    def is_open(self) -> bool:
        """Whether frames can be sent."""
        return not self._closing and not self._ending

    @property
    def received_bytes(self) -> int:
        """Bytes that arrived so far. [B]"""
        return self._parser.received_bytes

    @property
    def body_bytes(self) -> int:
        """Of frames' bodies that arrived so far. [B]"""
        return self._parser.body_bytes

    @property
    def arriving_bytes(self) -> int:
        """Of frames that are here in part. [B]"""
        return self._parser.arriving_bytes

    @property
    def in_frame(self) -> bool:
        """Whether a frame is arriving."""
        return self._parser.in_frame

    def send(self, header: Header, payloads: Sequence[Array] = (), *, urgent: bool = False) -> OutgoingFrame:
        """Queue a frame; its tensors must not be changed until it has left.

        Args:
            header: Describes `payloads`.
            payloads: Coded tensors, C-contiguous.
            urgent: Overtakes queued frames, and leaves between the parts of one that has begun to leave.

        Raises:
            Unreachable: The connection is closed.
            Overloaded: The queue is full.
        """
        outlet = self._writer
        if not self.is_open:
            raise Unreachable(f"the connection to {self.peer_address} is closed")
        buffers = encode_frame(header, payloads)
        nbytes = sum(buffer.nbytes for buffer in buffers)
        # A full queue must not keep acknowledgements back, but they are bounded too.
        limit = self._queue_bytes + (_URGENT_BYTES if urgent else 0)
        pending = self.pending_bytes
        if pending and pending + nbytes > limit:
            raise Overloaded(f"{pending} B already wait to be sent to {self.peer_address}: it takes frames too slowly")
        lane = Lane.CONTROL if urgent else Lane.PADDING if isinstance(header, Probe) else Lane.DATA
        leaving = OutgoingFrame(nbytes)
        if self.gate is None:
            leaving.queued = outlet.put(buffers, lane)
            return leaving

        def release() -> None:
            self._gated_bytes -= nbytes
            if self.is_open and not leaving.unwanted:
                leaving.queued = outlet.put(buffers, lane)

        self._gated_bytes += nbytes
        self.gate.admit(nbytes, urgent, release)
        return leaving

    def withdraw(self, leaving: OutgoingFrame) -> bool:
        """Take a frame back; False when all of it has left already, and the other side will see it."""
        if leaving.queued is None:
            leaving.unwanted = True
            return True
        if not self._writer.withdraw(leaving.queued):
            return False
        self._room.set()
        return True

    def has_room(self, payloads: Sequence[Array]) -> bool:
        """Whether nothing waits, or the queue would be at most half full with these tensors."""
        pending = self.pending_bytes
        return not pending or pending + sum(payload.nbytes for payload in payloads) <= self._queue_bytes // 2

    def start_afresh(self) -> bool:
        """Have TCP forget the rate it knew of the path; whether it does."""
        return self._socket is not None and start_afresh(self._bare)

    @property
    def models_path(self) -> bool:
        """Whether TCP paces what is sent by what it knows of the path, see `edgesplit.wire.tcp_options`."""
        return self._socket is not None and models_path(self._bare)

    @property
    def pace_bytes_per_s(self) -> float | None:
        """At which rate TCP lets bytes leave by what it knows of the path; None where it goes by something else. [B/s]"""
        return None if self._socket is None else pace(self._bare)

    @property
    def window_shut(self) -> bool:
        """Whether TCP lets next to nothing be on its way now, whatever the link carries, see `edgesplit.wire.tcp_options`."""
        return self._socket is not None and window_shut(self._bare)

    def acknowledged(self, within_s: float) -> bool | None:
        """Whether the other side's machine answers, see `edgesplit.wire.tcp_options`; None where nobody can tell. [s]"""
        return None if self._socket is None else acknowledged(self._bare, within_s)

    def catch_up(self) -> None:
        """Take in what arrived, the end of the stream too, while the event loop did not run."""
        if self._socket is not None:
            self._read_ready()

    def await_bytes(self, within_s: float, *, awake_s: float = 0.0) -> bool:
        """Wait in this thread, while the event loop stands still, and take in what arrives; what waits leaves meanwhile.

        Args:
            within_s: At most so long. [s]
            awake_s: So long without going to sleep, from which a processor needs some time to come back. [s]

        Returns:
            Whether anything arrived.
        """
        awake_until_s = time.perf_counter() + awake_s
        until_s = time.perf_counter() + within_s
        while self._socket is not None:
            if self._secure is not None and self._secure.pending:
                self._read_ready()
                return True
            waiting = select.poll()
            waiting.register(self._socket, select.POLLIN | (select.POLLOUT if self._writer.waiting_bytes else 0))
            while not (ready := waiting.poll(0)) and time.perf_counter() < awake_until_s:
                _give_way()  # whoever answers may need this core
            ready = ready or waiting.poll(max(math.ceil((until_s - time.perf_counter()) * 1e3), 0))
            if not ready:
                return False
            if ready[0][1] & ~select.POLLOUT:
                self._read_ready()
                return True
            self._writer.go_on()
        return False

    async def send_when_room(self, header: Header, payloads: Sequence[Array] = ()) -> OutgoingFrame:
        """Wait until the queue is at most half full, then `send`; the backpressure of a patient sender.

        Raises:
            Unreachable: The connection closed meanwhile.
        """
        while self.is_open and not self.has_room(payloads):
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
        self._closing = True
        if self._ending:
            return
        self._loop.call_later(_LINGER_S, self._end)
        if reason is not None:
            self._writer.drop_waiting()
        if reason is not None and tell:
            self._writer.put(encode_frame(Failure(code=reason.code, message=str(reason))), Lane.CONTROL)
        else:
            self._writer.write()

    def abort(self, reason: EdgesplitError) -> None:
        """End the connection at once, sending nothing: for a peer that does not answer."""
        if self._reason is None and not self._closing:
            self._reason = reason
        self._closing = True
        self._end()

    async def wait_closed(self) -> None:
        """Return when `on_closed` was called."""
        await asyncio.shield(self._ended)

    def _end(self, error: Exception | None = None) -> None:
        """Stop reading; the rest in a turn of the loop, whoever found out and wherever: it may be in the middle of a frame."""
        if not self._ending and self._socket is not None:
            self._ending = True
            self._loop.remove_reader(self._socket)
            self._loop.call_soon(self._lost, error)

    def _lost(self, error: Exception | None) -> None:
        """Give the socket back and tell the receiver."""
        if not self._closing and self._reason is None:
            self._reason = self._lost_reason(error)
        self._closing = True
        self._writer.close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._gated_bytes = 0
        self.gate = None
        self._room.set()
        self._receiver.on_closed(self, self._reason)
        if not self._ended.done():
            self._ended.set_result(None)

    def _lost_reason(self, error: Exception | None) -> EdgesplitError:
        if isinstance(error, ssl.SSLError):
            return NotTrusted(explain_handshake(error, self.peer_address))
        cause = f" ({error})" if error is not None else ""
        if self._parser.in_frame:
            return FrameTruncated(f"{self.peer_address} closed the connection in the middle of a frame{cause}")
        return Unreachable(f"{self.peer_address} closed the connection{cause}")

    def _read_ready(self) -> None:
        """Read while there is something, but not for ever."""
        budget = _BURST_BYTES
        try:
            while budget > 0 and self._socket is not None and not self._ending:
                memory = _DISCARDED if self._closing else self._parser.buffer()
                count = self._socket.recv_into(memory)
                if not count:
                    self._end()
                    return
                if not self._closing:
                    self._received(count)
                if count < len(memory) and count < _MORE_BYTES:
                    break
                budget -= count
            else:
                if self._secure is not None:
                    self._come_back(self._secure)
                return  # There may be more: nothing has paused.
        except (BlockingIOError, InterruptedError):
            pass  # Nothing left: the loop calls again.
        except OSError as error:
            self._break(error)
            return
        if self._secure is not None:
            self._come_back(self._secure)
        if self._parser.in_frame:
            self._parser.paused(self._loop.time())
            if self.on_unfinished is not None:
                self.on_unfinished()

    def _come_back(self, secure: SecureSocket) -> None:
        """Have what TLS holds read in a later turn of the loop, which the kernel no longer tells of."""
        if secure.pending and not self._returning:
            self._returning = True
            self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        self._returning = False
        self._read_ready()

    def _received(self, nbytes: int) -> None:
        try:
            for frame in self._parser.received(nbytes):
                if not self._closing:
                    self._receiver.on_frame(self, frame)
        except EdgesplitError as error:
            self.close(error)

    def _break(self, error: OSError) -> None:
        """The socket is of no use any more."""
        if not self._closing:
            self._reason = self._reason or self._lost_reason(error)
            self._closing = True
        self._end(error)

    def _taken(self) -> None:
        self._room.set()
        if self.on_room is not None:
            self.on_room()

    def _emptied(self) -> None:
        if self._closing and self._socket is not None:
            # The other side reads the end of the stream after the last frame, and closes.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
