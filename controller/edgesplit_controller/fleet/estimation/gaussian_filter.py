"""Kalman filter over named quantities, each of which stays, drifts, or returns to zero.

Owns: mean and covariance, their way through time, and the update by observations of weighted sums. Its rule: pure, values
only; an observation counts by its variance. Not here: what the quantities are, when one of them jumped
(`speed_estimate.py`).

References: R. E. Kalman, A New Approach to Linear Filtering and Prediction Problems, Journal of Basic Engineering 82, 1960.
Joseph's form of the update keeps the covariance positive: G. J. Bierman, Factorization Methods for Discrete Sequential
Estimation, 1977.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

__all__ = ["GaussianFilter", "Kind"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """How a quantity changes by itself.

    Attributes:
        drift: Variance it gains in a second. [1/s]
        returns_in_s: Time constant of its return to zero; infinite for one that does not. [s]
        settled: Variance that it has in the long run where it returns. [1]
    """

    drift: float = 0.0
    returns_in_s: float = math.inf
    settled: float = 0.0


_STAYS = Kind()


@dataclass(frozen=True)
class GaussianFilter:
    """What is believed of some quantities.

    Attributes:
        kinds: Of each, by name; the order is that of `mean`.
        mean: [1]
        covariance: [1]
    """

    kinds: Mapping[str, Kind] = field(default_factory=dict[str, Kind])
    mean: Array = field(default_factory=lambda: np.zeros(0))
    covariance: Array = field(default_factory=lambda: np.zeros((0, 0)))

    def __contains__(self, name: str) -> bool:
        return name in self.kinds

    def with_quantity(self, name: str, mean: float, variance: float, kind: Kind = _STAYS) -> GaussianFilter:
        """Another quantity, independent of those there are."""
        size = len(self.kinds)
        covariance = np.zeros((size + 1, size + 1))
        covariance[:size, :size] = self.covariance
        covariance[size, size] = variance
        return GaussianFilter({**self.kinds, name: kind}, np.append(self.mean, mean), covariance)

    def without(self, names: Sequence[str]) -> GaussianFilter:
        """Forget quantities; what they taught of others stays."""
        kept = [place for place, name in enumerate(self.kinds) if name not in names]
        kinds = {name: kind for name, kind in self.kinds.items() if name not in names}
        return GaussianFilter(kinds, self.mean[kept], self.covariance[np.ix_(kept, kept)])

    def with_kind(self, name: str, kind: Kind) -> GaussianFilter:
        """A quantity changes in another way from now on."""
        return replace(self, kinds={**self.kinds, name: kind})

    def after(self, seconds: float) -> GaussianFilter:
        """Time went by. [s]"""
        if not seconds > 0 or not self.kinds:
            return self
        stay = np.array([math.exp(-seconds / kind.returns_in_s) for kind in self.kinds.values()])
        gained = [
            kind.drift * seconds + kind.settled * (1 - kept * kept)
            for kind, kept in zip(self.kinds.values(), stay, strict=True)
        ]
        covariance = self.covariance * np.outer(stay, stay) + np.diag(gained)
        return replace(self, mean=self.mean * stay, covariance=covariance)

    def loosened(self, name: str, variance: float) -> GaussianFilter:
        """A quantity became uncertain: it may have jumped. [1]"""
        covariance = self.covariance.copy()
        place = self._place(name)
        covariance[place, place] += variance
        return replace(self, covariance=covariance)

    def observed(
        self, weights: Mapping[str, float], value: float, variance: float, considered: Collection[str] = ()
    ) -> GaussianFilter:
        """A weighted sum of quantities was observed, with noise of a variance.

        Args:
            weights: Of quantities; others have none.
            value: Of the sum.
            variance: Of the noise.
            considered: Quantities whose uncertainty counts but of which this teaches nothing (S. F. Schmidt, Application
                of State-Space Methods to Navigation Problems, 1966).
        """
        row = self._row(weights)
        shared = self.covariance @ row
        total = float(row @ shared) + variance
        gain = shared / total
        gain[[place for place, name in enumerate(self.kinds) if name in considered]] = 0.0
        mean = self.mean + gain * (value - float(row @ self.mean))
        keep = np.eye(len(self.mean)) - np.outer(gain, row)
        covariance = keep @ self.covariance @ keep.T + np.outer(gain, gain) * variance
        return replace(self, mean=mean, covariance=(covariance + covariance.T) / 2)

    def expected(self, weights: Mapping[str, float]) -> tuple[float, float]:
        """Mean and variance of a weighted sum; quantities that are not there count nothing."""
        row = self._row(weights)
        return float(row @ self.mean), max(float(row @ self.covariance @ row), 0.0)

    def shared(self, first: Mapping[str, float], second: Mapping[str, float]) -> float:
        """Covariance of two weighted sums."""
        return float(self._row(first) @ self.covariance @ self._row(second))

    def _place(self, name: str) -> int:
        return list(self.kinds).index(name)

    def _row(self, weights: Mapping[str, float]) -> Array:
        return np.array([weights.get(name, 0.0) for name in self.kinds])
