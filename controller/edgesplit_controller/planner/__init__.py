"""The planner: a problem in, a proven plan out.

Owns: deciding which operator runs where, in which precision, and how cut tensors travel. Its rule: pure; no clock
but the deadline it is given, no MQTT, no ONNX. Not here: making problems, activating plans.

A solve reads in the order `costs` (the problem as numbers), `noise` and `presolve` (what need not be asked),
`variables`, `constraints`, `objective`, `search` (CP-SAT) and `decode`, one function each, put together for one goal
by `stage` and for the score by `planning`. `evaluate` is the independent referee. CP-SAT is imported on the first solve.

Around it: `variations` (the same problem with one thing changed, and fallbacks), `frontier` (latency against energy) and
`explanation` (why a plan is as it is). `errors.PlanningTimedOut` says that nothing is known yet; a `Solution` that is
`infeasible` is proven to be.
"""

from __future__ import annotations

from edgesplit.planning.plan import Assignment, Solution
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.meaning.evaluation import energy_per_node, evaluate, noise_of, score
from edgesplit_controller.planner.solving import solve as solve_problem

__all__ = ["energy_per_node", "evaluate", "noise_of", "score", "solve"]


def solve(problem: Problem, *, hint: Assignment | None = None, time_limit_s: float = 60.0) -> Solution:
    """Find the plan of least score.

    Args:
        problem: A valid problem.
        hint: A plan to start from, for instance the one that runs.
        time_limit_s: When it passes, the best plan so far is returned with its proven gap. [s]

    Returns:
        The plan as `evaluate` finds it, or the reason why there is none.

    Raises:
        PlanningTimedOut: Time ran out before any plan was known or proven impossible.
    """
    return solve_problem(problem, hint=hint, time_limit_s=time_limit_s)
