"""TCP liveness: what the kernel's acknowledgements tell of a peer whose program is silent.

Owns: two questions to a socket. Its rule: where a system cannot tell, that is the answer. Not here: what follows
(`dataplane/liveness.py` of the agent), the connection (`wire/connection.py`).

References:
    [1] tcp(7), TCP_INFO, TCP_USER_TIMEOUT. [2] linux/tcp.h, struct tcp_info.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys

__all__ = ["acknowledged", "end_when_vanished"]

_INFO = struct.Struct("=24xI28xI")
"""Segments that were sent and not acknowledged; time since anything was. [1, ms]"""
_KEEPALIVE_S = 15
_VANISHED_S = 60
"""Longer than an agent takes to give a peer up: this is for connections on which nobody else would notice. [s]"""


def acknowledged(own: socket.socket, within_s: float) -> bool | None:
    """Whether the other machine acknowledged something within this time, or has nothing to acknowledge. [s]

    Its kernel does that however busy the program is.
    """
    if sys.platform != "linux" or own.family == socket.AF_UNIX:
        return None
    try:
        unacknowledged, last_ms = _INFO.unpack(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size))
    except (OSError, struct.error):
        return None
    return bool(unacknowledged == 0 or last_ms <= within_s * 1e3)


def end_when_vanished(own: socket.socket) -> None:
    """Have the kernel end a connection whose other side is gone, also one on which nobody asks anything."""
    if sys.platform != "linux" or own.family == socket.AF_UNIX:
        return
    with contextlib.suppress(OSError):
        own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_S)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _VANISHED_S * 1000)
