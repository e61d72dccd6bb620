"""Writing to a socket: what waits to leave, and its watermarks.

Owns: handing the kernel what it takes, and coming back when it takes more. Its rule: nothing is copied, and the event
loop gets its turn after every few megabytes. Not here: the order in which frames leave (`wire/send_queue.py`), reading, and
what ends a connection (`wire/connection.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from edgesplit.wire.secured.secure_socket import SecureSocket
from edgesplit.wire.send_queue import Lane, PartSize, Queued, SendQueue

__all__ = ["SocketWriter"]

_BURST_BYTES = 1 << 22
"""After this many bytes in one go the event loop gets its turn, unless no more than as many again are left."""
_MAX_BUFFERS = 64


class SocketWriter:
    """What leaves through one socket.

    Args:
        own: Non-blocking; closed by its owner, after `close`.
        loop: The event loop it is watched on.
        on_taken: Called whenever the kernel took bytes; must not put anything before it has returned.
        on_empty: Called when nothing waits any more.
        on_broken: The socket is of no use any more.

    Attributes:
        sent_bytes: Handed to the kernel so far. [B]
    """

    def __init__(
        self,
        own: socket.socket | SecureSocket,
        loop: asyncio.AbstractEventLoop,
        *,
        on_taken: Callable[[], None],
        on_empty: Callable[[], None],
        on_broken: Callable[[OSError], None],
    ) -> None:
        self._socket: socket.socket | SecureSocket | None = own
        self._loop = loop
        self._on_taken = on_taken
        self._on_empty = on_empty
        self._on_broken = on_broken
        self._queue = SendQueue()
        self._pace = PartSize()
        self._writing: deque[memoryview] = deque()
        self._writing_bytes = 0
        self._armed = False
        self.sent_bytes = 0
        self._limit_unsent()

    @property
    def waiting_bytes(self) -> int:
        """Of frames that have not left. [B]"""
        return self._queue.waiting_bytes + self._writing_bytes

    def put(self, buffers: Sequence[memoryview], lane: Lane) -> Queued:
        """Let a frame leave, now if the kernel takes it."""
        queued = self._queue.put(buffers, lane)
        self.write()
        return queued

    def withdraw(self, queued: Queued) -> bool:
        """Take a frame back; False when all of it has left."""
        if not self._queue.withdraw(queued):
            return False
        self.write()  # a frame of which parts have left is given up aloud
        return True

    def drop_waiting(self) -> None:
        """Forget the frames that have not begun to leave."""
        self._queue.clear()

    def write(self) -> None:
        """Hand the kernel what it takes, unless it is waited for already."""
        if not self._armed:
            self.go_on()

    def close(self) -> None:
        """Forget everything and leave the socket alone."""
        if self._socket is not None and self._armed:
            self._loop.remove_writer(self._socket)
        self._socket, self._armed = None, False
        self._queue.clear()
        self._writing.clear()
        self._writing_bytes = 0

    def go_on(self) -> None:
        """Hand the kernel what it takes: it was said to have room again."""
        if self._socket is None:
            return
        budget = _BURST_BYTES
        try:
            while (budget > 0 or self.waiting_bytes <= _BURST_BYTES) and self._load():
                offered = self._writing_bytes
                sent = self._socket.sendmsg(islice(self._writing, _MAX_BUFFERS))
                self._sent(sent)
                budget -= sent
                if sent < offered and len(self._writing) <= _MAX_BUFFERS:
                    self._full()
                    break
        except (BlockingIOError, InterruptedError):
            self._full()
        except OSError as error:
            self._on_broken(error)
            return
        self._arm(bool(self._writing or self._queue))

    def _load(self) -> bool:
        """Have something to write; False when nothing waits."""
        if not self._writing:
            self._writing.extend(self._queue.take())
            self._writing_bytes = sum(buffer.nbytes for buffer in self._writing)
            if not self._writing:
                self._pace.idle()
        return bool(self._writing)

    def _sent(self, nbytes: int) -> None:
        self.sent_bytes += nbytes
        self._writing_bytes -= nbytes
        self._pace.sent(nbytes)
        self._on_taken()
        while nbytes:
            first = self._writing[0]
            if nbytes < first.nbytes:
                self._writing[0] = first[nbytes:]
                return
            nbytes -= first.nbytes
            self._writing.popleft()

    def _full(self) -> None:
        """The kernel takes no more for now: the loop calls again."""
        if self._pace.full(self._loop.time()):
            self._queue.part_bytes = self._pace.part_bytes
            self._limit_unsent()

    def _limit_unsent(self) -> None:
        """Have the kernel hold no more unsent bytes than a part: a small frame would wait behind them."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, self._pace.part_bytes)

    def _arm(self, wanted: bool) -> None:
        if self._socket is None:
            return
        if wanted != self._armed:
            self._armed = wanted
            if wanted:
                self._loop.add_writer(self._socket, self.go_on)
            else:
                self._loop.remove_writer(self._socket)
        if not wanted:
            self._on_empty()
