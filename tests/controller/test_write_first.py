"""A store that fails at any write: what is refused leaves no trace, here or on disk, and the store is said once."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from edgesplit.errors import EdgesplitError, StoreUnwritable
from edgesplit.operations.goal_operations import (
    AllowNode,
    ForbidNode,
    LimitChange,
    PinOperators,
    SetWeights,
    UnpinOperators,
)
from edgesplit.operations.model_operations import ListModels, RemoveModel
from edgesplit.operations.plan_operations import DeployModel, UndeployModel
from edgesplit.planning.goals import PinRule
from edgesplit_controller.models.model_record import Manifest
from edgesplit_controller.storage.deployment_state import State
from edgesplit_controller.storage.store_keeper import StoreKeeper
from tests.controller.fleet import Client, Fleet
from tests.controller.tiny_models import convolutions
from tests.waiting import until

PIN = PinRule(kind="pattern", pattern="relu1", nodes=("edge",))


async def add(client: Client, name: str, layers: int, **options: Any) -> Any:
    """As splitctl does, which tells of a refused upload in the server's words."""
    try:
        return await client.add(name, convolutions(layers), **options)
    except AssertionError as error:
        raise StoreUnwritable(str(error)) from error


Command = Callable[[Client], Awaitable[Any]]
COMMANDS: dict[str, Command] = {
    "pin": lambda client: client.ask(PinOperators(name="tiny", rule=PIN)),
    "pin-idle": lambda client: client.ask(PinOperators(name="idle", rule=PIN)),
    "unpin": lambda client: client.ask(UnpinOperators(name="tiny")),
    "forbid": lambda client: client.ask(ForbidNode(node="cloud")),
    "forbid-one": lambda client: client.ask(ForbidNode(node="cloud", model="tiny")),
    "allow": lambda client: client.ask(AllowNode(node="edge")),
    "set-weights": lambda client: client.ask(SetWeights(energy=1.0, max_noise=LimitChange(0.5))),
    "set-weights-one": lambda client: client.ask(SetWeights(latency=0.5, energy=0.5, model="tiny")),
    "set-weights-idle": lambda client: client.ask(SetWeights(max_noise=LimitChange(0.25), model="idle")),
    "move": lambda client: client.ask(DeployModel(name="tiny", source="edge", wait_s=3.0)),
    "deploy": lambda client: client.ask(DeployModel(name="idle", source="device", wait_s=3.0)),
    "undeploy": lambda client: client.ask(UndeployModel(name="tiny")),
    "add": lambda client: add(client, "new", 2),
    "replace": lambda client: add(client, "idle", 3, replace=True),
    "remove": lambda client: client.ask(RemoveModel(name="tiny")),
    "remove-idle": lambda client: client.ask(RemoveModel(name="idle")),
}


class Disk:
    """Counts what makes writes last, and refuses some of it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.writes = 0
        self.first = self.last = 0
        fsync, replace = os.fsync, Path.replace

        def checked_fsync(descriptor: int) -> None:
            self._write()
            fsync(descriptor)

        def checked_replace(path: Path, target: Path) -> Path:
            self._write()
            return replace(path, target)

        patch.setattr(os, "fsync", checked_fsync)
        patch.setattr(Path, "replace", checked_replace)

    def fail(self, first: int, last: int) -> None:
        """Refuse the writes from now on whose numbers lie in a range."""
        self.writes, self.first, self.last = 0, first, last

    @property
    def refused(self) -> bool:
        return 0 < self.first <= self.writes

    def _write(self) -> None:
        self.writes += 1
        if self.first <= self.writes <= self.last:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
async def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fleet]:
    # Predictions that follow measurements are written too, at moments of their own: not while writes are counted.
    monkeypatch.setattr("edgesplit_controller.deciding.replanner.REFRESH_EVERY_S", 1e9)
    monkeypatch.setattr("edgesplit_controller.storage.store_keeper.TRY_AGAIN_S", 0.1)
    running = Fleet(tmp_path)
    planning = msgspec.structs.replace(running.configuration.planning, prepare_limit_s=3.0)
    running.configuration = msgspec.structs.replace(running.configuration, planning=planning)
    await running.start()
    await running.client.add("tiny", convolutions(2))
    await running.client.add("idle", convolutions(2))
    await running.client.ask(ForbidNode(node="edge", model="idle"))
    await running.client.ask(DeployModel(name="tiny", source="device"))
    await running.client.ask(PinOperators(name="tiny", rule=PinRule(kind="input")))
    await quiet(running)
    yield running
    await running.stop()


def sound(fleet: Fleet) -> bool:
    return not fleet.store.health.cause


async def quiet(fleet: Fleet) -> None:
    """Wait until the store takes writes, no roll-out is under way and no fallback is planned."""
    rollouts = fleet.rollouts
    await until(
        lambda: (
            sound(fleet)
            and rollouts.settled
            and fleet.fallbacks.idle
            and not any(
                kept.rollout.upcoming is not None
                or kept.rollout.retiring
                or not all(fallback.ready for fallback in kept.rollout.fallbacks)
                for kept in rollouts.state.deployments.values()
            )
        )
    )


def essence(state: State) -> tuple[Any, ...]:
    """What a command may change of the state; epoch numbers may be skipped and figures follow measurements."""
    deployed = {
        name: (kept.source, kept.active and (kept.active.epoch.number, kept.active.assignment, kept.active.goals))
        for name, kept in state.deployments.items()
    }
    return state.default_goals, state.goals, deployed, state.tightenings, state.removed


def trace(fleet: Fleet) -> tuple[Any, ...]:
    """All that a refused command may not change, in memory and on disk."""
    folder = fleet.configuration.store_path
    stored = msgspec.json.decode((folder / "state.json").read_bytes(), type=State)
    manifests = {
        path.parent.name: msgspec.json.decode(path.read_bytes(), type=Manifest)
        for path in sorted((folder / "models").glob("*/manifest.json"))
    }
    records = {name: record.manifest for name, record in fleet.models.items()}
    leftovers = [path for name in ("incoming", "replaced", "uploads") for path in (folder / name).iterdir()]
    hidden = [*folder.glob(".*"), *folder.glob("*/.*")]
    return essence(fleet.rollouts.state), essence(stored), records, manifests, leftovers, hidden


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_that_a_failing_store_refuses_leaves_no_trace(
    fleet: Fleet, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if command == "allow":
        await fleet.client.ask(ForbidNode(node="edge"))
        await quiet(fleet)
    disk, before, tried = Disk(monkeypatch), trace(fleet), set[int]()
    for last in (0, 10**9):
        for first in (1, 2, 3, 4, 5, 6, 9, 14, 21, 32, 48, 72, 108, 162):
            disk.fail(first, last or first)
            tried.add(first)
            try:
                await COMMANDS[command](fleet.client)
            except EdgesplitError as error:
                assert error.code in {"store-unwritable", "preparation-failed"}, error
                assert disk.refused
                disk.fail(0, 0)
                await quiet(fleet)
                if "deployed models follow the new goals" in str(error):
                    assert_only_deployed_models_follow(fleet, before)
                    break
                assert trace(fleet) == before, f"write {first} of {command} failed"
            else:
                disk.fail(0, 0)
                break
        else:
            pytest.fail(f"{command} never ended")
        if last == 0:
            await quiet(fleet)
            if trace(fleet) != before:  # once is enough where it cannot be done twice
                break
    assert max(tried) > 1, "no write of the command failed"
    await quiet(fleet)
    done = trace(fleet)
    await fleet.stop_controller()
    await fleet.start_controller()
    await quiet(fleet)
    assert trace(fleet) == done


def assert_only_deployed_models_follow(fleet: Fleet, before: Any) -> None:
    """The one refusal that says what it changed: the last write failed after all models served under new goals."""
    (default_before, goals_before, *_), (default, goals, *_) = before[0], trace(fleet)[0]
    assert (default, goals["idle"]) == (default_before, goals_before["idle"])
    assert goals["tiny"] != goals_before["tiny"]


async def test_a_store_that_cannot_be_written_is_told_once_and_heals_by_itself(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[bool] = []
    look = StoreKeeper._look

    async def note(keeper: StoreKeeper, *, unsound: bool) -> None:
        await look(keeper, unsound=unsound)
        tries.append(unsound)

    monkeypatch.setattr(StoreKeeper, "_look", note)
    folder = fleet.configuration.store_path
    away = folder.with_name("away")
    folder.rename(away)
    base = fleet.client.artifacts
    for command in (PinOperators(name="tiny", rule=PIN), ForbidNode(node="cloud"), UndeployModel(name="tiny")):
        with pytest.raises(EdgesplitError, match=r"nothing was changed: the controller's store .* cannot be") as caught:
            await fleet.client.ask(command)
        assert (caught.value.code, caught.value.exit_code) == ("store-unwritable", 1)
    async with aiohttp.ClientSession() as session:
        for path in ("/health", "/healthz"):
            async with session.get(f"{base}{path}") as answer:
                assert answer.status == 503
                assert "cannot be written" in await answer.text()
        async with session.get(f"{base}/metrics") as answer:
            assert "edgesplit_controller_store_writable 0.0" in await answer.text()
        await until(lambda: tries.count(True) >= 2)  # told once however often it fails again
        away.rename(folder)
        await until(lambda: sound(fleet))
        async with session.get(f"{base}/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
    assert [event.kind for event in fleet.told("store-unwritable", "store-writable")] == [
        "store-unwritable",
        "store-writable",
    ]
    await fleet.client.ask(PinOperators(name="tiny", rule=PIN))


async def test_a_full_store_is_known_before_a_command_meets_it(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesplit_controller.storage.store_keeper.LOOK_S", 0.1)
    fleet.store.health.on_change()  # what it waits for now is as long as before
    folder = fleet.configuration.store_path
    folder.rename(folder.with_name("away"))
    await until(lambda: bool(fleet.told("store-unwritable")))
    folder.with_name("away").rename(folder)
    await until(lambda: bool(fleet.told("store-writable")))


async def test_a_model_whose_folder_stays_is_gone_all_the_same(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fleet.configuration.store_path / "models" / "idle"
    with monkeypatch.context() as patch:
        patch.setattr("edgesplit_controller.models.model_folders.shutil.rmtree", lambda *_args, **_options: None)
        await fleet.client.ask(RemoveModel(name="idle"))
        assert folder.exists()
        await fleet.stop_controller()
        await fleet.start_controller()
        assert [model["name"] for model in await fleet.client.ask(ListModels())] == ["tiny"]
    await fleet.client.add("idle", convolutions(3))
    await fleet.stop_controller()
    await fleet.start_controller()
    assert [model["name"] for model in await fleet.client.ask(ListModels())] == ["idle", "tiny"]
