"""Goals, configuration, measured figures, the service manager's protocol."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from edgesplit.control.figure_messages import Usage
from edgesplit.daemon.configuration_file import load_configuration
from edgesplit.daemon.service_notification import Notifier
from edgesplit.errors import InvalidConfiguration, InvalidInput
from edgesplit.operations.goal_operations import LimitChange, SetWeights
from edgesplit.operations.plan_operations import MeasuredShare
from edgesplit.planning.goals import Goals, PinRule
from edgesplit_controller.answering.plan_documents import measured_document
from edgesplit_controller.configuration import ArtifactsSection, ControllerConfiguration, PlanningSection
from edgesplit_controller.stating.goals import goals_text, merged_goals

PINS = (PinRule(kind="input"),)


def goals(
    latency_weight: float, energy_weight: float, max_noise: float | None, device_energy_limit_j: float | None
) -> Goals:
    return Goals(
        pins=PINS,
        forbidden=("cloud",),
        latency_weight=latency_weight,
        energy_weight=energy_weight,
        max_noise=max_noise,
        device_energy_limit_j=device_energy_limit_j,
    )


BEFORE = goals(0.25, 0.75, 0.1, 2.0)


def merged(asked: SetWeights) -> Goals:
    return merged_goals(
        BEFORE,
        latency=asked.latency,
        energy=asked.energy,
        max_noise=asked.max_noise,
        device_energy_j=asked.device_energy_j,
        min_rate=asked.min_rate,
    )


@pytest.mark.parametrize(
    ("asked", "after"),
    [
        (SetWeights(), BEFORE),
        (SetWeights(energy=1.0), goals(0.0, 1.0, 0.1, 2.0)),
        (SetWeights(latency=2.0), goals(2.0, 0.0, 0.1, 2.0)),
        (SetWeights(latency=1.0, energy=3.0), goals(1.0, 3.0, 0.1, 2.0)),
        (SetWeights(max_noise=LimitChange(None)), goals(0.25, 0.75, None, 2.0)),
        (SetWeights(max_noise=LimitChange(0.0), device_energy_j=LimitChange(None)), goals(0.25, 0.75, 0.0, None)),
    ],
)
def test_naming_one_weight_clears_the_other_and_limits_and_pins_persist(asked: SetWeights, after: Goals) -> None:
    assert merged(asked) == after


def test_a_rate_is_kept_until_it_is_cleared_and_said() -> None:
    asking = merged_goals(BEFORE, min_rate=LimitChange(12.5))
    assert merged_goals(asking, energy=1.0).min_rate_hz == 12.5
    assert "at least 12.5 requests/s" in goals_text(asking)
    assert merged_goals(asking, min_rate=LimitChange(None)) == BEFORE


@pytest.mark.parametrize(
    "asked",
    [
        SetWeights(energy=-1.0),
        SetWeights(latency=math.nan),
        SetWeights(latency=0.0),
        SetWeights(max_noise=LimitChange(-1.0)),
        SetWeights(min_rate=LimitChange(0.0)),
        SetWeights(min_rate=LimitChange(math.inf)),
    ],
)
def test_impossible_goals_are_refused(asked: SetWeights) -> None:
    with pytest.raises(InvalidInput):
        merged(asked)


def usage(node: str, requests: int, energy_j: float, origin: str = "measured") -> Usage:
    return Usage(
        node=node,
        model="m",
        epoch=1,
        requests=requests,
        failed=0,
        compute_s=0.0,
        transmit_s=0.0,
        energy_j=energy_j,
        energy_origin="configured" if origin == "configured" else "measured",
        latency_sum_s=2.0,
    )


def test_measured_figures_are_means_over_requests_and_as_trustworthy_as_their_weakest_part() -> None:
    measured = measured_document([usage("device", 4, 8.0), usage("edge", 2, 1.0, "configured")], "device")
    assert (measured.requests, measured.latency_s, measured.energy_j) == (4, 0.5, 2.5)
    assert (measured.device_energy_j, measured.energy_origin) == (2.0, "configured")
    assert measured_document([usage("edge", 2, 1.0)], "device").latency_s is None


def test_measured_figures_say_where_a_requests_seconds_went_on_each_node() -> None:
    device = msgspec.structs.replace(
        usage("device", 4, 8.0), compute_s=2.0, coding_s=0.5, transmit_s=1.0, waiting_s=0.25, handling_s=0.125
    )
    idle = usage("edge", 0, 0.0)
    (share,) = measured_document([device, idle], "device").per_node.items()
    assert share == (
        "device",
        MeasuredShare(
            requests=4, compute_s=0.375, coding_s=0.125, transmit_s=0.25, waiting_s=0.0625, handling_s=0.03125
        ),
    )


def test_wrong_configuration_names_the_key() -> None:
    for wrong, key in (
        (ControllerConfiguration(artifacts=ArtifactsSection(listen="7480")), r"artifacts\.listen"),
        (
            ControllerConfiguration(artifacts=ArtifactsSection(advertise="0.0.0.0:7480")),
            "every interface and is no address",
        ),
        (
            ControllerConfiguration(artifacts=ArtifactsSection(advertise="[::]:7480")),
            "every interface and is no address",
        ),
        (ControllerConfiguration(artifacts=ArtifactsSection(advertise="controller:0")), "others need the port"),
        (ControllerConfiguration(planning=PlanningSection(time_limit_s=0.0)), r"planning\.time_limit_s"),
        (ControllerConfiguration(planning=PlanningSection(tolerance=-0.01)), r"planning\.tolerance"),
    ):
        with pytest.raises(InvalidConfiguration, match=key):
            wrong.validate()


def test_a_broker_url_that_can_be_none_is_refused_with_its_file_and_key(tmp_path: Path) -> None:
    file = tmp_path / "controller.toml"
    file.write_text("[broker]\nurl = 'ftp://x'\n")
    with pytest.raises(InvalidConfiguration, match=rf"{file} is wrong: broker URL 'ftp://x' .* at `broker`"):
        load_configuration(ControllerConfiguration, file)


def test_the_command_shows_its_configuration_and_refuses_a_broken_one(tmp_path: Path) -> None:
    file = tmp_path / "controller.toml"
    command = [sys.executable, "-m", "edgesplit_controller.main", "--config", str(file)]
    file.write_text("[broker]\nurl = 'mqtt://example:1'\n")
    shown = subprocess.run([*command, "--print-config"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0
    assert f'broker.url = "mqtt://example:1"  # file {file}' in shown.stdout
    file.write_text("[broker]\nurll = 'x'\n")
    broken = subprocess.run(command, capture_output=True, text=True, check=False)
    assert broken.returncode == 1
    assert broken.stderr.count("\n") == 1
    assert "urll" in broken.stderr


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        notifier = Notifier({"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "7"}, process=7)
        notifier.ready("serving\nwell")
        notifier.ping()
        notifier.stopping()
        assert [manager.recv(100) for _ in range(3)] == [b"READY=1\nSTATUS=serving well", b"WATCHDOG=1", b"STOPPING=1"]
        assert notifier.watchdog_interval_s == 10.0
    notifier.ping()  # nobody listens any more; nothing happens


def test_without_a_service_manager_nothing_happens() -> None:
    notifier = Notifier({})
    notifier.ready()
    assert notifier.watchdog_interval_s is None
    assert Notifier({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, process=2).watchdog_interval_s is None
