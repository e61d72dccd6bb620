"""A request is served by the plan of the planning shape that is nearest to its sizes, of those that can serve."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit_agent.serving.engine_models import known_models
from edgesplit_agent.serving.machine.actions import CompleteRequest, FailRequest, RunComponent
from edgesplit_agent.serving.machine.events import (
    ComponentFailed,
    ComponentFinished,
    DesiredChanged,
    ModelOffered,
    PeerLost,
    PeerUp,
)
from edgesplit_agent.serving.machine.nearest_shape import distance, further_shapes
from tests.agent.graphs import desired, device_part, local_part
from tests.agent.open_graphs import PLANNED, opened_desired
from tests.agent.test_machine import Scene, arrived, of
from tests.agent.test_open_sizes import row

FURTHER = {"m@2": 16 * PLANNED, "m@10": 256 * PLANNED}


def deploy(
    scene: Scene, name: str, planned: int, *, ready: bool = True, away: bool = False, joinable: bool = False
) -> None:
    """Have a planning shape served here on the local part, or over the edge with no fallback."""
    plan = opened_desired(
        desired("device", device_part(2), serve=2) if away else desired("device", local_part(1), serve=1)
    )
    entries = tuple(TensorSpec(name="x", dtype="float32", shape=(1, -1), typical=(1, planned)) for _ in plan.inputs)
    scene.prepare = ready
    epochs = tuple(msgspec.structs.replace(spec, joinable=joinable) for spec in plan.epochs)
    scene.say(DesiredChanged(name, msgspec.structs.replace(plan, inputs=entries, epochs=epochs)))


def served_by(scene: Scene, request: str, length: int) -> str:
    """Name of the shape whose plan runs a request of this length."""
    (run,) = of(RunComponent, scene.say(arrived(request, {"x": row(length)})))
    return run.key.model


def joining() -> Scene:
    """A source of a model with two planning shapes, at which requests wait for others that come meanwhile."""
    scene = Scene("device", batch_window_s=1.0)
    for name, planned in (("m", PLANNED), ("m@2", 16 * PLANNED)):
        deploy(scene, name, planned, joinable=True)
    return scene


@pytest.fixture
def source() -> Scene:
    """A source of a model with three planning shapes."""
    scene = Scene("device")
    for name, planned in {**FURTHER, "m": PLANNED}.items():
        deploy(scene, name, planned)
    return scene


@pytest.mark.parametrize(
    ("length", "name"),
    [
        *((1, "m"), (PLANNED, "m"), (4 * PLANNED - 1, "m"), (4 * PLANNED, "m"), (4 * PLANNED + 1, "m@2")),
        *((16 * PLANNED, "m@2"), (64 * PLANNED, "m@2"), (64 * PLANNED + 1, "m@10"), (10_000, "m@10")),
    ],
)
def test_the_nearest_shape_serves_and_the_first_of_two_that_are_as_near(source: Scene, length: int, name: str) -> None:
    assert served_by(source, "r", length) == name


def test_the_answer_counts_for_the_shape_that_served(source: Scene) -> None:
    (run,) = of(RunComponent, source.say(arrived("r", {"x": row(16 * PLANNED)})))
    finished = ComponentFinished(run.key, run.component, {"y": row(16 * PLANNED)})
    (answer,) = of(CompleteRequest, source.say(finished))
    assert (answer.request, answer.model, answer.as_planned) == ("r", "m@2", True)
    assert answer.sizes == {"x": (1, 16 * PLANNED)}


def test_a_shape_that_has_no_plan_takes_no_part() -> None:
    scene = Scene("device")
    deploy(scene, "m", PLANNED)
    deploy(scene, "m@2", 16 * PLANNED, ready=False)
    assert served_by(scene, "r", 16 * PLANNED) == "m"


def test_a_shape_whose_peers_are_away_takes_no_part() -> None:
    scene = Scene("device")
    deploy(scene, "m", PLANNED)
    scene.say(PeerUp("edge"))
    deploy(scene, "m@2", 16 * PLANNED, away=True)
    assert served_by(scene, "r", 16 * PLANNED) == "m@2"
    scene.say(PeerLost("edge", "gone"))
    assert served_by(scene, "s", 16 * PLANNED) == "m"


def test_a_shape_that_is_withdrawn_leaves_its_requests_to_the_others(source: Scene) -> None:
    source.say(DesiredChanged("m@10", None))
    assert served_by(source, "r", 10_000) == "m@2"
    source.say(DesiredChanged("m@2", None))
    assert served_by(source, "s", 10_000) == "m"


def test_what_is_no_request_of_the_model_is_refused_by_the_first_shape(source: Scene) -> None:
    (failed,) = of(FailRequest, source.say(arrived("r", {"x": np.ones((2, 4), np.float32)})))
    assert (failed.model, "expected [1, any]" in str(failed.error)) == ("m", True)


def test_clients_see_one_model(source: Scene) -> None:
    source.say(ModelOffered("m@2", True))
    source.say(ModelOffered("other", True))
    assert known_models(source.machine.flow) == ("m", "other")


def test_a_model_of_one_shape_is_no_model_of_several() -> None:
    assert further_shapes(["m", "other"]) == {}
    assert further_shapes(["m@10", "other", "m", "m@2"]) == {"m": ("m", "m@2", "m@10")}


def test_distance_is_the_sum_over_open_axes() -> None:
    specs = [
        TensorSpec(name="x", dtype="float32", shape=(1, -1, -1), typical=(1, 10, 100)),
        TensorSpec(name="y", dtype="float32", shape=(-1,), typical=(3,)),
    ]
    arrays = {"x": np.ones((1, 20, 50), np.float32), "y": np.ones(3, np.float32)}
    assert distance(specs, arrays) == pytest.approx(2 * math.log(2))
    assert distance(specs, {"x": arrays["x"]}) == math.inf


def test_a_request_that_waits_for_a_shape_that_is_withdrawn_goes_on_with_the_next() -> None:
    scene = joining()
    for number in range(3):
        scene.say(arrived(f"r{number}", {"x": row(16 * PLANNED)}))
    assert [request.gathered for request in scene.machine.flow.requests.values()] == [False, True, True]
    runs = of(RunComponent, scene.say(DesiredChanged("m@2", None)))
    assert [(run.key.model, run.key.request) for run in runs] == [("m", "r1"), ("m", "r2")]
    scene.say(DesiredChanged("m", None))
    assert not of(FailRequest, scene.seen)  # those that began end on their epoch


def test_requests_whose_last_shape_is_withdrawn_are_told_so() -> None:
    scene = joining()
    for number in range(2):
        scene.say(arrived(f"r{number}", {"x": row(16 * PLANNED)}))
    scene.say(DesiredChanged("m", None))
    (failed,) = of(FailRequest, scene.say(DesiredChanged("m@2", None)))
    assert (failed.request, failed.error.code) == ("r1", "not-deployed")


def test_a_request_whose_shape_loses_its_nodes_goes_on_with_the_next() -> None:
    scene = Scene("device")
    deploy(scene, "m", PLANNED)
    scene.say(PeerUp("edge"))
    deploy(scene, "m@2", 16 * PLANNED, away=True)
    assert served_by(scene, "r", 16 * PLANNED) == "m@2"
    (first,) = of(RunComponent, scene.seen)
    scene.say(ComponentFinished(first.key, first.component, {"a": row(16 * PLANNED)}))
    scene.say(DesiredChanged("m@2", None))  # it drains, with this request on it
    (run,) = of(RunComponent, scene.say(PeerLost("edge", "gone")))
    assert (run.key.model, run.key.request) == ("m", "r")
    (answer,) = of(CompleteRequest, scene.say(ComponentFinished(run.key, run.component, {"y": row(16 * PLANNED)})))
    assert (answer.model, answer.as_planned) == ("m", False)


def test_what_a_shape_computes_wrongly_is_not_tried_on_the_others(source: Scene) -> None:
    (run,) = of(RunComponent, source.say(arrived("r", {"x": row(16 * PLANNED)})))
    actions = source.say(ComponentFailed(run.key, run.component, "an index is out of range", for_sizes=False))
    assert [failed.error.code for failed in of(FailRequest, actions)] == ["request-failed"]
    assert not of(RunComponent, actions)


def test_of_the_deployments_of_a_model_the_one_whose_source_this_node_is_serves() -> None:
    scene = Scene("device")
    plan = opened_desired(desired("device", local_part(1), serve=1))
    other = msgspec.structs.replace(plan, serve=None, epochs=())
    scene.say(DesiredChanged("m~cam1", other))
    scene.say(ModelOffered("m", True))
    deploy(scene, "m~device", PLANNED)
    assert served_by(scene, "r", PLANNED) == "m~device"
    assert scene.machine.flow.shapes.own("m") == "m~device"
    assert known_models(scene.machine.flow) == ("m",)


def test_a_request_waits_for_the_plan_of_its_own_source() -> None:
    scene = Scene("device")
    deploy(scene, "m~device", PLANNED, ready=False)
    assert not scene.say(arrived("r", {"x": row(PLANNED)}))
    assert [request.model for request in scene.machine.flow.requests.values()] == ["m~device"]
