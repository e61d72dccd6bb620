"""What can happen to an agent, as values.

Owns: the events that `AgentMachine.handle` takes. Its rule: plain values, the time comes beside them. Not here: what
follows from them (`machine.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from edgesplit.messages import Deployment, Desired
from edgesplit.tensors import Array

__all__ = [
    "AbortReceived",
    "ComponentFailed",
    "ComponentFinished",
    "DeploymentChanged",
    "DesiredChanged",
    "EpochFailed",
    "EpochPrepared",
    "Event",
    "ExecutionKey",
    "ModelOffered",
    "PeerLost",
    "PeerPressed",
    "PeerUp",
    "RequestArrived",
    "RequestCancelled",
    "SendFailed",
    "ShadowChecked",
    "ShadowDropped",
    "TensorsArrived",
    "Tick",
]


class ExecutionKey(NamedTuple):
    """One request on one epoch; the same on every node it touches."""

    model: str
    epoch: int
    request: str


@dataclass(frozen=True, slots=True)
class DesiredChanged:
    """The controller says what this node should hold of a model; None: nothing any more."""

    model: str
    desired: Desired | None


@dataclass(frozen=True, slots=True)
class DeploymentChanged:
    """The controller says who the source of a model is; None: nobody."""

    model: str
    deployment: Deployment | None


@dataclass(frozen=True, slots=True)
class ModelOffered:
    """A model was added to the fleet, or removed from it."""

    model: str
    offered: bool


@dataclass(frozen=True, slots=True)
class EpochPrepared:
    """Sessions of an epoch are built and warm.

    Attributes:
        generation: Of the `PrepareEpoch` this answers; an older one's answer is void.
    """

    model: str
    epoch: int
    generation: int


@dataclass(frozen=True, slots=True)
class EpochFailed:
    """Sessions of an epoch could not be built."""

    model: str
    epoch: int
    generation: int
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class RequestArrived:
    """A client wants an answer.

    Attributes:
        deadline_s: From now; None for the default. [s]
    """

    request: str
    model: str
    arrays: Mapping[str, Array]
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class RequestCancelled:
    """The client is gone."""

    request: str


@dataclass(frozen=True, slots=True, eq=False)
class TensorsArrived:
    """A peer sent tensors.

    Attributes:
        deadline_s: What remains of the request's time, or None. [s]
    """

    peer: str
    key: ExecutionKey
    arrays: Mapping[str, Array]
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ComponentFinished:
    """A component ran."""

    key: ExecutionKey
    component: int
    outputs: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class ComponentFailed:
    """The runtime refused to run a component."""

    key: ExecutionKey
    component: int
    detail: str


@dataclass(frozen=True, slots=True)
class SendFailed:
    """Tensors could not be handed to the data plane."""

    key: ExecutionKey
    peer: str
    detail: str


@dataclass(frozen=True, slots=True)
class PeerLost:
    """A peer does not answer any more."""

    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class PeerPressed:
    """Tensors for a peer begin to wait because it takes them slowly, or none wait any more."""

    peer: str
    pressed: bool


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A peer answers."""

    peer: str


@dataclass(frozen=True, slots=True)
class AbortReceived:
    """A peer gave a request up."""

    peer: str
    key: ExecutionKey
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ShadowChecked:
    """A `ShadowRequest` was run and compared.

    Attributes:
        measure: What the noise is, see `NoiseReport.measure`.
        detail: See `NoiseReport.detail`.
    """

    model: str
    epoch: int
    noise: float
    measure: str = "rho"
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ShadowDropped:
    """A `ShadowRequest` came to nothing.

    Attributes:
        detail: Why nothing can be checked; empty where the node merely had no time.
    """

    model: str
    epoch: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


Event: TypeAlias = (
    DesiredChanged
    | DeploymentChanged
    | ModelOffered
    | EpochPrepared
    | EpochFailed
    | RequestArrived
    | RequestCancelled
    | TensorsArrived
    | ComponentFinished
    | ComponentFailed
    | SendFailed
    | PeerLost
    | PeerPressed
    | PeerUp
    | AbortReceived
    | ShadowChecked
    | ShadowDropped
    | Tick
)
