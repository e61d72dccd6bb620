"""The controller from end to end, with real MQTT and HTTP and agents that only keep the protocol."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from bench.fake_agent import FakeAgent
from edgesplit.control.registration_messages import NODE_STATUS
from edgesplit.errors import EdgesplitError
from edgesplit.operations.event_operations import ListEvents
from edgesplit.operations.fleet_operations import ListLinks, ListNodes
from edgesplit.operations.goal_operations import (
    AllowNode,
    ForbidNode,
    LimitChange,
    PinOperators,
    SetWeights,
    UnpinOperators,
)
from edgesplit.operations.model_operations import ListModels, RemoveModel
from edgesplit.operations.operation import OPERATION_REQUEST
from edgesplit.operations.plan_operations import DeployModel, ExportProblem, ShowPlan, ShowSource, UndeployModel
from edgesplit.operations.study_operations import ExplainPlan, LinkChange, TraceFrontier, WhatIf
from edgesplit.planning.goals import PinRule
from edgesplit.retrying import RetryRule
from tests.brokers import publish_bytes
from tests.controller.fleet import BAD_LINK, GOOD_LINK, METRIC, NO_METRIC, Fleet, counted_looks
from tests.controller.tiny_models import convolutions
from tests.waiting import until, until_answered


async def test_nodes_and_links_are_those_that_registered(fleet: Fleet) -> None:
    nodes = await fleet.client.ask(ListNodes())
    assert [(node["name"], node["online"], node["power_origin"]) for node in nodes] == [
        ("cloud", True, "configured"),
        ("device", True, "configured"),
        ("edge", True, "configured"),
    ]
    links = await fleet.client.ask(ListLinks())
    assert len(links) == 6
    assert {"from", "to", "bandwidth_bytes_per_s", "latency_s", "age_s", "origin"} <= links[0].keys()


async def test_a_model_is_added_deployed_and_follows_goals_and_fleet(fleet: Fleet) -> None:
    client = fleet.client
    added = await client.add("tiny", convolutions())
    assert added["operators"] == 8
    assert sorted(added["profiled"]) == ["cloud", "device", "edge"]
    assert added["quantizable"] == ["conv0", "conv1", "conv2", "conv3"]
    deployed = await client.ask(DeployModel(name="tiny", source="device"))
    plan = await client.ask(ShowPlan(name="tiny"))
    assert plan["epoch"] == deployed["epoch"]
    assert plan["per_node"]["cloud"]["operators"] == 8
    assert client.progress
    await until(lambda: "tiny" in client.deployments)
    source = await client.ask(ShowSource(name="tiny", via="edge"))
    assert (source["source"], source["via"]) == ("device", "edge")

    (row,) = await client.ask(SetWeights(energy=1.0, max_noise=LimitChange(None)))
    assert row["model"] == "tiny"
    goals = (await client.ask(ShowPlan(name="tiny")))["goals"]
    assert (goals["latency_weight"], goals["energy_weight"], goals["max_noise"]) == (0.0, 1.0, None)

    await client.ask(SetWeights(latency=1.0, max_noise=LimitChange(0.0)))
    epoch = (await client.ask(ShowPlan(name="tiny")))["epoch"]
    await fleet.agents["cloud"].leave()
    await until(lambda: fleet.plan("tiny").epoch.number > epoch)
    plan = await client.ask(ShowPlan(name="tiny"))
    assert plan["per_node"].get("cloud") is None
    assert "cloud left" in plan["reason"]
    fleet.agents["device"].peers["edge"] = BAD_LINK
    fleet.agents["device"].publish_links()
    await until(lambda: set(fleet.plan("tiny").assignment.node_of.values()) == {"device"})
    kinds = [event["kind"] for event in await client.ask(ListEvents(limit=1000))]
    assert {"node-joined", "node-left", "model-added", "planned", "epoch-activated", "epoch-retired"} <= set(kinds)
    assert (await client.ask(ExportProblem(name="tiny")))["format"] == "split-problem/1"


async def test_requests_follow_a_source_that_got_another_address(fleet: Fleet) -> None:
    client, device = fleet.client, fleet.agents["device"]
    await client.add("tiny", convolutions())
    await client.ask(DeployModel(name="tiny", source="device"))

    def announced() -> str:
        deployment = client.deployments.get("tiny")
        return deployment.advertise if deployment is not None else ""

    await until(lambda: announced() == device.advertise)
    epoch = fleet.plan("tiny").epoch.number
    device.advertise = "10.0.0.77:7400"
    device.announce()
    await until(lambda: announced() == "10.0.0.77:7400")
    source = await client.ask(ShowSource(name="tiny", via="edge"))
    assert source["source"] == "device"
    assert fleet.plan("tiny").epoch.number == epoch  # an address is no reason for another plan
    # Its last will names no address: requests wait for it where it was.
    await device.leave()
    await until(lambda: "device" not in fleet.registry.online())
    assert announced() == "10.0.0.77:7400"


async def test_a_node_that_becomes_slow_is_told_and_left_and_a_restart_remembers_it(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, cloud = fleet.client, fleet.agents["cloud"]
    await client.add("tiny", convolutions())
    epoch = (await client.ask(DeployModel(name="tiny", source="device")))["epoch"]
    before = await client.ask(ShowPlan(name="tiny"))
    assert before["per_node"]["cloud"]["operators"] == 8
    assert before["components"][0]["measured_s"] is None
    cloud.publish_timings("tiny", epoch, 10.0)
    await until(lambda: fleet.plan("tiny").epoch.number > epoch)
    after = await client.ask(ShowPlan(name="tiny"))
    assert after["per_node"].get("cloud", {"operators": 0})["operators"] == 0
    assert "node cloud computes the model in" in after["reason"]
    events = [event for event in await client.ask(ListEvents(limit=1000)) if event["node"] == "cloud"]
    assert "in 40 ms instead of 4 ms (live timings), a factor of 10.00" in events[-1]["text"]
    assert events[-1]["kind"] == "profile-changed"
    rows = {row["name"]: row["speeds"]["tiny"] for row in await client.ask(ListNodes())}
    assert rows["cloud"]["factor"] == pytest.approx(10.0, rel=0.01)
    assert rows["edge"]["origin"] == "profile"
    what_if = await client.ask(WhatIf(name="tiny", without=("edge",)))
    assert what_if["then"]["latency_s"] == pytest.approx(0.042, rel=0.01)

    await fleet.stop_controller()
    monkeypatch.setattr("edgesplit_controller.service.PATIENCE_S", 0.3)
    await fleet.start_controller()
    await fleet.until_settled()
    rows = {row["name"]: row["speeds"]["tiny"] for row in await client.ask(ListNodes())}
    assert rows["cloud"]["factor"] == pytest.approx(10.0, rel=0.01)
    assert fleet.plan("tiny").epoch.number == after["epoch"]


async def test_a_few_percent_change_the_prediction_that_is_shown_and_nothing_else(fleet: Fleet) -> None:
    client, cloud = fleet.client, fleet.agents["cloud"]
    await client.add("tiny", convolutions())
    epoch = (await client.ask(DeployModel(name="tiny", source="device")))["epoch"]
    before = fleet.plan("tiny")
    told = {"profile-changed", "planned", "replan-declined"}
    events = fleet.told(*told)
    cloud.publish_timings("tiny", epoch, 1.15)
    await until(lambda: fleet.plan("tiny").evaluation.timeline_s > before.evaluation.timeline_s)
    plan = await client.ask(ShowPlan(name="tiny"))
    (part,) = plan["components"]
    assert part["predicted_s"] == pytest.approx(part["measured_s"], rel=0.05)
    assert part["measured_s"] == pytest.approx(1.15 * before.specs["cloud"].components[0].predicted_s)
    assert plan["epoch"] == epoch
    assert plan["speeds"]["cloud"]["origin"] == "live timings"
    assert fleet.told(*told) == events


async def test_undeploy_and_remove_clear_everything(fleet: Fleet) -> None:
    client = fleet.client
    await client.add("tiny", convolutions(2))
    deployed = await client.ask(DeployModel(name="tiny", source="device"))
    await until(lambda: bool(fleet.agents["device"].desired))
    ended = await client.ask(UndeployModel(name="tiny"))
    assert ended["epoch"] == deployed["epoch"]
    await until(lambda: not any(agent.desired for agent in fleet.agents.values()))
    await client.ask(DeployModel(name="tiny", source="edge"))
    removed = await client.ask(RemoveModel(name="tiny"))
    assert removed["deployed"]
    await until(lambda: not any(agent.desired or agent.offers for agent in fleet.agents.values()))
    assert await client.ask(ListModels()) == []
    assert fleet.store.blobs.digests() == frozenset()
    assert client.deployments["tiny"] is None


async def test_errors_are_sentences_and_stop_nothing(fleet: Fleet) -> None:
    client = fleet.client
    with pytest.raises(EdgesplitError, match="no model 'ghost' was added") as caught:
        await client.ask(ShowPlan(name="ghost"))
    assert caught.value.code == "unknown-model"
    with pytest.raises(EdgesplitError) as caught:
        await client.add("broken", b"this is no model")
    assert caught.value.code == "invalid-model"
    await client.add("tiny", convolutions(2))
    with pytest.raises(EdgesplitError) as caught:
        await client.add("tiny", convolutions(2))
    assert caught.value.code == "model-exists"
    with pytest.raises(EdgesplitError, match="no operator of the model"):
        await client.add("other", convolutions(3), exclude=("nobody",))
    with pytest.raises(EdgesplitError, match="cloud, device, edge") as caught:
        await client.ask(DeployModel(name="tiny", source="nowhere"))
    assert caught.value.code == "unknown-node"
    with pytest.raises(EdgesplitError, match="speaks protocol 99"):
        await client.ask(ListNodes(), protocol=99)
    malformed = [NODE_STATUS.of("device"), OPERATION_REQUEST.of(client.name)]
    for topic, payload in zip(malformed, (b"{not json", b"\xff"), strict=True):
        publish_bytes(fleet.url, topic, payload)
    await until(lambda: len(fleet.told("malformed-message")) == 2)
    said = [event.text.partition(" was ignored")[0] for event in fleet.told("malformed-message")]
    assert said == [f"the payload on {topic}" for topic in malformed]
    assert len(await client.ask(ListNodes())) == 3


async def test_noise_is_read_as_the_metric_that_the_controller_allows(fleet: Fleet) -> None:
    client = fleet.client
    with pytest.raises(EdgesplitError, match=r"not allowed here: add it to \[models\] metrics") as caught:
        await client.add("tiny", convolutions(2), metric="os:system")
    assert caught.value.code == "invalid-metric"
    with pytest.raises(EdgesplitError, match="gives 1 for equal outputs"):
        await client.add("tiny", convolutions(2), metric=NO_METRIC)
    assert await client.ask(ListModels()) == []
    plain = await client.add("tiny", convolutions(2))
    own = await client.add("tiny", convolutions(2), metric=METRIC, replace=True)
    assert (plain["noise_model"]["metric"], own["noise_model"]["metric"]) == ("rho", METRIC)
    assert own["noise_model"]["full_noise"] > 3 * plain["noise_model"]["full_noise"]


async def test_the_same_file_with_another_choice_of_candidates_is_profiled_again(fleet: Fleet) -> None:
    client = fleet.client
    await client.add("tiny", convolutions())
    deployed = await client.ask(DeployModel(name="tiny", source="device"))
    added = await client.add("tiny", convolutions(), max_quantizable=2, replace=True)
    assert fleet.plan("tiny").epoch.number > deployed["epoch"]
    assert sorted(added["profiled"]) == ["cloud", "device", "edge"]
    profile = fleet.registry.profile("device", "tiny", added["sha256"])
    assert profile is not None
    assert sorted(profile.quantized_time_s) == added["quantizable"]


async def test_infeasible_goals_keep_goals_and_plan(fleet: Fleet) -> None:
    client = fleet.client
    await client.add("tiny", convolutions(2))
    await client.ask(DeployModel(name="tiny", source="device"))
    before = await client.ask(ShowPlan(name="tiny"))
    with pytest.raises(EdgesplitError, match="tiny has no plan") as caught:
        await client.ask(SetWeights(device_energy_j=LimitChange(1e-12), model="tiny"))
    assert caught.value.exit_code == 3
    after = await client.ask(ShowPlan(name="tiny"))
    assert (after["epoch"], after["goals"]) == (before["epoch"], before["goals"])


async def test_pins_are_kept_with_the_goals_and_planned_at_once(fleet: Fleet) -> None:
    client = fleet.client
    await client.add("tiny", convolutions(2))
    kept = await client.ask(PinOperators(name="tiny", rule=PinRule(kind="input")))
    assert (kept["epoch"], kept["pins"][0]["nodes"]) == (0, [])
    await client.ask(DeployModel(name="tiny", source="device"))
    plan = await client.ask(ShowPlan(name="tiny"))
    (row,) = plan["pins"]
    assert (row["select"], row["nodes"], row["operators"], row["units"]) == (
        *("--input", ["device"]),
        *(["conv0"], ["conv0"]),
    )
    assert fleet.plan("tiny").assignment.node_of["conv0"] == "device"
    rule = PinRule(kind="pattern", pattern="relu1", nodes=("edge",))
    pinned = await client.ask(PinOperators(name="tiny", rule=rule))
    assert pinned["changed"]
    assert fleet.plan("tiny").assignment.node_of["relu1"] == "edge"
    assert pinned["epoch"] == fleet.plan("tiny").epoch.number
    with pytest.raises(EdgesplitError, match="contradict each other") as caught:
        await client.ask(PinOperators(name="tiny", rule=PinRule(kind="first", first=1, nodes=("cloud",))))
    assert caught.value.exit_code == 3
    assert len((await client.ask(ShowPlan(name="tiny")))["pins"]) == 2
    await client.ask(UnpinOperators(name="tiny", select="relu1"))
    await client.ask(UnpinOperators(name="tiny"))
    assert (await client.ask(ShowPlan(name="tiny")))["pins"] == []
    with pytest.raises(EdgesplitError, match="there are no pins"):
        await client.ask(UnpinOperators(name="tiny", select="--input"))


async def test_what_may_not_run_on_the_source_does_not_run_there_in_need(fleet: Fleet) -> None:
    client = fleet.client
    await client.add("tiny", convolutions(2))
    await client.ask(DeployModel(name="tiny", source="device"))
    assert fleet.plan("tiny").epoch.local_fallback is not None
    rule = PinRule(kind="pattern", pattern="*", nodes=("cloud", "edge"))
    await client.ask(PinOperators(name="tiny", rule=rule))
    assert fleet.plan("tiny").epoch.local_fallback is None
    await until(lambda: list(fleet.agents["device"].desired["tiny"].fallbacks) == ["cloud"])
    await fleet.agents["cloud"].leave()
    await until(lambda: "edge" in fleet.plan("tiny").assignment.node_of.values())
    await fleet.agents["edge"].leave()
    await until(lambda: bool(fleet.told("plan-infeasible")))
    (told,) = fleet.told("plan-infeasible")
    assert "* is pinned to cloud, edge, which no plan can use now" in told.text
    assert "edge" in fleet.plan("tiny").assignment.node_of.values()


async def test_a_forbidden_node_is_used_no_more_by_any_model_until_it_is_allowed(fleet: Fleet) -> None:
    client = fleet.client
    await client.add("tiny", convolutions(2))
    await client.ask(DeployModel(name="tiny", source="device"))
    (row,) = await client.ask(ForbidNode(node="cloud"))
    assert (row["forbidden"], row["changed"]) == (["cloud"], True)
    await client.add("other", convolutions(3))
    await client.ask(DeployModel(name="other", source="device"))
    for name in ("tiny", "other"):
        assert set(fleet.plan(name).assignment.node_of.values()) == {"device", "edge"}
        assert (await client.ask(ShowPlan(name=name)))["forbidden"] == ["cloud"]
    with pytest.raises(EdgesplitError, match="its source device is forbidden") as caught:
        await client.ask(ForbidNode(node="device", model="tiny"))
    assert caught.value.exit_code == 3
    for wrong, sentence in ((ForbidNode(node="moon"), "moon"), (AllowNode(node="edge"), "not forbidden")):
        with pytest.raises(EdgesplitError, match=sentence):
            await client.ask(wrong)
    await client.ask(AllowNode(node="cloud", model="other"))
    assert "cloud" in fleet.plan("other").assignment.node_of.values()
    assert "cloud" not in fleet.plan("tiny").assignment.node_of.values()
    assert len(await client.ask(AllowNode(node="cloud"))) == 2
    assert "cloud" in fleet.plan("tiny").assignment.node_of.values()


async def test_studies_answer_and_change_nothing(fleet: Fleet) -> None:
    client = fleet.client
    await client.add("tiny", convolutions(2))
    await client.ask(DeployModel(name="tiny", source="device"))
    before = fleet.plan("tiny")
    explained = await client.ask(ExplainPlan(name="tiny"))
    assert {(cut["from"], cut["to"]) for cut in explained["cuts"]} == {("device", "cloud"), ("cloud", "device")}
    slow = LinkChange(from_="device", to="cloud", bandwidth_bytes_per_s=1e3)
    supposed = await client.ask(WhatIf(name="tiny", links=(slow,)))
    assert supposed["supposed"] == ["link device -> cloud has 1 kB/s"]
    assert (supposed["same"], supposed["moved"] > 0) == (False, True)
    assert supposed["then"]["per_node"]["edge"]["operators"] > 0
    assert supposed["active_then"]["latency_s"] > supposed["then"]["latency_s"] > supposed["active"]["latency_s"]
    placed = supposed["placed"]
    assert placed["source"] == "device"
    operators = [name for part in placed["components"] for name in part["operators"]]
    assert sorted(operators) == sorted(
        name for part in (await client.ask(ShowPlan(name="tiny")))["components"] for name in part["operators"]
    )
    counted = Counter(part["node"] for part in placed["components"] for _ in part["operators"])
    assert counted == {node: row["operators"] for node, row in supposed["then"]["per_node"].items() if row["operators"]}
    assert max(entry["end_s"] for entry in placed["timeline"]) == supposed["then"]["latency_s"]
    supposed = await client.ask(WhatIf(name="tiny", without=("cloud", "edge"), energy=1.0))
    assert supposed["active_then"] is None
    assert supposed["then"]["per_node"] == {"device": {"operators": 4, "components": 1, "quantized": 0}}
    for wrong, sentence in (
        (WhatIf(name="tiny", without=("moon",)), "no node 'moon'"),
        (WhatIf(name="tiny", without=("device",)), "source 'device'"),
        (WhatIf(name="tiny", links=(LinkChange(from_="device", to="moon"),)), "no node 'moon'"),
    ):
        with pytest.raises(EdgesplitError, match=sentence):
            await client.ask(wrong)
    traced = await client.ask(TraceFrontier(name="tiny", points=5))
    assert traced["points"]
    assert traced["active"]["latency_s"] == pytest.approx(before.evaluation.latency_s)
    assert any("frontier" in text for text in client.progress)
    with pytest.raises(EdgesplitError, match="--points"):
        await client.ask(TraceFrontier(name="tiny", points=1))
    assert fleet.plan("tiny") == before


async def test_nodes_keep_a_plan_for_the_loss_of_each_node_and_drop_it_with_its_plan(fleet: Fleet) -> None:
    client = fleet.client
    await client.add("tiny", convolutions(2))
    await client.ask(DeployModel(name="tiny", source="device"))
    await until(lambda: bool(fleet.agents["device"].desired["tiny"].fallbacks))
    fallbacks = (await client.ask(ShowPlan(name="tiny")))["fallbacks"]
    assert list(fallbacks) == ["cloud"]
    row = fallbacks["cloud"]
    assert (row["prepared"], row["per_node"]["edge"]["operators"]) == (True, 4)
    assert fleet.agents["device"].desired["tiny"].fallbacks == {"cloud": row["epoch"]}
    assert [spec.epoch for spec in fleet.agents["edge"].desired["tiny"].epochs] == [row["epoch"]]
    await client.ask(PinOperators(name="tiny", rule=PinRule(kind="pattern", pattern="*", nodes=("device", "cloud"))))
    await until(lambda: "tiny" not in fleet.agents["edge"].desired)
    fallbacks = (await client.ask(ShowPlan(name="tiny")))["fallbacks"]
    assert fallbacks["cloud"]["epoch"] == fleet.plan("tiny").epoch.local_fallback
    assert fallbacks["cloud"]["per_node"]["device"]["operators"] == 4


async def test_nodes_keep_only_the_local_fallback_where_that_is_configured(fleet: Fleet) -> None:
    client = fleet.client
    await client.add("tiny", convolutions(2))
    await client.ask(DeployModel(name="tiny", source="device"))
    await until(lambda: bool(fleet.agents["device"].desired["tiny"].fallbacks))
    await fleet.stop_controller()
    planning = msgspec.structs.replace(fleet.configuration.planning, fallbacks="local")
    fleet.configuration = msgspec.structs.replace(fleet.configuration, planning=planning)
    await fleet.start_controller()
    await until(lambda: len(fleet.registry.online()) == 3)
    fleet.deployer.settle(patient=False)
    await until(lambda: "tiny" not in fleet.agents["edge"].desired)
    await until(lambda: fleet.agents["device"].desired["tiny"].fallbacks == {})
    fallbacks = (await client.ask(ShowPlan(name="tiny")))["fallbacks"]
    assert fallbacks["cloud"]["epoch"] == fleet.plan("tiny").epoch.local_fallback


async def test_a_fallback_that_does_not_fit_the_memory_is_not_kept(fleet: Fleet) -> None:
    client = fleet.client
    await client.add("tiny", convolutions(2))
    # Room for the weights, which is what the planner counts, but not for the graph beside them.
    fleet.agents["edge"].memory_limit_bytes = 3200
    fleet.agents["edge"].announce()
    await until(lambda: fleet.registry.node("edge").status.memory_limit_bytes > 0)  # type: ignore[union-attr]
    await client.ask(DeployModel(name="tiny", source="device"))
    await until(lambda: fleet.fallbacks.idle)
    assert sum(operator.weight_bytes for operator in fleet.plan("tiny").problem.operators) < 3200
    assert fleet.deployer.deployments["tiny"].rollout.fallbacks == ()
    document = await client.ask(ShowPlan(name="tiny"))
    assert document["fallbacks"]["cloud"]["epoch"] == fleet.plan("tiny").epoch.local_fallback


async def test_a_node_that_cannot_prepare_costs_the_epoch_not_the_service(fleet: Fleet) -> None:
    client = fleet.client
    await client.add("tiny", convolutions(2))
    fleet.agents["cloud"].fails = {-1}
    with pytest.raises(EdgesplitError, match="node cloud could not prepare it: no room") as caught:
        await client.ask(DeployModel(name="tiny", source="device"))
    assert caught.value.code == "preparation-failed"
    assert "tiny" not in fleet.deployer.deployments
    await until(lambda: not any(agent.desired for agent in fleet.agents.values()))
    fleet.agents["cloud"].fails = set()
    await client.ask(DeployModel(name="tiny", source="device"))


async def test_a_plan_that_was_given_up_is_made_again_when_its_node_returns_and_not_before(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = RetryRule(first_s=3600.0, most_s=3600.0)
    monkeypatch.setattr("edgesplit_controller.deciding.replanner.REPLANNING", never)
    client, device, cloud = fleet.client, fleet.agents["device"], fleet.agents["cloud"]
    await client.add("tiny", convolutions(2))
    device.peers = {"cloud": BAD_LINK, "edge": BAD_LINK}
    device.publish_links()
    await fleet.until_links_known()
    deployed = await client.ask(DeployModel(name="tiny", source="device"))
    cloud.fails = {-1}
    device.peers = {"cloud": GOOD_LINK, "edge": BAD_LINK}
    device.publish_links()

    async def abandoned() -> int:
        return sum(event["kind"] == "epoch-abandoned" for event in await client.ask(ListEvents(limit=1000)))

    await until_answered(abandoned, "giving the plan up")
    looks = counted_looks(monkeypatch)
    for count in range(1, 6):  # the fleet speaks, and says nothing new
        device.publish_links()
        fleet.deployer.fleet_changed()
        await until(lambda: len(looks) >= count)  # noqa: B023 - awaited here
    assert await abandoned() == 1
    assert fleet.plan("tiny").epoch.number == deployed["epoch"]
    cloud.fails = set()
    cloud.instance = "cloud-2"
    cloud.announce()
    await until(lambda: "cloud" in fleet.plan("tiny").epoch.participants)
    assert await abandoned() == 1


async def test_a_restarted_controller_disturbs_nothing(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesplit_controller.service.PATIENCE_S", 0.3)
    client = fleet.client
    await client.add("tiny", convolutions(2))
    deployed = await client.ask(DeployModel(name="tiny", source="device"))
    await until(lambda: bool(fleet.agents["device"].desired["tiny"].fallbacks))
    desired = {name: agent.desired.get("tiny") for name, agent in fleet.agents.items()}
    await fleet.stop_controller()
    for agent in fleet.agents.values():
        agent.heard.clear()
    await fleet.start_controller()
    await until(lambda: len(fleet.registry.online()) == 3)
    # Both phases: while nodes may still come, and when nobody waits for them any more and fallbacks are looked at again.
    await fleet.until_settled()
    await client.add("later", convolutions(3))  # what agents hear of it comes behind all that was said of plans
    assert {name: agent.desired.get("tiny") for name, agent in fleet.agents.items()} == desired
    for name, agent in fleet.agents.items():
        assert [message for message in agent.heard if message != desired[name]] == []
    plan = await client.ask(ShowPlan(name="tiny"))
    assert (plan["epoch"], plan["serving"]) == (deployed["epoch"], deployed["epoch"])


async def test_deploying_from_another_source_moves_the_model(fleet: Fleet) -> None:
    client = fleet.client
    await client.add("tiny", convolutions(2))
    first = await client.ask(DeployModel(name="tiny", source="device"))
    second = await client.ask(DeployModel(name="tiny", source="edge"))
    assert second["epoch"] > first["epoch"]
    await until(lambda: getattr(client.deployments["tiny"], "source", "") == "edge")
    await until(lambda: "tiny" not in fleet.agents["device"].desired)


async def test_a_replaced_model_moves_the_deployment_to_its_new_version(fleet: Fleet) -> None:
    client = fleet.client
    await client.add("tiny", convolutions(2))
    first = await client.ask(DeployModel(name="tiny", source="device"))
    await client.add("tiny", convolutions(3), replace=True)
    plan = await client.ask(ShowPlan(name="tiny"))
    assert plan["epoch"] > first["epoch"]
    assert sum(share["operators"] for share in plan["per_node"].values()) == 6


async def test_a_node_of_another_protocol_is_refused(fleet: Fleet) -> None:
    stranger = FakeAgent(fleet.url, "stranger", unit_s=1e-6, peers={}, protocol=99)
    await stranger.start()
    await until(lambda: fleet.registry.knows("stranger"))
    rows = {row["name"]: row for row in await fleet.client.ask(ListNodes())}
    assert "protocol 99" in rows["stranger"]["refused"]
    assert [event.node for event in fleet.told("node-refused")] == ["stranger"]
    await stranger.bus.close()
