"""A fake agent: it keeps the protocol of the control plane and computes nothing.

Owns: what an agent says, and when it has to. Its rule: it answers at once, unless told otherwise. Not here: how often
agents report (`forged.py`), and what the controller makes of it (`tests/controller`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Literal

import aiohttp
import msgspec

from edgesplit.control.figure_messages import (
    LINK_METRICS,
    NODE_METRICS,
    LinkMetrics,
    LinkState,
    NodeMetrics,
    Steadiness,
)
from edgesplit.control.inquiry_messages import INQUIRY, NODE_FINDINGS, Checkup, Inquiry, NodeFindings, NodeTrace
from edgesplit.control.plan_messages import DESIRED, OBSERVED, Desired, EpochState, Observed
from edgesplit.control.profile_messages import (
    LIVE_TIMINGS,
    MODEL_OFFER,
    PROFILE_REPORT,
    ComponentTiming,
    ExecutionProfile,
    LiveTimings,
    ModelOffer,
    ProfilePlan,
    ProfileReport,
)
from edgesplit.control.registration_messages import (
    CONTROLLER_STATUS,
    NODE_PEERS,
    NODE_STATUS,
    ControllerStatus,
    NodePeers,
    NodeStatus,
)
from edgesplit.mqtt.bus import MessageBus
from edgesplit.release import PROTOCOL, installed_version

__all__ = ["FakeAgent"]


class FakeAgent:
    """Profiles with made-up times, prepares at once, serves what it is told to.

    Args:
        url: Of the broker.
        name: Its own.
        unit_s: What every unit of a model takes. [s]
        factors: On that, by place of the unit; further units have none. [1]
        unit_spread: That its profiles say of every unit; 0: they say none. [1]
        peers: Bandwidth and latency to each. [B/s, s]
        compute_w: While computing. [W]
        protocol: It claims to speak.

    Attributes:
        fails: Epochs it refuses to prepare; -1 refuses all.
        hesitates: It prepares nothing while True.
        shy: It starts serving nothing new while True.
        opsets: What it says its onnxruntime loads; empty: nothing.
        version: Which release it says it is.
        labels: That it says it has.
        named: The peers that the controller named.
        desired: The latest by model.
        heard: All that came of what should be held, in its order.
        checkup: What it finds when it is asked how it fares; None: it does not answer.
        traces: What it knows of requests, by their identifiers; the last one is the last that it answered.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        unit_s: float,
        peers: Mapping[str, tuple[float, float]],
        compute_w: float = 3.0,
        protocol: int = PROTOCOL,
    ) -> None:
        self.name = name
        self.instance = f"{name}-1"
        self.advertise = f"127.0.0.1:{7000 + len(name)}"
        self.unit_s = unit_s
        self.factors: tuple[float, ...] = ()
        self.unit_spread = 0.0
        self.peers = dict(peers)
        self.compute_w = compute_w
        self.fails: set[int] = set()
        self.hesitates = False
        self.shy = False
        self.memory_limit_bytes = 0
        self.opsets: dict[str, int] = {}
        self.version = installed_version()
        self.labels: dict[str, str] = {}
        self.named: tuple[str, ...] | None = None
        self.desired: dict[str, Desired] = {}
        self.heard: list[Desired | None] = []
        self.checkup: Checkup | None = Checkup(
            folder="/cache", free_bytes=1 << 40, limit_bytes=1 << 34, artifacts="http://controller:7480"
        )
        self.traces: dict[str, NodeTrace] = {}
        self.offers: dict[str, ModelOffer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._artifacts = ""
        self._protocol = protocol
        self._served: dict[str, int] = {}
        self.bus = MessageBus(url, client_id=f"agent-{name}", will=(NODE_STATUS.of(name), self._status(online=False)))

    def _status(self, *, online: bool) -> NodeStatus:
        return NodeStatus(
            node=self.name,
            online=online,
            protocol=self._protocol,
            version=self.version,
            instance=self.instance,
            advertise=self.advertise if online else "",
            memory_limit_bytes=self.memory_limit_bytes,
            runtime="onnxruntime 1.20.1",
            opsets=self.opsets,
            labels=self.labels,
        )

    def announce(self) -> None:
        """Register."""
        self.bus.publish(NODE_STATUS, self._status(online=True), self.name)

    async def start(self) -> None:
        """Connect, register and report once."""
        self.bus.subscribe(CONTROLLER_STATUS, self._on_controller)
        self.bus.subscribe(MODEL_OFFER, self._on_offer)
        self.bus.subscribe(DESIRED, self._on_desired, self.name)
        self.bus.subscribe(INQUIRY, self._on_inquiry, self.name)
        self.bus.subscribe(NODE_PEERS, self._on_peers, self.name)
        await self.bus.connect(10)
        self.announce()
        self.publish_metrics()
        self.publish_links()

    def publish_metrics(self, **figures: float | bool | Steadiness | None) -> None:
        """Say what the machine does; `figures` replace those of `NodeMetrics`."""
        metrics = NodeMetrics(
            node=self.name,
            instance=self.instance,
            at_unix_s=0.0,
            cpu_percent=1.0,
            memory_available_bytes=1 << 30,
            compute_w=self.compute_w,
            transmit_w=1.0,
            power_origin="configured",
        )
        self.bus.publish(NODE_METRICS, msgspec.structs.replace(metrics, **figures), self.name)

    def publish_timings(self, model: str, epoch: int, slower: float) -> None:
        """Say that every component of an epoch just took so many times what its plan expects."""
        (spec,) = [spec for spec in self.desired[model].epochs if spec.epoch == epoch]
        now_s = time.time()
        timings = tuple(
            ComponentTiming(
                graph=part.graph.digest,
                epoch=epoch,
                component=part.component,
                predicted_s=part.predicted_s,
                recent_s=part.predicted_s * slower,
                runs=9,
                last_run_unix_s=now_s,
            )
            for part in spec.components
        )
        message = LiveTimings(node=self.name, instance=self.instance, model=model, at_unix_s=now_s, components=timings)
        self.bus.publish(LIVE_TIMINGS, message, self.name, model)

    def publish_links(self, measured_at_unix_s: float = 0.0) -> None:
        """Say what the links to `peers` carry."""
        links = tuple(
            LinkState(
                to=peer,
                up=True,
                bandwidth_bytes_per_s=bandwidth,
                latency_s=latency_s,
                measured_at_unix_s=measured_at_unix_s,
            )
            for peer, (bandwidth, latency_s) in self.peers.items()
        )
        self.bus.publish(LINK_METRICS, LinkMetrics(node=self.name, instance=self.instance, links=links), self.name)

    async def leave(self) -> None:
        """Say goodbye."""
        self.bus.publish(NODE_STATUS, self._status(online=False), self.name)
        await self.bus.close()

    def _on_controller(self, _topic: str, status: ControllerStatus | None) -> None:
        self._artifacts = status.artifacts if status is not None else ""
        if self._artifacts:
            for offer in tuple(self.offers.values()):
                self._begin_profiling(offer)

    def _on_offer(self, topic: str, offer: ModelOffer | None) -> None:
        (model,) = MODEL_OFFER.names(topic)
        if offer is None:
            self.offers.pop(model, None)
            return
        self.offers[model] = offer
        if self._artifacts:
            self._begin_profiling(offer)

    def _begin_profiling(self, offer: ModelOffer) -> None:
        task = asyncio.create_task(self._profile(offer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def unit_time_s(self, _plan: ProfilePlan) -> float:
        """What a unit of a model takes. [s]"""
        return self.unit_s

    async def _profile(self, offer: ModelOffer) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self._artifacts}/blobs/{offer.profile_plan}") as response,
        ):
            plan = msgspec.json.decode(await response.read(), type=ProfilePlan)
        unit_s = self.unit_time_s(plan)
        time_s = {
            unit: unit_s * (self.factors[place] if place < len(self.factors) else 1.0)
            for place, unit in enumerate(plan.units)
        }
        profile = ExecutionProfile(
            time_s=time_s,
            quantized_time_s=dict.fromkeys(plan.quantizable, unit_s / 2),
            whole_s=sum(time_s.values()),
            unit_spreads=dict.fromkeys(plan.units, self.unit_spread) if self.unit_spread else {},
            runs=1,
            provider="CPUExecutionProvider",
            threads=1,
            runtime="fake",
        )
        report = ProfileReport(
            node=self.name,
            instance=self.instance,
            model=offer.model,
            sha256=offer.sha256,
            state="done",
            fraction=1.0,
            profile=profile,
            offered=offer.profile_plan,
        )
        if self.offers.get(offer.model) != offer:
            return  # another came meanwhile
        self.bus.publish(PROFILE_REPORT, report, self.name, offer.model)

    def _on_peers(self, _topic: str, peers: NodePeers | None) -> None:
        self.named = peers.peers if peers is not None else None

    def _on_desired(self, topic: str, desired: Desired | None) -> None:
        _, model = DESIRED.names(topic)
        self.heard.append(desired)
        if desired is None:
            self.desired.pop(model, None)
            self._served.pop(model, None)
            self.bus.clear(OBSERVED, self.name, model)
            return
        self.desired[model] = desired
        self.observe(model)

    def _on_inquiry(self, _topic: str, inquiry: Inquiry | None) -> None:
        if inquiry is None or self.checkup is None:
            return
        request = inquiry.request or next(reversed(self.traces), "")
        trace = self.traces.get(request, NodeTrace(request="", now_s=time.monotonic()))
        findings = NodeFindings(
            node=self.name,
            instance=self.instance,
            id=inquiry.id,
            at_unix_s=time.time(),
            checkup=self.checkup if inquiry.about == "checkup" else None,
            trace=trace if inquiry.about == "trace" else None,
        )
        self.bus.publish(NODE_FINDINGS, findings, self.name)

    def observe(self, model: str) -> None:
        """Report what is held of a model."""
        desired = self.desired[model]
        states = tuple(
            EpochState(epoch=spec.epoch, state=self._state(spec.epoch), detail="no room") for spec in desired.epochs
        )
        prepared = {state.epoch for state in states if state.state == "prepared"}
        if desired.serve is None:
            self._served.pop(model, None)
        elif desired.serve in prepared and not self.shy:
            self._served[model] = desired.serve
        observed = Observed(
            node=self.name, instance=self.instance, model=model, epochs=states, serving=self._served.get(model)
        )
        self.bus.publish(OBSERVED, observed, self.name, model)

    def _state(self, epoch: int) -> Literal["failed", "preparing", "prepared"]:
        if {epoch, -1} & self.fails:
            return "failed"
        return "preparing" if self.hesitates else "prepared"
