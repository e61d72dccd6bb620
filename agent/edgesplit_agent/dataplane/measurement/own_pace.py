"""Pace of a connection: whether frames tell only how fast TCP lets them leave, and when one starts afresh to see more.

Owns: that suspicion and the pauses between looks. Its rule: pure; a look that found nothing doubles the pause until the next one.
Not here: what the socket says (`edgesplit.wire.tcp_options`), what a frame on a connection that started afresh tells (`link_estimator.py`).

Where TCP's congestion control models the path (BBR), a connection leaves at a multiple of the highest rate that it saw arrive. Of frames one
after another, each with a pause behind it, it sees no more than one frame in a round trip, however much the link carries; and once it has
taken some rate for the link's, as on a machine that was busy then, it looks for no other while there is not always something to send. So
such frames arrive at the connection's own pace, and go on doing so. Starting afresh lets all that its window holds leave within a third of a
round trip: if the link is faster, that shows, and stays; if it is not, what is too much waits once in front of it.
"""

from __future__ import annotations

import math

__all__ = ["OwnPace"]

MET = 0.6
"""Share of the pace from which on a frame may have met nothing else. [1]"""
GAINED = 1.25
"""Times the pace before that is no chance. [1]"""
FIRST_S, MOST_S = 1.0, 120.0
"""Pause before a look: the first, and the longest. [s]"""
EARLY = 3
"""Looks of a new connection, whatever frames met: the first confirms what probes agreed on, but both machines may just have been busy with
starting. [1]"""
OTHER_WAY = 0.25
"""Change of the round trip from which on it is another way, of which no look has told anything. [1]"""
ENOUGH = 0.5
"""Share of the frame that met the pace which another must have to be a look. [1]"""


class OwnPace:
    """One connection's."""

    def __init__(self) -> None:
        self._met: tuple[float, int] | None = None
        self._pause_s = FIRST_S
        self._looked_at = -math.inf
        self._before = math.inf
        self._early = 0
        self._round_trip_s = 0.0

    def connected(self, now: float, *, paced: bool) -> None:
        """A new connection, of which nothing is known; `paced`: TCP paces it by what it knows of the path. [s]"""
        self._met, self._pause_s, self._looked_at = None, FIRST_S, now
        self._early = EARLY if paced else 0

    def found(self, now: float) -> None:
        """Probes have just found what the connection carries. [s]"""
        self._looked_at = now

    def on_way(self, round_trip_s: float) -> None:
        """How long the way is now, there and back. [s]"""
        if abs(round_trip_s - self._round_trip_s) > OTHER_WAY * self._round_trip_s:
            self._round_trip_s, self._pause_s = round_trip_s, FIRST_S

    def due(self, now: float, nbytes: int | None = None) -> bool:
        """Whether a frame that is about to leave should start afresh.

        Args:
            now: [s]
            nbytes: Of it; None where it is long enough. [B]
        """
        if now - self._looked_at < self._pause_s:
            return False
        if self._met is None:
            return nbytes is None and self._early > 0
        return nbytes is None or nbytes >= ENOUGH * self._met[1]

    def early(self, now: float) -> bool:
        """Whether a probe should leave to look at a new connection once more. [s]"""
        return self._early > 0 and self.due(now)

    def look(self, now: float) -> None:
        """A frame leaves on a connection that has started afresh. [s]"""
        self._looked_at = now
        self._early = max(self._early - 1, 0)
        self._before = self._met[0] if self._met is not None else math.inf
        self._met = None

    def sampled(self, reached: float, nbytes: int, pace: float | None, *, afresh: bool) -> None:
        """A frame arrived.

        Args:
            reached: At this rate. [B/s]
            nbytes: Of it. [B]
            pace: The connection's when it left; None where it has none. [B/s]
            afresh: Whether the connection had just started afresh.
        """
        if afresh:
            gained = reached > GAINED * self._before
            self._pause_s = FIRST_S if gained else min(2 * self._pause_s, MOST_S)
        self._met = (pace, nbytes) if pace is not None and reached >= MET * pace else None
