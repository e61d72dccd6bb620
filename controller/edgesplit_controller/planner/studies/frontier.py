"""The latency-energy Pareto frontier, by the augmented epsilon-constraint method.

Owns: which plans trade latency for energy without waste. Its rule: no point returned is dominated by another one, and
each says whether it is proven. Not here: drawing, weights, solving one objective.

Energy is capped at steps between the least there is and that of the fastest
plan, latency is minimised under each cap, and a tiny price on energy keeps plans from wasting what the cap leaves.
Caps that a plan already keeps are skipped.

Under a cap, the fastest plan found has some energy below it; nothing between that energy and the cap is on the
frontier. What remains open are the intervals below the one and above the other; the one that spans the largest
rectangle of latency and energy is halved next.

References: G. Mavrotas, Effective implementation of the epsilon-constraint method in multi-objective mathematical
programming problems, Applied Mathematics and Computation 213, 2009.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from edgesplit.errors import PlanInfeasible
from edgesplit.planning.plan import Assignment, Status
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.meaning.evaluation import evaluate
from edgesplit_controller.planner.meaning.indexed_plan import Plan, to_assignment
from edgesplit_controller.planner.meaning.measures import (
    DEVICE_ENERGY,
    ENERGY,
    ENERGY_ALONE,
    LATENCY,
    LATENCY_ALONE,
    SumLimit,
    WeightedSum,
)
from edgesplit_controller.planner.meaning.tolerance import LEXICOGRAPHIC
from edgesplit_controller.planner.solving.reasons.infeasible import explain_infeasible
from edgesplit_controller.planner.solving.session import Session

__all__ = ["Frontier", "FrontierPoint", "frontier"]

FINENESS = 1e-4
"""Share of the energy range below which an interval counts as closed."""

SOLVES_PER_POINT = 3
"""Caps tried per point wanted; some find what is known."""

AUGMENTATION = 1e-6
"""Price of the whole energy range, in latency ranges."""


class FrontierPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One plan of the frontier.

    Attributes:
        latency_s: Under the problem's latency model. [s]
        energy_j: All nodes. [J]
        device_energy_j: The source's share. [J]
        noise: Predicted noise of the output. [1]
        assignment: The plan.
        status: `optimal`: no plan with at most this energy is faster; `feasible`: not proven in time.
    """

    latency_s: float
    energy_j: float
    device_energy_j: float
    noise: float
    assignment: Assignment
    status: Status


class Frontier(msgspec.Struct, frozen=True, kw_only=True):
    """Non-dominated plans, from the fastest to the most frugal.

    Attributes:
        points: Sorted by rising latency and so by falling energy; never empty.
    """

    points: tuple[FrontierPoint, ...]


@dataclass(frozen=True, slots=True)
class _Gap:
    """Caps that are still open: above `floor_j`, below the energy of the plan at `upper`."""

    floor_j: float
    ceiling_j: float
    span_s: float

    @property
    def area(self) -> float:
        return (self.ceiling_j - self.floor_j) * self.span_s


def frontier(
    problem: Problem,
    *,
    points: int = 12,
    time_limit_s: float = 60.0,
    on_point: Callable[[FrontierPoint], None] | None = None,
) -> Frontier:
    """Compute plans along the frontier; the problem's weights play no role.

    Args:
        problem: A valid problem.
        points: Most points wanted, both ends included; at least 2.
        time_limit_s: For all of them together; what is known when it passes is returned. [s]
        on_point: Called with each point when it is found, the two ends first.

    Raises:
        PlanInfeasible: No plan satisfies the constraints.
        PlanningTimedOut: Time ran out before any plan was known.
    """
    clock = Clock(time_limit_s)
    planning = Session(problem, None, clock)
    found: list[FrontierPoint] = []

    def keep(plan: Plan, proven: bool) -> FrontierPoint:
        point = _point(problem, planning, plan, proven)
        if point not in found:
            found.append(point)
            if on_point is not None:
                on_point(point)
        return point

    fast, frugal = _ends(problem, planning, clock, keep)
    range_s, range_j = frugal.latency_s - fast.latency_s, fast.energy_j - frugal.energy_j
    gaps = [_Gap(frugal.energy_j, fast.energy_j, range_s)] if range_j > LEXICOGRAPHIC * fast.energy_j else []
    objective = WeightedSum((1.0, AUGMENTATION * range_s / range_j if gaps else 0.0, 0.0))
    tries = SOLVES_PER_POINT * points
    while gaps and len(found) < points and tries > 0 and clock.left_s() > 0:
        gap = gaps.pop(max(range(len(gaps)), key=lambda index: gaps[index].area))
        cap_j = (gap.floor_j + gap.ceiling_j) / 2
        planning.clock = clock.part(1 / tries)
        tries -= 1
        outcome = planning.best(objective, SumLimit(ENERGY, cap_j))
        if outcome.plan is None:
            continue
        point = keep(outcome.plan, outcome.proven)
        gaps += _remaining(found, gap, point, cap_j, least_j=FINENESS * range_j)
    return Frontier(points=_non_dominated(found))


def _ends(
    problem: Problem, planning: Session, clock: Clock, keep: Callable[[Plan, bool], FrontierPoint]
) -> tuple[FrontierPoint, FrontierPoint]:
    """The fastest and the most frugal plan, each the best in the other measure among its equals."""
    ends: list[FrontierPoint] = []
    for objective, other, measure in ((LATENCY_ALONE, ENERGY_ALONE, LATENCY), (ENERGY_ALONE, LATENCY_ALONE, ENERGY)):
        planning.clock = clock.part(1 / 3)
        first = planning.best(objective)
        if first.plan is None and first.proven:
            raise PlanInfeasible(explain_infeasible(problem, clock))
        if first.plan is None:
            raise clock.passed()
        planning.clock = clock.part(1 / 3)
        limit = SumLimit(measure, float(first.plan.measures[measure]) * (1 + LEXICOGRAPHIC))
        second = planning.best(other, limit)
        ends.append(keep(second.plan or first.plan, first.proven and second.proven))
    return ends[0], ends[1]


def _remaining(
    found: list[FrontierPoint], gap: _Gap, point: FrontierPoint, cap_j: float, *, least_j: float
) -> list[_Gap]:
    """What is still open of a gap whose middle was answered by a point."""
    above_s = max((p.latency_s for p in found if p.energy_j >= gap.ceiling_j), default=point.latency_s)
    below_s = min((p.latency_s for p in found if p.energy_j <= gap.floor_j), default=point.latency_s)
    gaps = [
        _Gap(cap_j, gap.ceiling_j, point.latency_s - above_s),
        _Gap(gap.floor_j, min(point.energy_j, cap_j), below_s - point.latency_s),
    ]
    return [gap for gap in gaps if gap.ceiling_j - gap.floor_j > least_j and gap.span_s > 0]


def _point(problem: Problem, planning: Session, plan: Plan, proven: bool) -> FrontierPoint:
    assignment = to_assignment(plan, planning.costs)
    return FrontierPoint(
        latency_s=float(plan.measures[LATENCY]),
        energy_j=float(plan.measures[ENERGY]),
        device_energy_j=float(plan.measures[DEVICE_ENERGY]),
        noise=evaluate(problem, assignment).noise,
        assignment=assignment,
        status="optimal" if proven else "feasible",
    )


def _non_dominated(found: list[FrontierPoint]) -> tuple[FrontierPoint, ...]:
    kept: list[FrontierPoint] = []
    for point in sorted(found, key=lambda point: (point.latency_s, point.energy_j)):
        if not kept or point.energy_j < kept[-1].energy_j * (1 - 1e-9):
            kept.append(point)
    return tuple(kept)
