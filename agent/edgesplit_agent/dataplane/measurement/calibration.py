"""Calibration of a link: probes right behind each other, until what a new connection carries is known.

Owns: whether one is under way, what its probes found and cost, and whether what they agreed on was looked at afresh. Its rule: pure;
three in a row that found the same are believed, or the last ones once enough was spent. Not here: the size of probes and when they
leave (`probing.py`), what later frames teach (`rate_estimate.py`).

Where TCP's congestion control models the path (BBR), probes that agree may only have found the rate it paces them at: it leaves its
startup when a few rounds brought no more, and each probe is one round. So one more probe follows on a connection that started
afresh; if that arrives faster, the probes go on.
"""

from __future__ import annotations

__all__ = ["LinkCalibration"]

CALIBRATED_WITHIN = 1.15
"""Probes that differ by less found the link rather than the window, which doubles."""
AGREEING_PROBES = 3
CALIBRATION_LIMIT = 40
"""Probes after which the middle one of the last is believed: on some links no two find the same."""
CALIBRATION_BYTES = (1 << 23, 1 << 26)
"""What that may cost in all: eight times what is on the way at a time, within these limits. [B]"""


class LinkCalibration:
    """One link's.

    Attributes:
        active: Whether probes are calibrating now; true of a new link.
        paced: Whether TCP paces what is sent by what it knows of the path, so that probes may agree on that.
        unconfirmed: Whether what they agreed on is to be looked at on a connection that started afresh.
    """

    def __init__(self) -> None:
        self.active = True
        self.paced = False
        self.unconfirmed = False
        self._spent_bytes = 0
        self._found: list[float] = []

    @property
    def begun(self) -> bool:
        """Whether some of its probes have left."""
        return self._spent_bytes > 0

    def begin(self) -> None:
        """The link is faster than what was believed: find out by how much."""
        self.active, self.unconfirmed, self._spent_bytes = True, False, 0

    def end(self) -> None:
        """What is sent anyway tells enough."""
        self.active = False

    def sent(self, nbytes: int) -> bool:
        """A probe is about to leave; whether it is the one that looks at what was agreed on. [B]"""
        self._spent_bytes += nbytes if self.active else 0
        confirms, self.unconfirmed = self.unconfirmed, False
        return confirms

    def take(self, bandwidth_bytes_per_s: float, round_trip_s: float, *, near: bool) -> list[float] | None:
        """A probe found a rate; the rates to be believed once it is over, None before. [B/s]

        Args:
            bandwidth_bytes_per_s: What it found. [B/s]
            round_trip_s: Of the link. [s]
            near: Its round trip takes no time: no window hides the link, and three are enough whatever they found.
        """
        self._found.append(bandwidth_bytes_per_s)
        last = self._found[-AGREEING_PROBES:]
        least, most = CALIBRATION_BYTES
        limit_bytes = min(max(8 * bandwidth_bytes_per_s * round_trip_s, least), most)
        agree = near or max(last) <= CALIBRATED_WITHIN * min(last)
        spent = len(self._found) >= CALIBRATION_LIMIT or self._spent_bytes >= limit_bytes
        if len(last) < AGREEING_PROBES or not (agree or spent):
            return None
        self.active, self.unconfirmed, self._spent_bytes = False, self.paced and not near, 0
        self._found.clear()
        return last

    @property
    def probes(self) -> int:
        """How many told something. [1]"""
        return len(self._found)
