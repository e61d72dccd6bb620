"""Adaptive conformal inference of plans' intervals: whether they held, and how much wider they must be.

Owns: the step that adapts a figure to whether an interval held; one trial of each time that a plan serves, its first interval against the
mean of its next requests, and by what intervals are stretched as a result. Its rule: pure; a miss widens by nine times what a hit narrows
by, so that in the long run nine of ten hold, whatever the estimates behind them are worth. Not here: those (`speed_estimate.py`,
`handling_estimate.py`).

References: I. Gibbs, E. Candes, Adaptive Conformal Inference Under Distribution Shift, NeurIPS 2021.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

__all__ = ["COVERED", "Trial", "Trials", "adapted", "tried"]

FIRST, LEAST, MOST = 0.8, 0.4, 10.0
"""What intervals are stretched by before any trial (of four runs of the lab, a tenth of medians lay beyond 0.6 to 1.2 of what spreads alone
say), and bounds. [1]"""
GAIN = 0.1
"""What a miss and a hit together move its logarithm by. [1]"""
COVERED = 0.9
"""Share of intervals that should hold. [1]"""
WARMING, REQUESTS = 3, 8
"""First requests of a plan that do not count, for they find every cache cold, and how many then make a trial."""
WARMING_S, REQUESTS_S = 1.0, 4.0
"""What these may take at most: one that takes seconds is no longer for a cold cache, and nobody waits for eight of them. [s]"""


def adapted(figure: float, gain: float, *, missed: bool, bounds: tuple[float, float]) -> float:
    """What widens an interval, after one made of it held or missed: steady where `COVERED` of them hold.

    Args:
        figure: Before.
        gain: What a miss and a hit together move it by.
        missed: What happened.
        bounds: Least and most it may become.
    """
    least, most = bounds
    return min(max(figure + gain * (missed - (1 - COVERED)), least), most)


@dataclass(frozen=True)
class Trial:
    """A plan's interval, and what its requests took so far.

    Attributes:
        interval_s: As it was told before the first of them. [s]
        requests: Those that warmed it.
        warming_s: What these took. [s]
        seconds: Of those that count. [s]
        counted: How many these are.
    """

    interval_s: tuple[float, float]
    requests: int = 0
    warming_s: float = 0.0
    seconds: float = 0.0
    counted: int = 0

    def after(self, latency_s: float, requests: int) -> Trial:
        """With so many more requests, which took that long in the mean. [s]"""
        left_s = max(WARMING_S - self.warming_s, 0.0)
        cold = min(
            max(WARMING - self.requests, 0), math.ceil(left_s / latency_s) if latency_s > 0 else WARMING, requests
        )
        return replace(
            self,
            requests=self.requests + cold,
            warming_s=self.warming_s + cold * latency_s,
            seconds=self.seconds + (requests - cold) * latency_s,
            counted=self.counted + requests - cold,
        )

    @property
    def over(self) -> bool:
        """Whether enough requests count."""
        return self.counted >= REQUESTS or self.seconds >= REQUESTS_S

    @property
    def missed(self) -> bool:
        """Whether their mean lies outside."""
        low_s, high_s = self.interval_s
        return not low_s <= self.seconds / self.counted <= high_s


@dataclass(frozen=True)
class Trials:
    """All plans of one model at one source.

    Attributes:
        stretch: What intervals are wider by than spreads say. [1]
        epoch: Of the plan that serves; None before any.
        running: Its trial; None where it is over.
    """

    stretch: float = FIRST
    epoch: int | None = None
    running: Trial | None = None


def tried(trials: Trials, epoch: int, interval_s: tuple[float, float], latency_s: float, requests: int) -> Trials:
    """Take in what requests took.

    Args:
        trials: Before.
        epoch: Of the plan that served them.
        interval_s: Of its latency, as it is told now; the first one counts. [s]
        latency_s: Mean of the requests, as a client sees it. [s]
        requests: How many.
    """
    running = trials.running if epoch == trials.epoch else Trial(interval_s)
    if running is None:
        return trials
    running = running.after(latency_s, requests)
    if not running.over:
        return Trials(trials.stretch, epoch, running)
    bounds = math.log(LEAST), math.log(MOST)
    stretch = math.exp(adapted(math.log(trials.stretch), GAIN, missed=running.missed, bounds=bounds))
    return Trials(stretch, epoch, None)
