"""The same plan's prediction over minutes without any change: how far it wanders, beside the interval it states.

Owns: the readings and their spread. Its rule: traffic is light and nothing is changed, so that whatever moves is the estimate.
Not here: what is right (`visits.py` measures that).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.end_to_end.course import Course
from bench.end_to_end.progress import say

__all__ = ["Reading", "Wander", "readings", "wander"]

EVERY_S = 10.0
REQUESTS = 2
SPREAD_AIM = 0.02
LEARNED_S = 60.0
"""After which the first requests have been learned from. [s]"""


@dataclass(frozen=True)
class Reading:
    """One look at the plan, and the requests that followed it. [s]"""

    at_s: float
    epoch: int
    predicted_s: float
    interval_s: tuple[float, float] | None
    measured_s: float


@dataclass(frozen=True)
class Wander:
    """How far predictions of one plan went.

    Attributes:
        readings: How many, of the epoch that most are of.
        spread: Standard deviation of the predictions, relative to their mean. [1]
        learned_spread: The same from the first minute's end on; None before it. [1]
        range: Largest less smallest, relative to the mean. [1]
        widest: Widest stated interval, relative to its prediction; None where none was stated. [1]
        measured_spread: Standard deviation of the measured medians, relative to their mean. [1]
        epochs: Plans that served; more than one is a change that nothing asked for.
    """

    readings: int
    spread: float
    learned_spread: float | None
    range: float
    widest: float | None
    measured_spread: float
    epochs: int

    @property
    def missed(self) -> bool:
        """Whether it wandered further than is aimed at, or than it said it might."""
        return self.spread > SPREAD_AIM or self.epochs > 1 or (self.widest is not None and self.range > self.widest)


def readings(course: Course, minutes: float, found: list[Reading]) -> None:
    """Look at the plan every ten seconds, under two requests each; readings go where they are given to."""
    began = time.monotonic()
    while (now_s := time.monotonic() - began) < minutes * 60:
        plan = course.plan()
        ends = plan.get("latency_interval_s")
        interval_s = None if ends is None else (float(ends[0]), float(ends[1]))
        measured_s = course.infer(REQUESTS).median_s
        found.append(Reading(now_s, plan["epoch"], plan["latency_s"], interval_s, measured_s))
        say(f"{now_s:4.0f} s: predicted {plan['latency_s'] * 1e3:.1f} ms, took {measured_s * 1e3:.1f} ms")
        time.sleep(max(began + now_s + EVERY_S - time.monotonic(), 0.0))


def wander(found: Sequence[Reading]) -> Wander:
    """Of at least one reading."""
    epochs = [reading.epoch for reading in found]
    of_plan = [reading for reading in found if reading.epoch == statistics.mode(epochs)]
    predicted_s = [reading.predicted_s for reading in of_plan]
    measured_s = [reading.measured_s for reading in of_plan]
    learned_s = [reading.predicted_s for reading in of_plan if reading.at_s >= LEARNED_S]
    widths = [
        (reading.interval_s[1] - reading.interval_s[0]) / reading.predicted_s
        for reading in of_plan
        if reading.interval_s is not None
    ]
    return Wander(
        readings=len(of_plan),
        spread=statistics.pstdev(predicted_s) / statistics.mean(predicted_s),
        learned_spread=statistics.pstdev(learned_s) / statistics.mean(learned_s) if learned_s else None,
        range=(max(predicted_s) - min(predicted_s)) / statistics.mean(predicted_s),
        widest=max(widths) if widths else None,
        measured_spread=statistics.pstdev(measured_s) / statistics.mean(measured_s),
        epochs=len(set(epochs)),
    )
