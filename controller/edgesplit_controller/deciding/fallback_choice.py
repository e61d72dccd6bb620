"""Choice of fallbacks: which plans are worth holding for the loss of a node.

Owns: the drafts for every node that could vanish, and whether what nodes hold already is as good. Its rule: pure; a fallback
that is held is kept unless another gains as much as would justify a switch, for preparing one costs nodes as much as
preparing a plan. Not here: when, compiling, memory (`deciding/fallbacks.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgesplit.planning.plan import Assignment, Evaluation, Solution
from edgesplit.planning.problem import Problem
from edgesplit.significance import differs
from edgesplit_controller.configuration import Thresholds
from edgesplit_controller.deciding.changes.switch_decision import decide
from edgesplit_controller.planner import evaluate
from edgesplit_controller.planner.studies.variations import fallbacks, without_node, without_rate
from edgesplit_controller.rollout.draft import is_local
from edgesplit_controller.stating.assignment_fit import fits
from edgesplit_controller.storage.deployment_state import FallbackRecord, PlanRecord
from edgesplit_controller.storage.rollout_state import FallbackEpoch

__all__ = ["FallbackDraft", "HeldFallbacks", "plan_fallbacks", "still_hold"]

HeldFallbacks = Mapping[FallbackEpoch, FallbackRecord]
"""What nodes hold for losses."""


@dataclass(frozen=True)
class FallbackDraft:
    """A plan for the loss of some nodes."""

    lost: tuple[str, ...]
    assignment: Assignment
    evaluation: Evaluation


def still_hold(problem: Problem, held: HeldFallbacks, thresholds: Thresholds) -> bool:
    """Whether every fallback takes about what it took when it was made, and breaks nothing.

    Args:
        problem: Of the plan that serves, with the present figures.
        held: What nodes hold for it.
        thresholds: What about means.
    """
    for fallback, plan in held.items():
        for node in fallback.lost:
            now = _without(without_rate(problem), node, plan.assignment)
            if now is None or now[1].violations or _slower(plan, now[1], thresholds):
                return False
            pairs = ((plan.latency_s, now[1].timeline_s), (plan.energy_j, now[1].energy_j))
            if any(differs(before, after, thresholds.change) for before, after in pairs):
                return False
    return True


def _slower(plan: FallbackRecord, now: Evaluation, thresholds: Thresholds) -> bool:
    """Whether it sustains notably less than when it was made; one that did not say was made for no rate."""
    before_hz = plan.rate_hz
    return before_hz is not None and now.rate_hz is not None and now.rate_hz < before_hz * (1 - thresholds.change)


def plan_fallbacks(
    active: PlanRecord, time_limit_s: float, held: HeldFallbacks, thresholds: Thresholds, tolerance: float = 0.0
) -> list[FallbackDraft]:
    """One draft for each node of the plan that could vanish; equal ones are one, local ones are there already.

    Args:
        active: The plan that serves.
        time_limit_s: For all together. [s]
        held: What nodes hold already.
        thresholds: What another must gain.
        tolerance: Of fallbacks as of plans. [1]
    """
    used = set(active.assignment.node_of.values()) - {active.epoch.source}
    drafts: list[FallbackDraft] = []
    found = fallbacks(active.problem, active.assignment, time_limit_s=time_limit_s, tolerance=tolerance)
    for node, solution in found.items():
        assignment, evaluation = solution.assignment, solution.evaluation
        if node not in used or assignment is None or evaluation is None:
            continue
        kept = _as_good(active.problem, node, solution, held, thresholds)
        if kept is not None:
            assignment, evaluation = kept
        if is_local(assignment, active.epoch.source):
            continue  # every source holds that one anyway, where it fits
        same = next((index for index, draft in enumerate(drafts) if draft.assignment == assignment), None)
        if same is None:
            drafts.append(FallbackDraft((node,), assignment, evaluation))
        else:
            drafts[same] = FallbackDraft((*drafts[same].lost, node), assignment, evaluation)
    return drafts


def _as_good(
    problem: Problem, node: str, solution: Solution, held: HeldFallbacks, thresholds: Thresholds
) -> tuple[Assignment, Evaluation] | None:
    """The fallback that is held for a node's loss, if the best one now is not better by enough."""
    before = next((plan.assignment for fallback, plan in held.items() if node in fallback.lost), None)
    now = _without(problem, node, before) if before is not None else None
    if before is None or now is None or solution.assignment is None or solution.evaluation is None:
        return None
    smaller, old = now
    asked_hz, rate_hz = smaller.constraints.min_rate_hz, solution.evaluation.rate_hz
    if asked_hz is not None and rate_hz is not None and rate_hz < asked_hz:
        smaller = without_rate(smaller)  # none sustains it, and the one that is held is no worse for that
        old = evaluate(smaller, before)
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
    if node not in {other.name for other in problem.nodes} or node in assignment.node_of.values():
        return None
    if not fits(problem, assignment):
        return None
    smaller = without_node(problem, node)
    evaluation = evaluate(smaller, assignment)
    return (smaller, evaluation) if evaluation.timeline_s < float("inf") else None
