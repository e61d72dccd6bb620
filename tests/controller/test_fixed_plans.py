"""A plan that somebody made is served as it is, and stays until another is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from edgesplit.control.registration_messages import NODE_STATUS, NodeStatus
from edgesplit.errors import (
    EdgesplitError,
    InvalidInput,
    NodeUnreachable,
    PlanInfeasible,
    PreparationFailed,
    UnknownNode,
)
from edgesplit.operations.goal_operations import (
    AllowNode,
    ForbidNode,
    GoalOperation,
    LimitChange,
    PinOperators,
    SetWeights,
    UnpinOperators,
)
from edgesplit.operations.plan_operations import DeployModel, ShowPlan, UndeployModel
from edgesplit.planning.goals import PinRule
from edgesplit.planning.plan import FixedPlan
from edgesplit.planning.problem import CodecOption, Node, Operator, Problem, Tensor
from edgesplit.release import PROTOCOL, installed_version
from edgesplit_controller.graph.model_graph import GraphOperator, ModelGraph, Unit
from edgesplit_controller.stating.fixed_plan import fixed_assignment, placed_units
from tests.controller.fleet import BAD_LINK, FAST, SLOW, Fleet
from tests.controller.tiny_models import convolutions
from tests.waiting import until


def chain(*nodes: str) -> dict[str, str]:
    """Convolutions in their order with their activations, which are units of their own."""
    return {f"{kind}{index}": node for index, node in enumerate(nodes) for kind in ("conv", "relu")}


ODD = chain("cloud", "device", "edge", "device")
"""Nothing that a planner would come to."""


@pytest.fixture
async def tiny(fleet: Fleet) -> AsyncIterator[Fleet]:
    """With a model of eight units."""
    await fleet.client.add("tiny", convolutions(4))
    yield fleet


async def deploy(fleet: Fleet, assignment: dict[str, str], **others: Any) -> Any:
    plan = FixedPlan(assignment=assignment, **others)
    return await fleet.client.ask(DeployModel(name="tiny", source="device", plan=plan))


def placed(fleet: Fleet) -> dict[str, str]:
    """Where the units of the plan are that serves."""
    node_of = fleet.plan("tiny").assignment.node_of
    return {name: node_of[name] for name in ODD}


async def felt(fleet: Fleet, compute_w: float) -> None:
    """Have the edge draw other watts, and wait until what is predicted of the plan follows."""
    edge = fleet.agents["edge"]
    edge.compute_w = compute_w
    edge.publish_metrics()

    def told_w() -> float:
        return next(node.compute_power_w for node in fleet.plan("tiny").problem.nodes if node.name == "edge")

    await until(lambda: told_w() == compute_w)


async def leave(fleet: Fleet, node: str) -> None:
    """Have a node say goodbye, with its connection kept so that it may come back."""
    gone = NodeStatus(
        node=node,
        online=False,
        protocol=PROTOCOL,
        version=installed_version(),
        instance=fleet.agents[node].instance,
        advertise="",
    )
    fleet.agents[node].bus.publish(NODE_STATUS, gone, node)
    await until(lambda: not fleet.registry.node(node).online)


async def test_exactly_this_plan_is_served_predicted_and_shown(tiny: Fleet) -> None:
    document = await deploy(tiny, ODD)
    assert document["reason"] == "the plan is fixed"
    assert placed(tiny) == ODD
    assert set(tiny.agents["edge"].desired) == set(tiny.agents["cloud"].desired) == {"tiny"}
    shown = await tiny.client.ask(ShowPlan(name="tiny"))
    assert (shown["fixed"], shown["epoch"], shown["serving"]) == (True, document["epoch"], document["epoch"])
    assert (shown["score"], shown["gap"]) == (None, None)
    # Four units on the device, two on each of the others; each of the four cuts takes a link's latency at least.
    assert shown["latency_s"] > 4 * SLOW + 2 * FAST + 2 * FAST / 2 + 4 * 0.001
    low, high = shown["latency_interval_s"]
    assert low < shown["latency_s"] < high
    assert set(shown["fallbacks"]) == {"edge", "cloud"}
    (told,) = [event for event in tiny.told("planned") if event.data["epoch"] == document["epoch"]]
    assert "(the plan is fixed)" in told.text


async def test_the_same_plan_again_keeps_its_epoch_and_another_replaces_it(tiny: Fleet) -> None:
    first = await deploy(tiny, ODD)
    again = await deploy(tiny, ODD)
    assert (again["epoch"], again["reason"]) == (first["epoch"], "the fixed plan serves already")
    other = await deploy(tiny, ODD | {"relu2": "cloud"})
    assert other["epoch"] > first["epoch"]
    assert placed(tiny)["relu2"] == "cloud"


async def test_a_plan_that_the_planner_made_may_be_fixed_and_freed_without_a_new_epoch(tiny: Fleet) -> None:
    planned = await tiny.client.ask(DeployModel(name="tiny", source="device"))
    fixed = await deploy(tiny, placed(tiny))
    assert (fixed["epoch"], tiny.plan("tiny").fixed) == (planned["epoch"], True)
    freed = await tiny.client.ask(DeployModel(name="tiny", source="device"))
    assert (freed["epoch"], tiny.plan("tiny").fixed) == (planned["epoch"], False)


async def test_it_is_not_planned_again_whatever_the_fleet_does_but_its_predictions_follow(tiny: Fleet) -> None:
    await deploy(tiny, ODD)
    before = tiny.plan("tiny")
    device, edge = tiny.agents["device"], tiny.agents["edge"]
    device.peers["cloud"] = edge.peers["device"] = BAD_LINK
    device.publish_links()
    edge.publish_links()
    await until(lambda: tiny.plan("tiny").evaluation.timeline_s > 2 * before.evaluation.timeline_s)
    await felt(tiny, 300.0)
    after = tiny.plan("tiny")
    assert (after.epoch, after.assignment, after.fixed) == (before.epoch, before.assignment, True)
    assert [event.data["epoch"] for event in tiny.told("planned")] == [before.epoch.number]
    assert any("device -> cloud" in event.text for event in tiny.told("link-changed"))


ASK: dict[str, GoalOperation] = {
    "set-weights": SetWeights(latency=1.0, model="tiny"),
    "set-weights of all": SetWeights(max_noise=LimitChange(0.5)),
    "pin": PinOperators(name="tiny", rule=PinRule(kind="first", first=1)),
    "unpin": UnpinOperators(name="tiny"),
    "forbid": ForbidNode(node="edge", model="tiny"),
}


@pytest.mark.parametrize("operation", ASK.values(), ids=ASK)
async def test_whatever_changes_goals_asks_for_a_plan_again(tiny: Fleet, operation: GoalOperation) -> None:
    await deploy(tiny, ODD)
    await tiny.client.ask(operation)
    assert not tiny.plan("tiny").fixed
    assert placed(tiny) != ODD


async def test_allow_and_deploy_without_a_plan_ask_for_one_again(tiny: Fleet) -> None:
    away = {name: node if node != "edge" else "cloud" for name, node in ODD.items()}
    await tiny.client.ask(ForbidNode(node="edge", model="tiny"))
    await deploy(tiny, away)
    await tiny.client.ask(AllowNode(node="edge", model="tiny"))
    assert not tiny.plan("tiny").fixed
    await deploy(tiny, ODD)
    document = await tiny.client.ask(DeployModel(name="tiny", source="device"))
    assert not tiny.plan("tiny").fixed
    assert document["epoch"] == tiny.plan("tiny").epoch.number
    assert placed(tiny) != ODD


async def test_goals_that_no_plan_meets_leave_it_fixed(tiny: Fleet) -> None:
    await deploy(tiny, ODD)
    with pytest.raises(PlanInfeasible):
        await tiny.client.ask(SetWeights(device_energy_j=LimitChange(0.0), model="tiny"))
    assert (tiny.plan("tiny").fixed, placed(tiny)) == (True, ODD)


async def test_it_survives_a_restart_of_the_controller(tiny: Fleet) -> None:
    document = await deploy(tiny, ODD)
    await tiny.stop_controller()
    await tiny.start_controller()
    await tiny.until_settled()
    await felt(tiny, 300.0)
    assert (tiny.plan("tiny").fixed, placed(tiny)) == (True, ODD)
    assert tiny.plan("tiny").epoch.number == document["epoch"]
    assert (await tiny.client.ask(ShowPlan(name="tiny")))["fixed"]


async def test_without_a_node_it_is_told_kept_and_told_again_when_the_node_is_back(tiny: Fleet) -> None:
    document = await deploy(tiny, ODD)
    edge = tiny.agents["edge"]
    await leave(tiny, "edge")
    await until(lambda: bool(tiny.told("fixed-plan-missed")))
    (told,) = tiny.told("fixed-plan-missed")
    epoch = document["epoch"]
    assert told.text == (
        f"tiny's fixed plan, epoch {epoch}, cannot be served without edge: fallbacks serve until it can be"
    )
    assert (told.level, told.model) == ("warning", "tiny")
    assert (tiny.plan("tiny").fixed, placed(tiny)) == (True, ODD)
    edge.announce()
    edge.publish_metrics()
    edge.publish_links()
    await until(lambda: bool(tiny.told("fixed-plan-kept")))
    assert (tiny.plan("tiny").epoch.number, placed(tiny)) == (epoch, ODD)
    desired = tiny.agents["device"].desired["tiny"]
    assert desired.serve == epoch
    assert len(tiny.told("fixed-plan-missed")) == len(tiny.told("fixed-plan-kept")) == 1


async def test_without_a_link_it_is_told_and_kept(tiny: Fleet) -> None:
    await deploy(tiny, ODD)
    del tiny.agents["device"].peers["edge"]
    tiny.agents["device"].publish_links()
    await until(lambda: bool(tiny.told("fixed-plan-missed")))
    assert "without a link from device to edge" in tiny.told("fixed-plan-missed")[0].text
    assert placed(tiny) == ODD


BAD: dict[str, tuple[FixedPlan, type[EdgesplitError], str]] = {
    "operator": (FixedPlan(assignment=ODD | {"conv9": "edge"}), InvalidInput, "'conv9', which the model does not have"),
    "node": (FixedPlan(assignment=ODD | {"conv0": "moon"}), UnknownNode, "no node 'moon' is registered"),
    "missing": (
        FixedPlan(assignment={"conv0": "edge"}),
        InvalidInput,
        "no node for 7 of 8 units, such as relu0, conv1",
    ),
    "input": (FixedPlan(assignment=ODD | {"edgesplit:input": "edge"}), InvalidInput, "are at the source device"),
    "int8": (FixedPlan(assignment=ODD, quantized=("relu0",)), InvalidInput, "'relu0', which cannot run in int8"),
    "tensor": (
        FixedPlan(assignment=ODD, codecs={"w0": "fp16"}),
        InvalidInput,
        "tensor 'w0', which no unit sends",
    ),
    "codec": (
        FixedPlan(assignment=ODD, codecs={"relu0": "zip"}),
        InvalidInput,
        "'relu0', which travels in float, as 'zip'",
    ),
    "noise": (
        FixedPlan(assignment=ODD, quantized=("conv1",)),
        PlanInfeasible,
        "cannot be served by this plan: .*noise",
    ),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
async def test_what_cannot_be_served_is_refused_in_one_sentence_and_nothing_is_lost(
    tiny: Fleet, case: tuple[FixedPlan, type[EdgesplitError], str]
) -> None:
    plan, error, text = case
    await deploy(tiny, ODD)
    before = tiny.plan("tiny")
    with pytest.raises(error, match=text) as refused:
        await tiny.client.ask(DeployModel(name="tiny", source="device", plan=plan))
    assert "\n" not in str(refused.value)
    after = tiny.plan("tiny")
    assert (after.epoch, after.assignment, after.fixed) == (before.epoch, before.assignment, True)


async def test_a_plan_that_does_not_fit_memory_is_refused(tiny: Fleet) -> None:
    edge = tiny.agents["edge"]
    edge.memory_limit_bytes = 100
    edge.announce()
    await until(lambda: (status := tiny.registry.node("edge").status) is not None and status.memory_limit_bytes == 100)
    with pytest.raises(PlanInfeasible, match=r"cannot be served by this plan: .*edge.*"):
        await deploy(tiny, ODD)
    assert "tiny" not in tiny.deployer.deployments


async def test_forbidden_and_absent_nodes_are_named(tiny: Fleet) -> None:
    await tiny.client.ask(ForbidNode(node="edge", model="tiny"))
    with pytest.raises(InvalidInput, match="uses edge, which is forbidden"):
        await deploy(tiny, ODD)
    await tiny.client.ask(AllowNode(node="edge", model="tiny"))
    await leave(tiny, "edge")
    with pytest.raises(NodeUnreachable, match="node edge is offline"):
        await deploy(tiny, ODD)


async def test_a_plan_that_a_node_cannot_prepare_leaves_what_served(tiny: Fleet) -> None:
    document = await tiny.client.ask(DeployModel(name="tiny", source="device"))
    tiny.agents["edge"].fails = {-1}
    with pytest.raises(PreparationFailed):
        await deploy(tiny, ODD)
    assert (tiny.plan("tiny").fixed, tiny.plan("tiny").epoch.number) == (False, document["epoch"])


async def test_int8_is_served_as_given(tiny: Fleet) -> None:
    await tiny.client.ask(SetWeights(max_noise=LimitChange(None), model="tiny"))
    await deploy(tiny, ODD, quantized=("conv1",))
    plan = tiny.plan("tiny")
    assert plan.assignment.quantized == {"conv1"}
    assert plan.evaluation.noise > 0


async def test_another_version_of_the_model_is_planned(tiny: Fleet) -> None:
    await deploy(tiny, ODD)
    await tiny.client.add("tiny", convolutions(4, channels=12), replace=True)
    await until(lambda: not tiny.plan("tiny").fixed)
    assert "another version of the model was added" in tiny.told("planned")[-1].text


async def test_it_ends_with_its_deployment(tiny: Fleet) -> None:
    await deploy(tiny, ODD)
    await tiny.client.ask(UndeployModel(name="tiny"))
    await tiny.client.ask(DeployModel(name="tiny", source="device"))
    assert not tiny.plan("tiny").fixed


def test_a_document_of_solve_is_a_plan_as_it_stands() -> None:
    document = {"status": "optimal", "assignment": {"a": "b"}, "quantized": ["a"], "codecs": {}, "latency_s": 1.0}
    plan = msgspec.json.decode(msgspec.json.encode(document), type=FixedPlan)
    assert plan == FixedPlan(assignment={"a": "b"}, quantized=("a",))


def operator(name: str, reads: str, writes: str) -> GraphOperator:
    return GraphOperator(name=name, op_type="Relu", inputs=(reads,), outputs=(writes,), weight_bytes=0, flops=0)


def graph() -> ModelGraph:
    """A chain of four operators in two units."""
    return ModelGraph(
        sha256="",
        proto=None,  # type: ignore[arg-type]  # names alone are looked at
        operators=(operator("a", "x", "y"), operator("b", "y", "z"), operator("c", "z", "u"), operator("d", "u", "v")),
        tensors={},
        inputs=("x",),
        outputs=("v",),
        units=(
            Unit(name="a", operators=("a", "b"), inputs=("x",), outputs=("z",)),
            Unit(name="d", operators=("c", "d"), inputs=("z",), outputs=("v",)),
        ),
    )


def test_operators_that_are_not_named_follow_their_unit() -> None:
    for assignment in (
        {"a": "edge", "d": "cloud"},
        {"b": "edge", "c": "cloud"},
        dict(zip("badc", ("edge",) * 2 + ("cloud",) * 2, strict=True)),
    ):
        assert placed_units(FixedPlan(assignment=assignment), graph(), "device") == {"a": "edge", "d": "cloud"}


def test_operators_of_a_unit_on_two_nodes_are_refused_by_name() -> None:
    plan = FixedPlan(assignment={"a": "edge", "d": "cloud", "c": "edge"})
    with pytest.raises(
        InvalidInput, match="operator c on edge and d on cloud, but both are of unit d, which is placed"
    ):
        placed_units(plan, graph(), "device")


def problem() -> Problem:
    """Of that chain; what lies between the units may travel as fp16, from int8 without loss."""
    seconds = {"device": 1.0, "edge": 1.0}
    fp16 = CodecOption(name="fp16", bytes=2.0, encode_s=seconds, decode_s=seconds, precision="float")
    exact = CodecOption(name="lossless", bytes=1.0, encode_s=seconds, decode_s=seconds, precision="int8")
    return Problem(
        model="m",
        source="device",
        nodes=(
            Node(name="device", compute_power_w=1.0, transmit_power_w=1.0),
            Node(name="edge", compute_power_w=1.0, transmit_power_w=1.0),
        ),
        links=(),
        operators=(
            Operator(name="edgesplit:input", time_s=seconds, role="input"),
            Operator(name="a", time_s=seconds, quantizable=True, quantized_time_s=seconds),
            Operator(name="d", time_s=seconds),
            Operator(name="edgesplit:output", time_s=seconds, role="output"),
        ),
        tensors=(
            Tensor(name="x", bytes=4.0, producer="edgesplit:input", consumers=("a",)),
            Tensor(name="z", bytes=4.0, producer="a", consumers=("d",), codecs=(fp16, exact)),
            Tensor(name="v", bytes=4.0, producer="d", consumers=("edgesplit:output",)),
        ),
    )


SPLIT, WHOLE = {"a": "device", "d": "edge"}, {"a": "edge", "d": "edge"}


def test_input_and_output_are_at_the_source_and_codecs_on_what_travels() -> None:
    plan = FixedPlan(assignment=SPLIT, codecs={"z": "fp16"})
    assignment = fixed_assignment(plan, problem(), graph())
    assert assignment.node_of == SPLIT | {"edgesplit:input": "device", "edgesplit:output": "device"}
    assert (assignment.codecs, assignment.quantized) == ({"z": "fp16"}, frozenset())
    whole = FixedPlan(assignment=WHOLE, codecs={"z": "fp16"})
    assert fixed_assignment(whole, problem(), graph()).codecs == {}
    int8 = FixedPlan(assignment=SPLIT, quantized=("a",), codecs={"z": "lossless"})
    assert fixed_assignment(int8, problem(), graph()).codecs == {"z": "lossless"}


def test_a_codec_of_the_other_precision_is_refused_and_those_there_are_named() -> None:
    plan = FixedPlan(assignment=SPLIT, quantized=("a",), codecs={"z": "fp16"})
    with pytest.raises(InvalidInput, match="'z', which travels in int8, as 'fp16': codecs for that are lossless"):
        fixed_assignment(plan, problem(), graph())
