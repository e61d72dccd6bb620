"""Bootstrap confidence intervals (percentile method, seeded), and the Wilson interval of a share.

Owns: resampling. Its rule: the same figures give the same interval, and where there is too little to resample there is none. What is
compared within a round stays together (paired). Requests are resampled within their rounds, and rounds among each other, and an interval
spans both: the first knows nothing of what differs from round to round, the second little while there are few. Simulated with
11 requests a round, the true ratio lies in 95 to 99 % of the intervals where a ratio differs between rounds by at most a third of what requests
differ by, in 91 % at two thirds and three rounds, in 81 % with three rounds that differ more than requests do.
Not here: what is compared (`wins.py`, `prediction_errors.py`).

References: B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13; E. B. Wilson, Probable inference, the law
of succession, and statistical inference, Journal of the American Statistical Association, 1927.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVEL", "RESAMPLES", "SEED", "Estimate", "mean", "median", "paired_ratio", "share"]

LEVEL = 0.95
RESAMPLES = 10_000
SEED = 15
_WILSON_Z = 1.959964
"""Of LEVEL."""

_Figures = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value and its confidence interval.

    Attributes:
        value: As measured.
        low: Lower end; None where there was too little to say.
        high: Upper end.
        samples: Rounds, or whatever was resampled first.
    """

    value: float
    low: float | None
    high: float | None
    samples: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends, or None."""
        return None if self.low is None or self.high is None else (self.low, self.high)


def paired_ratio(
    rounds: Sequence[tuple[Sequence[float], Sequence[float]]], *, resamples: int = RESAMPLES, seed: int = SEED
) -> Estimate:
    """Ratio of medians, first over second; over rounds, the geometric mean of the rounds' ratios.

    Args:
        rounds: Of each round, the first one's figures and the second one's; none of them empty or zero. A round of single
            figures has no spread of its own; one whose figures are one object (the same measurement) has a ratio of 1.
        resamples: How often.
        seed: Of the resampling.
    """
    value = float(np.mean([np.log(np.median(first)) - np.log(np.median(second)) for first, second in rounds]))
    if len(rounds) == 1 and max(len(rounds[0][0]), len(rounds[0][1])) == 1:
        return Estimate(math.exp(value), None, None, 1)
    generator = np.random.default_rng(seed)
    logarithms = np.stack(
        [
            np.zeros(resamples)
            if first is second
            else np.log(_medians(first, resamples, generator)) - np.log(_medians(second, resamples, generator))
            for first, second in rounds
        ],
        axis=1,
    )
    return Estimate(math.exp(value), *_joined(value, logarithms, generator), len(rounds))


def median(rounds: Sequence[Sequence[float]], *, resamples: int = RESAMPLES, seed: int = SEED) -> Estimate:
    """Median of a round's figures; over rounds, the geometric mean of the rounds' medians. None of them empty or zero."""
    value = float(np.mean([np.log(np.median(figures)) for figures in rounds]))
    if len(rounds) == 1 and len(rounds[0]) == 1:
        return Estimate(math.exp(value), None, None, 1)
    generator = np.random.default_rng(seed)
    logarithms = np.stack([np.log(_medians(figures, resamples, generator)) for figures in rounds], axis=1)
    return Estimate(math.exp(value), *_joined(value, logarithms, generator), len(rounds))


def mean(figures: Sequence[float], *, resamples: int = RESAMPLES, seed: int = SEED) -> Estimate:
    """Arithmetic mean of at least one figure."""
    values = np.asarray(figures, dtype=np.float64)
    if len(values) == 1:
        return Estimate(float(values[0]), None, None, 1)
    chosen = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    return Estimate(float(values.mean()), *_ends(values[chosen].mean(axis=1)), len(values))


def share(inside: int, of: int) -> Estimate:
    """So many of at least one: Wilson's interval, which stays within 0 and 1."""
    part, z2 = inside / of, _WILSON_Z**2
    middle = (part + z2 / (2 * of)) / (1 + z2 / of)
    half = _WILSON_Z * math.sqrt(part * (1 - part) / of + z2 / (4 * of**2)) / (1 + z2 / of)
    return Estimate(part, max(middle - half, 0.0), min(middle + half, 1.0), of)


def _medians(figures: Sequence[float], resamples: int, generator: np.random.Generator) -> _Figures:
    """Medians of resampled figures, drawn from their exact distribution.

    A resample is n uniform draws of ranks; the k-th smallest of n uniform numbers is Beta(k, n + 1 - k), and the next one after it
    the least of the n - k that are left above.
    """
    ordered, n = np.sort(np.asarray(figures, dtype=np.float64)), len(figures)
    middle = (n + 1) // 2
    lower = generator.beta(middle, n + 1 - middle, size=resamples)
    low: _Figures = ordered[np.minimum((lower * n).astype(np.intp), n - 1)]
    if n % 2:
        return low
    upper = lower + (1 - lower) * generator.beta(1, n - middle, size=resamples)
    return (low + ordered[np.minimum((upper * n).astype(np.intp), n - 1)]) / 2


def _joined(value: float, logarithms: _Figures, generator: np.random.Generator) -> tuple[float, float]:
    """Interval of a mean of logarithms over rounds (columns), by resampled requests of the same rounds and by resampled rounds.

    Deviations of resampled rounds are widened by sqrt(k / (k - 1)), for k rounds resampled vary by that much too little.
    """
    low, high = _ends(logarithms.mean(axis=1))
    rounds = logarithms.shape[1]
    if rounds > 1:
        of_round = np.median(logarithms, axis=0)
        drawn = of_round[generator.integers(rounds, size=logarithms.shape)].mean(axis=1)
        ends = _ends(value + (drawn - of_round.mean()) * math.sqrt(rounds / (rounds - 1)))
        low, high = min(low, ends[0]), max(high, ends[1])
    return math.exp(low), math.exp(high)


def _ends(resampled: _Figures) -> tuple[float, float]:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
