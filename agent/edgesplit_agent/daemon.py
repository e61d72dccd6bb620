"""The agent as a whole: builds the parts, connects them, starts and stops them.

Owns: one agent's life. Its rule: parts know each other through what is passed here. Not here: what any part does, and
the command line (`main.py`).
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import secrets
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import structlog

from edgesplit.control.messages import PROTOCOL
from edgesplit.control.plan_messages import Deployment, Desired
from edgesplit.control.profile_messages import ModelOffer, ProfileRequest
from edgesplit.control.registration_messages import NodeStatus
from edgesplit.daemon.advertised_address import Network
from edgesplit.daemon.clock_watch import watch_clock
from edgesplit.daemon.runtime_builds import installed_runtime, runtime_conflict
from edgesplit.daemon.service_notification import Notifier
from edgesplit.errors import NameTaken
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.artifacts.sources import Source, peer_sources
from edgesplit_agent.compute.background_work import BackgroundWork
from edgesplit_agent.compute.coding import Coder
from edgesplit_agent.compute.providers import CPU
from edgesplit_agent.compute.session_pool import RuntimeOptions, SessionPool
from edgesplit_agent.compute.worker import Worker
from edgesplit_agent.configuration import AgentConfiguration
from edgesplit_agent.control import ControlPlane
from edgesplit_agent.dataplane.plane import DataPlane
from edgesplit_agent.dataplane.settings import emulation_of, limits_of, log_emulation
from edgesplit_agent.http_server import HttpEndpoint
from edgesplit_agent.profiling.live_timings import TimingBook
from edgesplit_agent.profiling.profiler import Profiler
from edgesplit_agent.profiling.retiming import Retimer
from edgesplit_agent.readiness import Standing
from edgesplit_agent.reporting.collectors.battery_level import BatteryCollector
from edgesplit_agent.reporting.collectors.busy_clock import BusyClock
from edgesplit_agent.reporting.collectors.memory import MemoryCollector
from edgesplit_agent.reporting.collectors.power.meter import PowerMeter
from edgesplit_agent.reporting.collectors.power.selection import select_power
from edgesplit_agent.reporting.metrics import Telemetry
from edgesplit_agent.reporting.node_address import Advertiser
from edgesplit_agent.reporting.reporter import Reporter
from edgesplit_agent.reporting.serving_counters import ServingCounters
from edgesplit_agent.reporting.usage import UsageBook
from edgesplit_agent.serving.engine import Engine
from edgesplit_agent.serving.machine.agent_machine import AgentMachine
from edgesplit_agent.serving.machine.events import (
    CauseReturned,
    DeploymentChanged,
    DesiredChanged,
    Event,
    ModelOffered,
    PeerUp,
)
from edgesplit_agent.serving.served_models import EngineModels
from edgesplit_agent.serving.shadow_runs import Shadower

__all__ = ["Agent"]

DRAIN_S = 5.0
"""After SIGTERM, the time requests in flight get to end. [s]"""
PEER_CHECK_S = 1.0
EARLY_BYTES = 256 * 1024**2
QUEUE_SHARE = 8
"""Each queue to a peer, and the store of tensors that came too early, gets this fraction of the memory limit at most."""


class Agent:
    """One running agent; made on the event loop it lives on.

    Args:
        configuration: Effective values.
        notifier: Of the service manager.
        network: Where this machine's addresses are looked up.

    Raises:
        InvalidConfiguration: There is no power sensor of that name.
        ArtifactError: The cache folder cannot be made.
    """

    def __init__(
        self, configuration: AgentConfiguration, notifier: Notifier | None = None, network: Network | None = None
    ) -> None:
        self.configuration = configuration
        self._log = structlog.get_logger(part="agent")
        self._version = importlib.metadata.version("edgesplit")
        self._instance = secrets.token_hex(6)
        self._runtime = installed_runtime()
        self._busy = BusyClock()
        power = self._power(configuration)
        name, runtime = configuration.name, configuration.runtime
        memory_bytes = _memory_bytes(configuration)
        limits = limits_of(configuration.data, memory_bytes // QUEUE_SHARE)
        self._usage = UsageBook(name, power.sample())
        self._telemetry = Telemetry(name, self._version)
        self._worker = Worker(self._busy.time)
        self._background_work = BackgroundWork()
        self._timings = TimingBook(name, self._instance, self._background_work)
        emulation = configuration.emulation
        self._options = RuntimeOptions(
            runtime.threads, runtime.execution_provider, emulation.slow_down, alone=emulation.active
        )
        self._cache = BlobCache(
            configuration.cache.folder,
            configuration.cache.limit_bytes,
            lambda: self.control.artifacts,
            self._artifact_peers,
            self._telemetry.fetched,
        )
        self._sessions = SessionPool(self._cache, self._options, self._background_work)
        counters = ServingCounters(self._usage, self._telemetry)
        coder = Coder(self._worker, lambda: self._sessions.options)
        self.engine = Engine(
            AgentMachine(
                name,
                max_in_flight=runtime.max_in_flight,
                early_limit_bytes=min(EARLY_BYTES, memory_bytes // QUEUE_SHARE),
                memory_limit_bytes=memory_bytes,
                stable_after_s=configuration.data.stable_after_s,
            ),
            instance=f"{name}-{self._instance}",
            preparer=self._sessions,
            worker=self._worker,
            counters=counters,
            timings=self._timings,
            coder=coder,
            shadower=Shadower(self._worker, runtime.metrics),
        )
        self.plane = DataPlane(
            name,
            self._instance,
            self._version,
            listen=configuration.data.listen,
            socket=configuration.data.socket_address,
            emulation=emulation_of(configuration.emulation),
            limits=limits,
            emit=self._happened,
            host=self.engine,
            counters=counters,
        )
        self.control = ControlPlane(configuration.broker.address, self._status(), self)
        self._standing = Standing(notifier or Notifier(), str(self.control.bus.address))
        self._advertiser = Advertiser(
            configuration.data,
            configuration.http,
            broker=self.control.bus.address,
            connected_to=lambda: self.control.bus.broker_host,
            registration=self.control,
            warnings=tuple(filter(None, (runtime_conflict(),))),
            network=network,
        )
        self._telemetry.show_limited(self.engine.machine.refused, self.plane.refused)
        self.reporter = Reporter(
            node=name,
            instance=self._instance,
            bus=self.control.bus,
            power=power,
            battery=BatteryCollector(Path(configuration.power.sysfs), configuration.power.battery_wh),
            usage=self._usage,
            timings=self._timings,
            links=self.plane.links,
            unreached=self.plane.unreached,
        )
        self._profiler = Profiler(
            node=name,
            instance=self._instance,
            runtime=self._runtime,
            cache=self._cache,
            worker=self._worker,
            options=self._options,
            publish=self.control.publish_profile,
            background_work=self._background_work,
        )
        self._retimer = Retimer(
            self._profiler,
            self._timings,
            cache=self._cache,
            worker=self._worker,
            options=lambda: self._sessions.options,
            background_work=self._background_work,
        )
        self._http: HttpEndpoint | None = None
        self._addresses: Mapping[str, str] = {}
        self._connected: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def ready(self) -> bool:
        """Whether the data plane listens and the node has registered once."""
        return self._standing.registered

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
            "listening", data=bound, socket=configuration.data.socket or None, http=http or None, version=self._version
        )
        self._advertiser.listening(bound, http)
        log_emulation(configuration.emulation)
        self.control.start()
        self._standing.connecting()
        for work in (
            self.engine.tick_for_ever(),
            self.reporter.report_metrics(),
            self.reporter.report_links(),
            self.reporter.report_usage(),
            self.reporter.report_timings(self.control.publish_timings),
            self._retimer.run_for_ever(),
            self._advertiser.keep(),
            self._keep_peers(),
            self._standing.start_without_broker(),
            self._standing.ping_watchdog(),
            self.control.clear_stale(),
            watch_clock(f"node {configuration.name}", self._clock_stepped),
        ):
            self._spawn(work)

    async def wait_failed(self) -> None:
        """Return never, or raise what ended a task that must not end."""
        await self._failed

    async def stop(self) -> None:
        """Say goodbye, let requests in flight end, close."""
        self._standing.ended()
        self._log.info("stopping")
        await self.control.close()
        if not await self.engine.drained(DRAIN_S):
            self._log.warning("requests-dropped", after_s=DRAIN_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
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
        """Apply what can change at run time, `[emulation]` and `[power]`; log the rest.

        Raises:
            InvalidConfiguration: There is no power sensor of that name.
        """
        old, self.configuration = self.configuration, configuration
        if configuration.power != old.power:
            before, self.reporter.power = self.reporter.power, self._power(configuration)
            power = configuration.power
            self.reporter.battery = BatteryCollector(Path(power.sysfs), power.battery_wh)
            before.close()
        if configuration.emulation != old.emulation:
            self.plane.set_emulation(emulation_of(configuration.emulation))
            self._sessions.set_slow_down(configuration.emulation.slow_down)
            if configuration.emulation.slow_down != old.emulation.slow_down:
                self._timings.reset()
            self._profiler.set_slow_down(configuration.emulation.slow_down)
            self.control.update_status(emulated=configuration.emulation.active)
            log_emulation(configuration.emulation)
        later = [
            section
            for section in ("name", "broker", "data", "runtime", "http", "cache")
            if getattr(configuration, section) != getattr(old, section)
        ]
        if later:
            self._log.warning("restart-needed", sections=later)
        self._log.info("reloaded")

    # --- the control plane's handler -------------------------------------------------------------------------------

    def on_desired(self, model: str, desired: Desired | None) -> None:
        """What this node should hold of a model."""
        self.engine.feed(DesiredChanged(model, desired))

    def on_deployment(self, model: str, deployment: Deployment | None) -> None:
        """Who the source of a model is."""
        self.engine.feed(DeploymentChanged(model, deployment))

    def on_offer(self, model: str, offer: ModelOffer | None) -> None:
        """A model to profile."""
        self.engine.feed(ModelOffered(model, offered=offer is not None))
        self._profiler.offer(model, offer)
        if offer is None:
            self._timings.drop(model)

    def on_profile_request(self, request: ProfileRequest) -> None:
        """A model to profile once more."""
        self._profiler.ask(request)

    def on_controller(self) -> None:
        """The controller is there: what failed for its absence is tried again."""
        self._cause_returned()

    def on_nodes(self, addresses: Mapping[str, str]) -> None:
        """Who can be a peer."""
        self._addresses = addresses
        self._connect_peers()

    def on_accepted(self) -> None:
        """The broker accepted the connection: what the registration says must hold now."""
        self._advertiser.read()

    def on_broker(self, connected: bool, reason: str) -> None:
        """The broker's connection came up or went away; serving goes on either way."""
        if self._standing.stopping:
            return
        if connected:
            self._standing.connected(self.control.status)
        else:
            self._standing.lost(reason)

    def on_name_taken(self, sentence: str) -> None:
        """Another agent of this name serves; one that had the name before serves on without the control plane."""
        self._standing.name_taken(sentence)
        if not self._standing.registered and not self._failed.done():
            self._failed.set_exception(NameTaken(sentence))

    # --- steps -----------------------------------------------------------------------------------------------------

    def _power(self, configuration: AgentConfiguration) -> PowerMeter:
        runtime = configuration.runtime
        return select_power(
            configuration.power,
            broker=configuration.broker.address,
            threads=runtime.threads,
            # Only onnxruntime-gpu can use one, and only if nobody asked for the processor.
            graphics="gpu" in self._runtime and runtime.execution_provider != CPU,
            busy=self._busy,
        )

    def _status(self) -> NodeStatus:
        configuration = self.configuration
        return NodeStatus(
            node=configuration.name,
            online=True,
            protocol=PROTOCOL,
            version=self._version,
            instance=self._instance,
            advertise="",
            runtime=self._runtime,
            threads=configuration.runtime.threads,
            memory_limit_bytes=_memory_bytes(configuration),
            emulated=configuration.emulation.active,
        )

    async def _start_http(self) -> str:
        section = self.configuration.http
        if not section.listen:
            return ""
        models, folder = EngineModels(self.engine), self._cache.folder
        self._http = HttpEndpoint(
            section, self._telemetry, models, blobs=folder, ready=lambda: self.ready, version=self._version
        )
        self._telemetry.show_limited(self._http.refused)
        return await self._http.start()

    def _happened(self, event: Event) -> None:
        """What the data plane emits; a peer that is back may have what was missing."""
        self.engine.feed(event)
        if isinstance(event, PeerUp):
            self._profiler.cause_returned()

    def _clock_stepped(self, kind: str, text: str, data: Mapping[str, float]) -> None:
        self.control.emit(kind, text, data=data)

    def _cause_returned(self) -> None:
        """Try again at once what failed because something was away."""
        self.engine.feed(CauseReturned())
        self._profiler.cause_returned()

    def _artifact_peers(self) -> tuple[Source, ...]:
        return peer_sources(self.control.online_nodes(), self.plane.links(), self.control.status.advertise)

    def _connect_peers(self) -> None:
        """Connect to online nodes; keep the link to one that only its broker connection left."""
        kept = {
            peer: address
            for peer, address in self._connected.items()
            if peer not in self._addresses and self.plane.is_up(peer)
        }
        wanted = {**kept, **self._addresses}
        if wanted != self._connected:
            self._connected = wanted
            self.plane.set_peers(wanted)

    async def _keep_peers(self) -> None:
        while True:
            await asyncio.sleep(PEER_CHECK_S)
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


def _memory_bytes(configuration: AgentConfiguration) -> int:
    """What weights and tensors may take together. [B]"""
    return configuration.runtime.memory_limit_bytes or MemoryCollector().total() // 2
