"""Transition costs between kernels (to int8, to float, layouts), fitted on a few timed parts of a model.

Owns: the fit. Its rule: pure; costs are never negative, and what no timed part shows costs nothing. Not here: timing
the parts (`profile_measurement.py`), which changes a plan has (the controller).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from edgesplit.late_libraries import np
from edgesplit.wire.tensors import Array

__all__ = ["Sample", "fit_transitions"]

TOLERANCE = 1e-9
"""Relative; of two sets of kinds that explain the times equally well the smaller one is taken."""


@dataclass(frozen=True)
class Sample:
    """One timed part of a model.

    Attributes:
        kernels_s: What its units take without any change of form. [s]
        measured_s: What it took. [s]
        transition_bytes: Kind of change of form to bytes. [B]
    """

    kernels_s: float
    measured_s: float
    transition_bytes: Mapping[str, float]


def fit_transitions(samples: Sequence[Sample]) -> dict[str, float]:
    """Find the seconds per byte of every kind that explain the samples best.

    Least squares of relative errors under costs of at least 0; with the handful of kinds there is, every subset of
    them is tried, which is exact (Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23).

    Args:
        samples: Of one model on this node.

    Returns:
        Kind to seconds per byte, kinds that cost nothing left out. [s/B]
    """
    kinds = sorted({kind for sample in samples for kind in sample.transition_bytes})
    usable = [sample for sample in samples if sample.measured_s > 0]
    if not kinds or not usable:
        return {}
    rows = [[sample.transition_bytes.get(kind, 0.0) / sample.measured_s for kind in kinds] for sample in usable]
    matrix = np.array(rows, np.float64)
    excess = np.array([1.0 - sample.kernels_s / sample.measured_s for sample in usable], np.float64)
    best, costs = float(excess @ excess), np.zeros(len(kinds))
    for count in range(1, len(kinds) + 1):
        for chosen in combinations(range(len(kinds)), count):
            error, found = _solved(matrix[:, list(chosen)], excess)
            if (found >= 0).all() and error < best * (1 - TOLERANCE):
                best, costs = error, np.zeros(len(kinds))
                costs[list(chosen)] = found
    return {kind: float(cost) for kind, cost in zip(kinds, costs, strict=True) if cost > 0}


def _solved(matrix: Array, wanted: Array) -> tuple[float, Array]:
    # Bytes are large numbers and seconds small ones: columns of unit length keep the solution accurate.
    lengths = np.maximum(np.linalg.norm(matrix, axis=0), 1e-300)
    found = np.linalg.lstsq(matrix / lengths, wanted, rcond=None)[0]
    left = matrix / lengths @ found - wanted
    return float(left @ left), found / lengths
