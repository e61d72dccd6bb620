"""Prediction intervals of plans under the fleet's present figures.

Owns: gathering the evidence of nodes and links, and the 90 % interval that follows for a plan. Its rule: it reads registry and
speeds and changes nothing; what takes milliseconds takes values and may run in a thread. Not here: how sure which duration is
(`prediction_spreads.py`), sampling (`planner/studies/sampling.py`).
"""

from __future__ import annotations

from edgesplit.planning.plan import Assignment, Evaluation
from edgesplit.planning.problem import Problem
from edgesplit.planning.spreads import PredictionInterval
from edgesplit_controller.fleet.handling import HandlingBook
from edgesplit_controller.fleet.node_speeds import Speeds
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.planner.studies.sampling import SampledPlan, prediction_interval, sampled
from edgesplit_controller.stating.predicting.prediction_spreads import Evidence, spreads_of

__all__ = ["Certainty", "interval_under", "sampled_under"]


class Certainty:
    """What the fleet's figures are worth.

    Args:
        registry: Says how sure links are.
        speeds: Knows how sure nodes' speeds are.
        handling: Knows what handling requests takes.
    """

    def __init__(self, registry: Registry, speeds: Speeds, handling: HandlingBook) -> None:
        self._registry = registry
        self._handling = handling
        self._speeds = speeds

    def evidence(self, model: str, problem: Problem) -> Evidence:
        """What is known now of the nodes of a problem, and of what lies between them."""
        source, among = problem.source, [node.name for node in problem.nodes]
        stretch = self._handling.stretch(model, source)
        links = {(start, link.to): link for start, link in self._registry.links(among)}
        return Evidence(self._speeds.believed(model), self._handling.believed(model, source), links, stretch)

    def handling_told_s(self, model: str) -> tuple[float, ...]:
        """What changes whenever handling requests turned out notably otherwise. [s]"""
        return self._handling.told_s(model)

    def interval(
        self, record: ModelRecord, problem: Problem, assignment: Assignment, evaluation: Evaluation
    ) -> PredictionInterval | None:
        """Of a plan now; None for what cannot run. As `interval_under`."""
        return interval_under(self.evidence(record.name, problem), record, problem, assignment, evaluation)


def interval_under(
    evidence: Evidence, record: ModelRecord, problem: Problem, assignment: Assignment, evaluation: Evaluation
) -> PredictionInterval | None:
    """The intervals around an evaluation; None for what cannot run, or has operators of another version of the model.

    Args:
        evidence: What is known.
        record: The model.
        problem: The problem with which it was evaluated.
        assignment: A complete one.
        evaluation: `evaluate` of both.
    """
    if not _of_this_model(record, assignment, evaluation):
        return None
    spreads = spreads_of(problem, record.graph, assignment, evaluation, evidence)
    return prediction_interval(problem, assignment, evaluation, spreads)


def sampled_under(
    evidence: Evidence, record: ModelRecord, problem: Problem, assignment: Assignment, evaluation: Evaluation
) -> SampledPlan | None:
    """Samples of a plan, to be compared with another's. As `interval_under`."""
    if not _of_this_model(record, assignment, evaluation):
        return None
    spreads = spreads_of(problem, record.graph, assignment, evaluation, evidence)
    return sampled(problem, assignment, evaluation, spreads)


def _of_this_model(record: ModelRecord, assignment: Assignment, evaluation: Evaluation) -> bool:
    """Whether units and operators are those of the model as it is now: it may have been replaced meanwhile."""
    known = record.graph.unit_of
    return all(unit.name in assignment.node_of for unit in record.graph.units) and all(
        name in known for part in evaluation.components for name in part.operators
    )
