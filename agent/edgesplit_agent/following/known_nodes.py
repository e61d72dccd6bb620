"""Other nodes of the fleet, as far as they are online: a table of bounded size.

Owns: their registrations as last heard, in this run or, until somebody says more, in an earlier one. Its rule: pure; a name is that of the
topic, and where there are more names than a fleet has, those that plans need stay. A broker that lets strangers write lets them write any number of names, and to every node there is a connection. Not
here: who of them is a peer (`daemon.py`), the connection to the broker (`control.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet

import msgspec

from edgesplit.control.registration_messages import NodeStatus
from edgesplit.release import PROTOCOL

__all__ = ["MOST_NODES", "KnownNodes"]

MOST_NODES = 2000
"""As the controller believes: a fleet has some hundreds."""
MOST_GONE = 256
"""Nodes that left and whose address is remembered; of more, the first to go that no plan needs is forgotten."""


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
        self._remembered: dict[str, NodeStatus] = {}
        self._last: dict[str, NodeStatus] = {}

    def __len__(self) -> int:
        """How many are known to be online."""
        return len(self._nodes)

    def remember(self, status: NodeStatus) -> None:
        """Take in where a node was in an earlier run: it may be there still, until somebody says more."""
        if status.protocol == PROTOCOL and status.advertise:
            self._remembered[status.node] = msgspec.structs.replace(status, online=True)
            self._note_last(status)

    def remember_addresses(self, addresses: Mapping[str, str]) -> None:
        """Take in where nodes were when a plan was made, where nothing later is known."""
        for name, address in addresses.items():
            if name not in self._last:
                # Nothing else is known of its registration; what it says itself takes the place of this.
                self.remember(
                    NodeStatus(node=name, online=True, protocol=PROTOCOL, version="", instance="", advertise=address)
                )

    def hear(self, name: str, status: NodeStatus | None) -> None:
        """Take in a registration, its end, or somebody's word that claims to be another's."""
        if status is None or not status.online or status.protocol != PROTOCOL:
            self._remembered.pop(name, None)
            gone = self._nodes.pop(name, None)
            if gone is not None and gone.advertise:
                self._note_last(gone)
        elif status.node != name:
            self._refused["nodes-of-other-names"] += 1
        elif name in self._nodes or self._has_room(name):
            self._remembered.pop(name, None)
            self._nodes[name] = status

    def online(self) -> list[NodeStatus]:
        """Those that can be a peer now; of those that nobody spoke of since the start, whom plans name."""
        if not self._remembered:
            return list(self._nodes.values())
        needed = self._needed()
        return [*self._nodes.values(), *(status for name, status in self._remembered.items() if name in needed)]

    def last_known(self) -> list[NodeStatus]:
        """Of every node that plans name the last registration with an address, though it may be gone."""
        known, needed = self._last | self._nodes, self._needed()
        return [status for name, status in known.items() if name in needed and status.advertise]

    def last_addresses(self, names: AbstractSet[str]) -> dict[str, str]:
        """Where nodes were that plans name and that are not online by what was heard of them."""
        gone = (names & set(self._needed())) - self._nodes.keys()
        return {name: self._last[name].advertise for name in gone if name in self._last}

    def _note_last(self, status: NodeStatus) -> None:
        self._last.pop(status.node, None)
        if len(self._last) >= MOST_GONE:
            needed = self._needed()
            del self._last[next((name for name in self._last if name not in needed), next(iter(self._last)))]
        self._last[status.node] = status

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
