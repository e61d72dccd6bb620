"""Operations: what splitctl asks of the controller, one tagged union.

Owns: requests (a tagged union: the operation is the tag `op`) and replies. Its rule: keys may be added, never renamed. Not
here: the documents inside replies (`documents.py` and those beside it), agents' messages (`control/`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgesplit.control.event_kinds import EventSelection
from edgesplit.control.event_messages import Event
from edgesplit.operations.study_documents import LinkChange
from edgesplit.planning.goals import PinRule

__all__ = [
    "AddModel",
    "AllowNode",
    "DeployModel",
    "EventsDocument",
    "ExplainPlan",
    "ExportProblem",
    "ForbidNode",
    "Limit",
    "ListEvents",
    "ListLinks",
    "ListModels",
    "ListNodes",
    "Operation",
    "OperationRequest",
    "PinOperators",
    "ProfileModel",
    "RemoveModel",
    "RemoveNode",
    "Reply",
    "SetWeights",
    "ShowModel",
    "ShowPlan",
    "ShowSource",
    "TraceFrontier",
    "UndeployModel",
    "UnpinOperators",
    "WhatIf",
]


class _Operation(msgspec.Struct, frozen=True, kw_only=True, tag_field="op"):
    """Base of operations; the tag is the class's kebab-case name."""


class ListNodes(_Operation, frozen=True, kw_only=True, tag="list-nodes"):
    """Answered with a list of `NodeRow`."""


class RemoveNode(_Operation, frozen=True, kw_only=True, tag="remove-node"):
    """Forget a node that is gone for good. Answered with `NodeRemovedDocument`."""

    name: str


class ListLinks(_Operation, frozen=True, kw_only=True, tag="list-links"):
    """Answered with a list of `LinkRow`."""


class AddModel(_Operation, frozen=True, kw_only=True, tag="add-model"):
    """Import an uploaded model, quantize, model its noise, have every online node profile it.

    The files were uploaded before with PUT to `{artifacts}/uploads/{sha256}`. Answered with `ModelAddedDocument`,
    after progress replies.

    Attributes:
        file: Digest of the .onnx file.
        external: External data location, as the file names it, to digest.
        calibration: Digest of the .npz, or None.
        metric: What noise is read as, module:function that the controller allows; empty for rho.
    """

    name: str
    file: str
    external: dict[str, str] = {}
    calibration: str | None = None
    max_quantizable: int = 12
    exclude: tuple[str, ...] = ()
    replace: bool = False
    metric: str = ""


class ProfileModel(_Operation, frozen=True, kw_only=True, tag="profile-model"):
    """Have online nodes profile a model once more. Answered with a list of `ProfiledRow`, after progress replies.

    Attributes:
        node: Only this one; None for all that are online.
    """

    name: str
    node: str | None = None


class ListModels(_Operation, frozen=True, kw_only=True, tag="list-models"):
    """Answered with a list of `ModelDocument`."""


class ShowModel(_Operation, frozen=True, kw_only=True, tag="show-model"):
    """Answered with `ModelDocument`."""

    name: str


class RemoveModel(_Operation, frozen=True, kw_only=True, tag="remove-model"):
    """Ends serving first. Answered with `ModelDocument` of what was removed; `deployed` says whether it served."""

    name: str


class DeployModel(_Operation, frozen=True, kw_only=True, tag="deploy-model"):
    """Plan, prepare, activate. Answered with `DeployDocument` when the epoch serves."""

    name: str
    source: str
    wait_s: float = 120.0


class UndeployModel(_Operation, frozen=True, kw_only=True, tag="undeploy-model"):
    """End serving. Answered with `DeployDocument` of the epoch that ended."""

    name: str


class Limit(msgspec.Struct, frozen=True):
    """A limit that is set: `value` None clears it, an absent Limit leaves the old one."""

    value: float | None


class SetWeights(_Operation, frozen=True, kw_only=True, tag="set-weights"):
    """Store goals and re-plan at once. Answered with a list of `WeightsRow`.

    Naming one weight sets the unnamed one to 0; naming neither keeps both; absent limits persist.

    Attributes:
        min_battery: Share of the source's battery that must be left. [1]
        battery_hours: For how long, from any moment on. [h]
        battery_requests_per_s: Expected until measured. [1/s]
    """

    latency: float | None = None
    energy: float | None = None
    max_noise: Limit | None = None
    device_energy_j: Limit | None = None
    min_battery: Limit | None = None
    battery_hours: float | None = None
    battery_requests_per_s: Limit | None = None
    model: str | None = None


class PinOperators(_Operation, frozen=True, kw_only=True, tag="pin-operators"):
    """Keep operators on some nodes, each pin in place of one of the same selector. Answered with `PinsDocument`.

    Attributes:
        also: More pins, made together with `rule` or not at all.
    """

    name: str
    rule: PinRule
    also: tuple[PinRule, ...] = ()


class UnpinOperators(_Operation, frozen=True, kw_only=True, tag="unpin-operators"):
    """Lift the pin of a selector (as `PinRow.select` says it), or all of them. Answered with `PinsDocument`.

    Attributes:
        also: More selectors.
    """

    name: str
    select: str | None = None
    also: tuple[str, ...] = ()


class ForbidNode(_Operation, frozen=True, kw_only=True, tag="forbid-node"):
    """Use a node no more: for one model, or for all and those added later. Answered with a list of `ForbiddenRow`."""

    node: str
    model: str | None = None


class AllowNode(_Operation, frozen=True, kw_only=True, tag="allow-node"):
    """Undo `ForbidNode`. Answered with a list of `ForbiddenRow`."""

    node: str
    model: str | None = None


class ExplainPlan(_Operation, frozen=True, kw_only=True, tag="explain-plan"):
    """Answered with `ExplainDocument` of the active plan."""

    name: str
    time_limit_s: float = 10.0


class WhatIf(_Operation, frozen=True, kw_only=True, tag="what-if"):
    """Plan under other conditions and change nothing. Answered with `WhatIfDocument`.

    Goals are read as `SetWeights` reads them.
    """

    name: str
    links: tuple[LinkChange, ...] = ()
    without: tuple[str, ...] = ()
    latency: float | None = None
    energy: float | None = None
    max_noise: Limit | None = None
    device_energy_j: Limit | None = None


class TraceFrontier(_Operation, frozen=True, kw_only=True, tag="trace-frontier"):
    """Answered with `FrontierDocument`, after a progress reply for every point."""

    name: str
    points: int = 12
    time_limit_s: float = 60.0


class ShowPlan(_Operation, frozen=True, kw_only=True, tag="show-plan"):
    """Answered with `PlanDocument`."""

    name: str


class ExportProblem(_Operation, frozen=True, kw_only=True, tag="export-problem"):
    """Answered with the `split-problem/1` document of the active plan."""

    name: str


class ShowSource(_Operation, frozen=True, kw_only=True, tag="show-source"):
    """Where requests for a model go. Answered with `SourceDocument`."""

    name: str
    via: str | None = None


class ListEvents(_Operation, frozen=True, kw_only=True, tag="list-events"):
    """The history the controller holds: the newest of those selected. Answered with a list of `Event`."""

    limit: int = 200
    selection: EventSelection = EventSelection()


Operation = (
    ListNodes
    | RemoveNode
    | ListLinks
    | AddModel
    | ProfileModel
    | ListModels
    | ShowModel
    | RemoveModel
    | DeployModel
    | UndeployModel
    | SetWeights
    | PinOperators
    | UnpinOperators
    | ForbidNode
    | AllowNode
    | ExplainPlan
    | WhatIf
    | TraceFrontier
    | ShowPlan
    | ExportProblem
    | ShowSource
    | ListEvents
)


class OperationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A client's request, on `requests/CLIENT`; the reply comes on `replies/CLIENT`."""

    id: str
    protocol: int
    operation: Operation


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """Any number of `progress` replies (the first at once, as a sign of life), then one `result` or `failure`.

    Attributes:
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


EventsDocument = list[Event]
