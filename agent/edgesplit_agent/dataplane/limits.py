"""Limits and timings of the data plane.

Owns: `Limits`. Its rule: plain values. Not here: where they come from (`assembly.py`), what keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgesplit.wire.frames import FrameLimits

__all__ = ["Limits"]

_GREETING_BYTES = 1 << 16


@dataclass(frozen=True)
class Limits:
    """Bounds and timings of the data plane.

    Attributes:
        queue_bytes: Frames waiting to leave, per connection. [B]
        dead_after_s: A peer that owes an answer and was silent for so long is lost. [s]
        dead_after_limit_s: What a peer that was slow to answer lately may have instead, while its machine acknowledges
            (see `liveness.py`). [s]
        ping_interval_s: While a link is in use. [s]
        idle_ping_interval_s: Once nothing went over a link for `idle_after_s`. [s]
        unplanned_ping_interval_s: The same on a node that has no part in any plan. [s]
        connect_timeout_s: For connecting and the greeting together. [s]
        retry_min_s: First pause before reconnecting, doubled up to `retry_max_s`. [s]
        mismatch_retry_s: Pause after a peer of another protocol version. [s]
        max_connections: Accepted ones at a time; where one too many comes, the one worth least gives way (`dataplane/connection_limit.py`).
        max_connections_per_address: Of them, from one address.
        frame_stall_s: Longest that a frame which began may stand still. [s]
        least_bytes_per_s: Least rate of a frame that takes more than twice that. [B/s]
        silent_agent_s: Longest that an agent may say nothing on a connection it opened; living ones ping all the time. [s]
        arriving_bytes: Of unfinished frames of all that are no known peers, together. [B]
        unread_s: Longest that a connection may read nothing of what it is sent. [s]
        infers_per_connection: A client's requests in flight; more are refused as Overloaded.
        probing: Whether idle links are measured with probes.
        handshakes: Connections in the middle of a TLS handshake; beyond that the one that has waited longest is closed.
        handshakes_per_address: Of them, from one address.
    """

    frames: FrameLimits = field(default_factory=FrameLimits)
    queue_bytes: int = 1 << 28
    dead_after_s: float = 0.7
    dead_after_limit_s: float = 3.0
    ping_interval_s: float = 0.15
    idle_ping_interval_s: float = 0.5
    unplanned_ping_interval_s: float = 2.0
    idle_after_s: float = 5.0
    connect_timeout_s: float = 5.0
    retry_min_s: float = 0.1
    retry_max_s: float = 2.0
    mismatch_retry_s: float = 30.0
    max_connections: int = 1024
    max_connections_per_address: int = 256
    frame_stall_s: float = 10.0
    least_bytes_per_s: float = 1024.0
    silent_agent_s: float = 30.0
    arriving_bytes: int = 1 << 30
    unread_s: float = 60.0
    infers_per_connection: int = 256
    probing: bool = True
    handshakes: int = 128
    handshakes_per_address: int = 64

    @property
    def greeting(self) -> FrameLimits:
        """What is accepted of somebody who has not said who it is."""
        return FrameLimits(min(_GREETING_BYTES, self.frames.header_bytes), min(_GREETING_BYTES, self.frames.body_bytes))
