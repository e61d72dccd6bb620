"""A simulated data plane: connections between agents that carry tensors and aborts, break, and are made again.

Owns: what `edgesplit_agent.dataplane` does for the state machine, as events: who is up and lost, tensors that arrive or failed to be
sent, aborts, requests passed on to a source. Its rule: one connection for each direction, whose frames keep their order; what was not
acknowledged when it broke may have arrived or not, and its sender says `SendFailed`; a node started anew is another one. Not here:
bytes, rates, limits, the judgement who is alive: silence and resets are noticed after a random while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import numpy as np

from edgesplit.errors import EdgesplitError, NodeUnreachable, PeerUnreachable
from edgesplit.wire.frames import PackedTensor
from edgesplit.wire.headers import ExecutionKey
from edgesplit.wire.tensors import Array
from edgesplit_agent.dataplane.host import Host
from edgesplit_agent.serving.machine.events import (
    AbortReceived,
    Answer,
    MachineEvent,
    PeerLost,
    PeerRoom,
    PeerUp,
    SendFailed,
    TensorsArrived,
)
from tests.histories.simulation.virtual_loop import SimulatedProgram, VirtualLoop

__all__ = ["SimulatedNetwork", "SimulatedPlane"]

WAY_S = (0.0005, 0.05)
SILENCE_S = (0.7, 3.0)
"""After so long a peer whose packets vanish is taken for lost. [s]"""
RESET_S = (0.001, 0.3)
RETRY_S = (0.1, 2.0)


class SimulatedNetwork:
    """All nodes' data planes, and which pairs of machines reach each other.

    Args:
        loop: Everybody's.
        chance: The history's.

    Attributes:
        listening: By address.
    """

    def __init__(self, loop: VirtualLoop, chance: Random) -> None:
        self.loop, self.chance = loop, chance
        self.listening: dict[str, SimulatedPlane] = {}
        self._blocked: set[frozenset[str]] = set()
        self._full: set[frozenset[str]] = set()

    def block(self, one: str, other: str) -> None:
        """Packets between two machines vanish from now on."""
        self._blocked.add(frozenset((one, other)))
        self._break(one, other, SILENCE_S)

    def mend(self, one: str, other: str) -> None:
        """They pass again; connections that were broken are made anew."""
        self._blocked.discard(frozenset((one, other)))

    def mend_all(self) -> None:
        """All packets pass."""
        self._blocked.clear()
        self._full.clear()

    def fill(self, one: str, other: str) -> None:
        """What two nodes have to send each other finds no room in their queues from now on."""
        self._full.add(frozenset((one, other)))

    def drain(self, one: str, other: str) -> None:
        """There is room again."""
        self._full.discard(frozenset((one, other)))

    def is_full(self, one: str, other: str) -> bool:
        """Whether tensors between two nodes are refused."""
        return frozenset((one, other)) in self._full

    def reset(self, one: str, other: str) -> None:
        """Connections between two machines end, and can be made again at once."""
        self._break(one, other, RESET_S)

    def passes(self, one: str, other: str) -> bool:
        """Whether packets between two machines arrive."""
        return one == other or frozenset((one, other)) not in self._blocked

    def died(self, plane: SimulatedPlane) -> None:
        """A node's agent is gone."""
        self.listening.pop(plane.address, None)
        for other in tuple(self.listening.values()):
            for link in other.links.values():
                if link.session is not None and link.session.far is plane:
                    link.break_off(RESET_S)
            other.asked_died(plane)

    def _break(self, one: str, other: str, within_s: tuple[float, float]) -> None:
        for plane in tuple(self.listening.values()):
            if plane.node in {one, other}:
                peer = other if plane.node == one else one
                link = plane.links.get(peer)
                if link is not None and link.session is not None:
                    link.break_off(within_s)


class _Session:
    """One connection to a peer that is there."""

    def __init__(self, far: SimulatedPlane) -> None:
        self.far = far
        self.sound = True
        self.sent: dict[int, ExecutionKey] = {}
        self.numbers = 0
        self.arrives_s = 0.0


class _Link:
    """A node's own connection to one peer."""

    def __init__(self, plane: SimulatedPlane, peer: str, address: str) -> None:
        self.plane, self.peer, self.address = plane, peer, address
        self.session: _Session | None = None
        self.closed = False
        self._pause_s = RETRY_S[0]

    def connect(self) -> None:
        if self.closed or self.session is not None:
            return
        network = self.plane.network
        far = network.listening.get(self.address)
        if far is None or far.node != self.peer or not network.passes(self.plane.node, self.peer):
            self.plane.program.later(self._pause_s * network.chance.uniform(0.75, 1.0), self.connect)
            self._pause_s = min(2 * self._pause_s, RETRY_S[1])
            return
        self.session, self._pause_s = _Session(far), RETRY_S[0]
        self.plane.emit(PeerRoom(self.peer, None))
        self.plane.emit(PeerUp(self.peer))

    def send(self, deliver: Callable[[SimulatedPlane], None], key: ExecutionKey | None = None) -> None:
        """Send one frame; with a key it is acknowledged."""
        session, network = self.session, self.plane.network
        if session is None:
            raise PeerUnreachable(f"node {self.peer} at {self.address} is not connected")
        if key is not None and network.is_full(self.plane.node, self.peer):
            raise PeerUnreachable(f"too much waits to be sent to {self.peer}")
        session.numbers += 1
        number = session.numbers
        if key is not None:
            session.sent[number] = key
        now_s = network.loop.time()
        session.arrives_s = max(session.arrives_s + 1e-6, now_s + network.chance.uniform(*WAY_S))

        def arrive() -> None:
            # Whether the frame or its acknowledgement is what a break takes, nobody can tell.
            if (session.sound or network.chance.random() < 0.3) and network.listening.get(
                session.far.address
            ) is session.far:
                deliver(session.far)
                if key is not None and session.sound:
                    self.plane.program.later(network.chance.uniform(*WAY_S), acknowledge)

        def acknowledge() -> None:
            if session.sound:
                session.sent.pop(number, None)

        network.loop.call_at(session.arrives_s, arrive, context=session.far.program.context)

    def break_off(self, within_s: tuple[float, float]) -> None:
        """The connection is broken; this side notices after a while. [s]"""
        session = self.session
        if session is not None and session.sound:
            session.sound = False
            self.plane.program.later(self.plane.network.chance.uniform(*within_s), self.lose, session)

    def lose(self, session: _Session, reason: str = "it does not answer") -> None:
        if self.session is not session:
            return
        session.sound, self.session = False, None
        self.plane.emit(PeerLost(self.peer, reason))
        for key in session.sent.values():
            self.plane.emit(SendFailed(key, self.peer, f"{self.peer} was lost while tensors were on their way to it"))
        if not self.closed:
            self.plane.program.later(self._pause_s, self.connect)


class SimulatedPlane:
    """One agent's data plane; see `edgesplit_agent.serving.ports.Peers`.

    Args:
        network: All nodes'.
        node: Its name.
        address: Where it listens.
        program: The agent.
        emit: Takes events.
        host: Answers clients' requests.
        blobs: What its machine keeps on disk.
    """

    def __init__(
        self,
        network: SimulatedNetwork,
        node: str,
        address: str,
        program: SimulatedProgram,
        emit: Callable[[MachineEvent], None],
        host: Host,
        blobs: set[str],
    ) -> None:
        self.network, self.node, self.address, self.program = network, node, address, program
        self.emit, self.host, self.blobs = emit, host, blobs
        self.links: dict[str, _Link] = {}
        self._asked: dict[asyncio.Future[Answer], SimulatedPlane] = {}
        network.listening[address] = self

    def set_peers(self, peers: Mapping[str, str]) -> None:
        """See `edgesplit_agent.dataplane.plane.DataPlane.set_peers`."""
        for peer, link in list(self.links.items()):
            if peers.get(peer) != link.address:
                link.closed = True
                del self.links[peer]
                if link.session is not None and peer in peers:
                    link.lose(link.session, f"node {peer} moved")
                elif link.session is not None:
                    link.session.sound, link.session = False, None
        for peer, address in peers.items():
            if peer not in self.links and peer != self.node:
                link = self.links[peer] = _Link(self, peer, address)
                self.program.later(self.network.chance.uniform(*WAY_S), link.connect)

    def is_up(self, peer: str) -> bool:
        """Whether tensors can be sent to the peer now."""
        link = self.links.get(peer)
        return link is not None and link.session is not None

    def up(self) -> list[str]:
        """Peers that tensors can be sent to now."""
        return sorted(peer for peer in self.links if self.is_up(peer))

    @property
    def callers(self) -> frozenset[str]:
        """Nodes whose agents are connected to this one, whether this one is to them or not."""
        others = self.network.listening.values()
        sessions = ((other.node, link.session) for other in others for link in other.links.values())
        return frozenset(node for node, session in sessions if session is not None and session.far is self)

    def send_tensors(
        self, peer: str, key: ExecutionKey, tensors: Sequence[PackedTensor], deadline_s: float | None = None
    ) -> None:
        """See `Peers`."""
        link = self.links.get(peer)
        if link is None:
            raise PeerUnreachable(f"node {peer} is not known to be online")
        arrays = {tensor.head.name: _restored(tensor) for tensor in tensors}
        link.send(lambda far: far.emit(TensorsArrived(self.node, key, arrays, deadline_s)), key)

    def send_abort(self, peer: str, key: ExecutionKey, code: str, message: str) -> None:
        """See `Peers`."""
        link = self.links.get(peer)
        if link is not None and link.session is not None:
            link.send(lambda far: far.emit(AbortReceived(self.node, key, code, message)))
            return
        for other in self.network.listening.values():
            callers = other.links.get(self.node)
            if (
                other.node == peer
                and callers is not None
                and callers.session is not None
                and callers.session.far is self
            ):
                callers.break_off(RESET_S)

    async def forward_infer(
        self, address: str, model: str, arrays: Mapping[str, Array], deadline_s: float | None = None
    ) -> tuple[dict[str, Array], int]:
        """See `Peers`."""
        network = self.network
        far = network.listening.get(address)
        await asyncio.sleep(network.chance.uniform(*WAY_S))
        if far is None or network.listening.get(address) is not far or not network.passes(self.node, far.node):
            raise NodeUnreachable(f"{address} does not answer")
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[answered] = far

        def told(answer: Answer) -> None:
            self.program.later(network.chance.uniform(*WAY_S), _settle, answered, answer)

        give_up: list[Callable[[], None]] = []
        far.program.later(0.0, lambda: give_up.append(far.host.ask(model, dict(arrays), deadline_s, told)))
        try:
            answer = await answered
        except asyncio.CancelledError:
            far.program.later(network.chance.uniform(*WAY_S), lambda: [end() for end in give_up])
            raise
        finally:
            self._asked.pop(answered, None)
        if isinstance(answer, EdgesplitError):
            raise answer
        return answer

    def asked_died(self, far: SimulatedPlane) -> None:
        """A node that was asked is gone."""
        for answered, asked in tuple(self._asked.items()):
            if asked is far and not answered.done():
                lost = NodeUnreachable(f"{far.address} was lost")
                self.program.later(self.network.chance.uniform(*RESET_S), _settle, answered, lost)


def _settle(answered: asyncio.Future[Answer], answer: Answer) -> None:
    if not answered.done():
        answered.set_result(answer)


def _restored(tensor: PackedTensor) -> Array:
    """A raw tensor as its receiver gets it: other memory."""
    payload: Any = tensor.payload
    return np.frombuffer(bytes(payload), dtype=tensor.head.dtype).reshape(tensor.head.shape)
