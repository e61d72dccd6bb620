"""A fleet that is well: what the controller does while figures only scatter, and that real changes show all the same."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from functools import partial
from typing import Any

import aiohttp
import msgspec
import pytest

from edgesplit.control.event_messages import Event
from edgesplit.operations.event_operations import ListEvents
from edgesplit.operations.plan_operations import DeployModel, ShowPlan
from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Problem
from edgesplit_controller.configuration import PlanningSection, Thresholds
from edgesplit_controller.deciding.changes.declined import AT_ONCE
from edgesplit_controller.deciding.fallback_choice import plan_fallbacks, still_hold
from edgesplit_controller.deciding.plan_maker import PlanMaker
from edgesplit_controller.planner import evaluate
from edgesplit_controller.storage.deployment_state import FallbackRecord, PlanRecord
from edgesplit_controller.storage.rollout_state import FallbackEpoch
from tests.controller.fleet import GOOD_LINK, Fleet, counted_looks
from tests.controller.tiny_models import convolutions
from tests.waiting import until

NEAR = (2e9, 1e-4)


def scatter(fleet: Fleet, draw: random.Random) -> None:
    """Every link another than a moment ago, as loopback looks beside other work."""
    for agent in fleet.agents.values():
        for peer in agent.peers:
            deviation = draw.gauss(0, 0.4)
            agent.peers[peer] = NEAR[0] * math.exp(deviation), NEAR[1] * math.exp(-deviation)
        agent.publish_links()
        agent.publish_metrics()


def has_arrived(fleet: Fleet) -> bool:
    """Whether what the last agent said of its links was heard."""
    expected = fleet.agents["cloud"].peers["edge"][0]
    return any(link.bandwidth_bytes_per_s == expected for _, link in fleet.registry.links())


async def looked_at(fleet: Fleet, looks: list[str]) -> None:
    """Wait until the deployer has looked at the fleet as it is now."""
    before = len(looks)
    fleet.deployer.fleet_changed()
    await until(lambda: len(looks) > before)


def told(fleet: Fleet) -> Counter[str]:
    """Events of links, plans and fallbacks, by kind."""
    return Counter(event.kind for event in fleet.told("links", "plans", "peers"))


async def test_links_that_only_scatter_are_no_events_and_state_no_problems(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(1)
    scatter(fleet, draw)
    await fleet.client.add("tiny", convolutions())
    epoch = (await fleet.client.ask(DeployModel(name="tiny", source="device")))["epoch"]
    await until(lambda: bool(fallbacks(fleet)))
    looks = counted_looks(monkeypatch)
    await looked_at(fleet, looks)
    await looked_at(fleet, looks)  # so the first look has ended
    stated = 0
    make = PlanMaker.problem

    def counted(*arguments: Any) -> Problem:
        nonlocal stated
        stated += 1
        return make(*arguments)

    monkeypatch.setattr(PlanMaker, "problem", counted)
    before = told(fleet)
    looked = 0
    for _ in range(60):
        scatter(fleet, draw)
        await until(partial(has_arrived, fleet))
        looked += 1
    await looked_at(fleet, looks)
    assert looked == 60
    assert told(fleet) - before == Counter()
    assert fleet.plan("tiny").epoch.number == epoch
    assert stated <= 3  # for predictions that follow, at most one in some seconds


async def test_a_link_that_the_plan_feels_is_told_with_its_share_and_answered(fleet: Fleet) -> None:
    await fleet.client.add("tiny", convolutions())
    epoch = (await fleet.client.ask(DeployModel(name="tiny", source="device")))["epoch"]
    assert fleet.plan("tiny").epoch.participants == ("cloud", "device")
    fleet.agents["device"].peers["edge"] = (GOOD_LINK[0] / 10, GOOD_LINK[1])  # the plan does not use it
    fleet.agents["device"].peers["cloud"] = (GOOD_LINK[0], 0.1)
    fleet.agents["device"].publish_links()
    await until(lambda: fleet.plan("tiny").epoch.number > epoch)
    changed = await fleet.client.ask(ListEvents())
    links = [msgspec.convert(event, Event) for event in changed if event["kind"] == "link-changed"]
    # The round trip is one, whichever end has told: it is longer both ways.
    assert {(event.node, event.data["to"], event.level) for event in links} == {
        ("device", "cloud", "info"),
        ("cloud", "device", "info"),
    }
    share = links[0].data["share_of_plan"]
    assert isinstance(share, float)
    assert share > 1
    assert "link device -> cloud went from 1 ms to 100 ms" in fleet.plan("tiny").reason


def declined_so_often(fleet: Fleet, count: int) -> bool:
    return fleet.deployer.declined.counts.get("tiny", 0) >= count


async def test_declined_plans_are_counted_where_people_look(fleet: Fleet) -> None:
    await fleet.client.add("tiny", convolutions())
    await fleet.client.ask(DeployModel(name="tiny", source="device"))
    before = told(fleet)["replan-declined"]
    for round_ in range(1, 15):  # felt, and nothing is better
        latency_s = 0.001 if round_ % 2 == 0 else 0.0025
        for name, peer in (("device", "cloud"), ("cloud", "device"), ("device", "edge"), ("edge", "device")):
            fleet.agents[name].peers[peer] = (GOOD_LINK[0], latency_s)
        for agent in fleet.agents.values():
            agent.publish_links()
        await until(partial(declined_so_often, fleet, round_))
    declined = (await fleet.client.ask(ShowPlan(name="tiny")))["declined"]
    assert declined["count"] >= 14
    assert "went from" in declined["last_reason"]
    assert told(fleet)["replan-declined"] - before <= AT_ONCE
    async with aiohttp.ClientSession() as session, session.get(f"{fleet.client.artifacts}/metrics") as response:
        page = await response.text()
    counted = re.findall(
        r'^edgesplit_controller_plans_total\{model="tiny",outcome="(?:declined|kept)",reason="[a-z-]+"\} (\S+)',
        page,
        re.MULTILINE,
    )
    assert sum(map(float, counted)) == declined["count"]


def fallbacks(fleet: Fleet) -> tuple[FallbackEpoch, ...]:
    return fleet.deployer.deployments["tiny"].rollout.fallbacks


async def test_fallbacks_stay_while_figures_scatter(fleet: Fleet) -> None:
    await fleet.client.add("tiny", convolutions())
    await fleet.client.ask(DeployModel(name="tiny", source="device"))
    await until(lambda: bool(fallbacks(fleet)) and all(fallback.ready for fallback in fallbacks(fleet)))
    epochs = [fallback.number for fallback in fallbacks(fleet)]
    draw = random.Random(2)
    for _ in range(5):
        for agent in fleet.agents.values():
            for peer in agent.peers:
                agent.peers[peer] = GOOD_LINK[0] * draw.uniform(0.9, 1.1), GOOD_LINK[1]
            agent.publish_links()
        fleet.fallbacks.refresh("tiny")
        await until(lambda: fleet.fallbacks.idle)
    assert [fallback.number for fallback in fallbacks(fleet)] == epochs
    assert fleet.rollouts.state.epochs["tiny"] == max(epochs)


async def test_a_fallback_is_replaced_only_by_one_that_gains_enough(fleet: Fleet) -> None:
    await fleet.client.add("tiny", convolutions())
    await fleet.client.ask(DeployModel(name="tiny", source="device"))
    active, thresholds = fleet.plan("tiny"), Thresholds()
    (best,) = plan_fallbacks(active, 5.0, {}, thresholds)
    assert best.lost == ("cloud",)
    assert set(best.assignment.node_of.values()) == {"device", "edge"}
    units = [name for name, node in best.assignment.node_of.items() if node == "edge"]
    worse = Assignment(dict(best.assignment.node_of) | dict.fromkeys(units[1:], "device"))
    (again,) = plan_fallbacks(active, 5.0, held(active, worse), thresholds)
    assert again.assignment == best.assignment
    (again,) = plan_fallbacks(active, 5.0, held(active, worse), Thresholds(gain=1.0))
    assert again.assignment == worse
    (again,) = plan_fallbacks(active, 5.0, held(active, best.assignment), thresholds)
    assert again.assignment == best.assignment
    assert still_hold(active.problem, held(active, best.assignment), thresholds)
    assert not still_hold(active.problem, held(active, best.assignment, latency_s=1e-3), thresholds)
    assert not still_hold(active.problem, held(active, active.assignment), thresholds)  # it needs what is lost


def held(
    active: PlanRecord, assignment: Assignment, latency_s: float | None = None
) -> dict[FallbackEpoch, FallbackRecord]:
    evaluation = evaluate(active.problem, assignment)
    plan = FallbackRecord(
        epoch=7,
        sha256=active.sha256,
        specs={},
        assignment=assignment,
        latency_s=evaluation.timeline_s if latency_s is None else latency_s,
        energy_j=evaluation.energy_j,
        noise=0.0,
        per_node={},
    )
    return {FallbackEpoch(number=7, lost=("cloud",), participants=()): plan}


def test_half_of_the_gain_that_justifies_a_switch_is_what_a_link_must_be_able_to_do() -> None:
    assert PlanningSection().thresholds.relevant_share == pytest.approx(0.025)


async def test_a_node_whose_links_come_up_one_by_one_is_used_once_they_are_there(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of them is a chance that comes to nothing; it must not keep the last one from being looked at."""
    await fleet.client.add("tiny", convolutions())
    await fleet.client.ask(DeployModel(name="tiny", source="device"))
    best = fleet.plan("tiny").assignment
    assert "cloud" in best.node_of.values()
    await until(lambda: bool(fallbacks(fleet)))
    away = [(start, end) for start in fleet.agents for end in fleet.agents if start != end and "cloud" in (start, end)]
    for start, end in away:
        del fleet.agents[start].peers[end]
        fleet.agents[start].publish_links()
    await until(lambda: "cloud" not in fleet.plan("tiny").assignment.node_of.values() and fleet.rollouts.settled)
    looks = counted_looks(monkeypatch)
    for start, end in sorted(away, key=lambda pair: "device" in pair):
        fleet.agents[start].peers[end] = GOOD_LINK
        fleet.agents[start].publish_links()
        await fleet.until_links_known()
        await looked_at(fleet, looks)
        await looked_at(fleet, looks)  # so the first look has ended
    await until(lambda: fleet.plan("tiny").assignment == best)
