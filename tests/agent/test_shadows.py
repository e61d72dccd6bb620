"""Which answered requests are checked against the float model, scene by scene."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from edgesplit.control.plan_messages import Desired, EpochSpec, Shadowing
from edgesplit_agent.serving.machine.actions import CompleteRequest, PublishNoise, ShadowRequest
from edgesplit_agent.serving.machine.events import (
    ComponentFinished,
    DesiredChanged,
    PeerLost,
    PeerUp,
    RequestArrived,
    ShadowChecked,
    ShadowDropped,
)
from edgesplit_agent.serving.machine.shadow_sampling import PAUSE_S, ShadowSampling
from tests.agent.graphs import desired, local_part
from tests.agent.test_machine import Scene, key, of

X = np.ones((1, 4), np.float32)
POLICY = Shadowing(requests=3, every_s=300.0, bound=0.1)


def quantized(epoch: int) -> EpochSpec:
    return msgspec.structs.replace(local_part(epoch), quantized=True)


def wanted(*epochs: EpochSpec, policy: Shadowing | None = POLICY, **keywords: Any) -> DesiredChanged:
    stated: Desired = msgspec.structs.replace(desired("device", *epochs, **keywords), shadowing=policy)
    return DesiredChanged("m", stated)


def source(policy: Shadowing | None = POLICY) -> Scene:
    """A source that serves the quantized epoch 2, all of it here, with the float model as epoch 1."""
    scene = Scene("device")
    scene.say(wanted(local_part(1), quantized(2), policy=policy, serve=2, fallback=1))
    return scene


def answer(scene: Scene, name: str, epoch: int = 2) -> list[ShadowRequest]:
    """Have a request answered; the checks that follow."""
    scene.say(RequestArrived(name, "m", {"x": X}))
    actions = scene.say(ComponentFinished(key(epoch, name), 0, {"y": 3 * X}))
    assert [done.request for done in of(CompleteRequest, actions)] == [name]
    return of(ShadowRequest, actions)


def report(scene: Scene, noise: float, epoch: int = 2) -> PublishNoise:
    (published,) = of(PublishNoise, scene.say(ShadowChecked("m", epoch, noise)))
    return published


def test_the_first_requests_are_checked_one_at_a_time_and_later_one_now_and_then() -> None:
    scene = source()
    (check,) = answer(scene, "r1")
    assert (check.epoch, check.metric, [spec.name for spec in check.specs]) == (2, "", ["y"])
    assert check.generation == scene.machine.models["m"].held[1].generation
    assert check.arrays["x"] is X
    np.testing.assert_array_equal(check.outputs["y"], 3 * X)
    assert not answer(scene, "r2"), "one is under way"
    first = report(scene, 0.05)
    assert (first.samples, first.mean, first.max, first.last, first.deviation) == (1, 0.05, 0.05, 0.05, 0.0)
    for name, noise in (("r3", 0.07), ("r4", 0.03)):
        assert answer(scene, name)
        last = report(scene, noise)
    assert (last.samples, last.max, last.last) == (3, 0.07, 0.03)
    assert last.mean == pytest.approx(0.05)
    assert last.deviation == pytest.approx(0.02)
    assert not answer(scene, "r5")
    scene.now_s += 299.0
    assert not answer(scene, "r6")
    scene.now_s += 2.0
    assert answer(scene, "r7")


def test_while_the_mean_is_above_the_bound_the_next_request_is_checked_too() -> None:
    scene = source()
    for number in range(30):
        assert answer(scene, f"r{number}"), number
        report(scene, 0.1 + 0.001 * number)
    assert not answer(scene, "enough")


def test_what_cannot_be_checked_is_left_alone_for_longer_and_longer() -> None:
    scene = source()
    pause_s = PAUSE_S
    for number in range(3):
        assert answer(scene, f"r{number}")
        (told,) = of(PublishNoise, scene.say(ShadowDropped("m", 2, "no room")))
        assert (told.samples, told.mean, told.dropped, told.detail) == (0, None, number + 1, "no room")
        scene.now_s += pause_s - 1.0
        assert not answer(scene, f"early{number}")
        scene.now_s += 1.0
        pause_s *= 2
    assert answer(scene, "again")
    assert report(scene, 0.02).detail == ""


@pytest.mark.parametrize(
    "scene",
    [
        source(policy=None),
        source(policy=Shadowing(requests=0, every_s=0.0, bound=0.1)),
        Scene("device"),
    ],
)
def test_nothing_is_checked_that_nobody_asked_for_or_that_nothing_can_be_compared_with(scene: Scene) -> None:
    if not scene.seen:
        scene.say(wanted(quantized(2), serve=2))
    assert not answer(scene, "r1")


def test_a_plan_in_float_and_the_float_model_itself_are_not_checked() -> None:
    scene = Scene("device")
    scene.say(wanted(local_part(1), local_part(2), serve=2, fallback=1))
    assert not answer(scene, "r1")
    scene.say(wanted(local_part(1), quantized(3), serve=3, fallback=1))
    other = msgspec.structs.replace(quantized(4), participants={"device": "127.0.0.1:1", "edge": "127.0.0.1:2"})
    scene.say(PeerUp("edge"))
    scene.say(wanted(local_part(1), other, serve=4, fallback=1))
    scene.say(PeerLost("edge", "gone"))
    assert not answer(scene, "r2", epoch=1), "it was answered by the float model, not by what serves"


def test_a_new_epoch_starts_from_nothing_and_waits_for_the_old_check_to_end() -> None:
    scene = source()
    assert answer(scene, "r1")
    report(scene, 0.09)
    assert answer(scene, "r2")
    assert scene.machine.awaits_check("m", 2)
    scene.say(wanted(local_part(1), quantized(2), quantized(3), serve=3, fallback=1))
    assert not scene.machine.awaits_check("m", 2)
    assert not answer(scene, "r3", epoch=3), "the old one is under way"
    late = report(scene, 0.05)
    assert (late.epoch, late.samples) == (2, 2)
    assert answer(scene, "r4", epoch=3)
    first = report(scene, 0.02, epoch=3)
    assert (first.epoch, first.samples) == (3, 1)


def test_figures_of_another_measure_are_not_mixed() -> None:
    shadows = ShadowSampling("m")
    assert shadows.choose(1, POLICY, 0.0)
    shadows.checked(1, 0.5, "rho", "no metric here")
    assert shadows.choose(1, POLICY, 0.0)
    (told,) = shadows.checked(1, 7.0, "my:metric", "")
    assert (told.samples, told.mean, told.measure, told.detail) == (1, 7.0, "my:metric", "")


def test_results_nobody_waits_for_change_nothing() -> None:
    scene = source()
    for event in (ShadowChecked("m", 2, 1.0), ShadowDropped("m", 2), ShadowChecked("ghost", 1, 1.0)):
        assert not scene.say(event)
    assert answer(scene, "r1")
    scene.say(DesiredChanged("m", None))
    assert not scene.machine.awaits_check("m", 2)
    assert not of(PublishNoise, scene.say(ShadowChecked("m", 2, 1.0)))
