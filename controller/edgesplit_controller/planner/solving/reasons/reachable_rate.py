"""The highest rate that any plan sustains: bisection over the period of requests, each step a search for any plan.

Owns: how near the highest rate is found. Its rule: every rate it names is that of a plan known. Not here: what bounds a plan's
rate (`meaning/throughput.py`), the best plan at a rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec

from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.meaning.exact import exact_costs
from edgesplit_controller.planner.meaning.indexed_plan import to_assignment
from edgesplit_controller.planner.meaning.throughput import busiest, periods
from edgesplit_controller.planner.solving.session import Session

__all__ = ["FastestPlan", "highest_rate"]

NEAR = 1e-2
"""Relative distance to the highest rate that is near enough."""

FAR = 4.0
"""Times that one end of what is left is above the other: beyond it orders of magnitude are halved, not distances."""

LEAST_S = 0.1
"""For one step, whatever is left. [s]"""


@dataclass(frozen=True, slots=True)
class FastestPlan:
    """The plan of the highest rate known.

    Attributes:
        period_s: The time between two requests that it needs. [s]
        subject: The node, or the link as `FROM:TO`, that needs it; empty where nothing takes any time.
        assignment: The plan.
        settled: Whether no plan's rate is above this one's by more than `NEAR`.
    """

    period_s: float
    subject: str
    assignment: Assignment
    settled: bool


def highest_rate(problem: Problem, clock: Clock, *, refused_s: float = 0.0) -> FastestPlan | None:
    """Find a plan that sustains about the highest rate there is, whatever else it costs.

    Args:
        problem: A valid problem; the rate it asks for plays no role.
        clock: Gives the time left.
        refused_s: A period for which there is known to be no plan. [s]

    Returns:
        The plan; None where no plan was found at any rate.
    """
    best, _ = _any_plan(problem, None, clock)
    if best is None:
        return None
    period_s, subject, assignment = best
    while period_s - refused_s > NEAR * period_s:
        if clock.left_s() <= 0:
            return FastestPlan(period_s, subject, assignment, settled=False)
        found, proven = _any_plan(problem, _between(refused_s, period_s), clock)
        if found is not None:
            period_s, subject, assignment = found
        elif proven:
            refused_s = _between(refused_s, period_s)
        else:
            return FastestPlan(period_s, subject, assignment, settled=False)
    return FastestPlan(period_s, subject, assignment, settled=True)


def _between(refused_s: float, best_s: float) -> float:
    """The period to try next. [s]"""
    if refused_s > 0 and best_s > FAR * refused_s:
        return math.sqrt(refused_s) * math.sqrt(best_s)
    return (refused_s + best_s) / 2


def _any_plan(
    problem: Problem, period_s: float | None, clock: Clock
) -> tuple[tuple[float, str, Assignment] | None, bool]:
    """A plan of at most a period: its own, what bounds it, and its assignment; and whether the answer is proven. [s]"""
    rate_hz = None if period_s is None else 1 / period_s
    asked = msgspec.structs.replace(
        problem, constraints=msgspec.structs.replace(problem.constraints, min_rate_hz=rate_hz)
    )
    session = Session(asked, None, Clock(max(clock.left_s(), LEAST_S)))
    outcome = session.first()
    if outcome.plan is None:
        return None, outcome.proven
    assignment = to_assignment(outcome.plan, session.costs)
    slowest = busiest(periods(problem), exact_costs(problem, assignment).usage)
    return (float(slowest.period_s), slowest.subject, assignment), True
