"""Operations: what splitctl asks of the controller, one tagged union.

Owns: the union: the operation is the tag `op`. Its rule: keys may be added, never renamed. Not here: the operations and the documents inside
replies (beside this, by subject), what carries them (`exchange.py`), agents' messages (`control/`).
"""

from __future__ import annotations

from edgesplit.operations.event_operations import EventOperation
from edgesplit.operations.exchange import OPERATION_REQUEST, REPLY, OperationRequest, Reply
from edgesplit.operations.fleet_operations import FleetOperation
from edgesplit.operations.goal_operations import GoalOperation
from edgesplit.operations.inspection.dashboard_operation import DashboardOperation
from edgesplit.operations.inspection.inspection_operation import InspectionOperation
from edgesplit.operations.model_operations import ModelOperation
from edgesplit.operations.plan_operations import PlanOperation
from edgesplit.operations.study_operations import StudyOperation
from edgesplit.operations.trust_operations import TrustOperation
from edgesplit.operations.upkeep_operations import UpkeepOperation

__all__ = [
    "OPERATION_REQUEST",
    "REPLY",
    "Operation",
    "OperationRequest",
    "Reply",
]


Operation = (
    FleetOperation
    | ModelOperation
    | PlanOperation
    | GoalOperation
    | StudyOperation
    | EventOperation
    | TrustOperation
    | InspectionOperation
    | UpkeepOperation
    | DashboardOperation
)
