"""Choice of peers: the other nodes whose registrations an agent hears and to which it keeps links.

Owns: this choice over time. Its rule: pure but for the clock that it is given. A controller that names peers is followed, and the nodes of
the agent's own plans are peers in any case; where no controller names any, every node is one. Who is named no more stays a while, so that a
controller that starts anew, and knows its fleet only bit by bit, costs no link. Not here: the connection to the broker (`control.py`),
subscribing (`followed_peers.py`), links (`dataplane`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

__all__ = ["PeerChoice"]

LINGER_S = 30.0
"""So long a node stays a peer that is named no more. [s]"""
PATIENCE_S = 2.0
"""So long after the broker listens a controller is waited for that names peers. [s]"""


class PeerChoice:
    """Of one agent.

    Args:
        node: Its name.
        clock: Monotonic. [s]
    """

    def __init__(self, node: str, clock: Callable[[], float]) -> None:
        self._node = node
        self._clock = clock
        self._names_peers: bool | None = None
        self._listens_s: float | None = None
        self._listed: frozenset[str] = frozenset()
        self._wanted_s: dict[str, float] = {}

    def listens(self) -> None:
        """The broker passes messages on, those that it kept first."""
        if self._listens_s is None:
            self._listens_s = self._clock()

    def hear_controller(self, *, names_peers: bool, known: Iterable[str]) -> None:
        """A controller says whether it names peers; `known` are the nodes that were peers without that."""
        if names_peers and not self._names_peers:
            self._wanted_s |= dict.fromkeys(known, self._clock())
        self._names_peers = names_peers

    def hear_peers(self, peers: Iterable[str]) -> None:
        """The controller named them; it names all at once."""
        self._listed = frozenset(peers)

    def followed(self, planned: Collection[str]) -> frozenset[str] | None:
        """The peers now; None: all nodes.

        Args:
            planned: Nodes that the agent's own plans name.
        """
        now_s = self._clock()
        if self._names_peers is None and self._listens_s is not None and now_s - self._listens_s >= PATIENCE_S:
            return None
        if self._names_peers is False:
            return None
        self._wanted_s |= dict.fromkeys((*self._listed, *planned), now_s)
        self._wanted_s = {
            name: at_s for name, at_s in self._wanted_s.items() if now_s - at_s < LINGER_S and name != self._node
        }
        return frozenset(self._wanted_s)
