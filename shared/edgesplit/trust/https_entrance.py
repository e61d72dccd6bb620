"""TLS in front of an HTTP server: handshakes bounded in number and time.

Owns: connections from their acceptance until the handshake is complete. Its rule: asyncio's own `ssl=` counts nobody before that, so
handshakes are made here; where too many wait, the one that has waited longest gives way. Not here: the server behind it
(`edgesplit.daemon.http_guard`, which counts whoever has come through), who may ask for what.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from edgesplit.trust.subjects import PeerCertificate

__all__ = ["EntranceLimits", "HttpsEntrance", "certificate_of"]


@dataclass(frozen=True)
class EntranceLimits:
    """Bounds of those who have not finished their handshake.

    Attributes:
        at_once: Connections.
        per_address: Of them, from one address.
        within_s: For a handshake. [s]
    """

    at_once: int = 128
    per_address: int = 64
    within_s: float = 5.0


class HttpsEntrance:
    """Makes the protocols of a listening server.

    Args:
        make: The protocol behind TLS.
        context: Of this side.
        limits: Bounds.
        refused: Counts what was turned away, by kind.
        on_failed: Told the address of whoever could not be spoken to securely, and why.
    """

    def __init__(
        self,
        make: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext,
        limits: EntranceLimits,
        refused: Counter[str],
        on_failed: Callable[[str, OSError], None] | None = None,
    ) -> None:
        self.on_failed = on_failed
        self.make = make
        self.context = context
        self.limits = limits
        self.refused = refused
        self._arriving: dict[_Arriving, None] = {}

    def __call__(self) -> asyncio.Protocol:
        """A protocol for a new connection."""
        return _Arriving(self)

    def __len__(self) -> int:
        """Handshakes there are now."""
        return len(self._arriving)

    def enter(self, arriving: _Arriving) -> None:
        """Take a connection in; another may have to go for it."""
        near = [other for other in self._arriving if other.host == arriving.host]
        if len(near) >= self.limits.per_address:
            near[0].give_way()
        elif len(self._arriving) >= self.limits.at_once:
            next(iter(self._arriving)).give_way()
        self._arriving[arriving] = None

    def leave(self, arriving: _Arriving) -> None:
        """Its handshake is over."""
        self._arriving.pop(arriving, None)

    def close(self) -> None:
        """End all handshakes."""
        for arriving in list(self._arriving):
            arriving.give_way()


class _Arriving(asyncio.Protocol):
    """One connection before its handshake is complete.

    Attributes:
        host: Where it came from.
    """

    def __init__(self, entrance: HttpsEntrance) -> None:
        self._entrance = entrance
        self._inner: asyncio.Protocol | None = None
        self._early = bytearray()
        self._early_end = False
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self.host = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol; of the connection without TLS."""
        self._transport = cast(asyncio.Transport, transport)
        name = transport.get_extra_info("peername")
        self.host = str(name[0]) if isinstance(name, tuple) else ""
        self._entrance.enter(self)
        self._task = asyncio.get_running_loop().create_task(self._secure(self._transport))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol; what is decrypted before the server behind knows of the connection."""
        if self._inner is None:
            self._early += data
        else:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """See asyncio.Protocol."""
        if self._inner is not None:
            return self._inner.eof_received()
        self._early_end = True
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._entrance.leave(self)
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def give_way(self) -> None:
        """End at once."""
        self._entrance.refused["http-handshakes"] += 1
        self._entrance.leave(self)
        if self._transport is not None:
            self._transport.abort()

    async def _secure(self, transport: asyncio.Transport) -> None:
        entrance = self._entrance
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport,
                self,
                entrance.context,
                server_side=True,
                ssl_handshake_timeout=entrance.limits.within_s,
            )
        except OSError as error:  # ssl.SSLError is one, and so is what says that it took too long
            entrance.refused["http-failed-handshakes"] += 1
            if entrance.on_failed is not None:
                entrance.on_failed(self.host, error)
            with contextlib.suppress(OSError):
                transport.abort()
            return
        finally:
            entrance.leave(self)
        if secured is None:
            return  # the connection was lost meanwhile
        inner = entrance.make()
        inner.connection_made(secured)
        self._inner = inner
        if self._early:
            inner.data_received(bytes(self._early))
            self._early.clear()
        if self._early_end:
            inner.eof_received()


def certificate_of(transport: asyncio.BaseTransport | None) -> PeerCertificate | None:
    """What the other side of a connection proved to be; None without TLS, and where it showed nothing."""
    connection = None if transport is None else transport.get_extra_info("ssl_object")
    return PeerCertificate.of(connection) if isinstance(connection, ssl.SSLObject | ssl.SSLSocket) else None
