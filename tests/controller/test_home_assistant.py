"""Nodes and deployed models are devices of Home Assistant: told over a real Mosquitto, and taken back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgesplit.control.figure_messages import USAGE, Usage
from edgesplit.errors import InvalidConfiguration
from edgesplit.operations.fleet_operations import RemoveNode
from edgesplit.operations.plan_operations import DeployModel, UndeployModel
from edgesplit_controller.configuration import ControllerConfiguration, HomeAssistantSection
from edgesplit_controller.fleet.registry import FleetNode
from edgesplit_controller.monitoring import home_assistant
from edgesplit_controller.monitoring.home_devices import HomeTopics, node_device
from edgesplit_controller.monitoring.recent_requests import RecentFigures, RecentRequests
from tests.brokers import Stranger, publish_bytes, running_mosquitto
from tests.controller.fleet import Fleet
from tests.controller.tiny_models import convolutions
from tests.waiting import until, until_answered

TOPICS = HomeTopics("homeassistant")
LEFT_BEHIND = "homeassistant/device/edgesplit-node-gone/config"
ANOTHERS = "homeassistant/device/zigbee-lamp/config"


class NoBroker:
    """In place of the broker in process: Mosquitto runs already."""

    def start(self) -> None:
        """It does."""

    def stop(self) -> None:
        """It is stopped elsewhere."""


@pytest.fixture
async def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fleet]:
    """A fleet with discovery, at a Mosquitto where an earlier run and another program left messages; its stranger hears all."""
    monkeypatch.setattr(home_assistant, "FIRST_LOOK_S", 1.0)
    monkeypatch.setattr(home_assistant, "LOOK_EVERY_S", 0.05)
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    with running_mosquitto(folder) as url:
        for topic in (LEFT_BEHIND, ANOTHERS):
            publish_bytes(url, topic, b"{}", retain=True)
        fleet = Fleet(tmp_path)
        fleet.url, fleet.broker = url, NoBroker()  # type: ignore[assignment]
        fleet.configuration = msgspec.structs.replace(
            fleet.configuration,
            broker=msgspec.structs.replace(fleet.configuration.broker, url=url),
            home_assistant=HomeAssistantSection(discovery=True),
        )
        await fleet.start()
        fleet.stranger.listen("homeassistant/#")
        yield fleet
        await fleet.stop()
        after = Stranger(url)
        after.listen("homeassistant/#")
        await until(
            lambda: (
                {after.heard.get(TOPICS.availability(f"edgesplit-node-{name}")) for name in ("edge", "cloud")}
                == {b"offline"}
            )
        )
        after.close()


def heard(fleet: Fleet, topic: str) -> bytes:
    """What lies on a topic now."""
    return fleet.stranger.heard.get(topic, b"")


def state(fleet: Fleet, identifier: str) -> dict[str, Any]:
    said = heard(fleet, TOPICS.state(identifier))
    return json.loads(said) if said else {}


async def test_devices_come_and_go_with_what_they_stand_for(home: Fleet) -> None:
    await until(lambda: all(heard(home, TOPICS.discovery(f"edgesplit-node-{name}")) for name in home.agents))
    told = json.loads(heard(home, TOPICS.discovery("edgesplit-node-edge")))
    assert told["device"]["identifiers"] == ["edgesplit-node-edge"]
    assert {part["unique_id"] for part in told["components"].values()} == {
        "edgesplit-node-edge-state",
        "edgesplit-node-edge-power_w",
        "edgesplit-node-edge-serving_w",
    }
    assert all(part["expire_after"] > 2 * home_assistant.REPEAT_S for part in told["components"].values())
    assert told["components"]["power"]["unit_of_measurement"] == "W"
    await until(lambda: state(home, "edgesplit-node-edge").get("state") == "online")

    home.agents["edge"].publish_metrics(drawn_w=7.26, battery_fraction=0.5)
    await until(lambda: state(home, "edgesplit-node-edge").get("power_w") == 7.3)
    await until(lambda: "battery" in json.loads(heard(home, TOPICS.discovery("edgesplit-node-edge")))["components"])

    async def are_leftovers_gone() -> bool:
        return LEFT_BEHIND not in await home.client.bus.retained(TOPICS.every_device)

    await until_answered(are_leftovers_gone, "taking back what an earlier run told")
    assert heard(home, ANOTHERS) == b"{}"  # what others say below the prefix stays

    await home.client.add("tiny", convolutions(2))
    epoch = (await home.client.ask(DeployModel(name="tiny", source="device")))["epoch"]
    await until(lambda: state(home, "edgesplit-model-tiny").get("epoch") == epoch)
    assert state(home, "edgesplit-model-tiny")["nodes"] == ", ".join(home.plan("tiny").epoch.participants)
    served = Usage(
        node="device",
        model="tiny",
        epoch=epoch,
        requests=5,
        failed=0,
        compute_s=1.0,
        transmit_s=0.0,
        energy_j=1.0,
        energy_origin="configured",
        latency_sum_s=2.5,
        counted_since_unix_s=1.0,
    )
    home.agents["device"].bus.publish(USAGE, served, "device", "tiny")
    await until(lambda: state(home, "edgesplit-model-tiny").get("latency_s") == 0.5)
    assert state(home, "edgesplit-model-tiny")["rate_hz"] > 0

    await home.client.ask(UndeployModel(name="tiny"))
    await until(
        lambda: not any(heard(home, topic) for topic in TOPICS.of_discovery(TOPICS.discovery("edgesplit-model-tiny")))
    )

    await home.agents["device"].leave()
    await until(lambda: heard(home, TOPICS.availability("edgesplit-node-device")) == b"offline")
    await until(lambda: state(home, "edgesplit-node-device").get("state") == "offline")
    await home.client.ask(RemoveNode(name="device"))
    gone = TOPICS.of_discovery(TOPICS.discovery("edgesplit-node-device"))
    await until(lambda: not any(heard(home, topic) for topic in gone))
    # Whoever subscribes now finds nothing of it.
    assert await home.client.bus.retained("homeassistant/#") >= {TOPICS.discovery("edgesplit-node-edge"), ANOTHERS}
    assert not {*gone} & await home.client.bus.retained("homeassistant/#")


def test_names_of_any_form_give_identifiers_that_differ() -> None:
    names = ("cam_1", "cam.1", "cam-1", "cam1", "cam_5f1", "yolo@2", "yolo~cam")
    found = {node_device(TOPICS, name, FleetNode(), 0.0, "1").identifier for name in names}
    assert len(found) == len(names)
    assert all(set(one) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-") for one in found)


def test_rate_and_latency_are_those_of_the_last_minute() -> None:
    recent = RecentRequests(1)
    assert recent.look(0.0, 100, 50.0) == RecentFigures()
    assert recent.look(10.0, 120, 60.0) == RecentFigures(rate_hz=2.0, latency_s=0.5)
    for now_s in range(20, 200, 10):
        latest = recent.look(float(now_s), 120, 60.0)
    assert latest == RecentFigures(rate_hz=0.0, latency_s=None)
    # An agent that restarted counts anew.
    assert recent.look(200.0, 5, 1.0) == RecentFigures()
    assert recent.look(210.0, 15, 3.0) == RecentFigures(rate_hz=1.0, latency_s=0.2)


@pytest.mark.parametrize(
    "prefix", ["", "a/", "/a", "a//b", "home/+", "#", "$SYS", "edgesplit/1", "edgesplit/1/x", "hä"]
)
def test_a_prefix_that_cannot_be_one_is_refused(prefix: str) -> None:
    configuration = ControllerConfiguration(home_assistant=HomeAssistantSection(discovery=True, prefix=prefix))
    with pytest.raises(InvalidConfiguration, match=r"home_assistant\.prefix"):
        configuration.validate()
