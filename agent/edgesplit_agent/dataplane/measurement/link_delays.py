"""Delays of a link: its round trip and, where the peer says when things arrived, the way there.

Owns: pings on their way and what they, and frames that nothing was ahead of, say of both. Its rule: pure; a ping that left behind data
measures the queue. Not here: what a series of delays says (`path_delay.py`), rates (`link_estimator.py`).
"""

from __future__ import annotations

from edgesplit_agent.dataplane.measurement.path_delay import PathDelay

__all__ = ["LinkDelays"]


class LinkDelays:
    """Of one connection after another to the same peer.

    Attributes:
        round_trip: There and back.
        way_there: By the difference of two clocks.
    """

    def __init__(self) -> None:
        self._pings: dict[int, tuple[float, bool]] = {}
        self.round_trip, self.way_there = PathDelay(), PathDelay()

    @property
    def waiting(self) -> bool:
        """Whether a ping was not answered yet."""
        return bool(self._pings)

    @property
    def jitter_s(self) -> float:
        """Of what frames are timed by. [s]"""
        return (self.round_trip if self.way_there.least_s is None else self.way_there).jitter_s

    @property
    def clock_ahead_s(self) -> tuple[float, float] | None:
        """How far the clock at the other end is ahead, at least and at most; None before anybody said. [s]

        What was sent arrived on its clock after the way there, which takes nothing at least, and the round trip at most.
        """
        most_s, round_trip_s = self.way_there.least_s, self.round_trip.least_s
        return None if most_s is None or round_trip_s is None else (most_s - round_trip_s, most_s)

    def connected(self) -> None:
        """A new connection: pings are lost, and the clock at the other end may be another one."""
        self._pings.clear()
        self.way_there = PathDelay()

    def ping_sent(self, sequence: int, now: float, *, loaded: bool) -> None:
        """A Ping left, `loaded`: behind data. [s]"""
        self._pings[sequence] = now, loaded

    def pong_received(self, sequence: int, now: float, arrived: float | None) -> None:
        """A Pong came; `arrived`: when the Ping did, on the peer's clock. [s]"""
        sent = self._pings.pop(sequence, None)
        if sent is None:
            return
        if arrived is not None:
            self._way_told(arrived - sent[0], now, loaded=sent[1])
        self.round_trip.add(now - sent[0], now, loaded=sent[1])

    def frame_began(self, delay_s: float, now: float) -> None:
        """A frame that nothing was ahead of began to arrive so long after it was sent, on two clocks, less what its first part took. [s]

        Where its parts waited for a window that looks too early: nobody learns from it that the way is shorter.
        """
        if self.way_there.least_s is not None:
            self._way_told(max(delay_s, self.way_there.least_s), now)

    def _way_told(self, delay_s: float, now: float, *, loaded: bool = False) -> None:
        if self.way_there.add(delay_s, now, loaded=loaded):
            self.round_trip.restart()  # it is longer, too, and pings may all be behind data
