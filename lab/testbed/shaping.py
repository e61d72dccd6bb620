"""When a packet leaves a link: constant delay, constant rate, a bounded queue in front.

Owns: the shape of one direction of a link and its schedule. Its rule: pure; the clock's value comes in, the time of
arrival goes out. Not here: TUN devices and processes (`links.py`).

A packet begins to leave when the one before it has left, takes bytes / rate, and arrives a delay later: what the
planner assumes of a link, and what tbf and netem make together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["PacketLane", "Shape"]

QUEUE_S = 0.25
"""What a router's queue holds, in seconds of its link."""
QUEUE_MIN_BYTES = 262_144
"""Four of the largest packets a TUN device hands over (64 kB each)."""


@dataclass(frozen=True)
class Shape:
    """One direction of a link.

    Attributes:
        rate_bytes_per_s: Of TCP's payload: a segment's headers are not counted. [B/s]
        delay_s: One way. [s]
        up: False: nothing passes.
    """

    rate_bytes_per_s: float
    delay_s: float
    up: bool = True

    def __post_init__(self) -> None:
        """Refuse what no link can be.

        Raises:
            ValueError: The rate is not positive or the delay negative.
        """
        if not 0 < self.rate_bytes_per_s < float("inf"):
            raise ValueError(f"a link's rate must be a positive number of bytes a second, not {self.rate_bytes_per_s}")
        if not 0 <= self.delay_s < float("inf"):
            raise ValueError(f"a link's delay must be 0 s or more, not {self.delay_s}")

    @property
    def queue_bytes(self) -> float:
        """What may wait before packets are dropped. [B]"""
        return max(QUEUE_MIN_BYTES, QUEUE_S * self.rate_bytes_per_s)

    def changed(
        self, *, rate_bytes_per_s: float | None = None, delay_s: float | None = None, up: bool | None = None
    ) -> Shape:
        """The same with some figures replaced."""
        return replace(
            self,
            rate_bytes_per_s=self.rate_bytes_per_s if rate_bytes_per_s is None else rate_bytes_per_s,
            delay_s=self.delay_s if delay_s is None else delay_s,
            up=self.up if up is None else up,
        )


class PacketLane:
    """The schedule of one direction.

    Attributes:
        shape: May be replaced at any time; what waits keeps its time.
        passed_bytes: Sent on so far. [B]
        dropped: Packets that met a full queue or a cut link.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.passed_bytes = 0
        self.dropped = 0
        self._free_at = float("-inf")
        self._arrived_at = float("-inf")

    def arrival(self, nbytes: int, now: float) -> float | None:
        """When a packet that came at `now` is to be handed over, None where it is dropped. [s]

        Packets keep their order, also when the delay shrinks between them.
        """
        shape = self.shape
        begin = max(self._free_at, now)
        if not shape.up or (begin - now) * shape.rate_bytes_per_s > shape.queue_bytes:
            self.dropped += 1
            return None
        self._free_at = begin + nbytes / shape.rate_bytes_per_s
        self._arrived_at = max(self._arrived_at, self._free_at + shape.delay_s)
        self.passed_bytes += nbytes
        return self._arrived_at
