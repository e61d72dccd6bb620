"""Bootstrap confidence intervals (percentile method, seeded), and the Wilson interval of a share.

Owns: resampling. Its rule: the same figures give the same interval, and where there is too little to resample there is none. What is
compared within a round stays together (paired). Requests are resampled within their rounds, and rounds among each other, and an interval
spans both: the first knows nothing of what differs from round to round, the second little while there are few. Simulated with
11 requests a round, the true ratio lies in 95 to 99 % of the intervals where a ratio differs between rounds by at most a third of what requests
differ by, in 91 % at two thirds and three rounds, in 81 % with three rounds that differ more than requests do. Two rounds that happen to agree
say nothing of a third: where a run has many ratios, what rounds differ by is estimated of all of them (`round_spread`), and no interval is
narrower than that allows.
Not here: what is compared (`wins.py`).

References: B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13; E. B. Wilson, Probable inference, the law
of succession, and statistical inference, Journal of the American Statistical Association, 1927; P. J. Rousseeuw, C. Croux, Alternatives to
the median absolute deviation, ibid., 1993 (its efficiency); M. Abramowitz, I. Stegun, Handbook of Mathematical Functions, 26.7.5 (Student's t).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LEVEL",
    "RESAMPLES",
    "SEED",
    "Estimate",
    "RoundSpread",
    "mean",
    "median",
    "paired_ratio",
    "round_spread",
    "share",
]

LEVEL = 0.95
RESAMPLES = 10_000
SEED = 15
_WILSON_Z = 1.959964
"""Of LEVEL."""

_MAD_NORMAL = 1.4826
"""Standard deviations in a median absolute deviation, of normal figures."""

_MAD_EFFICIENCY = 0.37
"""Of that estimate, beside the standard deviation's: so many of its degrees of freedom count."""

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


@dataclass(frozen=True)
class RoundSpread:
    """How far the rounds of a ratio are apart, as all ratios of a run say.

    Attributes:
        deviation: Standard deviation of a round's ratio, of logarithms. [1]
        freedom: Degrees of freedom behind it.
    """

    deviation: float
    freedom: float

    def half_width(self, rounds: int) -> float:
        """Of the interval of a mean over so many rounds, of logarithms."""
        return _student_t(self.freedom) * self.deviation / math.sqrt(rounds)


Paired = Sequence[tuple[Sequence[float], Sequence[float]]]
"""Of each round, the first one's figures and the second one's; none of them empty or zero."""


def round_spread(ratios: Iterable[Paired]) -> RoundSpread | None:
    """Median absolute deviation of rounds from their ratio's mean, over ratios of two rounds and more; None without any.

    Args:
        ratios: Of several comparisons of one kind; a round whose figures are one object has no spread and is left out.
    """
    deviations: list[float] = []
    freedom = 0
    for rounds in ratios:
        logarithms = np.array([_logarithm(*pair) for pair in rounds if pair[0] is not pair[1]])
        if len(logarithms) > 1:
            scale = math.sqrt(len(logarithms) / (len(logarithms) - 1))
            deviations += (scale * np.abs(logarithms - logarithms.mean())).tolist()
            freedom += len(logarithms) - 1
    if not deviations:
        return None
    return RoundSpread(_MAD_NORMAL * float(np.median(deviations)), max(1.0, _MAD_EFFICIENCY * freedom))


def paired_ratio(
    rounds: Paired, *, spread: RoundSpread | None = None, resamples: int = RESAMPLES, seed: int = SEED
) -> Estimate:
    """Ratio of medians, first over second; over rounds, the geometric mean of the rounds' ratios.

    Args:
        rounds: Of each round, the first one's figures and the second one's; none of them empty or zero. A round of single
            figures has no spread of its own; one whose figures are one object (the same measurement) has a ratio of 1.
        spread: What rounds differ by in the run; the interval is no narrower than it allows, unless all is one measurement.
        resamples: How often.
        seed: Of the resampling.
    """
    value = float(np.mean([_logarithm(*pair) for pair in rounds]))
    apart = sum(first is not second for first, second in rounds)
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
    low, high = _joined(value, logarithms, generator)
    if spread is not None and apart:
        # Rounds that were one measurement differ by nothing.
        half = spread.half_width(apart) * apart / len(rounds)
        low, high = min(low, math.exp(value - half)), max(high, math.exp(value + half))
    return Estimate(math.exp(value), low, high, len(rounds))


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


def _logarithm(first: Sequence[float], second: Sequence[float]) -> float:
    return float(np.log(np.median(first)) - np.log(np.median(second)))


def _student_t(freedom: float) -> float:
    """Quantile of Student's t for both sides of LEVEL, by its expansion around the normal's."""
    z = _WILSON_Z
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


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
