"""Reception of strangers on a secured port: first byte, handshake, turning away.

Owns: connections from their acceptance until they are known to speak TLS with this fleet, or to be a program of this machine. Its
rule: they are few at a time, and none for long; where there are too many, the one that has waited longest gives way, for an honest
handshake takes milliseconds. Not here: what an admitted connection may do (the agent's data plane says), the steps of a handshake
(`secured/secure_socket.py`).

TLS begins with a record of type 22, a frame with the letter E: the first byte tells which is spoken.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from edgesplit.errors import NotTrusted
from edgesplit.trust.tls import explain_handshake
from edgesplit.wire.address import is_loopback
from edgesplit.wire.frames import encode_frame
from edgesplit.wire.headers import Failure
from edgesplit.wire.listener import AcceptPolicy
from edgesplit.wire.secured.secure_socket import HandshakeStep, SecureSocket

__all__ = ["HandshakeLimits", "Reception", "ReceptionPolicy", "SecuredPort"]

_HANDSHAKE_RECORD = b"\x16"
_LINGER_S = 1.0
"""How long whoever is turned away has to read why. [s]"""
_DISCARDED = memoryview(bytearray(1 << 12))
"""Where bytes go that nobody wants."""


@dataclass(frozen=True)
class HandshakeLimits:
    """Bounds of what strangers cause before they are known.

    Attributes:
        at_once: Connections that have not finished their handshake.
        per_address: Of them, from one address.
        within_s: From being accepted until the handshake is complete. [s]
    """

    at_once: int = 128
    per_address: int = 64
    within_s: float = 5.0


class ReceptionPolicy(AcceptPolicy, Protocol):
    """Decides who may stay, and is told of those who may not; called on the event loop."""

    def turned_away(self, kind: str, host: str, reason: str) -> None:
        """A connection from there ended before it was one.

        Args:
            kind: Of reasons, to count by.
            host: Where it came from.
            reason: One sentence.
        """


@dataclass(frozen=True)
class SecuredPort:
    """What a secured port is.

    Attributes:
        context: Of this side.
        policy: Asked once a stranger has become a connection, and told of the others.
        local_clients: Whether programs of this machine may come without TLS.
        limits: Bounds of those who arrive.
    """

    context: ssl.SSLContext
    policy: ReceptionPolicy
    local_clients: bool = True
    limits: HandshakeLimits = field(default_factory=HandshakeLimits)


class Reception:
    """Strangers of one listener; its policy itself.

    Args:
        port: What they come to.
        admitted: Given each connection that may stay.
    """

    def __init__(self, port: SecuredPort, admitted: Callable[[socket.socket | SecureSocket], None]) -> None:
        self.port = port
        self._admitted = admitted
        self._arrivals: dict[Arrival, None] = {}

    def __len__(self) -> int:
        """Strangers there are now."""
        return len(self._arrivals)

    def admits(self, host: str) -> bool:
        """See `AcceptPolicy`: there is always a place, if need be that of whoever has waited longest."""
        near = [arrival for arrival in self._arrivals if arrival.host == host]
        if len(near) >= self.port.limits.per_address:
            near[0].give_way()
        elif len(self._arrivals) >= self.port.limits.at_once:
            next(iter(self._arrivals)).give_way()
        return True

    def exhausted(self, error: OSError) -> None:
        """See `AcceptPolicy`."""
        if self._arrivals:
            next(iter(self._arrivals)).give_way()
        self.port.policy.exhausted(error)

    def take(self, own: socket.socket) -> None:
        """Take a stranger in."""
        arrival = Arrival(self, own)
        self._arrivals[arrival] = None
        arrival.start()

    def close(self) -> None:
        """Send everybody away who is not known yet."""
        for arrival in list(self._arrivals):
            arrival.end()

    def leave(self, arrival: Arrival) -> None:
        """It is a stranger no more, or gone."""
        self._arrivals.pop(arrival, None)

    def admit(self, arrival: Arrival, connected: socket.socket | SecureSocket) -> None:
        """It may stay, if there is a place."""
        self.leave(arrival)
        if self.port.policy.admits(arrival.host):
            self._admitted(connected)
        else:
            connected.close()


class Arrival:
    """One stranger.

    Args:
        reception: Where it waits.
        own: Its socket.

    Attributes:
        host: Where it came from.
    """

    def __init__(self, reception: Reception, own: socket.socket) -> None:
        self._reception = reception
        self._own = own
        self._secure: SecureSocket | None = None
        self._loop = asyncio.get_running_loop()
        self._turned_away = False
        try:
            self.host = str(own.getpeername()[0])
        except OSError:
            self.host = ""
        self._timer = self._loop.call_later(reception.port.limits.within_s, self._too_late)

    def start(self) -> None:
        """Wait for its first byte."""
        self._loop.add_reader(self._own, self._look)

    def give_way(self) -> None:
        """End at once, as others wait."""
        if not self._turned_away:
            text = "too many connections are in the middle of a TLS handshake"
            self._reception.port.policy.turned_away("handshakes", self.host, text)
        self.end()

    def end(self) -> None:
        """Close the socket."""
        self._let_go()
        self._own.close()

    def _let_go(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self._own)
        self._loop.remove_writer(self._own)
        self._reception.leave(self)

    def _too_late(self) -> None:
        text = "no TLS handshake was completed in time"
        self._reception.port.policy.turned_away("slow-handshakes", self.host, text)
        self.end()

    def _look(self) -> None:
        """Which of both is spoken; the byte stays where it is."""
        try:
            first = self._own.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.end()
            return
        if first == _HANDSHAKE_RECORD:
            self._secure = SecureSocket(self._own, self._reception.port.context, server_side=True)
            self._go_on()
        elif not first:
            self.end()
        elif self._reception.port.local_clients and is_loopback(self.host):
            self._let_go()
            self._reception.admit(self, self._own)
        else:
            self._refuse_plain()

    def _go_on(self) -> None:
        assert self._secure is not None  # noqa: S101 - `_look` made it before this is called
        self._loop.remove_reader(self._own)
        self._loop.remove_writer(self._own)
        try:
            wanted = self._secure.shake_hands()
        except ssl.SSLError as error:
            self._turn_away("failed-handshakes", explain_handshake(error, f"whoever connects from {self.host}"))
            return
        except OSError:
            self.end()
            return
        if wanted is HandshakeStep.READ:
            self._loop.add_reader(self._own, self._go_on)
        elif wanted is HandshakeStep.WRITE:
            self._loop.add_writer(self._own, self._go_on)
        else:
            self._let_go()
            self._reception.admit(self, self._secure)

    def _refuse_plain(self) -> None:
        error = NotTrusted(
            "this node speaks with others over TLS alone: give edgesplit.connect a token or a certificate and ca_file, "
            "or have the node join the fleet"
        )
        with contextlib.suppress(OSError):
            self._own.send(b"".join(encode_frame(Failure(code=error.code, message=str(error)))))
        self._turn_away("plain-connections", "it speaks no TLS")

    def _turn_away(self, kind: str, reason: str) -> None:
        """Wait until it has read why: what it still sends would end the connection before."""
        self._turned_away = True
        self._reception.port.policy.turned_away(kind, self.host, reason)
        self._timer.cancel()
        self._timer = self._loop.call_later(_LINGER_S, self.end)
        with contextlib.suppress(OSError):
            self._own.shutdown(socket.SHUT_WR)
        self._loop.add_reader(self._own, self._discard)

    def _discard(self) -> None:
        try:
            while self._own.recv_into(_DISCARDED):
                pass
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass  # It is gone, which is what was waited for.
        self.end()
