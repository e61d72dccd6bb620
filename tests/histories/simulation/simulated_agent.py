"""A node of a simulated fleet: its machine, with clock and disk, and the runs of the agent on it.

Owns: an agent put together of the product's state machine, engine, preparation, control plane, name claim and MQTT bus. Its rule: what
`edgesplit_agent.daemon.Agent` does with them is done here, in the same order. Replaced: the compute thread (a virtual while), sessions and
blobs (`_Preparer`: what the disk has not, comes from the controller or a peer, if those can be reached), profiling (a made-up profile after
a while), figures of links (constant while there is a connection), coding, shadow runs, HTTP, counters and traces (nobody).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, cast

from edgesplit.control.component_messages import ComponentSpec
from edgesplit.control.figure_messages import LINK_METRICS, NODE_METRICS, LinkMetrics, LinkState, NodeMetrics
from edgesplit.control.inquiry_messages import Inquiry
from edgesplit.control.plan_messages import Deployment, Desired
from edgesplit.control.profile_messages import ModelOffer, ProfileReport, ProfileRequest
from edgesplit.control.registration_messages import NodeStatus
from edgesplit.control.trust_messages import ClientTokens, Revocations
from edgesplit.daemon.clock_watch import watch_clock
from edgesplit.errors import ArtifactError, CacheUnwritable
from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit.release import PROTOCOL
from edgesplit_agent.compute.coding import Coder
from edgesplit_agent.compute.session_pool import LoadedComponent
from edgesplit_agent.compute.worker import Ahead, Job, Worker
from edgesplit_agent.control import ControlPlane
from edgesplit_agent.profiling.attempts import Attempts
from edgesplit_agent.profiling.live_timings import TimingBook
from edgesplit_agent.reporting.run_trace import RunTrace
from edgesplit_agent.reporting.serving_counters import ServingCounters
from edgesplit_agent.serving.engine import Engine
from edgesplit_agent.serving.machine.agent_machine import AgentMachine
from edgesplit_agent.serving.machine.events import (
    CauseReturned,
    DeploymentChanged,
    DesiredChanged,
    MachineEvent,
    ModelOffered,
    PeerUp,
)
from edgesplit_agent.serving.shadow_runs import ShadowRunner
from tests.histories.simulation.simulated_broker import SimulatedBroker, SimulatedClient
from tests.histories.simulation.simulated_plane import SimulatedNetwork, SimulatedPlane
from tests.histories.simulation.trivial_model import UNITS, TrivialComponent, digests_needed, profile_of
from tests.histories.simulation.virtual_loop import SimulatedProgram, VirtualLoop

__all__ = ["ADDRESS", "NOBODY", "SimulatedAgent", "SimulatedNode"]

ADDRESS = BrokerAddress.parse("mqtt://broker")
MOVES = 0.2
"""Share of starts at which a machine has got another address. [1]"""
PEER_CHECK_S = 1.0
METRICS_EVERY_S = 10.0
STEP_LOOK_S = 1.0
PREPARING_S = (0.02, 2.0)
FETCHING_S = (0.02, 1.5)
PROFILING_S = (0.1, 3.0)
COMPUTING_S = (0.001, 0.05, 0.15)


class _Nobody:
    """Whatever it is told, nothing follows."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return self._nothing

    @staticmethod
    def _nothing(*_arguments: object, **_more: object) -> None:
        """Nothing."""


NOBODY: Any = _Nobody()


class SimulatedNode:
    """A machine that agents run on, one after the other.

    Args:
        name: Of the node.
        loop: Everybody's.
        chance: The history's.
        broker: All programs'.
        network: Between nodes.
        artifacts: Whether the controller gives blobs to a machine now.

    Attributes:
        times_s: What each unit takes here. [s]
        computing_s: What a component takes here. [s]
        blobs: What its disk keeps.
        disk_full: Nothing can be written.
        clock_s: How far its wall clock is ahead. [s]
        agent: The present run, or the last one.
        tries: When it tried to fetch blobs. [s]
    """

    def __init__(
        self,
        name: str,
        *,
        loop: VirtualLoop,
        chance: Random,
        broker: SimulatedBroker,
        network: SimulatedNetwork,
        artifacts: Callable[[str], bool],
    ) -> None:
        self.name, self.loop, self.chance = name, loop, chance
        self.broker, self.network, self.artifacts = broker, network, artifacts
        self.times_s = {unit: chance.choice((0.001, 0.01, 0.04)) for unit in UNITS}
        self.computing_s = chance.choice(COMPUTING_S)
        self.blobs: set[str] = set()
        self.disk_full = False
        self.clock_s = chance.choice((0.0, 0.0, 3.0, -86_400.0, 1e7))
        self.agent: SimulatedAgent | None = None
        self.port = 7001
        self.runs = 0
        self.tries: list[float] = []
        self.make_machine: Callable[[str], AgentMachine] = AgentMachine

    @property
    def running(self) -> SimulatedAgent | None:
        """The agent that runs now."""
        return self.agent if self.agent is not None and self.agent.program.alive else None

    def start(self) -> None:
        """Start an agent, unless one runs."""
        if self.running is not None and self.running.ending:
            self.loop.call_later(1.0, self.start, context=self.loop.world.context)
        elif self.running is None:
            self.runs += 1
            if self.chance.random() < MOVES:
                self.port += 1
            program = SimulatedProgram(self.loop, f"{self.name}#{self.runs}", lambda: self.clock_s)
            # The greater instance steps back: neither the older nor the newer run is always the greater.
            instance = f"{self.chance.randrange(16**6):06x}"
            self.agent = program.run(lambda: SimulatedAgent(self, program, instance))
            program.run(self.agent.start)

    def crash(self, *, power: bool) -> None:
        """End the agent without a word; with the machine's power nobody says so to anybody either."""
        agent = self.running
        if agent is not None:
            self.loop.crash(agent.program)
            agent.client.died(7.5 if power else 0.2)
            self.network.died(agent.plane)

    def crash_gone(self) -> None:
        """End the agent for good, if one runs."""
        self.crash(power=False)

    def stop(self) -> None:
        """Have the agent end in order, as SIGTERM does."""
        agent = self.running
        if agent is not None:
            agent.program.run(lambda: asyncio.ensure_future(agent.stop(), loop=self.loop))


class _Worker:
    """The compute thread: one job at a time, each takes a while."""

    def __init__(self, node: SimulatedNode, program: SimulatedProgram) -> None:
        self._node, self._program = node, program
        self._free_s = 0.0

    def ahead_of(self, _order: int) -> Ahead:
        return Ahead.NOTHING

    def submit(self, job: Job, share: str | None = None) -> None:
        loop = self._node.loop
        self._free_s = max(self._free_s, loop.time()) + self._node.computing_s * self._node.chance.uniform(0.5, 1.5)
        self._program.later(self._free_s - loop.time(), self._perform, job)

    def _perform(self, job: Job) -> None:
        try:
            result = job.function()
        except Exception as error:
            job.done(None, error)
        else:
            job.done(result, None)


class _Preparer:
    """Sessions and the blob cache: what is not on the disk is fetched."""

    def __init__(self, node: SimulatedNode, agent: SimulatedAgent) -> None:
        self._node, self._agent = node, agent

    async def prepare(self, wanted: Sequence[ComponentSpec]) -> dict[int, LoadedComponent]:
        node, chance = self._node, self._node.chance
        missing = digests_needed(tuple(wanted)) - node.blobs
        if missing:
            node.tries.append(node.loop.time())
            await asyncio.sleep(chance.uniform(*FETCHING_S))
            if node.disk_full:
                raise CacheUnwritable(f"{node.name} has no room")
            if not (node.artifacts(node.name) or self._agent.has_peer_with(missing)):
                raise ArtifactError(f"{node.name} can get {', '.join(sorted(missing))} nowhere")
            node.blobs |= missing
        await asyncio.sleep(chance.uniform(*PREPARING_S))
        return {part.component: cast(LoadedComponent, TrivialComponent(UNITS[part.component])) for part in wanted}

    def release(self, prepared: Sequence[ComponentSpec]) -> None:
        """Nothing is shared that could be given back."""


class SimulatedAgent:
    """One run of an agent; see `edgesplit_agent.daemon.Agent`.

    Args:
        node: The machine.
        program: Whose life it has.
        instance: Drawn at each start.
    """

    def __init__(self, node: SimulatedNode, program: SimulatedProgram, instance: str) -> None:
        self.node, self.program, self.instance = node, program, instance
        self.address = f"{node.name}:{node.port}"
        self.ending = False
        self._clients: list[SimulatedClient] = []
        self.control = ControlPlane(ADDRESS, self._status(), self, client=self._make_client, wall_clock=program.wall)
        self.machine = node.make_machine(node.name)
        self.engine = Engine(
            self.machine,
            instance=f"{node.name}-{instance}",
            preparer=_Preparer(node, self),
            worker=cast(Worker, _Worker(node, program)),
            counters=cast(ServingCounters, NOBODY),
            coder=cast(Coder, NOBODY),
            timings=cast(TimingBook, NOBODY),
            shadower=cast(ShadowRunner, NOBODY),
            trace=cast(RunTrace, NOBODY),
            clock=program.monotonic,
        )
        self.plane = SimulatedPlane(
            node.network, node.name, self.address, program, self._happened, self.engine, node.blobs
        )
        self._addresses: Mapping[str, str] = {}
        self._connected: dict[str, str] = {}
        self._profiling: dict[str, tuple[str, Attempts]] = {}
        self._links_said: object = None
        self._tasks: list[asyncio.Task[None]] = []
        self.refusals = Counter[str]()

    @property
    def client(self) -> SimulatedClient:
        """Its connection to the broker."""
        return self._clients[-1]

    def start(self) -> None:
        """Listen, register, begin to serve."""
        self.engine.peers = self.plane
        self.engine.publisher = self.control
        self.control.start()
        for work in (
            self.engine.tick_for_ever(),
            self._keep_peers(),
            self._report_metrics(),
            self.control.clear_stale(),
            watch_clock(
                self.node.name,
                self._clock_stepped,
                lambda: (self.program.wall(), self.program.monotonic()),
                STEP_LOOK_S,
            ),
        ):
            self._tasks.append(asyncio.create_task(work))

    async def stop(self) -> None:
        """Say goodbye, let requests in flight end, end."""
        self.ending = True
        await self.control.close()
        await self.engine.drained(5.0)
        await self.engine.close()
        self.node.loop.crash(self.program)
        self.node.network.died(self.plane)

    def has_peer_with(self, digests: frozenset[str]) -> bool:
        """Whether a peer that can be reached has blobs."""
        listening = self.node.network.listening
        return any(
            digests <= listening[link.address].blobs
            for link in self.plane.links.values()
            if link.session is not None and link.address in listening
        )

    # --- the control plane's handler -------------------------------------------------------------------------------

    def on_desired(self, model: str, desired: Desired | None) -> None:
        """See `ControlHandler`."""
        self.engine.feed(DesiredChanged(model, desired))

    def on_deployment(self, model: str, deployment: Deployment | None) -> None:
        """See `ControlHandler`."""
        self.engine.feed(DeploymentChanged(model, deployment))

    def on_offer(self, model: str, offer: ModelOffer | None) -> None:
        """See `ControlHandler`."""
        self.engine.feed(ModelOffered(model, offered=offer is not None))
        self._profile(model, offer)

    def on_inquiry(self, inquiry: Inquiry) -> None:
        """Nobody inquires."""

    def on_profile_request(self, request: ProfileRequest) -> None:
        """See `ControlHandler`."""

    def on_revocations(self, revocations: Revocations | None) -> None:
        """See `ControlHandler`."""

    def on_client_tokens(self, tokens: ClientTokens | None) -> None:
        """See `ControlHandler`."""

    def on_controller(self) -> None:
        """See `ControlHandler`."""
        self.engine.feed(CauseReturned())
        for _, attempts in self._profiling.values():
            attempts.hasten()

    def on_nodes(self, addresses: Mapping[str, str]) -> None:
        """See `ControlHandler`."""
        self._addresses = addresses
        self._connect_peers()

    def on_accepted(self) -> None:
        """See `ControlHandler`."""

    def on_broker(self, connected: bool, reason: str) -> None:
        """See `ControlHandler`."""

    def on_name_taken(self, sentence: str) -> None:
        """See `ControlHandler`; the service manager starts an agent again that ends for it, so it only waits here."""
        self.refusals["name-taken"] += 1

    # --- steps -----------------------------------------------------------------------------------------------------

    def _status(self) -> NodeStatus:
        return NodeStatus(
            node=self.node.name,
            online=True,
            protocol=PROTOCOL,
            version="0",
            instance=self.instance,
            advertise=self.address,
            runtime="none",
        )

    def _make_client(self, _address: object, _tls: object, _identifier: str, will: Any, events: Any) -> SimulatedClient:
        client = SimulatedClient(self.node.broker, self.program, self.node.name, self.node.chance, will, events)
        self._clients.append(client)
        return client

    def _happened(self, event: MachineEvent) -> None:
        if not self.program.alive:
            return
        self.engine.feed(event)
        if isinstance(event, PeerUp):
            for _, attempts in self._profiling.values():
                attempts.hasten()

    def _clock_stepped(self, kind: str, text: str, data: Mapping[str, float]) -> None:
        self.control.emit(kind, text, data=data)
        self.control.bus.hear_again()

    def _connect_peers(self) -> None:
        callers = self.control.last_addresses(self.plane.callers)
        kept = {
            peer: address
            for peer, address in self._connected.items()
            if peer not in self._addresses and self.plane.is_up(peer)
        }
        wanted = {**callers, **kept, **self._addresses}
        if wanted != self._connected:
            self._connected = wanted
            self.plane.set_peers(wanted)

    async def _keep_peers(self) -> None:
        was_full = False
        while True:
            await asyncio.sleep(PEER_CHECK_S)
            self._connect_peers()
            if was_full and not self.node.disk_full:
                self.engine.feed(CauseReturned())
            was_full = self.node.disk_full
            self._report_links()

    def _report_links(self) -> None:
        """Say which peers are reached; the figures never change."""
        up = tuple(self.plane.up())
        if up != self._links_said:
            self._links_said = up
            links = tuple(
                LinkState(to=peer, up=True, bandwidth_bytes_per_s=1e8, latency_s=0.001, measured_at_unix_s=0.0)
                for peer in up
            )
            said = LinkMetrics(node=self.node.name, instance=self.instance, links=links)
            self.control.bus.publish(LINK_METRICS, said, self.node.name)

    async def _report_metrics(self) -> None:
        while True:
            metrics = NodeMetrics(
                node=self.node.name,
                instance=self.instance,
                at_unix_s=max(self.program.wall(), 0.0),
                cpu_percent=1.0,
                memory_available_bytes=1 << 30,
                compute_w=1.0,
                transmit_w=1.0,
                power_origin="configured",
            )
            self.control.bus.publish(NODE_METRICS, metrics, self.node.name)
            await asyncio.sleep(METRICS_EVERY_S)

    def _profile(self, model: str, offer: ModelOffer | None) -> None:
        """Measure a model, once for each offer; see `edgesplit_agent.profiling.profiler.Profiler`."""
        known = self._profiling.get(model)
        if known is not None and (offer is None or known[0] != offer.sha256):
            known[1].cancel()
            del self._profiling[model]
        if offer is None or model in self._profiling:
            return

        async def attempt() -> None:
            node = self.node
            digests = frozenset({offer.float_graph.digest})
            node.tries.append(node.loop.time())
            await asyncio.sleep(node.chance.uniform(*PROFILING_S))
            if node.disk_full or not (
                digests <= node.blobs or node.artifacts(node.name) or self.has_peer_with(digests)
            ):
                raise ArtifactError(f"{node.name} cannot get {model}")
            node.blobs |= digests
            self.control.publish_profile(self._report(offer, "done"))

        def failed(_error: Exception) -> None:
            self.control.publish_profile(self._report(offer, "running"))

        self._profiling[model] = (
            offer.sha256,
            Attempts(attempt, failed=failed, clock=self.program.monotonic, draw=self.node.chance.random),
        )

    def _report(self, offer: ModelOffer, state: Any) -> ProfileReport:
        return ProfileReport(
            node=self.node.name,
            instance=self.instance,
            model=offer.model,
            sha256=offer.sha256,
            state=state,
            fraction=1.0 if state == "done" else 0.0,
            profile=profile_of(self.node.times_s) if state == "done" else None,
            offered=offer.profile_plan,
        )
