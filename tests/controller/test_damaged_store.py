"""Whatever a power cut, a full disk or a hand did to a file of the store, the next start is one, and says what it left out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesplit.errors import InvalidConfiguration
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.models.catalog import needed_blobs
from edgesplit_controller.models.intake.stages import first_record
from edgesplit_controller.models.model_folders import ModelFolders
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.models.submission import Submission
from edgesplit_controller.storage.deployment_state import State
from edgesplit_controller.storage.files.set_aside import KEPT
from edgesplit_controller.storage.saved_speeds import SavedSpeed
from edgesplit_controller.storage.store import Store, is_in_use
from edgesplit_controller.succession.takeover import sizes_of_record
from tests.controller.tiny_models import convolutions

STATE_OF_AN_EARLIER_CONTROLLER = Path(__file__).with_name("state_of_2026_11.json")
SPEED = SavedSpeed(
    node="edge", model="m", profile="p", told_s=0.0, factor=1.5, known={}, origin="profile", relapses=0, slow_down=1.0
)
Whole = tuple[State, dict[str, ModelRecord], list[SavedSpeed], int]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store with everything in it."""
    folder = tmp_path_factory.mktemp("sound") / "store"
    store = Store(folder)
    upload = store.uploads / "upload"
    upload.write_bytes(convolutions(3))
    record = first_record(Submission("m", upload, {}, None, 0, ()), store.blobs, lambda _text, _part: None)
    ModelFolders(folder, store.health, store.log).save(record)
    store.save_state(msgspec.json.decode(STATE_OF_AN_EARLIER_CONTROLLER.read_bytes(), type=State))
    store.save_speeds([SPEED])
    store.save_counter(4711)
    store.save_reign(store.reign.begun())
    EventLog(store.events, lambda _event: None).add("model-added", "m was added")
    upload.unlink()
    store.close()
    yield folder


def read(folder: Path) -> tuple[Store, Whole]:
    """All that a start reads; the store is held."""
    store = Store(folder)
    state = store.load_state()
    records = ModelFolders(folder, store.health, store.log).load(state.removed)
    speeds, counter = store.load_speeds(), store.load_counter()
    EventLog(store.events, lambda _event: None)
    for record in records.values():
        store.drop_damaged_blobs(sizes_of_record(record))
    return store, (state, records, speeds, counter)


def files(folder: Path) -> list[Path]:
    """Every file of a store but its lock, in an order that is the same each time."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != "lock")


def truncated(path: Path, share: float, _junk: bytes) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: min(int(len(content) * share), len(content) - 1)])


def garbage(path: Path, _share: float, junk: bytes) -> None:
    path.write_bytes(junk)


def empty(path: Path, _share: float, _junk: bytes) -> None:
    path.write_bytes(b"")


def a_folder(path: Path, _share: float, junk: bytes) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_bytes(junk)


def gone(path: Path, _share: float, _junk: bytes) -> None:
    path.unlink()


def other_bytes_at_the_end(path: Path, share: float, junk: bytes) -> None:
    """What a file system leaves whose data came after its metadata: the right length, zeros from some point on."""
    content = path.read_bytes()
    kept = min(int(len(content) * share), len(content) - 1)
    path.write_bytes((content[:kept] + junk * 1000 + bytes(len(content)))[: len(content)])


HARMS = (truncated, garbage, empty, a_folder, gone, other_bytes_at_the_end)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_store_of_which_any_files_are_damaged_starts_and_the_rest_is_as_it_was(
    sound: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("harmed") / "store"
    shutil.copytree(sound, folder)
    harmed = data.draw(st.lists(st.sampled_from(files(sound)), min_size=1, max_size=3, unique=True))
    for path in harmed:
        harm = data.draw(st.sampled_from(HARMS))
        harm(folder / path, data.draw(st.floats(0.0, 1.0)), data.draw(st.binary(min_size=1, max_size=40)))
    store, (state, records, speeds, counter) = read(folder)
    store.close()
    before, (whole_state, whole_records, whole_speeds, whole_counter) = read(sound)
    before.close()
    names = {str(path) for path in harmed}
    assert state == whole_state or "state.json" in names
    assert speeds == whole_speeds or "speeds.json" in names
    assert counter == whole_counter or "signatures.json" in names
    assert store.reign == before.reign or "reign.json" in names
    assert set(records) == {"m"} or any(name.startswith("models/m/") for name in names)
    for record in records.values():
        # Whatever is believed of a model is what was written of it.
        assert record.manifest == whole_records["m"].manifest
        assert record.graph.proto == whole_records["m"].graph.proto
    for damage in store.log.damages:
        assert damage.moved_to.exists()
        assert str(damage.path) in damage.sentence
    # A second start meets none of it again: there is no loop of restarts.
    again, (state_again, records_again, _, _) = read(folder)
    again.close()
    assert again.log.damages == []
    assert (state_again, set(records_again)) == (state, set(records))
    shutil.rmtree(folder.parent)


def test_blobs_that_lost_their_end_are_missing_and_not_served(sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound, tmp_path / "store")
    store, (_, records, _, _) = read(tmp_path / "store")
    sizes = sizes_of_record(records["m"])
    digest = max(sizes, key=lambda name: sizes[name])
    truncated(store.blobs.folder / digest, 0.5, b"")
    assert store.drop_damaged_blobs(sizes) == {digest}
    assert not store.blobs.has(digest)
    assert needed_blobs(records["m"]) >= sizes.keys()
    store.close()


def test_folders_that_are_files_are_made_anew(tmp_path: Path) -> None:
    for name in ("uploads", "blobs", "models", "made", "events.jsonl", "lock"):
        if name in {"events.jsonl", "lock"}:
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_bytes(b"junk")
    store, (state, records, _, _) = read(tmp_path)
    assert (state, records) == (State(), {})
    assert {damage.path.name for damage in store.log.damages} == {
        "uploads",
        "blobs",
        "models",
        "made",
        "events.jsonl",
        "lock",
    }
    assert is_in_use(tmp_path)
    store.close()
    assert not is_in_use(tmp_path)


def test_of_what_is_damaged_again_and_again_the_last_few_are_kept(tmp_path: Path) -> None:
    for number in range(KEPT + 4):
        (tmp_path / "state.json").write_bytes(b"%d" % number)
        store, _ = read(tmp_path)
        store.close()
    kept = sorted((tmp_path / "set-aside").iterdir())
    assert [path.read_bytes() for path in kept] == [b"%d" % number for number in range(4, KEPT + 4)]


def test_what_cannot_even_be_moved_away_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "set-aside").write_bytes(b"a file where a folder should be")
    (tmp_path / "state.json").write_bytes(b"{")
    store = Store(tmp_path)
    with pytest.raises(
        InvalidConfiguration, match=r"state\.json is damaged .* and cannot be set aside .*: move it away"
    ):
        store.load_state()
    store.close()
