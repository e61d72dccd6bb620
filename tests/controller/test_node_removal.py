"""A node that is gone for good leaves nothing behind, here or on the broker; one that is away says since when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from bench.fake_agent import FakeAgent
from edgesplit.control.figure_messages import NODE_METRICS, USAGE, Usage
from edgesplit.control.profile_messages import PROFILE_REPORT
from edgesplit.control.registration_messages import NODE_STATUS
from edgesplit.errors import EdgesplitError
from edgesplit.mqtt.topic import Topic
from edgesplit.operations.event_operations import ListEvents
from edgesplit.operations.fleet_operations import ListNodes, RemoveNode
from edgesplit.operations.goal_operations import ForbidNode
from edgesplit.operations.model_operations import ShowModel
from edgesplit.operations.plan_operations import DeployModel, UndeployModel
from edgesplit.operations.upkeep_operations import PausePlanning
from edgesplit.topic_table import TABLE, everything_of_node, topics_of_node
from tests.brokers import publish_bytes
from tests.controller.fleet import FAST, GOOD_LINK, Fleet
from tests.controller.tiny_models import convolutions
from tests.waiting import until


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    running = Fleet(tmp_path)
    await running.start()
    await running.client.add("tiny", convolutions(2))
    await running.client.ask(DeployModel(name="tiny", source="device"))
    yield running
    await running.stop()


async def gone(fleet: Fleet, name: str) -> None:
    await fleet.agents[name].leave()
    await until(lambda: name not in fleet.registry.online())


async def kept(fleet: Fleet, name: str) -> frozenset[str]:
    return await fleet.client.bus.retained(everything_of_node(name))


async def test_a_node_that_is_gone_is_forgotten_everywhere(fleet: Fleet) -> None:
    client, cloud = fleet.client, fleet.agents["cloud"]
    epoch = fleet.plan("tiny").epoch.number
    cloud.publish_timings("tiny", epoch, 1.0)
    usage = Usage(
        node="cloud", model="tiny", epoch=epoch, requests=1, failed=0, compute_s=1.0, transmit_s=0.0, energy_j=1.0,
        energy_origin="measured",
    )  # fmt: skip
    publish_bytes(fleet.url, USAGE.of("cloud", "tiny"), msgspec.json.encode(usage), retain=True)
    cloud.bus.publish(Topic("nodes/{node}/of-a-later-release", Usage, retained=True), usage, "cloud")
    await until(lambda: bool(fleet.registry.usage("tiny", epoch)))
    await client.ask(ForbidNode(node="cloud", model="tiny"))
    await gone(fleet, "cloud")
    assert (await client.ask(ShowModel(name="tiny")))["profiled_offline"] == ["cloud"]
    document = await client.ask(RemoveNode(name="cloud"))
    assert {NODE_STATUS.of("cloud"), NODE_METRICS.of("cloud"), PROFILE_REPORT.of("cloud", "tiny")} <= set(
        document["topics"]
    )
    assert document["named_by"] == ["tiny"]
    assert await kept(fleet, "cloud") == frozenset()
    assert [node["name"] for node in await client.ask(ListNodes())] == ["device", "edge"]
    shown = await client.ask(ShowModel(name="tiny"))
    assert (shown["profiled"], shown["profiled_offline"]) == (["device", "edge"], [])
    assert "cloud" not in fleet.registry.names()
    assert fleet.registry.usage("tiny", epoch) == ()
    (event,) = [event for event in await client.ask(ListEvents(limit=1000)) if event["kind"] == "node-removed"]
    assert event["node"] == "cloud"
    await fleet.stop_controller()
    await fleet.start_controller()
    assert "cloud" not in {entry.node for entry in fleet.store.load_speeds()}
    await until(lambda: len(fleet.registry.online()) == 2)
    assert [node["name"] for node in await client.ask(ListNodes())] == ["device", "edge"]
    again = FakeAgent(fleet.url, "cloud", unit_s=FAST, peers={"device": GOOD_LINK})
    await again.start()
    await until(lambda: "cloud" in fleet.registry.online())
    await again.bus.close()


async def test_one_that_the_plan_names_and_that_comes_back_is_told_its_part_again(fleet: Fleet) -> None:
    await fleet.client.ask(PausePlanning(model="tiny"))  # so that the plan goes on naming it
    name = next(node for node in fleet.plan("tiny").epoch.participants if node != "device")
    epoch = fleet.plan("tiny").epoch.number
    await gone(fleet, name)
    await fleet.client.ask(RemoveNode(name=name))
    assert await kept(fleet, name) == frozenset()
    again = FakeAgent(fleet.url, name, unit_s=FAST, peers={"device": GOOD_LINK})
    await again.start()
    await until(lambda: "tiny" in again.desired)
    assert epoch in {spec.epoch for spec in again.desired["tiny"].epochs}
    await again.bus.close()


async def test_one_that_is_online_or_a_source_is_refused_with_what_to_do(fleet: Fleet) -> None:
    client = fleet.client
    with pytest.raises(EdgesplitError, match="node edge is online and would come right back: stop its agent") as caught:
        await client.ask(RemoveNode(name="edge"))
    assert (caught.value.code, caught.value.exit_code) == ("node-online", 1)
    with pytest.raises(EdgesplitError, match=r"no node 'moon' is registered: the known ones are cloud, device, edge"):
        await client.ask(RemoveNode(name="moon"))
    await gone(fleet, "device")
    with pytest.raises(EdgesplitError, match="tiny is deployed from device, and no other node can answer"):
        await client.ask(RemoveNode(name="device"))
    assert NODE_STATUS.of("device") in await kept(fleet, "device")
    await client.ask(UndeployModel(name="tiny"))
    await client.ask(RemoveNode(name="device"))
    assert await kept(fleet, "device") == frozenset()


async def test_a_node_that_is_away_says_since_when_and_shows_no_figures(fleet: Fleet) -> None:
    rows = {row["name"]: row for row in await fleet.client.ask(ListNodes())}
    assert rows["edge"]["last_seen_s"] < 60
    await gone(fleet, "edge")
    fleet.registry.node("edge").heard_s = fleet.registry.clock() - 3600.0
    rows = {row["name"]: row for row in await fleet.client.ask(ListNodes())}
    assert rows["edge"]["last_seen_s"] == pytest.approx(3600.0, abs=60)
    assert [rows["edge"][key] for key in ("online", "cpu_percent", "memory_available_bytes", "compute_w")] == [
        False,
        None,
        None,
        None,
    ]
    assert rows["device"]["cpu_percent"] is not None


def test_every_topic_of_a_node_is_in_the_table() -> None:
    every = topics_of_node("edge", ["m", "n"])
    assert len(every) == len(set(every)) >= 11
    for row in TABLE:
        if "node" in row.placeholders:
            assert row.of(*("edge", "m")[: len(row.placeholders)]) in every
