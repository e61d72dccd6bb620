"""Worth of the plans that served, and of the oracle's, in the world of each interval.

Owns: plans as they were noted, and what they would take by the true problem. Its rule: modelled, not measured: no machine's mood is in it,
which differs from play to play by more than plans do. Not here: true problems (`true_problem.py`), noting plans (`running_plans.py`), what
requests took (`reaction.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.meaning.evaluation import evaluate
from lab.play_results import PlanCost

__all__ = ["NotedPlan", "plan_cost", "plan_costs"]


class NotedPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that served.

    Attributes:
        operators: ONNX operator to its node.
        codecs: Cut tensor to its codec.
    """

    epoch: int
    operators: Mapping[str, str]
    quantized: tuple[str, ...] = ()
    codecs: Mapping[str, str] = {}


def plan_costs(plans: Sequence[NotedPlan], problems: Sequence[Problem]) -> tuple[PlanCost, ...]:
    """What each plan would take in each interval's true problem; where it cannot run, or breaks a limit, there is no figure.

    Args:
        plans: That served.
        problems: Of the intervals, in order.
    """
    found: list[PlanCost] = []
    for interval, problem in enumerate(problems):
        for plan in plans:
            assignment = _assignment(plan, problem)
            cost = None if assignment is None else plan_cost(problem, assignment, interval=interval, epoch=plan.epoch)
            if cost is not None:
                found.append(cost)
    return tuple(found)


def plan_cost(problem: Problem, plan: Assignment, *, interval: int, epoch: int) -> PlanCost | None:
    """What a plan would take; None where it cannot run, or breaks a limit."""
    if not {node.name for node in problem.nodes}.issuperset(plan.node_of.values()):
        return None
    worth = evaluate(problem, plan, shown=False)
    if worth.violations:
        return None
    return PlanCost(interval=interval, epoch=epoch, latency_s=worth.timeline_s, joules=worth.energy_j)


def _assignment(plan: NotedPlan, problem: Problem) -> Assignment | None:
    """The plan by the problem's operators, each named after one of its ONNX operators; None where one is missing."""
    node_of = {
        # Where a model's inputs arise and its outputs are needed no plan chooses.
        operator.name: problem.source if operator.role in {"input", "output"} else plan.operators.get(operator.name)
        for operator in problem.operators
    }
    there = {name: node for name, node in node_of.items() if node is not None}
    if there.keys() != node_of.keys():
        return None
    return Assignment(node_of=there, quantized=frozenset(plan.quantized) & there.keys(), codecs=dict(plan.codecs))
