"""A plan for every node that could vanish.

Owns: planning without each node in turn. Its rule: the nodes the plan uses come first and share one budget of time;
a node it does not use changes nothing. Not here: noticing that a node is gone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from edgesplit.errors import PlanInfeasible
from edgesplit.plan import Assignment, Ranges, Solution, Timings
from edgesplit.problem import Problem
from edgesplit_controller.planner.evaluation import evaluate
from edgesplit_controller.planner.planning import PlanningTimedOut, solve
from edgesplit_controller.planner.variations import moved_off, without_node

__all__ = ["fallbacks"]


def fallbacks(problem: Problem, assignment: Assignment, *, time_limit_s: float) -> Mapping[str, Solution]:
    """Plan for the loss of each node but the source.

    Args:
        problem: The problem of the running plan.
        assignment: The running plan; every search starts from it.
        time_limit_s: For all plans together. [s]

    Returns:
        Node to the plan without it, those the running plan uses first. A node it does not use gets the running
        plan itself, unscored. `infeasible` says in its reason why there is no plan without the node; a node for
        which time did not suffice is left out.
    """
    used = set(assignment.node_of.values())
    others = [node.name for node in problem.nodes if node.name != problem.source]
    others.sort(key=lambda node: node not in used)
    ends_s = time.perf_counter() + time_limit_s
    found: dict[str, Solution] = {}
    for place, node in enumerate(others):
        if node not in used:
            found[node] = _unchanged(problem, assignment, node)
            continue
        waiting = sum(other in used for other in others[place:])
        share_s = (ends_s - time.perf_counter()) / waiting
        try:
            smaller = without_node(problem, node)
            found[node] = solve(smaller, hint=moved_off(assignment, smaller), time_limit_s=share_s)
        except PlanInfeasible as error:
            found[node] = _none(str(error))
        except PlanningTimedOut:
            continue
    return found


def _unchanged(problem: Problem, assignment: Assignment, node: str) -> Solution:
    return Solution(
        status="feasible",
        assignment=assignment,
        evaluation=evaluate(without_node(problem, node), assignment),
        score=None,
        bound=None,
        gap=None,
        ranges=Ranges(),
        timings=Timings(build_s=0.0, solve_s=0.0, total_s=0.0),
        reason=f"The plan does not use {node!r} and stays.",
    )


def _none(reason: str) -> Solution:
    return Solution(
        status="infeasible",
        assignment=None,
        evaluation=None,
        score=None,
        bound=None,
        gap=None,
        ranges=Ranges(),
        timings=Timings(build_s=0.0, solve_s=0.0, total_s=0.0),
        reason=reason,
    )
