"""Control-plane messages that bring plans to nodes: desired and observed state, and who the source of a model is.

Owns: what a node should hold of a model, complete, and what it holds. Its rule: that of `control/messages.py`, a
released message is never changed; state is level-triggered: `Desired` is what should be, `Observed` what is. Not here: how
a plan is made and when it serves (the controller).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgesplit.control.component_messages import ComponentSpec, Route
from edgesplit.control.messages import Message
from edgesplit.mqtt.topic import LARGE_BYTES, Topic
from edgesplit.retrying import Retrying
from edgesplit.wire.tensor_spec import TensorSpec

__all__ = [
    "DEPLOYMENT",
    "DESIRED",
    "OBSERVED",
    "Deployment",
    "Desired",
    "EpochSpec",
    "EpochState",
    "FootprintTerm",
    "Observed",
    "OpenAxis",
    "Shadowing",
]


class Deployment(Message, frozen=True, kw_only=True):
    """Who the source of a deployed model is, for nodes that forward requests and for clients.

    Attributes:
        model: Its name.
        source: The node that takes requests.
        advertise: host:port of the source's data plane.
        inputs: Of the model.
        outputs: Of the model.
    """

    model: str
    source: str
    advertise: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


DEPLOYMENT = Topic(
    "deployments/{model}",
    Deployment,
    says="who the source of a model is",
    writers=("controller",),
    readers=("agent",),
    retained=True,
    cleared="by the controller: `splitctl undeploy`, `splitctl model remove`",
    defended=True,
    signer="controller",
)


class OpenAxis(Message, frozen=True, kw_only=True):
    """Where a request says one of the sizes that the model leaves open.

    Attributes:
        input: Name of the input.
        axis: Of it, from 0.
        size: That is planned for.
    """

    input: str
    axis: int
    size: int


class FootprintTerm(Message, frozen=True, kw_only=True):
    """Bytes of tensors that grow with the sizes of a request in the same way.

    Attributes:
        nbytes: Of a request of the planning shape. [B]
        exponents: For each of the epoch's open axes: with which power of its size the bytes grow.
    """

    nbytes: int
    exponents: tuple[int, ...]


class EpochSpec(Message, frozen=True, kw_only=True):
    """One node's part in one plan.

    Attributes:
        epoch: Number of the plan; a model's plans are numbered from 1 on.
        source: Where requests arise and outputs are needed.
        participants: Every node of the plan and its data-plane address.
        components: This node's own.
        input_routes: On the source: where the model's inputs go besides its own components.
        outputs: On the source: ONNX outputs, in order; each is a wire tensor of the same name, or an input
            passed through.
        quantized: The plan quantizes at least one operator or tensor (its outputs differ from the float model's).
        footprints: On the source: what the tensors of a request may take on each other participant at a time, at the planning
            shape. [B]
        open_axes: On the source: the sizes that requests choose; where several axes must be equal, one of them stands for all.
        joinable: On the source: the first axis of all inputs and outputs is the same open size, such as a batch.
        footprint_terms: On the source, where sizes are open: what the tensors of a request may take on each participant at a
            time, the source included; the sum of the terms, each times its axes' sizes over the planned ones to its powers.
        input_shapes: On the source: wire tensor to the model input whose sizes it holds, as a vector of int64; made
            for each request.
    """

    epoch: int
    source: str
    participants: dict[str, str]
    components: tuple[ComponentSpec, ...]
    input_routes: tuple[Route, ...] = ()
    outputs: tuple[str, ...] = ()
    quantized: bool = False
    footprints: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    open_axes: tuple[OpenAxis, ...] = ()
    joinable: bool = False
    footprint_terms: dict[str, tuple[FootprintTerm, ...]] = msgspec.field(
        default_factory=dict[str, tuple[FootprintTerm, ...]]
    )
    input_shapes: dict[str, str] = msgspec.field(default_factory=dict[str, str])


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
        node: For whom this is.
        model: Of which model.
        inputs: Of the model.
        outputs: Of the model.
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
    fallbacks: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    shadowing: Shadowing | None = None


DESIRED = Topic(
    "nodes/{node}/desired/{model}",
    Desired,
    says="what a node should hold and serve of a model",
    writers=("controller",),
    readers=("agent",),
    retained=True,
    cleared="by the controller: no plan of the model uses the node any more",
    defended=True,
    signer="controller",
)


class EpochState(Message, frozen=True, kw_only=True):
    """Where a node stands with one epoch.

    Attributes:
        epoch: Number of the plan.
        state: `draining`: not desired any more, but a request of its is in flight.
        detail: Why it failed.
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
        node: Who says this.
        instance: Of its registration.
        model: Of which model.
        epochs: All that it holds, or failed to prepare.
        serving: On the source: the epoch new requests start on now (the fallback's while a peer is away).
    """

    node: str
    instance: str
    model: str
    epochs: tuple[EpochState, ...]
    serving: int | None = None


OBSERVED = Topic(
    "nodes/{node}/observed/{model}",
    Observed,
    says="what a node holds and serves of a model",
    writers=("agent",),
    readers=("controller", "agent"),
    retained=True,
    lives_with=DESIRED,
    cleared="and nothing of the model is held any more",
    defended=True,
    limit_bytes=LARGE_BYTES,
)
