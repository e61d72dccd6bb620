"""From the previous release to this one, process by process, under load: nothing fails.

Three agents and the controller, which is neither first nor last, so that each side meets the other's older and newer release. Five agents, both
other orders, clients of both releases and the way back: `python -m tests.upgrade`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgesplit.release import installed_version
from tests.brokers import running_mosquitto
from tests.upgrade.mixed_fleet import PREVIOUS, Load, MixedFleet
from tests.upgrade.rolling import MODEL, Roll, deploy_over_three, nodes_named, write_request

pytestmark = pytest.mark.timeout(900)

ORDER = ("edge", "controller", "device", "cloud")
"""The device is the source, and the agent that is asked."""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[MixedFleet]:
    """All of the previous release, started."""
    nodes = nodes_named("device", "edge", "cloud")
    with running_mosquitto(tmp_path) as url, MixedFleet(tmp_path / "fleet", nodes, broker=url) as fleet:
        for name in ("controller", *fleet.nodes):
            fleet.use(name, "previous")
        fleet.start()
        fleet.await_nodes()
        assert set(fleet.versions().values()) == {PREVIOUS}
        yield fleet


def test_a_rolling_upgrade_under_load_fails_no_request(fleet: MixedFleet, tmp_path: Path) -> None:
    request, expected = write_request(tmp_path)
    deploy_over_three(fleet, request)
    steps: list[str] = []
    load = Load(fleet, "previous", MODEL, request, expected, "device")
    try:
        roll = Roll(fleet, load, request, steps.append)
        roll.replace_all(ORDER, "this")
        asked = load.end()
    finally:
        load.kill()
    assert asked.client == PREVIOUS
    assert asked.failed == 0, (steps, asked)
    assert asked.answered >= 20
    assert set(fleet.versions().values()) == {installed_version()} != {PREVIOUS}
    assert restarted_in_place(fleet, request, expected) == (0, ())
    # An operator's own machine is upgraded whenever it suits.
    assert {row["name"] for row in fleet.previous_splitctl("nodes")} == set(fleet.nodes)
    assert fleet.previous_splitctl("plan", MODEL)["per_node"].keys() >= {"edge", "cloud"}


def restarted_in_place(fleet: MixedFleet, request: Path, expected: Path) -> tuple[int, tuple[str, ...]]:
    """What fails of clients with patience while the source, which is the agent that they ask, restarts under them."""
    load = Load(fleet, "this", MODEL, request, expected, "device", patience_s=60.0)
    try:
        fleet.replace("device", "this")
        fleet.await_serving(MODEL, request)
        asked = load.end()
    finally:
        load.kill()
    return asked.failed, asked.failures
