"""Requests of sizes that the model leaves open: served, counted by what they take, refused alone where they do not add up."""

from __future__ import annotations

import numpy as np

from edgesplit.errors import Overloaded, SizesRefused
from edgesplit.wire.tensors import Array
from edgesplit_agent.serving.machine.actions import (
    CompleteRequest,
    FailRequest,
    PublishObserved,
    RunComponent,
    SendAbort,
    SendTensors,
)
from edgesplit_agent.serving.machine.events import (
    AbortReceived,
    ComponentFailed,
    DesiredChanged,
    PeerRoom,
    PeerUp,
    RequestCancelled,
    SendFailed,
    TensorsArrived,
)
from tests.agent.graphs import desired, device_part, edge_part, local_part
from tests.agent.open_graphs import opened_desired
from tests.agent.test_machine import Scene, arrived, finished, key, of

REFUSED = "component 1 failed on edge: cannot be reshaped"


def row(length: int, value: float = 1.0) -> Array:
    """A float row."""
    return np.full((1, length), value, np.float32)


def open_device() -> Scene:
    """A source that serves epoch 2 over the edge, with fallback 1, of rows of any length."""
    scene = Scene("device")
    scene.say(PeerUp("edge"))
    plan = desired("device", local_part(1), device_part(2), serve=2, fallback=1)
    scene.say(DesiredChanged("m", opened_desired(plan)))
    return scene


def open_edge() -> Scene:
    """Its peer."""
    scene = Scene("edge")
    scene.say(PeerUp("device"))
    scene.say(DesiredChanged("m", opened_desired(desired("edge", edge_part(2)))))
    return scene


def test_a_request_of_another_size_is_served_and_its_sizes_are_told() -> None:
    scene = open_device()
    (run,) = of(RunComponent, scene.say(arrived("r", {"x": row(6)})))
    assert run.arrays["x"].shape == (1, 6)
    (sent,) = of(SendTensors, scene.say(finished(2, 0, a=row(6))))
    assert sent.tensors["a"].shape == (1, 6)
    scene.say(TensorsArrived("edge", key(2), {"b": row(6)}))
    (answer,) = of(CompleteRequest, scene.say(finished(2, 2, y=row(6))))
    assert (answer.sizes, answer.as_planned) == ({"x": (1, 6)}, False)


def test_a_shape_the_model_does_not_admit_is_refused_before_anything_runs() -> None:
    (failed,) = of(FailRequest, open_device().say(arrived("r", {"x": np.ones((2, 4), np.float32)})))
    assert "expected [1, any]" in str(failed.error)


def test_sizes_that_a_peer_refuses_fail_that_request_alone() -> None:
    scene = open_device()
    scene.say(arrived("r", {"x": row(5)}))
    scene.say(arrived("s", {"x": row(4)}))
    scene.say(finished(2, 0, a=row(5)))
    actions = scene.say(AbortReceived("edge", key(2), SizesRefused.code, REFUSED))
    (failed,) = of(FailRequest, actions)
    assert isinstance(failed.error, SizesRefused)
    assert str(failed.error) == f"model 'm' does not run at x [1, 5] (x [1, 4] was planned for): {REFUSED}"
    assert not of(RunComponent, actions)
    assert not of(PublishObserved, actions)
    (run,) = of(RunComponent, scene.say(arrived("t", {"x": row(6)})))
    assert run.key.epoch == 2
    assert set(scene.machine.flow.requests) == {"s", "t"}


def test_a_peer_says_that_sizes_were_refused_and_serves_on() -> None:
    scene = open_edge()
    (run,) = of(RunComponent, scene.say(TensorsArrived("device", key(2), {"a": row(5)})))
    (abort,) = of(SendAbort, scene.say(ComponentFailed(key(2), run.component, REFUSED, for_sizes=True)))
    assert (abort.peer, abort.code) == ("device", SizesRefused.code)
    assert of(RunComponent, scene.say(TensorsArrived("device", key(2, "s"), {"a": row(4)})))


def test_a_request_of_the_planned_sizes_is_run_again_whatever_a_peer_says_of_sizes() -> None:
    scene = open_device()
    scene.say(arrived("r", {"x": row(4)}))
    actions = scene.say(AbortReceived("edge", key(2), SizesRefused.code, REFUSED))
    (run,) = of(RunComponent, actions)
    assert run.key.epoch == 1


def test_a_tensor_too_large_for_a_frame_moves_its_request_to_the_fallback_and_no_other() -> None:
    scene = open_device()
    scene.say(arrived("r", {"x": row(6)}))
    (run,) = of(RunComponent, scene.say(SendFailed(key(2), "edge", "a takes too much", "frame-too-large")))
    assert run.key.epoch == 1
    (other,) = of(RunComponent, scene.say(arrived("s", {"x": row(6)})))
    assert other.key.epoch == 2


def test_credit_at_a_participant_counts_what_each_request_takes() -> None:
    scene = open_device()
    scene.say(PeerRoom("edge", 200))
    assert not of(FailRequest, scene.say(arrived("r", {"x": row(8)})))
    (refused,) = of(FailRequest, scene.say(arrived("s", {"x": row(8)})))
    assert isinstance(refused.error, Overloaded)
    assert not of(FailRequest, scene.say(arrived("t", {"x": row(4)})))
    (hopeless,) = of(FailRequest, scene.say(arrived("u", {"x": row(13)})))
    assert isinstance(hopeless.error, SizesRefused)
    scene.say(RequestCancelled("r"))
    assert not of(FailRequest, scene.say(arrived("s", {"x": row(8)})))
