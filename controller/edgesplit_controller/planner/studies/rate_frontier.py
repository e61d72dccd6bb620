"""The frontier of latency, or energy, and the rate that plans sustain, by the epsilon-constraint method.

Owns: which plans trade latency or energy for rate without waste. Its rule: no point returned is dominated by another one, and each says
whether it is proven. Not here: latency against energy (`frontier.py`), what a plan sustains (`meaning/sums.py`).

A rate is asked for between that of the plan which is best in the other measure and the highest there is, and the measure is minimised
under it. The plan found sustains some rate of its own: nothing between that and the rate asked for is on the frontier. Of the
intervals left open the one that spans the largest rectangle of measure and rate is halved next.

References: Y. Y. Haimes, L. S. Lasdon, D. A. Wismer, On a bicriterion formulation of the problems of integrated system identification
and system optimization, IEEE Transactions on Systems, Man, and Cybernetics 1, 1971.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from edgesplit.errors import PlanInfeasible
from edgesplit.planning.plan import Assignment, Evaluation
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.meaning.evaluation import evaluate
from edgesplit_controller.planner.meaning.indexed_plan import to_assignment
from edgesplit_controller.planner.meaning.measures import ENERGY_ALONE, LATENCY_ALONE
from edgesplit_controller.planner.meaning.tolerance import LEXICOGRAPHIC
from edgesplit_controller.planner.solving.reasons.infeasible import explain_infeasible
from edgesplit_controller.planner.solving.reasons.reachable_rate import highest_rate
from edgesplit_controller.planner.solving.session import Session
from edgesplit_controller.planner.studies.frontier import Frontier, FrontierPoint

__all__ = ["RateAxis", "rate_frontier"]

RateAxis = Literal["latency", "energy"]
"""What is traded for rate."""

FINENESS = 1e-3
"""Share of the range of rates below which an interval counts as closed."""

SOLVES_PER_POINT = 2
"""Rates tried per point wanted; some find what is known."""

TIES = 4
"""Times that a higher rate is looked for among the plans that are best in the other measure."""

STEP = 1e-6
"""Relative, above a plan's rate: the next plan's is at least that much higher."""

ENDS_SHARE = 0.25
"""Of the time left, for each step to an end."""


@dataclass(frozen=True, slots=True)
class _Traced:
    """A plan, as the frontier sees it; its rate is infinite where nothing takes any time."""

    assignment: Assignment
    evaluation: Evaluation
    value: float
    rate_hz: float
    proven: bool


@dataclass(frozen=True, slots=True)
class _OpenRates:
    """Rates that are still open, and what the measure spans there."""

    low_hz: float
    high_hz: float
    span: float

    @property
    def area(self) -> float:
        return (self.high_hz - self.low_hz) * self.span


def rate_frontier(
    problem: Problem,
    axis: RateAxis,
    *,
    points: int = 12,
    time_limit_s: float = 60.0,
    on_point: Callable[[FrontierPoint], None] | None = None,
) -> Frontier:
    """Compute plans along the frontier; the problem's weights play no role, and rates begin at the one it asks for.

    Args:
        problem: A valid problem.
        axis: What is traded for rate.
        points: Most points wanted, both ends included; at least 2.
        time_limit_s: For all of them together; what is known when it passes is returned. [s]
        on_point: Called with each point when it is found, the two ends first.

    Returns:
        The points, from the best in the measure to the highest rate, which is within 1 % of the highest there is. `optimal` says
        of one: no plan that sustains its rate is better in the measure.

    Raises:
        PlanInfeasible: No plan satisfies the constraints.
        PlanningTimedOut: Time ran out before any plan was known.
    """
    tracing = _Tracing(problem, axis, Clock(time_limit_s), on_point)
    best, fastest = tracing.ends()
    gaps: list[_OpenRates] = [_OpenRates(best.rate_hz, fastest.rate_hz, fastest.value - best.value)]
    least_hz, tries = FINENESS * (fastest.rate_hz - best.rate_hz), SOLVES_PER_POINT * points
    while gaps and len(tracing.found) < points and tries > 0 and tracing.clock.left_s() > 0:
        gap = gaps.pop(max(range(len(gaps)), key=lambda index: gaps[index].area))
        if not (gap.high_hz - gap.low_hz > least_hz and gap.span > 0):
            continue
        middle_hz = (gap.low_hz + gap.high_hz) / 2
        one = tracing.best_at(middle_hz, 1 / tries)
        tries -= 1
        if one is None:
            continue
        gaps += [
            _OpenRates(gap.low_hz, middle_hz, one.value - tracing.value_at(gap.low_hz)),
            _OpenRates(max(one.rate_hz, middle_hz), gap.high_hz, tracing.value_at(gap.high_hz) - one.value),
        ]
    return Frontier(points=tuple(_point(one) for one in _non_dominated(tracing.found)))


class _Tracing:
    """What is found so far.

    Args:
        problem: It.
        axis: What is traded for rate.
        clock: Gives the time left.
        on_point: Told every point.
    """

    def __init__(
        self, problem: Problem, axis: RateAxis, clock: Clock, on_point: Callable[[FrontierPoint], None] | None
    ) -> None:
        self.clock = clock
        self.found: list[_Traced] = []
        self._problem, self._axis, self._on_point = problem, axis, on_point

    def ends(self) -> tuple[_Traced, _Traced]:
        """The best plan in the measure, of the highest rate among its equals, and the best one at about the highest rate.

        Raises:
            PlanInfeasible, PlanningTimedOut: As `rate_frontier`.
        """
        best = self.best_at(self._problem.constraints.min_rate_hz, ENDS_SHARE)
        if best is None:
            raise self.clock.passed()
        for _ in range(TIES):
            higher = self.best_at(best.rate_hz * (1 + STEP), ENDS_SHARE) if math.isfinite(best.rate_hz) else None
            if higher is None or higher.value > best.value * (1 + LEXICOGRAPHIC):
                break
            best = higher
        fastest = best
        reached = highest_rate(self._problem, self.clock.part(ENDS_SHARE), refused_s=0.0)
        if reached is not None and 0 < reached.period_s < 1 / best.rate_hz:
            fastest = self.best_at(1 / reached.period_s, ENDS_SHARE, reached.assignment) or self._keep(
                reached.assignment, proven=False
            )
        return best, fastest

    def best_at(self, rate_hz: float | None, share: float, start: Assignment | None = None) -> _Traced | None:
        """The best plan that sustains a rate, which is kept; None where none is found in a share of the time left.

        Raises:
            PlanInfeasible: At the rate that the problem itself asks for there is none.
        """
        constraints = msgspec.structs.replace(self._problem.constraints, min_rate_hz=rate_hz)
        asked = msgspec.structs.replace(self._problem, constraints=constraints)
        able = [one for one in self.found if rate_hz is None or one.rate_hz >= rate_hz]
        if able and start is None:
            start = min(able, key=lambda one: one.value).assignment
        session = Session(asked, start, self.clock.part(share))
        outcome = session.best(LATENCY_ALONE if self._axis == "latency" else ENERGY_ALONE)
        if outcome.plan is None:
            if outcome.proven and rate_hz == self._problem.constraints.min_rate_hz:
                raise PlanInfeasible(explain_infeasible(self._problem, self.clock))
            return None
        return self._keep(to_assignment(outcome.plan, session.costs), proven=outcome.proven)

    def value_at(self, rate_hz: float) -> float:
        """The best value known among plans that sustain a rate."""
        return min((one.value for one in self.found if one.rate_hz >= rate_hz), default=math.inf)

    def _keep(self, assignment: Assignment, *, proven: bool) -> _Traced:
        evaluation = evaluate(self._problem, assignment)
        value = evaluation.latency_s if self._axis == "latency" else evaluation.energy_j
        one = _Traced(assignment, evaluation, value, evaluation.rate_hz or math.inf, proven)
        if not any(known.assignment == assignment for known in self.found):
            if self._on_point is not None:
                self._on_point(_point(one))
            self.found.append(one)
        return one


def _non_dominated(found: list[_Traced]) -> list[_Traced]:
    """By rising value and rate; of plans that agree in both the first that is proven."""
    kept: list[_Traced] = []
    for one in sorted(found, key=lambda one: (one.value, -one.rate_hz, not one.proven)):
        if not kept or one.rate_hz > kept[-1].rate_hz * (1 + 1e-9):
            kept.append(one)
    return kept


def _point(one: _Traced) -> FrontierPoint:
    return FrontierPoint(
        latency_s=one.evaluation.latency_s,
        energy_j=one.evaluation.energy_j,
        device_energy_j=one.evaluation.device_energy_j,
        noise=one.evaluation.noise,
        assignment=one.assignment,
        status="optimal" if one.proven else "feasible",
    )
