"""Least delay of a path over a sliding window, with detection of a longer route.

Owns: what pings say of one path, there and back or one way. Its rule: the least of a window is the path, what is above it is
waiting; several in a row that are longer by the same are a longer path, and what was before is forgotten. Not here: what frames
take (`link_estimator.py`).

A delay one way is measured between two clocks that have nothing to do with each other: its value means nothing, its changes are
those of the path, as far as the clocks go alike (50 parts per million are 0.75 ms in a window).
"""

from __future__ import annotations

import statistics
from collections import deque

__all__ = ["PathDelay"]

WINDOW_S = 15.0
LONGER_S, JITTERS = 0.010, 4.0
"""What lies above the least by more than this, and by so many times the usual jitter, is waiting or a longer path. [s, 1]"""
IN_A_ROW, LASTS_S, ALIKE = 4, 1.0, 0.3
"""So many in a row, for so long, that differ by less than this share of what they are longer by, are a longer path. [1, s, 1]"""
UNSETTLED_S = 2.5
"""After this what is longer is taken for waiting. [s]"""


class PathDelay:
    """Fed with what pings took; values may be offset by a constant.

    Attributes:
        least_s: Of the window, None before the first. [s]
        jitter_s: What they took beyond that on average. [s]
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()
        self._longer: list[tuple[float, float]] = []
        self._usual_s = 0.0
        self.least_s: float | None = None
        self.jitter_s = 0.0

    def add(self, delay_s: float, now: float, *, loaded: bool = False) -> bool:
        """A ping took so long; whether the path has just become a longer one for good.

        Args:
            delay_s: [s]
            now: [s]
            loaded: It left behind data and measured the queue, which counts only while nothing else does.
        """
        while self._seen and self._seen[0][0] < now - WINDOW_S:
            self._seen.popleft()
        shorter = self.least_s is not None and delay_s < self.least_s
        if loaded and self._seen and not shorter:
            return False
        if self.least_s is not None and delay_s < self.least_s - self._notable_s:
            self._seen.clear()  # nothing goes faster than its path: those were of a longer one
        if not self._seen:
            self.least_s = None  # nothing is there to compare with
        self._seen.append((now, delay_s))
        is_longer = self._judge(delay_s, now)
        delays = [seconds for _, seconds in self._seen]
        self.least_s = min(delays)
        self.jitter_s = statistics.fmean(delays) - self.least_s
        if not self._longer:
            self._usual_s = self.jitter_s
        return is_longer

    def restart(self) -> None:
        """Something else tells that the path is a longer one: whatever is seen next is how long."""
        self._seen.clear()
        self._longer.clear()

    def unsettled(self, now: float) -> bool:
        """Whether the last ones were longer, so that frames may have taken a longer path, too. [s]"""
        return bool(self._longer) and now - self._longer[0][0] < UNSETTLED_S

    @property
    def _notable_s(self) -> float:
        return max(LONGER_S, JITTERS * self._usual_s)

    def _judge(self, delay_s: float, now: float) -> bool:
        """Note whether it may belong to a longer path; whether that is one for good."""
        if self.least_s is None or delay_s <= self.least_s + self._notable_s:
            self._longer.clear()
            return False
        self._longer.append((now, delay_s))
        delays = [seconds for _, seconds in self._longer]
        alike = max(delays) - min(delays) < ALIKE * (min(delays) - self.least_s)
        if len(delays) < IN_A_ROW or now - self._longer[0][0] < LASTS_S or not alike:
            return False
        self._seen = deque(self._longer)
        self._longer.clear()
        return True
