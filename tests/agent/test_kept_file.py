"""The file from which a node starts alone: read as it was written or not at all, and never a reason not to start."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.control.plan_messages import DESIRED
from edgesplit.control.registration_messages import NodeStatus
from edgesplit.release import PROTOCOL
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.autonomy import kept_file
from edgesplit_agent.autonomy.kept_file import (
    KeptMessage,
    KeptState,
    KeptStateUnusable,
    encoded,
    kept_path,
    pinned_blobs,
    read_kept,
    set_aside,
    write_kept,
)
from edgesplit_agent.autonomy.node_memory import NodeMemory
from tests.waiting import until

EDGE = NodeStatus(node="edge", online=True, protocol=PROTOCOL, version="1", instance="i", advertise="10.0.0.2:7400")
STATE = KeptState(
    messages=(KeptMessage(topic="edgesplit/1/nodes/device/desired/m", payload='{"a": "ü"}', heard_unix_s=1.5),),
    nodes=(EDGE,),
    blobs=("a" * 64, "b" * 64),
)
CONTENT = encoded(STATE, "device")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = kept_path(tmp_path, "device")
    assert read_kept(path, "device") is None
    write_kept(path, CONTENT)
    assert read_kept(path, "device") == STATE
    assert path.stat().st_mode & 0o077 == 0  # what is in it decides what the node does
    assert pinned_blobs(tmp_path) == {"a" * 64, "b" * 64}


def test_no_file_that_broke_off_is_believed(tmp_path: Path) -> None:
    path = kept_path(tmp_path, "device")
    for length in range(len(CONTENT) - 1):  # without the last line's end it says the same
        path.write_bytes(CONTENT[:length])
        with pytest.raises(KeptStateUnusable):
            read_kept(path, "device")


@given(at=st.integers(0, len(CONTENT) - 2), byte=st.integers(0, 255))
def test_a_changed_byte_is_noticed(tmp_path_factory: pytest.TempPathFactory, at: int, byte: int) -> None:
    path = tmp_path_factory.getbasetemp() / "kept-device.json"
    path.write_bytes(CONTENT[:at] + bytes([byte]) + CONTENT[at + 1 :])
    try:
        found = read_kept(path, "device")
    except KeptStateUnusable:
        return
    assert found == STATE  # the same byte, or one that means the same in JSON


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (encoded(STATE, "edge"), "that of node 'edge'"),
        (CONTENT.replace(b"edgesplit-kept/1", b"edgesplit-kept/9"), "of another release"),
        (CONTENT.replace(f'"protocol":{PROTOCOL}'.encode(), b'"protocol":99'), "under protocol 99"),
        (b"\x00" * 4096, "damaged"),
        (b"", "damaged"),
    ],
    ids=["another node's", "another format", "another protocol", "zeros", "empty"],
)
def test_what_is_another_ones_is_refused_with_the_reason_and_set_aside(
    tmp_path: Path, content: bytes, why: str
) -> None:
    path = kept_path(tmp_path, "device")
    path.write_bytes(content)
    with pytest.raises(KeptStateUnusable, match=why):
        read_kept(path, "device")
    aside = set_aside(path)
    assert aside is not None
    assert aside.read_bytes() == content
    assert read_kept(path, "device") is None
    assert pinned_blobs(tmp_path) == frozenset()


def test_a_folder_in_its_place_ends_nothing(tmp_path: Path) -> None:
    path = kept_path(tmp_path, "device")
    path.mkdir()
    with pytest.raises(KeptStateUnusable, match="cannot be read"):
        read_kept(path, "device")
    assert pinned_blobs(tmp_path) == frozenset()


def test_blobs_that_a_node_needs_to_start_alone_are_never_evicted_though_its_agent_is_off(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 1, lambda: "", pinned=lambda: pinned_blobs(tmp_path))
    for letter in "abc":
        cache.path(letter * 64).write_bytes(b"." * 100)
    packed = tmp_path / f"{'a' * 64}.packed-0"  # held by the name of what it was made of
    packed.write_bytes(b"." * 100)
    write_kept(kept_path(tmp_path, "device"), CONTENT)
    assert cache.prune() == ["c" * 64]
    assert packed.exists()
    write_kept(kept_path(tmp_path, "device"), encoded(KeptState(), "device"))
    assert len(cache.prune()) == 3


def test_a_file_is_no_blob_for_having_a_name_as_long(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 0, lambda: "")
    name = "n" * (64 - len("kept-"))
    write_kept(kept_path(tmp_path, name), encoded(STATE, name))
    assert cache.prune() == []
    assert read_kept(kept_path(tmp_path, name), name) == STATE


class Nodes:
    """What is kept beside messages."""

    def __init__(self) -> None:
        self.blobs = ("a" * 64,)

    def last_known_nodes(self) -> tuple[NodeStatus, ...]:
        return (EDGE,)

    def planned_blobs(self) -> tuple[str, ...]:
        return self.blobs


def memory(folder: Path, told: list[tuple[str, str]], nodes: Nodes | None = None) -> NodeMemory:
    made = NodeMemory(folder, "device", wall_clock=lambda: 7.0)
    made.begin(nodes or Nodes(), lambda kind, text: told.append((kind, text)))
    return made


async def test_a_disk_that_is_full_is_told_once_and_written_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = True

    def write(path: Path, content: bytes) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_bytes(content)

    monkeypatch.setattr(kept_file, "write_private", write)
    told: list[tuple[str, str]] = []
    made = memory(tmp_path, told)
    made.take("t", holds=True)
    made.delivered("t", b'{"m": 1}', obeyed=True)
    await until(lambda: bool(told))
    made.take("u", holds=True)
    made.delivered("u", b'{"m": 2}', obeyed=True)
    await until(lambda: made._failing is not None and made._failing.attempts > 1)
    assert [kind for kind, _ in told] == ["plan-not-kept"]
    assert "No space left on device" in told[0][1]
    full = False
    await until(lambda: len(told) > 1)
    assert told[-1][0] == "plan-kept"
    kept = read_kept(kept_path(tmp_path, "device"), "device")
    assert kept is not None
    assert [message.payload for message in kept.messages] == ['{"m": 1}', '{"m": 2}']
    await made.close()


async def test_a_node_remembers_what_it_took_in_and_nothing_that_it_ignored(tmp_path: Path) -> None:
    made = memory(tmp_path, [])
    for topic, holds, obeyed in (("a", True, True), ("b", True, False), ("c", None, True), ("d", True, True)):
        if holds is not None:
            made.take(topic, holds=holds)
        made.delivered(topic, b"1", obeyed=obeyed)
    made.take("d", holds=False)
    made.delivered("d", b"", obeyed=True)
    await made.close()
    again = memory(tmp_path, [])
    assert [message.topic for message in again.recalled.messages] == ["a"]
    assert again.recalled.nodes == (EDGE,)
    assert again.recalled.blobs == ("a" * 64,)


async def test_a_message_that_is_repeated_keeps_the_time_at_which_it_was_first_believed(tmp_path: Path) -> None:
    path = kept_path(tmp_path, "device")
    write_kept(path, CONTENT)
    made = memory(tmp_path, [])
    (message,) = STATE.messages
    made.take(message.topic, holds=True)
    made.delivered(message.topic, message.payload.encode(), obeyed=True)
    await made.close()
    kept = read_kept(path, "device")
    assert kept is not None
    assert kept.messages == STATE.messages


async def test_blobs_of_sessions_that_are_not_open_again_yet_stay_pinned(tmp_path: Path) -> None:
    write_kept(kept_path(tmp_path, "device"), CONTENT)
    made = memory(tmp_path, [])
    made.changed()
    await made.close()
    assert pinned_blobs(tmp_path) == {"a" * 64, "b" * 64}


async def test_a_damaged_file_is_told_and_its_node_begins_anew(tmp_path: Path) -> None:
    path = kept_path(tmp_path, "device")
    path.write_bytes(CONTENT[:-20])
    told: list[tuple[str, str]] = []
    made = memory(tmp_path, told)
    assert made.recalled == KeptState()
    assert [kind for kind, _ in told] == ["plan-set-aside"]
    assert "its bytes are not those that were written" in told[0][1]
    assert (tmp_path / "kept-device.json.set-aside").read_bytes() == CONTENT[:-20]
    await made.close()
    assert not path.exists()


def test_keys_of_a_newer_release_are_ignored(tmp_path: Path) -> None:
    head, body = CONTENT.split(b"\n")[:2]
    parts = msgspec.json.decode(head)
    newer = msgspec.json.encode({**msgspec.json.decode(body), "more": 1})
    path = kept_path(tmp_path, "device")
    path.write_bytes(
        msgspec.json.encode({**parts, "sha256": hashlib.sha256(newer).hexdigest(), "more": 2}) + b"\n" + newer
    )
    assert read_kept(path, "device") == STATE


async def test_a_message_that_meets_a_defect_is_forgotten_and_told(tmp_path: Path) -> None:
    write_kept(kept_path(tmp_path, "device"), CONTENT)
    told: list[tuple[str, str]] = []
    made = memory(tmp_path, told)

    def hand_over(topic: str, _payload: bytes, _heard_s: float) -> None:
        made.take(topic, holds=True)
        raise ZeroDivisionError("a defect")

    made.recall((DESIRED,), hand_over)
    assert [kind for kind, _ in told] == ["plan-set-aside"]
    await made.close()
    kept = read_kept(kept_path(tmp_path, "device"), "device")
    assert kept is not None
    assert kept.messages == ()
