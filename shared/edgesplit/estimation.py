"""Kalman filter of a local level, scatter of its observations, and a CUSUM chart for its changes.

Owns: what is believed of one quantity that stays as it is, drifts, or changes at once, and how sure that is. Its rule: pure,
scalar and cheap (it runs per frame); each observation counts by its variance, none moves a level further than it is worth.
Values are logarithms wherever a quantity is above 0, so that errors are relative and the same both ways. Not here: what is
measured, and what follows from a change.

A local level [1] is a random walk that is seen through noise: m(t + d) = m(t) + N(0, drift d), y = m + N(0, variance).
The filter's gain is P / (P + variance) with P its own variance: of a new level every sample counts in full (the mean of n), a
long steady history averages noise away, and a long pause makes the next sample count more.

The scatter comes from half the squared differences of successive values [2]: a step of the level shows in one difference only.
None of them counts as more than sixteen times the variance known so far, for one outlier makes two of any size.

The chart adds up how far normalised innovations lie beyond an allowance, on each side; a sum that passes its limit is a change
that began when the sum was last 0 [3].

References: [1] J. Durbin, S. J. Koopman, Time Series Analysis by State Space Methods, 2nd ed., 2012, ch. 2. [2] J. von Neumann
and others, The Mean Square Successive Difference, Annals of Mathematical Statistics 12 (2), 1941. [3] E. S. Page, Continuous
Inspection Schemes, Biometrika 41, 1954.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["ChangeChart", "Level", "Scatter", "Shift"]

OUTLYING_SQUARE = 16.0
"""Times the variance known so far that a squared difference counts at most. [1]"""


class Level:
    """What is believed of one quantity.

    Args:
        drift_per_s: Variance that the quantity gains in a second. [1/s]

    Attributes:
        mean: What is believed; 0 before the first observation.
        variance: Of `mean` at the last observation; infinite before the first.
        at_s: Clock at the last observation. [s]
    """

    __slots__ = ("at_s", "drift_per_s", "mean", "variance")

    def __init__(self, drift_per_s: float) -> None:
        self.drift_per_s = drift_per_s
        self.mean = 0.0
        self.variance = math.inf
        self.at_s = -math.inf

    @property
    def error(self) -> float:
        """Standard error of `mean` at the last observation."""
        return math.sqrt(self.variance)

    def restart(self, mean: float, variance: float, at_s: float) -> None:
        """Believe a value whatever came before.

        Args:
            mean: The value.
            variance: Of it.
            at_s: [s]
        """
        self.mean, self.variance, self.at_s = mean, variance, at_s

    def variance_at(self, at_s: float) -> float:
        """Variance of `mean` with what the quantity may have drifted since.

        Args:
            at_s: Not before the last observation, or as if at it. [s]
        """
        since_s = at_s - self.at_s
        return self.variance + self.drift_per_s * since_s if since_s > 0 and self.variance < math.inf else self.variance

    def observe(self, value: float, variance: float, at_s: float, *, within: float = math.inf) -> None:
        """Take an observation.

        Args:
            value: What was seen.
            variance: Of it, above 0.
            at_s: When. [s]
            within: Standard deviations from what was expected beyond which it is taken to be that far: an outlier says that
                it is one, not how far away the level is. [1]
        """
        before = self.variance_at(at_s)
        if before == math.inf:
            self.restart(value, variance, at_s)
            return
        total = before + variance
        most = within * math.sqrt(total)
        gain = before / total
        self.mean += gain * min(max(value - self.mean, -most), most)
        self.variance = before * (1 - gain)
        self.at_s = max(at_s, self.at_s)


class Scatter:
    """Variance of single observations, from their successive differences; the mean of about the last so many.

    Args:
        remembered: Differences that it is of.
        guess: Standard deviation that it is taken for before there are any.
        guess_worth: As how many differences that guess counts.
        least: Standard deviation below which it never is.

    Attributes:
        variance: Of one observation.
        learning: Whether it is of fewer differences than will be remembered.
    """

    __slots__ = ("_last", "_least", "_most", "_worth", "learning", "variance")

    def __init__(self, remembered: int, guess: float, guess_worth: int, least: float) -> None:
        self.variance = guess * guess
        self.learning = True
        self._least, self._most, self._worth = least * least, remembered, guess_worth
        self._last: float | None = None

    def take(self, value: float) -> None:
        """An observation."""
        if self._last is not None:
            difference = value - self._last
            variance = self.variance
            if self.learning:
                self._worth += 1
                self.learning = self._worth < self._most
            square = min(difference * difference / 2, OUTLYING_SQUARE * variance)
            self.variance = max(variance + (square - variance) / self._worth, self._least)
        self._last = value

    def step(self, value: float) -> None:
        """An observation after a change: its difference to the one before is no scatter."""
        self._last = value


@dataclass(frozen=True)
class Shift:
    """A change that a chart found.

    Attributes:
        mean: Of what was seen since it began.
        count: How many observations that is the mean of. [1]
        lasted_s: [s]
    """

    mean: float
    count: int
    lasted_s: float


class _Side:
    """Sum of a chart towards one side, and what was seen since it was last 0."""

    __slots__ = ("began_s", "count", "squares", "sum", "total")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.sum = self.total = self.squares = self.began_s = 0.0
        self.count = 0

    def raise_by(self, beyond: float, value: float, at_s: float) -> None:
        """An observation that keeps the sum above 0."""
        if not self.count:
            self.began_s = at_s
        self.sum += beyond
        self.count += 1
        self.total += value
        self.squares += value * value


class ChangeChart:
    """Two-sided CUSUM of the innovations of a level.

    Args:
        change: The least change that is looked for; half of it is allowed.
        lasts_s: How long it must have lasted: what passes sooner is a disturbance. [s]
        large: A change from which on it need not last, where single observations scatter by more than half of it.
        limit: Of a sum, in standard deviations. [1]
        certain: Standard errors that the mean of what was seen since must lie away from what was expected, by what an
            observation scatters and by how these did: when noise begins, early ones may all lie on one side. [1]
    """

    __slots__ = ("_down", "_up", "certain", "change", "large", "lasts_s", "limit")

    ALLOWANCE = 0.75
    """Of each innovation at least: what is less in units of the scatter is not looked for. [1]"""
    MOST = 3.0
    """By which one observation raises a sum at most, so that none is a change alone. [1]"""
    UNSURE = 3.0
    """Of so many observations the scatter is taken to be twice what they show. [1]"""

    def __init__(self, *, change: float, lasts_s: float, large: float, limit: float, certain: float) -> None:
        self.change, self.lasts_s, self.large, self.limit, self.certain = change, lasts_s, large, limit, certain
        self._up, self._down = _Side(), _Side()

    @property
    def height(self) -> float:
        """How much of its limit the greater sum has reached; 0 where nothing points to a change. [1]"""
        return max(self._up.sum, self._down.sum) / self.limit

    def clear(self) -> None:
        """Nothing that was seen until now points to a change any more."""
        self._up.clear()
        self._down.clear()

    def take(self, value: float, expected: float, deviation: float, at_s: float) -> Shift | None:
        """Take an observation; the change it was the last sign of, if there is one.

        Args:
            value: What was seen.
            expected: What was believed before.
            deviation: Standard deviation of their difference, above 0.
            at_s: [s]
        """
        innovation = (value - expected) / deviation
        allowance = max(self.ALLOWANCE, self.change / deviation / 2)
        side, other = (self._up, self._down) if innovation > 0 else (self._down, self._up)
        beyond = min(abs(innovation) - allowance, self.MOST)
        if side.sum + beyond > 0:
            side.raise_by(beyond, value, at_s)
        elif side.count:
            side.clear()
        if other.count:
            away = -abs(innovation) - allowance
            if other.sum + away > 0:
                other.raise_by(away, value, at_s)
            else:
                other.clear()
        if side.sum < self.limit:
            return None
        return self._judge(side, expected, deviation, at_s)

    def _judge(self, side: _Side, expected: float, deviation: float, at_s: float) -> Shift | None:
        count, lasted_s = side.count, at_s - side.began_s
        mean = side.total / count
        away = abs(mean - expected)
        if lasted_s < self.lasts_s and (away < self.large or deviation < self.large / 2):
            return None
        # Of few observations the scatter is little known: as of Student's distribution, they must lie further away.
        own = math.sqrt(max(side.squares - count * mean * mean, 0.0) / max(count - 1, 1)) * (1 + self.UNSURE / count)
        if away * math.sqrt(count) < self.certain * max(own, deviation):
            return None
        shift = Shift(mean, count, lasted_s)
        self.clear()
        return shift
