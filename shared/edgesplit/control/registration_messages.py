"""Control-plane messages by which programs register, the controller's and the nodes', and by which a node is told which others count.

Owns: what a program says of itself while it is there, its last will, and the peers of a node. Its rule: that of
`control/messages.py`, a released message is never changed; a list of peers is complete, and an agent that hears none from a controller that
gives none (`ControllerStatus.names_peers`) keeps a link to every other node. Not here: who may hold a name
(`mqtt/name_registration.py`), which nodes are peers (the controller's `deciding/measured_links.py`).
"""

from __future__ import annotations

import msgspec

from edgesplit.control.messages import Message
from edgesplit.mqtt.name_registration import Claim
from edgesplit.mqtt.topic import LARGE_BYTES, SMALL_BYTES, Topic

__all__ = [
    "CONTROLLER_CLAIM",
    "CONTROLLER_STATUS",
    "NODE_CLAIM",
    "NODE_PEERS",
    "NODE_STATUS",
    "ControllerStatus",
    "NodePeers",
    "NodeStatus",
]


class ControllerStatus(Message, frozen=True, kw_only=True):
    """The controller's registration; its last will has `online` false.

    Attributes:
        online: Whether it is there; its last will says that it is not.
        protocol: Version of control messages and frames together; who differs does not take part.
        version: Its release.
        instance: Drawn at each start; a change means it restarted.
        artifacts: Base URL of the artifact server, without a slash at its end.
        standbys: Machines on which a further controller waits to take over.
        names_peers: It tells each node which peers count (`nodes/NODE/peers`); of one that does not, all do.
    """

    online: bool
    protocol: int
    version: str
    instance: str
    artifacts: str
    standbys: tuple[str, ...] = ()
    names_peers: bool = False


CONTROLLER_STATUS = Topic(
    "controller/status",
    ControllerStatus,
    says="the controller's registration, and its last will",
    writers=("controller",),
    readers=("agent", "splitctl"),
    retained=True,
    cleared="never: a controller that is gone leaves `online` false",
    defended=True,
    signer="controller",
    has_will=True,
)
CONTROLLER_CLAIM = Topic(
    "controller/claim",
    Claim,
    says="a controller that wants to be the one",
    writers=("controller",),
    readers=("controller",),
    limit_bytes=SMALL_BYTES,
)


class NodeStatus(Message, frozen=True, kw_only=True):
    """A node's registration; its last will has `online` false.

    Attributes:
        node: Its name.
        online: Whether its agent is there; its last will says that it is not.
        protocol: Version of control messages and frames together; who differs does not take part.
        version: Its release.
        instance: Drawn at each start; a change means the agent restarted.
        advertise: host:port where peers and clients reach its data plane.
        http: host:port of its HTTP endpoint, or empty.
        runtime: Name and version of the inference runtime.
        providers: onnxruntime execution providers a session really got.
        threads: Processor threads that a component may use.
        memory_limit_bytes: What components may use together. [B]
        emulated: Its speed and links are those of an `[emulation]` section, not the machine's.
        refused: Why it does not work with the controller it sees (another protocol), or empty.
        warnings: What is wrong with how it is set up, one sentence each, while it works all the same.
        opsets: Newest version of ONNX operators that its runtime loads, by domain; empty: it does not say.
        insecure: It listens to strangers, for its configuration says `insecure_network = true`.
        labels: Of its configuration, such as `site` and `role`; deployments choose nodes by them.
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
    opsets: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    insecure: bool = False
    labels: dict[str, str] = msgspec.field(default_factory=dict[str, str])


NODE_STATUS = Topic(
    "nodes/{node}/status",
    NodeStatus,
    says="a node's registration, and its last will",
    writers=("agent",),
    readers=("agent", "controller"),
    retained=True,
    cleared="never: an agent that is gone leaves `online` false",
    defended=True,
    has_will=True,
    limit_bytes=SMALL_BYTES,
)
NODE_CLAIM = Topic(
    "nodes/{node}/claim",
    Claim,
    says="an agent that wants the node's name",
    writers=("agent",),
    readers=("agent",),
    limit_bytes=SMALL_BYTES,
)


class NodePeers(Message, frozen=True, kw_only=True):
    """The peers of a node: where plans may send from it. Nodes that its own plans name are peers in any case.

    Attributes:
        node: Whose peers.
        peers: Their names, in alphabetical order.
    """

    node: str
    peers: tuple[str, ...]


NODE_PEERS = Topic(
    "nodes/{node}/peers",
    NodePeers,
    says="the nodes to which a node keeps and measures links",
    writers=("controller",),
    readers=("agent",),
    retained=True,
    cleared="only with the node",
    signer="controller",
    limit_bytes=LARGE_BYTES,
)
