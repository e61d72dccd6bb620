"""A running controller's plans where nodes differ by little: few components, said, and no switch for it."""

from __future__ import annotations

import random

import msgspec

from edgesplit.operations.goal_operations import SetWeights
from edgesplit.operations.plan_operations import DeployModel, ShowPlan
from edgesplit.operations.study_operations import ExplainPlan
from tests.controller.fleet import Fleet
from tests.controller.tiny_models import convolutions
from tests.waiting import until

NEXT_DOOR = (1e12, 1e-9)
LAYERS = 12


async def prepared(fleet: Fleet, factors: dict[str, tuple[float, ...]], spread: float = 0.0) -> None:
    """A slow source beside two nodes that are next to equal, joined by links that cost nothing."""
    for name, agent in fleet.agents.items():
        agent.peers = dict.fromkeys(agent.peers, NEXT_DOOR)
        agent.unit_s, agent.factors, agent.unit_spread = (
            0.1 if name == "device" else 0.01,
            factors.get(name, ()),
            spread,
        )
        agent.publish_links()
    await fleet.until_links_known()
    await fleet.client.add("tiny", convolutions(LAYERS))


async def test_a_plan_within_the_tolerance_is_simple_and_says_what_it_gives_up(fleet: Fleet) -> None:
    turns = tuple(0.97 if place % 2 else 1.0 for place in range(LAYERS))
    others = tuple(1.0 if place % 2 else 0.97 for place in range(LAYERS))
    await prepared(fleet, {"edge": turns, "cloud": others})
    await fleet.client.ask(DeployModel(name="tiny", source="device"))
    plan = await fleet.client.ask(ShowPlan(name="tiny"))
    assert len(plan["components"]) == 1
    said = plan["concession"]
    assert said["components"] == 1 < said["components_of_best"]
    assert 0 < said["share"] <= said["tolerance"] == 0.02
    assert said["text"] in plan["reason"]
    (planned,) = fleet.told("planned")
    assert said["text"] in planned.text
    assert planned.data["components_of_best"] == said["components_of_best"]
    explained = await fleet.client.ask(ExplainPlan(name="tiny"))
    assert explained["concession"] == said
    again = await fleet.client.ask(SetWeights(latency=1.0, model="tiny"))
    assert [row["changed"] for row in again] == [False]


async def test_differences_that_spreads_explain_are_no_reason_to_cut_and_what_is_planned_is_what_was_measured(
    fleet: Fleet,
) -> None:
    chosen = random.Random(1)
    noisy = {name: tuple(chosen.lognormvariate(0.0, 0.1) for _ in range(LAYERS)) for name in fleet.agents}
    await prepared(fleet, noisy, spread=0.1)
    await fleet.client.ask(DeployModel(name="tiny", source="device"))
    plan = fleet.plan("tiny")
    assert len(plan.evaluation.components) == 1
    (part,) = plan.evaluation.components
    record = fleet.models["tiny"]
    said = fleet.registry.profile(part.node, "tiny", record.sha256)
    assert said is not None
    (computed,) = [entry for entry in plan.evaluation.timeline if entry.kind == "compute"]
    assert abs((computed.end_s - computed.start_s) / said.whole_s - 1) < 0.03  # what a request after a pause takes more
    speeds = fleet.service.known.speeds
    believed = speeds.profile("edge", "tiny", record.sha256)
    assert believed is not None
    assert believed is speeds.profile("edge", "tiny", record.sha256)
    measured = fleet.registry.profile("edge", "tiny", record.sha256)
    assert measured is not None
    assert believed.time_s != measured.time_s
    assert abs(sum(believed.time_s.values()) / sum(measured.time_s.values()) - 1) < 0.03


async def test_a_node_that_says_its_profile_again_is_no_change(fleet: Fleet) -> None:
    await prepared(fleet, {"edge": (1.1, 0.9)}, spread=0.1)
    record, speeds = fleet.models["tiny"], fleet.service.known.speeds
    before = speeds.profile("cloud", "tiny", record.sha256)
    report = fleet.registry.node("edge").profiles["tiny"]
    again = msgspec.json.decode(msgspec.json.encode(report), type=type(report))
    fleet.registry.set_profile("edge", "tiny", again)
    assert speeds.profile("edge", "tiny", record.sha256) is not None
    assert speeds.profile("cloud", "tiny", record.sha256) is before
    await until(lambda: fleet.fallbacks.idle)
