"""The units as systemd reads them, without starting anything: no complaint, little exposure, examples that load."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgesplit.daemon.configuration_file import load_configuration
from edgesplit.daemon.service_unit import ServiceUnit
from edgesplit_agent.configuration import AgentConfiguration
from edgesplit_agent.joining.service_unit import agent_unit
from edgesplit_controller.cli.commands.trust.controller_service import controller_unit
from edgesplit_controller.configuration import ControllerConfiguration

UNITS = Path(__file__).resolve().parents[2] / "systemd"
AGENT = "edgesplit-agent.service"
CONTROLLER = "edgesplit-controller.service"
EXPOSURE_LIMIT = 20
"""In tenths, as systemd-analyze takes it."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def systemd_version() -> int:
    """The installed systemd's."""
    said = subprocess.run(["systemd-analyze", "--version"], check=True, capture_output=True, text=True).stdout
    return int(said.split()[1].split(".")[0])


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder that looks like a machine with edgesplit installed: what the units name exists there."""
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    for unit in (AGENT, CONTROLLER):
        shutil.copy(UNITS / unit, units)
    for program in (
        "opt/edgesplit/bin/edgesplit-agent",
        "opt/edgesplit/bin/edgesplit-controller",
        "bin/kill",
        "bin/sh",
    ):
        path = tmp_path / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/true\n")
        path.chmod(0o755)
    # The targets the units are ordered by and wanted by.
    system = tmp_path / "usr/lib/systemd/system"
    system.mkdir(parents=True)
    for target in ("basic", "multi-user", "network", "network-online", "shutdown", "sysinit"):
        (system / f"{target}.target").write_text(f"[Unit]\nDescription={target}\n")
    for unit in ("system.slice", "-.slice"):
        (system / unit).write_text(f"[Unit]\nDescription={unit}\n")
    return tmp_path


def complaints(root: Path, unit: str) -> str:
    """What `systemd-analyze verify` says about a unit installed under a root; it exits with 0 on unknown keys."""
    command = ["systemd-analyze", "verify", f"--root={root}", "--man=no", "--generators=no", unit]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stderr + (f"status {done.returncode}" if done.returncode else "")


@needs_systemd
@pytest.mark.parametrize("unit", [AGENT, CONTROLLER])
def test_systemd_has_no_complaint_about_a_unit(installed: Path, unit: str) -> None:
    assert complaints(installed, unit) == ""


@needs_systemd
def test_a_misspelt_key_would_be_noticed(installed: Path) -> None:
    unit = installed / "etc/systemd/system" / AGENT
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchdogSecs="))
    assert "WatchdogSecs" in complaints(installed, AGENT)


@needs_systemd
@pytest.mark.parametrize("drop_in", sorted(path.name for path in (UNITS / "drop-ins").glob("*.conf")))
def test_systemd_has_no_complaint_about_a_drop_in(installed: Path, drop_in: str) -> None:
    if drop_in == "growing-pause.conf" and systemd_version() < 254:
        pytest.skip("RestartSteps= needs systemd 254")
    folder = installed / f"etc/systemd/system/{AGENT}.d"
    folder.mkdir()
    shutil.copy(UNITS / "drop-ins" / drop_in, folder)
    assert complaints(installed, AGENT) == ""


@needs_systemd
@pytest.mark.parametrize("unit", [AGENT, CONTROLLER])
def test_a_unit_exposes_little(installed: Path, unit: str) -> None:
    assert exposure(installed, unit) <= EXPOSURE_LIMIT / 10


@needs_systemd
@pytest.mark.parametrize("drop_in", ["agent-gpu.conf", "agent-rapl.conf", "agent-socket.conf"])
def test_a_unit_exposes_little_with_what_its_sensors_and_clients_need(installed: Path, drop_in: str) -> None:
    folder = installed / f"etc/systemd/system/{AGENT}.d"
    folder.mkdir()
    shutil.copy(UNITS / "drop-ins" / drop_in, folder)
    assert exposure(installed, AGENT) <= EXPOSURE_LIMIT / 10


def exposure(root: Path, unit: str) -> float:
    """What `systemd-analyze security` says of a unit installed under a root, its drop-ins included; 10 is the worst."""
    command = ["systemd-analyze", "security", "--offline=true", f"--root={root}", f"--threshold={EXPOSURE_LIMIT}"]
    done = subprocess.run([*command, "--no-pager", unit], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
    assert done.stderr == ""
    return float(done.stdout.rpartition("exposure level for")[2].split()[1])


@pytest.mark.parametrize("unit", [AGENT, CONTROLLER])
def test_a_unit_is_ready_when_the_daemon_says_so_and_always_comes_back(unit: str) -> None:
    lines = (UNITS / unit).read_text().splitlines()
    for line in ("Type=notify", "NotifyAccess=main", "Restart=always", "StartLimitIntervalSec=0", "DynamicUser=yes"):
        assert line in lines
    assert any(line.startswith("WatchdogSec=") for line in lines)


@pytest.mark.parametrize("unit", [agent_unit(), controller_unit()], ids=lambda unit: unit.name)
def test_the_unit_that_a_command_installs_is_the_one_here(unit: ServiceUnit) -> None:
    assert unit.shipped == (UNITS / unit.name).read_text()


def test_the_example_settings_load() -> None:
    agent: AgentConfiguration = load_configuration(AgentConfiguration, UNITS / "agent.example.toml", {}).values
    assert (agent.name, agent.data.listen) == ("device", "0.0.0.0:7400")
    loaded = load_configuration(ControllerConfiguration, UNITS / "controller.example.toml", {})
    controller: ControllerConfiguration = loaded.values
    controller.validate()
    assert controller.store.path == "/var/lib/edgesplit"  # the unit's StateDirectory=


@pytest.mark.parametrize(
    ("file", "kind"),
    [("agent.example.env", AgentConfiguration), ("controller.example.env", ControllerConfiguration)],
)
def test_the_variables_of_the_environment_examples_exist(
    file: str, kind: type[AgentConfiguration] | type[ControllerConfiguration]
) -> None:
    text = (UNITS / file).read_text()
    pairs = [line.partition("=") for line in text.splitlines() if line and not line.startswith("#")]
    assert pairs
    environment = {name: value for name, _, value in pairs} | {"EDGESPLIT_NAME": "device"}
    origins = load_configuration(kind, None, environment).origins
    for name, _, _ in pairs:
        assert f"environment {name}" in origins.values()
