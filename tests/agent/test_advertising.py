"""What a node registers about where it is reached: current at each connection, and judged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from demo.ports import free_port
from edgesplit.control.registration_messages import NodeStatus
from edgesplit.daemon.advertised_address import Network
from edgesplit.daemon.configuration_sections import BrokerSection
from edgesplit.daemon.inference_runtime import runtime_builds
from edgesplit.daemon.service_notification import Notifier
from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit.release import PROTOCOL
from edgesplit_agent.configuration import AgentConfiguration, CacheSection, DataSection, HttpSection, PowerSection
from edgesplit_agent.daemon import Agent
from edgesplit_agent.readiness import Readiness
from edgesplit_agent.reporting.node_address import Advertiser
from tests.shared.networks import FakeNetwork
from tests.waiting import until


def status(node: str, advertise: str = "") -> NodeStatus:
    """A registration."""
    return NodeStatus(
        node=node, online=True, protocol=PROTOCOL, version="0", instance="i", advertise=advertise, runtime=""
    )


@dataclass
class Registered:
    """Plays the control plane."""

    status: NodeStatus = field(default_factory=lambda: status("device"))
    artifacts: str = ""
    others: list[NodeStatus] = field(default_factory=list[NodeStatus])

    def online_nodes(self) -> list[NodeStatus]:
        """See Registration."""
        return self.others

    def update_status(self, **changes: object) -> None:
        """See Registration."""
        self.status = msgspec.structs.replace(self.status, **changes)


def advertiser(
    registered: Registered,
    network: Network,
    *,
    broker: str = "mqtt://broker.example",
    connected_to: Callable[[], str] = lambda: "",
    data: DataSection | None = None,
) -> Advertiser:
    """Of a node that listens on all interfaces."""
    made = Advertiser(
        data or DataSection(),
        HttpSection(),
        broker=BrokerAddress.parse(broker),
        connected_to=connected_to,
        registration=registered,
        network=network,
    )
    made.listening("0.0.0.0:7400", "0.0.0.0:7470")
    return made


def test_a_machine_that_got_another_address_registers_it_at_the_next_connection() -> None:
    registered = Registered()
    machine = FakeNetwork({"10.0.0.9": "10.0.0.5", "default": "192.168.1.7"})
    connected_to = [""]
    made = advertiser(registered, machine, connected_to=lambda: connected_to[0])
    connected_to[0] = "10.0.0.9"
    made.read()
    assert (registered.status.advertise, registered.status.http) == ("10.0.0.5:7400", "10.0.0.5:7470")
    machine.routes["10.0.0.9"] = "10.0.0.123"
    made.read()
    assert (registered.status.advertise, registered.status.http) == ("10.0.0.123:7400", "10.0.0.123:7470")
    # While the broker is away, the route to where it was is the one that counts.
    connected_to[0] = ""
    machine.routes["10.0.0.9"] = "10.0.0.124"
    made.read()
    assert registered.status.advertise == "10.0.0.124:7400"


def test_a_broker_on_this_machine_does_not_make_it_advertise_loopback() -> None:
    registered = Registered()
    machine = FakeNetwork({"default": "192.168.1.7"})
    made = advertiser(registered, machine, broker="mqtt://127.0.0.1:1883", connected_to=lambda: "127.0.0.1")
    assert registered.status.advertise == "192.168.1.7:7400"
    assert not registered.status.warnings
    machine.routes["default"] = "192.168.1.8"  # a new lease; the connection over loopback never notices
    made.read()
    assert registered.status.advertise == "192.168.1.8:7400"


def test_a_machine_without_a_network_registers_its_loopback_with_a_warning() -> None:
    registered = Registered()
    machine = FakeNetwork()
    made = advertiser(registered, machine, broker="mqtt://127.0.0.1:1883")
    assert registered.status.advertise == "127.0.0.1:7400"
    assert "no address but its loopback" in registered.status.warnings[0]
    machine.routes["default"] = "192.168.1.7"
    made.read()
    assert not registered.status.warnings


def test_loopback_is_warned_of_once_a_node_of_another_machine_registers() -> None:
    registered = Registered()
    data = DataSection(advertise="127.0.0.1:7400")
    made = advertiser(registered, FakeNetwork({"default": "10.0.0.5"}), broker="mqtt://127.0.0.1:1883", data=data)
    assert not registered.status.warnings
    registered.others.append(status("edge", "10.0.0.77:7400"))
    made.read()
    assert "node edge at 10.0.0.77 is on another machine" in registered.status.warnings[0]


def test_artifacts_offered_under_the_controllers_loopback_are_warned_of() -> None:
    registered = Registered(artifacts="http://127.0.0.1:7480")
    advertiser(registered, FakeNetwork({"10.0.0.9": "10.0.0.5"}), connected_to=lambda: "10.0.0.9")
    assert "the controller offers models at http://127.0.0.1:7480, a loopback" in registered.status.warnings[0]


@pytest.mark.parametrize(
    ("artifacts", "advertise", "said"),
    [
        ("http://controller.example:7480", "", "the controller offers models at http://controller.example:7480, and"),
        ("", "edge.example:7400", "[data] advertise is edge.example:7400, and edge.example does not resolve"),
    ],
)
async def test_names_that_do_not_resolve_are_warned_of(artifacts: str, advertise: str, said: str) -> None:
    registered = Registered(artifacts=artifacts)
    made = advertiser(registered, FakeNetwork({"default": "10.0.0.5"}), data=DataSection(advertise=advertise))
    keeping = asyncio.create_task(made.keep())
    await until(lambda: registered.status.warnings)
    assert registered.status.warnings[0].startswith(said)
    keeping.cancel()


class Manager(Notifier):
    """Remembers what it is told."""

    def __init__(self) -> None:
        super().__init__({})
        self.told: list[str] = []

    def _send(self, message: str) -> None:
        self.told.append(message)


async def test_a_start_without_a_broker_is_done_after_a_moment_and_says_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgesplit_agent.readiness.BROKER_PATIENCE_S", 0.0)
    manager = Manager()
    standing = Readiness(manager, "broker.example:1883")
    standing.connecting()
    await standing.start_without_broker()
    assert manager.told[-1].startswith("READY=1\nSTATUS=waiting for the broker: no MQTT broker answers at")
    assert not standing.registered
    standing.lost("the broker refuses user 'me'")
    assert manager.told[-1] == "STATUS=waiting for the broker: the broker refuses user 'me'"
    standing.connected(status("device", "10.0.0.5:7400"))
    assert manager.told[-2:] == ["READY=1", "STATUS=serving as device at 10.0.0.5:7400"]


async def test_a_start_with_a_broker_is_done_once_the_node_has_registered() -> None:
    manager = Manager()
    standing = Readiness(manager, "broker.example:1883")
    standing.connecting()
    assert not any("READY=1" in told for told in manager.told)
    standing.connected(msgspec.structs.replace(status("device", "10.0.0.5:7400"), warnings=("no network",)))
    assert manager.told[-2:] == ["READY=1", "STATUS=serving as device at 10.0.0.5:7400; no network"]


async def test_an_agent_starts_where_there_is_no_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesplit_agent.readiness.BROKER_PATIENCE_S", 0.1)
    manager = Manager()
    agent = Agent(
        AgentConfiguration(
            name="device",
            broker=BrokerSection(url=f"mqtt://127.0.0.1:{free_port()}"),
            data=DataSection(listen="127.0.0.1:0"),
            power=PowerSection(source="constant"),
            http=HttpSection(listen=""),
            cache=CacheSection(path=str(tmp_path)),
        ),
        manager,
    )
    started_s = time.monotonic()
    await agent.start()
    try:
        await until(lambda: any(told.startswith("READY=1") for told in manager.told))
        assert time.monotonic() - started_s < 30
        assert not agent.ready
    finally:
        await agent.stop()


def test_two_builds_of_the_runtime_are_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"onnxruntime": "1.20", "onnxruntime-gpu": "1.21"}
    monkeypatch.setattr(runtime_builds, "_version", lambda build: versions.get(build, ""))
    said = runtime_builds.runtime_conflict()
    assert said.startswith("onnxruntime-gpu and onnxruntime are both installed")
    assert "uninstall --yes onnxruntime-gpu onnxruntime" in said
    del versions["onnxruntime"]
    assert runtime_builds.runtime_conflict() == ""
    assert runtime_builds.installed_runtime() == "onnxruntime-gpu 1.21"
