"""`splitctl ca init --service`: what is written and what systemd is told, and what keeps a fleet from being made."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edgesplit.daemon.service_unit import ServiceUnit
from edgesplit.errors import InvalidConfiguration
from edgesplit_controller.cli.commands.trust.controller_service import (
    CONFIGURATION,
    check_service,
    controller_unit,
    start_services,
)

TRUST = Path("/var/lib/edgesplit/trust")


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def unit(tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch) -> ServiceUnit:
    """Of a machine that systemd manages, without being root of one."""

    def systemd(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        told.append(" ".join(command[1:]))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("edgesplit.daemon.service_unit._HIDDEN", ())
    program = tmp_path / "opt/edgesplit-controller"
    program.parent.mkdir()
    program.touch()
    (tmp_path / "units").mkdir()
    return replace(controller_unit(), program=program, units=tmp_path / "units", booted=tmp_path, run=systemd)


@pytest.mark.parametrize("with_broker", [True, False])
def test_the_broker_is_restarted_before_the_controller_starts(
    unit: ServiceUnit, told: list[str], with_broker: bool
) -> None:
    start_services(unit, CONFIGURATION, with_broker=with_broker)
    first = ["restart mosquitto.service"] if with_broker else []
    assert told == [*first, "daemon-reload", f"enable {unit.name}", f"restart {unit.name}"]
    assert f"ExecStart={unit.program} --config {CONFIGURATION}" in unit.path.read_text().splitlines()


def test_what_keeps_the_service_from_running_is_said_first(unit: ServiceUnit, told: list[str], tmp_path: Path) -> None:
    configuration = tmp_path / "controller.toml"
    check_service(unit, configuration, TRUST, is_root=True)
    with pytest.raises(InvalidConfiguration, match="needs root"):
        check_service(unit, configuration, TRUST, is_root=False)
    with pytest.raises(InvalidConfiguration, match="the only folder that the service may write"):
        check_service(unit, configuration, tmp_path / "trust", is_root=True)
    (tmp_path / "controller.env").write_text("EDGESPLIT_BROKER_URL=mqtt://a:b@c\n")
    with pytest.raises(InvalidConfiguration, match=r"controller\.env sets EDGESPLIT_BROKER_"):
        check_service(unit, configuration, TRUST, is_root=True)
    with pytest.raises(InvalidConfiguration, match="systemd does not manage this machine"):
        check_service(replace(unit, booted=tmp_path / "none"), configuration, TRUST, is_root=True)
    assert told == []
