"""Operations: what splitctl asks of the controller, one tagged union.

Owns: requests (a tagged union: the operation is the tag `op`) and replies. Its rule: keys may be added, never renamed. Not
here: the operations and the documents inside replies (beside this, by subject), agents' messages (`control/`).
"""

from __future__ import annotations

from typing import Literal, Self

import msgspec

from edgesplit.mqtt.topic import LARGE_BYTES, Topic
from edgesplit.operations.event_operations import EventOperation
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


class OperationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A client's request; the reply comes on the topic of its replies.

    Attributes:
        id: Drawn for each request; its replies carry it.
        protocol: Version of control messages and frames together, of the client.
        operation: An `Operation`, not looked at with the rest: a newer client's may be unknown to the controller.
    """

    id: str
    protocol: int
    operation: msgspec.Raw

    @classmethod
    def of(cls, operation: Operation, *, identifier: str, protocol: int) -> Self:
        """The request for an operation."""
        return cls(id=identifier, protocol=protocol, operation=msgspec.Raw(msgspec.json.encode(operation)))


OPERATION_REQUEST = Topic(
    "requests/{client}",
    OperationRequest,
    says="what splitctl asks of the controller",
    writers=("splitctl",),
    readers=("controller",),
    signer="operator",
    limit_bytes=LARGE_BYTES,
)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """Any number of `progress` replies (the first at once, as a sign of life), then one `result` or `failure`.

    Attributes:
        id: Of the request.
        kind: Which of those this is.
        text: Progress: what is being done. Failure: the sentence.
        fraction: Progress: done share of this step, or None where unknown. [1]
        value: Result: the document.
        code: Failure: `EdgesplitError.code`.
        exit_code: Failure: what splitctl exits with.
    """

    id: str
    kind: Literal["progress", "result", "failure"]
    text: str = ""
    fraction: float | None = None
    value: msgspec.Raw = msgspec.Raw(b"null")
    code: str = ""
    exit_code: int = 1


REPLY = Topic(
    "replies/{client}",
    Reply,
    says="what the controller answers splitctl",
    writers=("controller",),
    readers=("splitctl",),
    signer="controller",
)
