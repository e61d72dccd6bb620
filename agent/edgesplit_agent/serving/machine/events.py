"""Events of the state machine: what can happen to an agent, as values.

Owns: the events that `AgentMachine.handle` takes, and what the caller of a request gets in the end. Its rule: plain
values, the time comes beside them; whoever notices something makes the event of it (data plane, engine, control plane),
nothing translates. Not here: what follows from them (`serving/machine/agent_machine.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from edgesplit.control.plan_messages import Deployment, Desired
from edgesplit.errors import EdgesplitError, PeerUnreachable
from edgesplit.wire.headers import ExecutionKey
from edgesplit.wire.tensors import Array

__all__ = [
    "AbortReceived",
    "Answer",
    "Awoken",
    "CauseReturned",
    "ComponentFailed",
    "ComponentFinished",
    "DeploymentChanged",
    "DesiredChanged",
    "EpochFailed",
    "EpochPrepared",
    "MachineEvent",
    "ModelOffered",
    "OtherEvent",
    "PeerLost",
    "PeerPressed",
    "PeerRoom",
    "PeerUp",
    "RequestArrived",
    "RequestCancelled",
    "RequestMoved",
    "SendFailed",
    "ShadowChecked",
    "ShadowDropped",
    "TensorsArrived",
    "Tick",
]


Answer: TypeAlias = tuple[dict[str, Array], int] | EdgesplitError
"""Outputs and the epoch that computed them, or why there are none."""


class DesiredChanged(msgspec.Struct, frozen=True):
    """The controller says what this node should hold of a model; None: nothing any more."""

    model: str
    desired: Desired | None


class DeploymentChanged(msgspec.Struct, frozen=True):
    """The controller says who the source of a model is; None: nobody."""

    model: str
    deployment: Deployment | None


class ModelOffered(msgspec.Struct, frozen=True):
    """A model was added to the fleet, or removed from it."""

    model: str
    offered: bool


class EpochPrepared(msgspec.Struct, frozen=True):
    """Sessions of an epoch are built and warm.

    Attributes:
        generation: Of the `PrepareEpoch` this answers; an older one's answer is void.
    """

    model: str
    epoch: int
    generation: int


class EpochFailed(msgspec.Struct, frozen=True):
    """Sessions of an epoch could not be built.

    Attributes:
        passing: The same may succeed later.
        draw: Uniform in [0, 1), for the pause until then.
    """

    model: str
    epoch: int
    generation: int
    detail: str
    passing: bool = False
    draw: float = 0.0


class CauseReturned(msgspec.Struct, frozen=True):
    """Something that preparing needs is there again: the controller, the broker, a peer, room on disk."""


class RequestArrived(msgspec.Struct, frozen=True, eq=False):
    """A client wants an answer.

    Attributes:
        deadline_s: From now; None for the default. [s]
    """

    request: str
    model: str
    arrays: Mapping[str, Array]
    deadline_s: float | None = None


class RequestCancelled(msgspec.Struct, frozen=True):
    """The client is gone."""

    request: str


class TensorsArrived(msgspec.Struct, frozen=True, eq=False):
    """A peer sent tensors.

    Attributes:
        deadline_s: What remains of the request's time, or None. [s]
    """

    peer: str
    key: ExecutionKey
    arrays: Mapping[str, Array]
    deadline_s: float | None = None


class ComponentFinished(msgspec.Struct, frozen=True, eq=False):
    """A component ran."""

    key: ExecutionKey
    component: int
    outputs: Mapping[str, Array]


class ComponentFailed(msgspec.Struct, frozen=True):
    """The runtime refused to run a component.

    Attributes:
        for_sizes: It got other sizes than planned for, and any node would refuse them.
    """

    key: ExecutionKey
    component: int
    detail: str
    for_sizes: bool = False


class SendFailed(msgspec.Struct, frozen=True):
    """Tensors for a peer could not be sent, or were on their way when the connection ended.

    Attributes:
        code: Of the condition.
    """

    key: ExecutionKey
    peer: str
    detail: str
    code: str = PeerUnreachable.code


class PeerLost(msgspec.Struct, frozen=True):
    """A peer does not answer any more."""

    peer: str
    reason: str


class PeerPressed(msgspec.Struct, frozen=True):
    """Tensors for a peer begin to wait because it takes them slowly, or none wait any more."""

    peer: str
    pressed: bool


class PeerRoom(msgspec.Struct, frozen=True):
    """What a peer has room for of requests that arise here; None: it sets no limit. [B]"""

    peer: str
    nbytes: int | None


class PeerUp(msgspec.Struct, frozen=True):
    """A peer answers."""

    peer: str


class AbortReceived(msgspec.Struct, frozen=True):
    """A peer gave a request up."""

    peer: str
    key: ExecutionKey
    code: str
    message: str


class ShadowChecked(msgspec.Struct, frozen=True):
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


class ShadowDropped(msgspec.Struct, frozen=True):
    """A `ShadowRequest` came to nothing.

    Attributes:
        detail: Why nothing can be checked; empty where the node merely had no time.
    """

    model: str
    epoch: int
    detail: str = ""


class Awoken(msgspec.Struct, frozen=True):
    """A time of a `WakeAt` has come."""


class Tick(msgspec.Struct, frozen=True):
    """Time passed."""


RequestMoved: TypeAlias = RequestArrived | TensorsArrived | ComponentFinished | Awoken
"""Most events by far: requests move along epochs that do not change by it."""

OtherEvent: TypeAlias = (
    DesiredChanged
    | DeploymentChanged
    | ModelOffered
    | EpochPrepared
    | EpochFailed
    | CauseReturned
    | RequestCancelled
    | ComponentFailed
    | SendFailed
    | PeerLost
    | PeerPressed
    | PeerRoom
    | PeerUp
    | AbortReceived
    | ShadowChecked
    | ShadowDropped
    | Tick
)
MachineEvent: TypeAlias = RequestMoved | OtherEvent
