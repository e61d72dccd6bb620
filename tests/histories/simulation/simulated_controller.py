"""The controller of a simulated fleet: its machine, with clock and store, and the runs of the controller on it.

Owns: a controller put together of the product's bus, registry, messages of nodes, rollouts, activation, publisher, outbox, deployer,
replanner, relevance, switch decision, fallbacks' driver and store keeper. Its rule: what `edgesplit_controller.service.Service` and
`edgesplit_controller.assembly` do with them is done here, in the same order. Replaced: the planner, the statement of problems and
compilation (`trivial_model.py`), speeds, handling, noise and batteries (nobody has any), intake and artifacts (models are there), the
folder on disk (bytes that a write replaces as a whole, or not at all).
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, cast

import msgspec

from edgesplit.control.event_messages import EVENT, Event
from edgesplit.control.plan_messages import EpochSpec
from edgesplit.control.registration_messages import CONTROLLER_CLAIM, CONTROLLER_STATUS, ControllerStatus
from edgesplit.errors import NodeUnreachable, NotProfiledYet
from edgesplit.mqtt.bus import MessageBus
from edgesplit.mqtt.name_claim import Registered
from edgesplit.names import base_name
from edgesplit.planning.goals import Goals
from edgesplit.planning.plan import Evaluation, Ranges, Solution, Timings, per_node
from edgesplit.planning.problem import Problem
from edgesplit.release import PROTOCOL
from edgesplit.topic_table import written_by
from edgesplit_controller.answering.inspection.inquiries import Inquiries
from edgesplit_controller.answering.node_removal import NodeRemoval
from edgesplit_controller.configuration import PlanningSection
from edgesplit_controller.deciding.battery_floors import BatteryFloors
from edgesplit_controller.deciding.changes.fleet_snapshot import FleetSnapshot, snapshot_of
from edgesplit_controller.deciding.changes.switch_decision import Decision, decide
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.deciding.fallbacks import Fallbacks
from edgesplit_controller.deciding.measured_links import MeasuredLinks
from edgesplit_controller.deciding.noise_guard import NoiseGuard
from edgesplit_controller.deciding.plan_maker import PlanMaker
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.fleet.handling import HandlingBook
from edgesplit_controller.fleet.node_clocks import NodeClocks
from edgesplit_controller.fleet.node_speeds import Speeds
from edgesplit_controller.fleet.reach.candidates import Candidates
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.fleet.traffic import Traffic
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.node_messages import NodeMessages
from edgesplit_controller.outbox import BusOutbox
from edgesplit_controller.rate_limited_events import RateLimitedEvents
from edgesplit_controller.rollout.activation import Activation
from edgesplit_controller.rollout.draft import Draft
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.rollout.fallback_memory import fitting
from edgesplit_controller.service import PATIENCE_S, SETTLE_S
from edgesplit_controller.stating.predicting.prediction_intervals import Certainty
from edgesplit_controller.storage.blob_writes import BlobWrites
from edgesplit_controller.storage.deployment_state import FallbackRecord, LocalFallback, PlanRecord, State
from edgesplit_controller.storage.rollout_state import FallbackEpoch
from edgesplit_controller.storage.store import Store
from edgesplit_controller.storage.store_keeper import StoreKeeper
from edgesplit_controller.storage.write_health import StoreHealth
from tests.histories.simulation.simulated_agent import ADDRESS, NOBODY
from tests.histories.simulation.simulated_broker import SimulatedBroker, SimulatedClient
from tests.histories.simulation.trivial_model import UNITS, TrivialModel, best_assignment, compiled, evaluated, stated
from tests.histories.simulation.virtual_loop import SimulatedProgram, VirtualLoop

__all__ = ["CONTROLLER", "ControllerMachine", "SimulatedController"]

CONTROLLER = "controller"
"""The name of its machine."""
SETTINGS = PlanningSection(prepare_limit_s=30.0)
_NO_TIMINGS = Timings(build_s=0.0, solve_s=0.0, total_s=0.0)


class ControllerMachine:
    """The machine that controllers run on, one after the other.

    Args:
        loop: Everybody's.
        chance: The history's.
        broker: All programs'.
        models: That were added.

    Attributes:
        state: What is on disk.
        disk_full: Nothing can be written.
        crash_in_writing: The next write is the last thing that happens, before or after it holds.
        artifacts_away: Its HTTP server does not answer.
        clock_s: How far its wall clock is ahead. [s]
        refused_writes: When a write failed. [s]
    """

    def __init__(
        self, *, loop: VirtualLoop, chance: Random, broker: SimulatedBroker, models: Mapping[str, TrivialModel]
    ) -> None:
        self.loop, self.chance, self.broker, self.models = loop, chance, broker, models
        self.state = b""
        self.disk_full = False
        self.crash_in_writing = ""
        self.artifacts_away = False
        self.clock_s = chance.choice((0.0, 0.0, 5.0, -3600.0))
        self.controller: SimulatedController | None = None
        self.runs = 0
        self.refused_writes: list[float] = []

    @property
    def running(self) -> SimulatedController | None:
        """The controller that runs now."""
        return self.controller if self.controller is not None and self.controller.program.alive else None

    def start(self) -> None:
        """Start a controller, unless one runs."""
        if self.running is not None and self.running.ending:
            self.loop.call_later(1.0, self.start, context=self.loop.world.context)
        elif self.running is None:
            self.runs += 1
            program = SimulatedProgram(self.loop, f"{CONTROLLER}#{self.runs}", lambda: self.clock_s)
            instance = f"{self.chance.randrange(16**6):06x}"
            self.controller = program.run(lambda: SimulatedController(self, program, instance))
            program.run(self.controller.start)

    def crash(self, *, power: bool) -> None:
        """End the controller without a word."""
        controller = self.running
        if controller is not None:
            self.loop.crash(controller.program)
            controller.client.died(7.5 if power else 0.2)

    def stop(self) -> None:
        """Have the controller end in order."""
        controller = self.running
        if controller is not None:
            controller.program.run(lambda: asyncio.ensure_future(controller.stop(), loop=self.loop))

    def gives(self, machine: str) -> bool:
        """Whether a machine gets blobs from here now."""
        return self.running is not None and not self.artifacts_away and machine not in self.broker.cut_off


class _SimulatedStore:
    """The folder on disk; in the seat of `Store`. What a crashed program still writes reaches nothing."""

    def __init__(self, machine: ControllerMachine, program: SimulatedProgram) -> None:
        self._machine, self._program = machine, program
        self.health = StoreHealth(Path("simulated"), program.wall)

    def load_state(self) -> State:
        return msgspec.json.decode(self._machine.state, type=State) if self._machine.state else State()

    def save_state(self, state: State) -> None:
        with self.health.writing():
            self._write(msgspec.json.encode(state))
        self.health.succeeded()

    def probe(self) -> None:
        with self.health.writing():
            self._check()

    def settle(self) -> None:
        """Nothing waits."""

    def _check(self) -> None:
        if self._machine.disk_full:
            self._machine.refused_writes.append(self._machine.loop.time())
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _write(self, content: bytes) -> None:
        machine = self._machine
        self._check()
        if not self._program.alive:
            return
        when, machine.crash_in_writing = machine.crash_in_writing, ""
        if when != "before":
            machine.state = content
        if when:
            machine.crash(power=True)


class _Speeds:
    """Execution profiles as nodes reported them; in the seat of `Speeds`."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def profile(self, node: str, model: str, sha256: str) -> Any:
        return self._registry.profile(node, model, sha256)

    def hear(self, _node: str, _model: str, _timings: object) -> tuple[tuple[()], bool]:
        return (), False

    def profile_changed(self, _node: str, _model: str) -> tuple[tuple[()], tuple[()]]:
        return (), ()

    def forget_node(self, _node: str) -> None:
        """Nothing is kept."""


class _Maker:
    """Plans by trying all of them; in the seat of `PlanMaker`."""

    def __init__(self, registry: Registry, speeds: _Speeds, solved: list[float], clock: Callable[[], float]) -> None:
        self._registry, self._speeds = registry, speeds
        self._solved, self._clock = solved, clock

    def snapshot(self, record: ModelRecord, _source: str, _goals: Goals, _others: object) -> FleetSnapshot:
        return snapshot_of(
            self._registry,
            cast(Speeds, self._speeds),
            record,
            frozenset(self._registry.nodes),
            used_bytes={},
            loads=None,
        )

    def problem(self, record: ModelRecord, source: str, _goals: Goals, _others: object) -> Problem:
        self._registry.check_known(source)
        nodes: dict[str, Mapping[str, float]] = {}
        for name, node in self._registry.nodes.items():
            profile = self._speeds.profile(name, record.name, record.sha256)
            if node.usable and profile is not None:
                nodes[name] = profile.time_s
        if not self._registry.node(source).usable:
            raise NodeUnreachable(f"node {source} is offline")
        if source not in nodes:
            raise NotProfiledYet(f"node {source} has not profiled {record.name} yet")
        links = {
            (start, link.to): (link.bandwidth_bytes_per_s, link.latency_s) for start, link in self._registry.links()
        }
        return stated(record.name, source, nodes, links)

    async def draft(
        self,
        record: ModelRecord,
        problem: Problem,
        goals: Goals,
        serving: PlanRecord | None,
        *,
        forced: str,
        battery: Any,
    ) -> tuple[Draft, Decision, PlanRecord | None]:
        self._solved.append(self._clock())
        assignment, evaluation = await asyncio.to_thread(best_assignment, problem)
        before, old = None, None
        if serving is not None and serving.epoch.source == problem.source and record.fits(serving.version):
            known = {node.name for node in problem.nodes}
            if set(serving.assignment.node_of.values()) <= known:
                before, old = serving.assignment, evaluated(problem, serving.assignment)
        decision = decide(
            old,
            evaluation,
            problem,
            Ranges(best_latency_s=evaluation.latency_s, best_energy_j=evaluation.energy_j),
            assignments=(before if old is not None else None, assignment),
            forced=forced,
            thresholds=SETTINGS.thresholds,
        )
        solution = Solution(
            status="optimal",
            assignment=assignment,
            evaluation=evaluation,
            score=1.0,
            bound=1.0,
            gap=0.0,
            ranges=Ranges(),
            timings=_NO_TIMINGS,
        )
        if serving is not None and old is not None:
            serving = msgspec.structs.replace(serving, problem=problem, evaluation=old, goals=goals)
        return Draft(problem, goals, solution, assignment, evaluation, battery), decision, serving if old else None

    async def evaluated(self, problem: Problem, plan: PlanRecord) -> Evaluation | None:
        return evaluated(problem, plan.assignment)

    def learned(self, _model: str) -> tuple[Mapping[Any, float], Mapping[Any, float], tuple[float, ...]]:
        return {}, {}, ()

    async def refresh(self, _record: ModelRecord, serving: PlanRecord, _problem: Problem) -> PlanRecord:
        return serving


class _Activation(Activation):
    """Compiles what there is to compile of a trivial model."""

    def _compiled(self, record: ModelRecord, draft: Draft, epoch: int) -> dict[str, EpochSpec]:
        return compiled(
            record.name,
            draft.assignment,
            epoch=epoch,
            source=draft.problem.source,
            addresses=self._registry.addresses,
        )

    def _compiled_local(self, record: ModelRecord, source: str, epoch: int) -> LocalFallback:
        alone = stated(record.name, source, {source: dict.fromkeys(UNITS, 1.0)}, {})
        specs = compiled(
            record.name, best_assignment(alone)[0], epoch=epoch, source=source, addresses=self._registry.addresses
        )
        return LocalFallback(epoch=epoch, source=source, sha256=record.sha256, spec=specs[source])


class _Fallbacks(Fallbacks):
    """A fallback for the loss of each other participant, found by trying all plans."""

    async def _plan(self, model: str) -> None:
        active = self._plannable(model)
        if active is None:
            return
        deployment, addresses = self._rollouts.state.deployments[model], self._registry.addresses
        held = {fallback.lost: fallback for fallback in deployment.rollout.fallbacks}
        source, found = active.epoch.source, dict[FallbackEpoch, FallbackRecord]()
        await asyncio.to_thread(lambda: None)
        if self._plannable(model) is not active:
            return
        for lost in sorted(set(active.epoch.participants) - {source}):
            assignment, evaluation = best_assignment(active.problem, without=lost)
            if set(assignment.node_of.values()) <= {source}:
                continue  # the local one does that
            if not set(assignment.node_of.values()) <= addresses.keys():
                continue
            same = held.get((lost,))
            if same is not None and deployment.fallbacks[same.number].assignment == assignment:
                found[same] = deployment.fallbacks[same.number]
                continue
            epoch = self._rollouts.next_epoch(model)
            specs = compiled(model, assignment, epoch=epoch, source=source, addresses=addresses)
            fallback = FallbackEpoch(number=epoch, lost=(lost,), participants=tuple(sorted(specs)))
            found[fallback] = FallbackRecord(
                epoch=epoch,
                sha256=active.sha256,
                specs=specs,
                assignment=assignment,
                latency_s=evaluation.latency_s,
                energy_j=evaluation.energy_j,
                noise=0.0,
                per_node=per_node(active.problem, assignment, evaluation),
            )
        self._hold(model, fitting(model, found, self._rollouts.state.deployments, self._registry.memory_limit_bytes))


class SimulatedController:
    """One run of a controller; see `edgesplit_controller.service.Service`.

    Args:
        machine: Where it runs.
        program: Whose life it has.
        instance: Drawn at each start.

    Attributes:
        solved: When it planned. [s]
    """

    def __init__(self, machine: ControllerMachine, program: SimulatedProgram, instance: str) -> None:
        self.machine, self.program, self._instance = machine, program, instance
        self._clients: list[SimulatedClient] = []
        self.ending = False
        self.solved: list[float] = []
        self.refusals = Counter[str]()
        offline = self._status(online=False)
        self.bus = bus = MessageBus(
            ADDRESS,
            client_id=f"controller-{instance}",
            will=(CONTROLLER_STATUS.of(), offline),
            registered=Registered(CONTROLLER_STATUS.of(), CONTROLLER_CLAIM.of(), instance, lambda where: where),
            on_connection=self._on_connection,
            on_refused=self._on_refused,
            client=self._make_client,
        )
        clock = program.monotonic
        store = cast(Store, _SimulatedStore(machine, program))
        state = store.load_state()
        self.registry = registry = Registry(clock)

        def publish(event: Event) -> None:
            bus.publish(EVENT, event, event.origin)

        self.events = events = EventLog(None, publish, program.wall)
        self.outbox = BusOutbox(bus, lambda: registry.nodes)
        self.rollouts = rollouts = Rollouts(
            state,
            save=store.save_state,
            registry=registry,
            events=events,
            outbox=self.outbox,
            clock=clock,
            wall_clock=program.wall,
            most_s=SETTINGS.prepare_limit_s,
        )
        records = cast(Mapping[str, ModelRecord], machine.models)
        speeds, traffic = _Speeds(registry), Traffic(clock)
        batteries = BatteryFloors(registry, traffic, events, SETTINGS.thresholds, clock=clock)
        maker = cast(PlanMaker, _Maker(registry, speeds, self.solved, machine.loop.time))
        blobs, writing, heavy = cast(BlobStore, NOBODY), BlobWrites(), asyncio.Lock()
        self.fallbacks = _Fallbacks(
            rollouts,
            registry=registry,
            certainty=cast(Certainty, NOBODY),
            models=records,
            blobs=blobs,
            writing=writing,
            events=events,
            settings=SETTINGS,
        )
        self.deployer = deployer = Deployer(
            rollouts,
            registry=registry,
            models=records,
            maker=maker,
            batteries=batteries,
            fallbacks=self.fallbacks,
            links=MeasuredLinks(registry, Candidates(registry, SETTINGS.candidates), rollouts, records, self.outbox),
            activation=_Activation(rollouts, registry, blobs, writing=writing, events=events, heavy=heavy),
            events=events,
            settings=SETTINGS,
            clock=clock,
        )
        self.removal = NodeRemoval(
            bus,
            registry=registry,
            rollouts=rollouts,
            deployer=deployer,
            remembering=(registry, rollouts, speeds, traffic, batteries),
            events=events,
        )
        self._keeper = StoreKeeper(store, rollouts, lambda _removed: (), events, deployer.store_healed)
        seldom = RateLimitedEvents(events, clock)
        self._messages = NodeMessages(
            bus,
            registry=registry,
            clocks=NodeClocks(clock, program.wall),
            traffic=traffic,
            speeds=cast(Speeds, speeds),
            handling=cast(HandlingBook, NOBODY),
            rollouts=rollouts,
            deployer=deployer,
            guard=cast(NoiseGuard, NOBODY),
            inquiries=cast(Inquiries, NOBODY),
            events=events,
            seldom=seldom,
            knows_model=lambda name: base_name(name) in records or rollouts.highest_epoch(name) > 0,
            most_nodes=SETTINGS.known_nodes,
        )
        self._connected = asyncio.Event()

    @property
    def client(self) -> SimulatedClient:
        """Its connection to the broker."""
        return self._clients[-1]

    def start(self) -> None:
        """Connect, publish what is remembered."""
        self._keeper.start()
        self._messages.subscribe()
        self.bus.subscribe(EVENT, lambda _topic, event: None if event is None else self.events.collect(event))
        own = [row for row in written_by("controller") if row.defended]
        self.bus.own((row for row in own if not row.placeholders), on_foreign=lambda _topic, _payload: None)
        self.bus.own(
            (row for row in own if row.placeholders),
            remove_unknown=True,
            leave_retained=self.rollouts.state_is_new,
        )
        for model in self.machine.models.values():
            self.outbox.publish_offer(model.offer)
        self.deployer.start()
        self._tasks = [asyncio.create_task(work) for work in (self._settle(), self._announce())]
        self.bus.start()

    async def stop(self) -> None:
        """Say goodbye; agents go on serving."""
        self.ending = True
        await self._keeper.close()
        await self.deployer.close()
        self.bus.publish(CONTROLLER_STATUS, self._status(online=False))
        await self.bus.close()
        self.machine.loop.crash(self.program)

    # --- steps -----------------------------------------------------------------------------------------------------

    def _status(self, *, online: bool) -> ControllerStatus:
        return ControllerStatus(
            online=online,
            protocol=PROTOCOL,
            version="0",
            instance=self._instance,
            artifacts="http://controller",
            names_peers=True,
        )

    def _make_client(self, _address: object, _tls: object, _identifier: str, will: Any, events: Any) -> SimulatedClient:
        machine = self.machine
        client = SimulatedClient(machine.broker, self.program, CONTROLLER, machine.chance, will, events)
        self._clients.append(client)
        return client

    def _on_connection(self, up: bool, _reason: str) -> None:
        if up:
            self._connected.set()

    def _on_refused(self, _sentence: str) -> None:
        """At its start a controller would end for that, and its service manager start it again; here it waits."""
        self.refusals["name-taken"] += 1

    async def _announce(self) -> None:
        await self._connected.wait()
        self.bus.publish(CONTROLLER_STATUS, self._status(online=True))

    async def _settle(self) -> None:
        await self._connected.wait()
        await asyncio.sleep(SETTLE_S)
        self.deployer.settle(patient=True)
        await asyncio.sleep(PATIENCE_S)
        self.deployer.settle(patient=False)
