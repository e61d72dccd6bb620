"""Control-plane messages between controller and agents.

Owns: the JSON payloads of the retained state and the event stream (the topic of each stands in `control/topics.py`).
Its rule: a released message is never changed, a new one is added; unknown keys are ignored, so that a newer peer
can say more. Not here: profiling (`control/profile_messages.py`), splitctl's requests
(`requests.py`), data-plane frames (`wire/frames.py`).

State is level-triggered: `Desired` is what should be, `Observed` what is; both are retained, so whoever restarts
reads the whole truth from the broker.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgesplit.retrying import Retrying

__all__ = [
    "PROTOCOL",
    "ComponentSpec",
    "ControllerStatus",
    "Deployment",
    "Desired",
    "EpochSpec",
    "EpochState",
    "Event",
    "EventLevel",
    "GraphRef",
    "LinkMetrics",
    "LinkState",
    "Message",
    "NodeMetrics",
    "NodeStatus",
    "Observed",
    "Origin",
    "Route",
    "Shadowing",
    "TensorSpec",
    "UnreachedPeer",
    "Usage",
    "WeightRef",
]

PROTOCOL = 1
"""Version of control messages and frames together; peers that differ say so and part."""

Origin = Literal["measured", "modelled", "configured"]
EventLevel = Literal["info", "warning", "error"]


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """Base of all control messages: immutable, keyword-only, unknown keys ignored."""


class ControllerStatus(Message, frozen=True, kw_only=True):
    """The controller's registration; its last will has `online` false.

    Attributes:
        instance: Drawn at each start; a change means it restarted.
        artifacts: Base URL of the artifact server, without a slash at its end.
    """

    online: bool
    protocol: int
    version: str
    instance: str
    artifacts: str


class NodeStatus(Message, frozen=True, kw_only=True):
    """A node's registration; its last will has `online` false.

    Attributes:
        instance: Drawn at each start; a change means the agent restarted.
        advertise: host:port where peers and clients reach its data plane.
        http: host:port of its HTTP endpoint, or empty.
        runtime: Name and version of the inference runtime.
        providers: onnxruntime execution providers a session really got.
        memory_limit_bytes: What components may use together. [B]
        emulated: Its speed and links are those of an `[emulation]` section, not the machine's.
        refused: Why it does not work with the controller it sees (another protocol), or empty.
        warnings: What is wrong with how it is set up, one sentence each, while it works all the same.
    """

    node: str
    online: bool
    protocol: int
    version: str
    instance: str
    advertise: str
    http: str = ""
    runtime: str = ""
    providers: tuple[str, ...] = ()
    threads: int = 1
    memory_limit_bytes: int = 0
    emulated: bool = False
    refused: str = ""
    warnings: tuple[str, ...] = ()


class NodeMetrics(Message, frozen=True, kw_only=True):
    """Compute and power figures of a node.

    Attributes:
        at_unix_s: When they were read. [s since the epoch]
        cpu_percent: Load of all cores together. [%]
        memory_available_bytes: [B]
        compute_w: Power drawn by computing, over idle where a sensor can tell. [W]
        transmit_w: Power drawn by sending. [W]
        power_origin: Where the watts come from.
        power_sensor: Name of the sensor, or `constant`.
        power_problem: Why configured watts stand in for a sensor; empty where they do not, or were asked for.
        idle_w: What the sensor reads while nothing is computed, None until it told. [W]
        drawn_w: What the sensor reads now, None without one. [W]
        battery_fraction: How full the battery is, 0 to 1; None without one.
        battery_energy_j: What is left in it; None where it does not say. [J]
        battery_discharging: Whether it delivers; False on mains, None where it does not say.
    """

    node: str
    instance: str
    at_unix_s: float
    cpu_percent: float
    memory_available_bytes: int
    compute_w: float
    transmit_w: float
    power_origin: Origin
    power_sensor: str = "constant"
    power_problem: str = ""
    idle_w: float | None = None
    drawn_w: float | None = None
    battery_fraction: float | None = None
    battery_energy_j: float | None = None
    battery_discharging: bool | None = None


class LinkState(Message, frozen=True, kw_only=True):
    """One directed link as its sender measured it.

    Attributes:
        to: The receiving node.
        up: Whether the peer answers now.
        bandwidth_bytes_per_s: [B/s]
        latency_s: One way, half the round trip. [s]
        measured_at_unix_s: Of the last sample, on the node's clock; for people. [s since the epoch]
        scatter: Standard deviation of one measurement of the bandwidth, relative; 0 where not known. [1]
        age_s: Since the last sample when this was said; None from an agent that does not say. [s]
    """

    to: str
    up: bool
    bandwidth_bytes_per_s: float
    latency_s: float
    measured_at_unix_s: float
    origin: Origin = "measured"
    scatter: float = 0.0
    age_s: float | None = None


class UnreachedPeer(Message, frozen=True, kw_only=True):
    """An online peer that a node has no connection to, and why.

    Attributes:
        to: The peer.
        reason: One sentence.
    """

    to: str
    reason: str


class LinkMetrics(Message, frozen=True, kw_only=True):
    """The links that leave a node.

    Attributes:
        links: Those measured at least once.
        unreached: Peers without a connection now, measured before or not.
    """

    node: str
    instance: str
    links: tuple[LinkState, ...]
    unreached: tuple[UnreachedPeer, ...] = ()


class TensorSpec(Message, frozen=True, kw_only=True):
    """A tensor's name, numpy dtype name and static shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class WeightRef(Message, frozen=True, kw_only=True):
    """An initializer kept as a blob.

    Attributes:
        digest: SHA-256 of its raw little-endian bytes, the blob's name.
        nbytes: [B]
    """

    name: str
    digest: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


class GraphRef(Message, frozen=True, kw_only=True):
    """An ONNX graph without large weights, itself a blob, and the weight blobs it needs.

    In the graph every such initializer is external data with `location` = digest, so that a runtime that loads the
    graph from the folder of the blobs finds them.
    """

    digest: str
    nbytes: int
    weights: tuple[WeightRef, ...] = ()


class Deployment(Message, frozen=True, kw_only=True):
    """Who the source of a deployed model is, for nodes that forward requests and for clients."""

    model: str
    source: str
    advertise: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Route(Message, frozen=True, kw_only=True):
    """Where a tensor goes from the node that has it; local consumers need no route.

    Attributes:
        tensor: Wire name; a quantized operator's int8 output has a name of its own.
        codec: Wire codec, `raw` for none.
        to: Receiving nodes, each gets it once.
    """

    tensor: str
    codec: str
    to: tuple[str, ...]


class ComponentSpec(Message, frozen=True, kw_only=True):
    """Operators of one node that run as one submodel.

    Attributes:
        component: Number within the plan, the same as in `splitctl plan`.
        inputs: Wire tensors it waits for, whoever sends them.
        outputs: Wire tensors it yields.
        routes: Where its outputs go besides this node's own components.
        predicted_s: Planned compute. [s]
    """

    component: int
    graph: GraphRef
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    routes: tuple[Route, ...]
    predicted_s: float = 0.0


class EpochSpec(Message, frozen=True, kw_only=True):
    """One node's part in one plan.

    Attributes:
        source: Where requests arise and outputs are needed.
        participants: Every node of the plan and its data-plane address.
        components: This node's own.
        input_routes: On the source: where the model's inputs go besides its own components.
        outputs: On the source: ONNX outputs, in order; each is a wire tensor of the same name, or an input
            passed through.
        quantized: The plan quantizes at least one operator or tensor (its outputs differ from the float model's).
        footprints: On the source: what the tensors of a request may take on each other participant at a time. [B]
    """

    epoch: int
    source: str
    participants: dict[str, str]
    components: tuple[ComponentSpec, ...]
    input_routes: tuple[Route, ...] = ()
    outputs: tuple[str, ...] = ()
    quantized: bool = False
    footprints: dict[str, int] = {}


class Shadowing(Message, frozen=True, kw_only=True):
    """How the source checks the noise of what it serves: it runs a few requests again on the float model.

    Attributes:
        requests: The first ones of an epoch.
        every_s: After them one in this time; 0 for none. [s]
        bound: What the mean must not exceed; None for no bound.
        metric: What the bound speaks of: module:function, or empty for rho.
    """

    requests: int
    every_s: float
    bound: float | None = None
    metric: str = ""


class Desired(Message, frozen=True, kw_only=True):
    """What a node should hold of a model, complete: what is not named is dropped once drained.

    Attributes:
        epochs: To prepare and keep.
        serve: On the source: the epoch new requests start on, once prepared here; None on other nodes or
            before activation.
        fallback: On the source: the epoch (everything on the source) to use while the served one has lost a node.
        fallbacks: On the source: node to the epoch to use instead of `fallback` while that node is lost.
        shadowing: On the source: how to check the noise of `serve` against `fallback`; None where there is none.
    """

    node: str
    model: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    epochs: tuple[EpochSpec, ...]
    serve: int | None = None
    fallback: int | None = None
    fallbacks: dict[str, int] = {}
    shadowing: Shadowing | None = None


class EpochState(Message, frozen=True, kw_only=True):
    """Where a node stands with one epoch.

    Attributes:
        in_flight: Requests that started on it and have not ended (counted on the source).
        retry: It failed for a passing reason and is tried again; None where it did not fail, or for good.
    """

    epoch: int
    state: Literal["preparing", "prepared", "failed", "draining"]
    detail: str = ""
    in_flight: int = 0
    retry: Retrying | None = None


class Observed(Message, frozen=True, kw_only=True):
    """What a node holds and serves of a model.

    Attributes:
        serving: On the source: the epoch new requests start on now (the fallback's while a peer is away).
    """

    node: str
    instance: str
    model: str
    epochs: tuple[EpochState, ...]
    serving: int | None = None


class Usage(Message, frozen=True, kw_only=True):
    """What serving one epoch of a model cost on one node since the epoch was prepared there.

    Attributes:
        requests: Completed requests (source) or component runs' distinct requests (other nodes).
        failed: Requests that ended in an error (source only).
        compute_s: Seconds spent running components and coding tensors. [s]
        transmit_s: Seconds the node spent sending (bytes over measured rate, plus latency). [s]
        energy_j: Of computing and sending together. [J]
        energy_origin: The weakest of what went into `energy_j`: `measured`, else `modelled` or `configured`.
        latency_sum_s: Of completed requests (source only). [s]
        compute_energy_j: Integrated over the sensor's readings where one is there, else compute_s times watts. [J]
        compute_energy_origin: Of `compute_energy_j`.
        transmit_energy_j: transmit_s times configured watts, for no sensor tells sending apart. [J]
        counted_since_unix_s: When these counters began; tells them from others of the same epoch, before the agent
            restarted or prepared it again. 0: not said. [s since the epoch]
        coding_s: The part of compute_s that was spent on wire codecs. [s]
    """

    node: str
    model: str
    epoch: int
    requests: int
    failed: int
    compute_s: float
    transmit_s: float
    energy_j: float
    energy_origin: Origin
    latency_sum_s: float = 0.0
    compute_energy_j: float = 0.0
    compute_energy_origin: Origin = "configured"
    transmit_energy_j: float = 0.0
    counted_since_unix_s: float = 0.0
    coding_s: float = 0.0


class Event(Message, frozen=True, kw_only=True):
    """What happened and why, for people and programs.

    Attributes:
        kind: Kebab-case: node-joined, node-left, node-refused, node-moved, node-warning, controller-warning,
            link-changed, profile-changed, goals-changed, model-added, model-removed, planned, replan-declined, plan-infeasible, epoch-prepared, epoch-activated,
            epoch-retired, epoch-abandoned, noise-exceeded, noise-unchecked, fallback-planned, fallback-engaged, fallback-left, peer-back,
            malformed-message, battery-limit, battery-floor-missed.
        text: One sentence.
        data: Figures behind it (trigger, old and new prediction, switch cost, verdict), keys with units.
        heard_unix_s: When the controller took it in, on its clock: by that it is selected and forgotten; 0 before.
            [s since the epoch]
        level: Information, a warning (it works, though not as it should), or an error (somebody has to do something).
    """

    at_unix_s: float
    origin: str
    kind: str
    text: str
    model: str = ""
    node: str = ""
    data: dict[str, str | float | int | bool | None] = {}
    level: EventLevel = "info"
    heard_unix_s: float = 0.0
