"""A battery floor on real processes: the charge in a captured kernel tree falls, and the source computes less."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.fleet import CommandFailed, EmulatedLink, EmulatedNode, LocalFleet
from edgesplit.significance import BATTERY_LIMIT_SLACK
from tests.agent.collectors.trees import LAPTOP_BATTERY, write
from tests.waiting import blocking_until

MODEL = "mobilenet"
FULL_UWH = 50_000_000
FAR = EmulatedLink(bandwidth_bytes_per_s=50e6, latency_s=0.05)
"""Everything on the device is quicker, and sending costs it less."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("sys"), LAPTOP_BATTERY)


@pytest.fixture(scope="module")
def fleet(
    mosquitto: str, tmp_path_factory: pytest.TempPathFactory, small_model: Path, tree: Path
) -> Iterator[LocalFleet]:
    power = f'source = "constant"\nsysfs = "{tree}"'
    # Computing takes far more than sending, however fast the machine: what leaves the device saves its energy.
    nodes = (
        EmulatedNode("device", compute_w=60.0, transmit_w=0.01, links={"cloud": FAR}, power=power),
        EmulatedNode("cloud", compute_w=35.0, transmit_w=0.01, links={"device": FAR}),
    )
    with LocalFleet(tmp_path_factory.mktemp("fleet"), nodes, broker=mosquitto) as running:
        running.start()
        running.await_nodes()
        running.splitctl("model", "add", "--wait", "all", MODEL, str(small_model), "--max-quantizable", "0")
        running.splitctl("deploy", MODEL, "--source", "device")
        yield running
        running.splitctl("model", "remove", MODEL)  # the broker is shared, and what it retains outlives this fleet


def charge(tree: Path, limit_j: float, per_s: float) -> None:
    """Leave so much above 20 % that a request may take `limit_j` for 8 h."""
    above_uwh = limit_j * per_s * 8 * 1e6
    write(tree, {"class/power_supply/BAT0/energy_now": int(0.2 * FULL_UWH + above_uwh)})


def until_plan(fleet: LocalFleet, what: str, *, local: bool) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        document: dict[str, Any] = fleet.splitctl("plan", MODEL)
        is_local = document["per_node"]["cloud"]["operators"] == 0
        return document if is_local is local and document["serving"] == document["epoch"] else None

    return blocking_until(there, what)


def test_a_lower_charge_leads_to_an_event_and_a_plan_that_takes_less_of_the_device(
    fleet: LocalFleet, tree: Path, image: Path
) -> None:
    fleet.splitctl("set-weights", "--min-battery", "20%", "--battery-rate", "2")
    before = until_plan(fleet, "serving on the device", local=True)
    battery = before["battery"]
    assert (battery["node"], battery["rate_origin"], battery["requests_per_s"]) == ("device", "configured", 2.0)
    assert battery["limit_j"] == pytest.approx(0.3 * FULL_UWH * 3600e-6 / 28_800 / 2, rel=0.01)
    charge(tree, before["device_energy_j"] / 2, 2.0)
    after = until_plan(fleet, "a frugal plan", local=False)
    # Times are stated anew for the plan that was made, which may move it past a limit it was just within.
    assert after["device_energy_j"] < before["device_energy_j"] / 2 * (1 + BATTERY_LIMIT_SLACK)
    told = [event for event in fleet.splitctl("events") if event["kind"] == "battery-limit" and event["model"] == MODEL]
    assert "of device allows" in told[-1]["text"]
    assert (told[-1]["data"]["rate_origin"], told[-1]["node"]) == ("configured", "device")
    assert fleet.splitctl("infer", MODEL, "--input", str(image), "--count", "3")["failed"] == 0


def test_a_floor_that_no_plan_keeps_serves_as_frugally_as_can_be(fleet: LocalFleet, tree: Path, image: Path) -> None:
    fleet.splitctl("set-weights", "--min-battery", "20%")
    write(tree, {"class/power_supply/BAT0/energy_now": int(0.1 * FULL_UWH)})
    missed = blocking_until(
        lambda: [event for event in fleet.splitctl("events") if event["kind"] == "battery-floor-missed"], "the event"
    )
    assert "does not keep the battery floor" in missed[-1]["text"]
    document = until_plan(fleet, "a frugal plan", local=False)
    assert (document["battery"]["state"], document["battery"]["kept"]) == ("below-floor", False)
    assert fleet.splitctl("infer", MODEL, "--input", str(image), "--count", "3")["failed"] == 0


def test_the_rate_that_is_served_is_measured(fleet: LocalFleet, image: Path) -> None:
    started = time.monotonic()
    count = 0
    while time.monotonic() - started < 14:
        count += fleet.splitctl("infer", MODEL, "--input", str(image), "--count", "20")["count"]

    def measured() -> dict[str, Any] | None:
        battery: dict[str, Any] = fleet.splitctl("plan", MODEL)["battery"]
        return battery if battery["rate_origin"] == "measured" else None

    battery = blocking_until(measured, "a measured rate")
    assert 0.2 < battery["requests_per_s"] / (count / (time.monotonic() - started)) < 3.0


def test_a_source_without_a_battery_changes_nothing(fleet: LocalFleet) -> None:
    fleet.splitctl("set-weights", "--min-battery", "none")
    fleet.splitctl("deploy", MODEL, "--source", "cloud")
    epoch = fleet.splitctl("plan", MODEL)["epoch"]
    with pytest.raises(CommandFailed) as caught:
        fleet.splitctl("set-weights", "--min-battery", "20%")
    assert caught.value.exit_code == 1
    assert caught.value.error["error"]["message"].startswith("node cloud reports no battery")
    document = fleet.splitctl("plan", MODEL)
    assert (document["epoch"], document["battery"], document["goals"]["min_battery"]) == (epoch, None, None)
    fleet.splitctl("deploy", MODEL, "--source", "device")  # as other tests find it
