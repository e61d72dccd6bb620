"""Request rates and power draw of models, lately.

Owns: requests per second and watts of serving over the last minutes. Its rule: a rate is a mean over the window, or
since the first request where that is less; while nothing is asked the last rate stands, for then nothing is spent
either. Not here: sums per epoch (`fleet/usage_sums.py`), what follows from a rate (`stating/battery_limit.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from edgesplit.control.figure_messages import Usage

__all__ = ["LEAST_S", "RECENT_S", "WINDOW_S", "Traffic"]

WINDOW_S = 300.0
MOST_REPORTS = 4096
"""Of one model on one node in the window, where agents say something once in a few seconds; the oldest of more goes."""
LEAST_S = 10.0
"""After the first request, the time until a rate is told. [s]"""
RECENT_S = 10.0
"""What "lately" is. [s]"""
REPORT_S = 1.0
"""Agents tell what they served so often. [s]"""


@dataclass
class _Served:
    """Of one model on one node; the first report only begins the count.

    Attributes:
        since_s: Of the first report. [s]
        reports: Time, requests, energy of each report in the window. [s, 1, J]
        last_per_s: The last rate above 0. [1/s]
    """

    since_s: float
    reports: deque[tuple[float, int, float]] = field(
        default_factory=lambda: deque[tuple[float, int, float]](maxlen=MOST_REPORTS)
    )
    last_per_s: float | None = None

    def span_s(self, now_s: float) -> float:
        while self.reports and self.reports[0][0] <= now_s - WINDOW_S:
            self.reports.popleft()
        return min(WINDOW_S, now_s - self.since_s)


class Traffic:
    """Rates of all models.

    Args:
        clock: Monotonic. [s]
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._served: dict[tuple[str, str], _Served] = {}

    def add(self, added: Usage) -> None:
        """Take in what a node served since its last report."""
        served = self._served.get((added.node, added.model))
        if served is None:
            if added.requests or added.energy_j:
                self._served[added.node, added.model] = _Served(self._clock())
            return
        served.reports.append((self._clock(), added.requests, added.energy_j))

    def requests_per_s(self, node: str, model: str) -> float | None:
        """How many requests a node served of a model; None before that can be told. [1/s]"""
        served = self._served.get((node, model))
        if served is None:
            return None
        span_s = served.span_s(self._clock())
        requests = sum(requests for _, requests, _ in served.reports)
        if span_s >= LEAST_S and requests:
            served.last_per_s = requests / span_s
        return served.last_per_s

    def lately_per_s(self, node: str, model: str) -> float:
        """How many requests a node served of a model in the last seconds; 0 where nothing was asked. [1/s]"""
        served, now_s = self._served.get((node, model)), self._clock()
        if served is None:
            return 0.0
        recent = sum(requests for at_s, requests, _ in served.reports if at_s > now_s - RECENT_S)
        return recent / min(RECENT_S, max(now_s - served.since_s, REPORT_S))

    def watts(self, node: str, *, without: str) -> float:
        """What serving all models but one draws on a node. [W]"""
        total_w = 0.0
        for (of_node, of_model), served in self._served.items():
            span_s = served.span_s(self._clock())
            if of_node == node and of_model != without and span_s >= LEAST_S:
                total_w += sum(energy_j for _, _, energy_j in served.reports) / span_s
        return total_w

    def forget_node(self, node: str) -> None:
        """A node was removed."""
        self._served = {key: served for key, served in self._served.items() if key[0] != node}

    def forget(self, model: str) -> None:
        """A model was removed."""
        self._served = {key: served for key, served in self._served.items() if key[1] != model}
