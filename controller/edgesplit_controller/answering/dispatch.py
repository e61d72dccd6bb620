"""Dispatch of splitctl's operations, by subject.

Its rule: an operation that nobody carries out is a type error, here or where its subject's are matched. Not here: the
exchange with the client (`inbox.py`).
"""

from __future__ import annotations

from typing import assert_never

from edgesplit.operations.event_operations import ListEvents
from edgesplit.operations.fleet_operations import FleetOperation
from edgesplit.operations.goal_operations import GoalOperation
from edgesplit.operations.model_operations import ModelOperation
from edgesplit.operations.operation import Operation
from edgesplit.operations.plan_operations import PlanOperation
from edgesplit.operations.study_operations import StudyOperation
from edgesplit.operations.trust_operations import TrustOperation
from edgesplit_controller.answering.fleet_answers import FleetAnswers
from edgesplit_controller.answering.goal_changes import GoalChanges
from edgesplit_controller.answering.inbox import Progress
from edgesplit_controller.answering.model_answers import ModelAnswers
from edgesplit_controller.answering.plan_answers import PlanAnswers
from edgesplit_controller.answering.studies import Studies
from edgesplit_controller.answering.trust_answers import TrustAnswers
from edgesplit_controller.event_log import EventLog

__all__ = ["Operations"]


class Operations:
    """All operations, by subject."""

    def __init__(
        self,
        *,
        fleet: FleetAnswers,
        models: ModelAnswers,
        plans: PlanAnswers,
        goals: GoalChanges,
        studies: Studies,
        trust: TrustAnswers,
        events: EventLog,
    ) -> None:
        self._fleet = fleet
        self._models = models
        self._plans = plans
        self._goals = goals
        self._studies = studies
        self._trust = trust
        self._events = events

    async def perform(self, operation: Operation, progress: Progress) -> object:
        """Carry out an operation and return its document.

        Raises:
            EdgesplitError: It cannot be done; the sentence for the client.
        """
        if isinstance(operation, FleetOperation):
            return await self._fleet.answer(operation)
        if isinstance(operation, ModelOperation):
            return await self._models.answer(operation, progress)
        if isinstance(operation, PlanOperation):
            return await self._plans.answer(operation, progress)
        if isinstance(operation, GoalOperation):
            return await self._goals.answer(operation, progress)
        if isinstance(operation, StudyOperation):
            return await self._studies.answer(operation, progress)
        if isinstance(operation, TrustOperation):
            return await self._trust.answer(operation)
        match operation:
            case ListEvents():
                return self._events.last(operation.limit, operation.selection)
            case _:
                assert_never(operation)
