"""A drained node holds nothing any more and gets nothing new, through restarts and its own absence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from bench.fake_agent import FakeAgent
from edgesplit.errors import EdgesplitError, InvalidInput, PlanInfeasible, UnknownNode
from edgesplit.operations.fleet_operations import ListNodes, RemoveNode
from edgesplit.operations.goal_operations import ForbidNode, PinOperators
from edgesplit.operations.plan_operations import DeployModel, UndeployModel
from edgesplit.operations.upkeep_operations import DrainDocument, DrainNode, UndrainNode
from edgesplit.planning.goals import PinRule
from edgesplit.planning.plan import FixedPlan
from tests.controller.fleet import FAST, GOOD_LINK, Fleet
from tests.controller.tiny_models import convolutions
from tests.waiting import until


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Fleet]:
    """A model from the device that runs on the cloud, the fastest node, and has the edge as its fallback."""
    running = Fleet(tmp_path)
    await running.start()
    await running.client.add("tiny", convolutions(2), max_quantizable=0)
    await running.client.ask(DeployModel(name="tiny", source="device"))
    await until(lambda: running.fallbacks.idle)
    yield running
    await running.stop()


async def drain(fleet: Fleet, node: str) -> DrainDocument:
    return msgspec.convert(await fleet.client.ask(DrainNode(name=node)), DrainDocument)


async def drained(fleet: Fleet) -> set[str]:
    return {row["name"] for row in await fleet.client.ask(ListNodes()) if row["drained_unix_s"] is not None}


def holders(fleet: Fleet) -> set[str]:
    """Agents that are told to hold something, as they see it."""
    return {name for name, agent in fleet.agents.items() if any(desired.epochs for desired in agent.desired.values())}


def used(fleet: Fleet, model: str = "tiny") -> set[str]:
    return set(fleet.plan(model).epoch.participants)


async def test_what_runs_there_moves_at_once_and_nothing_is_held_there_any_more(serving: Fleet) -> None:
    assert used(serving) == {"device", "cloud"}
    before = serving.plan("tiny").epoch.number
    document = await drain(serving, "cloud")
    assert (document.node, document.drained) == ("cloud", True)
    (row,) = document.models
    assert (row.model, row.moved, row.stays) == ("tiny", True, "")
    assert row.epoch == serving.plan("tiny").epoch.number > before
    assert used(serving) == {"device", "edge"}
    assert holders(serving) == {"device", "edge"}
    assert serving.plan("tiny").reason.startswith("node cloud is drained")
    assert await drained(serving) == {"cloud"}
    (event,) = serving.told("node-drained")
    assert event.node == "cloud"


async def test_a_node_that_only_a_fallback_uses_is_freed_and_the_plan_stays(serving: Fleet) -> None:
    before = serving.plan("tiny").epoch.number
    await until(lambda: "edge" in holders(serving))
    document = await drain(serving, "edge")
    (row,) = document.models
    assert (row.moved, row.stays, row.epoch) == (False, "", before)
    assert holders(serving) == {"device", "cloud"}
    await until(lambda: serving.fallbacks.idle)
    assert holders(serving) == {"device", "cloud"}


async def test_it_stays_drained_through_its_absence_and_the_controller_s(serving: Fleet) -> None:
    await drain(serving, "cloud")
    await serving.agents["cloud"].leave()
    await until(lambda: "cloud" not in serving.registry.online())
    await serving.stop_controller()
    await serving.start_controller()
    await until(lambda: len(serving.registry.online()) == 2)
    again = FakeAgent(serving.url, "cloud", unit_s=FAST / 4, peers={"device": GOOD_LINK, "edge": GOOD_LINK})
    serving.agents["cloud"] = again
    await again.start()
    await until(lambda: "cloud" in serving.registry.online())
    await until(lambda: serving.rollouts.settled)
    assert await drained(serving) == {"cloud"}
    await serving.client.add("other", convolutions(1))
    await serving.client.ask(DeployModel(name="other", source="device"))
    assert "cloud" not in used(serving) | used(serving, "other")
    assert "cloud" not in holders(serving)


async def test_undrained_it_is_used_again_where_that_pays(serving: Fleet) -> None:
    await drain(serving, "cloud")
    document = await serving.client.ask(UndrainNode(name="cloud"))
    assert (document["drained"], document["models"]) == (False, [])
    await until(lambda: "cloud" in used(serving))
    assert await drained(serving) == set()
    assert [event.node for event in serving.told("node-undrained")] == ["cloud"]
    with pytest.raises(InvalidInput, match="node 'cloud' is not drained: the drained ones are none"):
        await serving.client.ask(UndrainNode(name="cloud"))


async def test_what_is_drained_and_undrained_before_the_watcher_looked_is_used_again(serving: Fleet) -> None:
    for _ in range(3):  # from the second time on the watcher has seen the fleet with the node, and sees it so again
        await drain(serving, "cloud")
        assert "cloud" not in used(serving)
        await serving.client.ask(UndrainNode(name="cloud"))
        await until(lambda: "cloud" in used(serving))


async def test_a_source_stays_and_is_said_and_nothing_new_comes_there(serving: Fleet) -> None:
    before = serving.plan("tiny").epoch.number
    document = await drain(serving, "device")
    (row,) = document.models
    assert "device is its source, and no other node can answer in its place: deploy tiny from another" in row.stays
    assert serving.plan("tiny").epoch.number == before
    await serving.client.add("other", convolutions(1))
    with pytest.raises(
        EdgesplitError, match="node device is drained: let plans use it again with splitctl undrain device"
    ):
        await serving.client.ask(DeployModel(name="other", source="device"))
    await serving.client.ask(DeployModel(name="tiny", source="device"))  # it is there already
    await serving.client.ask(DeployModel(name="tiny", source="edge"))
    assert "device" not in used(serving)
    assert [row.stays for row in (await drain(serving, "device")).models if row.stays] == []


async def test_a_model_that_has_no_plan_without_it_stays_until_it_has_one(serving: Fleet) -> None:
    await serving.client.ask(PinOperators(name="tiny", rule=PinRule(kind="pattern", pattern="conv1", nodes=("cloud",))))
    document = await drain(serving, "cloud")
    (row,) = document.models
    assert "conv1 is pinned to cloud, which no plan can use now" in row.stays
    assert "cloud" in used(serving)
    with pytest.raises(PlanInfeasible):
        await serving.client.ask(ForbidNode(node="cloud", model="tiny"))
    await serving.client.ask(UndeployModel(name="tiny"))
    await until(lambda: not holders(serving))


async def test_a_plan_that_was_given_stays_as_it_is(serving: Fleet) -> None:
    (unit, *others) = (operator.name for operator in serving.models["tiny"].graph.operators)
    given = FixedPlan(assignment=dict.fromkeys([unit, *others], "cloud"))
    await serving.client.ask(DeployModel(name="tiny", source="device", plan=given))
    (row,) = (await drain(serving, "cloud")).models
    assert row.stays.startswith("its plan was given and stays as it is: deploy tiny without --plan")
    with pytest.raises(InvalidInput, match="the plan uses cloud, which is drained: splitctl undrain cloud"):
        await serving.client.ask(DeployModel(name="tiny", source="device", plan=given))
    await serving.client.ask(DeployModel(name="tiny", source="device"))
    assert "cloud" not in used(serving)


async def test_a_pattern_makes_no_source_of_a_drained_node(serving: Fleet) -> None:
    await drain(serving, "cloud")
    await serving.client.ask(DeployModel(name="tiny", source="[ce]*"))
    assert {state.source for state in serving.deployer.deployments.values()} == {"edge"}


async def test_unknown_nodes_are_refused_and_removed_ones_forgotten(serving: Fleet) -> None:
    with pytest.raises(UnknownNode, match="no node 'moon' is registered"):
        await serving.client.ask(DrainNode(name="moon"))
    await drain(serving, "cloud")
    await serving.agents["cloud"].leave()
    await until(lambda: "cloud" not in serving.registry.online())
    await serving.client.ask(RemoveNode(name="cloud"))
    assert serving.rollouts.state.drained == {}
