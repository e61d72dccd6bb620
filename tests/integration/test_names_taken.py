"""Two programs of one name at one broker: the first serves on, the second is refused with a reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from demo.fleet import EmulatedNode, LocalFleet
from demo.ports import free_port
from tests.brokers import running_mosquitto, start_mosquitto
from tests.waiting import blocking_until


def fleet(folder: Path, broker: str) -> LocalFleet:
    """A controller and an agent."""
    return LocalFleet(folder, (EmulatedNode("device", compute_w=3.0, transmit_w=1.0),), broker=broker)


def second(program: str, folder: Path, lines: str) -> subprocess.CompletedProcess[str]:
    """Start another program of the same name; it has to end by itself."""
    path = folder / f"second-{program}.toml"
    path.write_text(lines)
    module = {"agent": "edgesplit_agent.main", "controller": "edgesplit_controller.main"}[program]
    command = [sys.executable, "-m", module, "--config", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_second_agent_of_a_name_is_refused_and_the_first_stays_online(tmp_path: Path) -> None:
    # A broker of its own: others' nodes are remembered by a shared one.
    with running_mosquitto(tmp_path) as mosquitto, fleet(tmp_path / "fleet", mosquitto) as running:
        running.start()
        running.await_nodes()
        (before,) = running.splitctl("nodes")
        lines = (
            f'name = "device"\n[broker]\nurl = "{mosquitto}"\n[data]\nlisten = "127.0.0.1:0"\n'
            f'[http]\nlisten = ""\n[cache]\npath = "{tmp_path / "second"}"\n'
        )
        ended = second("agent", tmp_path, lines)
        assert ended.returncode == 1
        assert "another agent is registered as 'device' (at " in ended.stderr
        assert before["advertise"] in ended.stderr
        assert "Traceback" not in ended.stderr
        (after,) = running.splitctl("nodes")
        assert (after["online"], after["advertise"]) == (True, before["advertise"])
        assert "broker-lost" not in running.log("device")


def test_the_second_controller_at_a_broker_is_refused(tmp_path: Path) -> None:
    # A broker of its own: others' nodes are remembered by a shared one.
    with running_mosquitto(tmp_path) as mosquitto, fleet(tmp_path / "fleet", mosquitto) as running:
        running.start()
        running.await_nodes()
        lines = (
            f'[broker]\nurl = "{mosquitto}"\n[store]\npath = "{tmp_path / "second"}"\n'
            '[artifacts]\nlisten = "127.0.0.1:0"\n[dashboard]\nlisten = ""\n'
        )
        ended = second("controller", tmp_path, lines)
        assert ended.returncode == 1
        assert "another controller serves at this broker" in ended.stderr
        assert "Traceback" not in ended.stderr
        assert [node["name"] for node in running.splitctl("nodes")] == ["device"]


def test_an_agent_that_was_killed_gets_its_name_back(tmp_path: Path) -> None:
    # A broker of its own: others' nodes are remembered by a shared one.
    with running_mosquitto(tmp_path) as mosquitto, fleet(tmp_path / "fleet", mosquitto) as running:
        running.start()
        running.await_nodes()
        running.kill("device")
        running.start_agent("device")
        blocking_until(lambda: running.splitctl("nodes")[0]["online"], "the agent is online again")


def test_access_rights_that_leave_an_agent_deaf_are_said_by_name(tmp_path: Path) -> None:
    """Mosquitto's acl_file confirms a subscription that it denies, and then passes nothing on."""
    port = free_port()
    rights = tmp_path / "rights"
    rights.write_text("topic write edgesplit/1/#\n")
    process = start_mosquitto(port, tmp_path, f"allow_anonymous true\nacl_file {rights}")
    path = tmp_path / "agent.toml"
    path.write_text(
        f'name = "device"\n[broker]\nurl = "mqtt://127.0.0.1:{port}"\n[data]\nlisten = "127.0.0.1:0"\n'
        f'[http]\nlisten = ""\n[cache]\npath = "{tmp_path / "cache"}"\n'
    )
    log = tmp_path / "agent.log"
    try:
        with log.open("w") as output:
            command = [sys.executable, "-m", "edgesplit_agent.main", "--config", str(path)]
            agent = subprocess.Popen(command, stderr=output, stdout=output)
        try:
            blocking_until(
                lambda: "does not pass on edgesplit/1/nodes/device/claim" in log.read_text(), "the complaint"
            )
            assert "broker-connected" not in log.read_text()
        finally:
            agent.terminate()
            agent.wait(30)
    finally:
        process.terminate()
        process.wait()
