"""TCP sockets: their peer, liveness that the kernel tells and keeps up, the pace of their congestion control and how it is started afresh.

Owns: what a socket is asked and told. Its rule: where a system cannot, that is the answer. Not here: what follows
(`dataplane/liveness.py` and `dataplane/measurement` of the agent), the connection (`wire/connection.py`).

References:
    [1] tcp(7), TCP_INFO, TCP_USER_TIMEOUT, TCP_CONGESTION. [2] linux/tcp.h, struct tcp_info.
    [3] N. Cardwell and others, BBR: Congestion-Based Congestion Control, ACM Queue 14 (5), 2016. [4] linux/inet_diag.h, struct tcp_bbr_info.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from typing import NamedTuple

__all__ = ["acknowledged", "end_when_vanished", "models_path", "pace", "peer_of", "start_afresh", "window_shut"]

_INFO = struct.Struct("=16xI4xI28xI8xI8xI20xQ")
"""A segment; those that were sent and not acknowledged; time since anything was; smoothed round trip; segments that may be on their way; pace.
[B, 1, ms, µs, 1, B/s]"""
_CC_INFO = 26
"""TCP_CC_INFO: what a congestion control knows; this Python has no name for it."""
_BBR_INFO = struct.Struct("=16xI")
"""How many times what fits on the path BBR lets be on its way, in units of a 256th [4]."""
_SHUT_GAIN = 256
_STARTING_GAIN = 2.885
"""How many times what fits into its window in a round trip BBR begins with: 2 / ln 2 [3]."""
_LEAST_WINDOW = 10
"""What a connection begins with. [1]"""
_KEEPALIVE_S = 15
_VANISHED_S = 60
"""Longer than an agent takes to give a peer up: this is for connections on which nobody else would notice. [s]"""

_MODELLING = frozenset({b"bbr"})
"""Congestion controls that pace an idle connection's next bytes at the rate they knew [3]."""
_WITHOUT_MEMORY = b"reno"
"""Every kernel has it and lets everybody choose it."""
_NAME_BYTES = 16


class _Info(NamedTuple):
    """As `_INFO` lays it out."""

    segment_bytes: int
    unacknowledged: int
    last_ms: int
    round_trip_us: int
    window: int
    pace: int


def peer_of(own: socket.socket) -> tuple[str, str]:
    """Where a connection leads: its host, and all of it for messages."""
    try:
        name = own.getpeername()
    except OSError:
        return "", "?"
    # The accepting side of a Unix socket learns no name.
    return (name[0], f"{name[0]}:{name[1]}") if isinstance(name, tuple) else ("", str(name or "a local program"))


def acknowledged(own: socket.socket, within_s: float) -> bool | None:
    """Whether the other machine acknowledged something within this time, or has nothing to acknowledge. [s]

    Its kernel does that however busy the program is.
    """
    if (info := _info(own)) is None:
        return None
    return bool(info.unacknowledged == 0 or info.last_ms <= within_s * 1e3)


def end_when_vanished(own: socket.socket) -> None:
    """Have the kernel end a connection whose other side is gone, also one on which nobody asks anything."""
    if not _has_options(own):
        return
    with contextlib.suppress(OSError):
        own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_S)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _VANISHED_S * 1000)


def models_path(own: socket.socket) -> bool:
    """Whether its congestion control paces by what it knows of the path, so that probes may find that and not the path."""
    return _congestion_control(own) in _MODELLING


def pace(own: socket.socket) -> float | None:
    """At which rate bytes leave, where the congestion control paces them by what it knows of the path; None where it does not. [B/s]"""
    if not models_path(own) or (info := _info(own)) is None:
        return None
    return float(info.pace)


def window_shut(own: socket.socket) -> bool:
    """Whether the connection lets next to nothing be on its way now, to see how short the round trip is.

    BBR does that for a fifth of a second every ten, if the round trip was longer meanwhile (its state PROBE_RTT [3]).
    """
    if not models_path(own):
        return False
    try:
        (gain,) = _BBR_INFO.unpack(own.getsockopt(socket.IPPROTO_TCP, _CC_INFO, _BBR_INFO.size))
    except (OSError, struct.error):
        return False
    return 0 < int(gain) <= _SHUT_GAIN


def start_afresh(own: socket.socket) -> bool:
    """Have the connection leave no slower than if it knew no rate of the path; whether it does.

    Choosing another congestion control and then the same one again begins it anew, with the window that it has just then. While BBR
    looks for the shortest round trip that is four segments; it would take seconds to open again, so then nothing is done. Nor is it where
    bytes leave faster already, as where the round trip has become longer.
    """
    named, info = _congestion_control(own), _info(own)
    if named not in _MODELLING or info is None or info.window < _LEAST_WINDOW:
        return False
    if info.pace * info.round_trip_us * 1e-6 >= _STARTING_GAIN * info.window * info.segment_bytes:
        return True
    try:
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _WITHOUT_MEMORY)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, named)
    except OSError:
        return False
    return True


def _has_options(own: socket.socket) -> bool:
    """Whether these are options of the socket, and this system's."""
    return sys.platform == "linux" and own.family != socket.AF_UNIX


def _info(own: socket.socket) -> _Info | None:
    """As `_INFO` lays it out; None where nobody can tell."""
    if not _has_options(own):
        return None
    try:
        return _Info(*_INFO.unpack(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)))
    except (OSError, struct.error):
        return None


def _congestion_control(own: socket.socket) -> bytes:
    """Its name; empty where nobody can tell."""
    if not _has_options(own):
        return b""
    try:
        return own.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _NAME_BYTES).split(b"\0")[0]
    except OSError:
        return b""
