"""A controller that restarts in the middle of a roll-out finishes or abandons it, whatever its clocks say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.control.plan_messages import Desired, EpochState, Observed
from edgesplit.errors import EdgesplitError
from edgesplit.operations.goal_operations import ForbidNode
from edgesplit.operations.plan_operations import DeployModel, ShowPlan, UndeployModel
from edgesplit_controller.rollout.desired_state import desired_states
from edgesplit_controller.rollout.steps import World, advance, begin, remaining_s
from edgesplit_controller.storage.rollout_state import Epoch, Rollout
from tests.controller.fleet import Fleet
from tests.controller.tiny_models import convolutions
from tests.waiting import until

LIMIT_S = 3.0
DAYS_S = 5 * 86400.0
Point = Literal["preparing", "activating"]


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    running = Fleet(tmp_path)
    planning = msgspec.structs.replace(running.configuration.planning, prepare_limit_s=LIMIT_S)
    running.configuration = msgspec.structs.replace(running.configuration, planning=planning)
    await running.start()
    await running.client.add("tiny", convolutions(2))
    yield running
    await running.stop()


def hold(fleet: Fleet, point: Point, *, held: bool) -> None:
    """Have agents stop at a point of a roll-out, or go on."""
    for agent in fleet.agents.values():
        agent.hesitates, agent.shy = held and point == "preparing", held and point == "activating"
        for model in tuple(agent.desired):
            agent.observe(model)


def reached(fleet: Fleet, point: Point) -> bool:
    deployment = fleet.rollouts.state.deployments.get("tiny")
    if deployment is None or deployment.rollout.upcoming is None:
        return False
    return deployment.rollout.activating == (point == "activating")


async def interrupt(fleet: Fleet, point: Point, *, first: bool) -> None:
    """Begin a roll-out that stops at a point, and restart the controller there."""
    client = fleet.client
    if not first:
        await client.ask(DeployModel(name="tiny", source="device"))
    hold(fleet, point, held=True)
    command = DeployModel(name="tiny", source="device") if first else ForbidNode(node="cloud", model="tiny")
    asking = asyncio.ensure_future(client.ask(command))
    await until(lambda: reached(fleet, point))
    await fleet.stop_controller()
    with pytest.raises(EdgesplitError, match="is stopping"):
        await asking
    await fleet.start_controller()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("point", ["preparing", "activating"])
async def test_an_interrupted_rollout_is_finished_and_the_next_command_follows_it(
    fleet: Fleet, point: Point, first: bool
) -> None:
    await interrupt(fleet, point, first=first)
    asking = asyncio.ensure_future(fleet.client.ask(DeployModel(name="tiny", source="edge")))
    await until(lambda: any("is still being prepared, for at most" in text for text in fleet.client.progress))
    hold(fleet, point, held=False)
    await asking
    plan = await fleet.client.ask(ShowPlan(name="tiny"))
    assert (plan["source"], plan["forbidden"]) == ("edge", [] if first else ["cloud"])


@pytest.mark.parametrize("point", ["preparing", "activating"])
async def test_one_that_cannot_be_finished_is_abandoned_over_restarts_and_a_reboot(
    fleet: Fleet, point: Point, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupt(fleet, point, first=False)
    before = fleet.rollouts.state.deployments["tiny"].rollout.active
    started_s = time.monotonic()
    await fleet.stop_controller()
    # The machine was up for days, and begins to count anew.
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() - DAYS_S, time=time.time)
    monkeypatch.setattr("edgesplit_controller.service.time", clock)
    await fleet.start_controller()
    await until(lambda: not reached(fleet, point))
    assert time.monotonic() - started_s < LIMIT_S + 3.0
    plan = await fleet.client.ask(ShowPlan(name="tiny"))
    assert before is not None
    assert (plan["epoch"], plan["forbidden"]) == (before.number, [])
    hold(fleet, point, held=False)
    await fleet.client.ask(DeployModel(name="tiny", source="edge"))


async def test_a_first_deployment_that_came_to_nothing_is_gone(fleet: Fleet) -> None:
    await interrupt(fleet, "preparing", first=True)
    await until(lambda: "tiny" not in fleet.rollouts.state.deployments)
    await until(lambda: not any(agent.desired for agent in fleet.agents.values()))
    hold(fleet, "preparing", held=False)
    await fleet.client.ask(DeployModel(name="tiny", source="device"))


async def test_a_command_that_has_no_time_to_wait_says_what_it_would_wait_for(fleet: Fleet) -> None:
    await interrupt(fleet, "preparing", first=False)
    sentence = r"epoch \d+ of tiny is still being prepared, for at most \d s more: nothing was changed"
    with pytest.raises(EdgesplitError, match=sentence) as caught:
        await fleet.client.ask(DeployModel(name="tiny", source="edge", wait_s=0.3))
    assert caught.value.code == "change-under-way"
    hold(fleet, "preparing", held=False)
    await fleet.client.ask(UndeployModel(name="tiny"))


# --- every point of a roll-out, any restarts, any clock -----------------------------------------------------------------

OLD = Epoch(number=1, source="a", participants=("a",))
NEW = Epoch(number=2, source="a", participants=("a", "b"))
moments = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.floats(0.0, 20.0)),
        st.tuples(st.just("prepared"), st.sampled_from(["a", "b"])),
        st.tuples(st.just("serving"), st.just("")),
        # A restart, by what the wall clock is set at the same time; the monotonic clock begins anew.
        st.tuples(st.just("restart"), st.floats(-1e7, 1e7)),
    ),
    max_size=25,
)


def desired(rollout: Rollout) -> dict[str, Desired]:
    return desired_states("m", rollout, lambda _epoch, _node: None)


@given(moments, st.sampled_from([None, OLD]))
def test_any_restarts_end_in_the_old_plan_or_the_new_within_the_limit(
    sequence: list[tuple[str, float | str]], active: Epoch | None
) -> None:
    wall_s, left_s = 1e9, 60.0
    rollout = begin(Rollout(active=active), NEW, begun_unix_s=wall_s, limit_s=60.0)
    prepared: dict[str, set[int]] = {"a": {1}, "b": set()}
    serving: int | None = 1 if active is not None else None

    def look() -> None:
        nonlocal rollout
        told = {
            node: Observed(
                node=node,
                instance="1",
                model="m",
                epochs=tuple(EpochState(epoch=epoch, state="prepared") for epoch in sorted(epochs)),
                serving=serving if node == "a" else None,
            )
            for node, epochs in prepared.items()
        }
        before = rollout
        rollout, _ = advance(rollout, World(told, frozenset(), left_s <= 0.0))
        assert rollout.active in {before.active, before.upcoming}
        if rollout.active is not None:
            assert desired(rollout)["a"].serve is not None

    for kind, value in sequence:
        if kind == "pass" and isinstance(value, float):
            wall_s, left_s = wall_s + value, left_s - value
        elif kind == "prepared" and isinstance(value, str):
            prepared[value].add(2)
        elif kind == "serving" and desired(rollout).get("a") is not None:
            serving = desired(rollout)["a"].serve
        elif kind == "restart" and isinstance(value, float):
            wall_s += value
            rollout = msgspec.json.decode(msgspec.json.encode(rollout), type=Rollout)
            left_s = remaining_s(rollout, wall_s, 60.0)
            assert 0.0 <= left_s <= 60.0
        look()
    left_s = 0.0
    look()
    assert rollout.upcoming is None
    begin(rollout, Epoch(number=3, source="a", participants=("a",)), begun_unix_s=wall_s, limit_s=1.0)
