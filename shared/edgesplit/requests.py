"""What splitctl asks the controller and what it answers, over MQTT.

Owns: requests (a tagged union: the operation is the tag `op`), replies and the documents inside them, whose keys are
those `splitctl --json` prints. Its rule: documents are additive, a key is never renamed. Not here: agents'
messages (`messages.py`).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from edgesplit.messages import Event, TensorSpec

__all__ = [
    "AddModel",
    "ComponentRow",
    "DeployDocument",
    "DeployModel",
    "EventsDocument",
    "ExportProblem",
    "GoalsDocument",
    "Limit",
    "LinkRow",
    "ListEvents",
    "ListLinks",
    "ListModels",
    "ListNodes",
    "MeasuredDocument",
    "ModelAddedDocument",
    "ModelDocument",
    "NodeRow",
    "NodeShare",
    "NoiseModelDocument",
    "Operation",
    "PlanDocument",
    "RemoveModel",
    "Reply",
    "Request",
    "SetWeights",
    "ShowModel",
    "ShowPlan",
    "ShowSource",
    "SourceDocument",
    "UndeployModel",
    "WeightsRow",
]


class _Operation(msgspec.Struct, frozen=True, kw_only=True, tag_field="op"):
    """Base of operations; the tag is the class's kebab-case name."""


class ListNodes(_Operation, frozen=True, kw_only=True, tag="list-nodes"):
    """Answered with a list of `NodeRow`."""


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
    """

    name: str
    file: str
    external: dict[str, str] = {}
    calibration: str | None = None
    max_quantizable: int = 12
    exclude: tuple[str, ...] = ()
    replace: bool = False


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
    """

    latency: float | None = None
    energy: float | None = None
    max_noise: Limit | None = None
    device_energy_j: Limit | None = None
    model: str | None = None


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
    """The history the controller holds. Answered with a list of `Event`."""

    limit: int = 200


Operation = (
    ListNodes
    | ListLinks
    | AddModel
    | ListModels
    | ShowModel
    | RemoveModel
    | DeployModel
    | UndeployModel
    | SetWeights
    | ShowPlan
    | ExportProblem
    | ShowSource
    | ListEvents
)


class Request(msgspec.Struct, frozen=True, kw_only=True):
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


class NodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `splitctl nodes`; figures are None until the node reported them."""

    name: str
    online: bool
    advertise: str
    cpu_percent: float | None
    memory_available_bytes: int | None
    compute_w: float | None
    transmit_w: float | None
    power_origin: str | None
    version: str = ""
    runtime: str = ""
    emulated: bool = False
    refused: str = ""


class LinkRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `splitctl links`; `up` is False while the peer does not answer."""

    from_: str = msgspec.field(name="from")
    to: str
    bandwidth_bytes_per_s: float
    latency_s: float
    age_s: float
    origin: str
    up: bool = True


class NoiseModelDocument(msgspec.Struct, frozen=True, kw_only=True):
    """How well the noise regressor fits. R2 are None without candidates.

    Attributes:
        full_noise: Measured noise with every candidate quantized.
        seconds: Time the modelling took. [s]
    """

    degree: int
    r2_train: float | None
    r2_test: float | None
    seconds: float
    patterns: int = 0
    full_noise: float = 0.0
    margin: float = 0.0


class ModelAddedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `splitctl model add`.

    Attributes:
        warnings: Sentences (calibration generated, batch axis fixed, a node that could not profile).
        profiled: Nodes whose profile is in.
    """

    name: str
    sha256: str
    operators: int
    units: int
    tensors: int
    quantizable: tuple[str, ...]
    noise_model: NoiseModelDocument
    warnings: tuple[str, ...] = ()
    profiled: tuple[str, ...] = ()


class ModelDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `model list`, and `model show`."""

    name: str
    sha256: str
    operators: int
    units: int
    tensors: int
    quantizable: tuple[str, ...]
    noise_model: NoiseModelDocument
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weight_bytes: int
    deployed: bool
    source: str | None
    epoch: int | None
    profiled: tuple[str, ...]
    goals: GoalsDocument | None = None
    warnings: tuple[str, ...] = ()


class GoalsDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Goals of a model. [J] for energy; None is no limit."""

    latency_weight: float = 1.0
    energy_weight: float = 0.0
    max_noise: float | None = 0.0
    device_energy_limit_j: float | None = None


class DeployDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `deploy` and `undeploy`."""

    model: str
    epoch: int
    seconds: float
    reason: str = ""


class WeightsRow(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `set-weights` for one model; `changed` is whether the assignment differs from before."""

    model: str
    epoch: int
    changed: bool


class NodeShare(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a plan sits on a node."""

    operators: int
    components: int
    quantized: int


class ComponentRow(msgspec.Struct, frozen=True, kw_only=True):
    """One component of a plan; operators are ONNX operator names."""

    id: int
    node: str
    operators: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class MeasuredDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What serving the epoch cost so far; means per request, None until there was one.

    Attributes:
        energy_origin: `measured` only where every node's watts were.
    """

    requests: int
    failed: int
    latency_s: float | None
    energy_j: float | None
    device_energy_j: float | None
    energy_origin: str | None


class PlanDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`splitctl plan NAME`: the active plan. All figures but `measured` are predicted.

    Attributes:
        latency_s: End of the simulated timeline. [s]
        goals: Goals it was made under.
    """

    model: str
    epoch: int
    status: str
    latency_s: float
    energy_j: float
    device_energy_j: float
    noise: float
    score: float | None
    gap: float | None
    per_node: dict[str, NodeShare]
    components: tuple[ComponentRow, ...]
    quantized: tuple[str, ...]
    codecs: dict[str, str]
    timeline: tuple[dict[str, Any], ...]
    solve_s: float
    reason: str
    source: str
    goals: GoalsDocument
    measured: MeasuredDocument
    serving: int | None = None


class SourceDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send requests for a model: `address` is that of `via` if named, else of the source."""

    model: str
    source: str
    via: str
    address: str
    epoch: int | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


EventsDocument = list[Event]
