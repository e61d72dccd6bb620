"""Which plans are worth holding for the loss of a node.

Owns: the drafts for every node that could vanish, and whether what nodes hold already is as good. Its rule: pure; a spare
that is held is kept unless another gains as much as would justify a switch, for preparing one costs nodes as much as
preparing a plan. Not here: when, compiling, memory (`deciding/fallbacks.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesplit.planning.plan import Assignment, Evaluation, Solution
from edgesplit.planning.problem import Problem
from edgesplit.significance import differs
from edgesplit_controller.configuration import Thresholds
from edgesplit_controller.deciding.changes.replan_reasons import decide
from edgesplit_controller.planner import evaluate
from edgesplit_controller.planner.studies.variations import fallbacks, without_node
from edgesplit_controller.rollout.compilation import is_local
from edgesplit_controller.stating.codec_offers import offers_hold
from edgesplit_controller.storage.deployment_state import FallbackRecord, PlanRecord

__all__ = ["FallbackDraft", "HeldSpare", "plan_spares", "still_hold"]


@dataclass(frozen=True)
class FallbackDraft:
    """A plan for the loss of some nodes."""

    lost: tuple[str, ...]
    assignment: Assignment
    evaluation: Evaluation


@dataclass(frozen=True)
class HeldSpare:
    """One that nodes hold, its figures those of the day it was made."""

    lost: tuple[str, ...]
    plan: FallbackRecord


def still_hold(problem: Problem, held: Sequence[HeldSpare], thresholds: Thresholds) -> bool:
    """Whether every spare takes about what it took when it was made, and breaks nothing.

    Args:
        problem: Of the plan that serves, with the present figures.
        held: What nodes hold for it.
        thresholds: What about means.
    """
    for spare in held:
        for node in spare.lost:
            now = _without(problem, node, spare.plan.assignment)
            if now is None or now[1].violations:
                return False
            pairs = (
                (spare.plan.latency_s, now[1].timeline_s),
                (spare.plan.energy_j, now[1].energy_j),
            )
            if any(differs(before, after, thresholds.change) for before, after in pairs):
                return False
    return True


def plan_spares(
    active: PlanRecord, time_limit_s: float, held: Sequence[HeldSpare], thresholds: Thresholds
) -> list[FallbackDraft]:
    """One draft for each node of the plan that could vanish; equal ones are one, local ones are there already.

    Args:
        active: The plan that serves.
        time_limit_s: For all together. [s]
        held: What nodes hold already.
        thresholds: What another must gain.
    """
    used = set(active.assignment.node_of.values()) - {active.plan.source}
    drafts: list[FallbackDraft] = []
    for node, solution in fallbacks(active.problem, active.assignment, time_limit_s=time_limit_s).items():
        assignment, evaluation = solution.assignment, solution.evaluation
        if node not in used or assignment is None or evaluation is None:
            continue
        kept = _as_good(active.problem, node, solution, held, thresholds)
        if kept is not None:
            assignment, evaluation = kept
        if is_local(assignment, active.plan.source):
            continue  # every source holds that one anyway, where it fits
        same = next((index for index, draft in enumerate(drafts) if draft.assignment == assignment), None)
        if same is None:
            drafts.append(FallbackDraft((node,), assignment, evaluation))
        else:
            drafts[same] = FallbackDraft((*drafts[same].lost, node), assignment, evaluation)
    return drafts


def _as_good(
    problem: Problem, node: str, solution: Solution, held: Sequence[HeldSpare], thresholds: Thresholds
) -> tuple[Assignment, Evaluation] | None:
    """The spare that is held for a node's loss, if the best one now is not better by enough."""
    before = next((spare.plan.assignment for spare in held if node in spare.lost), None)
    now = _without(problem, node, before) if before is not None else None
    if before is None or now is None or solution.assignment is None or solution.evaluation is None:
        return None
    smaller, old = now
    decision = decide(
        old,
        solution.evaluation,
        smaller,
        solution.ranges,
        assignments=(before, solution.assignment),
        forced="",
        thresholds=thresholds,
    )
    return None if decision.adopt else (before, old)


def _without(problem: Problem, node: str, assignment: Assignment) -> tuple[Problem, Evaluation] | None:
    """The problem after a node is gone, and what an assignment takes then; None where it cannot run."""
    there = {other.name for other in problem.nodes}
    operators = {operator.name: operator for operator in problem.operators}
    if node not in there or set(assignment.node_of) != operators.keys():
        return None
    if not set(assignment.node_of.values()) <= there - {node}:
        return None
    if not all(operators[name].quantizable for name in assignment.quantized):
        return None
    offers = {tensor.name: [codec.name for codec in tensor.codecs or ()] for tensor in problem.tensors}
    if not offers_hold(offers, assignment.codecs):
        return None
    smaller = without_node(problem, node)
    evaluation = evaluate(smaller, assignment)
    return (smaller, evaluation) if evaluation.timeline_s < float("inf") else None
