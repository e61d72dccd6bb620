"""Network addresses as text and as values: `host:port`, `[v6]:port`, `unix:/path`.

Owns: taking them apart and putting them together, and what a host's spelling tells. Its rule: pure; nothing is looked
up. Not here: sockets (`wire/endpoints.py`), which of a machine's addresses others reach
(`edgesplit.daemon.advertised_address`).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from edgesplit.errors import InvalidConfiguration

__all__ = ["TcpAddress", "UnixAddress", "host_of", "is_loopback", "is_numeric", "parse_address", "parse_tcp"]

UNIX_PREFIX = "unix:"
_MAX_PATH_BYTES = 107
"""`sockaddr_un.sun_path` has 108 bytes on Linux, one of them the terminating zero."""


@dataclass(frozen=True)
class TcpAddress:
    """A port of a machine."""

    host: str
    port: int

    def __str__(self) -> str:
        """As `parse_tcp` reads it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class UnixAddress:
    """A socket file of this machine."""

    path: str


def parse_tcp(text: str) -> TcpAddress | None:
    """Read `host:port` or `[v6]:port`; None where it is neither, or the port is above 65535."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        return None
    return TcpAddress(host, int(port))


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
    target = parse_tcp(address)
    if target is None:
        raise InvalidConfiguration(f"address {address!r} must look like host:port, for instance 127.0.0.1:7400")
    return target


def host_of(address: str) -> str:
    """The host of `host:port` or `[v6]:port`; empty where there is none."""
    return address.rpartition(":")[0].removeprefix("[").removesuffix("]")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine's loopback by its spelling; a name may be anything."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_numeric(host: str) -> bool:
    """Whether a host is an address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
