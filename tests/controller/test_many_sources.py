"""Many sources of one model: each has a plan of its own, and what is wanted of the model holds for all."""

from __future__ import annotations

import pytest

from bench.fake_agent import FakeAgent
from edgesplit.control.figure_messages import Usage
from edgesplit.errors import InvalidInput, NotDeployed, UnknownNode
from edgesplit.operations.goal_operations import ForbidNode, LimitChange, SetWeights
from edgesplit.operations.model_operations import ListModels, RemoveModel
from edgesplit.operations.plan_operations import DeployModel, ShowPlan, UndeployModel
from edgesplit.operations.study_operations import WhatIf
from edgesplit.planning.plan import FixedPlan
from edgesplit_controller.models.planning_shapes import deployments_of
from edgesplit_controller.stating.loads import promised
from edgesplit_controller.stating.promised_streams import promised_streams
from tests.controller.fleet import GOOD_LINK, SLOW, Fleet
from tests.controller.tiny_models import convolutions
from tests.waiting import until


async def add_camera(fleet: Fleet, name: str) -> FakeAgent:
    """One more slow node."""
    agent = FakeAgent(fleet.url, name, unit_s=SLOW, peers=dict.fromkeys(fleet.agents, GOOD_LINK))
    for other in fleet.agents.values():
        other.peers[name] = GOOD_LINK
        other.publish_links()
    fleet.agents[name] = agent
    await agent.start()
    await fleet.until_links_known()
    return agent


@pytest.fixture
async def cameras(fleet: Fleet) -> Fleet:
    """Two cameras beside device, edge and cloud, and a model."""
    for name in ("cam1", "cam2"):
        await add_camera(fleet, name)
    await fleet.client.add("tiny", convolutions())
    return fleet


def served(fleet: Fleet) -> dict[str, str]:
    """Deployments with a plan, and their sources."""
    found = fleet.deployer.deployments.items()
    return {name: state.source for name, state in found if state.active is not None}


async def test_every_node_that_matches_is_a_source_with_a_plan_of_its_own(cameras: Fleet) -> None:
    document = await cameras.client.ask(DeployModel(name="tiny", source="cam*"))
    assert served(cameras) == {"tiny": "cam1", "tiny~cam2": "cam2"}
    assert [(row["source"], row["name"]) for row in document["sources"]] == [("cam1", "tiny"), ("cam2", "tiny~cam2")]
    assert document["warnings"] == []
    plan = await cameras.client.ask(ShowPlan(name="tiny~cam2"))
    assert (plan["model"], plan["source"]) == ("tiny~cam2", "cam2")
    assert {row["source"] for row in plan["sources"]} == {"cam1", "cam2"}
    assert "cam1" not in plan["per_node"] or not plan["per_node"]["cam1"]["operators"]
    listed = await cameras.client.ask(ListModels())
    assert [row["name"] for row in listed] == ["tiny"]


async def test_a_node_that_joins_later_becomes_a_source_too(cameras: Fleet) -> None:
    await cameras.client.ask(DeployModel(name="tiny", source="cam*"))
    await cameras.until_settled()
    await add_camera(cameras, "cam3")
    await until(lambda: served(cameras).get("tiny~cam3") == "cam3", "the third camera serves")


async def test_goals_hold_at_every_source(cameras: Fleet) -> None:
    await cameras.client.ask(DeployModel(name="tiny", source="cam*"))
    rows = await cameras.client.ask(SetWeights(model="tiny", max_noise=LimitChange(value=0.125)))
    assert {row["model"] for row in rows} == {"tiny", "tiny~cam2"}
    assert [cameras.deployer.goals(name).max_noise for name in ("tiny", "tiny~cam2")] == [0.125, 0.125]
    assert cameras.plan("tiny~cam2").goals.max_noise == 0.125


async def test_naming_one_source_ends_the_others(cameras: Fleet) -> None:
    await cameras.client.ask(DeployModel(name="tiny", source="cam*"))
    await cameras.client.ask(DeployModel(name="tiny", source="cam2"))
    assert served(cameras) == {"tiny": "cam2"}
    assert cameras.rollouts.state.sources == {}


async def test_undeploying_ends_all_and_leaves_nothing_behind(cameras: Fleet) -> None:
    await cameras.client.ask(DeployModel(name="tiny", source="cam*"))
    await cameras.client.ask(SetWeights(model="tiny", energy=2.0))
    await cameras.client.ask(UndeployModel(name="tiny"))
    assert served(cameras) == {}
    state = cameras.rollouts.state
    assert state.sources == {}
    assert deployments_of(state.goals, "tiny") == ("tiny",)
    await until(lambda: all(not node.observed for node in cameras.registry.nodes.values()))
    with pytest.raises(NotDeployed):
        await cameras.client.ask(ShowPlan(name="tiny~cam2"))


async def test_a_removed_model_serves_nowhere(cameras: Fleet) -> None:
    await cameras.client.ask(DeployModel(name="tiny", source="cam*"))
    await cameras.client.ask(RemoveModel(name="tiny"))
    assert served(cameras) == {}
    state = cameras.rollouts.state
    assert (state.sources, state.goals) == ({}, {})


async def test_a_restarted_controller_knows_all_sources(cameras: Fleet) -> None:
    await cameras.client.ask(DeployModel(name="tiny", source="cam*"))
    before = {name: cameras.plan(name).epoch.number for name in ("tiny", "tiny~cam2")}
    await cameras.stop_controller()
    await cameras.start_controller()
    await cameras.until_settled()
    assert {name: cameras.plan(name).epoch.number for name in ("tiny", "tiny~cam2")} == before
    await add_camera(cameras, "cam9")
    await until(lambda: served(cameras).get("tiny~cam9") == "cam9", "the ninth camera serves")


async def test_what_cannot_be_is_refused(cameras: Fleet) -> None:
    with pytest.raises(UnknownNode, match=r"no node that is online matches 'gate\*'"):
        await cameras.client.ask(DeployModel(name="tiny", source="gate*"))
    with pytest.raises(InvalidInput, match="is of one source"):
        await cameras.client.ask(DeployModel(name="tiny", source="cam*", plan=FixedPlan(assignment={})))
    await cameras.client.ask(DeployModel(name="tiny", source="cam*"))
    with pytest.raises(InvalidInput, match=r"is the deployment of tiny at cam2, .*: name tiny"):
        await cameras.client.ask(DeployModel(name="tiny~cam2", source="cam2"))


async def test_models_of_one_node_compute_alike_whatever_their_sources(cameras: Fleet) -> None:
    await cameras.client.ask(DeployModel(name="tiny", source="cam*"))
    speeds = cameras.service.known.speeds
    record = cameras.service.known.catalog.deployed["tiny~cam2"]
    assert record.name == "tiny~cam2"
    assert speeds.profile("edge", "tiny~cam2", record.sha256) == speeds.profile("edge", "tiny", record.sha256)
    assert speeds.believed("tiny~cam2") == speeds.believed("tiny")


async def test_a_source_without_a_plan_is_told_and_keeps_nobody_from_serving(cameras: Fleet) -> None:
    await cameras.client.ask(ForbidNode(node="cam2", model="tiny"))
    document = await cameras.client.ask(DeployModel(name="tiny", source="cam*"))
    assert served(cameras) == {"tiny": "cam1"}
    (warning,) = document["warnings"]
    assert warning.startswith("cam2 has no plan of tiny yet: ")
    assert "forbidden" in warning


async def test_what_is_promised_to_one_source_is_not_there_for_the_next(cameras: Fleet) -> None:
    await cameras.client.ask(SetWeights(model="tiny", latency=1.0, min_rate=LimitChange(value=10.0)))
    await cameras.client.ask(DeployModel(name="tiny", source="cam*"))
    first, second = cameras.plan("tiny"), cameras.plan("tiny~cam2")
    placed = first.assignment.node_of.values()
    assert {"edge", "cloud"} & set(placed)
    took_s = {
        node: sum(one.time_s[node] for one in first.problem.operators if first.assignment.node_of[one.name] == node)
        for node in set(placed)
    }
    loads = {node.name: node.load for node in second.problem.nodes}
    assert loads == pytest.approx({node: 10.0 * took_s.get(node, 0.0) for node in loads}, rel=0.5)
    assert all(loads[node] >= 10.0 * seconds * 0.99 for node, seconds in took_s.items())


async def test_sources_with_a_rate_are_planned_together_and_planned_again_like_any_other(cameras: Fleet) -> None:
    for name in ("cam3", "cam4"):
        await add_camera(cameras, name)
    await until(lambda: len(cameras.registry.profiled("tiny", cameras.models["tiny"].sha256)) == 7)
    await cameras.client.ask(SetWeights(model="tiny", latency=1.0, min_rate=LimitChange(value=40.0)))
    document = await cameras.client.ask(DeployModel(name="tiny", source="cam*"))
    assert document["warnings"] == []
    plans = {name: cameras.plan(name) for name in served(cameras)}
    assert set(plans) == {"tiny", "tiny~cam2", "tiny~cam3", "tiny~cam4"}
    assert "made together" in plans["tiny~cam3"].reason
    assert not any(plan.fixed for plan in plans.values())
    loads = promised(plans.items(), model="another", source="device")
    assert 0.0 < max(loads.nodes.values()) <= 1.0
    assert all(plan.evaluation.rate_hz is None or plan.evaluation.rate_hz >= 40.0 for plan in plans.values())


async def test_goals_that_ask_for_a_rate_promise_nothing_twice_though_all_sources_follow_them_at_once(
    cameras: Fleet,
) -> None:
    """At 150 requests a second the cloud alone would be taken for 0.6 of its time by each."""
    await cameras.client.ask(SetWeights(model="tiny", latency=1.0))
    await cameras.client.ask(DeployModel(name="tiny", source="cam*"))
    assert all("cloud" in plan.assignment.node_of.values() for plan in map(cameras.plan, served(cameras)))
    await cameras.client.ask(SetWeights(model="tiny", min_rate=LimitChange(value=150.0)))
    taken: dict[str, float] = {}
    for plan in map(cameras.plan, served(cameras)):
        assert plan.goals.min_rate_hz == 150.0
        for one in plan.problem.operators:
            node = plan.assignment.node_of[one.name]
            seconds = (one.quantized_time_s or one.time_s) if one.name in plan.assignment.quantized else one.time_s
            taken[node] = taken.get(node, 0.0) + 150.0 * seconds[node]
    assert max(taken.values()) <= 1.0 + 0.05
    assert sum(taken.values()) > 1.0


async def test_a_plan_says_what_its_requests_wait_for_those_of_other_sources(cameras: Fleet) -> None:
    await cameras.client.ask(SetWeights(model="tiny", latency=1.0))
    await cameras.client.ask(DeployModel(name="tiny", source="cam*"))
    alone = await cameras.client.ask(ShowPlan(name="tiny"))
    assert (alone["waiting_s"], alone["loaded_latency_s"]) == (0.0, alone["latency_s"])
    assert alone["waiting"]["places"] == {}
    await cameras.client.ask(SetWeights(model="tiny", min_rate=LimitChange(value=10.0)))
    plans = {name: cameras.plan(name) for name in served(cameras)}
    (other,) = promised_streams(plans.items(), model="tiny", source="cam1")
    beside = await cameras.client.ask(ShowPlan(name="tiny"))
    shared = set(other.resources) & {entry["node"] for entry in beside["timeline"] if entry.get("node")}
    assert shared
    assert set(beside["waiting"]["places"]) >= shared
    for node in shared:
        assert beside["waiting"]["places"][node]["load"] == pytest.approx(10.0 * other.busy_s(node))
    assert 0.0 < beside["waiting_s"] <= beside["waiting"]["worst_s"]
    assert beside["loaded_latency_s"] == pytest.approx(beside["latency_s"] + beside["waiting_s"])
    assert beside["waiting"]["origin"] == "modelled"
    then = await cameras.client.ask(WhatIf(name="tiny", min_rate=LimitChange(value=20.0)))
    assert then["active"]["loaded_latency_s"] == pytest.approx(beside["loaded_latency_s"])
    assert then["then"]["loaded_latency_s"] >= then["then"]["latency_s"]


async def test_planning_shapes_of_one_source_are_one_stream(cameras: Fleet) -> None:
    await cameras.client.ask(SetWeights(model="tiny", latency=1.0, min_rate=LimitChange(value=10.0)))
    await cameras.client.ask(DeployModel(name="tiny", source="cam1"))
    plan = cameras.plan("tiny")
    both = [("tiny", plan), ("tiny@2", plan)]
    assert promised_streams(both, model="tiny", source="cam1") == ()
    assert len(promised_streams(both, model="tiny", source="cam2")) == 1
    assert len(promised_streams(both, model="another", source="cam1")) == 1


async def test_how_evenly_sources_are_slowed_is_told_once_two_have_served(cameras: Fleet) -> None:
    await cameras.client.ask(DeployModel(name="tiny", source="cam*"))
    plan = await cameras.client.ask(ShowPlan(name="tiny"))
    assert plan["fairness"] is None
    planned_s = {row["source"]: row["latency_s"] for row in plan["sources"]}
    for name, source, slow_down in (("tiny", "cam1", 1.0), ("tiny~cam2", "cam2", 3.0)):
        epoch = cameras.plan(name).epoch.number
        latency_sum_s = 4 * slow_down * planned_s[source]
        figures = {"compute_s": 1.0, "transmit_s": 0.0, "energy_j": 1.0, "latency_sum_s": latency_sum_s}
        counted = Usage(
            node=source, model=name, epoch=epoch, requests=4, failed=0, energy_origin="configured", **figures
        )
        cameras.registry.add_usage(counted)
    plan = await cameras.client.ask(ShowPlan(name="tiny"))
    assert plan["fairness"] == pytest.approx(16 / 20)
    assert [row["measured_latency_s"] for row in plan["sources"]] == pytest.approx(
        [planned_s["cam1"], 3.0 * planned_s["cam2"]]
    )


async def test_what_others_give_back_is_a_chance_that_is_taken_once(cameras: Fleet) -> None:
    """At 150 requests a second one model takes most of the cloud's time, so that another's requests are computed on slower nodes."""
    await cameras.client.add("other", convolutions())
    await cameras.client.ask(SetWeights(latency=1.0, min_rate=LimitChange(value=150.0)))
    await cameras.client.ask(DeployModel(name="other", source="cam1"))
    await cameras.client.ask(DeployModel(name="tiny", source="cam2"))
    beside = cameras.plan("tiny")
    assert any(node.load > 0.5 for node in beside.problem.nodes)
    await cameras.client.ask(UndeployModel(name="other"))
    await until(lambda: cameras.plan("tiny").epoch.number > beside.epoch.number, "tiny is planned again")
    alone = cameras.plan("tiny")
    assert "are free now" in alone.reason
    assert alone.evaluation.latency_s < beside.evaluation.latency_s
    assert not any(node.load for node in alone.problem.nodes)
    # Who comes now takes nothing that is promised, and moves nobody.
    await cameras.client.ask(DeployModel(name="other", source="cam1"))
    await cameras.until_settled()
    assert cameras.plan("tiny").epoch.number == alone.epoch.number
