"""How far outputs are from what they should be; numpy alone, so that processes under load start at once.

Owns: one measure. Its rule: what is not finite, or has another shape or type, is infinitely far. Not here: what is
tolerable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Arrays", "relative_difference"]

Arrays = Mapping[str, NDArray[Any]]


def relative_difference(wanted: Arrays, got: Arrays) -> float:
    """Largest difference of any output, relative to that output's range."""
    worst = 0.0
    for name, array in wanted.items():
        other = got[name]
        if other.shape != array.shape or other.dtype != array.dtype or not np.isfinite(other).all():
            return float("inf")
        scale = float(np.ptp(array)) or 1.0
        worst = max(worst, float(np.abs(array.astype(np.float64) - other.astype(np.float64)).max()) / scale)
    return worst
