"""Backups over the controller's HTTP, and restoring them: into an empty controller, beside others, in another's place, never half."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from bench.fake_agent import FakeAgent
from edgesplit.backup_archive import STATE, check_archive, members
from edgesplit.errors import EdgesplitError, InvalidInput, ModelExists
from edgesplit.operations.goal_operations import LimitChange, SetWeights
from edgesplit.operations.model_operations import ListModels, RemoveModel
from edgesplit.operations.plan_operations import DeployModel, ShowPlan
from edgesplit.operations.upkeep_operations import (
    BackupOffer,
    DrainNode,
    MakeBackup,
    PausePlanning,
    RestoreBackup,
    RestoreDocument,
)
from edgesplit.planning.goals import Goals
from edgesplit_controller.answering.upkeep.restoring import SKIPPED_EPOCHS, merged
from edgesplit_controller.models.catalog import Catalog
from edgesplit_controller.storage.deployment_state import State
from tests.controller.fleet import Fleet
from tests.controller.tiny_models import convolutions
from tests.waiting import until


async def saved(fleet: Fleet, file: Path) -> Path:
    """Fetch a backup as splitctl does."""
    offer = msgspec.convert(await fleet.client.ask(MakeBackup()), BackupOffer)
    content, status = await fetched(fleet, offer.path)
    assert status == 200
    assert len(content) == offer.nbytes
    file.write_bytes(content)
    check_archive(file)
    return file


async def fetched(fleet: Fleet, path: str) -> tuple[bytes, int]:
    async with aiohttp.ClientSession() as session, session.get(fleet.client.artifacts + path) as answer:
        return await answer.read(), answer.status


async def restored(fleet: Fleet, file: Path, *, replace: bool = False) -> RestoreDocument:
    digest = await fleet.client.upload(file.read_bytes())
    return msgspec.convert(await fleet.client.ask(RestoreBackup(file=digest, replace=replace)), RestoreDocument)


async def empty(fleet: Fleet, nodes: int = 3) -> None:
    """A controller whose folder was lost, and so many nodes."""
    await fleet.stop_controller()
    await until(lambda: not fleet.client.artifacts)
    store = msgspec.structs.replace(fleet.configuration.store, path=fleet.configuration.store.path + "-new")
    fleet.configuration = msgspec.structs.replace(fleet.configuration, store=store)
    await fleet.start_controller()
    await until(lambda: len(fleet.registry.online()) == nodes and bool(fleet.client.artifacts))


async def served(fleet: Fleet) -> Any:
    return await fleet.client.ask(ShowPlan(name="tiny"))


@pytest.fixture
async def saving(fleet: Fleet, tmp_path: Path) -> Path:
    """A backup of two models, of which one is deployed with goals of its own, a pause and a drained node."""
    await fleet.client.add("tiny", convolutions(2))
    await fleet.client.add("spare", convolutions(1))
    await fleet.client.ask(DeployModel(name="tiny", source="device"))
    await fleet.client.ask(SetWeights(latency=2.0, max_noise=LimitChange(0.5), model="tiny"))
    await fleet.client.ask(PausePlanning(model="tiny"))
    await fleet.client.ask(DrainNode(name="edge"))
    return await saved(fleet, tmp_path / "fleet.tar")


async def test_a_backup_holds_models_goals_and_the_plans_that_serve(fleet: Fleet, saving: Path) -> None:
    manifest = check_archive(saving)
    assert manifest.models == ("spare", "tiny")
    kept = {name: stream.read() for name, stream in members(saving)}
    state = msgspec.json.decode(kept[STATE], type=State)
    assert state.goals["tiny"].latency_weight == 2.0
    assert (list(state.deployments), list(state.paused), list(state.drained)) == (["tiny"], ["tiny"], ["edge"])
    deployment = state.deployments["tiny"]
    assert list(deployment.plans) == [fleet.plan("tiny").epoch.number]
    assert {f"blobs/{digest}" for digest in deployment.digests} <= set(kept)
    for name, content in kept.items():
        assert not name.startswith("blobs/") or hashlib.sha256(content).hexdigest() == name.removeprefix("blobs/")
    assert not any("key" in name for name in kept)


async def test_a_backup_is_fetched_once_and_leaves_nothing(fleet: Fleet, tmp_path: Path) -> None:
    offer = msgspec.convert(await fleet.client.ask(MakeBackup()), BackupOffer)
    assert (await fetched(fleet, offer.path))[1] == 200
    assert (await fetched(fleet, offer.path))[1] == 404
    assert (await fetched(fleet, "/backups/0123"))[1] == 404
    await until(lambda: not list((fleet.store.path / "backups").iterdir()))


async def test_a_backup_is_as_it_was_whatever_happens_before_it_is_fetched(fleet: Fleet, tmp_path: Path) -> None:
    await fleet.client.add("tiny", convolutions(2))
    offer = msgspec.convert(await fleet.client.ask(MakeBackup()), BackupOffer)
    await fleet.client.ask(RemoveModel(name="tiny"))
    (tmp_path / "b.tar").write_bytes((await fetched(fleet, offer.path))[0])
    assert check_archive(tmp_path / "b.tar").models == ("tiny",)


async def test_an_empty_controller_goes_on_where_the_lost_one_stood(fleet: Fleet, saving: Path) -> None:
    before = await served(fleet)
    await empty(fleet)
    assert await fleet.client.ask(ListModels()) == []
    document = await restored(fleet, saving)
    assert [(row.model, row.replaced, row.source, row.pending) for row in document.models] == [
        ("spare", False, None, ""),
        ("tiny", False, "device", ""),
    ]
    assert document.drained == ("edge",)
    after = await served(fleet)
    assert (after["epoch"], after["per_node"], after["goals"]) == (
        before["epoch"],
        before["per_node"],
        before["goals"],
    )
    assert after["paused_unix_s"] == before["paused_unix_s"]
    assert fleet.rollouts.highest_epoch("tiny") >= before["epoch"] + SKIPPED_EPOCHS
    await until(lambda: len(fleet.registry.profiled("tiny", fleet.models["tiny"].sha256)) == 3)
    moved = await fleet.client.ask(DeployModel(name="tiny", source="cloud"))
    assert moved["epoch"] > before["epoch"] + SKIPPED_EPOCHS
    await fleet.stop_controller()
    await fleet.start_controller()
    assert sorted(fleet.models) == ["spare", "tiny"]
    assert fleet.plan("tiny").epoch.number == moved["epoch"]


async def test_a_source_that_is_away_serves_once_it_is_there(fleet: Fleet, saving: Path) -> None:
    await fleet.agents["device"].leave()
    await empty(fleet, nodes=2)
    document = await restored(fleet, saving)
    (row,) = [row for row in document.models if row.model == "tiny"]
    assert row.pending == "tiny serves as soon as device and its peers have what they need"
    back = FakeAgent(fleet.url, "device", unit_s=0.02, peers=fleet.agents["device"].peers)
    fleet.agents["device"] = back
    await back.start()
    await until(lambda: fleet.rollouts.serving("tiny") == row.epoch)


async def test_what_is_there_is_overwritten_only_when_that_is_wanted(fleet: Fleet, saving: Path) -> None:
    client = fleet.client
    await client.ask(SetWeights(energy=1.0))
    await until(lambda: fleet.fallbacks.idle)
    before = await served(fleet)
    with pytest.raises(ModelExists, match="would overwrite the model spare, the model tiny, the goals of models that"):
        await restored(fleet, saving)
    assert await served(fleet) == before
    assert list(fleet.store.uploads.iterdir()) == []
    assert list((fleet.store.path / "restored").iterdir()) == []
    await client.add("tiny", convolutions(3), replace=True)
    await client.add("mine", convolutions(1))
    document = await restored(fleet, saving, replace=True)
    assert [(row.model, row.replaced, row.pending) for row in document.models] == [
        ("spare", True, ""),
        ("tiny", True, ""),
    ]
    after = await served(fleet)
    assert after["goals"]["latency_weight"] == 2.0
    assert after["epoch"] > before["epoch"]
    assert fleet.rollouts.state.default_goals == Goals()
    assert sorted(fleet.models) == ["mine", "spare", "tiny"]


async def test_a_backup_that_is_damaged_changes_nothing(fleet: Fleet, saving: Path) -> None:
    await empty(fleet)
    content = bytearray(saving.read_bytes())
    content[content.index(b"blobs/") + 2048] ^= 1
    saving.write_bytes(content)
    with pytest.raises(InvalidInput, match="damaged"):
        await restored(fleet, saving)
    assert fleet.models == {}
    assert fleet.rollouts.state.deployments == {}
    assert list(fleet.store.uploads.iterdir()) == []


async def test_a_controller_that_ends_in_the_middle_has_all_or_nothing(
    fleet: Fleet, saving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the one write that decides nothing is there; after it the next start has everything."""
    await empty(fleet)

    def dies(*_arguments: object) -> None:
        raise EdgesplitError("the process ended here")

    with monkeypatch.context() as before_the_write:
        before_the_write.setattr(fleet.service.known.rollouts, "_save", dies)
        before_the_write.setattr(fleet.service.decide.changes, "begin", lambda *_arguments: None)
        with pytest.raises(EdgesplitError, match="ended here"):
            await restored(fleet, saving)
    await fleet.stop_controller()
    await until(lambda: not fleet.client.artifacts)
    await fleet.start_controller()
    assert (dict(fleet.models), dict(fleet.deployer.deployments)) == ({}, {})
    await until(lambda: len(fleet.registry.online()) == 3 and bool(fleet.client.artifacts))
    with monkeypatch.context() as after_the_write:
        after_the_write.setattr(Catalog, "take_restored", dies)
        with pytest.raises(EdgesplitError, match="ended here"):
            await restored(fleet, saving)
    await fleet.stop_controller()
    await fleet.start_controller()
    assert sorted(fleet.models) == ["spare", "tiny"]
    assert fleet.rollouts.state.restored == ()
    await until(lambda: fleet.rollouts.serving("tiny") == fleet.plan("tiny").epoch.number)


def test_numbers_of_epochs_go_on_beyond_all_that_were_given_out() -> None:
    now = State(epochs={"tiny": 7, "mine": 3}, goals={"mine": Goals(energy_weight=1.0)}, removed=("tiny", "gone"))
    backup = State(epochs={"tiny": 5, "gone": 9}, goals={"tiny": Goals(max_noise=1.0)}, drained={"edge": 1.0})
    changes = merged(now, backup, ["tiny"])
    assert changes["epochs"] == {"tiny": 7 + SKIPPED_EPOCHS, "mine": 3}
    assert changes["goals"] == {"mine": Goals(energy_weight=1.0), "tiny": Goals(max_noise=1.0)}
    assert (changes["removed"], changes["restored"], changes["drained"]) == (("gone",), ("tiny",), {"edge": 1.0})
