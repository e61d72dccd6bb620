"""TCP ports of loopback for processes that are about to start.

Owns: which port is given to whom. Its rule: a port is given once; while a process runs that was given one, no other process of this machine's
user is given the same, whether anybody listens on it yet or not. Not here: who listens.
"""

from __future__ import annotations

import fcntl
import functools
import os
import random
import socket
import tempfile
from pathlib import Path

__all__ = ["free_port"]

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST = 10_000


def kernels_own() -> int:
    """The lowest port that the kernel gives by itself, to connections and to whoever binds port 0."""
    return int(EPHEMERAL.read_text().split()[0]) if EPHEMERAL.exists() else LOWEST


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now, and that is given to nobody else while this process runs.

    It lies below those that the kernel gives to connections: between this answer and the day that a process listens
    there, hundreds of connections may come and go, and one of them would have it.

    Raises:
        OSError: No port is free.
    """
    lowest_of_kernel = kernels_own()
    ports = range(LOWEST, lowest_of_kernel) if lowest_of_kernel > LOWEST + 1_000 else (0,)
    for wanted in random.sample(ports, min(len(ports), 200)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            port = int(probe.getsockname()[1])
        if _is_ours(port):
            return port
    raise OSError("no TCP port of loopback is free")


_given: set[int] = set()


def _is_ours(port: int) -> bool:
    """Whether a port was given to nobody: byte number `port` of a file is locked for each that was, as long as its process lives."""
    if port in _given:
        return False
    try:
        fcntl.lockf(_table(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _given.add(port)
    return True


@functools.cache
def _table() -> int:
    """The file of locks, never closed: closing it would give all of them up."""
    path = Path(tempfile.gettempdir()) / f"edgesplit-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
