"""Accepting connections on non-blocking sockets.

Owns: listening sockets, and the turn in which what waits on them is accepted. Its rule: the policy is asked
before anything is kept for a stranger, and a process without free descriptors waits a moment instead of spinning. Not
here: addresses (`wire/endpoints.py`), what a connection is (`wire/connection.py`).
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

__all__ = ["AcceptPolicy", "Listener"]

BACKLOG = 128
"""Connections that the kernel completes before they are accepted."""
_AT_ONCE = 64
"""Accepted in one turn of the loop."""
RETRY_S = 0.5
"""Pause when the process has no descriptor or memory left for another connection. [s]"""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class AcceptPolicy(Protocol):
    """Decides who may come in; called on the event loop."""

    def admits(self, host: str) -> bool:
        """Whether a connection from there is kept; `host` is empty for a program of this machine on a Unix socket."""
        ...

    def exhausted(self, error: OSError) -> None:
        """The process has nothing left to accept with: something held for strangers had better go."""


class Listener:
    """Sockets that accept connections until it is closed.

    Args:
        sockets: Bound and listening; the listener's from now on.
        accepted: Given each connection, non-blocking; whose it is from then on.
        policy: Asked first; None admits everybody.
        closed: Called when the listener is closed.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        accepted: Callable[[socket.socket], None],
        policy: AcceptPolicy | None = None,
        closed: Callable[[], None] | None = None,
    ) -> None:
        self._sockets = list(sockets)
        self._accepted = accepted
        self._policy = policy
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        for listening in self._sockets:
            listening.setblocking(False)
            self._loop.add_reader(listening, self._accept, listening)

    def close(self) -> None:
        """Accept nothing more; accepted connections go on."""
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            listening.close()
        self._sockets.clear()
        if self._closed is not None:
            self._closed()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                # The kernel goes on saying that somebody waits.
                self._loop.remove_reader(listening)
                self._loop.call_later(RETRY_S, self._resume, listening)
                if self._policy is not None:
                    self._policy.exhausted(error)
                return
            if self._policy is None or self._policy.admits(address[0] if isinstance(address, tuple) else ""):
                accepted.setblocking(False)
                self._accepted(accepted)
            else:
                accepted.close()

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)
