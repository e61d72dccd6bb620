"""The agent daemon as a whole: starts and stops its parts, and hands on what the control plane tells.

Owns: one agent's life. Its rule: parts know each other through what is passed here. Not here: what parts are made of
(`assembly.py`), what any part does, and the command line (`main.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

import structlog

from edgesplit.control.inquiry_messages import Inquiry
from edgesplit.control.plan_messages import Deployment, Desired
from edgesplit.control.profile_messages import ModelOffer, ProfileRequest
from edgesplit.control.trust_messages import ClientTokens, Revocations
from edgesplit.daemon.advertised_address import Network
from edgesplit.daemon.clock_watch import watch_clock
from edgesplit.daemon.inference_runtime.runtime_builds import runtime_conflict
from edgesplit.daemon.service_notification import Notifier, ping_watchdog
from edgesplit.errors import NameTaken
from edgesplit.trust.access import Access
from edgesplit.trust.subjects import normal_serial
from edgesplit.trust.tokens import TokenGrant
from edgesplit_agent.archive_keeper import ArchiveKeeper
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.artifacts.sources import Source, peer_sources
from edgesplit_agent.assembly import (
    battery_of,
    emulation_of,
    figures_of,
    identity_of,
    log_emulation,
    log_security,
    make_access,
    make_engine,
    make_inquiry_answers,
    make_plane,
    make_power_meter,
    make_renewal,
    make_reporter,
    make_security,
    make_steadiness_watch,
    options_of,
    registration_of,
)
from edgesplit_agent.autonomy.kept_file import pinned_blobs
from edgesplit_agent.autonomy.link_memory import LinkMemory
from edgesplit_agent.autonomy.node_memory import NodeMemory
from edgesplit_agent.compute.operator_sets import find_operator_sets
from edgesplit_agent.compute.session_pool import SessionPool
from edgesplit_agent.compute.worker import Worker
from edgesplit_agent.configuration import AgentConfiguration
from edgesplit_agent.control import ControlPlane
from edgesplit_agent.http.endpoint import HttpEndpoint
from edgesplit_agent.node_gauges import show_gauges
from edgesplit_agent.profiling.profiler import Profiler
from edgesplit_agent.profiling.retiming import Retimer
from edgesplit_agent.profiling.timing.timed_runs import TimedRuns
from edgesplit_agent.readiness import Readiness
from edgesplit_agent.reporting.collectors.busy_clock import BusyClock
from edgesplit_agent.reporting.node_address import Advertiser
from edgesplit_agent.serving.engine_models import EngineModels
from edgesplit_agent.serving.machine.events import (
    CauseReturned,
    DeploymentChanged,
    DesiredChanged,
    MachineEvent,
    ModelOffered,
    PeerUp,
)

__all__ = ["Agent"]

DRAIN_S = 5.0
"""After SIGTERM, the time requests in flight get to end. [s]"""
PEER_CHECK_S = 1.0
RESTORE_LOOK_S = 0.02


class Agent:
    """One running agent; made on the event loop it lives on.

    Args:
        configuration: Effective values.
        notifier: Of the service manager.
        network: Where this machine's addresses are looked up.
        access: Whom a node of a secured fleet lets in, and how it proves who it is; None: as the configuration says.

    Raises:
        InvalidConfiguration: There is no power sensor of that name, or a file of the identity is missing or another's.
        ArtifactError: The cache folder cannot be made.
    """

    def __init__(
        self,
        configuration: AgentConfiguration,
        notifier: Notifier | None = None,
        network: Network | None = None,
        *,
        access: Access | None = None,
    ) -> None:
        self.configuration = configuration
        self._log = structlog.get_logger(part="agent")
        if access is None:
            access = make_access(configuration)
        self._access = access
        self._identity = identity = identity_of(configuration)
        self._busy = BusyClock()
        power = make_power_meter(configuration, identity, self._busy)
        self._figures = figures = figures_of(identity, power)
        self._worker = Worker(self._busy.time)
        options = options_of(configuration)
        self._cache = BlobCache(
            configuration.cache.folder,
            configuration.cache.limit_bytes,
            lambda: self.control.artifacts,
            self._artifact_peers,
            figures.metrics.fetched,
            contexts=None if access is None else access.contexts,
            pinned=partial(pinned_blobs, configuration.cache.folder),
        )
        self._sessions = SessionPool(self._cache, options, figures.background)
        self.engine = make_engine(configuration, identity, figures, self._worker, self._sessions)
        self._link_memory = LinkMemory(configuration.cache.folder, identity.node)
        self.plane = make_plane(
            configuration, identity, figures, self.engine, self._happened, links=self._link_memory, access=access
        )
        figures.metrics.show_limited(self.engine.machine.refused, self.plane.refused)
        show_gauges(figures.metrics, self.engine.machine, self._worker, configuration.cache.folder)
        security = make_security(configuration)
        if security is not None:
            figures.metrics.show_untrusted(security.refused)
        status = registration_of(configuration, identity)
        self._memory = NodeMemory(configuration.cache.folder, identity.node, lambda: self._sessions.blobs)
        self.control = ControlPlane(configuration.broker.address, status, self, security, self._memory)
        self.renewal = make_renewal(
            configuration,
            figures.metrics,
            lambda: self.control.artifacts,
            self.control.emit,
        )
        if self.renewal is not None and security is not None:
            self.renewal.taken.append(security.take)
            self.renewal.taken.append(lambda _: self.control.bus.renew())
        if security is not None and security.damage:
            self.control.emit("counters-set-aside", security.damage)
        if self.renewal is not None and access is not None:
            self.renewal.taken.append(lambda _: access.contexts.renew())
        figures.metrics.show_limited(self.control.refused)
        self._notifier = notifier or Notifier()
        self._readiness = Readiness(self._notifier, str(self.control.bus.address))
        self._advertiser = Advertiser(
            configuration.data,
            configuration.http,
            broker=self.control.bus.address,
            connected_to=lambda: self.control.bus.broker_host,
            registration=self.control,
            warnings=tuple(filter(None, (runtime_conflict(),))),
            network=network,
        )
        self._watch = make_steadiness_watch(figures, self._worker, self._sessions, self._busy)
        self.reporter = make_reporter(
            configuration,
            identity,
            figures,
            power,
            bus=self.control.bus,
            plane=self.plane,
            watch=self._watch,
            memory=self._link_memory,
        )
        self._profiler = Profiler(
            node=identity.node,
            instance=identity.instance,
            runtime=identity.runtime,
            cache=self._cache,
            worker=self._worker,
            options=options,
            publish=self.control.publish_profile,
            background_work=figures.background,
        )
        self._retimer = Retimer(
            self._profiler,
            figures.timings,
            cache=self._cache,
            runs=TimedRuns(self._worker, lambda: self._sessions.options),
            options=lambda: self._sessions.options,
            background_work=figures.background,
            glimpse=self._watch.glimpse,
            spent=partial(figures.metrics.measured_itself, "retiming"),
        )
        self._archive = ArchiveKeeper(identity.node, self._cache, self.control.bus)
        self._inquiries = make_inquiry_answers(
            configuration,
            identity,
            cache=self._cache,
            artifacts=lambda: self.control.artifacts,
            engine=self.engine,
            plane=self.plane,
            renewal=self.renewal,
            say=self.control.publish_findings,
        )
        self._http: HttpEndpoint | None = None
        self._told_alone = False
        self._has_models = asyncio.Event()
        self._addresses: Mapping[str, str] = {}
        self._connected: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def ready(self) -> bool:
        """Whether the data plane listens and the node has registered once, or serves what an earlier run was told."""
        return self._readiness.ready

    async def start(self) -> None:
        """Listen, register, begin to serve.

        Raises:
            InvalidConfiguration: An address cannot be bound.
        """
        configuration = self.configuration
        bound = await self.plane.start()
        self.engine.peers = self.plane
        self.engine.publisher = self.control
        http = await self._start_http()
        self._log.info(
            "listening",
            data=bound,
            socket=configuration.data.socket or None,
            http=http or None,
            version=self._identity.version,
        )
        self._advertiser.listening(bound, http)
        log_emulation(configuration.emulation)
        log_security(configuration)
        self._archive.start()
        self._readiness.restoring()
        self.control.start()
        self._readiness.connecting()
        for work in (
            self.engine.tick_for_ever(),
            self.reporter.report_metrics(),
            self.reporter.report_links(),
            self.reporter.report_usage(),
            self.reporter.report_timings(self.control.publish_timings),
            self._retimer.run_for_ever(),
            self._watch_steadiness(),
            self._advertiser.keep(),
            self._keep_peers(),
            self._restore(),
            self._tell_operator_sets(),
            self._readiness.start_without_broker(),
            ping_watchdog(self._notifier),
            self.control.clear_stale(),
            self.control.forget_unconfirmed(),
            watch_clock(f"node {configuration.name}", self._clock_stepped),
        ):
            self._spawn(work)
        if self.renewal is not None:
            self._spawn(self.renewal.keep())

    async def wait_failed(self) -> None:
        """Return never, or raise what ended a task that must not end."""
        await self._failed

    async def stop(self) -> None:
        """Say goodbye, let requests in flight end, close."""
        self._readiness.ended()
        self._log.info("stopping")
        await self.control.close()
        await self._memory.close()
        if not await self.engine.drained(DRAIN_S):
            self._log.warning("requests-dropped", after_s=DRAIN_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._link_memory.close()
        await self._inquiries.close()
        await self._archive.close()
        await self._profiler.close()
        await self.engine.close()
        await self.plane.close()
        await self._worker.close()
        await self._sessions.close()
        await self._cache.close()
        await asyncio.to_thread(self.reporter.power.close)
        if self._http is not None:
            await self._http.close()

    def reload(self, configuration: AgentConfiguration) -> None:
        """Apply what can change at run time, `[emulation]`, `[power]` and `[node]`; log the rest.

        Raises:
            InvalidConfiguration: There is no power sensor of that name, or a file of the identity is missing or another's.
        """
        old, self.configuration = self.configuration, configuration
        if configuration.power != old.power:
            before, self.reporter.power = (
                self.reporter.power,
                make_power_meter(configuration, self._identity, self._busy),
            )
            self.reporter.battery = battery_of(configuration.power)
            before.close()
        if configuration.emulation != old.emulation:
            self.plane.set_emulation(emulation_of(configuration.emulation))
            self._sessions.set_slow_down(configuration.emulation.slow_down)
            if configuration.emulation.slow_down != old.emulation.slow_down:
                self._figures.timings.reset()
            self._profiler.set_slow_down(configuration.emulation.slow_down)
            self.control.update_status(emulated=configuration.emulation.active)
            log_emulation(configuration.emulation)
        self.control.update_status(labels=dict(configuration.node.labels))
        later = [
            section
            for section in ("name", "broker", "data", "runtime", "http", "cache", "security")
            if getattr(configuration, section) != getattr(old, section)
        ]
        if later:
            self._log.warning("restart-needed", sections=later)
        self._log.info("reloaded")

    # --- the control plane's handler -------------------------------------------------------------------------------

    def on_desired(self, model: str, desired: Desired | None) -> None:
        """What this node should hold of a model."""
        if desired is not None:
            self._has_models.set()
        self.engine.feed(DesiredChanged(model, desired))

    def on_deployment(self, model: str, deployment: Deployment | None) -> None:
        """Who the source of a model is."""
        self.engine.feed(DeploymentChanged(model, deployment))

    def on_offer(self, model: str, offer: ModelOffer | None) -> None:
        """A model to profile."""
        if offer is not None:
            self._has_models.set()
        self.engine.feed(ModelOffered(model, offered=offer is not None))
        self._profiler.offer(model, offer)
        if offer is None:
            self._figures.timings.drop(model)

    def on_profile_request(self, request: ProfileRequest) -> None:
        """A model to profile once more."""
        self._profiler.ask(request)

    def on_inquiry(self, inquiry: Inquiry) -> None:
        """The controller wants to know something."""
        self._inquiries.ask(inquiry)

    def on_controller(self) -> None:
        """The controller is there: what failed for its absence is tried again."""
        self._cause_returned()

    def on_revocations(self, revocations: Revocations | None) -> None:
        """Which certificates are trusted no more; a list that vanished says nothing."""
        if self._access is None or revocations is None:
            return
        self._access.revoked = frozenset(normal_serial(entry.serial) for entry in revocations.certificates)
        self.plane.drop_revoked()
        if self._http is not None:
            self._http.drop_revoked()

    def on_client_tokens(self, tokens: ClientTokens | None) -> None:
        """What clients' tokens allow; a list that vanished says nothing."""
        if self._access is not None and tokens is not None:
            self._access.tokens.replace(
                TokenGrant(token.name, token.digest, token.expires_s, token.models, token.rate_hz)
                for token in tokens.tokens
            )

    def on_nodes(self, addresses: Mapping[str, str]) -> None:
        """Who can be a peer."""
        self._addresses = addresses
        self._connect_peers()

    def on_accepted(self) -> None:
        """The broker accepted the connection: what the registration says must hold now."""
        self._advertiser.read()

    def on_broker(self, connected: bool, reason: str) -> None:
        """The broker's connection came up or went away; serving goes on either way."""
        if self._readiness.stopping:
            return
        if connected:
            self._readiness.connected(self.control.status)
        else:
            self._readiness.lost(reason)
            self._tell_alone()

    def on_name_taken(self, sentence: str) -> None:
        """Another agent of this name serves; one that served before, by what it was told, serves on without the control plane."""
        self._readiness.name_taken(sentence)
        if not self._readiness.ready and not self._failed.done():
            self._failed.set_exception(NameTaken(sentence))

    # --- steps -----------------------------------------------------------------------------------------------------

    async def _restore(self) -> None:
        """Have it said once what an earlier run was told is prepared, as far as it can be now."""
        models = self.engine.machine.models  # a pure machine, that wakes nobody
        while any(held.state == "preparing" for model in models.values() for held in model.held.values()):  # noqa: ASYNC110
            await asyncio.sleep(RESTORE_LOOK_S)
        serving = sorted(name for name, model in models.items() if any(held.usable for held in model.held.values()))
        self._readiness.restored(serving)
        self._tell_alone()

    def _tell_alone(self) -> None:
        """Tell once that the node serves though it found no broker."""
        models, reason = self._readiness.alone, self.control.bus.fault
        if models and reason and not self._told_alone:
            self._told_alone = True
            text = f"{self.configuration.name} started without a broker and serves what it was told before ({', '.join(models)}): {reason}"
            self.control.emit("started-alone", text)

    async def _watch_steadiness(self) -> None:
        """From the first model on: before, nobody's time is predicted here, and the workload takes memory."""
        await self._has_models.wait()
        await self._watch.run_for_ever()

    async def _tell_operator_sets(self) -> None:
        if not self.control.status.opsets:
            found = await asyncio.to_thread(find_operator_sets, self.configuration.cache.folder, self._identity.runtime)
            self.control.update_status(opsets=dict(found))

    async def _start_http(self) -> str:
        section = self.configuration.http
        if not section.listen:
            return ""
        models, folder = EngineModels(self.engine), self._cache.folder
        self._http = HttpEndpoint(
            section,
            self._figures.metrics,
            models,
            blobs=folder,
            ready=lambda: self.ready,
            version=self._identity.version,
            access=self._access,
        )
        self._figures.metrics.show_limited(self._http.refused)
        return await self._http.start()

    def _happened(self, event: MachineEvent) -> None:
        """What the data plane emits; a peer that is back may have what was missing."""
        self.engine.feed(event)
        if isinstance(event, PeerUp):
            self._profiler.cause_returned()

    def _clock_stepped(self, kind: str, text: str, data: Mapping[str, float]) -> None:
        self.control.emit(kind, text, data=data)
        self.control.bus.hear_again()

    def _cause_returned(self) -> None:
        """Try again at once what failed because something was away."""
        self.engine.feed(CauseReturned())
        self._profiler.cause_returned()
        self._archive.cause_returned()

    def _artifact_peers(self) -> tuple[Source, ...]:
        nodes, secured = self.control.online_nodes(), self._access is not None
        return peer_sources(nodes, self.plane.links(), self.control.status.advertise, secured=secured)

    def _connect_peers(self) -> None:
        """Connect to online nodes; keep the link to one that only its broker connection left, and connect back to one that is connected to here.

        A node that started again while the broker is away registers nowhere, and what is computed for it has to find the way back. Where no plan
        names it nothing has to: two that the controller named to each other no more would else keep each other.
        """
        callers = self.control.last_addresses(self.plane.callers)
        kept = {
            peer: address
            for peer, address in self._connected.items()
            if peer not in self._addresses and peer in self.control.peers and self.plane.is_up(peer)
        }
        wanted = {**callers, **kept, **self._addresses}
        if wanted != self._connected:
            self._connected = wanted
            self.plane.set_peers(wanted)

    async def _keep_peers(self) -> None:
        while True:
            await asyncio.sleep(PEER_CHECK_S)
            self.control.peers.look()
            self._connect_peers()
            if self._cache.room_was_made():
                self._cause_returned()
            if self._sessions.providers:
                self.control.update_status(providers=self._sessions.providers)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._failed.done():
            self._failed.set_exception(error)
