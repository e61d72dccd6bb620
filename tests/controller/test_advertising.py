"""Where agents are told to fetch models, and a controller that starts before its broker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from demo.ports import free_port
from edgesplit.control.registration_messages import NodeStatus
from edgesplit.errors import InvalidConfiguration
from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit.operations.fleet_operations import NodeRow
from edgesplit.release import PROTOCOL
from edgesplit_controller import extras
from edgesplit_controller.artifacts.artifact_address import ArtifactAddress
from edgesplit_controller.cli.views.tables import show_nodes
from edgesplit_controller.configuration import ArtifactsSection
from edgesplit_controller.fleet.registry import Registry
from tests.brokers import start_mosquitto
from tests.shared.networks import FakeNetwork
from tests.waiting import until


class Told:
    """What an artifact address told."""

    def __init__(
        self, network: FakeNetwork, section: ArtifactsSection | None = None, broker: str = "127.0.0.1"
    ) -> None:
        self.moves = 0
        self.warnings: list[str] = []
        self.nodes: list[tuple[str, str]] = []
        self.address = ArtifactAddress(
            section or ArtifactsSection(),
            broker=BrokerAddress.parse(f"mqtt://{broker}"),
            connected_to=lambda: "",
            nodes=lambda: self.nodes,
            moved=self._moved,
            warn=self.warnings.append,
            network=network,
        )

    def _moved(self) -> None:
        self.moves += 1


def test_a_broker_on_this_machine_does_not_make_artifacts_loopback() -> None:
    machine = FakeNetwork({"default": "192.168.1.7"})
    told = Told(machine)
    told.address.listening("0.0.0.0:7480")
    assert told.address.base == "http://192.168.1.7:7480"
    machine.routes["default"] = "192.168.1.8"
    told.address.read()
    assert (told.address.base, told.moves, told.warnings) == ("http://192.168.1.8:7480", 1, [])


def test_loopback_is_warned_of_once_when_a_node_of_another_machine_registers() -> None:
    told = Told(FakeNetwork({"default": "192.168.1.7"}), ArtifactsSection(listen="127.0.0.1:7480"))
    told.address.listening("127.0.0.1:7480")
    told.nodes.append(("device", "192.168.1.7:7400"))
    told.address.read()
    assert told.warnings == []
    told.nodes.append(("edge", "192.168.1.9:7400"))
    told.address.read()
    told.address.read()
    (said,) = told.warnings
    assert said.startswith("node edge at 192.168.1.9 is on another machine and never reaches 127.0.0.1:7480")


async def test_a_name_that_does_not_resolve_is_said_at_the_start() -> None:
    told = Told(FakeNetwork({"default": "192.168.1.7"}), ArtifactsSection(advertise="controller.example:7480"))
    told.address.listening("0.0.0.0:7480")
    keeping = asyncio.create_task(told.address.keep())
    await until(lambda: told.warnings)
    keeping.cancel()
    assert told.warnings[0].startswith("[artifacts] advertise is controller.example:7480, and controller.example does")


def status(advertise: str, warnings: tuple[str, ...] = ()) -> NodeStatus:
    """Of the node edge."""
    return NodeStatus(
        node="edge", online=True, protocol=PROTOCOL, version="0", instance="i", advertise=advertise, warnings=warnings
    )


def test_a_node_that_moves_or_warns_is_an_event_once() -> None:
    registry = Registry()
    kinds = [
        change.kind
        for step in (
            status("10.0.0.5:7400"),
            status("10.0.0.6:7400"),
            status("10.0.0.6:7400", ("no network",)),
            status("10.0.0.6:7400", ("no network",)),
        )
        for change in registry.set_status("edge", step)
    ]
    assert kinds == ["node-joined", "node-moved", "node-warning"]


def test_warnings_stand_below_the_table_of_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    row = NodeRow(
        name="edge",
        online=True,
        advertise="127.0.0.1:7400",
        cpu_percent=None,
        memory_available_bytes=None,
        compute_w=None,
        transmit_w=None,
        power_origin=None,
        version="0",
        runtime="",
        emulated=False,
        warnings=("this machine has no address but its loopback",),
    )
    show_nodes([row])
    assert "edge: this machine has no address but its loopback" in capsys.readouterr().out


def test_a_controller_beside_an_agent_alone_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "MODULES", ("json", "no_such_package"))
    with pytest.raises(InvalidConfiguration, match=r"edgesplit-controller needs no_such_package.*\.\[controller\]"):
        extras.check_installed("edgesplit-controller")


def test_a_controller_starts_where_there_is_no_broker_yet_and_says_how_it_stands(tmp_path: Path) -> None:
    path, port = tmp_path / "notify", free_port()
    environment = {
        **os.environ,
        "NOTIFY_SOCKET": str(path),
        "EDGESPLIT_BROKER_URL": f"mqtt://127.0.0.1:{port}",
        "EDGESPLIT_STORE_PATH": str(tmp_path / "store"),
        "EDGESPLIT_ARTIFACTS_LISTEN": "127.0.0.1:0",
        "EDGESPLIT_DASHBOARD_LISTEN": "",
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, contextlib.ExitStack() as stack:
        manager.bind(str(path))
        manager.settimeout(60.0)

        def told(what: str) -> str:
            while what not in (said := manager.recv(4096).decode()):
                pass
            return said

        run = [sys.executable, "-m", "edgesplit_controller.main"]
        controller = stack.enter_context(subprocess.Popen(run, env=environment, stderr=subprocess.DEVNULL))
        stack.callback(controller.terminate)
        waits = told("READY=1")
        assert "STATUS=waiting for the broker: no MQTT broker answers at 127.0.0.1:" in waits
        assert controller.poll() is None
        broker = stack.enter_context(start_mosquitto(port, tmp_path))
        stack.callback(broker.kill)
        told("READY=1\nSTATUS=serving, artifacts at http://127.0.0.1:")
        broker.kill()
        told("STATUS=serving without a broker: ")
