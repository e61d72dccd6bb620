"""A battery floor from end to end: real MQTT, agents that only keep the protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edgesplit.control.figure_messages import USAGE, Usage
from edgesplit.errors import EdgesplitError
from edgesplit.operations.event_operations import ListEvents
from edgesplit.operations.goal_operations import LimitChange, SetWeights
from edgesplit.operations.model_operations import ShowModel
from edgesplit.operations.plan_operations import DeployModel, ShowPlan
from edgesplit.operations.study_operations import WhatIf
from tests.controller.fleet import Fleet
from tests.controller.tiny_models import convolutions
from tests.waiting import until

FAR_LINK = (100e6, 0.05)
"""Everything on the device is quicker (0.08 s) but costs it more (0.24 J) than sending (0.05 J)."""
HELD_J = 180_000.0
ALLOWED_J = 0.08
"""Between the two."""


def charge_j(limit_j: float, floor: float = 0.2, per_s: float = 1.0) -> float:
    """What must be in the battery so that a request may take that much in 8 h."""
    return floor * HELD_J + limit_j * per_s * 8 * 3600


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    running = Fleet(tmp_path)
    await running.start()
    for agent in running.agents.values():
        agent.peers = dict.fromkeys(agent.peers, FAR_LINK)
        agent.publish_links()
    charge(running, 0.9 * HELD_J)
    await running.client.add("tiny", convolutions(2))
    await until(lambda: all(link.latency_s == FAR_LINK[1] for _, link in running.registry.links()))
    await running.client.ask(DeployModel(name="tiny", source="device"))
    yield running
    await running.stop()


def charge(fleet: Fleet, left_j: float, *, discharging: bool = True) -> None:
    fleet.agents["device"].publish_metrics(
        battery_fraction=left_j / HELD_J, battery_energy_j=left_j, battery_discharging=discharging
    )


def used(fleet: Fleet) -> set[str]:
    return set(fleet.plan("tiny").assignment.node_of.values())


def served(requests: int, epoch: int) -> Usage:
    return Usage(
        node="device",
        model="tiny",
        epoch=epoch,
        requests=requests,
        failed=0,
        compute_s=float(requests),
        transmit_s=0.0,
        energy_j=0.0,
        energy_origin="configured",
        counted_since_unix_s=1.0,
    )


async def events(fleet: Fleet, kind: str) -> list[dict[str, Any]]:
    return [event for event in await fleet.client.ask(ListEvents(limit=1000)) if event["kind"] == kind]


async def test_a_battery_that_empties_makes_the_source_compute_less_and_never_ends_serving(fleet: Fleet) -> None:
    client = fleet.client
    assert used(fleet) == {"device"}
    (row,) = await client.ask(SetWeights(min_battery=LimitChange(0.2)))
    assert not row["changed"]
    battery = (await client.ask(ShowPlan(name="tiny")))["battery"]
    assert (battery["rate_origin"], battery["kept"], battery["state"]) == ("assumed", True, "limited")
    assert battery["limit_j"] == pytest.approx(0.7 * HELD_J / 28_800)
    charge(fleet, charge_j(ALLOWED_J))
    await until(lambda: used(fleet) != {"device"})
    plan = await client.ask(ShowPlan(name="tiny"))
    assert plan["device_energy_j"] < ALLOWED_J
    assert plan["goals"]["min_battery"] == 0.2
    (told,) = await events(fleet, "battery-limit")
    assert "allows 80 mJ a request and the plan takes 240 mJ" in told["text"]
    assert told["data"]["limit_j"] == pytest.approx(ALLOWED_J)
    charge(fleet, 0.1 * HELD_J)
    await until(lambda: fleet.plan("tiny").battery is not None and not fleet.plan("tiny").battery.kept)  # type: ignore[union-attr]
    (missed,) = await events(fleet, "battery-floor-missed")
    assert "as frugally as can be" in missed["text"]
    plan = await client.ask(ShowPlan(name="tiny"))
    assert (plan["serving"], plan["battery"]["state"], plan["battery"]["kept"]) == (plan["epoch"], "below-floor", False)
    assert "no plan keeps that" in plan["battery"]["text"]
    assert (await client.ask(WhatIf(name="tiny", energy=1.0)))["then"]["device_energy_j"] < ALLOWED_J
    for _ in range(5):
        charge(fleet, 0.09 * HELD_J)
    charge(fleet, 0.09 * HELD_J, discharging=False)
    await until(lambda: fleet.registry.node("device").metrics.battery_discharging is False)  # type: ignore[union-attr]
    assert len(await events(fleet, "battery-floor-missed")) == 1
    (row,) = await client.ask(SetWeights(min_battery=LimitChange(None)))
    assert row["changed"]
    assert used(fleet) == {"device"}
    assert (await client.ask(ShowPlan(name="tiny")))["battery"] is None


async def test_the_rate_that_is_served_takes_the_place_of_the_one_expected(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = fleet.client
    asked = SetWeights(min_battery=LimitChange(0.2), battery_hours=4.0, battery_requests_per_s=LimitChange(0.5))
    await client.ask(asked)
    battery = (await client.ask(ShowPlan(name="tiny")))["battery"]
    assert (battery["requests_per_s"], battery["rate_origin"], battery["hours"]) == (0.5, "configured", 4.0)
    monkeypatch.setattr("edgesplit_controller.fleet.traffic.LEAST_S", 0.1)
    epoch = fleet.plan("tiny").epoch.number
    requests = 0

    def spread_by_what_is_served() -> bool:
        nonlocal requests
        requests += 50_000
        fleet.agents["device"].bus.publish(USAGE, served(requests, epoch), "device", "tiny")
        charge(fleet, 0.9 * HELD_J)
        return used(fleet) != {"device"}

    await until(spread_by_what_is_served)
    battery = (await client.ask(ShowPlan(name="tiny")))["battery"]
    assert battery["rate_origin"] == "measured"
    assert battery["requests_per_s"] > 0.5


async def test_a_source_without_a_battery_is_refused_in_one_sentence_and_nothing_changes(fleet: Fleet) -> None:
    client = fleet.client
    await client.ask(DeployModel(name="tiny", source="edge"))
    before = (await client.ask(ShowPlan(name="tiny")))["epoch"], fleet.deployer.goals(None)
    with pytest.raises(EdgesplitError, match="node edge reports no battery") as caught:
        await client.ask(SetWeights(min_battery=LimitChange(0.2)))
    assert caught.value.exit_code == 1
    assert ((await client.ask(ShowPlan(name="tiny")))["epoch"], fleet.deployer.goals(None)) == before
    assert (await client.ask(ShowModel(name="tiny")))["goals"]["min_battery"] is None
    fleet.agents["edge"].publish_metrics(battery_fraction=0.5)
    await until(lambda: fleet.registry.node("edge").metrics.battery_fraction is not None)  # type: ignore[union-attr]
    with pytest.raises(EdgesplitError, match="battery_wh"):
        await client.ask(SetWeights(min_battery=LimitChange(0.2)))
    for wrong in (SetWeights(min_battery=LimitChange(1.0)), SetWeights(battery_hours=0.0)):
        with pytest.raises(EdgesplitError, match=r"battery floor"):
            await client.ask(wrong)


async def test_a_battery_that_cannot_be_read_any_more_limits_as_it_did_last(fleet: Fleet) -> None:
    client = fleet.client
    await client.ask(SetWeights(min_battery=LimitChange(0.2)))
    charge(fleet, charge_j(ALLOWED_J))
    await until(lambda: used(fleet) != {"device"})
    fleet.agents["device"].publish_metrics()
    await until(lambda: fleet.registry.node("device").metrics.battery_fraction is None)  # type: ignore[union-attr]
    battery = (await client.ask(ShowPlan(name="tiny")))["battery"]
    assert (battery["stale"], battery["state"]) == (True, "limited")
    assert battery["limit_j"] == pytest.approx(ALLOWED_J)
    assert used(fleet) != {"device"}


async def test_a_floor_and_what_it_led_to_outlive_the_controller(fleet: Fleet) -> None:
    client = fleet.client
    await client.ask(SetWeights(min_battery=LimitChange(0.2)))
    charge(fleet, charge_j(ALLOWED_J))
    await until(lambda: used(fleet) != {"device"})
    epoch = fleet.plan("tiny").epoch.number
    await fleet.stop_controller()
    await fleet.start_controller()
    await until(lambda: len(fleet.registry.online()) == 3)
    fleet.deployer.settle(patient=False)
    plan = await client.ask(ShowPlan(name="tiny"))
    assert (plan["epoch"], plan["goals"]["min_battery"], plan["battery"]["kept"]) == (epoch, 0.2, True)
