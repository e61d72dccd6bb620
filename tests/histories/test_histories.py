"""Histories of a simulated fleet: they all come to one plan, a seed replays, planted mistakes are found.

A slice for every run; all of them: `python -m tests.histories --count 10000 --jobs 2 --audit` and `--course power --count 1000`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest.mock import patch

import pytest

from edgesplit.control.plan_messages import OBSERVED
from edgesplit.control.registration_messages import NODE_STATUS
from edgesplit.mqtt.retained_state import RetainedState
from edgesplit_agent.serving.machine.actions import Action, PublishObserved
from edgesplit_agent.serving.machine.agent_machine import AgentMachine
from edgesplit_agent.serving.machine.events import EpochPrepared, MachineEvent
from edgesplit_controller.rollout.driver import Rollouts
from tests.histories.history import Course, run_history
from tests.histories.world import World

SLICE = range(0, 40)
FOUND_WITHIN = 1000
NEAR = {"dropped-acknowledgement": 175, "reused-epoch": 0, "forgotten-retained-message": 0}
"""Where the search begins: from 0 on they are found at seeds 181, 0 and 5, and the first takes a minute."""


@pytest.mark.parametrize("course", ["faults", "power"])
@pytest.mark.parametrize("seeds", [SLICE[place : place + 20] for place in range(0, len(SLICE), 20)], ids=str)
def test_every_history_comes_to_one_plan_that_all_agree_on(course: Course, seeds: range) -> None:
    wrong = {seed: found for seed in seeds if (found := run_history(seed, course).wrong)}
    assert not wrong


def test_what_another_agent_of_its_name_left_is_removed_by_the_one_that_holds_it() -> None:
    world = World(3)
    world.at(0.0, world.broker.start)
    world.at(0.0, world.nodes["alder"].start)
    world.run(12.0)
    left, own = OBSERVED.of("alder", "gone"), NODE_STATUS.of("alder")
    world.broker.retained[left] = b'{"node":"alder","instance":"another","model":"gone","epochs":[]}'
    world.run(12.0)
    assert left in world.broker.retained  # nobody was told of it
    world.at(0.0, world.broker.drop, "alder")
    world.run(12.0)
    assert left not in world.broker.retained
    assert own in world.broker.retained
    world.close()


def test_a_seed_replays_to_the_last_message() -> None:
    first, other = run_history(7), run_history(8)
    assert run_history(7) == first
    assert first.digest != other.digest
    assert first.messages > 100


class ForgetsAcknowledgement(AgentMachine):
    """Does not say that an epoch is prepared whose preparation had failed before."""

    def handle(self, event: MachineEvent, now_s: float) -> list[Action]:
        held = None
        if isinstance(event, EpochPrepared) and event.model in self.models:
            held = self.models[event.model].held.get(event.epoch)
        failed_before = held is not None and bool(held.detail)
        actions = super().handle(event, now_s)
        return [action for action in actions if not (failed_before and isinstance(action, PublishObserved))]


def reused_epoch() -> AbstractContextManager[object]:
    """A controller that restarts gives numbers out again that no plan has any more."""

    def highest(self: Rollouts, model: str) -> int:
        deployment = self.state.deployments.get(model)
        held = [self._given_out.get(model, 0)]
        if deployment is not None:
            held += [epoch.number for epoch in deployment.rollout.epochs]
            held += [fallback.number for fallback in deployment.rollout.fallbacks]
            held += [local.epoch for local in deployment.local_fallbacks]
        return max(held)

    return patch.object(Rollouts, "highest_epoch", highest)


def forgotten_message() -> AbstractContextManager[object]:
    """A connection that ends takes the retained message that was changed last with it."""
    disconnected = RetainedState.disconnected

    def forgetting(self: RetainedState) -> None:
        disconnected(self)
        last = next(reversed(list(self.payloads)), None)
        if last is not None:
            self.forget(last)

    return patch.object(RetainedState, "disconnected", forgetting)


@pytest.mark.parametrize(
    ("name", "planted", "machine"),
    [
        ("dropped-acknowledgement", nullcontext, ForgetsAcknowledgement),
        ("reused-epoch", reused_epoch, AgentMachine),
        ("forgotten-retained-message", forgotten_message, AgentMachine),
    ],
)
def test_a_planted_mistake_of_the_protocol_is_found(
    name: str, planted: Callable[[], AbstractContextManager[Any]], machine: Callable[[str], AgentMachine]
) -> None:
    seeds = range(NEAR[name], NEAR[name] + FOUND_WITHIN)
    with planted():
        found = next((seed for seed in seeds if run_history(seed, "faults", machine).wrong), None)
    assert found is not None
