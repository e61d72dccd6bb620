"""Prediction of one plan: the problem with the times that hold in exactly this assignment, and what the assignment takes under them.

Owns: the way from typical times to a plan's own: transitions, codings, components that were timed, handling. Its rule: pure. Not here:
each of these steps (`predictions.py`), how sure it is (`prediction_intervals.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgesplit.control.profile_messages import ExecutionProfile
from edgesplit.planning.plan import Assignment, Evaluation
from edgesplit.planning.problem import Problem
from edgesplit_controller.fleet.estimation.handling_estimate import expected_handling
from edgesplit_controller.fleet.handling import shape_of
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.planner import evaluate
from edgesplit_controller.stating.predicting.prediction_spreads import Evidence
from edgesplit_controller.stating.predicting.predictions import as_coded, as_timed, handled, placed

__all__ = ["PresentTimes", "predicted"]


@dataclass(frozen=True)
class PresentTimes:
    """What is known of compute times now.

    Attributes:
        profiles: By node.
        timed_s: Of components that were timed, by node and key. [s]
        coded: Of tensors that were coded, over others of their codec. [1]
        evidence: How sure these and links are.
    """

    profiles: Mapping[str, ExecutionProfile]
    timed_s: Mapping[tuple[str, str], float]
    coded: Mapping[tuple[str, str, str, str], float]
    evidence: Evidence


def predicted(
    record: ModelRecord, problem: Problem, now: PresentTimes, assignment: Assignment
) -> tuple[Problem, Evaluation]:
    """The problem with the times that hold in exactly this assignment, and what the assignment takes under them."""
    restated = placed(problem, record.graph, record.manifest.quantizable, now.profiles, assignment)
    restated = as_coded(restated, assignment, now.coded)
    evaluation = evaluate(restated, assignment)
    timed = as_timed(restated, record.graph, assignment, evaluation.components, now.timed_s)
    if timed is not restated:
        evaluation = evaluate(timed, assignment)
    shape = shape_of(timed, assignment, evaluation.timeline_s)
    return handled(timed, evaluation, expected_handling(now.evidence.handling, shape)[0])
