"""Endpoints of the data plane, TCP and Unix: connecting, listening.

Owns: what either kind of address means to the operating system. Its rule: a socket file that a living agent listens on
is never taken from it, one that a dead agent left is. Not here: addresses as text (`wire/address.py`), the connection
itself (`wire/connection.py`), who connects to whom.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesplit.errors import InvalidConfiguration, NodeUnreachable, NotTrusted
from edgesplit.trust.subjects import PeerCertificate
from edgesplit.trust.tls import explain_handshake
from edgesplit.wire.address import TcpAddress, UnixAddress, parse_address
from edgesplit.wire.connection import Connection, FrameReceiver
from edgesplit.wire.frames import FrameLimits
from edgesplit.wire.listener import BACKLOG, AcceptPolicy, Listener
from edgesplit.wire.secured.handshake import shake_hands
from edgesplit.wire.secured.reception import Reception, SecuredPort
from edgesplit.wire.secured.secure_socket import SecureSocket

__all__ = ["open_connection", "remove_socket", "serve"]

_SOCKET_MODE = 0o666
"""Whoever may enter the folder may connect, as with the TCP port; the folder's mode is the operator's."""


async def open_connection(
    address: str,
    receiver: FrameReceiver,
    *,
    limits: FrameLimits,
    queue_bytes: int,
    timeout_s: float,
    context: ssl.SSLContext | None = None,
    expects: Callable[[PeerCertificate | None], None] | None = None,
) -> Connection:
    """Connect to an agent's data plane.

    Args:
        address: Where.
        receiver: Told of frames and of the end.
        limits: What is accepted from the other side.
        queue_bytes: See `Connection`. [B]
        timeout_s: For connecting, the handshake included. [s]
        context: Of TLS, which a Unix socket never speaks: its file's permissions guard it. None: without.
        expects: Told what the other side of a TLS connection proved to be; raises NotTrusted for anybody else than was meant.

    Raises:
        InvalidConfiguration: The address cannot be read.
        NodeUnreachable: Nobody accepts there within `timeout_s`.
        NotTrusted: The other side is not of this fleet, or not who was meant.
    """
    target = parse_address(address)
    try:
        async with asyncio.timeout(timeout_s):
            bare = await _connected(target)
            own: socket.socket | SecureSocket = bare
            if context is not None and isinstance(target, TcpAddress):
                own = await _secured(bare, context, expects)
    except TimeoutError as error:
        raise NodeUnreachable(f"no agent answers at {address} within {timeout_s:g} s: is it running?") from error
    except ssl.SSLError as error:
        raise NotTrusted(explain_handshake(error, f"the agent at {address}")) from error
    except OSError as error:
        # asyncio has words of its own for a refused connection; a name that is not found has the resolver's.
        known = error.errno is not None and error.errno > 0
        cause = os.strerror(error.errno or 0) if known else error.strerror or str(error)
        raise NodeUnreachable(f"no agent accepts connections at {address} ({cause}): is it running?") from error
    connection = Connection(own, receiver, limits=limits, queue_bytes=queue_bytes)
    connection.start()
    return connection


async def serve(
    listen: str,
    receiver: FrameReceiver,
    *,
    limits: FrameLimits,
    queue_bytes: int,
    greeting: FrameLimits | None = None,
    policy: AcceptPolicy | None = None,
    secured: SecuredPort | None = None,
) -> tuple[Listener, str]:
    """Accept connections.

    Args:
        listen: Where.
        receiver: Of all of them.
        limits: What is accepted from the other side.
        queue_bytes: See `Connection`. [B]
        greeting: What is accepted of somebody who has not said who it is; None: the same.
        policy: Decides who may come in; None admits everybody.
        secured: Where strangers have to speak TLS: how, and who decides instead of `policy`. A Unix socket never speaks it.

    Returns:
        The listener and the address it really has (a port of 0 becomes a free one).

    Raises:
        InvalidConfiguration: The address cannot be read or bound.
    """
    target = parse_address(listen)

    def accepted(own: socket.socket | SecureSocket) -> None:
        Connection(own, receiver, limits=limits, queue_bytes=queue_bytes, greeting=greeting).start()

    try:
        if isinstance(target, UnixAddress):
            sockets = [await asyncio.to_thread(_bound_to_file, Path(target.path))]
        else:
            sockets = _bound(await _resolved(target, passive=True))
    except OSError as error:
        raise InvalidConfiguration(f"cannot listen on {listen} ({error.strerror or error}): choose another") from error
    bound = sockets[0].getsockname()
    if isinstance(target, UnixAddress):
        return Listener(sockets, accepted, policy), listen
    if secured is None:
        listener = Listener(sockets, accepted, policy)
    else:
        reception = Reception(secured, accepted)
        listener = Listener(sockets, reception.take, reception, reception.close)
    return listener, str(TcpAddress(bound[0], bound[1]))


def remove_socket(address: str) -> None:
    """Remove the file of a Unix socket that is not listened on any more; of a TCP address, nothing."""
    target = parse_address(address)
    if isinstance(target, UnixAddress):
        with contextlib.suppress(OSError):
            Path(target.path).unlink()


@dataclass(frozen=True)
class _Resolved:
    """An address as the operating system takes it."""

    family: int
    address: tuple[Any, ...]


async def _resolved(target: TcpAddress, *, passive: bool = False) -> list[_Resolved]:
    """What a host's name stands for; an address itself is not asked about in a thread."""
    flags = socket.AI_PASSIVE if passive else 0
    try:
        found = socket.getaddrinfo(
            target.host, target.port, type=socket.SOCK_STREAM, flags=flags | socket.AI_NUMERICHOST
        )
    except socket.gaierror:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, flags=flags)
    return [_Resolved(family, address) for family, _, _, _, address in dict.fromkeys(found)]


async def _connected(target: TcpAddress | UnixAddress) -> socket.socket:
    """A connected, non-blocking socket; the addresses of a name are tried in their order."""
    if isinstance(target, UnixAddress):
        return await _connect(socket.AF_UNIX, target.path)
    failed = OSError(errno.EADDRNOTAVAIL, "the name has no address")
    for resolved in await _resolved(target):
        try:
            return await _connect(resolved.family, resolved.address)
        except OSError as error:
            failed = error
    raise failed


async def _secured(
    bare: socket.socket, context: ssl.SSLContext, expects: Callable[[PeerCertificate | None], None] | None
) -> SecureSocket:
    secure = SecureSocket(bare, context, server_side=False)
    try:
        await shake_hands(secure)
        if expects is not None:
            expects(secure.peer_certificate)
    except BaseException:
        secure.close()
        raise
    return secure


async def _connect(family: int, address: str | tuple[Any, ...]) -> socket.socket:
    own = socket.socket(family, socket.SOCK_STREAM)
    try:
        own.setblocking(False)
        await asyncio.get_running_loop().sock_connect(own, address)
    except BaseException:
        own.close()
        raise
    return own


def _bound(wanted: Sequence[_Resolved]) -> list[socket.socket]:
    """Listening sockets on all addresses of a name, on one port; those of a family that is not there are left out."""
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for resolved in wanted:
            address = resolved.address
            if sockets and not address[1]:
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            try:
                sockets.append(_listening(resolved.family, address))
            except OSError as error:
                if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
                    raise
                missing = error
        if not sockets:
            raise missing or OSError(errno.EADDRNOTAVAIL, "the name has no address")
    except OSError:
        for listening in sockets:
            listening.close()
        raise
    return sockets


def _bound_to_file(path: Path) -> socket.socket:
    _clear_way(path)
    listening = _listening(socket.AF_UNIX, str(path))
    path.chmod(_SOCKET_MODE)
    return listening


def _listening(family: int, address: str | tuple[Any, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # What comes by IPv4 has a socket of its own.
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def _clear_way(path: Path) -> None:
    """Make the folder, and remove a socket file that nobody answers on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        return
    if not path.is_socket():
        raise FileExistsError(errno.EEXIST, "the file exists and is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, "another agent listens there")
