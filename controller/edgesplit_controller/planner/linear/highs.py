"""HiGHS: one linear program, solved and solved again, with bounds that do not rest on the solver's tolerances.

Owns: the solver's options, and what its answer proves. Its rule: a bound is computed from the dual values alone (weak duality), so that
dual values which are slightly wrong give a slightly lower bound, never a false one. Not here: what a program means.

References: Q. Huangfu, J. A. J. Hall, Parallelizing the dual revised simplex method, Mathematical Programming Computation 10, 2018;
A. Neumaier, O. Shcherbina, Safe bounds in linear and mixed-integer linear programming, Mathematical Programming 99, 2004.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import highspy
import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.meaning.tolerance import ULP

__all__ = ["LinearAnswer", "LinearProgram", "LinearSolver", "QuietHighs", "WarmSolver", "as_highs", "proven_bound"]

Floats = NDArray[np.float64]
Indices = NDArray[np.int32]

OPTIONS = (
    ("threads", 1),
    ("parallel", "off"),
    ("random_seed", 1),
    # A bound is computed from the duals, and what these are off counts for every column.
    ("dual_feasibility_tolerance", 1e-9),
)

INFINITE = 1e30
"""Bounds of rows from which on HiGHS takes them for none."""


@dataclass(frozen=True, slots=True)
class LinearProgram:
    """Minimise cost . x, x within its bounds, rows within theirs.

    Attributes:
        cost: Shape (columns,).
        lower: Of the columns, shape (columns,); finite.
        upper: The same.
        starts: Per row where its entries begin, and the end, shape (rows + 1,).
        columns: Of every entry.
        values: Of every entry.
        row_lower: Shape (rows,); minus infinity for none.
        row_upper: Shape (rows,); infinity for none.
    """

    cost: Floats
    lower: Floats
    upper: Floats
    starts: Indices
    columns: Indices
    values: Floats
    row_lower: Floats
    row_upper: Floats


@dataclass(frozen=True, slots=True)
class LinearAnswer:
    """What was found.

    Attributes:
        values: Of the columns; None where the solver has none.
        duals: Of the rows.
        bound: No feasible point is below it; infinity where there is proven to be none.
        excess: Per column, what it adds to the bound per unit (reduced cost, at least 0).
    """

    values: Floats | None
    duals: Floats
    bound: float
    excess: Floats


class LinearSolver:
    """A solver for one program after the other; of one thread."""

    def __init__(self) -> None:
        self._solver = QuietHighs()  # type: ignore[no-untyped-call]
        for option, value in OPTIONS:
            self._solver.setOptionValue(option, value)

    def solve(self, program: LinearProgram, time_limit_s: float) -> LinearAnswer:
        """Solve a program, or as much of it as time allows.

        Args:
            program: It.
            time_limit_s: Wall-clock limit. [s]
        """
        self._solver.clearModel()
        self._solver.passModel(as_highs(program))
        self._solver.setOptionValue("time_limit", self._solver.getRunTime() + max(time_limit_s, 0.01))
        self._solver.run()
        status = self._solver.getModelStatus()
        solution = self._solver.getSolution()
        rows, columns = len(program.row_lower), len(program.cost)
        duals = np.array(solution.row_dual) if solution.dual_valid else np.zeros(rows)
        values = np.array(solution.col_value) if solution.value_valid else None
        if status == highspy.HighsModelStatus.kInfeasible:
            if _proves_infeasible(self._solver, program):
                return LinearAnswer(None, np.zeros(rows), float("inf"), np.zeros(columns))
            values, duals = None, np.zeros(rows)
        bound, excess = proven_bound(program, duals)
        return LinearAnswer(values if status == highspy.HighsModelStatus.kOptimal else None, duals, bound, excess)


class WarmSolver:
    """One program solved again and again from the basis before, under other upper bounds of its columns and with more rows.

    Args:
        program: It.
    """

    def __init__(self, program: LinearProgram) -> None:
        self._program = program
        self._solver = QuietHighs()  # type: ignore[no-untyped-call]
        for option, value in OPTIONS:
            self._solver.setOptionValue(option, value)
        self._solver.passModel(as_highs(program))
        self._all = np.arange(len(program.cost), dtype=np.int32)

    def add_rows(self, rows: Sequence[tuple[Indices, Floats]]) -> None:
        """More rows: columns and values whose weighted sum is at most 0."""
        before = self._program
        lengths = np.array([len(columns) for columns, _ in rows], dtype=np.int32)
        starts = np.cumsum([0, *lengths[:-1]]).astype(np.int32)
        columns = np.concatenate([columns for columns, _ in rows]).astype(np.int32)
        values = np.concatenate([values for _, values in rows])
        below, above = np.full(len(rows), -np.inf), np.zeros(len(rows))
        self._solver.addRows(len(rows), np.full(len(rows), -INFINITE), above, len(columns), starts, columns, values)
        self._program = replace(
            before,
            starts=np.concatenate([before.starts, before.starts[-1] + np.cumsum(lengths)]).astype(np.int32),
            columns=np.concatenate([before.columns, columns]),
            values=np.concatenate([before.values, values]),
            row_lower=np.concatenate([before.row_lower, below]),
            row_upper=np.concatenate([before.row_upper, above]),
        )

    def solve(self, upper: Floats, time_limit_s: float) -> LinearAnswer:
        """Solve under upper bounds of the columns.

        Args:
            upper: Of the columns.
            time_limit_s: Wall-clock limit. [s]

        Returns:
            What was found; without values and with a bound of minus infinity where the solver only says that nothing is feasible.
        """
        program = replace(self._program, upper=upper)
        self._solver.changeColsBounds(len(self._all), self._all, program.lower, upper)
        self._solver.setOptionValue("time_limit", self._solver.getRunTime() + max(time_limit_s, 0.01))
        self._solver.run()
        status, solution = self._solver.getModelStatus(), self._solver.getSolution()
        if status == highspy.HighsModelStatus.kInfeasible:
            proven = _proves_infeasible(self._solver, program)
            rows, columns = len(program.row_lower), len(program.cost)
            return LinearAnswer(None, np.zeros(rows), float("inf" if proven else "-inf"), np.zeros(columns))
        duals = np.array(solution.row_dual) if solution.dual_valid else np.zeros(len(program.row_lower))
        bound, excess = proven_bound(program, duals)
        optimal = status == highspy.HighsModelStatus.kOptimal
        return LinearAnswer(np.array(solution.col_value) if optimal else None, duals, bound, excess)


def _proves_infeasible(solver: QuietHighs, program: LinearProgram) -> bool:
    """Whether the solver's word that nothing is feasible is more than its tolerances: a dual ray whose own bound is above 0."""
    asked = getattr(solver, "getDualRay", None)  # which its type stubs do not name
    if asked is None:
        return False
    _, there, ray = asked()
    if not there:
        return False
    free = replace(program, cost=np.zeros(len(program.cost)))
    return any(proven_bound(free, sign * np.array(ray))[0] > 0 for sign in (1.0, -1.0))


class QuietHighs(highspy.Highs):
    """HiGHS that writes nothing: from 1.16 on it prints who it is while its callbacks are enabled, before it can be told not to."""

    def enableCallbacks(self) -> None:  # noqa: N802  its name
        """Be silent first."""
        self.silent()
        super().enableCallbacks()  # type: ignore[no-untyped-call]


def proven_bound(program: LinearProgram, duals: Floats) -> tuple[float, Floats]:
    """The bound that dual values prove, and the columns' reduced costs above 0.

    Sum over rows of dual times the bound it pushes against, plus over columns the least of reduced cost times column.
    """
    duals = np.where((duals > 0) & np.isinf(program.row_lower), 0.0, duals)
    duals = np.where((duals < 0) & np.isinf(program.row_upper), 0.0, duals)
    lengths = np.diff(program.starts)
    priced = np.repeat(duals, lengths) * program.values
    reduced = program.cost - np.bincount(program.columns, weights=priced, minlength=len(program.cost))
    pushed = np.where(duals > 0, program.row_lower, np.where(duals < 0, program.row_upper, 0.0))
    parts = duals * np.where(np.isfinite(pushed), pushed, 0.0)
    below = np.where(reduced < 0, reduced * program.upper, reduced * program.lower)
    # Of a reduced cost, every product and sum may be off by one part in 2^52.
    doubt = ULP * (
        np.bincount(program.columns, weights=np.abs(priced), minlength=len(program.cost)) + np.abs(program.cost)
    )
    entries = np.bincount(program.columns, minlength=len(program.cost)) + 2
    reach = np.maximum(np.abs(program.lower), np.abs(program.upper))
    rounding = float((entries * doubt * reach).sum()) + ULP * len(parts) * float(
        np.abs(parts).sum() + np.abs(below).sum()
    )
    return float(parts.sum() + below.sum()) - rounding, np.maximum(reduced, 0.0)


def as_highs(program: LinearProgram) -> highspy.HighsLp:
    """A program as HiGHS takes it."""
    found = highspy.HighsLp()
    found.num_col_, found.num_row_ = len(program.cost), len(program.row_lower)
    found.col_cost_ = program.cost
    found.col_lower_ = program.lower
    found.col_upper_ = program.upper
    found.row_lower_ = np.maximum(program.row_lower, -INFINITE)
    found.row_upper_ = np.minimum(program.row_upper, INFINITE)
    found.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    found.a_matrix_.start_ = program.starts
    found.a_matrix_.index_ = program.columns
    found.a_matrix_.value_ = program.values
    return found
