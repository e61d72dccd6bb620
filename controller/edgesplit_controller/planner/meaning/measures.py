"""Measures, their order in every row, and objectives and limits as numbers: weighted sums to minimise, upper bounds on sums.

Owns: which place a measure has in every row of measures. Its rule: numbers only. Not here: what a problem limits and why
(`limits`), costs.

Measures 0 to 2 can be weighed by an objective; noise follows, and after it one measure for every other sum that the problem limits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.meaning.tolerance import DOUBT

__all__ = [
    "DEVICE_ENERGY",
    "DEVICE_ENERGY_ALONE",
    "ENERGY",
    "ENERGY_ALONE",
    "LATENCY",
    "LATENCY_ALONE",
    "NOISE",
    "WEIGHED",
    "SumLimit",
    "WeightedSum",
]

LATENCY, ENERGY, DEVICE_ENERGY, NOISE = range(4)
WEIGHED = 3
"""Measures that an objective may weigh: latency [s], energy [J], the device's own energy [J]."""


@dataclass(frozen=True, slots=True)
class WeightedSum:
    """A weighted sum of latency, energy and device energy to minimise.

    Attributes:
        weights: Of these measures.
        tolerance: Distance from its bound at which a value is proven; 0 is that of a single measure.
    """

    weights: tuple[float, float, float]
    tolerance: float = 0.0

    def value(self, measures: NDArray[np.float64]) -> float:
        """The objective's value of a plan's measures."""
        return float(np.dot(self.weights, measures[:WEIGHED]))


LATENCY_ALONE = WeightedSum((1.0, 0.0, 0.0))
ENERGY_ALONE = WeightedSum((0.0, 1.0, 0.0))
DEVICE_ENERGY_ALONE = WeightedSum((0.0, 0.0, 1.0))


@dataclass(frozen=True, slots=True)
class SumLimit:
    """An upper bound on one measure.

    Attributes:
        measure: Its place.
        bound: What must not be exceeded.
        magnitude: What is added up to the measure, where that is more than the bound.
    """

    measure: int
    bound: float
    magnitude: float = 0.0

    def keeps(self, value: float) -> bool:
        """Whether a sum of floating point may be under the bound; near it, exact sums have to say."""
        return value <= self.bound + DOUBT * max(abs(self.bound), self.magnitude)
