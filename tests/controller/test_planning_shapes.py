"""Several planning shapes of a model: each has a plan of its own, and what is wanted of the model holds for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgesplit.errors import EdgesplitError, InvalidInput, PlanInfeasible
from edgesplit.operations.goal_operations import ForbidNode, LimitChange, PinOperators, SetWeights, UnpinOperators
from edgesplit.operations.model_operations import ListModels, RemoveModel, ShowModel
from edgesplit.operations.plan_operations import DeployModel, ShowPlan, UndeployModel
from edgesplit.planning.goals import PinRule
from edgesplit_agent.compute.runtime import RuntimeOptions, open_session
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.models.intake.stages import completed, first_record
from edgesplit_controller.models.intake.variants import variant
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.models.planning_shapes import follows, planned_for
from edgesplit_controller.models.submission import Submission
from tests.controller.fleet import Fleet
from tests.controller.tiny_models import convolutions
from tests.graph.support import constant, model, tensor
from tests.waiting import until, until_answered

SMALL, LARGE = (1, 3, 16, 16), (1, 3, 32, 64)
SHAPES: dict[str, Any] = {"shapes": {"image": [list(SMALL), list(LARGE)]}}
OPEN = convolutions(size=None)


@pytest.fixture
async def deployed(fleet: Fleet) -> Fleet:
    """A model with two planning shapes serves."""
    await fleet.client.add("tiny", OPEN, **SHAPES)
    await deploy(fleet, "device")
    return fleet


async def deploy(fleet: Fleet, source: str) -> None:
    """Deploy the model, and wait until both shapes serve."""
    await fleet.client.ask(DeployModel(name="tiny", source=source))

    def serve() -> bool:
        states = [fleet.deployer.deployments.get(name) for name in ("tiny", "tiny@2")]
        return all(state is not None and state.source == source and state.active is not None for state in states)

    await until(serve)


def records(
    folder: Path, content: bytes = OPEN, shapes: dict[str, tuple[tuple[int, ...], ...]] | None = None
) -> tuple[ModelRecord, BlobStore]:
    file = folder / "upload"
    file.write_bytes(content)
    blobs = BlobStore(folder / "blobs")
    submission = Submission("tiny", file, {}, None, 4, (), shapes=shapes or {"image": (SMALL, LARGE)})
    return first_record(submission, blobs, lambda _text, _done: None), blobs


def single_or_many() -> bytes:
    """A batch of one loses its axis: the branch for it is wrong at every other fixed size, though it never runs there."""
    node = helper.make_node
    then = helper.make_graph([node("Squeeze", ["h", "first"], ["t"])], "then", [], [onnx.ValueInfoProto(name="t")])
    other = helper.make_graph([node("Identity", ["h"], ["e"])], "else", [], [onnx.ValueInfoProto(name="e")])
    nodes = [
        node("MatMul", ["x", "w"], ["h"], name="before"),
        node("Shape", ["x"], ["sizes"], end=1),
        node("Equal", ["sizes", "one"], ["is_single"]),
        node("If", ["is_single"], ["chosen"], name="choose", then_branch=then, else_branch=other),
        node("MatMul", ["chosen", "w"], ["y"], name="after"),
    ]
    square = constant("w", np.eye(20) + 0.5)
    integers = (constant("one", [1], "int64"), constant("first", [0], "int64"))
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    return model(nodes, [tensor("x", ["N", 20])], [output], [square, *integers]).SerializeToString()


def test_a_further_shape_has_the_same_units_and_weights_and_its_own_bytes_and_work(tmp_path: Path) -> None:
    first, blobs = records(tmp_path)
    large = variant(first, "tiny@2", {"image": LARGE}, blobs)
    assert (planned_for(first), planned_for(large)) == ({"image": SMALL}, {"image": LARGE})
    assert large.graph.units == first.graph.units
    assert large.graph.flops == 8 * first.graph.flops
    assert {
        name: tensor.nbytes // first.graph.tensors[name].nbytes for name, tensor in large.graph.tensors.items()
    } == (dict.fromkeys(first.graph.tensors, 8))
    assert large.manifest.offer.float_graph.weights == first.manifest.offer.float_graph.weights
    assert large.version != first.version


def test_a_further_shape_takes_over_what_was_found_out_of_int8_and_codecs(tmp_path: Path) -> None:
    first, blobs = records(tmp_path)
    early = variant(first, "tiny@2", {"image": LARGE}, blobs)
    done = completed(first, None, (), blobs, lambda _text, _done: None)
    assert follows(early, first)
    assert not follows(early, done)
    large = variant(done, early.name, planned_for(early), blobs)
    assert follows(large, done)
    manifest, of_first = large.manifest, done.manifest
    assert (manifest.quantizable, manifest.ranges, manifest.noise) == (
        *(of_first.quantizable, of_first.ranges, of_first.noise),
    )
    assert manifest.offer.quantized_graph is not None
    assert manifest.codecs
    for name, figures in manifest.codecs.items():
        before = of_first.codecs[name]
        assert [figure.bytes for figure in figures] == pytest.approx([8 * figure.bytes for figure in before])
        assert [figure.noise for figure in figures] == [figure.noise for figure in before]
    assert "as measured at the first planning shape" in manifest.warnings[0]


@pytest.mark.parametrize("batches", [(1, 3), (3, 1), (2, 5)])
def test_nodes_can_time_a_shape_at_which_a_branch_that_is_not_taken_is_wrong(
    tmp_path: Path, batches: tuple[int, int]
) -> None:
    shapes = ((batches[0], 20), (batches[1], 20))
    first, blobs = records(tmp_path, single_or_many(), {"x": shapes})
    for record, shape in zip((first, variant(first, "tiny@2", {"x": shapes[1]}, blobs)), shapes, strict=True):
        assert planned_for(record) == {"x": shape}
        session = open_session(blobs.path(record.manifest.offer.float_graph.digest), RuntimeOptions())
        (y,) = session.run(None, {session.get_inputs()[0].name: np.ones(shape, np.float32)})
        assert y.size == shape[0] * shape[1]


@pytest.mark.parametrize(
    ("shapes", "said"),
    [({"image": (1, 4, 8, 8)}, "does not fit"), ({"picture": SMALL}, "is no input of the model")],
)
def test_a_shape_that_does_not_fit_is_refused(tmp_path: Path, shapes: dict[str, tuple[int, ...]], said: str) -> None:
    first, blobs = records(tmp_path)
    with pytest.raises(EdgesplitError, match=said):
        variant(first, "tiny@2", shapes, blobs)


async def test_each_shape_has_a_plan_and_predictions_of_its_own(deployed: Fleet) -> None:
    (document,) = await deployed.client.ask(ListModels())
    rows = document["shapes"]
    assert [(row["name"], row["inputs"]["image"], row["automatic"]) for row in rows] == [
        ("tiny", list(SMALL), False),
        ("tiny@2", list(LARGE), False),
    ]
    assert all(row["epoch"] and row["predicted_latency_s"] > 0 for row in rows)
    small, large = [await deployed.client.ask(ShowPlan(name=name)) for name in ("tiny", "tiny@2")]
    assert (small["model"], large["model"]) == ("tiny", "tiny@2")
    assert deployed.plan("tiny@2").problem.tensors[0].bytes == 8 * deployed.plan("tiny").problem.tensors[0].bytes
    await until(lambda: {"tiny", "tiny@2"} <= deployed.agents["device"].desired.keys())


async def test_where_the_cut_is_the_same_nodes_hold_one_graph_for_both(deployed: Fleet) -> None:
    for rule in (PinRule(kind="pattern", pattern="*0"), PinRule(kind="pattern", pattern="*[123]", nodes=("edge",))):
        await deployed.client.ask(PinOperators(name="tiny", rule=rule))
    graphs = [
        {(node, part.graph.digest) for node, spec in deployed.plan(name).specs.items() for part in spec.components}
        for name in ("tiny", "tiny@2")
    ]
    assert graphs[0] == graphs[1]
    assert {node for node, _ in graphs[0]} == {"device", "edge"}


async def test_goals_hold_for_all_shapes(deployed: Fleet) -> None:
    pinned = await deployed.client.ask(
        PinOperators(name="tiny", rule=PinRule(kind="pattern", pattern="conv1", nodes=("edge",)))
    )
    assert pinned["model"] == "tiny"
    for name in ("tiny", "tiny@2"):
        assert deployed.plan(name).assignment.node_of["conv1"] == "edge"
    rows = await deployed.client.ask(SetWeights(model="tiny", latency=0.0, energy=1.0))
    assert [row["model"] for row in rows] == ["tiny", "tiny@2"]
    assert {deployed.deployer.goals(name).energy_weight for name in ("tiny", "tiny@2")} == {1.0}
    await deployed.client.ask(UnpinOperators(name="tiny", select="conv1"))
    await deployed.client.ask(ForbidNode(model="tiny", node="edge"))
    assert deployed.deployer.goals("tiny@2").forbidden == ("edge",)
    assert deployed.deployer.goals("tiny@2").pins == ()


async def test_a_shape_without_a_plan_under_new_goals_keeps_them_and_the_others_go_on(deployed: Fleet) -> None:
    # To send a large image takes more than a small one, however it is coded, and to compute one here takes more than both.
    limit_j = 1.005 * deployed.plan("tiny").evaluation.device_energy_j
    before = deployed.deployer.goals("tiny@2")
    with pytest.raises(PlanInfeasible, match=r"tiny@2.*; the new goals hold for tiny$"):
        await deployed.client.ask(SetWeights(model="tiny", device_energy_j=LimitChange(limit_j)))
    assert deployed.deployer.goals("tiny").device_energy_limit_j == limit_j
    assert deployed.deployer.goals("tiny@2") == before


async def test_a_shape_has_no_goals_and_no_deployment_of_its_own(deployed: Fleet) -> None:
    for operation in (
        SetWeights(model="tiny@2", latency=1.0),
        DeployModel(name="tiny@2", source="edge"),
        UndeployModel(name="tiny@2"),
    ):
        with pytest.raises(InvalidInput, match="name tiny"):
            await deployed.client.ask(operation)


async def test_shapes_come_and_go_with_their_model(deployed: Fleet) -> None:
    await deployed.client.ask(UndeployModel(name="tiny"))
    assert deployed.deployer.deployments == {}
    await deploy(deployed, "edge")
    assert {name: state.source for name, state in deployed.deployer.deployments.items()} == {
        **{"tiny": "edge", "tiny@2": "edge"},
    }
    await deployed.client.ask(RemoveModel(name="tiny"))
    assert deployed.models == {}
    assert not any((deployed.store.path / "models").iterdir())
    await until(lambda: all(agent.offers == {} for agent in deployed.agents.values()))


async def test_a_version_with_fewer_shapes_takes_those_away(deployed: Fleet) -> None:
    await deployed.client.add("tiny", OPEN, replace=True, shapes={"image": [list(LARGE)]})
    assert deployed.models.keys() == deployed.deployer.deployments.keys() == {"tiny"}
    assert planned_for(deployed.models["tiny"]) == {"image": LARGE}


async def test_one_shape_can_be_removed(deployed: Fleet) -> None:
    await deployed.client.ask(RemoveModel(name="tiny@2"))
    assert deployed.models.keys() == deployed.deployer.deployments.keys() == {"tiny"}


async def test_a_restarted_controller_knows_all_shapes(deployed: Fleet) -> None:
    epochs = {name: deployed.plan(name).epoch.number for name in ("tiny", "tiny@2")}
    await deployed.stop_controller()
    await deployed.start_controller()
    assert {name: deployed.plan(name).epoch.number for name in ("tiny", "tiny@2")} == epochs


async def test_a_shape_that_was_not_timed_yet_is_planned_once_it_is(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = fleet.agents["device"]
    profile = device._profile

    async def without_the_second(offer: Any) -> None:
        if offer.model != "tiny@2":
            await profile(offer)

    monkeypatch.setattr(device, "_profile", without_the_second)
    await fleet.client.add("tiny", OPEN, wait="ready", **SHAPES)
    done = await fleet.client.ask(DeployModel(name="tiny", source="device"))
    assert any("device has not timed it" in text for text in done["warnings"])
    assert "tiny@2" not in fleet.deployer.deployments
    await profile(device.offers["tiny@2"])

    async def planned() -> bool:
        rows = (await fleet.client.ask(ShowModel(name="tiny")))["shapes"]
        return rows[1]["epoch"] is not None

    await until_answered(planned, "a plan for the second shape")


async def test_a_model_of_fixed_sizes_has_no_further_shapes(fleet: Fleet) -> None:
    with pytest.raises(EdgesplitError, match="--fixed leaves one"):
        await fleet.client.add("tiny", OPEN, fixed=True, **SHAPES)
    with pytest.raises(EdgesplitError, match="takes no other sizes"):
        await fleet.client.add("tiny", convolutions(), **SHAPES)
    assert fleet.models == {}


async def limit_memory(fleet: Fleet, node: str, nbytes: int) -> None:
    fleet.agents[node].memory_limit_bytes = nbytes
    fleet.agents[node].announce()

    def said() -> bool:
        status = fleet.registry.node(node).status
        return status is not None and status.memory_limit_bytes == nbytes

    await until(said)


async def test_weights_that_shapes_share_take_a_nodes_room_once(fleet: Fleet) -> None:
    await fleet.client.add("tiny", OPEN, **SHAPES)
    await fleet.client.add("other", OPEN, shapes={"image": [list(SMALL)]})
    weights = sum(operator.weight_bytes for operator in fleet.models["tiny"].graph.operators)
    for node in ("device", "edge"):  # neither has room for any weights beside those of one model
        await limit_memory(fleet, node, int(1.5 * weights))
    await fleet.client.ask(ForbidNode(node="cloud"))
    await fleet.client.ask(PinOperators(name="tiny", rule=PinRule(kind="pattern", pattern="conv*", nodes=("edge",))))
    await deploy(fleet, "device")
    for name in ("tiny", "tiny@2"):
        assert fleet.plan(name).assignment.node_of["conv1"] == "edge"
        assert not fleet.plan(name).assignment.quantized
    used = [fleet.plan(name).evaluation.memory_bytes["edge"] for name in ("tiny", "tiny@2")]
    assert max(used) > 0
    assert min(used) == 0  # what the other shape holds already
    await fleet.client.ask(PinOperators(name="other", rule=PinRule(kind="pattern", pattern="conv*", nodes=("edge",))))
    with pytest.raises(PlanInfeasible, match="memory"):
        await fleet.client.ask(DeployModel(name="other", source="device"))
