"""TCP ports of loopback for processes that are about to start."""

from __future__ import annotations

import random
import socket
from pathlib import Path

__all__ = ["free_port"]

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST = 10_000


def kernels_own() -> int:
    """The lowest port that the kernel gives by itself, to connections and to whoever binds port 0."""
    return int(EPHEMERAL.read_text().split()[0]) if EPHEMERAL.exists() else LOWEST


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now.

    It lies below those that the kernel gives to connections: between this answer and the day that a process listens
    there, hundreds of connections may come and go, and one of them would have it.

    Raises:
        OSError: No port is free.
    """
    lowest_of_kernel = kernels_own()
    ports = range(LOWEST, lowest_of_kernel) if lowest_of_kernel > LOWEST + 1_000 else (0,)
    for port in random.sample(ports, min(len(ports), 200)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no TCP port of loopback is free")
