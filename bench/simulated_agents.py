"""Simulated agents, hundreds in a process: they keep the protocol of the control plane and have no data plane.

Owns: what such an agent subscribes to and says, which is what agents do, and one MQTT connection each, on one event loop. Its rule: it reports
once a second, and claims a link to every peer that the controller names. Not here: what the controller and the broker take (`many_agents.py`).
"""

from __future__ import annotations

import asyncio
import random
import secrets
import signal
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import click
import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edgesplit.control.figure_messages import (
    LINK_METRICS,
    NODE_METRICS,
    LinkMetrics,
    LinkState,
    NodeMetrics,
    Steadiness,
)
from edgesplit.control.plan_messages import DEPLOYMENT, DESIRED, OBSERVED, Desired, EpochState, Observed
from edgesplit.control.profile_messages import (
    MODEL_OFFER,
    PROFILE_REPORT,
    PROFILE_REQUEST,
    ExecutionProfile,
    ModelOffer,
    ProfilePlan,
    ProfileReport,
)
from edgesplit.control.registration_messages import (
    CONTROLLER_STATUS,
    NODE_CLAIM,
    NODE_PEERS,
    NODE_STATUS,
    ControllerStatus,
    NodePeers,
    NodeStatus,
)
from edgesplit.control.trust_messages import CLIENT_TOKENS, REVOCATIONS
from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit.mqtt.name_registration import Claim
from edgesplit.mqtt.topic import QUALITY_OF_SERVICE, Topic
from edgesplit.release import PROTOCOL, installed_version
from edgesplit.topic_table import written_by

__all__ = ["SITE_SIZE", "SimulatedAgent", "labels_of", "main", "name_of", "report_for_ever", "start_all"]

VERSION = installed_version()
REPORT_EVERY_S = 1.0
SIGN_OF_LIFE_S = 10.0
"""Links that did not change are said so often. [s]"""
SITE_SIZE = 3
GOOD_LINK = (50e6, 0.002)
"""Bandwidth and latency. [B/s, s]"""
KEEP_ALIVE_S = 60
MANY_AT_ONCE = 50
"""Agents that connect at a time."""
_blobs: dict[str, asyncio.Task[bytes]] = {}


def name_of(index: int) -> str:
    """Of the agent with this number."""
    return f"n{index:05d}"


def labels_of(index: int) -> dict[str, str]:
    """Sites of a few nodes; the first of each is the device, the others are its edges."""
    return {"site": f"site-{index // SITE_SIZE}", "role": "edge" if index % SITE_SIZE else "device"}


class SimulatedAgent:
    """One of them; made on the event loop it lives on.

    Args:
        url: Of the broker.
        index: Its number.
        whole_s: What a model takes here. [s]
        on_desired: Told of what it should hold.
    """

    def __init__(
        self, url: str, index: int, whole_s: float, on_desired: Callable[[Desired], None] = lambda _: None
    ) -> None:
        self.name, self.labels = name_of(index), labels_of(index)
        self.links: dict[str, tuple[float, float]] = {}
        """Bandwidth and latency to each peer where they are not good. [B/s, s]"""
        self.peers: tuple[str, ...] = ()
        self._address = BrokerAddress.parse(url)
        self._instance = secrets.token_hex(6)
        self._port = 10_000 + index
        self._whole_s = whole_s
        self._on_desired = on_desired
        self._random = random.Random(index)
        self._loop = asyncio.get_running_loop()
        self._served: dict[str, int] = {}
        self._offers: dict[str, ModelOffer] = {}
        self._artifacts = ""
        self._linked_s = float("-inf")
        self._heard: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        client = self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"simulated-{self.name}-{self._instance}", protocol=mqtt.MQTTv311
        )
        client.on_socket_open = self._opened
        client.on_socket_close = self._closed
        client.on_socket_register_write = self._writes
        client.on_socket_unregister_write = self._written
        client.on_message = self._message
        client.on_connect = self._connected
        offline = msgspec.json.encode(self._status(online=False))
        client.will_set(NODE_STATUS.of(self.name), offline, QUALITY_OF_SERVICE, retain=True)

    def start(self) -> None:
        """Connect; what follows happens on the loop."""
        self._client.connect(self._address.host, self._address.port, keepalive=KEEP_ALIVE_S)

    def tick(self) -> None:
        """Let the library ping and resend."""
        self._client.loop_misc()

    def publish(self, row: Topic[Any], message: msgspec.Struct, *names: str) -> None:
        """Say something."""
        self._client.publish(row.of(*names), msgspec.json.encode(message), QUALITY_OF_SERVICE, retain=row.retained)

    def report(self) -> None:
        """Figures of now, and links now and then."""
        now_s = time.monotonic()
        metrics = NodeMetrics(
            node=self.name,
            instance=self._instance,
            at_unix_s=time.time(),
            cpu_percent=self._random.uniform(0, 30),
            memory_available_bytes=self._random.randrange(1 << 30, 2 << 30),
            compute_w=5.0,
            transmit_w=2.0,
            power_origin="configured",
            steadiness=Steadiness(
                seconds_spread=0.02, minutes_spread=0.01, rested_ratio=1.1, regime="steady", samples=500
            ),
        )
        self.publish(NODE_METRICS, metrics, self.name)
        if self.peers and now_s - self._linked_s >= SIGN_OF_LIFE_S:
            self.report_links()

    def report_links(self) -> None:
        """What its links carry now."""
        self._linked_s = time.monotonic()
        links = tuple(
            LinkState(
                to=peer,
                up=True,
                bandwidth_bytes_per_s=self.links.get(peer, GOOD_LINK)[0],
                latency_s=self.links.get(peer, GOOD_LINK)[1],
                measured_at_unix_s=time.time(),
                age_s=0.1,
            )
            for peer in self.peers
        )
        self.publish(LINK_METRICS, LinkMetrics(node=self.name, instance=self._instance, links=links), self.name)

    # --- the connection --------------------------------------------------------------------------------------------

    def _opened(self, client: mqtt.Client, _data: Any, connection: Any) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop.add_reader(connection, client.loop_read)

    def _writes(self, client: mqtt.Client, _data: Any, connection: Any) -> None:
        self._loop.add_writer(connection, client.loop_write)

    def _written(self, _client: mqtt.Client, _data: Any, connection: Any) -> None:
        self._loop.remove_writer(connection)

    def _closed(self, _client: mqtt.Client, _data: Any, connection: Any) -> None:
        self._loop.remove_reader(connection)

    def _connected(self, _client: mqtt.Client, _data: Any, _flags: Any, _reason: Any, _properties: Any) -> None:
        own: tuple[Topic[Any], ...] = (NODE_STATUS, NODE_CLAIM, PROFILE_REQUEST, DESIRED, NODE_PEERS)
        of_models = [row for row in written_by("agent") if row.lives_with is not None]
        everywhere: tuple[Topic[Any], ...] = (REVOCATIONS, CONTROLLER_STATUS, CLIENT_TOKENS, MODEL_OFFER, DEPLOYMENT)
        filters = [*(row.filter() for row in everywhere), *(row.filter(self.name) for row in (*own, *of_models))]
        self._client.subscribe([(one, QUALITY_OF_SERVICE) for one in filters])
        self.publish(NODE_CLAIM, Claim(instance=self._instance), self.name)
        self.publish(NODE_STATUS, self._status(online=True), self.name)

    def _status(self, *, online: bool) -> NodeStatus:
        return NodeStatus(
            node=self.name,
            online=online,
            protocol=PROTOCOL,
            version=VERSION,
            instance=self._instance,
            advertise=f"10.0.0.1:{self._port}",
            http=f"10.0.0.1:{self._port + 1}",
            runtime="onnxruntime 1.22.0",
            memory_limit_bytes=4 << 30,
            labels=self.labels,
        )

    # --- what it hears ---------------------------------------------------------------------------------------------

    def _message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        levels, payload = message.topic.split("/")[2:], bytes(message.payload)
        if levels[0] == "controller":
            self._hear_controller(payload)
        elif levels[0] == "models":
            self._hear_offer(levels[1], payload)
        elif levels[-1] == "peers" and payload:
            self._hear_peers(msgspec.json.decode(payload, type=NodePeers))
        elif len(levels) == 4 and levels[2] == "desired":
            self._hear_desired(levels[3], payload)

    def _hear_controller(self, payload: bytes) -> None:
        self._artifacts = msgspec.json.decode(payload, type=ControllerStatus).artifacts if payload else ""
        for offer in tuple(self._offers.values()) if self._artifacts else ():
            self._begin(self._profile(offer))

    def _hear_offer(self, model: str, payload: bytes) -> None:
        self._offers.pop(model, None)
        if payload:
            offer = self._offers[model] = msgspec.json.decode(payload, type=ModelOffer)
            if self._artifacts:
                self._begin(self._profile(offer))

    def _hear_peers(self, peers: NodePeers) -> None:
        self.peers = peers.peers
        wanted = {NODE_STATUS.of(peer) for peer in peers.peers}
        for topic in wanted - self._heard:
            self._client.subscribe(topic, QUALITY_OF_SERVICE)
        for topic in self._heard - wanted:
            self._client.unsubscribe(topic)
        self._heard = wanted
        self.report_links()

    def _hear_desired(self, model: str, payload: bytes) -> None:
        if not payload:
            self._served.pop(model, None)
            self._client.publish(OBSERVED.of(self.name, model), b"", QUALITY_OF_SERVICE, retain=True)
            return
        desired = msgspec.json.decode(payload, type=Desired)
        states = tuple(EpochState(epoch=spec.epoch, state="prepared") for spec in desired.epochs)
        if desired.serve is not None:
            self._served[model] = desired.serve
        observed = Observed(
            node=self.name, instance=self._instance, model=model, epochs=states, serving=self._served.get(model)
        )
        self.publish(OBSERVED, observed, self.name, model)
        self._on_desired(desired)

    def _begin(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _profile(self, offer: ModelOffer) -> None:
        plan = msgspec.json.decode(await _blob(self._artifacts, offer.profile_plan), type=ProfilePlan)
        unit_s = self._whole_s / len(plan.units)
        times = {unit: unit_s * self._random.lognormvariate(0, 0.05) for unit in plan.units}
        profile = ExecutionProfile(
            time_s=times,
            quantized_time_s={unit: times[unit] / 2 for unit in plan.quantizable},
            whole_s=sum(times.values()),
            unit_spreads=dict.fromkeys(plan.units, 0.05),
            runs=9,
            provider="CPUExecutionProvider",
            threads=1,
            runtime="onnxruntime 1.22.0",
        )
        report = ProfileReport(
            node=self.name,
            instance=self._instance,
            model=offer.model,
            sha256=offer.sha256,
            state="done",
            fraction=1.0,
            profile=profile,
            offered=offer.profile_plan,
        )
        if self._offers.get(offer.model) == offer:
            self.publish(PROFILE_REPORT, report, self.name, offer.model)


async def _blob(artifacts: str, digest: str) -> bytes:
    """A blob of the controller's, fetched once by all agents of this process."""

    async def fetch() -> bytes:
        async with aiohttp.ClientSession() as session, session.get(f"{artifacts}/blobs/{digest}") as response:
            response.raise_for_status()
            return await response.read()

    if digest not in _blobs:
        _blobs[digest] = asyncio.get_running_loop().create_task(fetch())
    return await asyncio.shield(_blobs[digest])


async def start_all(agents: Sequence[SimulatedAgent]) -> None:
    """Connect them, some at a time."""
    for at in range(0, len(agents), MANY_AT_ONCE):
        for agent in agents[at : at + MANY_AT_ONCE]:
            agent.start()
        await asyncio.sleep(0.1)


async def report_for_ever(agents: Sequence[SimulatedAgent]) -> None:
    """Each once a second, evenly over the second."""
    clock, began_s = asyncio.get_running_loop().time, asyncio.get_running_loop().time()
    told = 0
    while True:
        agent = agents[told % len(agents)]
        agent.report()
        agent.tick()
        told += 1
        due_s = began_s + told * REPORT_EVERY_S / len(agents)
        await asyncio.sleep(max(0.0, due_s - clock()))


async def _run(url: str, first: int, count: int) -> None:
    agents = [
        SimulatedAgent(url, index, 0.2 if index % SITE_SIZE == 0 else 0.04) for index in range(first, first + count)
    ]
    await start_all(agents)
    await report_for_ever(agents)


@click.command()
@click.option("--broker", required=True, metavar="URL")
@click.option("--first", default=0, show_default=True, help="Number of the first one.")
@click.option("--count", default=500, show_default=True)
def main(broker: str, first: int, count: int) -> None:
    """Run simulated agents until SIGTERM.

    Example: python -m bench.simulated_agents --broker mqtt://127.0.0.1:1883 --count 500
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    asyncio.run(_run(broker, first, count))


if __name__ == "__main__":
    main()
