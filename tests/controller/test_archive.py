"""What nodes keep of the controller's records, whose turn it is, and which nodes keep them."""

from __future__ import annotations

import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.control.archive_messages import Archive, ArchiveEntry
from edgesplit.mqtt.name_registration import RETRY_S
from edgesplit_controller.archive.keepers import LEAST, MOST, chosen_keepers
from edgesplit_controller.archive.pieces import (
    deployment_key,
    deployment_of,
    deployment_piece,
    essential,
    model_of,
    model_piece,
    rest_of,
    state_of,
    state_piece,
)
from edgesplit_controller.archive.standbys import Standbys
from edgesplit_controller.models.intake.stages import first_record
from edgesplit_controller.models.submission import Submission
from edgesplit_controller.storage.deployment_state import State
from edgesplit_controller.storage.reign import Reign
from edgesplit_controller.storage.rollout_state import Epoch
from edgesplit_controller.storage.store import Store
from tests.controller.tiny_models import convolutions

STATE = msgspec.json.decode(Path(__file__).with_name("state_of_2026_11.json").read_bytes(), type=State)


def archive(store: str, number: int, *before: str, edition: int = 1) -> Archive:
    return Archive(store=store, number=number, edition=edition, before=before)


# --- pieces ------------------------------------------------------------------------------------------------------------------


def test_pieces_read_back_are_what_was_written() -> None:
    assert state_of(state_piece(STATE)) == rest_of(STATE)
    assert STATE.deployments
    for deployment in STATE.deployments.values():
        again = deployment_of(deployment_piece(deployment))
        assert again == essential(deployment)
        assert again.active == deployment.active
        assert again.rollout.retiring == ()
        assert again.fallbacks == {}


def test_a_model_read_back_is_what_was_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    (tmp_path / "upload").write_bytes(convolutions(2, size=None))
    record = first_record(Submission("m", tmp_path / "upload", {}, None, 0, ()), store.blobs, lambda _text, _part: None)
    again = model_of(model_piece(record))
    assert (again.manifest, again.graph.proto) == (record.manifest, record.graph.proto)
    assert again.version == record.version
    store.close()


@pytest.mark.parametrize("content", [b"", b"junk", zlib.compress(b"{"), state_piece(STATE)[:-4], zlib.compress(b"[]")])
def test_what_is_no_piece_is_refused(content: bytes) -> None:
    for read in (state_of, deployment_of, model_of):
        with pytest.raises(ValueError, match=r"."):
            read(content)


def test_figures_that_follow_measurements_write_no_piece_anew() -> None:
    (deployment,) = [one for one in STATE.deployments.values() if one.active is not None][:1]
    assert deployment.active is not None
    number = deployment.active.epoch.number
    plan = msgspec.structs.replace(deployment.active, solve_s=deployment.active.solve_s + 1.0)
    figures = msgspec.structs.replace(deployment, plans=deployment.plans | {number: plan})
    assert deployment_key(figures) == deployment_key(deployment)
    upcoming = Epoch(number=number + 1, source=deployment.source, participants=(deployment.source,))
    rollout = msgspec.structs.replace(deployment.rollout, upcoming=upcoming)
    assert deployment_key(msgspec.structs.replace(deployment, rollout=rollout)) != deployment_key(deployment)


# --- whose turn --------------------------------------------------------------------------------------------------------------


def test_a_store_is_behind_what_another_controller_wrote_since() -> None:
    own = Reign(store="a", number=3)
    assert not own.is_behind(archive("a", 3)), "its own last start"
    assert own.is_behind(archive("a", 4)), "a copy of it was in charge since"
    assert own.is_behind(archive("b", 1)), "another store"
    taken = own.after(archive("b", 7, "z"))
    assert (taken.number, taken.before) == (7, ("b", "z"))
    assert not taken.is_behind(archive("b", 7))
    assert taken.is_behind(archive("b", 8))
    assert taken.begun().number == 8
    passing = own.passing_over(archive("b", 7))
    assert not passing.begun().is_behind(archive("b", 7)), "nobody kept it when this store's own history began"
    assert passing.is_behind(archive("b", 8))
    assert passing.is_behind(archive("c", 1))
    assert not own.descends_from(archive("b", 7))


def test_what_a_successor_lacks_was_removed_and_what_a_stranger_lacks_was_not() -> None:
    own = Reign(store="a", number=3)
    assert own.descends_from(archive("b", 4, "a"))
    assert not own.descends_from(archive("c", 9, "b"))


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=20))
def test_of_controllers_that_follow_each_other_only_the_last_is_not_behind(turns: list[str]) -> None:
    """Each turn is a start of a controller with one of three stores; whoever is behind takes over first."""
    reigns = {name: Reign(store=name) for name in "abc"}
    last: Archive | None = None
    for name in turns:
        own = reigns[name]
        if last is not None and own.is_behind(last):
            own = own.after(last)
        own = reigns[name] = own.begun()
        assert last is None or own.number > last.number
        last = archive(own.store, own.number, *own.before)
        for other, reign in reigns.items():
            assert reign.is_behind(last) == (other != name)


# --- who keeps them ----------------------------------------------------------------------------------------------------------

names = st.lists(st.sampled_from([f"n{number}" for number in range(12)]), unique=True)


@given(sources=names, before=names, able=names, known=names)
def test_sources_and_enough_others_keep_the_records(
    sources: list[str], before: list[str], able: list[str], known: list[str]
) -> None:
    known = sorted({*known, *able})
    kept = chosen_keepers(sources, before, able=able, known=known)
    assert len(kept) <= MOST
    assert set(kept) <= {*able, *(name for name in before if name in known)}
    there = [name for name in kept if name in able]
    assert len(there) >= min(LEAST, len(able)) or len(kept) == MOST
    wanted = sorted(name for name in sources if name in able)
    assert set(wanted[:MOST]) <= set(kept)
    again = chosen_keepers(sources, kept, able=able, known=known)
    assert again == kept, "who keeps them goes on keeping them"


def test_lists_of_a_higher_order_are_later() -> None:
    assert archive("a", 1, edition=9).order < archive("b", 2).order
    assert archive("a", 1).order < archive("a", 1, edition=2).order
    entry = ArchiveEntry(name="models/m", digest="0" * 64, nbytes=5)
    assert msgspec.structs.replace(archive("a", 1), entries=(entry,)).sizes == {"0" * 64: 5}


def test_who_stands_by_is_told_once_and_gone_after_a_while() -> None:
    now_s = 0.0
    standbys = Standbys(lambda: now_s)
    assert standbys.heard("i", "spare")
    assert not standbys.heard("i", "spare")
    now_s = 2.5 * RETRY_S
    assert standbys.gone() == ()
    assert list(standbys.machines) == ["spare"]
    now_s = 3.5 * RETRY_S
    assert standbys.gone() == ("spare",)
    assert list(standbys.machines) == []
