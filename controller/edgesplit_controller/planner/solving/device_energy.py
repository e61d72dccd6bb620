"""The plan of least device energy.

Owns: this one objective. Its rule: all constraints hold; latency and energy of the others play no role. Not here: why a
plan is to spare its source.
"""

from __future__ import annotations

from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.meaning.indexed_plan import to_assignment
from edgesplit_controller.planner.meaning.measures import DEVICE_ENERGY_ALONE
from edgesplit_controller.planner.solving.session import Session

__all__ = ["least_device_energy"]


def least_device_energy(problem: Problem, *, hint: Assignment | None, time_limit_s: float) -> Assignment | None:
    """Find a plan of least energy of the source.

    Args:
        problem: A valid problem.
        hint: A plan to start from.
        time_limit_s: After this the best plan known is returned. [s]

    Returns:
        The plan, or None where there is none or none was found in time.
    """
    session = Session(problem, hint, Clock(time_limit_s))
    outcome = session.best(DEVICE_ENERGY_ALONE)
    return None if outcome.plan is None else to_assignment(outcome.plan, session.costs)
