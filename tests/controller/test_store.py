"""What is on disk survives and damage is one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgesplit.errors import InvalidConfiguration, InvalidInput
from edgesplit.planning.goals import Goals
from edgesplit_controller.models.intake.stages import take_in
from edgesplit_controller.models.model_folders import ModelFolders
from edgesplit_controller.models.submission import Submission
from edgesplit_controller.storage.deployment_state import STATE_FORMAT, DeploymentState, State
from edgesplit_controller.storage.files.set_aside import DamageLog
from edgesplit_controller.storage.rollout_state import Epoch, Rollout
from edgesplit_controller.storage.store import Store
from edgesplit_controller.storage.write_health import StoreHealth
from tests.controller.tiny_models import convolutions

STATE_OF_AN_EARLIER_CONTROLLER = Path(__file__).with_name("state_of_2026_11.json")
ADDED_SINCE = (
    *("latency_interval_s", "energy_interval_j", "handling_s", "joinable", "fixed", "sources"),
    *("typical", "any_rank", "values", "input_shapes", "open_axes", "footprint_terms", "concession"),
    *("min_rate_hz", "rate_hz", "bottleneck", "made_unix_s", "drained", "paused", "restored", "on"),
)


def without_added_keys(document: dict[str, object]) -> dict[str, object]:
    """An object without keys that are new since then, which say nothing yet."""
    assert not any(document.get(key) for key in ADDED_SINCE)
    return {key: value for key, value in document.items() if key not in ADDED_SINCE}


def test_state_reads_back_as_it_was_saved(tmp_path: Path) -> None:
    active = Epoch(number=3, source="device", participants=("device",), local_fallback=2)
    state = State(
        default_goals=Goals(energy_weight=1.0),
        goals={"m": Goals(max_noise=None)},
        epochs={"m": 3},
        deployments={"m": DeploymentState(source="device", inputs=(), outputs=(), rollout=Rollout(active=active))},
    )
    store = Store(tmp_path)
    assert store.load_state() == State()
    store.save_state(state)
    store.close()
    again = Store(tmp_path)
    assert again.load_state() == state
    again.close()


def test_a_state_that_an_earlier_controller_wrote_is_read_and_written_in_the_same_keys(tmp_path: Path) -> None:
    """Goals, a pinned and battery-limited plan, both kinds of fallback and a tightening, as f1c78a1 wrote them."""
    written = STATE_OF_AN_EARLIER_CONTROLLER.read_bytes()
    (tmp_path / "state.json").write_bytes(written)
    store = Store(tmp_path)
    store.save_state(store.load_state())
    store.close()
    rewritten = json.loads((tmp_path / "state.json").read_bytes(), object_hook=without_added_keys)
    assert rewritten == json.loads(written)


def test_a_second_controller_may_not_use_the_folder(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(InvalidConfiguration, match="in use by another controller"):
        Store(tmp_path)
    store.close()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidConfiguration, match="cannot be used"):
        Store(tmp_path / "file" / "store")


def test_models_survive_a_crash_while_being_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (store.uploads / "upload").write_bytes(convolutions(1))
    record = take_in(Submission("m", store.uploads / "upload", {}, None, 0, ()), store.blobs, lambda _text, _part: None)
    folders = ModelFolders(store.path, store.health, store.log)
    folders.save(record)
    assert folders.load()["m"].manifest == record.manifest
    # Killed after the new version was written and before it took the old one's place.
    (tmp_path / "models" / "m").rename(tmp_path / "incoming" / "m")
    # Killed while a version was being written.
    (tmp_path / "incoming" / "half").mkdir()
    assert list(folders.load()) == ["m"]
    assert list((tmp_path / "incoming").iterdir()) == []
    (tmp_path / "models" / "m" / "graph.onnx").write_bytes(b"\x00damaged")
    assert folders.load() == {}
    (damage,) = store.log.damages
    assert "added again" in damage.sentence
    store.close()


def test_uploads_are_found_by_digest_only(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (store.uploads / ("a" * 64)).write_bytes(b"x")
    assert store.upload("a" * 64, "model file").read_bytes() == b"x"
    for digest in ("b" * 64, "../state.json", ""):
        with pytest.raises(InvalidInput, match="was not uploaded"):
            store.upload(digest, "model file")
    store.remove_uploads(["a" * 64])
    assert list(store.uploads.iterdir()) == []
    store.close()


def test_blobs_that_nobody_needs_are_freed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept, stale = store.blobs.put(b"kept"), store.blobs.put(b"stale")
    assert store.collect({kept}) == 1
    assert store.blobs.has(kept)
    assert not store.blobs.has(stale)
    store.close()


def test_a_folder_that_a_newer_release_wrote_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    Store(tmp_path).close()
    newer = b'{"format": 2, "deployments": {"m": "what this release does not know"}}'
    (tmp_path / "state.json").write_bytes(newer)
    under_way = tmp_path / "blobs" / ".incoming-1"
    under_way.write_bytes(b"half of a blob")
    with pytest.raises(InvalidConfiguration, match=r"state\.json was written by a newer release .*format 2.*up to 1"):
        Store(tmp_path)
    assert ((tmp_path / "state.json").read_bytes(), under_way.read_bytes()) == (newer, b"half of a blob")
    (tmp_path / "state.json").unlink()
    Store(tmp_path).close()  # the refusal let go of the folder


def test_what_is_written_has_this_releases_format_whatever_was_read(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(b'{"format": 0}')
    store = Store(tmp_path)
    store.save_state(store.load_state())
    store.close()
    assert json.loads((tmp_path / "state.json").read_bytes())["format"] == STATE_FORMAT


def test_a_model_that_a_newer_release_wrote_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    newer = b'{"format": 2, "operators": "what this release does not know"}'
    (folder / "manifest.json").write_bytes(newer)
    with pytest.raises(InvalidConfiguration, match=r"manifest\.json was written by a newer release .*format 2"):
        ModelFolders(tmp_path, StoreHealth(tmp_path), DamageLog(tmp_path)).load()
    assert (folder / "manifest.json").read_bytes() == newer
