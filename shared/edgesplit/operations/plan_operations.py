"""Operations on served models (deploying, the active plan, where requests go) and their documents.

Owns: these operations and their documents. Its rule: keys may be added, never renamed; what is measured names its
origin. Not here: plans that might be (`study_operations.py`).
"""

from __future__ import annotations

import msgspec

from edgesplit.operations.exchange import TaggedOperation
from edgesplit.operations.fleet_operations import SpeedRow
from edgesplit.operations.goal_operations import PinRow
from edgesplit.operations.waiting_document import WaitingDocument
from edgesplit.planning.battery_allowance import BatteryAllowance
from edgesplit.planning.goals import Goals
from edgesplit.planning.origins import Origin
from edgesplit.planning.plan import Concession, FixedPlan, NodeShare, TimelineEntry
from edgesplit.wire.tensor_spec import TensorSpec

__all__ = [
    "ComponentRow",
    "DeclinedDocument",
    "DeployDocument",
    "DeployModel",
    "EnergyRow",
    "ExportProblem",
    "FallbackRow",
    "MeasuredDocument",
    "MeasuredNoise",
    "MeasuredShare",
    "PlanDocument",
    "PlanOperation",
    "ShowPlan",
    "ShowSource",
    "SourceDocument",
    "SourceRow",
    "UndeployModel",
]


class DeployModel(TaggedOperation, frozen=True, kw_only=True, tag="deploy-model"):
    """Plan, prepare, activate. Answered with `DeployDocument` when the epoch serves.

    Attributes:
        source: A node, or a pattern such as `cam*`: then every node that matches is a source with a plan of its own, those too
            that join later.
        plan: Served as it is instead of planning, until an operation asks for a plan again: this one without it, or one
            that changes goals.
        on: Selector of the nodes that plans may use beside the source, such as `site=home,role!=gateway`; empty: nodes of the source's site
            (label `site`) and those without one.
    """

    name: str
    source: str
    wait_s: float = 120.0
    plan: FixedPlan | None = None
    on: str = ""


class UndeployModel(TaggedOperation, frozen=True, kw_only=True, tag="undeploy-model"):
    """End serving. Answered with `DeployDocument` of the epoch that ended."""

    name: str


class SourceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A source of a model, and what serves there. All figures but `measured_latency_s` are predicted.

    Attributes:
        source: The node.
        name: Of its deployment, for `plan` and other commands that look at one: the model's own at the first source,
            NAME~SOURCE at each further one.
        epoch: Number of its plan.
        latency_s: Of a request. [s]
        energy_j: Of all nodes, per request. [J]
        nodes: That run a part of it.
        measured_latency_s: Mean of the epoch's requests, at the source; None before there was one. [s]
    """

    source: str
    name: str
    epoch: int
    latency_s: float
    energy_j: float
    nodes: tuple[str, ...]
    measured_latency_s: float | None = None


class DeployDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `deploy` and `undeploy`.

    Attributes:
        model: Name of the model.
        epoch: Number of the plan that serves now, or that ended.
        seconds: Time it took, from the request on. [s]
        reason: Why the plan was made; empty where there is nothing to say.
        warnings: Sentences (a noise bound that will not be checked, that no operator in int8 keeps, a source without a plan).
        sources: What serves at each source, the first one first.
    """

    model: str
    epoch: int
    seconds: float
    reason: str = ""
    warnings: tuple[str, ...] = ()
    sources: tuple[SourceRow, ...] = ()


class ShowPlan(TaggedOperation, frozen=True, kw_only=True, tag="show-plan"):
    """Answered with `PlanDocument`."""

    name: str


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
        epoch: Number of the plan, its epoch.
        latency_s: End of its simulated timeline. [s]
        energy_j: Of all nodes, per request. [J]
        noise: Of the output. [1]
        per_node: Node to what sits on it.
        prepared: Every node of it is ready; until then everything runs on the source instead.
        latency_interval_s: Nine of ten times the latency proves to lie in it; None where that is not known. [s]
        energy_interval_j: The same of the energy. [J]
    """

    epoch: int
    latency_s: float
    energy_j: float
    noise: float
    per_node: dict[str, NodeShare]
    prepared: bool
    latency_interval_s: tuple[float, float] | None = None
    energy_interval_j: tuple[float, float] | None = None


class EnergyRow(msgspec.Struct, frozen=True, kw_only=True):
    """Energy of one node per request, computing apart from sending.

    Attributes:
        predicted_compute_j: What the plan expects of computing, coding included. [J]
        predicted_transmit_j: What it expects of sending. [J]
        requests: How many the measured means stand on.
        compute_j: Integrated over served requests; None before there was one. [J]
        compute_origin: Of `compute_j`; None with it.
        transmit_j: Seconds of sending times configured watts; None before there was a request. [J]
        transmit_origin: Of `transmit_j`; None with it.
    """

    predicted_compute_j: float
    predicted_transmit_j: float
    requests: int = 0
    compute_j: float | None = None
    compute_origin: Origin | None = None
    transmit_j: float | None = None
    transmit_origin: Origin | None = None


class MeasuredNoise(msgspec.Struct, frozen=True, kw_only=True):
    """Noise of the epoch's requests that were checked against the float model; figures are None without one.

    Attributes:
        samples: How many requests were checked.
        mean: Mean of their noise. [1]
        max: The largest. [1]
        last: The latest. [1]
        deviation: Their sample standard deviation. [1]
        measure: What noise is here: `rho`, or the user's module:function.
        exceeds: The mean is above the bound with 99 % confidence.
        note: Why nothing is checked, or why the figures are not what the bound speaks of; else empty.
    """

    samples: int = 0
    mean: float | None = None
    max: float | None = None
    last: float | None = None
    deviation: float | None = None
    measure: str = "rho"
    exceeds: bool = False
    note: str = ""


class MeasuredShare(msgspec.Struct, frozen=True, kw_only=True):
    """Where the seconds of a request went on one node of the epoch, as means per request; what nodes do at once adds up.

    Attributes:
        requests: How many the means stand on.
        compute_s: Of running components, coding not included. [s]
        coding_s: Of coding and restoring tensors. [s]
        transmit_s: Of sending. [s]
        waiting_s: What components and codings waited for the node to be done with other requests. [s]
        handling_s: Of handing work to the thread that computes and back, packing, sending what goes at once. [s]
    """

    requests: int
    compute_s: float
    coding_s: float
    transmit_s: float
    waiting_s: float
    handling_s: float


class MeasuredDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What serving the epoch cost so far; means per request, None until there was one.

    Attributes:
        requests: How many were completed.
        failed: How many ended in an error.
        latency_s: Mean, at the source. [s]
        energy_j: Mean, of all nodes. [J]
        device_energy_j: Mean, of the source. [J]
        energy_origin: `measured` only where every node's watts were.
        noise: Of requests that were checked against the float model.
        per_node: Node to where the seconds of a request went there; without nodes that served none yet.
        unplanned: How many of them had other sizes than predictions speak of, or were computed together with others.
        requests_per_s: Served at the source, a mean of the last five minutes; while nothing is asked, the last that was
            measured. None before that can be told. [1/s]
    """

    requests: int
    failed: int
    latency_s: float | None
    energy_j: float | None
    device_energy_j: float | None
    energy_origin: str | None
    noise: MeasuredNoise = MeasuredNoise()
    per_node: dict[str, MeasuredShare] = {}
    unplanned: int = 0
    requests_per_s: float | None = None


class DeclinedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Plans that were made again and declined, most of them over changes too small for an event.

    Attributes:
        count: How many since the controller started.
        since_unix_s: When it started. [s since the epoch]
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
        model: Name of the model.
        epoch: Number of the plan, its epoch.
        status: Of the last decision: `optimal` (no plan has a lower score, proven) or `feasible`.
        latency_s: End of the simulated timeline. [s]
        energy_j: Of all nodes, per request. [J]
        device_energy_j: Of the source, per request. [J]
        noise: Of the output, quantization and codecs together. [1]
        score: The weighted sum that was minimised; 0 is the best latency and the best energy at once, None where the
            plan that takes least from the source was wanted instead, or where the plan is fixed. [1]
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
        on: Selector of the nodes it may use beside its source (`deploy --on`); empty: those of the source's site, and shared ones.
        candidates: Nodes it was chosen among, the source among them.
        fallbacks: Node to what serves when it is lost.
        battery: What the battery floor allows now; None without a floor.
        energy_per_node: Node to its energy per request.
        speeds: Node to how its execution profile is corrected by live timings.
        declined: How often other plans were weighed and not taken.
        latency_interval_s: Nine of ten times the median latency of the next dozen of requests lies in it, sent one after
            another while nothing else is served; None where that is not known. [s]
        energy_interval_j: The same of the energy of all nodes. [J]
        fixed: Somebody made it (`deploy --plan`): it is not planned again by itself, and nothing says how good it is.
        sources: All sources of the model, the first one first.
        rate_hz: Requests a second that it sustains, many at a time; None where nothing takes any time. [1/s]
        bottleneck: The node, or the link as `FROM:TO`, that bounds this rate; None with it.
        concession: What it gave up against the best plan, within `[planning] tolerance`, for fewer components or fewer bytes cut;
            None where it was the best plan when it was last decided on.
        waiting_s: What a request waits at most for requests of others at 99 % of phases at which these may come, modelled; 0 where nobody
            else promises a rate on its nodes and links, None where more is promised than there is time. [s]
        loaded_latency_s: `latency_s` and `waiting_s` together; None with the latter. [s]
        waiting: The rest of what is known of it; None with an older controller.
        fairness: Jain's index of the sources' slow-downs, measured over predicted latency: 1 where all are slowed alike, 1/n where one of n
            alone is; None before two sources have served a request. [1]
        paused_unix_s: Since when it is not planned again by itself, for `splitctl pause`; None where it is. [s since the epoch]
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
    on: str = ""
    candidates: tuple[str, ...] = ()
    fallbacks: dict[str, FallbackRow] = {}
    battery: BatteryAllowance | None = None
    energy_per_node: dict[str, EnergyRow] = {}
    speeds: dict[str, SpeedRow] = {}
    declined: DeclinedDocument = DeclinedDocument()
    latency_interval_s: tuple[float, float] | None = None
    energy_interval_j: tuple[float, float] | None = None
    fixed: bool = False
    sources: tuple[SourceRow, ...] = ()
    rate_hz: float | None = None
    bottleneck: str | None = None
    concession: Concession | None = None
    waiting_s: float | None = None
    loaded_latency_s: float | None = None
    waiting: WaitingDocument | None = None
    fairness: float | None = None
    paused_unix_s: float | None = None


class ExportProblem(TaggedOperation, frozen=True, kw_only=True, tag="export-problem"):
    """Answered with the `split-problem/1` document of the active plan."""

    name: str


class ShowSource(TaggedOperation, frozen=True, kw_only=True, tag="show-source"):
    """Where requests for a model go. Answered with `SourceDocument`."""

    name: str
    via: str | None = None


class SourceDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send requests for a model: `address` is that of `via` if named, else of the source."""

    model: str
    source: str
    via: str
    address: str
    epoch: int | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


PlanOperation = DeployModel | UndeployModel | ShowPlan | ExportProblem | ShowSource
