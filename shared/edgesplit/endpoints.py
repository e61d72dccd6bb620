"""Where a data plane can be reached: addresses, connecting, listening.

Owns: the two spellings of an address, `host:port` and `unix:/path`, and what each means to the operating system. Its
rule: a socket file that a living agent listens on is never taken from it, one that a dead agent left is. Not here: the
connection itself (`streams.py`), who connects to whom.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from dataclasses import dataclass
from pathlib import Path

from edgesplit.errors import InvalidConfiguration, NodeUnreachable
from edgesplit.frames import FrameLimits
from edgesplit.streams import Connection, FrameReceiver

__all__ = ["TcpAddress", "UnixAddress", "open_connection", "parse_address", "remove_socket", "serve"]

UNIX_PREFIX = "unix:"
_MAX_PATH_BYTES = 107
"""`sockaddr_un.sun_path` has 108 bytes on Linux, one of them the terminating zero."""
_SOCKET_MODE = 0o666
"""Whoever may enter the folder may connect, as with the TCP port; the folder's mode is the operator's."""


@dataclass(frozen=True)
class TcpAddress:
    """A port of a machine."""

    host: str
    port: int


@dataclass(frozen=True)
class UnixAddress:
    """A socket file of this machine."""

    path: str


def parse_address(address: str) -> TcpAddress | UnixAddress:
    """Read `host:port`, `[v6]:port` or `unix:/path`.

    Raises:
        InvalidConfiguration: It is none of them, the port is out of range, or the path too long.
    """
    if address.startswith(UNIX_PREFIX):
        path = address.removeprefix(UNIX_PREFIX)
        if not path.startswith("/") or "\0" in path or len(path.encode()) > _MAX_PATH_BYTES:
            raise InvalidConfiguration(
                f"address {address!r} must name an absolute path of at most {_MAX_PATH_BYTES} B, "
                "for instance unix:/run/edgesplit/agent.sock"
            )
        return UnixAddress(path)
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise InvalidConfiguration(f"address {address!r} must look like host:port, for instance 127.0.0.1:7400")
    return TcpAddress(host, int(port))


async def open_connection(
    address: str, receiver: FrameReceiver, *, limits: FrameLimits, queue_bytes: int, timeout_s: float
) -> Connection:
    """Connect to an agent's data plane.

    Raises:
        InvalidConfiguration: The address cannot be read.
        NodeUnreachable: Nobody accepts there within `timeout_s`.
    """
    target = parse_address(address)
    loop = asyncio.get_running_loop()

    def make() -> Connection:
        return Connection(receiver, limits=limits, queue_bytes=queue_bytes)

    try:
        async with asyncio.timeout(timeout_s):
            if isinstance(target, UnixAddress):
                _, connection = await loop.create_unix_connection(make, target.path)
            else:
                _, connection = await loop.create_connection(make, target.host, target.port)
    except TimeoutError as error:
        raise NodeUnreachable(f"no agent answers at {address} within {timeout_s:g} s: is it running?") from error
    except OSError as error:
        cause = error.strerror or str(error)
        raise NodeUnreachable(f"no agent accepts connections at {address} ({cause}): is it running?") from error
    return connection


async def serve(
    listen: str, receiver: FrameReceiver, *, limits: FrameLimits, queue_bytes: int
) -> tuple[asyncio.Server, str]:
    """Accept connections.

    Returns:
        The server and the address it really has (a port of 0 becomes a free one).

    Raises:
        InvalidConfiguration: The address cannot be read or bound.
    """
    target = parse_address(listen)
    loop = asyncio.get_running_loop()

    def make() -> Connection:
        return Connection(receiver, limits=limits, queue_bytes=queue_bytes)

    try:
        if isinstance(target, UnixAddress):
            await asyncio.to_thread(_clear_way, Path(target.path))
            server = await loop.create_unix_server(make, target.path)
            await asyncio.to_thread(Path(target.path).chmod, _SOCKET_MODE)
            return server, listen
        server = await loop.create_server(make, target.host, target.port)
    except OSError as error:
        raise InvalidConfiguration(f"cannot listen on {listen} ({error.strerror or error}): choose another") from error
    bound = server.sockets[0].getsockname()
    shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
    return server, f"{shown}:{bound[1]}"


def remove_socket(address: str) -> None:
    """Remove the file of a Unix socket that is not listened on any more; of a TCP address, nothing."""
    target = parse_address(address)
    if isinstance(target, UnixAddress):
        with contextlib.suppress(OSError):
            Path(target.path).unlink()


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
