"""A step that the store refuses is taken later, whichever it is, and ends nothing."""

from __future__ import annotations

import pytest

from edgesplit.control.plan_messages import EpochState, Observed
from edgesplit.errors import StoreUnwritable
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.storage.deployment_state import DeploymentState, State
from edgesplit_controller.storage.rollout_state import Epoch, Rollout
from tests.controller.test_stray_plans import Told


def retiring(driven: Rollouts) -> tuple[Epoch, ...]:
    return driven.state.deployments["m"].rollout.retiring


def test_an_epoch_whose_end_cannot_be_written_ends_once_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeploymentState, "spec", lambda _self, _epoch, _node: None)
    monkeypatch.setattr("edgesplit_controller.rollout.publisher.StatePublisher.announce", lambda *_: None)
    old, new = (Epoch(number=number, source="device", participants=("device",)) for number in (1, 2))
    deployment = DeploymentState(
        source="device", inputs=(), outputs=(), rollout=Rollout(active=new, retiring=(old,), limit_s=60.0)
    )
    full, now_s = True, 0.0

    def save(_state: State) -> None:
        if full:
            raise StoreUnwritable("nothing was changed: the disk is full")

    driven = Rollouts(
        State(deployments={"m": deployment}),
        save=save,
        registry=Registry(),
        events=EventLog(None, lambda _event: None),
        outbox=Told(),
        clock=lambda: now_s,
        wall_clock=lambda: 1e6,  # the plan's time was up long ago
    )
    driven.settled = True
    serving = Observed(
        node="device", instance="1", model="m", epochs=(EpochState(epoch=2, state="prepared"),), serving=2
    )
    driven.observe("device", "m", serving)
    assert retiring(driven) == (old,)
    full, now_s = False, 10.0
    driven.step("m")
    assert retiring(driven) == ()
