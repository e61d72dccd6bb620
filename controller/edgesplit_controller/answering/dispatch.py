"""Dispatch of splitctl's operations, by subject.

Its rule: an operation that nobody carries out is a type error, here or where its subject's are matched; what somebody changes is told
with its name, where that is known. Not here: the exchange with the client (`replies.py`), who may ask (`edgesplit.mqtt.signed`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import assert_never

from edgesplit.operations.event_operations import EventOperation, ListEvents
from edgesplit.operations.fleet_operations import FleetOperation, ListLinks, ListNodes
from edgesplit.operations.goal_operations import GoalOperation
from edgesplit.operations.inspection.dashboard_operation import DashboardDocument, DashboardOperation, OpenDashboard
from edgesplit.operations.inspection.inspection_operation import InspectionOperation
from edgesplit.operations.model_operations import ListModels, ModelOperation, ShowModel
from edgesplit.operations.operation import Operation
from edgesplit.operations.plan_operations import ExportProblem, PlanOperation, ShowPlan, ShowSource
from edgesplit.operations.study_operations import StudyOperation
from edgesplit.operations.trust_operations import ListCertificates, ListClientTokens, TrustOperation
from edgesplit.operations.upkeep_operations import UpkeepOperation
from edgesplit.trust.subjects import Subject
from edgesplit_controller.answering.fleet_answers import FleetAnswers
from edgesplit_controller.answering.goal_changes import GoalChanges
from edgesplit_controller.answering.inspection.inspection_answers import InspectionAnswers
from edgesplit_controller.answering.model_answers import ModelAnswers
from edgesplit_controller.answering.plan_answers import PlanAnswers
from edgesplit_controller.answering.replies import Progress
from edgesplit_controller.answering.studies import Studies
from edgesplit_controller.answering.trust_answers import TrustAnswers
from edgesplit_controller.answering.upkeep.upkeep_answers import UpkeepAnswers
from edgesplit_controller.event_log import EventLog

__all__ = ["OpenDoor", "Operations", "changes_nothing"]

OpenDoor = Callable[[Subject | None], DashboardDocument]
"""Lets somebody into the dashboard."""

_LOOKS = (
    StudyOperation
    | InspectionOperation
    | ListEvents
    | ListLinks
    | ListNodes
    | ListModels
    | ShowModel
    | ExportProblem
    | ShowPlan
    | ShowSource
    | ListCertificates
    | ListClientTokens
)
"""Operations that change nothing."""


def changes_nothing(operation: Operation) -> bool:
    """Whether an operation only looks, so that it may be given up once nobody waits for its document."""
    return isinstance(operation, _LOOKS)


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
        inspection: InspectionAnswers,
        upkeep: UpkeepAnswers,
        events: EventLog,
        dashboard: OpenDoor,
    ) -> None:
        self._fleet = fleet
        self._models = models
        self._plans = plans
        self._goals = goals
        self._studies = studies
        self._trust = trust
        self._inspection = inspection
        self._upkeep = upkeep
        self._events = events
        self._dashboard = dashboard

    async def perform(self, operation: Operation, progress: Progress, asker: Subject | None = None) -> object:
        """Carry out an operation and return its document.

        Args:
            operation: What is asked.
            progress: Told how far it is.
            asker: By whom; None where nobody has to say.

        Raises:
            EdgesplitError: It cannot be done; the sentence for the client.
        """
        if asker is not None and not isinstance(operation, _LOOKS):
            self._tell_who_asked(operation, asker)
        answer: Awaitable[object]
        if isinstance(operation, FleetOperation):
            answer = self._fleet.answer(operation)
        elif isinstance(operation, ModelOperation):
            answer = self._models.answer(operation, progress)
        elif isinstance(operation, PlanOperation):
            answer = self._plans.answer(operation, progress)
        elif isinstance(operation, GoalOperation):
            answer = self._goals.answer(operation, progress)
        elif isinstance(operation, StudyOperation):
            answer = self._studies.answer(operation, progress)
        elif isinstance(operation, TrustOperation):
            answer = self._trust.answer(operation, asker)
        elif isinstance(operation, InspectionOperation):
            answer = self._inspection.answer(operation)
        elif isinstance(operation, UpkeepOperation):
            answer = self._upkeep.answer(operation, progress)
        else:
            return self._at_once(operation, asker)
        return await answer

    def _at_once(self, operation: EventOperation | DashboardOperation, asker: Subject | None) -> object:
        """Operations that nothing has to be waited for."""
        match operation:
            case ListEvents():
                return self._events.last(operation.limit, operation.selection)
            case OpenDashboard():
                return self._dashboard(asker)
            case _:
                assert_never(operation)

    def _tell_who_asked(self, operation: Operation, asker: Subject) -> None:
        tag = str(type(operation).__struct_config__.tag)
        about = str(getattr(operation, "name", "") or getattr(operation, "model", "") or "")
        text = f"{asker} asks for {tag}{about and ' '}{about}"
        self._events.add("operator-asked", text, data={"by": asker.name, "operation": tag, "about": about})
