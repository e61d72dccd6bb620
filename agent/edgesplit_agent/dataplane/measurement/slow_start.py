"""What TCP's slow start costs a frame that is sent after a pause.

Owns: the window that such a frame meets, and how long it takes until that covers the frame or the link. Its rule: pure; a window
doubles each round trip from ten segments [1], [2], and is halved for each timeout of a pause. Not here: whether pauses cost
anything on a link at all, which its estimator learns (`link_estimator.py`).

References: [1] RFC 5681, TCP Congestion Control, 2009, 3.1 and 4.1. [2] RFC 6928, Increasing TCP's Initial Window, 2013.
"""

from __future__ import annotations

import math

__all__ = ["IDLE_RESET_S", "halved_window", "ramp"]

IDLE_RESET_S = 0.2
"""TCP's window falls back after a retransmission timeout without traffic, which is at least this. [s]"""
MOST_HALVINGS = 40


def halved_window(pause_s: float, round_trip_s: float, bandwidth_bytes_per_s: float) -> float:
    """The window of a link that was in use, halved once per timeout of a pause at most. [B]

    The timeout may be longer than its minimum: one halving in two is certain enough.
    """
    halvings = min(pause_s // (2 * (IDLE_RESET_S + round_trip_s)), MOST_HALVINGS)
    return bandwidth_bytes_per_s * round_trip_s * math.pow(0.5, halvings)


def ramp(
    nbytes: int, ahead_bytes: int, opened_bytes: float, round_trip_s: float, bandwidth_bytes_per_s: float
) -> tuple[float, float]:
    """What slow start costs a frame: time until the window covers frame or link, and the bytes that pass meanwhile. [s, B]

    Args:
        nbytes: Of the frame. [B]
        ahead_bytes: Sent before it and not acknowledged. [B]
        opened_bytes: The window it meets. [B]
        round_trip_s: Of the link. [s]
        bandwidth_bytes_per_s: Believed of it. [B/s]
    """
    needed = min(ahead_bytes + nbytes, bandwidth_bytes_per_s * round_trip_s)
    if needed <= opened_bytes:
        return 0.0, 0.0
    return round_trip_s * math.log2(needed / opened_bytes), min(needed - opened_bytes, nbytes)
