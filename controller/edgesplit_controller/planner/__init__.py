"""The planner: a problem in, a proven plan out.

Owns: deciding which operator runs where, in which precision, and how cut tensors travel. Its rule: pure; no clock
but the deadline it is given, no MQTT, no ONNX. Not here: making problems, activating plans.

Its rooms, each importing only those before it: `meaning` (what a problem file means: limits, costs, exact sums, components,
timeline; `evaluate` is the independent referee), `bounds` (Lagrangian relaxation solved by bucket elimination, Pareto labels,
presolve), `cpsat` (variables, constraints, objective, search, decoding), `solving` (one objective in `session`, the score in
`weighted_score`, why there is no plan in `infeasible`) and `studies` (variations, frontier, explanation).

A limit on a sum of costs is described once, in `meaning.limits`. `errors.PlanningTimedOut` says that nothing is known yet; a
`Solution` that is `infeasible` is proven to be.
"""

from __future__ import annotations

from edgesplit.planning.plan import Assignment, Solution
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.meaning.evaluation import energy_per_node, evaluate, noise_of, score
from edgesplit_controller.planner.solving.weighted_score import solve as solve_problem

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
