"""A node keeps the controller's records: whole lists only, over restarts, and not because a controller knows nothing."""

from __future__ import annotations

import asyncio
import gc
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgesplit.control.archive_messages import ARCHIVE, KEPT_ARCHIVE, Archive, ArchiveEntry, KeptArchive
from edgesplit.mqtt.topic import Topic
from edgesplit_agent.archive_keeper import ArchiveKeeper
from edgesplit_agent.artifacts.cache import BlobCache
from tests.waiting import let_others_run, until

BLOBS = [bytes([number]) * 100 for number in range(3)]


class Bus:
    """What a node says, and who listens."""

    def __init__(self) -> None:
        self.said: KeptArchive | None = None
        self.cleared = 0
        self.hear: Callable[[str, Archive | None], None] = lambda _topic, _archive: None

    def subscribe(self, topic: Topic[Any], handler: Callable[[str, Archive | None], None], *names: str) -> None:
        if topic is KEPT_ARCHIVE:
            assert names == ("edge",), "what other nodes keep is not this one's to hear"
        else:
            assert topic is ARCHIVE
            self.hear = handler

    def publish(self, topic: Topic[Any], message: KeptArchive, node: str) -> None:
        assert (topic, node) == (KEPT_ARCHIVE, message.node)
        self.said = message

    def clear(self, topic: Topic[Any], node: str) -> None:
        assert (topic, node) == (KEPT_ARCHIVE, "edge")
        self.said = None
        self.cleared += 1


class Node:
    """One start of an agent's keeper."""

    def __init__(self, folder: Path, controller: str = "") -> None:
        self.bus = Bus()
        self.cache = BlobCache(folder, 1 << 20, lambda: controller)
        self.keeper = ArchiveKeeper("edge", self.cache, self.bus)  # type: ignore[arg-type]
        self.keeper.start()

    def hear(self, archive: Archive | None) -> None:
        self.bus.hear("", archive)

    @property
    def kept(self) -> tuple[int, int] | None:
        return self.bus.said.order if self.bus.said is not None else None


def put(folder: Path, *blobs: bytes) -> None:
    folder.mkdir(exist_ok=True)
    for blob in blobs:
        (folder / hashlib.sha256(blob).hexdigest()).write_bytes(blob)


def archive(number: int, edition: int, *blobs: bytes, keepers: tuple[str, ...] = ("edge",)) -> Archive:
    entries = tuple(
        ArchiveEntry(name=f"models/{place}", digest=hashlib.sha256(blob).hexdigest(), nbytes=len(blob))
        for place, blob in enumerate(blobs)
    )
    return Archive(store="s", number=number, edition=edition, keepers=keepers, entries=entries)


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Path]:
    put(tmp_path / "cache", *BLOBS)
    yield tmp_path / "cache"


async def test_a_list_is_kept_once_it_is_whole_and_said_again_by_the_next_run(folder: Path) -> None:
    node = Node(folder)
    assert (node.kept, node.bus.cleared) == (None, 1)
    node.hear(archive(3, 1, *BLOBS))
    await until(lambda: node.kept == (3, 1))
    assert node.bus.said is not None
    assert (node.bus.said.node, node.bus.said.sizes) == ("edge", archive(3, 1, *BLOBS).sizes)
    node.cache.limit_bytes = 1
    assert node.cache.prune() == [], "what is kept is not pushed out"
    await node.keeper.close()
    assert Node(folder).kept == (3, 1)
    (folder / hashlib.sha256(BLOBS[0]).hexdigest()).unlink()
    assert Node(folder).kept is None, "a list that is not whole any more is not said"


async def test_the_last_whole_list_is_kept_until_the_next_one_is_whole(folder: Path) -> None:
    node = Node(folder)
    node.hear(archive(1, 1, BLOBS[0]))
    await until(lambda: node.kept == (1, 1))
    missing = b"nobody has this"
    node.hear(archive(1, 2, BLOBS[1], missing))
    await let_others_run()
    assert node.kept == (1, 1)
    put(folder, missing)
    node.keeper.cause_returned()
    await until(lambda: node.kept == (1, 2))
    node.cache.limit_bytes = 1
    removed = node.cache.prune()
    assert set(removed) == {hashlib.sha256(BLOBS[number]).hexdigest() for number in (0, 2)}
    await node.keeper.close()


async def test_a_controller_that_knows_less_empties_nothing(folder: Path) -> None:
    node = Node(folder)
    node.hear(archive(7, 4, *BLOBS))
    await until(lambda: node.kept == (7, 4))
    for less in (archive(1, 9, keepers=()), archive(7, 3, BLOBS[0]), archive(6, 100, BLOBS[0]), None):
        node.hear(less)
        await let_others_run()
        assert node.kept == (7, 4)
    node.hear(archive(8, 1, BLOBS[0]))
    await until(lambda: node.kept == (8, 1))
    await node.keeper.close()


async def test_who_is_no_keeper_any_more_lets_go(folder: Path) -> None:
    node = Node(folder)
    node.hear(archive(1, 1, *BLOBS))
    await until(lambda: node.kept == (1, 1))
    node.hear(archive(1, 2, *BLOBS, keepers=("cloud",)))
    assert node.kept is None
    assert not list(folder.glob("archive-*"))
    node.cache.limit_bytes = 1
    assert len(node.cache.prune()) == len(BLOBS)


async def test_a_damaged_note_of_what_was_kept_is_no_more_than_none(folder: Path) -> None:
    (folder / "archive-edge.json").write_bytes(msgspec.json.encode(archive(1, 1, *BLOBS))[:-5])
    node = Node(folder)
    assert node.kept is None
    node.hear(archive(1, 2, *BLOBS))
    await until(lambda: node.kept == (1, 2))
    await node.keeper.close()


async def test_a_list_that_another_took_the_place_of_fails_in_silence(folder: Path) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    node = Node(folder, controller="http://127.0.0.1:1")
    node.hear(archive(1, 1, b"nobody has this"))
    await until(lambda: any(folder.glob("*.part")), "it is being fetched")
    node.hear(archive(1, 2, *BLOBS))
    await until(lambda: node.kept == (1, 2))
    await until(lambda: not any(folder.glob("*.part")), "fetching it ended")
    await let_others_run()
    gc.collect()
    assert told == []
    await node.keeper.close()
    await node.cache.close()
