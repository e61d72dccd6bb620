"""Rights at a real Mosquitto with its dynamic security plugin, set by the controller's own connection."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from demo.ports import free_port
from edgesplit.mqtt.bus import MessageBus
from edgesplit.mqtt.topic import ROOT
from edgesplit.topic_table import TABLE
from edgesplit.trust.subjects import Subject
from edgesplit_controller.trust.broker_files import BrokerPlaces, write_broker_files
from edgesplit_controller.trust.broker_rights import CONTROL_TOPIC, BrokerUsers, commands_for, role_of
from edgesplit_controller.trust.dynamic_security import ANSWERS, DynamicSecurity
from tests.trust.secured_broker import Holder, SecuredFleet, found, secured_fleet
from tests.waiting import blocking_until

CAMERA, EDGE, ANN = Subject("node", "camera"), Subject("node", "edge"), Subject("operator", "ann")
EVERY = [
    row.of(*({"model": "m", "client": "c"}.get(name, node) for name in row.placeholders))
    for row in TABLE
    for node in (CAMERA.name, EDGE.name)
]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SecuredFleet]:
    with secured_fleet(tmp_path) as running:
        yield running


@contextlib.asynccontextmanager
async def administered(fleet: SecuredFleet, subjects: set[Subject]) -> AsyncIterator[DynamicSecurity]:
    """The controller's connection, and the rights of those subjects."""
    bus = MessageBus(fleet.address(fleet.founded.controller), client_id="controller")
    silent: list[str] = []
    rights = DynamicSecurity(bus.ask_broker, lambda: {who.common_name: who for who in subjects}, silent.append)
    bus.hear_broker(ANSWERS, rights.hear)
    await bus.connect(10)
    assert await rights.establish(), silent
    try:
        yield rights
    finally:
        await bus.close()


async def test_everybody_writes_and_reads_its_own_topics_and_no_other(fleet: SecuredFleet) -> None:
    async with administered(fleet, {CAMERA, EDGE, ANN}):
        await asyncio.to_thread(try_rights, fleet)


def try_rights(fleet: SecuredFleet) -> None:
    everybody = Holder(fleet.address(fleet.founded.controller))
    everybody.subscribe(f"{ROOT}/#")
    camera = Holder(fleet.address(fleet.identity(CAMERA)))
    ann = Holder(fleet.address(fleet.founded.operator))
    try:
        for holder, program, own in ((camera, "agent", "camera"), (ann, "splitctl", "")):
            everybody.heard.clear()
            holder.publish(*EVERY)
            last = f"{ROOT}/nodes/camera/claim" if own else f"{ROOT}/requests/last"
            holder.publish(last)
            deadline_s = time.monotonic() + 10
            while (
                everybody.heard.count(last) < (3 if own == "camera" and last in EVERY else 1)
                and time.monotonic() < deadline_s
            ):
                time.sleep(0.02)
            written = set(everybody.heard)
            for row in TABLE:
                for name in ("camera", "edge"):
                    topic = row.of(*({"model": "m", "client": "c"}.get(level, name) for level in row.placeholders))
                    may = program in row.writers and (
                        not own or not {"node", "origin"} & {*row.placeholders} or name == own
                    )
                    assert (topic in written) == may, (program, topic)
        camera.subscribe(
            f"{ROOT}/nodes/camera/desired/+", f"{ROOT}/nodes/+/status", f"{ROOT}/nodes/edge/desired/+", f"{ROOT}/#"
        )
        assert camera.denied == [f"{ROOT}/nodes/edge/desired/+", f"{ROOT}/#"]
    finally:
        for holder in (everybody, camera, ann):
            holder.close()


async def test_whoever_is_revoked_is_off_the_broker_within_five_seconds_and_has_no_rights(fleet: SecuredFleet) -> None:
    subjects = {CAMERA, EDGE, ANN}
    async with administered(fleet, subjects) as rights:
        files = fleet.identity(CAMERA)
        camera = await asyncio.to_thread(Holder, fleet.address(files))
        edge = await asyncio.to_thread(Holder, fleet.address(fleet.identity(EDGE)))
        everybody = await asyncio.to_thread(Holder, fleet.address(fleet.founded.controller))
        await asyncio.to_thread(everybody.subscribe, f"{ROOT}/#")
        subjects.remove(CAMERA)
        began_s = time.monotonic()
        assert await rights.establish()
        assert await asyncio.to_thread(camera.gone.wait, 5)
        assert time.monotonic() - began_s < 5
        again = await asyncio.to_thread(Holder, fleet.address(files))
        await asyncio.to_thread(again.publish, f"{ROOT}/nodes/camera/status")
        await asyncio.to_thread(edge.publish, f"{ROOT}/nodes/edge/status")
        deadline_s = time.monotonic() + 10
        while not everybody.heard and time.monotonic() < deadline_s:
            await asyncio.sleep(0.02)
        assert everybody.heard == [f"{ROOT}/nodes/edge/status"]
        assert not edge.gone.is_set()
        for holder in (camera, edge, everybody, again):
            holder.close()


async def test_nobody_is_interrupted_where_rights_are_as_they_should_be(fleet: SecuredFleet) -> None:
    async with administered(fleet, {CAMERA, ANN}) as rights:
        camera = await asyncio.to_thread(Holder, fleet.address(fleet.identity(CAMERA)))
        assert await rights.establish()
        await asyncio.to_thread(camera.publish, f"{ROOT}/nodes/camera/status")
        assert not camera.gone.is_set()
        camera.close()


def test_users_of_other_names_are_nobody_s_business() -> None:
    held = BrokerUsers(
        roles_of={"grafana": ("reader",), "controller:shop": ("c",), "node:old": ("node:old#1",)},
        roles=frozenset({"reader", "c", "node:old#1"}),
        default_access=dict.fromkeys(("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe"), False),
    )
    assert commands_for(
        {"controller:shop": Subject("controller", "shop"), "client:till": Subject("client", "till")}, held
    ) == [
        {"command": "deleteClient", "username": "node:old"},
        {"command": "deleteRole", "rolename": "node:old#1"},
    ]


def test_a_role_with_other_rules_has_another_name() -> None:
    camera, edge = role_of(CAMERA), role_of(EDGE)
    assert camera is not None and edge is not None
    assert camera.name.partition("#")[2] != edge.name.partition("#")[2]
    assert role_of(Subject("client", "till")) is None


def test_the_controller_writes_below_another_programs_prefix_where_it_was_asked_to(tmp_path: Path) -> None:
    with secured_fleet(tmp_path, elsewhere="homeassistant") as fleet:
        controller = Holder(fleet.address(fleet.founded.controller))
        controller.subscribe("homeassistant/#")
        controller.publish("homeassistant2/x", "homeassistant/device/edgesplit-node-camera/config")
        heard = "homeassistant/device/edgesplit-node-camera/config"
        blocking_until(lambda: heard in controller.heard, "the own message")
        assert controller.heard == [heard]
        controller.close()


def test_rights_that_were_asked_for_are_written_over_others(tmp_path: Path) -> None:
    controller, plugin = Subject("controller", "shop"), Path("/usr/lib/plugin.so")
    founded, places = found(tmp_path), BrokerPlaces.in_folder(tmp_path / "mosquitto")
    for elsewhere, is_written in (
        ("", True),
        ("", False),
        ("homeassistant", True),
        ("homeassistant", False),
        ("", True),
    ):
        written = write_broker_files(places, founded.broker, controller, plugin=plugin, elsewhere=elsewhere)
        assert (places.users in written) == is_written
        assert (b"homeassistant/#" in places.users.read_bytes()) == bool(elsewhere)


def test_home_assistant_with_a_password_on_a_listener_of_its_own_hears_its_prefix_and_nothing_else(
    tmp_path: Path,
) -> None:
    """As docs/monitoring.md says."""
    port, heard, denied = free_port(), list[str](), list[bool]()
    mine, theirs = "homeassistant/device/edgesplit-node-camera/config", f"{ROOT}/nodes/camera/status"
    acls = [
        {"acltype": kind, "topic": "homeassistant/#", "allow": True}
        for kind in ("publishClientReceive", "subscribePattern", "publishClientSend")
    ]
    commands = [
        {"command": "createRole", "rolename": "home-assistant", "acls": acls},
        {
            "command": "createClient",
            "username": "home-assistant",
            "password": "secret",
            "roles": [{"rolename": "home-assistant"}],
        },
    ]
    with secured_fleet(tmp_path, elsewhere="homeassistant", further=f"listener {port} 127.0.0.1") as fleet:
        controller = Holder(fleet.address(fleet.founded.controller))
        controller.subscribe(ANSWERS)
        said = msgspec.json.encode({"commands": commands})
        controller.client.publish(f"{CONTROL_TOPIC}/v1", said, qos=1).wait_for_publish(10)
        blocking_until(lambda: ANSWERS in controller.heard, "the plugin's answer")
        home = mqtt.Client(CallbackAPIVersion.VERSION2)
        home.username_pw_set("home-assistant", "secret")
        home.on_message = lambda _client, _data, message: heard.append(message.topic)
        home.on_subscribe = lambda _c, _d, _i, codes, _p: denied.extend(code.is_failure for code in codes)
        home.connect("127.0.0.1", port)
        home.loop_start()
        home.subscribe([("homeassistant/#", 1), (f"{ROOT}/#", 1)])
        blocking_until(lambda: len(denied) == 2, "the broker's answer")
        controller.publish(theirs, mine)
        blocking_until(lambda: mine in heard, "what the controller told")
        home.disconnect()
        home.loop_stop()
        controller.close()
    assert denied == [False, True]
    assert heard == [mine]
