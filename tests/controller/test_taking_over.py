"""Taking over what nodes keep: all of it, part of it, from liars, and what of the own store then holds."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from edgesplit.control.archive_messages import Archive
from edgesplit.control.plan_messages import EpochState, Observed
from edgesplit.control.registration_messages import NodeStatus
from edgesplit.release import PROTOCOL
from edgesplit_agent.artifacts.blob_server import BlobServer
from edgesplit_controller.archive.fleet_archive import FleetArchive
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.models.catalog import needed_blobs
from edgesplit_controller.models.intake.stages import first_record
from edgesplit_controller.models.model_folders import ModelFolders
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.models.submission import Submission
from edgesplit_controller.storage.blob_writes import BlobWrites
from edgesplit_controller.storage.deployment_state import State
from edgesplit_controller.storage.store import Store
from edgesplit_controller.succession.blob_holders import BlobHolders
from edgesplit_controller.succession.takeover import EPOCHS_LEFT_OUT, FleetView, TakenOver, take_over
from tests.agent.http_servers import start_server
from tests.controller.tiny_models import convolutions

STATE = msgspec.json.decode(Path(__file__).with_name("state_of_2026_11.json").read_bytes(), type=State)
(NAME, DEPLOYMENT) = next((name, one) for name, one in STATE.deployments.items() if one.active is not None)


class World:
    """The last controller's store, a node that keeps its records, and what the broker says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last = Store(folder / "last")
        (folder / "upload").write_bytes(convolutions(2))
        self.record: ModelRecord = first_record(
            Submission(NAME, folder / "upload", {}, None, 0, ()), self.last.blobs, lambda _text, _part: None
        )
        self.node_folder = folder / "node"
        self.node_folder.mkdir()
        self.archive: Archive | None = None
        self.nodes: tuple[NodeStatus, ...] = ()
        self.observed: dict[tuple[str, str], Observed] = {}
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        self._runner, url = await start_server(BlobServer(self.node_folder).routes())
        registry = Registry()
        http = url.removeprefix("http://")
        status = NodeStatus(
            node="device", online=True, protocol=PROTOCOL, version="1", instance="i", advertise="127.0.0.1:1", http=http
        )
        registry.set_status("device", status)
        self.nodes = (status,)
        published: list[Archive] = []
        keeping = FleetArchive(
            self.last,
            state=lambda: STATE,
            records=lambda: {NAME: self.record},
            registry=registry,
            publish=published.append,
            writing=BlobWrites(),
        )
        await keeping.bring_up_to_date()
        (self.archive,) = published
        for blob in self.last.blobs.folder.iterdir():
            shutil.copy(blob, self.node_folder / blob.name)

    async def stop(self) -> None:
        self.last.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def taken_into(self, store: Store, patience_s: float = 0.0) -> TakenOver:
        def look() -> FleetView:
            return FleetView(self.archive, self.nodes, self.observed)

        return await take_over(store, look, BlobHolders(store.blobs), patience_s=patience_s)

    def serves(self, epoch: int) -> None:
        """What the source says."""
        states = (EpochState(epoch=epoch, state="prepared"),)
        source = DEPLOYMENT.source
        said = Observed(node=source, instance="i", model=NAME, epochs=states, serving=epoch)
        self.observed[source, NAME] = said


def records(store: Store) -> dict[str, ModelRecord]:
    return ModelFolders(store.path, store.health, store.log).load()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store(tmp_path / "empty")


async def test_an_empty_store_gets_models_plans_and_goals_and_no_number_again(world: World, empty: Store) -> None:
    assert DEPLOYMENT.active is not None
    world.serves(DEPLOYMENT.active.epoch.number)
    taken = await world.taken_into(empty)
    assert (taken.models, taken.deployments, taken.missing) == ([NAME], list(STATE.deployments), {})
    assert records(empty)[NAME].manifest == world.record.manifest
    assert all(empty.blobs.has(digest) for digest in needed_blobs(world.record))
    state = empty.load_state()
    assert state.deployments[NAME].active == DEPLOYMENT.active
    assert (state.default_goals, state.goals, state.tightenings) == (
        STATE.default_goals,
        STATE.goals,
        STATE.tightenings,
    )
    assert state.epochs[NAME] == STATE.epochs[NAME] + EPOCHS_LEFT_OUT
    assert world.archive is not None
    assert not empty.reign.is_behind(world.archive)
    assert empty.reign.begun().number > world.archive.number
    # Once more it is the store that holds.
    again = await world.taken_into(empty)
    assert empty.load_state() == state
    assert again.set_aside == []


async def test_a_record_older_than_what_its_source_serves_is_not_used(world: World, empty: Store) -> None:
    world.serves(9_999)
    taken = await world.taken_into(empty)
    assert NAME not in taken.deployments
    assert "serves epoch 9999, of which no record is kept" in taken.sentence
    assert NAME in records(empty)
    assert empty.unmanaged, "what nodes hold of it is left alone"
    assert empty.load_state().epochs[NAME] >= 9_999 + EPOCHS_LEFT_OUT


async def test_a_model_whose_weights_nobody_has_is_named_and_the_rest_is_taken(world: World, empty: Store) -> None:
    digest = min(needed_blobs(world.record))
    (world.node_folder / digest).unlink()
    taken = await world.taken_into(empty)
    assert taken.models == []
    assert f"models/{NAME} could not be had: 1 of its" in taken.sentence
    assert NAME not in empty.load_state().deployments
    assert empty.load_state().goals == STATE.goals
    assert empty.unmanaged


async def test_a_node_that_sends_other_bytes_is_believed_nothing(world: World, empty: Store) -> None:
    for blob in world.node_folder.iterdir():
        content = blob.read_bytes()
        blob.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    taken = await world.taken_into(empty)
    assert (taken.models, taken.deployments) == ([], [])
    assert records(empty) == {}
    assert empty.blobs.digests() == frozenset()


async def test_nodes_that_come_late_are_waited_for(world: World, empty: Store) -> None:
    nodes, world.nodes = world.nodes, ()
    looks = 0

    def look() -> FleetView:
        nonlocal looks
        looks += 1
        return FleetView(world.archive, () if looks == 1 else nodes, {})

    taken = await take_over(empty, look, BlobHolders(empty.blobs), patience_s=30.0)
    assert (taken.models, looks) == ([NAME], 2)


async def test_what_a_successor_removed_is_set_aside_and_what_a_stranger_never_had_stays(
    world: World, tmp_path: Path
) -> None:
    listed = world.archive
    assert listed is not None
    for store_name, was_before, stays in (("former", True, False), ("stranger", False, True)):
        store = Store(tmp_path / store_name)
        folders = ModelFolders(store.path, store.health, store.log)
        upload = tmp_path / "upload"
        other = first_record(Submission("other", upload, {}, None, 0, ()), store.blobs, lambda _text, _part: None)
        folders.save(other)
        if was_before:
            world.archive = msgspec.structs.replace(listed, before=(store.reign.store,))
        taken = await world.taken_into(store)
        assert ("other" in records(store)) == stays
        assert taken.set_aside == ([] if stays else ["other"])
        assert NAME in records(store)
        store.close()


async def test_a_store_that_is_not_behind_keeps_its_state_and_gets_back_a_damaged_model(world: World) -> None:
    store = world.last
    ModelFolders(store.path, store.health, store.log).save(world.record)
    changed = msgspec.structs.replace(STATE, goals={})
    store.save_state(changed)
    (store.path / "models" / NAME / "manifest.json").write_bytes(b"{")
    (store.blobs.folder / min(needed_blobs(world.record))).unlink()
    taken = await world.taken_into(store)
    assert taken.models == [NAME]
    assert store.load_state().goals == {}, "the list that nodes keep may be older than the store"
    assert store.load_state().epochs == STATE.epochs
    assert all(store.blobs.has(digest) for digest in needed_blobs(world.record))


async def test_where_no_node_can_keep_records_the_models_of_a_store_that_is_behind_stay(
    world: World, tmp_path: Path
) -> None:
    store = Store(tmp_path / "former")
    upload = tmp_path / "upload"
    folders = ModelFolders(store.path, store.health, store.log)
    folders.save(first_record(Submission("other", upload, {}, None, 0, ()), store.blobs, lambda _text, _part: None))
    store.save_state(STATE)
    assert world.archive is not None
    world.archive = msgspec.structs.replace(world.archive, entries=(), keepers=(), before=(store.reign.store,))
    taken = await world.taken_into(store)
    assert list(records(store)) == ["other"]
    assert store.load_state().deployments == {}
    assert "no node could keep the records" in taken.sentence
    assert store.unmanaged
    store.close()
