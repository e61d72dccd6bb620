"""Agents that say what agents say and compute nothing, many in one process: a fleet for the controller to be idle beside.

Owns: their messages and how often they come, which is how often agents of edgesplit 0.1 sent them. Its rule: they keep the
protocol (profiles, prepared epochs) and their links scatter as links of busy machines do. Not here: what the controller
does with it (`idle.py`).
"""

from __future__ import annotations

import asyncio
import math
import random
import signal
import time
from collections.abc import Sequence

import aiohttp
import click
import msgspec

from edgesplit.control.figure_messages import LINK_METRICS, NODE_METRICS, LinkMetrics, LinkState, NodeMetrics
from edgesplit.control.plan_messages import DESIRED, OBSERVED, Desired, EpochState, Observed
from edgesplit.control.profile_messages import (
    MODEL_OFFER,
    PROFILE_REPORT,
    ExecutionProfile,
    ModelOffer,
    ProfilePlan,
    ProfileReport,
)
from edgesplit.control.registration_messages import CONTROLLER_STATUS, NODE_STATUS, ControllerStatus, NodeStatus
from edgesplit.mqtt.bus import MessageBus
from edgesplit.release import PROTOCOL, installed_version

__all__ = ["main"]

METRICS_EVERY_S = 2.0
LINKS_EVERY_S = 1.0
SCATTER = 0.3
"""Standard deviation of a link's logarithm, as links of loopback have beside load. [1]"""
NEARNESS = 0.8
"""How much of a link's deviation is still there a second later. [1]"""
NEAR_BYTES_PER_S, NEAR_S = 1e9, 2e-4
WHOLE_S = (0.2, 0.1, 0.05)
"""What the model takes on the first node, the second, and all others. [s]"""


class ForgedAgent:
    """One of them.

    Args:
        url: Of the broker.
        name: Its own.
        peers: All names; it claims a link to each other one.
        whole_s: What the whole model takes here. [s]
        seed: Of its links' scatter.
    """

    def __init__(self, url: str, name: str, peers: Sequence[str], whole_s: float, seed: int) -> None:
        self._name = name
        self._whole_s = whole_s
        self._random = random.Random(seed)
        self._deviation = {peer: 0.0 for peer in peers if peer != name}
        self._artifacts = ""
        self._offers: dict[str, ModelOffer] = {}
        self._serving: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = 20_000 + seed
        self._bus = MessageBus(url, client_id=f"forged-{name}", will=(NODE_STATUS.of(name), self._status(online=False)))

    async def run(self) -> None:
        """Register and report, for ever."""
        self._bus.subscribe(CONTROLLER_STATUS, self._on_controller)
        self._bus.subscribe(MODEL_OFFER, self._on_offer)
        self._bus.subscribe(DESIRED, self._on_desired, self._name)
        await self._bus.connect(10)
        self._bus.publish(NODE_STATUS, self._status(online=True), self._name)
        await asyncio.sleep(self._random.random())
        await asyncio.gather(self._report_metrics(), self._report_links())

    async def _report_metrics(self) -> None:
        while True:
            metrics = NodeMetrics(
                node=self._name,
                instance=self._name,
                at_unix_s=time.time(),
                cpu_percent=self._random.uniform(0, 10),
                memory_available_bytes=self._random.randrange(1 << 30, 1 << 31),
                compute_w=5.0,
                transmit_w=2.0,
                power_origin="configured",
            )
            self._bus.publish(NODE_METRICS, metrics, self._name)
            await asyncio.sleep(METRICS_EVERY_S)

    async def _report_links(self) -> None:
        """With tens of scattering links, one has always changed by more than the few percent that are told at once."""
        while True:
            for peer, deviation in self._deviation.items():
                fresh = self._random.gauss(0, SCATTER * math.sqrt(1 - NEARNESS**2))
                self._deviation[peer] = NEARNESS * deviation + fresh
            links = tuple(
                LinkState(
                    to=peer,
                    up=True,
                    bandwidth_bytes_per_s=NEAR_BYTES_PER_S * math.exp(deviation),
                    latency_s=NEAR_S * math.exp(-deviation / 2),
                    measured_at_unix_s=time.time(),
                )
                for peer, deviation in self._deviation.items()
            )
            message = LinkMetrics(node=self._name, instance=self._name, links=links)
            self._bus.publish(LINK_METRICS, message, self._name)
            await asyncio.sleep(LINKS_EVERY_S)

    def _status(self, *, online: bool) -> NodeStatus:
        return NodeStatus(
            node=self._name,
            online=online,
            protocol=PROTOCOL,
            version=installed_version(),
            instance=self._name,
            advertise=f"127.0.0.1:{self._port}",
            memory_limit_bytes=4 << 30,
        )

    def _on_controller(self, _topic: str, status: ControllerStatus | None) -> None:
        self._artifacts = status.artifacts if status is not None and status.online else ""
        for offer in tuple(self._offers.values()) if self._artifacts else ():
            self._profile(offer)

    def _on_offer(self, topic: str, offer: ModelOffer | None) -> None:
        (model,) = MODEL_OFFER.names(topic)
        if offer is None:
            self._offers.pop(model, None)
            return
        self._offers[model] = offer
        if self._artifacts:
            self._profile(offer)

    def _profile(self, offer: ModelOffer) -> None:
        task = asyncio.create_task(self._publish_profile(offer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish_profile(self, offer: ModelOffer) -> None:
        address = f"{self._artifacts}/blobs/{offer.profile_plan}"
        async with aiohttp.ClientSession() as session, session.get(address) as response:
            plan = msgspec.json.decode(await response.read(), type=ProfilePlan)
        unit_s = self._whole_s / len(plan.units)
        profile = ExecutionProfile(
            time_s=dict.fromkeys(plan.units, unit_s),
            quantized_time_s=dict.fromkeys(plan.quantizable, unit_s / 2),
            whole_s=self._whole_s,
            runs=1,
            provider="CPUExecutionProvider",
            threads=1,
            runtime="forged",
        )
        report = ProfileReport(
            node=self._name,
            instance=self._name,
            model=offer.model,
            sha256=offer.sha256,
            state="done",
            fraction=1.0,
            profile=profile,
        )
        self._bus.publish(PROFILE_REPORT, report, self._name, offer.model)

    def _on_desired(self, topic: str, desired: Desired | None) -> None:
        _, model = DESIRED.names(topic)
        if desired is None:
            self._serving.pop(model, None)
            self._bus.clear(OBSERVED, self._name, model)
            return
        if desired.serve is not None:
            self._serving[model] = desired.serve
        states = tuple(EpochState(epoch=spec.epoch, state="prepared") for spec in desired.epochs)
        observed = Observed(
            node=self._name, instance=self._name, model=model, epochs=states, serving=self._serving.get(model)
        )
        self._bus.publish(OBSERVED, observed, self._name, model)


async def _run(url: str, count: int) -> None:
    names = [f"n{index:02d}" for index in range(count)]
    agents = [
        ForgedAgent(url, name, names, WHOLE_S[min(index, len(WHOLE_S) - 1)], index) for index, name in enumerate(names)
    ]
    await asyncio.gather(*(agent.run() for agent in agents))


@click.command()
@click.option("--broker", required=True, metavar="URL")
@click.option("--count", default=30, show_default=True)
def main(broker: str, count: int) -> None:
    """Register agents that only talk, until SIGTERM; the slowest is n00.

    Example: python -m bench.forged --broker mqtt://127.0.0.1:1883 --count 30
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    asyncio.run(_run(broker, count))


if __name__ == "__main__":
    main()
