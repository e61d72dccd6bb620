"""The controller on one event loop: its connection, its registration, its start and its end.

Owns: what connects the parts to broker and network. Its rule: handlers only hand over; a malformed payload becomes an event
and nothing stops. Not here: the making of the parts (`assembly.py`), what nodes say (`node_messages.py`), any decision.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping

import structlog

from edgesplit.control.archive_messages import ARCHIVE, KEPT_ARCHIVE, Archive
from edgesplit.control.event_messages import EVENT, Event
from edgesplit.control.registration_messages import CONTROLLER_CLAIM, CONTROLLER_STATUS, ControllerStatus
from edgesplit.daemon.certificate_renewal import CertificateRenewal
from edgesplit.daemon.clock_watch import watch_clock
from edgesplit.daemon.inference_runtime.runtime_builds import runtime_conflict
from edgesplit.errors import InvalidConfiguration, MalformedMessage, NameTaken
from edgesplit.mqtt.bus import MessageBus
from edgesplit.mqtt.name_claim import Registered
from edgesplit.mqtt.packet_limit import Oversize
from edgesplit.mqtt.signed.refusals import Refusal
from edgesplit.names import base_name
from edgesplit.operations.inspection.dashboard_operation import DashboardDocument
from edgesplit.operations.operation import OPERATION_REQUEST, REPLY, Reply
from edgesplit.release import PROTOCOL, installed_version
from edgesplit.topic_table import written_by
from edgesplit.trust.subjects import Subject
from edgesplit.wire.address import TcpAddress, is_loopback
from edgesplit_controller.answering.inbox import Inbox
from edgesplit_controller.archive.turn import Turn
from edgesplit_controller.artifacts.artifact_address import ArtifactAddress
from edgesplit_controller.artifacts.artifact_server import ArtifactServer
from edgesplit_controller.artifacts.trust_routes import TrustRoutes
from edgesplit_controller.artifacts.upload_receiver import UploadReceiver
from edgesplit_controller.assembly import (
    make_deciders,
    make_knowledge,
    make_node_messages,
    make_operations,
    make_upkeep,
)
from edgesplit_controller.configuration import ControllerConfiguration, tcp_address
from edgesplit_controller.dashboard_assembly import make_dashboard
from edgesplit_controller.fleet.plausibility import event_doubt
from edgesplit_controller.models.intake_runs import IntakeRun, run_in_process
from edgesplit_controller.monitoring.home_assistant import HomeAssistant
from edgesplit_controller.monitoring.metrics_page import ControllerStanding, render_metrics
from edgesplit_controller.rate_limited_events import EventFlood, RateLimitedEvents
from edgesplit_controller.storage.backup_snapshots import BackupSnapshots
from edgesplit_controller.storage.store import Store
from edgesplit_controller.storage.store_keeper import StoreKeeper
from edgesplit_controller.trust_assembly import make_renewal, make_security, make_trust

__all__ = ["Service", "another_controller"]

SETTLE_S = 0.7
"""After connecting, what the broker retained needs a moment to arrive."""
PATIENCE_S = 10.0
"""After a restart, agents that must reconnect to a restarted broker need some more."""


class Service:
    """A running controller.

    Args:
        configuration: Effective values.
        store: The folder, already held.
        run: Carries out completions of models.
        instance: Under which it holds the controller's name; drawn where nobody holds that yet.

    Attributes:
        known: What it knows of nodes, models and plans.
        decide: What decides over plans.
        trust: The fleet's authority; None where it has none.
        dashboard: For browsers; None where the configuration wants none.
        turn: Whether it may decide.
    """

    def __init__(
        self,
        configuration: ControllerConfiguration,
        store: Store,
        run: IntakeRun = run_in_process,
        *,
        instance: str = "",
    ) -> None:
        self._configuration = configuration
        self._log = structlog.get_logger(part="controller")
        self._instance = instance or secrets.token_hex(8)
        self._store = store
        offline = self._status(online=False, artifacts="")
        self._security = make_security(configuration, store)
        if self._security is not None:
            self._security.on_refused = self._on_untrusted
        self._bus = MessageBus(
            configuration.broker.address,
            # Not the instance, which everybody reads: whoever connects under an identifier ends the session that has it.
            client_id=f"edgesplit-controller-{secrets.token_hex(8)}",
            will=(CONTROLLER_STATUS.of(), offline),
            sealing=self._security,
            registered=Registered(CONTROLLER_STATUS.of(), CONTROLLER_CLAIM.of(), self._instance, another_controller),
            on_malformed=self._on_malformed,
            on_connection=self._on_connection,
            on_accepted=self._on_accepted,
            on_refused=self._on_refused,
            on_rival=self._on_rival,
            on_standby=self._on_standby,
            on_oversize=self._on_oversize,
            may_speak=self._may_speak,
        )
        settings = configuration.planning
        self.known = known = make_knowledge(configuration, store, self._bus, run)
        self.decide = decide = make_deciders(known, store, settings, by_itself=configuration.models.plan_shapes)
        self.turn = Turn(
            store,
            takes_over=configuration.controller.take_over,
            events=known.events,
            changed=self._publish_status,
            knows_nothing=self._knows_nothing,
            kept=self._kept_archives,
        )
        known.archive.on_change = self.turn.remembered
        self.trust = make_trust(
            configuration, store, self._bus, self._security, events=known.events, broker_url=self._broker_for_others
        )
        snapshots = BackupSnapshots(store.path, store.health)
        operations = make_operations(
            known,
            decide,
            self._bus,
            settings,
            store=store,
            trust=self.trust,
            url=lambda: self._address.base,
            warnings=self._warnings,
            standbys=lambda: self.turn.standbys,
            upkeep=make_upkeep(known, decide, self._bus, store, snapshots),
            dashboard=self._open_dashboard,
        )
        self._seldom = RateLimitedEvents(known.events, time.monotonic)
        self._store_health = store.health
        self._keeper = StoreKeeper(
            store, known.rollouts, known.catalog.tidy, known.events, decide.deployer.store_healed
        )
        self._inbox = Inbox(operations.perform, self._publish_reply, installed_version())
        uploads = UploadReceiver(store.uploads, configuration.artifacts.max_upload_bytes, store.health)
        self._artifacts = ArtifactServer(
            store.blobs,
            uploads,
            metrics=self._metrics,
            health=self._health,
            trust=TrustRoutes(self.trust, self._seldom.add) if self.trust is not None else None,
            backups=snapshots,
            limited=lambda: self.dashboard.refused if self.dashboard is not None else {},
        )
        self.dashboard = make_dashboard(
            configuration.dashboard,
            known,
            decide,
            operations.perform,
            store=store,
            uploads=uploads,
            trust=self.trust,
            instance=self._instance,
            broker=lambda: self._bus.broker_host,
        )
        self._renewal: CertificateRenewal | None = None
        if self.trust is not None and self._security is not None:
            self.trust.on_change.append(self._artifacts.end_revoked)
            if self.dashboard is not None:
                self.trust.on_change.append(self.dashboard.end_revoked)
            self._renewal = make_renewal(configuration, self.trust, self._bus, self._security, known.events)
        self._address = ArtifactAddress(
            configuration.artifacts,
            broker=self._bus.address,
            connected_to=lambda: self._bus.broker_host,
            nodes=self._node_addresses,
            moved=self._publish_status,
            warn=self._warn,
            secured=self.trust is not None,
        )
        self._messages = make_node_messages(
            known, decide, self._bus, self._seldom, self._knows_model, most_nodes=settings.known_nodes
        )
        self._home = self._make_home()
        self._flood = EventFlood(time.monotonic)
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
        if self.dashboard is not None and self.dashboard.base:
            does += f", dashboard at {self.dashboard.base}"
        if not self._bus.connected:
            does = f"serving without a broker: {self.fault or 'the connection was lost'}"
        return "; ".join((does, *self._address.problems, *self._dashboard_problems))

    async def start(self) -> str:
        """Serve artifacts, connect, publish what is remembered; returns the artifact server's base URL.

        Returns once the broker accepted the connection and passes on what this controller says, however long that
        takes.

        Raises:
            NameTaken: Another controller serves at the broker, or decided last: `turn` is over then.
        """
        for damage in self._store.log.damages:
            self.known.events.add("store-damaged", damage.sentence)
        self._keeper.start()
        address = tcp_address("artifacts.listen", self._configuration.artifacts.listen)
        self._address.listening(await self._artifacts.start(address.host, address.port))
        if conflict := runtime_conflict():
            self._log.warning("runtime-conflict", text=conflict)
            self._warn(conflict)
        self._subscribe()
        self.known.catalog.begin(self.decide.completion)
        self.decide.deployer.start()
        self.decide.shapes.start()
        self.decide.sources.start()
        running = (self._settle(), self._address.keep(), watch_clock("the controller", self._own_clock_stepped))
        self._tasks = [asyncio.create_task(work) for work in running]
        if self._renewal is not None:
            self._tasks.append(asyncio.create_task(self._renewal.keep()))
        if self._home is not None:
            self._tasks.append(asyncio.create_task(self._tell_home(self._home)))
        self._bus.start()
        await self._named
        # Only now may somebody rely on being heard.
        self._publish_status()
        await self._start_dashboard()
        self._tasks += [asyncio.create_task(work) for work in (self.known.archive.keep(), self.turn.watch())]
        return self._address.base

    async def close(self) -> None:
        """Say goodbye; agents go on serving."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        if self.dashboard is not None:
            await self.dashboard.close()
        await self._inbox.close()
        await self.known.catalog.close()
        await self._keeper.close()
        await self.decide.sources.close()
        await self.decide.shapes.close()
        await self.decide.guard.close()
        await self.decide.deployer.close()
        if self.trust is not None:
            await self.trust.close()
        if self._home is not None:
            self._home.close()
        self._bus.publish(CONTROLLER_STATUS, self._status(online=False, artifacts=""))
        await self._bus.close()
        await self._artifacts.close()

    # --- what arrives --------------------------------------------------------------------------------------------------

    def _subscribe(self) -> None:
        bus = self._bus
        self._messages.subscribe()
        bus.subscribe(EVENT, self._on_event)
        bus.subscribe_signed(OPERATION_REQUEST, self._inbox.receive)
        own = [row for row in written_by("controller") if row.defended]
        bus.own((row for row in own if not row.placeholders), on_foreign=self._on_foreign)
        # A store that knows nothing was lost, or is the wrong one: what nodes still serve is not its to end.
        bus.own(
            (row for row in own if row.placeholders),
            remove_unknown=True,
            leave_retained=self.known.rollouts.state_is_new or self._store.unmanaged,
        )
        bus.subscribe(ARCHIVE, self._on_archive)

    def _on_foreign(self, topic: str, payload: bytes) -> None:
        """Somebody else wrote a topic of the controller's; the bus has put it right."""
        what = f"wrote {len(payload)} bytes to" if payload else "wrote to, or cleared,"
        text = f"somebody else {what} {topic[:200]}; what the controller says there was put back"
        self._seldom.add(topic, "retained-restored", text)

    def _on_event(self, topic: str, event: Event | None) -> None:
        if event is None:
            return
        if doubt := event_doubt(topic, event):
            self._messages.ignored["implausible"] += 1
            self._seldom.add(
                f"{topic[:200]} {doubt[:20]}", "message-ignored", f"the event on {topic[:200]} was ignored: {doubt}"
            )
            return
        if self._flood.allows(event.origin, known=self.known.registry.knows(event.origin)):
            self.known.events.collect(event)
        else:
            text = f"{event.origin} tells more than {EventFlood.MOST_OF_ONE} events a minute: the rest is not kept"
            self._seldom.add(f"{event.origin} floods", "events-dropped", text)

    def _on_malformed(self, topic: str, error: MalformedMessage) -> None:
        self._messages.ignored["malformed"] += 1
        self._seldom.add(f"{topic} malformed", "malformed-message", str(error))

    def _on_untrusted(self, refusal: Refusal) -> None:
        if refusal.is_news:
            self.known.events.add("message-refused", refusal.sentence)
        self._inbox.refuse(refusal.topic, refusal.payload, refusal.reason)

    def _on_rival(self) -> None:
        text = "another controller asked for this one's place at the broker and is refused: stop it, or give it a broker of its own"
        self.known.events.add("name-taken", text)

    def _on_archive(self, _topic: str, archive: Archive | None) -> None:
        self.turn.hear(archive, speaking=self._bus.connected)

    def _knows_nothing(self) -> bool:
        return not self.known.catalog.records and not self.known.rollouts.state.deployments

    def _kept_archives(self) -> list[Archive]:
        kept = [node.latest(KEPT_ARCHIVE) for node in self.known.registry.nodes.values() if node.online]
        return [one for one in kept if one is not None]

    def _may_speak(self) -> bool:
        if self.turn.may_speak():
            return True
        if not self._named.done():
            self._named.set_exception(NameTaken("another controller decided since this one's store was written"))
        return False

    def _on_standby(self, instance: str, machine: str) -> None:
        self.turn.hear_standby(instance, machine)

    def _on_accepted(self) -> None:
        self._address.read()

    def _on_connection(self, up: bool, reason: str) -> None:
        if up:
            self._connected.set()
            if not self._named.done():
                self._named.set_result(None)
            if self.trust is not None:
                self.trust.connected()
            self._log.info("broker-connected", broker=str(self._bus.address))
        elif not self._closing:
            self._log.warning("broker-lost", broker=str(self._bus.address), reason=reason)

    def _on_refused(self, sentence: str) -> None:
        self._log.error("name-taken", reason=sentence)
        if self._named.done():
            self.turn.end(sentence)
        else:
            self._named.set_exception(NameTaken(sentence))

    def _on_oversize(self, oversize: Oversize) -> None:
        self.known.events.add("message-too-large", oversize.sentence(str(self._bus.address)))

    # --- small things ----------------------------------------------------------------------------------------------------

    def _own_clock_stepped(self, kind: str, text: str, data: Mapping[str, float]) -> None:
        self.known.clocks.own_clock_stepped(data["step_s"])
        self.known.events.add(kind, text, data=data)

    def _publish_status(self) -> None:
        if self._connected.is_set() and not self._closing:
            status = self._status(online=True, artifacts=self._address.base)
            self._bus.publish(CONTROLLER_STATUS, status)

    def _broker_for_others(self) -> str:
        """The broker's URL on another machine."""
        address = self._bus.address
        host = self._address.host if is_loopback(address.host) else address.host
        return f"{'mqtts' if address.tls else 'mqtt'}://{TcpAddress(host, address.port)}"

    def _node_addresses(self) -> list[tuple[str, str]]:
        nodes = self.known.registry.nodes.items()
        return [(name, node.status.advertise) for name, node in nodes if node.status is not None and node.online]

    def _knows_model(self, name: str) -> bool:
        return base_name(name) in self.known.catalog.records or self.known.rollouts.highest_epoch(name) > 0

    def _warn(self, text: str) -> None:
        self.known.events.add("controller-warning", f"the controller: {text}")

    def _status(self, *, online: bool, artifacts: str) -> ControllerStatus:
        return ControllerStatus(
            online=online,
            protocol=PROTOCOL,
            version=installed_version(),
            instance=self._instance,
            artifacts=artifacts,
            standbys=self.turn.standbys if online else (),
            names_peers=True,
        )

    def _warnings(self) -> tuple[str, ...]:
        return tuple(filter(None, (runtime_conflict(), *self._address.problems, *self._dashboard_problems)))

    @property
    def _dashboard_problems(self) -> tuple[str, ...]:
        return (self.dashboard.problem,) if self.dashboard is not None and self.dashboard.problem else ()

    async def _start_dashboard(self) -> None:
        """Only whoever decides shows what is decided; without it everything else goes on."""
        if self.dashboard is None:
            return
        address = tcp_address("dashboard.listen", self._configuration.dashboard.listen)
        await self.dashboard.start(address.host, address.port)
        if self.dashboard.problem:
            self._log.warning("dashboard-unavailable", text=self.dashboard.problem)
            self._warn(self.dashboard.problem)
        else:
            self._log.info("dashboard-offered", address=self.dashboard.base)

    def _open_dashboard(self, operator: Subject | None) -> DashboardDocument:
        if self.dashboard is None:
            raise InvalidConfiguration(
                "this controller has no dashboard: set [dashboard] listen in its configuration, to 127.0.0.1:7481 for instance"
            )
        return self.dashboard.open(operator)

    def _health(self) -> tuple[bool, str]:
        problems = [
            *([] if self._bus.connected else ["the broker is away"]),
            *filter(None, [self._store_health.sentence]),
        ]
        return (False, "; ".join(problems)) if problems else (True, "ok")

    def _metrics(self) -> bytes:
        standing = ControllerStanding(
            version=installed_version(),
            connected=self._bus.connected,
            store=self._configuration.store_path,
            writable=not self._store_health.cause,
            certificate_expires_s=self._renewal.expires_s if self._renewal is not None else None,
            untrusted=self._security.refused if self._security is not None else {},
            ignored=self._messages.ignored,
        )
        return render_metrics(
            standing,
            self.known.registry,
            self.known.catalog.records,
            self.decide.deployer.deployments,
            planned=self.decide.deployer.planned,
            solved=self.decide.solved,
            without_plan=self.decide.sources.without_plan(),
        )

    def _make_home(self) -> HomeAssistant | None:
        section = self._configuration.home_assistant
        if not section.discovery:
            return None
        return HomeAssistant(
            section.prefix,
            registry=self.known.registry,
            deployments=lambda: self.decide.deployer.deployments,
            traffic=self.known.traffic,
            keep=self._bus.keep,
            kept=self._bus.retained,
            clock=time.monotonic,
            version=installed_version(),
        )

    async def _tell_home(self, home: HomeAssistant) -> None:
        await self._connected.wait()
        await home.tell()

    def _publish_reply(self, client: str, reply: Reply) -> bool:
        return self._bus.publish(REPLY, reply, client)

    async def _settle(self) -> None:
        await self._connected.wait()
        await asyncio.sleep(SETTLE_S)
        self.decide.deployer.settle(patient=True)
        self.decide.guard.settle()
        await asyncio.sleep(PATIENCE_S)
        self.decide.deployer.settle(patient=False)


def another_controller(where: str) -> str:
    """The sentence that refuses a second controller, given where the first is."""
    return (
        f"another controller serves at this broker{where}: stop it first, or give this one a broker of its own; "
        "nodes obey one controller"
    )
