"""Assembly of the agent: its parts, each made from the configuration.

Owns: what the sections of the configuration mean to the parts, and who is given whom. Its rule: parts are made here and
nothing is started. Not here: starting, stopping and what happens in between (`daemon.py`), the sections
(`configuration.py`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from edgesplit.control.inquiry_messages import NodeFindings
from edgesplit.control.registration_messages import NodeStatus
from edgesplit.daemon.inference_runtime.runtime_builds import installed_runtime
from edgesplit.errors import InvalidConfiguration
from edgesplit.formatting import speed, time_span
from edgesplit.mqtt.bus import MessageBus
from edgesplit.release import PROTOCOL, installed_version
from edgesplit.topic_table import signed_rows
from edgesplit.trust.access import Access
from edgesplit.trust.subjects import Subject
from edgesplit.trust.tls import TlsContexts
from edgesplit.wire.frames import FrameLimits
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.autonomy.link_memory import LinkMemory
from edgesplit_agent.compute.background_work import BackgroundWork
from edgesplit_agent.compute.coding import Coder
from edgesplit_agent.compute.operator_sets import remembered_operator_sets
from edgesplit_agent.compute.providers import CPU
from edgesplit_agent.compute.runtime import RuntimeOptions
from edgesplit_agent.compute.session_pool import SessionPool
from edgesplit_agent.compute.worker import Worker
from edgesplit_agent.configuration import AgentConfiguration, DataSection, EmulationSection, PowerSection
from edgesplit_agent.dataplane.emulation import EmulatedLink, Emulation
from edgesplit_agent.dataplane.limits import Limits
from edgesplit_agent.dataplane.plane import DataPlane
from edgesplit_agent.profiling.live_timings import TimingBook
from edgesplit_agent.reporting.collectors.battery_level import BatteryCollector
from edgesplit_agent.reporting.collectors.busy_clock import BusyClock
from edgesplit_agent.reporting.collectors.memory import MemoryCollector
from edgesplit_agent.reporting.collectors.power.meter import PowerMeter
from edgesplit_agent.reporting.collectors.power.selection import select_power
from edgesplit_agent.reporting.inquiry_answers import CheckupSubjects, InquiryAnswers
from edgesplit_agent.reporting.metrics import PrometheusMetrics
from edgesplit_agent.reporting.reporter import Reporter
from edgesplit_agent.reporting.run_trace import RunTrace
from edgesplit_agent.reporting.serving_counters import ServingCounters
from edgesplit_agent.reporting.usage import UsageBook
from edgesplit_agent.serving.engine import Engine
from edgesplit_agent.serving.machine.agent_machine import AgentMachine
from edgesplit_agent.serving.machine.events import MachineEvent
from edgesplit_agent.serving.shadow_runs import ShadowRunner
from edgesplit_agent.steadiness.steadiness_watch import SteadinessWatch

if TYPE_CHECKING:
    from edgesplit.daemon.certificate_renewal import CertificateRenewal, Tell
    from edgesplit.mqtt.signed.message_security import MessageSecurity

__all__ = [
    "Identity",
    "ServingFigures",
    "battery_of",
    "emulation_of",
    "figures_of",
    "identity_of",
    "limits_of",
    "log_emulation",
    "log_security",
    "make_access",
    "make_engine",
    "make_inquiry_answers",
    "make_plane",
    "make_power_meter",
    "make_renewal",
    "make_reporter",
    "make_security",
    "make_steadiness_watch",
    "options_of",
    "registration_of",
]

EARLY_BYTES = 256 * 1024**2
QUEUE_SHARE = 8
"""Each queue to a peer, and the store of tensors that came too early, gets this fraction of the memory limit at most."""
PINGS_IN_SILENCE = 5
"""A single lost ping decides nothing."""
IDLE_SHARE = 0.7
"""Of the silence that is allowed: how far apart pings on an idle link are. [1]"""
UNPLANNED_SHARE = 3.0
"""The same while no plan gives this node a part, so that no request is waiting to be lost. [1]"""


@dataclass(frozen=True)
class Identity:
    """Who runs.

    Attributes:
        node: Its name.
        instance: Drawn at each start.
        version: Of edgesplit.
        runtime: Installed build of onnxruntime and its version.
    """

    node: str
    instance: str
    version: str
    runtime: str


@dataclass(frozen=True)
class ServingFigures:
    """What is counted and timed, by the parts that work and for those that tell others.

    Attributes:
        background: When the agent worked for itself.
        counters: Count in `usage` and `metrics` both.
    """

    background: BackgroundWork
    usage: UsageBook
    metrics: PrometheusMetrics
    counters: ServingCounters
    timings: TimingBook


def identity_of(configuration: AgentConfiguration) -> Identity:
    """A new run of this node's agent."""
    return Identity(configuration.name, secrets.token_hex(6), installed_version(), installed_runtime())


def registration_of(configuration: AgentConfiguration, identity: Identity) -> NodeStatus:
    """What the node registers as, but for the addresses that are found later."""
    return NodeStatus(
        node=identity.node,
        online=True,
        protocol=PROTOCOL,
        version=identity.version,
        instance=identity.instance,
        advertise="",
        runtime=identity.runtime,
        threads=configuration.runtime.threads,
        memory_limit_bytes=_memory_bytes(configuration),
        emulated=configuration.emulation.active,
        opsets=dict(remembered_operator_sets(configuration.cache.folder, identity.runtime)),
        insecure=configuration.security.insecure,
        labels=dict(configuration.node.labels),
    )


def make_access(configuration: AgentConfiguration) -> Access | None:
    """Whom the node lets in, and how it proves who it is, in a fleet with an authority; None in one without.

    Raises:
        InvalidConfiguration: A file of its identity is missing or holds something else.
    """
    section = configuration.security
    if not section.secured:
        return None
    return Access(TlsContexts.load(section.files), local_clients=section.local_clients)


def make_security(configuration: AgentConfiguration) -> MessageSecurity | None:
    """Whose decisions the agent obeys, in a fleet with an authority; None in one without.

    Raises:
        InvalidConfiguration: A file of its identity is missing, or is another's.
    """
    section = configuration.security
    if not section.secured:
        return None
    from edgesplit.mqtt.signed.counter_memory import CounterMemory  # noqa: PLC0415
    from edgesplit.mqtt.signed.message_security import MessageSecurity  # noqa: PLC0415
    from edgesplit.trust.credentials import Credentials  # noqa: PLC0415

    credentials = Credentials.load(section.files)
    if credentials.subject != Subject("node", configuration.name):
        raise InvalidConfiguration(
            f"the certificate in {section.folder} is that of {credentials.subject}, and this is node {configuration.name}: join again, "
            "or set the name back"
        )
    # Agents of one machine may share the folder.
    path = configuration.cache.folder / f"signed-counters-{configuration.name}.json"
    return MessageSecurity(credentials, signed_rows(), counters=CounterMemory(path))


def figures_of(identity: Identity, power: PowerMeter) -> ServingFigures:
    """Counters at zero."""
    background = BackgroundWork()
    metrics = PrometheusMetrics(identity.node, identity.version)
    usage = UsageBook(identity.node, power.sample(), metrics.spent)
    timings = TimingBook(identity.node, identity.instance, background)
    return ServingFigures(background, usage, metrics, ServingCounters(usage, metrics), timings)


def make_power_meter(configuration: AgentConfiguration, identity: Identity, busy: BusyClock) -> PowerMeter:
    """The sensors that `[power]` asks for.

    Raises:
        InvalidConfiguration: There is no power sensor of that name.
    """
    runtime = configuration.runtime
    return select_power(
        configuration.power,
        broker=configuration.broker.address,
        threads=runtime.threads,
        # Only onnxruntime-gpu can use one, and only if nobody asked for the processor.
        graphics="gpu" in identity.runtime and runtime.execution_provider != CPU,
        busy=busy,
    )


def battery_of(section: PowerSection) -> BatteryCollector:
    """The battery that `[power]` describes."""
    return BatteryCollector(Path(section.sysfs), section.battery_wh)


def options_of(configuration: AgentConfiguration) -> RuntimeOptions:
    """How sessions are built."""
    runtime, emulation = configuration.runtime, configuration.emulation
    return RuntimeOptions(runtime.threads, runtime.execution_provider, emulation.slow_down, alone=emulation.active)


def make_engine(
    configuration: AgentConfiguration,
    identity: Identity,
    figures: ServingFigures,
    worker: Worker,
    sessions: SessionPool,
) -> Engine:
    """The engine and its state machine."""
    memory_bytes = _memory_bytes(configuration)
    machine = AgentMachine(
        identity.node,
        max_in_flight=configuration.runtime.max_in_flight,
        early_limit_bytes=min(EARLY_BYTES, memory_bytes // QUEUE_SHARE),
        memory_limit_bytes=memory_bytes,
        stable_after_s=configuration.data.stable_after_s,
        batch_window_s=configuration.runtime.batch_window_ms / 1000,
    )
    return Engine(
        machine,
        instance=f"{identity.node}-{identity.instance}",
        preparer=sessions,
        worker=worker,
        counters=figures.counters,
        timings=figures.timings,
        coder=Coder(worker, lambda: sessions.options),
        shadower=ShadowRunner(worker, configuration.runtime.metrics),
        trace=RunTrace(Path(configuration.runtime.trace) if configuration.runtime.trace else None),
    )


def make_plane(
    configuration: AgentConfiguration,
    identity: Identity,
    figures: ServingFigures,
    engine: Engine,
    emit: Callable[[MachineEvent], None],
    *,
    links: LinkMemory,
    access: Access | None = None,
) -> DataPlane:
    """The data plane; `emit` takes its events, `access` says whom a node of a secured fleet lets in."""
    return DataPlane(
        identity.node,
        identity.instance,
        identity.version,
        listen=configuration.data.listen,
        socket=configuration.data.socket_address,
        emulation=emulation_of(configuration.emulation),
        limits=limits_of(configuration.data, _memory_bytes(configuration) // QUEUE_SHARE),
        emit=emit,
        host=engine,
        counters=figures.counters,
        access=access,
        recalled=links.recalled,
    )


def make_renewal(
    configuration: AgentConfiguration, metrics: PrometheusMetrics, controller: Callable[[], str], tell: Tell
) -> CertificateRenewal | None:
    """Who keeps the node's certificate valid; None where nothing is secured.

    Args:
        configuration: Effective values.
        metrics: Show when it ends.
        controller: Base URL of the controller's HTTPS.
        tell: Takes the kinds and sentences of events.

    Raises:
        InvalidConfiguration: The files hold no identity.
    """
    section = configuration.security
    if not section.secured:
        return None
    from edgesplit.daemon.certificate_renewal import CertificateRenewal  # noqa: PLC0415

    renewal = CertificateRenewal(
        section.files,
        controller,
        tell=tell,
        taken=(lambda credentials: metrics.certificate_expires(credentials.facts.expires_s),),
        asks=section.renew,
    )
    metrics.certificate_expires(renewal.expires_s)
    return renewal


def make_steadiness_watch(
    figures: ServingFigures, worker: Worker, sessions: SessionPool, busy: BusyClock
) -> SteadinessWatch:
    """Who measures how steady the machine is, on the clock that its runs are timed with."""
    return SteadinessWatch(
        worker,
        timer=lambda: sessions.options.clock,
        last_computed_s=busy.last_computed_s,
        background=figures.background,
        spent=partial(figures.metrics.measured_itself, "steadiness"),
        told=figures.metrics.steadiness,
    )


def make_reporter(
    configuration: AgentConfiguration,
    identity: Identity,
    figures: ServingFigures,
    power: PowerMeter,
    *,
    bus: MessageBus,
    plane: DataPlane,
    watch: SteadinessWatch,
    memory: LinkMemory,
) -> Reporter:
    """Who publishes the node's figures."""
    return Reporter(
        node=identity.node,
        instance=identity.instance,
        bus=bus,
        power=power,
        battery=battery_of(configuration.power),
        usage=figures.usage,
        timings=figures.timings,
        links=plane.links,
        unreached=plane.unreached,
        keep_links=memory.take,
        steadiness=lambda: watch.steadiness,
    )


def make_inquiry_answers(
    configuration: AgentConfiguration,
    identity: Identity,
    *,
    cache: BlobCache,
    artifacts: Callable[[], str],
    engine: Engine,
    plane: DataPlane,
    renewal: CertificateRenewal | None,
    say: Callable[[NodeFindings], None],
) -> InquiryAnswers:
    """Who tells the controller what it asks about; `artifacts` is where it offers blobs, `say` publishes."""
    subjects = CheckupSubjects(
        folder=cache.folder,
        limit_bytes=configuration.cache.limit_bytes,
        artifacts=artifacts,
        unreachable=cache.controller_unreachable,
        certificate_expires_s=lambda: None if renewal is None else renewal.expires_s,
    )
    return InquiryAnswers(
        identity.node,
        identity.instance,
        subjects=subjects,
        traces=engine.traces,
        clocks=plane.clocks,
        say=say,
    )


def limits_of(section: DataSection, share_bytes: int = 1 << 40) -> Limits:
    """Bounds and timings of the data plane.

    Args:
        section: Of the configuration.
        share_bytes: Most of the memory limit that a queue, or what arrives from strangers, may have. [B]
    """
    return Limits(
        queue_bytes=min(Limits.queue_bytes, share_bytes),
        arriving_bytes=min(Limits.arriving_bytes, share_bytes),
        frames=FrameLimits(body_bytes=section.max_body_bytes),
        dead_after_s=section.dead_after_s,
        dead_after_limit_s=section.dead_after_limit_s,
        ping_interval_s=section.dead_after_s / PINGS_IN_SILENCE,
        idle_ping_interval_s=section.dead_after_s * IDLE_SHARE,
        unplanned_ping_interval_s=section.dead_after_s * UNPLANNED_SHARE,
        max_connections=section.max_connections,
        max_connections_per_address=section.max_connections_per_address,
    )


def emulation_of(section: EmulationSection) -> Emulation:
    """Emulated speed and links."""
    links = {
        peer: EmulatedLink(link.bandwidth_bytes_per_s, link.latency_s, link.up) for peer, link in section.links.items()
    }
    return Emulation(section.slow_down, links)


def log_emulation(emulation: EmulationSection) -> None:
    """Warn that figures are not the machine's, where they are not."""
    if emulation.active:
        links = {
            peer: f"{speed(link.bandwidth_bytes_per_s)}, {time_span(link.latency_s)}" + ("" if link.up else ", down")
            for peer, link in emulation.links.items()
        }
        text = "speed and links of this node are emulated, not the machine's"
        log = structlog.get_logger(part="agent")
        log.warning("emulation", text=text, slow_down=emulation.slow_down, links=links)


def log_security(configuration: AgentConfiguration) -> None:
    """Warn where strangers are let in on purpose."""
    if text := configuration.security.warning(configuration.listens):
        structlog.get_logger(part="agent").warning("insecure-network", text=text)


def _memory_bytes(configuration: AgentConfiguration) -> int:
    """What weights and tensors may take together. [B]"""
    return configuration.runtime.memory_limit_bytes or MemoryCollector().total() // 2
