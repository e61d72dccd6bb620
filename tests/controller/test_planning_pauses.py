"""While re-planning is paused plans stay as they are, and commands and fallbacks act all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgesplit.errors import InvalidInput, UnknownModel
from edgesplit.operations.goal_operations import SetWeights
from edgesplit.operations.model_operations import ListModels, RemoveModel
from edgesplit.operations.plan_operations import DeployModel, ShowPlan
from edgesplit.operations.upkeep_operations import DrainNode, PausePlanning, ResumePlanning
from tests.controller.fleet import BAD_LINK, Fleet, counted_looks
from tests.controller.tiny_models import convolutions
from tests.waiting import until


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Fleet]:
    running = Fleet(tmp_path)
    await running.start()
    await running.client.add("tiny", convolutions(2), max_quantizable=0)
    await running.client.ask(DeployModel(name="tiny", source="device"))
    yield running
    await running.stop()


async def spoil(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the links that the plan uses bad, and wait until the controller has looked at that."""
    looks = counted_looks(monkeypatch)
    for agent in fleet.agents.values():
        agent.peers = dict.fromkeys(agent.peers, BAD_LINK)
        agent.publish_links()
    await fleet.until_links_known()
    seen = len(looks)
    fleet.deployer.fleet_changed()
    await until(lambda: len(looks) > seen)


async def paused(fleet: Fleet) -> list[bool]:
    return [row["paused_unix_s"] is not None for row in await fleet.client.ask(ListModels())]


@pytest.mark.parametrize("name", ["tiny", None])
async def test_a_paused_model_keeps_its_plan_until_it_is_resumed(
    serving: Fleet, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    epoch = serving.plan("tiny").epoch.number
    document = await serving.client.ask(PausePlanning(model=name))
    assert (document["all_unix_s"] is None, list(document["models"])) == (name is not None, ["tiny"] if name else [])
    await spoil(serving, monkeypatch)
    assert serving.plan("tiny").epoch.number == epoch
    assert await paused(serving) == [True]
    assert (await serving.client.ask(ShowPlan(name="tiny")))["paused_unix_s"] is not None
    document = await serving.client.ask(ResumePlanning(model=name))
    assert document == {"all_unix_s": None, "models": {}}
    await until(lambda: serving.plan("tiny").epoch.number > epoch)
    assert set(serving.plan("tiny").epoch.participants) == {"device"}
    assert await paused(serving) == [False]
    assert [event.model for event in serving.told("planning-paused", "planning-resumed")] == [name or ""] * 2


async def test_commands_act_while_everything_is_paused(serving: Fleet) -> None:
    await serving.client.ask(PausePlanning())
    await serving.client.ask(SetWeights(energy=1.0, model="tiny"))
    assert serving.plan("tiny").goals.energy_weight == 1.0
    await serving.client.ask(DeployModel(name="tiny", source="cloud"))
    assert serving.plan("tiny").epoch.source == "cloud"
    (moved,) = (await serving.client.ask(DrainNode(name="edge")))["models"] or [{"stays": ""}]
    assert moved["stays"] == ""
    await serving.client.add("later", convolutions(1))
    await serving.client.ask(DeployModel(name="later", source="device"))
    assert await paused(serving) == [True, True]


async def test_a_pause_outlives_the_controller_and_ends_with_its_model(
    serving: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = serving.plan("tiny").epoch.number
    await serving.client.ask(PausePlanning(model="tiny"))
    since = serving.rollouts.state.paused["tiny"]
    await serving.stop_controller()
    await serving.start_controller()
    await until(lambda: len(serving.registry.online()) == 3)
    await until(lambda: serving.rollouts.settled)
    assert serving.rollouts.state.paused == {"tiny": since}
    await spoil(serving, monkeypatch)
    assert serving.plan("tiny").epoch.number == epoch
    await serving.client.ask(RemoveModel(name="tiny"))
    assert serving.rollouts.state.paused == {}


async def test_what_cannot_be_paused_or_resumed_is_said(serving: Fleet) -> None:
    client = serving.client
    with pytest.raises(UnknownModel):
        await client.ask(PausePlanning(model="moon"))
    with pytest.raises(InvalidInput, match="re-planning of tiny is not paused"):
        await client.ask(ResumePlanning(model="tiny"))
    with pytest.raises(InvalidInput, match="re-planning of no model is paused"):
        await client.ask(ResumePlanning())
    first = await client.ask(PausePlanning())
    assert await client.ask(PausePlanning()) == first
    with pytest.raises(InvalidInput, match="re-planning of all models is paused: splitctl resume without a name"):
        await client.ask(ResumePlanning(model="tiny"))
    await client.ask(PausePlanning(model="tiny"))
    assert await client.ask(ResumePlanning()) == {"all_unix_s": None, "models": {}}
