"""Connection limits and time-outs around an HTTP server.

Owns: the count of connections, the clock of each while no request of it is being answered, and that of a file that leaves. Its rule: a connection on
which no whole request header has come is closed after seconds, however it trickles; one too many is told so, unless one
that only waits can give way. Not here: HTTP itself (aiohttp, which every connection is handed to), bodies and answers,
which whoever reads and writes them bounds.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Guard", "GuardLimits", "sent_in_time"]

T = TypeVar("T")

GRACE_S = 2.0
"""Whoever came, or was answered, so lately does not give way. [s]"""
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
_BUSY_TEXT = b'{"error":"too many HTTP connections: come back later","code":"overloaded"}'


@dataclass(frozen=True)
class GuardLimits:
    """Bounds of one server.

    Attributes:
        connections: At a time.
        connections_per_address: Of them, from one address.
        header_s: For a request's whole header, from its first byte, or from the connection's beginning. [s]
        idle_s: Between an answer and the next request; also for the kernel to be rid of an answer. [s]
    """

    connections: int = 256
    connections_per_address: int = 128
    header_s: float = 10.0
    idle_s: float = 30.0


class Guard:
    """Stands in front of a server's connections; a protocol factory itself.

    Args:
        make: The server's own protocol of one connection; None while it takes none.
        limits: Bounds.

    Attributes:
        refused: Counts what was turned away or ended, by kind.
    """

    def __init__(self, make: Callable[[], asyncio.Protocol | None], limits: GuardLimits) -> None:
        self._make = make
        self.limits = limits
        self.refused: Counter[str] = Counter()
        self._held: dict[asyncio.BaseTransport, _Guarded] = {}

    def __call__(self) -> asyncio.Protocol:
        """A protocol for a new connection."""
        return _Guarded(self)

    def __len__(self) -> int:
        """Connections there are now."""
        return len(self._held)

    @contextmanager
    def answering(self, transport: asyncio.BaseTransport | None) -> Generator[None]:
        """A request of this connection is being answered as long as the block lasts."""
        guarded = None if transport is None else self._held.get(transport)
        if guarded is not None:
            guarded.begin()
        try:
            yield
        finally:
            if guarded is not None:
                guarded.end()

    def enter(self, guarded: _Guarded, transport: asyncio.Transport) -> asyncio.Protocol | None:
        """Take a connection in, or have it told that there is no place."""
        host = _host(transport)
        near = {key: held for key, held in self._held.items() if host and _host(key) == host}
        if len(near) >= self.limits.connections_per_address and not self._make_room(near):
            return None
        if len(self._held) >= self.limits.connections and not self._make_room(self._held):
            return None
        inner = self._make()
        if inner is not None:
            self._held[transport] = guarded
        return inner

    def leave(self, transport: asyncio.BaseTransport) -> None:
        """A connection is gone."""
        self._held.pop(transport, None)

    def end_where(self, unwanted: Callable[[asyncio.BaseTransport], bool]) -> None:
        """End at once every connection of which that is so."""
        for transport, guarded in list(self._held.items()):
            if unwanted(transport):
                guarded.cut_off()

    def _make_room(self, held: Mapping[asyncio.BaseTransport, _Guarded]) -> bool:
        """End the connection that has waited longest, if one has for a while."""
        now_s = asyncio.get_running_loop().time()
        waiting = [
            (guarded.waiting_since_s, number, transport)
            for number, (transport, guarded) in enumerate(held.items())
            if guarded.waiting_since_s is not None and now_s - guarded.waiting_since_s >= GRACE_S
        ]
        if not waiting:
            self.refused["http-connections"] += 1
            return False
        transport = min(waiting)[2]
        self.refused["http-idle-connections"] += 1
        self._held[transport].cut_off()
        return True


class _Guarded(asyncio.Protocol):
    """One connection: passes everything on to the server's own protocol, and watches the clock.

    Attributes:
        waiting_since_s: Since when no request is being answered; None while one is. [s]
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._loop = asyncio.get_running_loop()
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._header_begun = False
        self._answering = 0
        self.waiting_since_s: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio's own contract
        self._inner = self._guard.enter(self, transport)
        if self._inner is None:
            transport.write(_BUSY + b"Content-Length: %d\r\n\r\n" % len(_BUSY_TEXT) + _BUSY_TEXT)
            transport.close()
            return
        self._transport = transport
        # Whoever has never sent a request gets no longer than a header may take.
        self._wait(min(self._guard.limits.header_s, self._guard.limits.idle_s))
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._inner is None:
            return
        if self.waiting_since_s is not None and not self._header_begun:
            self._header_begun = True
            self._arm(self._guard.limits.header_s)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """See asyncio.Protocol."""
        return None if self._inner is None else self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._guard.leave(self._transport)
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._inner is not None:
            self._inner.resume_writing()

    def begin(self) -> None:
        """A whole header has come, and its request is being answered."""
        self._answering += 1
        self.waiting_since_s = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end(self) -> None:
        """It was answered."""
        self._answering -= 1
        if not self._answering:
            self._wait(self._guard.limits.idle_s)

    def cut_off(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._guard.leave(self._transport)
            self._transport.abort()

    def _wait(self, within_s: float) -> None:
        self._header_begun = False
        self.waiting_since_s = self._loop.time()
        self._arm(within_s)

    def _arm(self, within_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(within_s, self._overdue)

    def _overdue(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            kind = "http-slow-headers" if self._header_begun else "http-idle-timeouts"
            self._guard.refused[kind] += 1
        self.cut_off()


def _host(transport: asyncio.BaseTransport) -> str:
    name = transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else ""


async def sent_in_time(
    sending: Awaitable[T], transport: Callable[[], asyncio.BaseTransport | None], limit_s: float
) -> T:
    """Have a file sent that its receiver has to have taken in time.

    Args:
        sending: aiohttp's; called once, for a file that is sent twice is an error of its own.
        transport: The connection as it is when asked; None once it is gone.
        limit_s: After which the receiver is cut off. [s]

    Raises:
        ConnectionResetError: It was too slow, or went away.
    """
    try:
        async with asyncio.timeout(limit_s):
            return await sending
    except TimeoutError:
        there = transport()
        if isinstance(there, asyncio.WriteTransport):
            there.abort()
        raise ConnectionResetError("the receiver of a file is too slow") from None
    except AssertionError:
        # What aiohttp says of a receiver that was gone before the first byte.
        if transport() is not None:
            raise
        raise ConnectionResetError("the receiver of a file went away") from None
