"""A node that was away when its plan was withdrawn is told again, whenever it says what it holds."""

from __future__ import annotations

from typing import Literal

import pytest

from edgesplit.control.plan_messages import Deployment, Desired, EpochState, Observed
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.storage.deployment_state import DeploymentState, State
from edgesplit_controller.storage.rollout_state import Epoch, Rollout


class Told:
    """Keeps which nodes were told to hold nothing."""

    def __init__(self) -> None:
        self.cleared: list[tuple[str, str]] = []

    def publish_desired(self, desired: Desired) -> None:
        """Nobody listens."""

    def clear_desired(self, node: str, model: str) -> None:
        self.cleared.append((node, model))

    def publish_deployment(self, deployment: Deployment) -> None:
        """Nobody listens."""

    def clear_deployment(self, model: str) -> None:
        """Nobody listens."""


def holding(state: Literal["preparing", "prepared", "failed", "draining"]) -> Observed:
    return Observed(node="edge", instance="1", model="m", epochs=(EpochState(epoch=1, state=state),))


def rollouts(told: Told, state: State, *, unmanaged: bool = False) -> Rollouts:
    return Rollouts(
        state,
        save=lambda _state: None,
        registry=Registry(),
        events=EventLog(None, lambda _event: None),
        outbox=told,
        clock=lambda: 0.0,
        wall_clock=lambda: 0.0,
        unmanaged=unmanaged,
    )


def deployed(*nodes: str) -> State:
    """A model that is being prepared on these nodes."""
    rollout = Rollout(upcoming=Epoch(number=2, source="device", participants=("device", *nodes)), limit_s=60.0)
    deployment = DeploymentState(source="device", inputs=(), outputs=(), rollout=rollout)
    return State(deployments={"m": deployment}, epochs={"m": 2})


@pytest.mark.parametrize("state", [State(epochs={"m": 1}), deployed("cloud")], ids=["undeployed", "planned elsewhere"])
def test_what_is_held_and_not_wanted_is_withdrawn_again(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeploymentState, "spec", lambda _self, _epoch, _node: None)
    told = Told()
    driven = rollouts(told, state)
    for model in state.deployments:
        driven.publish(model)
    driven.observe("edge", "m", holding("prepared"))
    assert told.cleared == []  # before the broker told all that it kept, nothing follows from what is missing
    driven.settled = True
    driven.withdraw_left_overs()
    assert told.cleared == [("edge", "m")]
    driven.observe("edge", "m", holding("failed"))
    assert told.cleared == [("edge", "m")] * 2
    driven.observe("edge", "m", holding("draining"))
    driven.observe("edge", "m", None)
    assert told.cleared == [("edge", "m")] * 2


def test_what_is_wanted_is_not_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeploymentState, "spec", lambda _self, _epoch, _node: None)
    told = Told()
    driven = rollouts(told, deployed("edge"))
    driven.publish("m")
    driven.settled = True
    driven.observe("edge", "m", holding("preparing"))
    assert told.cleared == []


@pytest.mark.parametrize(("epochs", "unmanaged"), [({}, False), ({"m": 1002}, True)], ids=["never", "not taken over"])
def test_what_this_store_never_planned_or_took_over_is_left_alone(epochs: dict[str, int], unmanaged: bool) -> None:
    told = Told()
    driven = rollouts(told, State(epochs=epochs), unmanaged=unmanaged)
    driven.settled = True
    driven.observe("edge", "m", holding("prepared"))
    assert told.cleared == []
