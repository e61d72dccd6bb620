"""Two real agents behind a real broker: register, profile, prepare, serve, lose each other, come back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import numpy as np
import pytest

from edgesplit.client.asynchronous import AsyncClient
from edgesplit.control.event_messages import EVENT, Event
from edgesplit.control.figure_messages import LINK_METRICS, NODE_METRICS, USAGE, NodeMetrics, Steadiness, Usage
from edgesplit.control.plan_messages import DEPLOYMENT, DESIRED, OBSERVED, Observed
from edgesplit.control.profile_messages import MODEL_OFFER, PROFILE_REPORT, ModelOffer, ProfilePlan, ProfileReport
from edgesplit.control.registration_messages import (
    CONTROLLER_STATUS,
    NODE_PEERS,
    NODE_STATUS,
    ControllerStatus,
    NodePeers,
    NodeStatus,
)
from edgesplit.daemon.configuration_sections import BrokerSection
from edgesplit.errors import InvalidTensor, UnknownModel
from edgesplit.mqtt.bus import MessageBus
from edgesplit.mqtt.topic import Topic
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit_agent.configuration import (
    AgentConfiguration,
    CacheSection,
    DataSection,
    EmulationSection,
    HttpSection,
    PowerSection,
)
from edgesplit_agent.daemon import Agent
from edgesplit_agent.steadiness import steadiness_watch
from tests.agent.graphs import Blobs, deployment, desired, device_part, edge_part, local_part, serve_blobs
from tests.brokers import publish_bytes, running_mosquitto
from tests.waiting import until


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """A Mosquitto on a free port."""
    with running_mosquitto(tmp_path) as url:
        yield url


def agent(name: str, broker: str, folder: Path) -> Agent:
    """An agent on free ports."""
    return Agent(
        AgentConfiguration(
            name=name,
            broker=BrokerSection(url=broker),
            data=DataSection(listen="127.0.0.1:0"),
            power=PowerSection(source="constant", compute_w=3.0, transmit_w=2.0),
            http=HttpSection(listen="127.0.0.1:0"),
            cache=CacheSection(path=str(folder / name)),
        )
    )


class Observer:
    """Collects what agents say, and plays the controller."""

    def __init__(self, url: str) -> None:
        self.bus = MessageBus(url, client_id="observer")
        self.heard: dict[str, object] = {}
        self.events: list[Event] = []

    async def start(self) -> None:
        """Connect and listen."""
        for row in (NODE_STATUS, NODE_METRICS, LINK_METRICS, OBSERVED, PROFILE_REPORT, USAGE):
            self._keep(row)
        self.bus.subscribe(EVENT, self._on_event)
        await self.bus.connect(5.0)

    def _keep(self, row: Topic[Any]) -> None:
        self.bus.subscribe(row, self.heard.__setitem__)

    def _on_event(self, _topic: str, event: Event | None) -> None:
        assert event is not None
        self.events.append(event)

    def serving(self, node: str) -> int | None:
        """The epoch a node says it serves."""
        observed = self.heard.get(OBSERVED.of(node, "m"))
        return observed.serving if isinstance(observed, Observed) else None

    def states(self, node: str) -> dict[int, str]:
        """The epochs a node says it holds."""
        observed = self.heard.get(OBSERVED.of(node, "m"))
        return {e.epoch: e.state for e in observed.epochs} if isinstance(observed, Observed) else {}


@asynccontextmanager
async def running(agent: Agent) -> AsyncIterator[Agent]:
    """Start and stop."""
    await agent.start()
    try:
        yield agent
    finally:
        await agent.stop()


async def test_agents_register_prepare_serve_and_survive_each_other(broker: str, tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    runner, base = await serve_blobs(blobs.folder)
    observer = Observer(broker)
    await observer.start()
    observer.bus.publish(
        CONTROLLER_STATUS, ControllerStatus(online=True, protocol=1, version="1", instance="i", artifacts=base)
    )
    first, middle, last = blobs.affine("x", "a", 2.0), blobs.affine("a", "b", 3.0), blobs.affine("b", "y", 5.0)
    whole = blobs.affine("x", "y", 30.0)
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    async with running(agent("device", broker, tmp_path)) as device:
        edge = agent("edge", broker, tmp_path)
        await edge.start()
        await until(lambda: device.plane.is_up("edge") and edge.plane.is_up("device"))
        fallback, epoch = local_part(1, whole), device_part(2, first, last)
        observer.bus.publish(DESIRED, desired("edge", edge_part(2, middle)), "edge", "m")
        observer.bus.publish(DESIRED, desired("device", fallback, epoch, fallback=1), "device", "m")
        await until(lambda: observer.states("device") == {1: "prepared", 2: "prepared"})
        await until(lambda: observer.states("edge") == {2: "prepared"})
        assert observer.serving("device") is None
        status = observer.heard[NODE_STATUS.of("device")]
        assert isinstance(status, NodeStatus)
        async with AsyncClient(status.advertise) as client:
            with pytest.raises(UnknownModel):
                await client.infer("m", {"x": x})
            observer.bus.publish(DESIRED, desired("device", fallback, epoch, serve=2, fallback=1), "device", "m")
            observer.bus.publish(DEPLOYMENT, deployment("device", status.advertise), "m")
            await until(lambda: observer.serving("device") == 2)
            result = await client.infer_detailed("m", {"x": x})
            assert result.epoch == 2
            np.testing.assert_allclose(result.outputs["y"], 30 * x)
            with pytest.raises(InvalidTensor):
                await client.infer("m", {"x": x.astype(np.float64)})
            async with AsyncClient(observer.heard[NODE_STATUS.of("edge")].advertise) as other:  # type: ignore[attr-defined]
                forwarded = await other.infer_detailed("m", {"x": x})
                assert forwarded.epoch == 2

            await edge.stop()
            await until(lambda: observer.serving("device") == 1)
            result = await client.infer_detailed("m", {"x": x})
            assert result.epoch == 1
            np.testing.assert_allclose(result.outputs["y"], 30 * x)
            await until(lambda: any(event.kind == "fallback-engaged" for event in observer.events))

            async with running(agent("edge", broker, tmp_path)):
                await until(lambda: observer.serving("device") == 2)
                assert (await client.infer_detailed("m", {"x": x})).epoch == 2
                observer.bus.clear(DESIRED, "device", "m")
                await until(lambda: observer.heard[OBSERVED.of("device", "m")] is None)
        await until(lambda: USAGE.of("device", "m") in observer.heard)
        usage = observer.heard[USAGE.of("device", "m")]
        assert isinstance(usage, Usage)
        assert usage.requests >= 1
        assert usage.compute_s > 0
        assert usage.energy_origin == "configured"
        metrics = observer.heard[NODE_METRICS.of("device")]
        assert isinstance(metrics, NodeMetrics)
        assert metrics.compute_w == 3.0
    await until(lambda: not observer.heard[NODE_STATUS.of("device")].online)  # type: ignore[attr-defined]
    await observer.bus.close()
    await runner.cleanup()


async def test_nodes_that_found_each_other_by_themselves_part_when_a_controller_names_them_no_more(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgesplit_agent.following.peer_choice.PATIENCE_S", 0.1)
    monkeypatch.setattr("edgesplit_agent.following.peer_choice.LINGER_S", 0.5)
    observer = Observer(broker)
    await observer.start()
    async with running(agent("hub", broker, tmp_path)) as hub, running(agent("far", broker, tmp_path)) as far:
        await until(lambda: hub.plane.is_up("far") and far.plane.is_up("hub"))
        status = ControllerStatus(online=True, protocol=1, version="1", instance="i", artifacts="", names_peers=True)
        observer.bus.publish(CONTROLLER_STATUS, status)
        for name in ("hub", "far"):
            observer.bus.publish(NODE_PEERS, NodePeers(node=name, peers=()), name)
        await until(lambda: not hub.plane.is_up("far") and not far.plane.is_up("hub"))
    await observer.bus.close()


async def test_an_agent_profiles_an_offered_model_and_remembers_it(broker: str, tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    runner, base = await serve_blobs(blobs.folder)
    from edgesplit.control.component_messages import GraphRef

    graph = GraphRef(digest=blobs.put(blobs.chain(3).SerializeToString()), nbytes=1)
    plan = ProfilePlan(
        units=("first", "second", "third"),
        kernel_units={"unit0": "first", "unit1": "second", "unit2": "third"},
        quantizable=("second",),
        inputs=(TensorSpec(name="x", dtype="float32", shape=(1, 64)),),
    )
    offer = ModelOffer(
        model="m",
        sha256="s",
        float_graph=graph,
        quantized_graph=graph,
        profile_plan=blobs.put(msgspec.json.encode(plan)),
    )
    observer = Observer(broker)
    await observer.start()
    observer.bus.publish(
        CONTROLLER_STATUS, ControllerStatus(online=True, protocol=1, version="1", instance="i", artifacts=base)
    )
    observer.bus.publish(MODEL_OFFER, offer, "m")

    def report() -> ProfileReport | None:
        heard = observer.heard.get(PROFILE_REPORT.of("device", "m"))
        return heard if isinstance(heard, ProfileReport) and heard.state != "running" else None

    async with running(agent("device", broker, tmp_path)):
        await until(report)
        done = report()
        assert done is not None
        assert done.state == "done", done.detail
        assert done.profile is not None
        assert set(done.profile.time_s) == {"first", "second", "third"}
        assert set(done.profile.quantized_time_s) == {"second"}
        assert sum(done.profile.time_s.values()) == pytest.approx(done.profile.whole_s)
    await runner.cleanup()
    observer.heard.clear()
    async with running(agent("device", broker, tmp_path)) as device:
        await until(report)
        again = report()
        assert again is not None
        assert again.profile == done.profile
        slower = msgspec.structs.replace(device.configuration, emulation=EmulationSection(slow_down=2.0))
        device.reload(slower)
        await until(lambda: (heard := report()) and heard.profile and heard.profile.slow_down == 2.0)
        slowed = report()
        assert slowed is not None
        assert slowed.profile is not None
        assert slowed.profile.whole_s == pytest.approx(2 * done.profile.whole_s)
        observer.bus.clear(MODEL_OFFER, "m")
        await until(lambda: observer.heard[PROFILE_REPORT.of("device", "m")] is None)
    await observer.bus.close()


async def test_an_agent_parts_from_a_controller_of_another_protocol_and_ignores_garbage(
    broker: str, tmp_path: Path
) -> None:
    observer = Observer(broker)
    await observer.start()
    controller = ControllerStatus(online=True, protocol=2, version="9", instance="i", artifacts="http://nowhere")
    observer.bus.publish(CONTROLLER_STATUS, controller)
    async with running(agent("device", broker, tmp_path)):
        topic = NODE_STATUS.of("device")
        await until(lambda: getattr(observer.heard.get(topic), "refused", ""))
        status = observer.heard[topic]
        assert isinstance(status, NodeStatus)
        assert "protocol 2" in status.refused
        observer.bus.publish(DESIRED, desired("device"), "device", "m")
        publish_bytes(broker, DEPLOYMENT.of("m"), msgspec.json.encode(controller))
        await until(lambda: any(event.kind == "malformed-message" for event in observer.events))
        assert OBSERVED.of("device", "m") not in observer.heard
        observer.bus.publish(CONTROLLER_STATUS, msgspec.structs.replace(controller, protocol=1, version="1"))
        await until(lambda: OBSERVED.of("device", "m") in observer.heard)
    await observer.bus.close()


async def test_an_agent_says_how_steady_its_machine_is(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"BLOCK_EVERY_S": 0.01, "APART_S": 0.001, "SHARE_LIMIT": 1.0}.items():
        monkeypatch.setattr(steadiness_watch, name, value)
    observer = Observer(broker)
    await observer.start()

    def said() -> Steadiness | None:
        metrics = observer.heard.get(NODE_METRICS.of("device"))
        steadiness = metrics.steadiness if isinstance(metrics, NodeMetrics) else None
        return steadiness if steadiness is not None and steadiness.regime != "unknown" else None

    observer.bus.publish(DESIRED, desired("device"), "device", "m")  # without a model nobody asks how steady it is
    async with running(agent("device", broker, tmp_path)) as device:
        steadiness = await until(said)
        url = f"http://{device.control.status.http}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            page = await answer.text()
    assert steadiness.rested_spread > 0
    assert steadiness.samples >= 30
    assert 'edgesplit_steadiness_spread{node="device",over="seconds"}' in page
    assert 'edgesplit_self_measurement_seconds_total{node="device",work="steadiness"}' in page
    await observer.bus.close()
