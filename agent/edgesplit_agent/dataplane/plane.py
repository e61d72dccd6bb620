"""The data plane of one agent: its listening sockets, peers and links behind one object.

Owns: the listening socket, one outgoing connection per peer, and the requests it forwards. Its rule: it lives on one
event loop, emits what happened as the state machine's events, and never lets one connection's trouble reach another.
Not here: what tensors are for, and who the peers are; both are the agent's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from edgesplit.control.figure_messages import LinkState, UnreachedPeer
from edgesplit.control.inquiry_messages import PeerClock
from edgesplit.errors import FrameTooLarge, PeerUnreachable
from edgesplit.release import PROTOCOL
from edgesplit.trust.access import Access
from edgesplit.wire.endpoints import remove_socket, serve
from edgesplit.wire.frames import PackedTensor
from edgesplit.wire.headers import ExecutionKey, Hello
from edgesplit.wire.listener import Listener
from edgesplit.wire.secured.reception import HandshakeLimits, SecuredPort
from edgesplit.wire.tensors import Array
from edgesplit_agent.dataplane.emulation import Emulation, Emulator
from edgesplit_agent.dataplane.forwarding import Forwarder
from edgesplit_agent.dataplane.host import Host, TrafficCounters, guarded
from edgesplit_agent.dataplane.incoming import Incoming
from edgesplit_agent.dataplane.limits import Limits
from edgesplit_agent.dataplane.measurement.probing import ProbeBudget
from edgesplit_agent.dataplane.outgoing import PeerLink
from edgesplit_agent.serving.machine.events import MachineEvent

__all__ = ["DataPlane"]


class DataPlane:
    """Tensors to and from peers, requests from clients, link measurements.

    Args:
        node: This agent's name.
        instance: Drawn at each start.
        version: Of edgesplit, for messages.
        listen: host:port; port 0 takes a free one.
        socket: `unix:/path` for programs of this machine; empty for none.
        emulation: Of this node's outgoing links.
        limits: Bounds and timings.
        emit: Takes what happened, in order; called on the event loop. What it raises is logged and stops nothing.
        host: Asked for answers, for room, and to restore coded tensors.
        counters: Told of what went over links.
        access: Whom a node of a secured fleet lets in, and how it proves who it is; None: without TLS, everybody.
        recalled: Asked for what the link to a peer carried in an earlier run, and how long ago. [B/s, s]
    """

    def __init__(
        self,
        node: str,
        instance: str,
        version: str,
        *,
        listen: str,
        socket: str = "",
        emulation: Emulation,
        limits: Limits,
        emit: Callable[[MachineEvent], None],
        host: Host,
        counters: TrafficCounters,
        access: Access | None = None,
        recalled: Callable[[str], tuple[float, float] | None] = lambda _: None,
    ) -> None:
        self._identity = Hello(protocol=PROTOCOL, role="agent", node=node, version=version, instance=instance)
        self._listen = listen
        self._socket = socket
        self._host = host
        self._limits = limits
        self._sink = emit
        self._counters = counters
        self._access = access
        self._recalled = recalled
        self._emulator = Emulator(emulation)
        self._links: dict[str, PeerLink] = {}
        self._incoming = Incoming(
            self._identity,
            limits,
            emit=self._emit,
            host=host,
            counters=counters,
            emulator=self._emulator,
            used=self._used,
            is_known=self._links.__contains__,
            access=access,
        )
        self._forwarder = Forwarder(self._identity, limits, self._emulator, access)
        self._probe_budget = ProbeBudget()
        self._retiring: set[asyncio.Task[None]] = set()
        self._servers: list[Listener] = []

    @property
    def refused(self) -> Mapping[str, int]:
        """What limits for strangers turned away or ended, by kind."""
        return self._incoming.refused

    async def start(self) -> str:
        """Listen.

        Returns:
            The bound host:port.

        Raises:
            InvalidConfiguration: The address cannot be bound.
        """
        addresses: list[str] = []
        for listen in filter(None, (self._listen, self._socket)):
            server, bound = await serve(
                listen,
                self._incoming,
                limits=self._limits.frames,
                greeting=self._limits.greeting,
                queue_bytes=self._limits.queue_bytes,
                policy=self._incoming,
                secured=self._secured_port(),
            )
            self._servers.append(server)
            addresses.append(bound)
        self._incoming.start()
        return addresses[0]

    async def close(self) -> None:
        """Close every connection; peers and clients learn of it at once."""
        for server in self._servers:
            server.close()
        if self._socket and self._servers:
            remove_socket(self._socket)
        self.set_peers({})
        await self._forwarder.close()
        await self._incoming.close()
        if self._retiring:
            await asyncio.gather(*self._retiring, return_exceptions=True)

    def _secured_port(self) -> SecuredPort | None:
        if self._access is None:
            return None
        limits = self._limits
        bounds = HandshakeLimits(limits.handshakes, limits.handshakes_per_address, limits.connect_timeout_s)
        return SecuredPort(
            self._access.contexts.open_server, self._incoming, local_clients=self._access.local_clients, limits=bounds
        )

    def drop_revoked(self) -> None:
        """End every connection whose certificate is trusted no more, both ways: the list has changed."""
        self._incoming.drop_revoked()
        self._forwarder.drop_revoked()
        for link in self._links.values():
            link.drop_revoked()

    def set_peers(self, peers: Mapping[str, str]) -> None:
        """Keep a connection to exactly these nodes.

        Args:
            peers: Node to host:port; this node itself is ignored. A changed address is connected to anew.
        """
        for peer, link in list(self._links.items()):
            if peers.get(peer) != link.address:
                if peer in peers:
                    link.lose(f"node {peer} moved from {link.address} to {peers[peer]}")
                task = asyncio.get_running_loop().create_task(self._links.pop(peer).close())
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)
        for peer, address in peers.items():
            if peer not in self._links and peer != self._identity.node:
                link = PeerLink(
                    peer,
                    address,
                    identity=self._identity,
                    limits=self._limits,
                    emit=self._emit,
                    counters=self._counters,
                    gate_for=self._emulator.gate,
                    emulated=partial(self._emulator.limits_rate, peer),
                    budget=self._probe_budget,
                    on_silent=partial(self._incoming.drop, peer),
                    planned=self._host.has_part,
                    access=self._access,
                    recalled=self._recalled(peer),
                )
                self._links[peer] = link
                link.start()

    def set_emulation(self, emulation: Emulation) -> None:
        """Change the emulated links; frames on their way keep the old."""
        self._emulator.emulation = emulation

    def _emit(self, event: MachineEvent) -> None:
        guarded(self._sink, event)

    def _used(self, peer: str) -> None:
        link = self._links.get(peer)
        if link is not None:
            link.used()

    def is_up(self, peer: str) -> bool:
        """Whether tensors can be sent to the peer now."""
        link = self._links.get(peer)
        return link is not None and link.is_up

    @property
    def callers(self) -> frozenset[str]:
        """Nodes whose agents are connected to this one, whether this one is to them or not."""
        return self._incoming.agents

    def links(self) -> tuple[LinkState, ...]:
        """Every peer whose link has been measured at least once."""
        states = (link.state() for link in self._links.values())
        return tuple(state for state in states if state is not None)

    def clocks(self) -> tuple[PeerClock, ...]:
        """How the clocks of peers differ, as far as they said."""
        found = (link.clock() for link in self._links.values())
        return tuple(clock for clock in found if clock is not None)

    def unreached(self) -> tuple[UnreachedPeer, ...]:
        """Peers without a connection now, and why."""
        return tuple(
            UnreachedPeer(to=peer, reason=link.trouble) for peer, link in self._links.items() if not link.is_up
        )

    def send_tensors(
        self, peer: str, key: ExecutionKey, tensors: Sequence[PackedTensor], deadline_s: float | None = None
    ) -> None:
        """Queue tensors for a peer, as one frame; their memory must not be changed afterwards.

        Args:
            peer: Receiving node.
            key: Whose they are.
            tensors: Coded already.
            deadline_s: Time left for the request. [s]

        Raises:
            PeerUnreachable: No connection to the peer, or its queue is full.
            FrameTooLarge: They take more than an agent accepts in a frame: the peer would close the connection, to all requests' harm.
        """
        limit = self._limits.frames.body_bytes
        if (nbytes := sum(tensor.head.decoded_bytes for tensor in tensors)) > limit:
            names = ", ".join(tensor.head.name for tensor in tensors)
            raise FrameTooLarge(
                f"{names} for {peer} take {nbytes} B, and a frame takes {limit} B: see [data] max_body_bytes"
            )
        link = self._links.get(peer)
        if link is None:
            raise PeerUnreachable(f"node {peer} is not known to be online")
        link.send_tensors(key, tensors, deadline_s)

    def send_abort(self, peer: str, key: ExecutionKey, code: str, message: str) -> None:
        """Tell a peer that a request cannot be completed on this epoch.

        A peer that cannot be told waits for what never comes, until its deadline: what it has opened to here is ended, which it notices.
        """
        link = self._links.get(peer)
        if link is not None and link.is_up:
            link.send_abort(key, code, message)
        else:
            self._incoming.drop(peer, PeerUnreachable(f"{peer} cannot be reached from here: {message}"))

    async def forward_infer(
        self, address: str, model: str, arrays: Mapping[str, Array], deadline_s: float | None = None
    ) -> tuple[dict[str, Array], int]:
        """Have another node answer a request, as a client of it.

        Returns:
            Outputs and the epoch that computed them.

        Raises:
            NodeUnreachable: It does not answer, or the connection broke.
            RequestTimedOut: The deadline passed.
            EdgesplitError: What the node answered.
        """
        return await self._forwarder.infer(address, model, arrays, deadline_s)
