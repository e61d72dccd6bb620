"""Control-plane messages of inquiries: what the controller asks a node about now and then, for people, and the answer.

Owns: a checkup of a node's surroundings, and the trace of a request as one node saw it. Its rule: that of `control/messages.py`, a
released message is never changed; nothing is decided by an answer, so that it is not signed. Not here: what nodes tell
regularly (`control/figure_messages.py`).
"""

from __future__ import annotations

from typing import Literal

from edgesplit.control.messages import Message
from edgesplit.mqtt.topic import LARGE_BYTES, SMALL_BYTES, Topic

__all__ = [
    "INQUIRY",
    "NODE_FINDINGS",
    "Checkup",
    "Inquiry",
    "NodeFindings",
    "NodeTrace",
    "PeerClock",
    "StepKind",
    "TracedStep",
]

StepKind = Literal["compute", "encode", "decode", "send", "arrive"]


class Inquiry(Message, frozen=True, kw_only=True):
    """Asks a node. Not retained: a node that is away is not asked.

    Attributes:
        id: Comes back in the answer.
        about: Its surroundings, or a request.
        model: Trace: name of the deployment.
        request: Trace: identifier of the request; empty: the last that was answered here.
    """

    id: str
    about: Literal["checkup", "trace"]
    model: str = ""
    request: str = ""


INQUIRY = Topic(
    "nodes/{node}/inquiries",
    Inquiry,
    says="asks a node how it fares, or what it knows of a request",
    writers=("controller",),
    readers=("agent",),
    signer="controller",
    limit_bytes=SMALL_BYTES,
)


class Checkup(Message, frozen=True, kw_only=True):
    """What a node finds when it looks around.

    Attributes:
        folder: Of its cache.
        free_bytes: On the file system of that folder. [B]
        limit_bytes: What the cache takes at most. [B]
        artifacts: Where the controller offers blobs, as the node knows it; empty: it knows none.
        artifacts_problem: Why that cannot be reached from here; empty where it can.
        certificate_expires_s: When the node's certificate ends; None where nothing is secured. [s since the epoch]
    """

    folder: str
    free_bytes: int
    limit_bytes: int
    artifacts: str = ""
    artifacts_problem: str = ""
    certificate_expires_s: float | None = None


class PeerClock(Message, frozen=True, kw_only=True):
    """How far a peer's monotonic clock is ahead of this node's, as pings show: between two bounds, a round trip apart.

    Attributes:
        peer: The other node.
        ahead_least_s: At least. [s]
        ahead_most_s: At most. [s]
    """

    peer: str
    ahead_least_s: float
    ahead_most_s: float


class TracedStep(Message, frozen=True, kw_only=True):
    """Something that a node did for a request, by its own monotonic clock.

    Attributes:
        kind: A component that ran, tensors that were coded or restored, handed over for sending, or arrived whole.
        start_s: When it began. [s, monotonic]
        end_s: When it ended; of what is sent or arrives, the same. [s, monotonic]
        on_epoch: Number of the plan.
        component: Number of the component; None for tensors.
        tensors: Their names.
        peer: To whom they went, or from whom they came; empty where that is not known.
        nbytes: Of the tensors as they travel. [B]
        waited_s: Before it began, for other requests. [s]
    """

    kind: StepKind
    start_s: float
    end_s: float
    on_epoch: int
    component: int | None = None
    tensors: tuple[str, ...] = ()
    peer: str = ""
    nbytes: int = 0
    waited_s: float = 0.0


class NodeTrace(Message, frozen=True, kw_only=True):
    """One request as one node saw it.

    Attributes:
        request: Its identifier; empty: nothing is known of it here.
        began_s: When it came here; None where it did not (only the source knows). [s, monotonic]
        ended_s: When it was answered. [s, monotonic]
        now_s: When this was said. [s, monotonic]
        steps: In no order.
        clocks: Of peers.
    """

    request: str
    began_s: float | None = None
    ended_s: float | None = None
    now_s: float
    steps: tuple[TracedStep, ...] = ()
    clocks: tuple[PeerClock, ...] = ()


class NodeFindings(Message, frozen=True, kw_only=True):
    """Answers an inquiry.

    Attributes:
        node: Who says this.
        instance: Of its registration.
        id: Of the inquiry.
        at_unix_s: When this was said, on the node's clock. [s since the epoch]
        checkup: Where that was asked.
        trace: Where that was asked.
    """

    node: str
    instance: str
    id: str
    at_unix_s: float
    checkup: Checkup | None = None
    trace: NodeTrace | None = None


NODE_FINDINGS = Topic(
    "nodes/{node}/findings",
    NodeFindings,
    says="answers an inquiry",
    writers=("agent",),
    readers=("controller",),
    signed=frozenset({"ahead_least_s", "ahead_most_s"}),
    limit_bytes=LARGE_BYTES,
)
