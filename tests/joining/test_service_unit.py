"""The service that joining installs: what is written, what systemd is told, and what keeps it from being installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edgesplit.daemon import service_unit
from edgesplit.daemon.service_unit import ServiceUnit, unit_text
from edgesplit.errors import InvalidConfiguration
from edgesplit_agent.joining.leave import leave_fleet
from edgesplit_agent.joining.node_files import NodeFiles
from edgesplit_agent.joining.service_unit import agent_unit

NAME = "edgesplit-agent.service"
CONFIGURATION = Path("/etc/edgesplit/agent.toml")


class FakeSystemd:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.refuses = ""

    def __call__(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Answer a call of systemctl."""
        words = " ".join(command[1:])
        self.told.append(words)
        refused = bool(self.refuses) and self.refuses in words
        return subprocess.CompletedProcess(command, int(refused), "", "Job failed.\nSee the log." if refused else "")


@pytest.fixture
def systemd() -> FakeSystemd:
    return FakeSystemd()


@pytest.fixture
def unit(tmp_path: Path, systemd: FakeSystemd, monkeypatch: pytest.MonkeyPatch) -> ServiceUnit:
    """Of a machine that systemd manages, without being root of one."""
    monkeypatch.setattr(service_unit, "_HIDDEN", (tmp_path / "home",))
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    program = tmp_path / "opt" / "edgesplit-agent"
    program.parent.mkdir()
    program.touch()
    (tmp_path / "units").mkdir()
    return replace(agent_unit(), units=tmp_path / "units", booted=tmp_path, program=program, run=systemd)


def test_the_unit_is_installed_started_and_removed(unit: ServiceUnit, systemd: FakeSystemd, tmp_path: Path) -> None:
    unit.check(CONFIGURATION)
    said = unit.install(CONFIGURATION, restart=True)
    assert said == f"installed {unit.path} and started it"
    assert f"ExecStart={unit.program} --config {CONFIGURATION}" in unit.path.read_text().splitlines()
    assert systemd.told == ["daemon-reload", f"enable {NAME}", f"restart {NAME}"]
    files = NodeFiles(CONFIGURATION, tmp_path / "none")
    assert leave_fleet(files, unit, purge=False).done == (f"stopped {NAME} and removed its unit",)
    assert systemd.told[3:] == [f"disable --now {NAME}", "daemon-reload"]
    assert not unit.path.exists()
    assert leave_fleet(files, unit, purge=False).done == ()


def test_a_unit_of_somebody_else_is_started_and_stopped_and_stays(unit: ServiceUnit, tmp_path: Path) -> None:
    unit.path.write_text(f"[Service]\nExecStart=/mine --config {CONFIGURATION}\n")
    before = unit.path.read_text()
    assert unit.install(CONFIGURATION, restart=False).startswith("found")
    assert unit.path.read_text() == before
    done = leave_fleet(NodeFiles(CONFIGURATION, tmp_path / "none"), unit, purge=False).done
    assert done == (f"stopped and disabled {NAME}",)
    assert unit.path.read_text() == before


def test_leaving_with_another_configuration_leaves_the_service_alone(
    unit: ServiceUnit, systemd: FakeSystemd, tmp_path: Path
) -> None:
    unit.install(CONFIGURATION, restart=True)
    systemd.told.clear()
    leave_fleet(NodeFiles(tmp_path / "agent.toml", tmp_path / "none"), unit, purge=True)
    assert unit.path.exists()
    assert not systemd.told


def test_what_the_service_stored_is_removed_by_systemd_where_that_is_asked_for(
    unit: ServiceUnit, systemd: FakeSystemd, tmp_path: Path
) -> None:
    unit.install(CONFIGURATION, restart=True)
    systemd.told.clear()
    leave_fleet(NodeFiles(CONFIGURATION, tmp_path / "none"), unit, purge=True)
    assert systemd.told[:2] == [f"stop {NAME}", f"clean --what=cache --what=state {NAME}"]


def test_what_systemd_refuses_is_said_in_its_words(unit: ServiceUnit, systemd: FakeSystemd) -> None:
    systemd.refuses = "restart"
    with pytest.raises(InvalidConfiguration, match=r"systemctl restart .* failed: Job failed\. See the log\."):
        unit.install(CONFIGURATION, restart=True)


def test_what_keeps_a_service_from_running_is_said_first(unit: ServiceUnit, tmp_path: Path) -> None:
    hidden = tmp_path / "home" / "agent.toml"
    with pytest.raises(InvalidConfiguration, match=r"home, which a service does not see"):
        unit.check(hidden)
    unit.program.unlink()
    with pytest.raises(InvalidConfiguration, match="is not there: install edgesplit"):
        unit.check(CONFIGURATION)
    elsewhere = replace(unit, booted=tmp_path / "no-systemd")
    with pytest.raises(InvalidConfiguration, match="systemd does not manage this machine"):
        elsewhere.check(CONFIGURATION)


def test_odd_paths_are_written_as_systemd_reads_them() -> None:
    odd = replace(agent_unit(), program=Path("/opt/my 100%/edgesplit-agent"))
    text = unit_text(odd, Path("/etc/a$b.toml"))
    assert 'ExecStart="/opt/my 100%%/edgesplit-agent" --config /etc/a$$b.toml' in text


def test_a_unit_of_a_package_is_used_and_stays(unit: ServiceUnit, systemd: FakeSystemd, tmp_path: Path) -> None:
    packaged = tmp_path / "packaged" / NAME
    packaged.parent.mkdir()
    packaged.write_text(f"[Service]\nExecStart=/usr/bin/edgesplit-agent --config {CONFIGURATION}\n")
    unit = replace(unit, packaged=packaged.parent)
    assert unit.install(CONFIGURATION, restart=True) == f"found {packaged} and started it"
    assert not (unit.units / NAME).exists()
    assert f"enable {NAME}" in systemd.told
    done = leave_fleet(NodeFiles(CONFIGURATION, tmp_path / "none"), unit, purge=False).done
    assert done == (f"stopped and disabled {NAME}",)
    assert packaged.exists()
    (unit.units / NAME).write_text("[Service]\nExecStart=/mine\n")
    assert unit.path == unit.units / NAME, "what an administrator wrote counts"
