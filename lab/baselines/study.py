"""The reference study's plan: its own objective, solved exactly: operators, int8 under a noise bound, tensors as raw float32.

Owns: the study's problem, made of edgesplit's. Its rule: the same nodes, times, noise model, weights and limits, the latency `sum` of its
formulation, and no wire codecs; edgesplit's planner solves it to the proven optimum, as the study has CPLEX do. Not here: the planner.

The study sends float32 whatever computed a tensor, and its plan is made so. When agents serve that plan, a tensor that an int8
operator made travels as the integers it consists of, so it may be served faster than the study believes.

References: S. Nicosanti, talk slides, August 2025; published at ICPE Companion 2026, doi 10.1145/3777911.3801106.
"""

from __future__ import annotations

import msgspec

from edgesplit.errors import PlanningTimedOut
from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner import solve
from lab.baselines.prices import MethodHasNoPlan

__all__ = ["as_the_study_has_it", "study_plan"]

TIME_LIMIT_S = 60.0


def as_the_study_has_it(problem: Problem) -> Problem:
    """The problem without codecs, with every tensor in float32, under the latency `sum`."""
    tensors = tuple(msgspec.structs.replace(tensor, codecs=None, quantized_bytes=None) for tensor in problem.tensors)
    objective = msgspec.structs.replace(problem.objective, latency_model="sum")
    return msgspec.structs.replace(problem, tensors=tensors, objective=objective)


def study_plan(problem: Problem, *, time_limit_s: float = TIME_LIMIT_S) -> Assignment:
    """Operators, and which of them run in int8.

    Args:
        problem: As it is.
        time_limit_s: After which the best plan known is taken. [s]

    Raises:
        MethodHasNoPlan: None keeps the limits, or none was found in time.
    """
    try:
        solution = solve(as_the_study_has_it(problem), time_limit_s=time_limit_s)
    except PlanningTimedOut as error:
        raise MethodHasNoPlan(f"the study's problem: {error}") from error
    if solution.assignment is None:
        raise MethodHasNoPlan(f"the study's problem has no plan: {solution.reason}")
    return solution.assignment
