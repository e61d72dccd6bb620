"""Other nodes of the fleet, as far as they are online: a table of bounded size.

Owns: their registrations as last heard. Its rule: pure; a name is that of the topic, and where there are more names than a fleet has, those
that plans need stay. A broker that lets strangers write lets them write any number of names, and to every node there is a connection. Not
here: who of them is a peer (`daemon.py`), the connection to the broker (`control.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

from edgesplit.control.registration_messages import NodeStatus
from edgesplit.release import PROTOCOL

__all__ = ["MOST_NODES", "KnownNodes"]

MOST_NODES = 2000
"""As the controller believes: a fleet has some hundreds."""


class KnownNodes:
    """What one agent knows of others.

    Args:
        needed: Names of nodes that plans name now.
        refused: Counts what found no room, and what gave way.
    """

    def __init__(self, needed: Callable[[], Collection[str]], refused: Counter[str]) -> None:
        self._needed = needed
        self._refused = refused
        self._nodes: dict[str, NodeStatus] = {}

    def __len__(self) -> int:
        """How many are known to be online."""
        return len(self._nodes)

    def hear(self, name: str, status: NodeStatus | None) -> None:
        """Take in a registration, its end, or somebody's word that claims to be another's."""
        if status is None or not status.online or status.protocol != PROTOCOL:
            self._nodes.pop(name, None)
        elif status.node != name:
            self._refused["nodes-of-other-names"] += 1
        elif name in self._nodes or self._has_room(name):
            self._nodes[name] = status

    def online(self) -> list[NodeStatus]:
        """Those that can be a peer now."""
        return list(self._nodes.values())

    def _has_room(self, name: str) -> bool:
        if len(self._nodes) < MOST_NODES:
            return True
        self._refused["nodes"] += 1
        needed = frozenset(self._needed())
        if name not in needed:
            return False
        spare = next((known for known in self._nodes if known not in needed), None)
        if spare is None:
            return False
        del self._nodes[spare]
        return True
