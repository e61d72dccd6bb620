"""Rate estimate, smoothed with its own scatter: what is noise and what is a change.

Owns: the value that is believed, how far its measurements scatter, and the decision that it has changed. Its rule: pure;
a change is what several measurements in a row agree on and their own scatter does not explain. Not here: how a rate is
measured (`link_estimator.py`).

The scatter is the standard deviation of the logarithm, from half the squared differences of successive measurements [1]:
a step of the mean shows in one difference only, so that a link that really changed does not look restless afterwards.

References: [1] J. von Neumann and others, The Mean Square Successive Difference, Annals of Mathematical Statistics 12 (2),
1941.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Collection
from itertools import takewhile

from edgesplit.significance import LARGE_RATE_CHANGE, RATE_CHANGE, differs

__all__ = ["RateEstimate"]

RESTLESS = 0.15
"""Scatter from which on it always takes three. [1]"""
AGREEMENT = 1.25
"""Samples of a steady link agree when they are within this ratio; those of a restless one when they are twice their
scatter apart."""
SMOOTHING = 0.15
CERTAIN = 4.0
"""Standard errors that the mean of those samples must be away from what is believed: rarely enough for a probe every
twenty seconds on hundreds of links."""
NOISE = 2.0
"""Standard deviations within which a sample is smoothed rather than left out."""
REMEMBERED, SURE_AFTER = 24, 8
"""Differences that the scatter is the mean of, and how many it takes at least. [1]"""
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
        self._samples = 0
        self._last: float | None = None
        self._squares: deque[float] = deque(maxlen=REMEMBERED)
        self._run: list[_Sample] = []

    @property
    def scatter(self) -> float:
        """Standard deviation of a measurement, relative; 0 before there are two. [1]"""
        return _deviation(self._squares)

    @property
    def error(self) -> float:
        """Standard error of `value`, relative. [1]"""
        gain = max(SMOOTHING, 1 / max(self._samples, 1))
        return self.scatter * math.sqrt(gain / (2 - gain))

    @property
    def doubted(self) -> bool:
        """Whether the last sample was no noise and may be the first of a change: the next one should come soon."""
        return bool(self._run)

    def restart(self, value: float) -> None:
        """Believe a value whatever came before. [B/s]"""
        self.value, self._samples, self._last = value, 1, value
        self._run.clear()

    def take(self, sample: float) -> None:
        """A measurement. [B/s]"""
        self._samples += 1
        if self.value is None:
            self.restart(sample)
            return
        if self._last is not None:
            self._squares.append(math.log(sample / self._last) ** 2 / 2)
        self._last = sample
        if not differs(self.value, sample, RATE_CHANGE):
            self._run.clear()
            self._smooth(sample, self.value)
            return
        scatter = self._scatter_before(exact=True)
        if not self._suspect(sample, self.value, scatter, exact=True) and (
            abs(math.log(sample / self.value)) <= NOISE * scatter
        ):
            self._smooth(sample, self.value)

    def take_bound(self, bound: float) -> None:
        """The rate is at most (or at least) this, which is away from what is believed: alone it changes nothing. [B/s]"""
        if self.value is not None:
            self._suspect(bound, self.value, self._scatter_before(exact=False), exact=False)

    def _smooth(self, sample: float, believed: float) -> None:
        self.value = believed * (sample / believed) ** max(SMOOTHING, 1 / self._samples)

    def _suspect(self, sample: float, believed: float, scatter: float, *, exact: bool) -> bool:
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
            self.value = statistics.median(measured)
            self._samples = len(measured)
            if len(self._squares) >= len(measured):
                del self._squares[-len(measured)]  # what led to the run was a change, not scatter
            self._run.clear()
        return changed

    def _scatter_before(self, *, exact: bool) -> float:
        """The scatter without the run that is being judged: a change must not hide itself."""
        run = sum(was_exact for _, was_exact in self._run) + exact
        return _deviation(list(self._squares)[: len(self._squares) - run])


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
