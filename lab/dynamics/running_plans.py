"""Plans that served during a play, and what each would take in the world of each interval.

Owns: asking for a plan when it begins to serve, and its worth by the true problem. Its rule: modelled, not measured: no machine's mood is
in it, which differs from play to play by more than plans do. Not here: true problems (`true_problem.py`), what requests took (`reaction.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from demo.fleet import CommandFailed
from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.meaning.evaluation import evaluate
from lab.play_results import PlanCost

__all__ = ["NotedPlan", "noted_plans", "plan_cost", "plan_costs"]

LOOK_S, AGAIN_S = 0.2, 1.0
"""So often it is seen whether another plan serves, and asked again where none could be told: asking takes a core for half a second. [s]"""
BEGINS = b'"epoch-activated"'
"""In the listener's line of such an event."""


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


@contextmanager
def noted_plans(ask: Callable[[], Mapping[str, Any]], heard: Path) -> Generator[list[NotedPlan]]:
    """Note the plan that serves now, and each that begins to while this lasts.

    Args:
        ask: The document of `splitctl plan`.
        heard: Where the listener's lines go.
    """
    found: dict[int, NotedPlan] = {}
    plans: list[NotedPlan] = []
    over = threading.Event()

    def look() -> bool:
        """Whether it could be asked for."""
        try:
            plan = _noted(ask())
        except CommandFailed:  # nothing serves just now, as while a strategy pauses
            return False
        if plan.epoch not in found:
            found[plan.epoch] = plan
            plans.append(plan)
        return True

    def watch() -> None:
        begun, known = 0, look()
        while not over.wait(LOOK_S if known else AGAIN_S):
            now = heard.read_bytes().count(BEGINS)
            if now != begun or not known:
                begun, known = now, look()

    watching = threading.Thread(target=watch, name="running-plans")
    watching.start()
    try:
        yield plans
    finally:
        over.set()
        watching.join()


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


def _noted(document: Mapping[str, Any]) -> NotedPlan:
    operators = {name: part["node"] for part in document["components"] for name in part["operators"]}
    return NotedPlan(
        epoch=document["epoch"],
        operators=operators,
        quantized=tuple(document["quantized"]),
        codecs=document["codecs"],
    )


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
