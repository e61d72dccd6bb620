"""What the data plane asks of the agent that holds it, and its limits.

Owns: `DataPlaneHandler` and `Limits`. Its rule: handlers run on the event loop and return quickly; everything slow is
the agent's to move to a thread. Not here: behaviour.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from edgesplit.errors import EdgesplitError
from edgesplit.wire.frames import Frame, FrameLimits
from edgesplit.wire.tensors import Array

__all__ = ["Answer", "DataPlaneHandler", "Limits"]

Answer = tuple[dict[str, Array], int] | EdgesplitError
"""Outputs and the epoch that computed them, or why there are none."""
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
    """

    frames: FrameLimits = field(default_factory=FrameLimits)
    queue_bytes: int = 1 << 28
    dead_after_s: float = 0.7
    dead_after_limit_s: float = 3.0
    ping_interval_s: float = 0.15
    idle_ping_interval_s: float = 0.5
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

    @property
    def greeting(self) -> FrameLimits:
        """What is accepted of somebody who has not said who it is."""
        return FrameLimits(min(_GREETING_BYTES, self.frames.header_bytes), min(_GREETING_BYTES, self.frames.body_bytes))


class DataPlaneHandler(Protocol):
    """The agent, as the data plane sees it; called on the event loop.

    An exception out of a callback is logged and stops nothing.
    """

    def on_tensors(  # noqa: PLR0917 - what a frame says, positional for handlers' brevity
        self, peer: str, model: str, epoch: int, request: str, arrays: dict[str, Array], deadline_s: float | None
    ) -> None:
        """Tensors of a request arrived, restored. `deadline_s` is the time left for it. [s]"""

    def on_received(self, peer: str, nbytes: int) -> None:
        """Tensors arrived; `nbytes` is what they took on the wire. [B]"""

    async def decode(self, model: str, epoch: int, request: str, frame: Frame) -> dict[str, Array]:
        """Restore the tensors of a frame of which some are coded; `on_tensors` gets them then.

        Raises:
            EdgesplitError: A payload is senseless; the connection it came on is closed.
        """
        ...

    def on_abort(  # noqa: PLR0917 - as on_tensors
        self, peer: str, model: str, epoch: int, request: str, code: str, message: str
    ) -> None:
        """A request cannot be completed on this epoch, says the peer; `code` is an `EdgesplitError.code`."""

    def on_sent(  # noqa: PLR0917 - as on_tensors
        self, peer: str, model: str, epoch: int, request: str, nbytes: int, seconds: float
    ) -> None:
        """The peer acknowledged tensors. `seconds` is bytes over the link's rate plus latency, as planned for. [s]"""

    def on_undelivered(self, peer: str, model: str, epoch: int, request: str) -> None:
        """Tensors were sent and the connection ended before the peer said that it has them; after `on_peer_lost`."""

    def on_peer_up(self, peer: str) -> None:
        """The connection to the peer is up; `send_tensors` works."""

    def on_peer_pressed(self, peer: str, pressed: bool) -> None:
        """Tensors for the peer begin to wait for room in its queue, or none do any more."""

    def room_bytes(self) -> int | None:
        """What this node has room for of one peer's requests, their tensors together; None: it sets no limit. [B]"""

    def on_peer_room(self, peer: str, nbytes: int | None) -> None:
        """What the peer has room for of this node's requests changed; None: no limit. [B]"""

    def on_peer_lost(self, peer: str, reason: str) -> None:
        """The connection to the peer ended; what was on its way is lost."""

    def ask(
        self, model: str, arrays: dict[str, Array], deadline_s: float | None, answer: Callable[[Answer], None]
    ) -> Callable[[], None]:
        """Begin to answer a client's request.

        Args:
            model: Its name.
            arrays: Inputs by name.
            deadline_s: Time left for it. [s]
            answer: Called once, perhaps before this returns; what it is told is passed on to that client alone.

        Returns:
            Gives the request up, for instance as the client has left; without effect once it was answered.
        """
        ...
