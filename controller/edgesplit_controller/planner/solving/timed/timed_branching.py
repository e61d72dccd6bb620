"""Branch and bound over the flow program with time: a bound for problems too large to be searched with their schedules.

Owns: the tree, which choice is branched on, and what reduced costs close. Its rule: a part of the tree is left only when the bound that its
duals prove reaches a known plan's value. Not here: the program (`flows/timed_program.py`), better plans (`timed_annealing.py`).

Mixtures of two plans make the program's bound weak: half of everything on each of two nodes ends early without a single transfer. Where
heavy operators are put decides most of that, so these are branched on first, and few branches close most of the gap.

References: A. H. Land, A. G. Doig, An automatic method of solving discrete programming problems, Econometrica 28, 1960.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.flows.stretch_intervals import StretchIntervals
from edgesplit_controller.planner.flows.timed_program import TimedFlowProgram
from edgesplit_controller.planner.linear.highs import LinearAnswer, LinearProgram, WarmSolver
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.indexed_plan import Plan
from edgesplit_controller.planner.meaning.measures import WEIGHED, WeightedSum
from edgesplit_controller.planner.meaning.tolerance import PROOF

__all__ = ["TimedBranching"]

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]

ROOT_ROUNDS, ROUNDS = 8, 1
"""Of interval rows stated at the root, and at any other part of the tree."""

ROWS = 12
"""Stated in a round."""

SPLIT = 1e-4
"""Share of an operator beside its largest from which its place is undecided."""

EVEN = 0.01
"""Of the mean, what an operator without work weighs in the choice of branches."""

DIVE = 12
"""Every so many parts, one is followed down to a plan, the first one among them."""

DIVES = 25
"""Programs solved on that way."""

RETRIES = 6
"""Times that way is taken, each time with the rows that the plan before violates."""

DIVE_SHARE = 0.1
"""Of the time left, for that way."""

SURE = 0.9
"""Share of an operator on one node from which it is put there on that way."""

Closed = tuple[int, ...]
"""Columns that are 0."""


@dataclass(order=True, slots=True)
class _Part:
    """A part of the tree: what no plan in it is below, and what is still open there."""

    bound: float
    number: int
    open: Truths = field(compare=False)
    split: tuple[Closed, ...] = field(compare=False)
    """What each of its own parts closes, together all of it; none where nothing is undecided or known of it."""


class TimedBranching:
    """One objective's tree.

    Args:
        program: With time.
        linear: It as numbers, with objective and limits.
        costs: The problem's, with the places that are left.
        patterns: Allowed quantization patterns.
        objective: What to minimise.
        seen: Takes a plan near to an optimum of the program; says the value of the best plan known.
    """

    def __init__(
        self,
        program: TimedFlowProgram,
        linear: LinearProgram,
        costs: Costs,
        patterns: Patterns | None,
        *,
        objective: WeightedSum,
        seen: Callable[[Plan], float],
    ) -> None:
        self._program, self._linear, self._objective = program, linear, objective
        self._patterns, self._seen = patterns, seen
        self._left_s: Callable[[], float] = float
        self._parts: list[_Part] = []
        self._solver = WarmSolver(linear)
        self._intervals = StretchIntervals(program, costs)
        weights = np.array(objective.weights)
        work = np.tensordot(weights, costs.compute[:WEIGHED], 1).max(axis=1)
        self._weight: Floats = work + EVEN * float(work.mean())
        ends = [program.end_of(None), *(program.end_of(operator) for operator in range(len(costs.operators)))]
        self._choices: Truths = np.ones(program.columns, dtype=bool)
        self._choices[ends] = False
        self._ceiling = float("inf")
        self._settled = float("inf")
        self._number = self._popped = 0
        self._patience_s = 0.0

    def bound(self, ceiling: float, left_s: Callable[[], float], patience_s: float = 0.0) -> float:
        """What no plan is below; asked again, it goes on where it stopped.

        Args:
            ceiling: The value of the best plan known.
            left_s: Time left. [s]
            patience_s: What the first program may take even so, without which there is no bound at all. [s]
        """
        self._patience_s = patience_s
        self._ceiling, self._left_s = min(self._ceiling, ceiling), left_s
        if not self._number:
            self._parts = [_Part(0.0, 0, np.ones(self._program.columns, dtype=bool), ((),))]
        parts = self._parts
        while parts and parts[0].bound < self._hopeless and self._left_s() > 0:
            part = heapq.heappop(parts)
            if len(part.split) > 1:
                if self._popped % DIVE == 0:
                    self._dive(part)
                self._popped += 1
            for branch in self._branched(part, parts):
                heapq.heappush(parts, branch)
        return min(self._settled, self._ceiling, *(part.bound for part in parts))

    @property
    def done(self) -> bool:
        """Whether nothing is left that could raise the bound, the best plan known being what it is."""
        return self._number > 0 and (not self._parts or self._parts[0].bound >= self._hopeless)

    def _dive(self, part: _Part) -> None:
        """Follow a part down to a plan, many decisions at a time; it proves nothing."""
        until_s = self._left_s() * (1 - DIVE_SHARE)
        for _ in range(RETRIES):
            answer = self._followed(part.open.copy(), until_s)
            if answer is None:
                return
            plan = self._program.plan(answer, self._objective)
            if plan is not None:
                self._ceiling = min(self._ceiling, self._seen(plan))
            if not self._stated(answer, ROWS):
                return

    def _followed(self, is_open: Truths, until_s: float) -> LinearAnswer | None:
        """An optimum in which every operator has one place, by deciding; None where nothing better than what is known was met.

        Args:
            is_open: Columns that may be above 0; those decided against are closed.
            until_s: Time that has to be left. [s]
        """
        for _ in range(DIVES):
            answer = self._solver.solve(np.where(is_open, self._linear.upper, 0.0), self._left_s() - until_s)
            if answer.values is None or answer.bound >= self._hopeless or self._left_s() <= until_s:
                return None
            if not self._decide(is_open, answer.values):
                return answer
            self._stated(answer, ROWS)
        return None

    def _stated(self, answer: LinearAnswer, most: int) -> bool:
        """State interval rows that a solution violates; whether there were any."""
        rows = [] if answer.values is None else self._intervals.violated(answer.values, most)
        if rows:
            self._solver.add_rows(rows)
        return bool(rows)

    def _decide(self, is_open: Truths, values: Floats) -> int:
        """Put the operators whose place is nearly decided, and the heaviest of the others, where the most of each is; how many were undecided."""
        undecided: list[tuple[float, int, list[int]]] = []
        for operator, places in enumerate(self._program.places):
            columns = [column for column in places.values() if is_open[column]]
            if len(columns) < 2:
                continue
            largest = max(columns, key=values.__getitem__)
            others = [column for column in columns if column != largest]
            if values[largest] >= SURE:
                is_open[others] = False
            if values[largest] < 1.0 - SPLIT:
                undecided.append((float(self._weight[operator]), operator, others))
        for _, _, others in sorted(undecided, reverse=True)[: 1 + len(undecided) // 5]:
            is_open[others] = False
        return len(undecided)

    @property
    def _hopeless(self) -> float:
        """A bound from which a part holds nothing better than what is known."""
        return self._ceiling * (1 - PROOF)

    def _branched(self, part: _Part, parts: list[_Part]) -> list[_Part]:
        """The parts of a part."""
        if not part.split:
            self._settled = min(self._settled, part.bound)
        branches: list[_Part] = []
        for place, closed in enumerate(part.split):
            if self._left_s() <= 0:
                # Parts that were not solved are bounded as the whole of them is.
                heapq.heappush(parts, replace(part, split=part.split[place:]))
                break
            smaller = part.open.copy()
            smaller[list(closed)] = False
            branches.append(self._solved(smaller, part.bound, ROUNDS if len(part.split) > 1 else ROOT_ROUNDS))
        return branches

    def _solved(self, is_open: Truths, floor: float, rounds: int) -> _Part:
        """The program of a part, with interval rows that its optimum violates."""
        self._number += 1
        upper = np.where(is_open, self._linear.upper, 0.0)
        answer = self._solver.solve(upper, max(self._left_s(), self._patience_s))
        if answer.values is not None:
            self._patience_s = 0.0
        bound = max(floor, answer.bound)
        for _ in range(rounds):
            if answer.values is None or bound >= self._ceiling or self._left_s() <= 0:
                break
            if not self._stated(answer, ROWS):
                break
            again = self._solver.solve(upper, self._left_s())
            bound = max(bound, again.bound)
            if again.values is None:
                break
            answer = again
        if answer.values is None:
            # Where time ran out, the part is solved again as a part of itself.
            return _Part(bound, self._number, is_open, ((),) if np.isfinite(answer.bound) else ())
        plan = self._program.plan(answer, self._objective)
        if plan is not None and bound < self._ceiling:
            self._ceiling = min(self._ceiling, self._seen(plan))
        too_much = self._choices & (answer.bound + answer.excess > self._ceiling * (1 + PROOF))
        is_open = is_open & ~too_much
        return _Part(bound, self._number, is_open, self._split(is_open, answer.values))

    def _split(self, is_open: Truths, values: Floats) -> tuple[Closed, ...]:
        """What to decide next: the heaviest operator's place, or a quantization."""
        most = 0.0
        chosen: tuple[Closed, ...] = ()
        for operator, places in enumerate(self._program.places):
            columns = [column for column in places.values() if is_open[column]]
            if len(columns) < 2:
                continue
            largest = max(columns, key=values.__getitem__)
            undecided = min(float(values[largest]), 1.0 - float(values[largest]))
            if undecided > SPLIT and undecided * self._weight[operator] > most:
                most = undecided * float(self._weight[operator])
                chosen = (tuple(column for column in columns if column != largest), (largest,))
        return chosen or self._precision_split(is_open, values)

    def _precision_split(self, is_open: Truths, values: Floats) -> tuple[Closed, ...]:
        """Patterns with and without the operator whose precision is decided least."""
        columns = np.array(self._program.pattern, dtype=np.intp)
        if self._patterns is None or not len(columns):
            return ()
        shares = values[columns] @ self._patterns.members
        undecided = np.minimum(shares, 1.0 - shares)
        operator = int(undecided.argmax()) if len(undecided) else 0
        if not len(undecided) or undecided[operator] <= SPLIT:
            return ()
        has = self._patterns.members[:, operator]
        return tuple(columns[~has & is_open[columns]].tolist()), tuple(columns[has & is_open[columns]].tolist())
