"""An objective that bounds leave open: what is minimised, under which limits, and among which places.

Owns: the value that the steps towards a proof are given. Not here: those steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.meaning.measures import (
    ENERGY,
    ENERGY_ALONE,
    LATENCY,
    LATENCY_ALONE,
    SumLimit,
    WeightedSum,
)

__all__ = ["OpenObjective", "alone"]


@dataclass(frozen=True, slots=True)
class OpenObjective:
    """One objective.

    Attributes:
        objective: What to minimise.
        extra: Limits beside the problem's.
        limits: All that prices, rows or labels have to keep.
        domain: Nodes each operator may run on, shape (operators, nodes).
        left_s: Time left. [s]
    """

    objective: WeightedSum
    extra: tuple[SumLimit, ...]
    limits: tuple[SumLimit, ...]
    domain: NDArray[np.bool_]
    left_s: Callable[[], float]


def alone(objective: WeightedSum, extra: Sequence[SumLimit]) -> int | None:
    """The measure whose own best value is asked for; None where others are weighed, too, or limited."""
    if extra:
        return None
    return {LATENCY_ALONE: LATENCY, ENERGY_ALONE: ENERGY}.get(objective)
