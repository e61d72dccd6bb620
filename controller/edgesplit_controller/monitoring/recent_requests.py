"""Requests of the last minute: their rate and mean latency, from counts that only grow.

Owns: what was counted at each look. Its rule: pure, times are handed in; while nothing is asked the rate is 0 and the latency is not known.
Not here: rates over minutes that stand while nothing is asked (`fleet/traffic.py`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

__all__ = ["RecentFigures", "RecentRequests"]

WINDOW_S = 60.0


@dataclass(frozen=True)
class RecentFigures:
    """Of the requests of one deployment.

    Attributes:
        rate_hz: Answered a second; None after the first look. [1/s]
        latency_s: Mean of those answered; None without one. [s]
    """

    rate_hz: float | None = None
    latency_s: float | None = None


@dataclass
class RecentRequests:
    """Of one epoch at its source.

    Attributes:
        epoch: Its number.
        looks: When it was looked, and what had been counted then: requests, and the sum of their latencies. [s, 1, s]
    """

    epoch: int
    looks: deque[tuple[float, int, float]] = field(default_factory=deque[tuple[float, int, float]])

    def look(self, now_s: float, requests: int, latency_sum_s: float) -> RecentFigures:
        """Take in what is counted now, and say what became of it lately.

        Args:
            now_s: Of a monotonic clock. [s]
            requests: Answered so far.
            latency_sum_s: Their latencies together. [s]
        """
        if self.looks and requests < self.looks[-1][1]:
            self.looks.clear()  # counted anew
        self.looks.append((now_s, requests, latency_sum_s))
        while len(self.looks) > 2 and self.looks[1][0] <= now_s - WINDOW_S:
            self.looks.popleft()
        since_s, before, before_s = self.looks[0]
        if now_s <= since_s:
            return RecentFigures()
        answered = requests - before
        mean_s = (latency_sum_s - before_s) / answered if answered else None
        return RecentFigures(answered / (now_s - since_s), mean_s)
