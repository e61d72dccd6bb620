"""Rate estimate, a Kalman filter of a link's rate: what is noise and what is a change.

Owns: the value that is believed, how sure it is, how far its measurements scatter, and the decision that it has changed. Its
rule: pure; a change is what several measurements agree on and their own scatter does not explain. Not here: how a rate is
measured (`link_estimator.py`), the filter (`edgesplit.estimation`).

All is in logarithms. Three things happen to a measurement:
- near what is believed, it moves that by the filter's gain;
- far away, it is left out and suspected: two or three in a row that agree are a large change, believed at once;
- every one goes into a chart that finds small changes, of a tenth, once they have lasted for seconds.

Measurements within a second of each other say the same about what the machines at both ends, and other traffic, do in that
second: together they count as one, but for the first few.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Collection, Sequence
from itertools import takewhile

from edgesplit.estimation import ChangeChart, Level, Scatter
from edgesplit.significance import LARGE_RATE_CHANGE, RATE_CHANGE, SMALL_RATE_CHANGE

__all__ = ["WARY_INTERVAL_S", "RateEstimate"]

RESTLESS = 0.15
"""Scatter from which on it always takes three. [1]"""
AGREEMENT = 1.25
"""Samples of a steady link agree when they are within this ratio; those of a restless one when they are twice their
scatter apart."""
DRIFT_PER_S = 0.008**2 / 60
"""Variance that a rate gains in a second: not quite a percent in a minute, for what is more is a change. [1/s]"""
INDEPENDENT_S, LEAST_WEIGHT = 1.0, 0.01
OUTLYING = 3.0
"""Standard deviations from which on a measurement is taken to be no further away."""
GUESSED_SCATTER, GUESS_WORTH = 0.05, 3
"""What a new link's measurements scatter by until some are there, and how many differences that guess is worth. [1]"""
LEAST_SCATTER = 0.003
"""No measurement by clock and acknowledgement is better. [1]"""
LASTS_S, WARY_INTERVAL_S = 8.0, 2.0
"""A small change must have lasted so long: most disturbances have passed; meanwhile it is looked at so often. [s]"""
CHART_LIMIT = 6.0
WARY = 0.3
"""Share of the chart's limit from which on another measurement is worth a probe."""
UNSURE, UNSURE_ERROR = 0.8, 0.02
"""Share of the chart's limit from which on what is believed has at least this standard error. [1]"""
CERTAIN, CERTAIN_SMALL = 6.0, 4.0
"""Standard errors that the mean of those samples must be away from what is believed: rarely enough for a probe every
twenty seconds on hundreds of links."""
NOISE = 2.0
"""Standard deviations within which a sample is smoothed rather than left out."""
REMEMBERED, SURE_AFTER, RECENT = 24, 8, 8
"""Differences that the scatter is the mean of, and how many it takes at least; so many tell that noise has just begun. [1]"""
MEDIAN_SQUARE = 0.4549
"""Of a standard normal. [1]"""
LONGEST_RUN = 8


_Sample = tuple[float, bool]
"""A rate [B/s], and whether it was measured; else it is a bound."""


class RateEstimate:
    """What is believed of one rate. [B/s]

    Attributes:
        value: None before the first measurement. [B/s]
    """

    def __init__(self) -> None:
        self.value: float | None = None
        self._level = Level(DRIFT_PER_S)
        self._noise = Scatter(REMEMBERED, GUESSED_SCATTER, GUESS_WORTH, LEAST_SCATTER)
        self._chart = ChangeChart(
            change=SMALL_RATE_CHANGE,
            lasts_s=LASTS_S,
            large=math.log1p(LARGE_RATE_CHANGE),
            limit=CHART_LIMIT,
            certain=CERTAIN_SMALL,
        )
        self._last: float | None = None
        self._squares: deque[float] = deque(maxlen=REMEMBERED)
        self._run: list[_Sample] = []
        self._calm = self._noise.variance

    @property
    def scatter(self) -> float:
        """Standard deviation of a measurement, relative; 0 before there are two. [1]"""
        return _deviation(self._squares)

    @property
    def error(self) -> float:
        """Standard error of `value`, relative. [1]"""
        return self._level.error if self.value is not None else 0.0

    @property
    def doubted(self) -> bool:
        """Whether the last sample was no noise and may be the first of a change: the next one should come soon."""
        return bool(self._run)

    @property
    def wary(self) -> bool:
        """Whether measurements point to a small change, which one some seconds later would confirm or end."""
        return self._chart.height >= WARY

    def restart(self, values: Sequence[float], now: float) -> None:
        """Believe the middle one of some values whatever came before. [B/s, s]"""
        for value in values:
            self._noise.take(math.log(value))
        self._last = math.log(statistics.median(values))
        self._believe(self._last, len(values), now)

    def take(self, sample: float, now: float, variance: float = 0.0) -> None:
        """A measurement.

        Args:
            sample: [B/s]
            now: [s]
            variance: What is known about this one beyond how they scatter, relative. [1]
        """
        if self.value is None:
            self.restart((sample,), now)
            return
        seen, level = math.log(sample), self._level
        if self._last is not None:
            self._squares.append((seen - self._last) ** 2 / 2)
        self._last = seen
        if not self._run:
            self._calm = self._noise.variance
        noise = self._learned_noise(seen) + variance
        shift = self._chart.take(seen, level.mean, math.sqrt(level.variance_at(now) + noise), now)
        if abs(sample - self.value) <= RATE_CHANGE * self.value:
            self._run.clear()
        else:
            scatter = self._scatter_before(exact=True)
            if self._suspect(sample, self.value, scatter, now, exact=True):
                return
            if shift is None and abs(seen - level.mean) > NOISE * scatter:
                return
        if shift is not None:
            self._believe(shift.mean, max(1.0, min(shift.count, shift.lasted_s / INDEPENDENT_S)), now)
            return
        weight = 1.0
        if not self._noise.learning:
            weight = min(max((now - level.at_s) / INDEPENDENT_S, LEAST_WEIGHT), 1.0)
        if self._chart.height >= UNSURE and noise < SMALL_RATE_CHANGE**2:
            level.variance = max(level.variance, UNSURE_ERROR**2)
        level.observe(seen, noise / weight, now, within=OUTLYING)
        self.value = math.exp(level.mean)

    def take_bound(self, bound: float, now: float) -> None:
        """The rate is at most (or at least) this, which is away from what is believed: alone it changes nothing.

        Args:
            bound: [B/s]
            now: [s]
        """
        if self.value is not None:
            self._suspect(bound, self.value, self._scatter_before(exact=False), now, exact=False)

    def _learned_noise(self, seen: float) -> float:
        """Variance of a measurement. While little is known of it, what is believed is as unsure as it turns out to be."""
        noise = self._noise
        before = noise.variance
        noise.take(seen)
        if noise.learning and noise.variance > before:
            self._level.variance *= noise.variance / before
        return noise.variance

    def _believe(self, mean: float, worth: float, now: float) -> None:
        self._level.restart(mean, self._noise.variance / worth, now)
        self.value = math.exp(mean)
        self._chart.clear()
        self._run.clear()

    def _suspect(self, sample: float, believed: float, scatter: float, now: float, *, exact: bool) -> bool:
        """A sample far from what is believed: noise, or the first sign of a change; whether that is certain now."""
        apart = max(math.log(AGREEMENT), NOISE * scatter)
        new = (sample, exact)
        agreeing = takewhile(lambda earlier: _agree(earlier, new, believed, apart), reversed(self._run))
        self._run = [*reversed(list(agreeing)), new][-LONGEST_RUN:]
        measured = [rate for rate, was_exact in self._run if was_exact]
        mean = statistics.fmean(math.log(rate / believed) for rate, _ in self._run)
        large = abs(math.exp(mean) - 1) >= LARGE_RATE_CHANGE and scatter <= RESTLESS
        certain = abs(mean) * math.sqrt(len(self._run)) >= CERTAIN * scatter
        enough = len(measured) >= (1 if scatter <= RESTLESS else 2)  # bounds alone move no restless link
        changed = enough and certain and len(self._run) >= (2 if large else 3)
        if changed:
            self._believe(math.log(statistics.median(measured)), len(measured), now)
            if len(self._squares) >= len(measured):
                del self._squares[-len(measured)]  # what led to the run was a change, not scatter
        return changed

    def _scatter_before(self, *, exact: bool) -> float:
        """The scatter without the run that is judged: a change must not hide itself, nor noise that has just begun."""
        run = sum(was_exact for _, was_exact in self._run) + exact
        before = list(self._squares)[: len(self._squares) - run]
        recent = statistics.median(before[-RECENT:]) / MEDIAN_SQUARE if len(before) >= RECENT else 0.0
        return math.sqrt(max(recent, self._calm))


def _agree(one: _Sample, other: _Sample, believed: float, apart: float) -> bool:
    """Whether two samples may be of one rate; a bound agrees with whatever lies beyond it."""
    if (one[0] > believed) != (other[0] > believed):
        return False
    further = abs(math.log(one[0] / believed)) - abs(math.log(other[0] / believed))
    if one[1] and other[1]:
        return abs(further) <= apart
    return one[1] == other[1] or (further if one[1] else -further) >= -apart


def _deviation(squares: Collection[float]) -> float:
    """Of a few differences, as if there had been more that were none: two outliers make no restless link."""
    return math.sqrt(sum(squares) / max(len(squares), SURE_AFTER)) if squares else 0.0
