"""Control-plane message by which the controller tells a node which peers count: those to which it keeps and measures a link.

Owns: the list of one node. Its rule: that of `control/messages.py`, a released message is never changed; a list is complete, and an agent
that hears none from a controller that gives none (`ControllerStatus.names_peers`) keeps a link to every other node. Not here: which
nodes are peers (the controller's `deciding/measured_links.py`), links (the agent's data plane).
"""

from __future__ import annotations

from edgesplit.control.messages import Message
from edgesplit.mqtt.topic import LARGE_BYTES, Topic

__all__ = ["NODE_PEERS", "NodePeers"]


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
