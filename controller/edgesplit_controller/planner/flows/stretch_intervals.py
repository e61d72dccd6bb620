"""Interval rows of the flow program with time, stated on demand (cutting planes).

Owns: which of them a solution violates most. Its rule: a row holds for every schedule. Not here: the program (`timed_program.py`), solving.

All that comes after an operator runs after its end, so the time from there to the end of its stretch is at least what any node computes of
it and any link carries of it; and what comes before an operator fits between the begin of its stretch and the operator's begin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.flows.timed_program import Load, TimedFlowProgram, following
from edgesplit_controller.planner.meaning.costs import Costs

__all__ = ["StretchIntervals"]

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]
Row = tuple[NDArray[np.int32], Floats]
"""Columns and values whose weighted sum is at most 0."""

WIDE = 4
"""Operators from which a stretch has intervals of its own: shorter ones differ little from the whole."""

MOST = 1_200
"""Operators up to which a stretch has intervals: what comes before what takes memory by their square."""

VIOLATED = 1e-6
"""Of the horizon, from which a row is worth stating."""


@dataclass(frozen=True, slots=True)
class _Intervals:
    """The intervals of one resource on one side of the operators of a stretch.

    Attributes:
        stretch: It.
        forward: From the operator to the stretch's end, or from its begin to the operator.
        inside: Whether a load is in an operator's interval, shape (operators, loads).
        columns: Of the loads.
        seconds: Of the loads.
    """

    stretch: int
    forward: bool
    inside: Truths
    columns: NDArray[np.int32]
    seconds: Floats


class StretchIntervals:
    """All intervals of one program.

    Args:
        program: It.
        costs: The problem's.
    """

    def __init__(self, program: TimedFlowProgram, costs: Costs) -> None:
        self._program = program
        self._operators = program.stretches
        self._sides: list[_Intervals] = []
        after = following(costs)
        loads: dict[int, dict[object, list[Load]]] = {}
        for load in program.loads():
            loads.setdefault(load.stretch, {}).setdefault(load.resource, []).append(load)
        for stretch, operators in enumerate(self._operators):
            if WIDE <= len(operators) <= MOST:
                self._add_stretch(stretch, operators, after, list(loads.get(stretch, {}).values()))
        self._stated: set[tuple[int, int]] = set()

    def _add_stretch(self, stretch: int, operators: list[int], after: list[int], loads: list[list[Load]]) -> None:
        place = {operator: index for index, operator in enumerate(operators)}
        count = len(operators)
        comes = np.array([[after[first] >> second & 1 for second in operators] for first in operators], dtype=bool)
        itself = np.eye(count, dtype=bool)
        for group in loads:
            columns = np.array([load.column for load in group], dtype=np.int32)
            seconds = np.array([load.seconds for load in group])
            later, earlier = np.zeros((count, len(group)), dtype=bool), np.zeros((count, len(group)), dtype=bool)
            for index, load in enumerate(group):
                computed = isinstance(load.resource, int)
                if load.since in place:
                    # What an operator sends follows its end, what it computes does not.
                    later[:, index] = comes[:, place[load.since]] | (itself[:, place[load.since]] & (not computed))
                if all(operator in place for operator in load.until):
                    ends = [place[operator] for operator in load.until]
                    before = comes[ends] if computed else comes[ends] | itself[ends]
                    earlier[:, index] = before.all(axis=0)
            self._sides.append(_Intervals(stretch, True, later, columns, seconds))
            self._sides.append(_Intervals(stretch, False, earlier, columns, seconds))

    def violated(self, values: Floats, most: int) -> list[Row]:
        """The rows that a solution violates most, at most one for each resource and side of a stretch.

        Args:
            values: Of the program's columns.
            most: How many.
        """
        found: list[tuple[float, int, int]] = []
        for index, side in enumerate(self._sides):
            busy_s = side.inside @ (values[side.columns] * side.seconds)
            excess = busy_s / self._program.horizon_s - self._room(side, values)
            worst = int(excess.argmax())
            if excess[worst] > VIOLATED and (index, worst) not in self._stated:
                found.append((float(excess[worst]), index, worst))
        chosen = sorted(found, reverse=True)[:most]
        self._stated.update((index, worst) for _, index, worst in chosen)
        return [self._row(self._sides[index], worst) for _, index, worst in chosen]

    def _room(self, side: _Intervals, values: Floats) -> Floats:
        """Time that the solution leaves each interval, in horizons."""
        program, (before, behind) = self._program, self._program.rim(side.stretch)
        ends: Floats = values[[program.end_of(operator) for operator in self._operators[side.stretch]]]
        if side.forward:
            until = float(values[program.end_of(behind)]) - self._taken(behind, values)
            return np.subtract(until, ends)
        begins: Floats = ends - np.array([self._taken(operator, values) for operator in self._operators[side.stretch]])
        since = 0.0 if before is None else float(values[program.end_of(before)])
        return np.subtract(begins, since)

    def _taken(self, operator: int | None, values: Floats) -> float:
        parts = () if operator is None else self._program.own(operator)
        return sum(float(values[column]) * seconds for column, seconds in parts) / self._program.horizon_s

    def _row(self, side: _Intervals, place: int) -> Row:
        program, (before, behind) = self._program, self._program.rim(side.stretch)
        operator = self._operators[side.stretch][place]
        first, last = (operator, behind) if side.forward else (before, operator)
        weights: dict[int, float] = {program.end_of(last): -1.0}
        if first is not None:
            weights[program.end_of(first)] = 1.0
        inside = side.inside[place]
        parts = list(zip(side.columns[inside].tolist(), side.seconds[inside].tolist(), strict=True))
        for column, seconds in (*parts, *(program.own(last) if last is not None else ())):
            weights[column] = weights.get(column, 0.0) + seconds / program.horizon_s
        return np.array(list(weights), dtype=np.int32), np.array(list(weights.values()))
