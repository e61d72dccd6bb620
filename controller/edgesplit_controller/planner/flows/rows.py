"""Rows and columns of a linear program, collected one after the other.

Owns: their numbering. Not here: what they mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.linear.highs import LinearProgram

__all__ = ["Rows"]

Floats = NDArray[np.float64]


class Rows:
    """A program under construction; columns are between 0 and 1.

    Args:
        measures: Of what every column costs.
    """

    def __init__(self, measures: int) -> None:
        self._nothing = np.zeros(measures)
        self._costs: list[Floats] = []
        self._starts = [0]
        self._columns: list[int] = []
        self._values: list[float] = []
        self._lower: list[float] = []
        self._upper: list[float] = []

    def column(self, cost: Floats | None = None) -> int:
        """One more column and what it costs, shape (measures,)."""
        self._costs.append(self._nothing if cost is None else cost)
        return len(self._costs) - 1

    def charge(self, column: int, cost: Floats) -> None:
        """A column costs that more."""
        self._costs[column] = self._costs[column] + cost

    def equal(self, left: Sequence[int], right: Sequence[int] = (), value: float = 0.0) -> None:
        """Sum of some columns less that of others is a value."""
        self._row([*left, *right], [1.0] * len(left) + [-1.0] * len(right), value, value)

    def at_most(self, left: Sequence[int], right: Sequence[int], value: float = 0.0) -> None:
        """Sum of some columns less that of others is at most a value."""
        self._row([*left, *right], [1.0] * len(left) + [-1.0] * len(right), -np.inf, value)

    def weighed(self, columns: Sequence[int], weights: Sequence[float], value: float) -> None:
        """A weighted sum is at most a value."""
        self._row(columns, weights, -np.inf, value)

    def costs(self) -> Floats:
        """Of all columns, shape (columns, measures)."""
        return np.array(self._costs)

    def program(self, cost: Floats, limits: Sequence[tuple[Floats, float]]) -> LinearProgram:
        """The program.

        Args:
            cost: Of every column.
            limits: Amounts of every column, and what their sum is at most.
        """
        count = len(self._costs)
        starts, columns, values, upper = [*self._starts], [self._columns], [self._values], [*self._upper]
        for amounts, bound in limits:
            used = np.flatnonzero(amounts)
            # HiGHS keeps rows to an absolute tolerance.
            scale = float(np.abs(amounts[used]).max(initial=0.0)) or 1.0
            columns.append(used.tolist())
            values.append((amounts[used] / scale).tolist())
            starts.append(starts[-1] + len(used))
            upper.append(bound / scale)
        return LinearProgram(
            cost=cost,
            lower=np.zeros(count),
            upper=np.ones(count),
            starts=np.array(starts, dtype=np.int32),
            columns=np.concatenate([np.array(part, dtype=np.int32) for part in columns]),
            values=np.concatenate([np.array(part, dtype=np.float64) for part in values]),
            row_lower=np.array([*self._lower, *[-np.inf] * len(limits)]),
            row_upper=np.array(upper),
        )

    def _row(self, columns: Sequence[int], values: Sequence[float], lower: float, upper: float) -> None:
        self._columns += columns
        self._values += values
        self._starts.append(len(self._columns))
        self._lower.append(lower)
        self._upper.append(upper)
