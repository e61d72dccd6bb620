"""The advertised address of a daemon: chosen by the route, checked, explained.

Owns: which of this machine's addresses is advertised, and what is wrong with one that others cannot reach. Its rule:
pure but for `SystemNetwork`, which asks the kernel and sends nothing; nothing here is remembered, so whoever asks again
after the machine got another address gets that one. Not here: when it is asked (the agent's
`reporting/node_address.py`, the controller's `artifacts/artifact_address.py`), the listening sockets.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgesplit.errors import InvalidConfiguration
from edgesplit.wire.address import TcpAddress, host_of, is_loopback, is_numeric, parse_address

__all__ = [
    "Advertised",
    "Network",
    "Offer",
    "SystemNetwork",
    "advertised",
    "checked_advertise",
    "unreachable_for",
    "unresolved",
]

_ELSEWHERE = {4: "192.0.2.1", 6: "2001:db8::1"}
"""Addresses that nobody has (RFC 5737 and 3849): only the default route leads there."""
_WILDCARDS = frozenset({"0.0.0.0", "::", "*"})  # noqa: S104 - compared, not bound


class Network(Protocol):
    """What the operating system knows about this machine's addresses."""

    def own_towards(self, host: str) -> str:
        """The address from which this machine would talk to a numeric address; empty where no route leads there."""
        ...

    def is_own(self, host: str) -> bool:
        """Whether a numeric address is one of this machine's."""
        ...

    def attached(self) -> tuple[str, ...]:
        """Own addresses on the networks that this machine is attached to, loopback left out."""
        ...

    def resolve(self, host: str) -> tuple[str, ...]:
        """Numeric addresses of a name, none where it does not resolve; may take seconds."""
        ...


@dataclass(frozen=True)
class Offer:
    """What a daemon offers to other machines, and the key that says under which address.

    Attributes:
        bound: host:port it listens on.
        advertise: host:port that the configuration names, or empty.
        listen_key: As people find it in the file, such as `[data] listen`.
        advertise_key: Likewise.
        used_by: Who has to reach it, such as `other agents`.
        local_by_choice: Listening on loopback alone is a normal choice here.
    """

    bound: str
    advertise: str
    listen_key: str
    advertise_key: str
    used_by: str
    local_by_choice: bool = False


@dataclass(frozen=True)
class Advertised:
    """An address and where it comes from.

    Attributes:
        address: host:port.
        chosen: How, to be read after the address.
        problem: Why others do not reach it and what to do, or empty.
    """

    address: str
    chosen: str
    problem: str = ""


def advertised(offer: Offer, broker: str, network: Network) -> Advertised:
    """The address that others reach.

    A configured one is taken as it is; a socket bound to one interface is reached there; one bound to all is reached
    under the address from which this machine talks to the broker, and where the broker is this machine's own loopback,
    under that of the default route or of the network it is attached to.

    Args:
        offer: What is offered.
        broker: The broker's numeric address, or empty while it is not known.
        network: This machine's.
    """
    host, port = _split(offer.bound)
    broker_elsewhere = bool(broker) and not is_loopback(broker) and not network.is_own(broker)
    if offer.advertise:
        named = host_of(offer.advertise)
        problem = ""
        if broker_elsewhere and is_loopback(named):
            problem = (
                f"{offer.advertise_key} is {offer.advertise}, this machine's loopback, which {offer.used_by} on other "
                "machines never reach: leave it empty, or name this machine's address"
            )
        return Advertised(offer.advertise, f"as {offer.advertise_key} says", problem)
    if host not in _WILDCARDS:
        problem = ""
        if is_loopback(host) and broker_elsewhere and not offer.local_by_choice:
            problem = (
                f"{offer.listen_key} is {offer.bound}, this machine's loopback, which {offer.used_by} on other machines "
                f'never reach: set it to "0.0.0.0:{port}"'
            )
        return Advertised(offer.bound, f"as {offer.listen_key} says", problem)
    own, chosen = _own_address(6 if ":" in host else 4, broker, network)
    problem = ""
    if is_loopback(own):
        problem = (
            f"this machine has no address but its loopback, which {offer.used_by} on other machines never reach: connect it "
            f"to a network, or set {offer.advertise_key}"
        )
    return Advertised(str(TcpAddress(own, port)), chosen, problem)


def _own_address(version: int, broker: str, network: Network) -> tuple[str, str]:
    """An address of this machine that others can reach, and how it was found.

    Args:
        version: 4 or 6: that of the socket; addresses of the other do not reach it.
        broker: Numeric, or empty.
        network: This machine's.
    """
    found = (
        (network.own_towards(broker) if broker and not is_loopback(broker) else "", "by the route to the broker"),
        (network.own_towards(_ELSEWHERE[version]), "by the default route"),
        *((address, "by the network it is attached to") for address in network.attached()),
    )
    for address, chosen in found:
        if address and not is_loopback(address) and "%" not in address and _version(address) == version:
            return address, chosen
    return ("127.0.0.1" if version == 4 else "::1"), "for want of a network"


def checked_advertise(key: str, address: str) -> None:
    """Refuse an address that nobody can reach, whatever the network looks like.

    Raises:
        InvalidConfiguration: It names all interfaces, no port, or is no host:port at all.
    """
    target = parse_address(address)
    if not isinstance(target, TcpAddress):
        raise InvalidConfiguration(f"{key} is {address!r}: other machines need a host:port")
    if target.host in _WILDCARDS:
        raise InvalidConfiguration(
            f"{key} is {address!r}, which means every interface and is no address that others could reach: "
            "leave it empty, or name this machine's address"
        )
    if target.port == 0:
        raise InvalidConfiguration(f"{key} is {address!r}: others need the port, not 0")


def unresolved(key: str, address: str, network: Network) -> str:
    """One sentence where an address holds a name that does not resolve here, else empty; may take seconds."""
    host = host_of(address)
    if is_numeric(host) or network.resolve(host):
        return ""
    return (
        f"{key} is {address}, and {host} does not resolve on this machine: correct it, leave it empty, or add the name "
        "to DNS or to /etc/hosts of every machine"
    )


def unreachable_for(own: Advertised, offer: Offer, others: Sequence[tuple[str, str]], network: Network) -> str:
    """One sentence where this machine advertises its loopback while a node is on another machine, else empty.

    Args:
        own: What is advertised.
        offer: What it was found for.
        others: Names of nodes with their addresses.
        network: This machine's.
    """
    if own.problem or not is_loopback(host_of(own.address)):
        return ""
    for name, address in others:
        host = host_of(address)
        if is_numeric(host) and not is_loopback(host) and not network.is_own(host):
            mend = f'set {offer.listen_key} to "0.0.0.0:{_split(own.address)[1]}"'
            if offer.advertise:
                mend = f"leave {offer.advertise_key} empty, or name this machine's address"
            return (
                f"node {name} at {host} is on another machine and never reaches {own.address}, this machine's loopback: "
                f"{mend}"
            )
    return ""


class SystemNetwork:
    """This machine's, as the kernel sees it now."""

    def own_towards(self, host: str) -> str:
        """See Network."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            # Connecting a datagram socket sends nothing; it only picks the route.
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((host, 9))
                return str(probe.getsockname()[0])
        except OSError:
            return ""

    def is_own(self, host: str) -> bool:
        """See Network."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.bind((host, 0))
                return True
        except OSError:
            return False

    def attached(self) -> tuple[str, ...]:
        """See Network; from /proc, for a service may not open the sockets that getifaddrs(3) needs."""
        found = [self.own_towards(host) for host in _attached_hosts(_lines("/proc/net/route"))]
        found += _global_addresses(_lines("/proc/net/if_inet6"))
        return tuple(dict.fromkeys(address for address in found if address and not is_loopback(address)))

    def resolve(self, host: str) -> tuple[str, ...]:
        """See Network."""
        try:
            return tuple({str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
        except (OSError, UnicodeError):
            return ()


def _attached_hosts(lines: Sequence[str]) -> list[str]:
    """An address in each network that a line of /proc/net/route reaches without a gateway."""
    hosts: list[str] = []
    for line in lines[1:]:
        _, destination, gateway, *_ = line.split()
        if gateway == "00000000" and destination != "00000000":
            # As the processor stores a word that is in network order.
            (network,) = struct.unpack(">I", struct.pack("=I", int(destination, 16)))
            hosts.append(str(ipaddress.IPv4Address(network | 1)))
    return hosts


def _global_addresses(lines: Sequence[str]) -> list[str]:
    """Addresses of global scope in /proc/net/if_inet6."""
    fields = [line.split() for line in lines]
    return [str(ipaddress.IPv6Address(bytes.fromhex(entry[0]))) for entry in fields if entry[3] == "00"]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return []  # no such protocol in this kernel, or /proc is hidden


def _version(host: str) -> int | None:
    """4 or 6 of a numeric address, None of a name."""
    try:
        return ipaddress.ip_address(host).version
    except ValueError:
        return None


def _split(address: str) -> tuple[str, int]:
    return host_of(address), int(address.rpartition(":")[2])
