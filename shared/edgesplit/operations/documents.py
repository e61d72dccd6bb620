"""The documents the controller answers splitctl with.

Owns: their keys, which are those `splitctl --json` prints. Its rule: documents are additive, a key is never renamed.
Not here: what is asked (`operations/operation.py`), agents' messages (`control/`).
"""

from __future__ import annotations

import msgspec

from edgesplit.control.messages import TensorSpec
from edgesplit.operations.energy_documents import EnergyRow
from edgesplit.operations.noise_documents import MeasuredNoise, NoiseModelDocument, TighteningDocument
from edgesplit.operations.profile_documents import FailingRow, ProfilingRow
from edgesplit.planning.battery_allowance import BatteryAllowance
from edgesplit.planning.goals import Goals
from edgesplit.planning.plan import NodeShare, TimelineEntry

__all__ = [
    "CodecsDocument",
    "ComponentRow",
    "DeclinedDocument",
    "DeployDocument",
    "FallbackRow",
    "ForbiddenRow",
    "LinkRow",
    "MeasuredDocument",
    "ModelAddedDocument",
    "ModelDocument",
    "NodeRemovedDocument",
    "NodeRow",
    "PinRow",
    "PinsDocument",
    "PlanDocument",
    "SourceDocument",
    "SpeedRow",
    "WeightsRow",
]


class SpeedRow(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a node computes a model: its execution profile, and what live timings correct it by.

    Attributes:
        whole_s: The whole model in float, as plans assume it now. [s]
        profiled_s: As the node once measured it. [s]
        factor: What the profile's times in float are multiplied with. [1]
        int8_factor: Those in int8. [1]
        origin: What the factors rest on: `profile` (nothing else was heard), `live timings` of served requests, or
            `timed again` while nothing was served.
        age_s: Since that was last heard; None for a profile. [s]
    """

    whole_s: float
    profiled_s: float
    factor: float = 1.0
    int8_factor: float = 1.0
    origin: str = "profile"
    age_s: float | None = None


class NodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `splitctl nodes`; figures are None until the node reported them.

    Attributes:
        name: Of the node.
        online: Whether its agent is connected to the broker.
        advertise: host:port where peers and clients reach its data plane.
        cpu_percent: Load of all cores together. [%]
        memory_available_bytes: Memory that programs can still have. [B]
        compute_w: Power drawn by computing. [W]
        transmit_w: Power drawn by sending. [W]
        power_origin: Where the watts come from: `measured`, `modelled` or `configured`.
        version: Of edgesplit there.
        runtime: Name and version of its inference runtime.
        emulated: Its speed and links are those of an `[emulation]` section, not the machine's.
        refused: Why it is not used (another protocol version); else empty.
        speeds: By model that the node has profiled.
        providers: Execution providers its sessions really got; empty before the first session.
        power_sensor: Where its watts come from, `constant` for the configuration.
        power_problem: Why configured watts stand in for a sensor; empty where they do not.
        failing: What it tries again and again because something is away.
        clock_offset_s: How far its clock is ahead of the controller's; None where that is not known. [s]
        warnings: What is wrong with how it is set up while it works all the same.
        last_seen_s: Since it last said anything; None where that is not known. Figures of a node that is offline are
            None: those it had last say nothing of now. [s]
    """

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
    speeds: dict[str, SpeedRow] = {}
    providers: tuple[str, ...] = ()
    power_sensor: str | None = None
    power_problem: str = ""
    failing: tuple[FailingRow, ...] = ()
    clock_offset_s: float | None = None
    warnings: tuple[str, ...] = ()
    last_seen_s: float | None = None


class NodeRemovedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`splitctl node remove`.

    Attributes:
        name: Of the node.
        topics: Retained messages that were removed from the broker.
        named_by: Models whose pins or forbidden nodes still name it.
    """

    name: str
    topics: tuple[str, ...]
    named_by: tuple[str, ...] = ()


class LinkRow(msgspec.Struct, frozen=True, kw_only=True):
    """One direction between two online nodes in `splitctl links`.

    Attributes:
        from_: Sending node.
        to: Receiving node.
        bandwidth_bytes_per_s: Measured; None where it never was. [B/s]
        latency_s: One way; None where it was never measured. [s]
        age_s: Of the last sample; None where there is none. [s]
        origin: Where the figures come from: `measured`, or `missing` where they never were.
        up: Whether the peer answers now.
        reason: Why it does not, or was never measured; empty while it answers.
    """

    from_: str = msgspec.field(name="from")
    to: str
    bandwidth_bytes_per_s: float | None
    latency_s: float | None
    age_s: float | None
    origin: str
    up: bool = True
    reason: str = ""


class CodecsDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of wire codecs when a model was added.

    Attributes:
        tensors: That could be coded.
        measured: Those whose noise was measured on every lossy codec; the others are only offered lossless ones.
        samples: Each was measured on.
        margin: All noise was multiplied by. [1]
        joint: Largest noise of tensors coded together as a share of the sum of their figures. [1]
        seconds: Time it took. [s]
    """

    tensors: int
    measured: int
    samples: int
    margin: float
    joint: float
    seconds: float


class ModelAddedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `splitctl model add`.

    Attributes:
        name: Of the model.
        sha256: Digest of its .onnx file.
        operators: That can be placed: constants and folded shape arithmetic are not.
        units: Operators that are always placed together count as one.
        tensors: That operators hand to each other.
        quantizable: Operators that may run in int8.
        noise_model: How noise is modelled, and how well.
        warnings: Sentences (calibration generated, batch axis fixed, a node that could not profile).
        profiled: Online nodes whose profile is in.
        not_profiled: Online nodes whose profile is not, and why.
        codecs: What was measured of wire codecs; None where nothing was.
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
    not_profiled: tuple[ProfilingRow, ...] = ()
    codecs: CodecsDocument | None = None


class ModelDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `model list`, and `model show`.

    Attributes:
        name: Of the model.
        sha256: Digest of its .onnx file.
        operators: That can be placed: constants and folded shape arithmetic are not.
        units: Operators that are always placed together count as one.
        tensors: That operators hand to each other.
        quantizable: Operators that may run in int8.
        noise_model: How noise is modelled, and how well.
        inputs: What a request brings, in order.
        outputs: What it is answered, in order.
        weight_bytes: Of all weights in float. [B]
        deployed: Whether a plan of it serves.
        source: Node where its requests arise; None while it is not deployed.
        epoch: Number of the active plan; None while it is not deployed.
        profiled: Online nodes whose profile is in: those that plans may use.
        profiled_offline: Nodes whose profile is in and that are away.
        goals: What its plans are made for.
        warnings: Sentences of its import (calibration generated, batch axis fixed).
        noise_tightening: That served requests were noisier than predicted; None where they were not.
        codecs: What was measured of wire codecs; None where nothing was.
        profiling: Where each node stands with profiling it.
    """

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
    profiled_offline: tuple[str, ...] = ()
    goals: Goals | None = None
    warnings: tuple[str, ...] = ()
    noise_tightening: TighteningDocument | None = None
    codecs: CodecsDocument | None = None
    profiling: tuple[ProfilingRow, ...] = ()


class DeployDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `deploy` and `undeploy`.

    Attributes:
        model: Its name.
        epoch: Number of the plan that serves now, or that ended.
        seconds: From the request on. [s]
        reason: Why the plan was made; empty where there is nothing to say.
        warnings: Sentences (a noise bound that will not be checked).
    """

    model: str
    epoch: int
    seconds: float
    reason: str = ""
    warnings: tuple[str, ...] = ()


class WeightsRow(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `set-weights` for one model; `changed` is whether the assignment differs from before.

    Attributes:
        model: Its name.
        epoch: Number of the plan that serves now.
        changed: Whether the assignment differs from before.
        warnings: As in `DeployDocument`.
    """

    model: str
    epoch: int
    changed: bool
    warnings: tuple[str, ...] = ()


class PinRow(msgspec.Struct, frozen=True, kw_only=True):
    """A pin and what it reaches.

    Attributes:
        select: The pattern, or the option that stands for one.
        nodes: Where the operators may run.
        operators: Those it selects, in topological order.
        units: Their units, which are placed as a whole.
        also: Operators it does not select but that share a unit with one it does.
    """

    select: str
    nodes: tuple[str, ...]
    operators: tuple[str, ...]
    units: tuple[str, ...]
    also: tuple[str, ...]


class PinsDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `pin` and `unpin`: the pins there are now; epoch 0 while the model is not deployed.

    Attributes:
        model: Its name.
        epoch: Number of the plan that serves now; 0 while the model is not deployed.
        changed: Whether the assignment differs from before.
        pins: All there are now, in the order they were made.
        warnings: As in `DeployDocument`.
    """

    model: str
    epoch: int
    changed: bool
    pins: tuple[PinRow, ...]
    warnings: tuple[str, ...] = ()


class ForbiddenRow(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `forbid` and `allow` for one model: the nodes it may not use now.

    Attributes:
        model: Its name.
        epoch: Number of the plan that serves now; 0 while the model is not deployed.
        changed: Whether the assignment differs from before.
        forbidden: Nodes it may not use now.
    """

    model: str
    epoch: int
    changed: bool
    forbidden: tuple[str, ...]


class ComponentRow(msgspec.Struct, frozen=True, kw_only=True):
    """One component of a plan; operators are ONNX operator names.

    Attributes:
        id: Number within the plan.
        node: Where it runs.
        operators: ONNX operators, in graph order.
        inputs: Tensors it needs from elsewhere.
        outputs: Tensors that are needed elsewhere.
        predicted_s: As the plan's figures have it now. [s]
        measured_s: Of its last requests, waiting not included; None before a few were served. [s]
    """

    id: int
    node: str
    operators: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    predicted_s: float | None = None
    measured_s: float | None = None


class FallbackRow(msgspec.Struct, frozen=True, kw_only=True):
    """The plan that takes over when a node is lost.

    Attributes:
        epoch: Number of the plan.
        latency_s: End of its simulated timeline. [s]
        energy_j: Of all nodes, per request. [J]
        noise: Of the output. [1]
        per_node: Node to what sits on it.
        prepared: Every node of it is ready; until then everything runs on the source instead.
    """

    epoch: int
    latency_s: float
    energy_j: float
    noise: float
    per_node: dict[str, NodeShare]
    prepared: bool


class MeasuredDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What serving the epoch cost so far; means per request, None until there was one.

    Attributes:
        requests: Completed ones.
        failed: Those that ended in an error.
        latency_s: Mean, at the source. [s]
        energy_j: Mean, of all nodes. [J]
        device_energy_j: Mean, of the source. [J]
        energy_origin: `measured` only where every node's watts were.
        noise: Of requests that were checked against the float model.
    """

    requests: int
    failed: int
    latency_s: float | None
    energy_j: float | None
    device_energy_j: float | None
    energy_origin: str | None
    noise: MeasuredNoise = MeasuredNoise()


class DeclinedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Plans that were made again and declined, most of them over changes too small for an event.

    Attributes:
        count: Since the controller started.
        since_unix_s: When that was. [s since the epoch]
        last_unix_s: When the last one was; None without one. [s since the epoch]
        last_reason: What it was planned for, and why the plan stays.
    """

    count: int = 0
    since_unix_s: float = 0.0
    last_unix_s: float | None = None
    last_reason: str = ""


class PlanDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`splitctl plan NAME`: the active plan. All figures but `measured` are predicted.

    Attributes:
        model: Its name.
        epoch: Number of the plan.
        status: Of the last decision: `optimal` (no plan has a lower score, proven) or `feasible`.
        latency_s: End of the simulated timeline. [s]
        energy_j: Of all nodes, per request. [J]
        device_energy_j: Of the source, per request. [J]
        noise: Of the output, quantization and codecs together. [1]
        score: The weighted sum that was minimised; 0 is the best latency and the best energy at once, None where the
            plan that takes least from the source was wanted instead. [1]
        gap: How much lower the best score may be at most; None where that is not known. [1]
        per_node: Node to what sits on it.
        components: In an order in which they may run.
        quantized: Operators that run in int8.
        codecs: Cut tensor to its wire codec; others travel uncoded.
        timeline: What happens when, by start.
        solve_s: What planning took. [s]
        reason: Why the plan was made.
        source: Node where requests arise and outputs are needed.
        goals: Goals it was made under.
        measured: What serving it cost so far.
        serving: Epoch on which new requests start now, a fallback's while a node is lost; None where the source has not
            said.
        pins: Operators that may run on some nodes only.
        forbidden: Nodes on which none may run.
        fallbacks: Node to what serves when it is lost.
        battery: What the battery floor allows now; None without a floor.
        energy_per_node: Node to its energy per request.
        speeds: Node to how its execution profile is corrected by live timings.
        declined: How often other plans were weighed and not taken.
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
    timeline: tuple[TimelineEntry, ...]
    solve_s: float
    reason: str
    source: str
    goals: Goals
    measured: MeasuredDocument
    serving: int | None = None
    pins: tuple[PinRow, ...] = ()
    forbidden: tuple[str, ...] = ()
    fallbacks: dict[str, FallbackRow] = {}
    battery: BatteryAllowance | None = None
    energy_per_node: dict[str, EnergyRow] = {}
    speeds: dict[str, SpeedRow] = {}
    declined: DeclinedDocument = DeclinedDocument()


class SourceDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send requests for a model: `address` is that of `via` if named, else of the source."""

    model: str
    source: str
    via: str
    address: str
    epoch: int | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
