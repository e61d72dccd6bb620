"""Admission control: which requests a source takes in.

Owns: the bounds, and the sentence for a request that is refused. Its rule: a request is admitted only if all tensors it
may have on this node at a time find room, for nobody can be refused later; one request is always admitted, however
large. A request that needs a peer whose backlog is full is refused, so that a slow peer takes no memory from requests
that do without it. A model may hold as much as it leaves free [1]: one alone gets half, and another always finds room.
Of the other participants' memory a source may hold what each of them last said to have room for: its credit there, taken
for all of a request at once, so that no two requests wait for each other half admitted. A request that is larger than planned for
and would find no room even alone is refused for good. Not here: what a request takes (`footprints.py`), what becomes of it
(`serving/machine/request_flow.py`).

References: [1] A. K. Choudhury, E. L. Hahne, Dynamic queue length thresholds for shared-memory packet switches, IEEE/ACM
Transactions on Networking 6 (2), 1998.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edgesplit.control.plan_messages import EpochSpec
from edgesplit.errors import EdgesplitError, Overloaded, SizesRefused
from edgesplit_agent.serving.machine.admitting.footprints import Footprint

__all__ = ["Admission", "Held"]

LEAST_SHARE = 8
"""At least this fraction of the memory limit is for tensors, however much weights take."""
MEGA = 1e6


@dataclass(frozen=True)
class Held:
    """What requests in flight hold.

    Attributes:
        requests: Their number.
        all_bytes: What their tensors may take. [B]
        own_bytes: Those of the model in question. [B]
        on_peers: What they may take on other nodes. [B]
    """

    requests: int
    all_bytes: int
    own_bytes: int
    on_peers: Mapping[str, int] = field(default_factory=dict[str, int])


class Admission:
    """Bounds of one node.

    Args:
        node: Its name.
        max_in_flight: Requests at a time.
        limit_bytes: Of weights and tensors together; 0 for no limit. [B]

    Attributes:
        weight_bytes: Of the epochs held. [B]
        pressed: Peers whose backlog is full.
    """

    def __init__(self, node: str, max_in_flight: int, limit_bytes: int = 0) -> None:
        self.node = node
        self.max_in_flight = max_in_flight
        self.limit_bytes = limit_bytes
        self.weight_bytes = 0
        self.pressed: set[str] = set()
        self._rooms: dict[str, int] = {}

    @property
    def tensor_bytes(self) -> float:
        """What tensors of requests in flight may take. [B]"""
        if not self.limit_bytes:
            return math.inf
        return max(self.limit_bytes - self.weight_bytes, self.limit_bytes // LEAST_SHARE)

    def share_bytes(self, sources: int) -> int | None:
        """What each of so many sources may hold here; None without a limit. [B]"""
        return None if math.isinf(self.tensor_bytes) else int(self.tensor_bytes) // max(sources, 1)

    def peer_has_room(self, peer: str, nbytes: int | None) -> None:
        """Note what a peer has room for; None: it sets no limit. [B]"""
        if nbytes is None:
            self._rooms.pop(peer, None)
        else:
            self._rooms[peer] = nbytes

    @property
    def has_credit_limits(self) -> bool:
        """Whether any peer said how much room it has."""
        return bool(self._rooms)

    def refusal(self, footprint: Footprint, held: Held, spec: EpochSpec | None) -> EdgesplitError | None:
        """Why a request cannot be taken in now; None where it can.

        Args:
            footprint: What its tensors may take.
            held: By the requests in flight.
            spec: The plan it would start on, where that is known.
        """
        if footprint.larger and (places := self._too_small(footprint)):
            return SizesRefused(
                f"the tensors of a request of these sizes find no room even alone: {places}; send it in smaller parts, or raise "
                "[runtime] memory_limit_bytes there"
            )
        if held.requests >= self.max_in_flight:
            return Overloaded(f"{self.node} has {held.requests} requests in flight: send again later or slower")
        needed_bytes, free_bytes = footprint.here, self.tensor_bytes - held.all_bytes
        if (held.all_bytes and needed_bytes > free_bytes) or (
            held.own_bytes and held.own_bytes + needed_bytes > free_bytes
        ):
            return Overloaded(
                f"{self.node} has no memory for another request's tensors ({needed_bytes / MEGA:.1f} MB beside "
                f"{held.all_bytes / MEGA:.1f} MB in flight, {held.own_bytes / MEGA:.1f} MB of them this model's, of "
                f"{self.tensor_bytes / MEGA:.1f} MB; a model may hold as much as it leaves free): send again later or "
                "slower, or raise [runtime] memory_limit_bytes"
            )
        full = sorted(self._without_room(held, footprint)) if self._rooms else []
        if full:
            return Overloaded(
                f"{', '.join(full)} has no room for another request's tensors from {self.node}: send again later or "
                "slower, or raise [runtime] memory_limit_bytes there"
            )
        slow = sorted(self.pressed & _receivers(spec)) if spec is not None and self.pressed else []
        if slow:
            return Overloaded(
                f"{', '.join(slow)} takes tensors more slowly than requests come: send again later or slower"
            )
        return None

    def _too_small(self, footprint: Footprint) -> str:
        """Nodes that could not hold a request if they held nothing else, with what it takes there and what they have."""
        rooms: dict[str, float] = {**self._rooms, self.node: self.tensor_bytes}
        needed = {**footprint.on_peers, self.node: footprint.here}
        return ", ".join(
            f"{nbytes / MEGA:.1f} MB of {rooms[node] / MEGA:.1f} MB on {node}"
            for node, nbytes in sorted(needed.items())
            if nbytes > rooms.get(node, math.inf)
        )

    def _without_room(self, held: Held, footprint: Footprint) -> list[str]:
        """Participants where another request would exceed the credit; one request is always admitted."""
        return [
            peer
            for peer, needed_bytes in footprint.on_peers.items()
            if peer in self._rooms
            and (taken_bytes := held.on_peers.get(peer, 0))
            and taken_bytes + needed_bytes > self._rooms[peer]
        ]


def _receivers(spec: EpochSpec) -> set[str]:
    routes = (*spec.input_routes, *(route for component in spec.components for route in component.routes))
    return _flat(route.to for route in routes)


def _flat(names: Iterable[Iterable[str]]) -> set[str]:
    return {name for some in names for name in some}
