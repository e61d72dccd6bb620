"""The controller, put together on one event loop.

Owns: wiring bus, registry, catalog, deployer, artifact server and inbox; which topic feeds what. Its rule: handlers
only hand over; a malformed payload becomes an event and nothing stops. Not here: any decision.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

import msgspec
import structlog

from edgesplit.control import topics
from edgesplit.control.event_messages import Event
from edgesplit.control.figure_messages import LinkMetrics, NodeMetrics, Usage
from edgesplit.control.messages import PROTOCOL
from edgesplit.control.noise_messages import NoiseReport
from edgesplit.control.plan_messages import Deployment, Desired, Observed
from edgesplit.control.profile_messages import LiveTimings, ModelOffer, ProfileReport, ProfileRequest
from edgesplit.control.registration_messages import ControllerStatus, NodeStatus
from edgesplit.daemon.clock_watch import watch_clock
from edgesplit.daemon.runtime_builds import runtime_conflict
from edgesplit.errors import MalformedMessage, NameTaken
from edgesplit.mqtt.bus import PAYLOAD_LIMIT_BYTES, MessageBus
from edgesplit.mqtt.name_claim import Registered
from edgesplit.mqtt.packet_limit import Oversize
from edgesplit.mqtt.topic_ownership import Complaints
from edgesplit_controller.answering.dispatch import Operations
from edgesplit_controller.answering.inbox import AskedOperation, Inbox
from edgesplit_controller.answering.node_removal import NodeRemoval
from edgesplit_controller.answering.studies import Studies
from edgesplit_controller.artifacts.artifact_address import ArtifactAddress
from edgesplit_controller.artifacts.artifact_server import ArtifactServer
from edgesplit_controller.configuration import ControllerConfiguration, split_address
from edgesplit_controller.deciding.battery_floors import BatteryFloors
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.deciding.fallbacks import Fallbacks, Writing
from edgesplit_controller.deciding.noise_guard import NoiseGuard, shadowing_of
from edgesplit_controller.deciding.plan_maker import PlanMaker
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.fleet.node_clocks import NodeClocks
from edgesplit_controller.fleet.node_speeds import Speeds
from edgesplit_controller.fleet.plausibility import Credence
from edgesplit_controller.fleet.profiling_progress import Profiling
from edgesplit_controller.fleet.registry import FleetChange, Registry
from edgesplit_controller.fleet.traffic import Traffic
from edgesplit_controller.metrics import render_metrics
from edgesplit_controller.models.catalog import Catalog
from edgesplit_controller.rollout.activation import Activation
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.storage.store import Store
from edgesplit_controller.storage.store_keeper import StoreKeeper

__all__ = ["Service", "release"]

M = TypeVar("M", bound=msgspec.Struct)
SMALL_BYTES, LARGE_BYTES = 64 << 10, 4 << 20
"""What messages of a few figures, and of a few figures per peer or component, may take."""
SETTLE_S = 0.7
"""After connecting, what the broker retained needs a moment to arrive."""
PATIENCE_S = 10.0
"""After a restart, agents that must reconnect to a restarted broker need some more."""


def release() -> str:
    """Version of the installed package."""
    try:
        return version("edgesplit")
    except PackageNotFoundError:
        return "unknown"


class Service:
    """A running controller.

    Args:
        configuration: Effective values.
        store: The folder, already held.
    """

    def __init__(self, configuration: ControllerConfiguration, store: Store) -> None:
        self._configuration = configuration
        self._log = structlog.get_logger(part="controller")
        self._registry = Registry()
        self._clocks = NodeClocks(time.monotonic, time.time)
        self._traffic = Traffic(time.monotonic)
        self._instance = secrets.token_hex(8)
        offline = self._status(online=False, artifacts="")
        self._bus = MessageBus(
            configuration.broker.address,
            client_id=f"edgesplit-controller-{self._instance}",
            will=(topics.CONTROLLER_STATUS, offline),
            registered=Registered(
                topics.CONTROLLER_STATUS, topics.CONTROLLER_CLAIM, self._instance, _another_controller
            ),
            on_malformed=self._on_malformed,
            on_connection=self._on_connection,
            on_accepted=self._on_accepted,
            on_refused=self._on_refused,
            on_oversize=self._on_oversize,
        )
        self._events = EventLog(store.events, self._publish_event)
        settings = configuration.planning
        metrics = configuration.models.metrics
        state = store.load_state()
        self._catalog = Catalog(store, self._registry, self, metrics, removed=state.removed)
        self._rollouts = Rollouts(
            state,
            save=store.save_state,
            registry=self._registry,
            events=self._events,
            outbox=self,
            clock=time.monotonic,
            most_s=settings.prepare_limit_s,
            shadowing=shadowing_of(self._catalog.records, settings),
        )
        self._speeds = Speeds(
            self._registry,
            self._catalog.records,
            lambda: self._rollouts.state.deployments,
            change=settings.change_threshold,
            clock=time.monotonic,
            remembered=store.load_speeds(),
            save=store.save_speeds,
        )
        writing = Writing()
        fallbacks = Fallbacks(
            self._rollouts,
            registry=self._registry,
            models=self._catalog.records,
            blobs=store.blobs,
            writing=writing,
            events=self._events,
            settings=settings,
        )
        maker = PlanMaker(self._registry, self._speeds, store.blobs, settings)
        batteries = BatteryFloors(
            self._registry, self._traffic, self._events, settings.thresholds, clock=time.monotonic
        )
        self._deployer = Deployer(
            self._rollouts,
            registry=self._registry,
            models=self._catalog.records,
            maker=maker,
            batteries=batteries,
            fallbacks=fallbacks,
            activation=Activation(self._rollouts, maker, fallbacks, writing, self._events),
            events=self._events,
            settings=settings,
            clock=time.monotonic,
        )
        self._guard = NoiseGuard(
            self._rollouts, self._deployer, maker, models=self._catalog.records, events=self._events, settings=settings
        )
        removal = NodeRemoval(
            self._bus,
            registry=self._registry,
            rollouts=self._rollouts,
            deployer=self._deployer,
            remembering=(self._registry, self._rollouts, self._speeds, self._traffic, self._guard, batteries),
            events=self._events,
        )
        operations = Operations(
            self._registry,
            self._catalog,
            self._rollouts,
            self._deployer,
            self._events,
            speeds=self._speeds,
            studies=Studies(self._deployer, self._registry, settings.time_limit_s),
            guard=self._guard,
            removal=removal,
            profiling=Profiling(self._registry, self, settings.profile_silence_s),
            when_written=writing.when_done,
        )
        self._store_health = store.health
        self._keeper = StoreKeeper(store, self._rollouts, self._catalog.tidy, self._events, self._deployer.store_healed)
        self._inbox = Inbox(operations.perform, self._bus.send, release())
        self._artifacts = ArtifactServer(
            store.blobs,
            store.uploads,
            metrics=self._metrics,
            health=self._health,
            writing=store.health,
            max_upload_bytes=configuration.artifacts.max_upload_bytes,
        )
        self._address = ArtifactAddress(
            configuration.artifacts,
            broker=self._bus.address,
            connected_to=lambda: self._bus.broker_host,
            nodes=self._node_addresses,
            moved=self._publish_status,
            warn=self._warn,
        )
        self._credence = Credence(self._rollouts.highest_epoch, self._registry.names)
        self._complaints = Complaints(time.monotonic)
        self._tasks: list[asyncio.Task[None]] = []
        self._connected = asyncio.Event()
        self._named: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closing = False

    @property
    def fault(self) -> str:
        """Why there is no connection to the broker, in one sentence; empty while nothing is known."""
        return self._bus.fault

    @property
    def standing(self) -> str:
        """What the controller does now and what is wrong with that, for `systemctl status`."""
        does = f"serving, artifacts at {self._address.base}"
        if not self._bus.connected:
            does = f"serving without a broker: {self.fault or 'the connection was lost'}"
        return "; ".join((does, *self._address.problems))

    async def start(self) -> str:
        """Serve artifacts, connect, publish what is remembered; returns the artifact server's base URL.

        Returns once the broker accepted the connection and passes on what this controller says, however long that
        takes.

        Raises:
            NameTaken: Another controller serves at the broker.
        """
        self._keeper.start()
        host, port = split_address("artifacts.listen", self._configuration.artifacts.listen)
        self._address.listening(await self._artifacts.start(host, port))
        if conflict := runtime_conflict():
            self._log.warning("runtime-conflict", text=conflict)
            self._warn(conflict)
        self._subscribe()
        self._catalog.offer_all()
        self._deployer.start()
        running = (self._settle(), self._address.keep(), watch_clock("the controller", self._own_clock_stepped))
        self._tasks = [asyncio.create_task(work) for work in running]
        self._bus.start()
        await self._named
        # Only now may somebody rely on being heard.
        self._publish_status()
        return self._address.base

    async def close(self) -> None:
        """Say goodbye; agents go on serving."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await self._inbox.close()
        await self._keeper.close()
        await self._guard.close()
        await self._deployer.close()
        self._bus.publish_state(topics.CONTROLLER_STATUS, self._status(online=False, artifacts=""))
        await self._bus.close()
        await self._artifacts.close()

    # --- where the catalog and the deployer publish --------------------------------------------------------------------

    def publish_desired(self, desired: Desired) -> None:
        """What a node should hold of a model."""
        self._bus.publish_state(topics.desired(desired.node, desired.model), desired)

    def clear_desired(self, node: str, model: str) -> None:
        """A node should hold nothing of a model."""
        self._bus.clear_state(topics.desired(node, model))

    def publish_deployment(self, deployment: Deployment) -> None:
        """Who the source of a model is."""
        self._bus.publish_state(topics.deployment(deployment.model), deployment)

    def clear_deployment(self, model: str) -> None:
        """A model has no source any more."""
        self._bus.clear_state(topics.deployment(model))

    def publish_offer(self, offer: ModelOffer) -> None:
        """Every node should profile a model."""
        self._bus.publish_state(topics.model(offer.model), offer)

    def ask_profile(self, node: str, request: ProfileRequest) -> None:
        """A node should measure a model once more."""
        self._bus.send(topics.profile_requests(node), request)

    def clear_offer(self, model: str) -> None:
        """A model is gone, and with it what offline nodes reported on it."""
        self._bus.clear_state(topics.model(model))
        for node in self._registry.nodes:
            # Nodes' own topics: repeated after a reconnect, this would remove what they say of a later model.
            for topic in (
                make(node, model) for make in (topics.noise, topics.profile, topics.timings, topics.observed)
            ):
                self._bus.wipe(topic)

    # --- what arrives --------------------------------------------------------------------------------------------------

    def _subscribe(self) -> None:
        bus, any_ = self._bus, topics.ANY
        self._hear(topics.status(any_), NodeStatus, self._on_status, limit_bytes=SMALL_BYTES)
        self._hear(topics.metrics(any_), NodeMetrics, self._on_metrics, limit_bytes=SMALL_BYTES)
        self._hear(topics.links(any_), LinkMetrics, self._on_links, limit_bytes=LARGE_BYTES)
        self._hear(topics.profile(any_, any_), ProfileReport, self._on_profile)
        self._hear(topics.timings(any_, any_), LiveTimings, self._on_timings, limit_bytes=LARGE_BYTES)
        self._hear(topics.observed(any_, any_), Observed, self._on_observed, limit_bytes=LARGE_BYTES)
        self._hear(topics.usage(any_, any_), Usage, self._on_usage, limit_bytes=SMALL_BYTES)
        self._hear(topics.noise(any_, any_), NoiseReport, self._on_noise, limit_bytes=SMALL_BYTES)
        bus.subscribe(topics.event(any_), Event, self._on_event, limit_bytes=SMALL_BYTES)
        bus.subscribe(topics.request(any_), AskedOperation, self._on_request, limit_bytes=LARGE_BYTES)
        bus.on_heard = self._on_heard
        bus.own([topics.CONTROLLER_STATUS], on_foreign=self._on_foreign)
        own = [topics.model(any_), topics.deployment(any_), topics.desired(any_, any_)]
        # A store that knows nothing was lost, or is the wrong one: what nodes still serve is not its to end.
        bus.own(own, remove_unknown=True, leave_retained=self._rollouts.state_is_new)

    def _hear(
        self,
        topic_filter: str,
        message_type: type[M],
        handler: Callable[[str, M | None], None],
        limit_bytes: int = PAYLOAD_LIMIT_BYTES,
    ) -> None:
        """Have what is said about nodes handled, as far as it is believed; what is not is told once in a while."""

        def check(topic: str, message: M | None) -> None:
            doubt = self._credence.doubt(topic, message)
            if not doubt:
                handler(topic, message)
            elif self._complaints.is_due(f"{topic_filter} {doubt[:40]}"):
                self._events.add("message-ignored", f"the message on {topic[:200]} was ignored: {doubt[:300]}")

        self._bus.subscribe(topic_filter, message_type, check, limit_bytes)

    def _on_heard(self, topic: str, retained: bool) -> None:
        """A node that says something is there; what the broker kept was said before."""
        if not retained and topic.startswith(f"{topics.ROOT}/nodes/") and not self._bus.owns(topic):
            self._registry.heard(topics.node_and_model(topic)[0])

    def _on_foreign(self, topic: str, payload: bytes) -> None:
        """Somebody else wrote a topic of the controller's; the bus has put it right."""
        if self._complaints.is_due(topic):
            what = f"wrote {len(payload)} bytes to" if payload else "wrote to, or cleared,"
            text = f"somebody else {what} {topic[:200]}; what the controller says there was put back"
            self._events.add("retained-restored", text)

    def _on_status(self, topic: str, status: NodeStatus | None) -> None:
        name, _ = topics.last_parts(topic, 2)
        changes = self._registry.set_status(name, status)
        self._tell(changes)
        self._deployer.fleet_changed()
        if any(change.kind == "node-joined" for change in changes):
            self._deployer.cause_returned()

    def _on_metrics(self, topic: str, metrics: NodeMetrics | None) -> None:
        name, _ = topics.last_parts(topic, 2)
        was_usable = self._registry.node(name).usable
        self._registry.set_metrics(name, metrics)
        if metrics is None:
            self._clocks.forget(name)
        elif self._registry.node(name).online:
            self._tell(self._clocks.take(name, metrics))
            self._registry.set_clock_offset(name, self._clocks.offset_s(name))
        if metrics is not None and not was_usable:
            self._deployer.fleet_changed()
        elif metrics is not None and (metrics.power_origin == "measured" or metrics.battery_fraction is not None):
            self._deployer.figures_changed()

    def _on_links(self, topic: str, links: LinkMetrics | None) -> None:
        name, _ = topics.last_parts(topic, 2)
        self._registry.set_links(name, links)
        self._deployer.figures_changed()

    def _on_profile(self, topic: str, report: ProfileReport | None) -> None:
        name, _, model = topics.last_parts(topic, 3)
        changes = self._registry.set_profile(name, model, report)
        self._tell(changes)
        if changes:
            self._tell(self._speeds.profile_changed(name, model)[0])
            self._deployer.fleet_changed()

    def _on_timings(self, topic: str, timings: LiveTimings | None) -> None:
        name, _, model = topics.last_parts(topic, 3)
        changes, notable = self._speeds.take(name, model, timings)
        self._tell(changes)
        if notable:
            self._deployer.fleet_changed()

    def _on_observed(self, topic: str, observed: Observed | None) -> None:
        name, _, model = topics.last_parts(topic, 3)
        self._registry.set_observed(name, model, observed)
        self._rollouts.observe(name, model, observed)

    def _on_usage(self, _topic: str, usage: Usage | None) -> None:
        if usage is not None:
            self._traffic.take(self._registry.add_usage(usage))

    def _on_noise(self, topic: str, report: NoiseReport | None) -> None:
        name, _, model = topics.last_parts(topic, 3)
        self._guard.observe(name, model, report)

    def _on_event(self, topic: str, event: Event | None) -> None:
        if event is not None and event.origin == topics.last_parts(topic, 1)[0]:
            self._events.collect(event)

    def _on_request(self, topic: str, envelope: AskedOperation | None) -> None:
        self._inbox.receive(topic, envelope)

    def _on_malformed(self, error: MalformedMessage) -> None:
        text = str(error)
        if self._complaints.is_due(text.partition(" was ignored")[0]):
            self._events.add("malformed-message", text)

    def _on_accepted(self) -> None:
        self._address.read()

    def _on_connection(self, up: bool, reason: str) -> None:
        if up:
            self._connected.set()
            if not self._named.done():
                self._named.set_result(None)
            self._log.info("broker-connected", broker=str(self._bus.address))
        elif not self._closing:
            self._log.warning("broker-lost", broker=str(self._bus.address), reason=reason)

    def _on_refused(self, sentence: str) -> None:
        self._log.error("name-taken", reason=sentence)
        if not self._named.done():
            self._named.set_exception(NameTaken(sentence))

    def _on_oversize(self, oversize: Oversize) -> None:
        self._events.add("message-too-large", oversize.sentence(str(self._bus.address)))

    # --- small things ----------------------------------------------------------------------------------------------------

    def _tell(self, changes: tuple[FleetChange, ...]) -> None:
        for change in changes:
            self._events.add(
                change.kind, change.text, model=change.model, node=change.node, data=change.data, level=change.level
            )

    def _own_clock_stepped(self, kind: str, text: str, data: Mapping[str, float]) -> None:
        self._clocks.own_clock_stepped(data["step_s"])
        self._events.add(kind, text, data=data)

    def _publish_status(self) -> None:
        if self._connected.is_set() and not self._closing:
            status = self._status(online=True, artifacts=self._address.base)
            self._bus.publish_state(topics.CONTROLLER_STATUS, status)

    def _node_addresses(self) -> list[tuple[str, str]]:
        nodes = self._registry.nodes.items()
        return [(name, node.status.advertise) for name, node in nodes if node.status is not None and node.online]

    def _warn(self, text: str) -> None:
        self._events.add("controller-warning", f"the controller: {text}")

    def _status(self, *, online: bool, artifacts: str) -> ControllerStatus:
        return ControllerStatus(
            online=online, protocol=PROTOCOL, version=release(), instance=self._instance, artifacts=artifacts
        )

    def _health(self) -> tuple[bool, str]:
        problems = [
            *([] if self._bus.connected else ["the broker is away"]),
            *filter(None, [self._store_health.sentence]),
        ]
        return (False, "; ".join(problems)) if problems else (True, "ok")

    def _metrics(self) -> bytes:
        return render_metrics(
            self._registry,
            self._catalog.records,
            self._deployer.deployments,
            connected=self._bus.connected,
            declined=self._deployer.declined.counts,
            writable=not self._store_health.cause,
        )

    def _publish_event(self, event: Event) -> None:
        self._bus.send(topics.event(event.origin), event)

    async def _settle(self) -> None:
        await self._connected.wait()
        await asyncio.sleep(SETTLE_S)
        self._deployer.settle(patient=True)
        self._guard.settle()
        await asyncio.sleep(PATIENCE_S)
        self._deployer.settle(patient=False)


def _another_controller(where: str) -> str:
    return (
        f"another controller serves at this broker{where}: stop it first, or give this one a broker of its own; "
        "nodes obey one controller"
    )
