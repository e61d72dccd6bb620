"""Solving under a battery's limit.

Owns: the limit as a constraint, and what happens where no plan keeps it. Its rule: a battery never ends serving: where
no plan keeps its floor, the best of those that take least from the source is made. Not here: the limit
(`stating/battery_limit.py`), weighing the plan against what serves (`plan_maker.py`).
"""

from __future__ import annotations

import math
from functools import partial

import msgspec

from edgesplit.errors import PlanningTimedOut
from edgesplit.planning.battery_allowance import BatteryAllowance
from edgesplit.planning.plan import Assignment, Evaluation, Ranges, Solution, uncompared
from edgesplit.planning.problem import Problem
from edgesplit.significance import EQUAL_GAIN
from edgesplit_controller.planner import evaluate, solve
from edgesplit_controller.planner.solving.device_energy import least_device_energy
from edgesplit_controller.planner.studies.shared_solves import SharedSolves
from edgesplit_controller.stating.battery_limit import judged

__all__ = ["fitted", "lenient", "solve_within", "with_limit"]

FRUGAL_SHARE = 0.5
"""Of the time limit, for finding the least energy of the source."""


def with_limit(problem: Problem, limit_j: float) -> Problem:
    """The problem with a limit on the source's energy, beside the one it has: the tighter counts. [J]"""
    named_j = problem.constraints.device_energy_limit_j
    tighter_j = limit_j if named_j is None else min(limit_j, named_j)
    constraints = msgspec.structs.replace(problem.constraints, device_energy_limit_j=tighter_j)
    return msgspec.structs.replace(problem, constraints=constraints)


def solve_within(
    problem: Problem,
    battery: BatteryAllowance | None,
    *,
    hint: Assignment | None,
    time_limit_s: float,
    tolerance: float = 0.0,
    solves: SharedSolves | None = None,
) -> tuple[Solution, Problem, BatteryAllowance | None]:
    """Solve a problem under a battery's limit, or else as frugally as can be.

    Args:
        problem: Without that limit.
        battery: What the floor allows, or None without one.
        hint: A plan to start from.
        time_limit_s: For all of it. [s]
        tolerance: As of `planner.solve`. [1]
        solves: What was solved before; None: nothing.

    Returns:
        The solution, the problem with the limit that it was made under, and what was asked, with `kept` set.

    Raises:
        PlanningTimedOut: As `planner.solve`.
    """
    frugal: Assignment | None = None
    if battery is not None and battery.limit_j is not None:
        frugal = least_device_energy(problem, hint=hint, time_limit_s=FRUGAL_SHARE * time_limit_s)
    if frugal is None or battery is None or battery.limit_j is None:
        # Without a limit, or without any plan: the planner says why.
        asked = partial(solve, hint=hint, time_limit_s=time_limit_s, tolerance=tolerance)
        return asked(problem) if solves is None else solves.solve(problem, asked), problem, battery
    least = evaluate(problem, frugal)
    kept = least.device_energy_j <= battery.limit_j
    limit_j = battery.limit_j if kept else least.device_energy_j * (1 + EQUAL_GAIN)
    limited = with_limit(problem, limit_j)
    start = hint if hint is not None and not evaluate(limited, hint).violations else frugal
    try:
        left_s = (1 - FRUGAL_SHARE) * time_limit_s
        solution = solve(limited, hint=start, time_limit_s=left_s, tolerance=tolerance)
    except PlanningTimedOut:
        solution = _undecided(frugal, least)
    if solution.assignment is None:
        solution = _undecided(frugal, least)
    return solution, limited, msgspec.structs.replace(battery, kept=kept)


def lenient(problem: Problem, limited: Problem) -> Problem:
    """A problem under the limit that a serving plan is held to, where new plans are made under that of `limited`."""
    limit_j = limited.constraints.device_energy_limit_j
    return problem if limit_j is None else with_limit(problem, judged(limit_j))


def fitted(
    problem: Problem, assignment: Assignment, evaluation: Evaluation, named_j: float | None
) -> tuple[Problem, Evaluation]:
    """A problem and a plan's evaluation, with a battery's limit raised to what the plan takes.

    Times are stated anew for the plan that was made, which may move it past a limit it was just within.

    Args:
        problem: With the times that hold in the plan.
        assignment: The plan.
        evaluation: Of the plan under the problem.
        named_j: A limit somebody named, which is not raised; None for none. [J]
    """
    limit_j = problem.constraints.device_energy_limit_j
    if limit_j is None or limit_j == named_j or evaluation.device_energy_j <= limit_j:
        return problem, evaluation
    raised_j = min(evaluation.device_energy_j, math.inf if named_j is None else named_j)
    constraints = msgspec.structs.replace(problem.constraints, device_energy_limit_j=raised_j)
    raised = msgspec.structs.replace(problem, constraints=constraints)
    return raised, evaluate(raised, assignment)


def _undecided(assignment: Assignment, evaluation: Evaluation) -> Solution:
    return uncompared(
        assignment,
        evaluation,
        ranges=Ranges(best_latency_s=evaluation.latency_s, best_energy_j=evaluation.energy_j),
        reason="It takes least from the source; which of such plans is best was not decided in time.",
    )
