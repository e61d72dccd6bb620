"""Labels of nodes: plans use the source's site and shared nodes, or those that `deploy --on` selects, and nobody else is told to measure."""

from __future__ import annotations

import msgspec
import pytest

from bench.fake_agent import FakeAgent
from edgesplit.control.registration_messages import CONTROLLER_STATUS, ControllerStatus
from edgesplit.errors import InvalidInput
from edgesplit.operations.fleet_operations import ListNodes
from edgesplit.operations.goal_operations import PinOperators
from edgesplit.operations.plan_operations import DeployModel, ShowPlan
from edgesplit.planning.goals import PinRule
from edgesplit.planning.plan import FixedPlan
from tests.controller.fleet import GOOD_LINK, Fleet
from tests.controller.tiny_models import convolutions
from tests.waiting import until

LABELS = {
    "device": {"site": "home", "role": "device"},
    "edge": {"site": "home", "role": "edge"},
    "cloud": {"site": "work", "role": "edge"},
}


@pytest.fixture
async def sites(fleet: Fleet) -> Fleet:
    """Device and edge at home, and the faster cloud at another site."""
    for name, agent in fleet.agents.items():
        agent.labels = LABELS[name]
        agent.announce()
    await until(lambda: all(node.status and node.status.labels for node in fleet.registry.nodes.values()))
    await fleet.client.add("tiny", convolutions())
    return fleet


async def candidates(fleet: Fleet) -> set[str]:
    return set((await fleet.client.ask(ShowPlan(name="tiny")))["candidates"])


async def test_a_plan_stays_on_the_sources_site_unless_it_is_said_where(sites: Fleet) -> None:
    await sites.client.ask(DeployModel(name="tiny", source="device"))
    assert await candidates(sites) == {"device", "edge"}
    await sites.client.ask(DeployModel(name="tiny", source="device", on="role=edge"))
    plan = await sites.client.ask(ShowPlan(name="tiny"))
    assert (plan["on"], set(plan["candidates"])) == ("role=edge", {"device", "edge", "cloud"})
    assert "cloud" in plan["per_node"]
    await sites.client.ask(DeployModel(name="tiny", source="device"))
    assert await candidates(sites) == {"device", "edge"}


async def test_a_shared_node_serves_every_site(sites: Fleet) -> None:
    sites.agents["cloud"].labels = {"role": "cloud"}
    sites.agents["cloud"].announce()
    await until(lambda: sites.registry.node("cloud").status.labels == {"role": "cloud"})  # type: ignore[union-attr]
    await sites.client.ask(DeployModel(name="tiny", source="device"))
    assert await candidates(sites) == {"device", "edge", "cloud"}


async def test_what_was_selected_holds_after_a_restart(sites: Fleet) -> None:
    await sites.client.ask(DeployModel(name="tiny", source="device", on="site!=work"))
    await sites.stop_controller()
    await sites.start_controller()
    await sites.until_settled()
    assert sites.deployer.goals("tiny").on == "site!=work"
    assert await candidates(sites) == {"device", "edge"}


async def test_a_node_that_joins_the_site_is_planned_on(sites: Fleet) -> None:
    await sites.client.ask(DeployModel(name="tiny", source="device"))
    await sites.until_settled()
    sites.agents["cloud"].labels = {"site": "home"}
    sites.agents["cloud"].announce()
    await until(lambda: "cloud" in sites.plan("tiny").epoch.participants, "the plan uses the faster node")


@pytest.mark.parametrize(
    ("on", "said"), [("site", "cannot be read"), ("site=attic", "no node has the labels site=attic")]
)
async def test_a_selector_that_means_nothing_is_refused(sites: Fleet, on: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        await sites.client.ask(DeployModel(name="tiny", source="device", on=on))
    assert "tiny" not in sites.deployer.deployments


async def test_a_fixed_plan_on_another_site_says_why_it_cannot_be(sites: Fleet) -> None:
    everywhere = {f"{kind}{index}": "cloud" for index in range(4) for kind in ("conv", "relu")}
    plan = FixedPlan(assignment=everywhere)
    with pytest.raises(InvalidInput, match="is of another site"):
        await sites.client.ask(DeployModel(name="tiny", source="device", plan=plan))


async def test_a_pin_to_another_site_leaves_no_plan_and_says_so(sites: Fleet) -> None:
    await sites.client.ask(DeployModel(name="tiny", source="device"))
    with pytest.raises(Exception, match="left out by --on or of another site"):
        await sites.client.ask(
            PinOperators(name="tiny", rule=PinRule(kind="pattern", pattern="conv1", nodes=("cloud",)))
        )


async def test_further_sources_follow_the_selector(sites: Fleet) -> None:
    await sites.client.ask(DeployModel(name="tiny", source="*e", on="role=device"))
    named = {name: plan.source for name, plan in sites.deployer.deployments.items()}
    assert set(named.values()) == {"device", "edge"}
    await sites.client.ask(DeployModel(name="tiny", source="*e", on="role=edge"))
    assert {sites.deployer.goals(name).on for name in named} == {"role=edge"}


async def test_agents_are_told_whom_to_measure(sites: Fleet) -> None:
    agents = sites.agents
    await until(lambda: agents["device"].named == ("edge",) and agents["cloud"].named == ())
    await sites.client.ask(DeployModel(name="tiny", source="device", on="role=edge"))
    await until(lambda: (agents["device"].named, agents["edge"].named) == (("cloud", "edge"), ("cloud", "device")))
    rows = await sites.client.ask(ListNodes())
    assert {row["name"]: row["labels"] for row in rows} == LABELS


async def test_the_controller_says_that_it_names_peers(fleet: Fleet) -> None:
    heard: list[ControllerStatus | None] = []
    fleet.client.bus.subscribe(CONTROLLER_STATUS, lambda _topic, status: heard.append(status))
    await until(lambda: bool(heard))
    assert heard[0] is not None
    assert heard[0].names_peers
    older = msgspec.json.decode(
        b'{"online":true,"protocol":1,"version":"0.1","instance":"","artifacts":""}', type=ControllerStatus
    )
    assert not older.names_peers


async def test_a_node_without_labels_is_as_it_was(fleet: Fleet) -> None:
    await fleet.client.add("tiny", convolutions())
    agent = FakeAgent(fleet.url, "fourth", unit_s=0.001, peers=dict.fromkeys(fleet.agents, GOOD_LINK))
    for other in fleet.agents.values():
        other.peers["fourth"] = GOOD_LINK
        other.publish_links()
    fleet.agents["fourth"] = agent
    await agent.start()
    await fleet.until_links_known()
    await until(lambda: agent.named == ("cloud", "device", "edge"))
    await until(lambda: "fourth" in fleet.registry.profiled("tiny", fleet.models["tiny"].sha256))
    await fleet.client.ask(DeployModel(name="tiny", source="device"))
    assert await candidates(fleet) == {"device", "edge", "cloud", "fourth"}
