"""Followed peers: an agent subscribes to the registrations of the nodes that count, one by one, or to those of all.

Owns: these subscriptions, and what the controller says of peers. Its rule: of a thousand nodes each would hear a thousand registrations, so
everybody is heard only where no controller names peers. Not here: who counts (`peer_choice.py`), what is known of them (`known_nodes.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from edgesplit.control.registration_messages import NODE_PEERS, NODE_STATUS, ControllerStatus, NodePeers, NodeStatus
from edgesplit.mqtt.bus import MessageBus
from edgesplit_agent.following.peer_choice import PeerChoice

__all__ = ["FollowedPeers"]


class FollowedPeers:
    """Of one agent.

    Args:
        bus: Where registrations arrive.
        node: Its name.
        hear: Told of them.
        planned: Nodes that the agent's own plans name now.
        known: Nodes whose registrations it knows.
        forget: Told of those that it hears of no more; called after every change of who counts.
    """

    def __init__(
        self,
        bus: MessageBus,
        node: str,
        *,
        hear: Callable[[str, NodeStatus | None], None],
        planned: Callable[[], Collection[str]],
        known: Callable[[], Collection[str]],
        forget: Callable[[Collection[str]], None],
    ) -> None:
        self._bus = bus
        self._node = node
        self._hear = hear
        self._planned = planned
        self._known = known
        self._forget = forget
        self._choice = PeerChoice(node, time.monotonic)
        self._hears_everybody = False
        self._hears_peers = False
        self._names: frozenset[str] = frozenset()

    def __contains__(self, node: object) -> bool:
        """Whether a node counts as a peer, online or not."""
        return self._hears_everybody or node in self._names

    def listens(self) -> None:
        """The broker passes messages on, those that it kept first."""
        self._choice.listens()

    def hear_controller(self, controller: ControllerStatus) -> None:
        """A controller that names peers is heard on them; another may have a broker that does not let this node read that."""
        self._choice.hear_controller(names_peers=controller.names_peers, known=self._known())
        if controller.names_peers != self._hears_peers:
            self._hears_peers = controller.names_peers
            if controller.names_peers:
                self._bus.subscribe(NODE_PEERS, self._on_peers, self._node)
            else:
                self._bus.unsubscribe(NODE_PEERS, self._node)
        self.look()

    def look(self) -> None:
        """Subscribe to what counts now, and to nothing else."""
        wanted = self._choice.followed(self._planned())
        if wanted is None:
            if not self._hears_everybody:
                self._hears_everybody = True
                self._hear_only(frozenset())
                self._bus.subscribe(NODE_STATUS, self._hear)
            return
        if wanted == self._names and not self._hears_everybody:
            return
        if self._hears_everybody:
            self._hears_everybody = False
            self._bus.unsubscribe(NODE_STATUS)
        self._hear_only(wanted)
        self._forget([name for name in self._known() if name not in wanted])

    def _hear_only(self, names: frozenset[str]) -> None:
        for name in sorted(self._names - names):
            self._bus.unsubscribe(NODE_STATUS, name)
        for name in sorted(names - self._names):
            self._bus.subscribe(NODE_STATUS, self._hear, name)
        self._names = names

    def _on_peers(self, _topic: str, peers: NodePeers | None) -> None:
        if peers is None or peers.node == self._node:
            self._choice.hear_peers(() if peers is None else peers.peers)
            self.look()
