"""Actions of the state machine: what an agent does next, as values.

Owns: the actions that `AgentMachine.handle` returns; the engine carries them out in order. Its rule: an action names
everything it needs. Not here: how it is done (`serving/engine.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from edgesplit.control.plan_messages import EpochSpec, EpochState
from edgesplit.errors import EdgesplitError
from edgesplit.wire.headers import ExecutionKey
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import Array

__all__ = [
    "Action",
    "ClearObserved",
    "CompleteRequest",
    "EmitEvent",
    "FailRequest",
    "ForwardRequest",
    "PrepareEpoch",
    "PublishNoise",
    "PublishObserved",
    "ReleaseEpoch",
    "RunComponent",
    "SendAbort",
    "SendCoded",
    "SendTensors",
    "ShadowRequest",
    "WakeAt",
]


class PrepareEpoch(msgspec.Struct, frozen=True):
    """Fetch, build and warm; answer with `EpochPrepared` or `EpochFailed` of the same generation."""

    model: str
    generation: int
    spec: EpochSpec


class ReleaseEpoch(msgspec.Struct, frozen=True):
    """Free an epoch's sessions; also ends a preparation that is under way."""

    model: str
    epoch: int
    generation: int


class RunComponent(msgspec.Struct, frozen=True, eq=False):
    """Run a component once.

    Attributes:
        order: Arrival order of its request here; a lower one goes first.
        expires_at_s: From then on nobody wants the outputs. [s on the machine's clock]
    """

    key: ExecutionKey
    component: int
    generation: int
    arrays: Mapping[str, Array]
    order: int
    expires_at_s: float = math.inf


class SendTensors(msgspec.Struct, frozen=True, eq=False):
    """Send to one peer, as they are.

    Attributes:
        deadline_s: What remains of the request's time. [s]
    """

    key: ExecutionKey
    peer: str
    tensors: Mapping[str, Array]
    deadline_s: float


class SendCoded(msgspec.Struct, frozen=True, eq=False):
    """Code a tensor once and send it to everyone who needs it.

    Attributes:
        deadline_s: What remains of the request's time. [s]
        order: Arrival order of its request here; a lower one is coded first.
    """

    key: ExecutionKey
    tensor: str
    array: Array
    codec: str
    peers: tuple[str, ...]
    deadline_s: float
    order: int


class SendAbort(msgspec.Struct, frozen=True):
    """Tell a peer that a request is given up.

    A peer that is connected to here, and to which there is no way, notices by the end of that connection.
    """

    key: ExecutionKey
    peer: str
    code: str
    message: str


class CompleteRequest(msgspec.Struct, frozen=True, eq=False):
    """Answer the client.

    Attributes:
        sizes: Shape of each input that has open axes.
        as_planned: They are those that are planned for.
    """

    request: str
    model: str
    epoch: int
    outputs: Mapping[str, Array]
    latency_s: float
    sizes: Mapping[str, tuple[int, ...]] = {}
    as_planned: bool = True


class FailRequest(msgspec.Struct, frozen=True):
    """Answer the client with an error; `epoch` is the last it ran on."""

    request: str
    model: str
    epoch: int | None
    error: EdgesplitError


class ForwardRequest(msgspec.Struct, frozen=True, eq=False):
    """Have the source answer the client."""

    request: str
    model: str
    address: str
    arrays: Mapping[str, Array]
    deadline_s: float | None


class WakeAt(msgspec.Struct, frozen=True):
    """Say `Awoken` then: requests wait for others until that time. [s on the machine's clock]"""

    at_s: float


class PublishObserved(msgspec.Struct, frozen=True):
    """Tell the controller what is."""

    model: str
    epochs: tuple[EpochState, ...]
    serving: int | None


class ShadowRequest(msgspec.Struct, frozen=True, eq=False):
    """Run an answered request again on the float model, when nothing else is to be done, and compare.

    Nobody writes into the arrays any more; they are held, not copied, until the check is done.

    Attributes:
        epoch: It was answered on.
        generation: Of the prepared float model.
        outputs: What was answered.
        specs: Of the outputs.
        metric: What to compare with, module:function; empty for rho.
    """

    model: str
    epoch: int
    generation: int
    arrays: Mapping[str, Array]
    outputs: Mapping[str, Array]
    specs: tuple[TensorSpec, ...]
    metric: str


class PublishNoise(msgspec.Struct, frozen=True):
    """Tell the controller what the checks found; figures as in `NoiseReport`."""

    model: str
    epoch: int
    samples: int
    mean: float | None
    deviation: float
    max: float | None
    last: float | None
    dropped: int
    measure: str
    detail: str


class ClearObserved(msgspec.Struct, frozen=True):
    """Nothing of the model is held any more."""

    model: str


class EmitEvent(msgspec.Struct, frozen=True):
    """Tell people what happened and why."""

    kind: str
    text: str
    model: str = ""
    data: Mapping[str, str | float | int | bool | None] = msgspec.field(
        default_factory=dict[str, "str | float | int | bool | None"]
    )


Action: TypeAlias = (
    PrepareEpoch
    | ReleaseEpoch
    | RunComponent
    | SendTensors
    | SendCoded
    | SendAbort
    | CompleteRequest
    | FailRequest
    | ForwardRequest
    | ShadowRequest
    | PublishNoise
    | PublishObserved
    | ClearObserved
    | EmitEvent
    | WakeAt
)
