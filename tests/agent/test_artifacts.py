"""Blobs: fetched, verified, resumed, kept while in use."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from edgesplit.errors import ArtifactCorrupt, ArtifactError, ArtifactMissing
from edgesplit_agent.artifacts.cache import BlobCache
from tests.agent.http_servers import start_server

BLOB = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(BLOB).hexdigest()


@dataclass
class Server:
    """An artifact server that misbehaves on request."""

    contents: dict[str, bytes] = field(default_factory=lambda: {DIGEST: BLOB})
    ranges: list[str] = field(default_factory=list)
    cut_after: int | None = None
    url: str = ""

    async def get(self, request: web.Request) -> web.StreamResponse:
        """One blob, whole or from an offset; broken off once where `cut_after` says so."""
        data = self.contents.get(request.match_info["digest"])
        if data is None:
            raise web.HTTPNotFound
        wanted = request.headers.get("Range", "")
        self.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start >= len(data):
            raise web.HTTPRequestRangeNotSatisfiable
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(data) - start
        await response.prepare(request)
        if self.cut_after is None:
            await response.write(data[start:])
        else:
            await response.write(data[start : start + self.cut_after])
            self.cut_after = None
            assert request.transport is not None
            request.transport.close()
        return response


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """On a free port."""
    server = Server()
    runner, server.url = await start_server([web.get("/blobs/{digest}", server.get)])
    yield server
    await runner.cleanup()


@pytest.fixture
async def cache(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BlobCache]:
    """Empty, asking the server."""
    monkeypatch.setattr("edgesplit_agent.artifacts.cache.FIRST_PAUSE_S", 0.01)
    cache = BlobCache(tmp_path / "cache", 10**9, lambda: server.url)
    yield cache
    await cache.close()


async def test_a_blob_is_fetched_once_and_then_taken_from_the_folder(server: Server, cache: BlobCache) -> None:
    await asyncio.gather(cache.fetch([DIGEST]), cache.fetch([DIGEST]))
    await cache.fetch([DIGEST])
    assert cache.path(DIGEST).read_bytes() == BLOB
    assert server.ranges == [""]


async def test_a_broken_download_goes_on_where_it_ended(server: Server, cache: BlobCache) -> None:
    server.cut_after = 300_000
    await cache.fetch([DIGEST])
    assert cache.path(DIGEST).read_bytes() == BLOB
    assert len(server.ranges) == 2
    assert server.ranges[1].startswith("bytes=")


async def test_a_complete_partial_file_needs_no_bytes(server: Server, cache: BlobCache) -> None:
    (cache.folder / f"{DIGEST}.part").write_bytes(BLOB)
    await cache.fetch([DIGEST])
    assert cache.path(DIGEST).read_bytes() == BLOB


async def test_wrong_bytes_left_from_before_are_fetched_again(server: Server, cache: BlobCache) -> None:
    (cache.folder / f"{DIGEST}.part").write_bytes(b"x" * 1000)
    await cache.fetch([DIGEST])
    assert cache.path(DIGEST).read_bytes() == BLOB


async def test_a_blob_with_other_bytes_than_its_name_is_refused(server: Server, cache: BlobCache) -> None:
    server.contents[DIGEST] = b"something else"
    with pytest.raises(ArtifactCorrupt, match=DIGEST[:12]):
        await cache.fetch([DIGEST])
    assert not cache.path(DIGEST).exists()


async def test_a_missing_blob_is_named(server: Server, cache: BlobCache) -> None:
    with pytest.raises(ArtifactMissing, match="404"):
        await cache.fetch(["0" * 64])


async def test_a_server_that_is_away_is_named(cache: BlobCache, server: Server) -> None:
    server.url = "http://127.0.0.1:9"
    with pytest.raises(ArtifactMissing, match=r"127\.0\.0\.1:9"):
        await cache.fetch([DIGEST])
    server.url = ""
    with pytest.raises(ArtifactMissing, match="no controller"):
        await cache.fetch([DIGEST])


async def test_pruning_removes_the_least_recently_used_but_none_in_use(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 250, lambda: "")
    for age, letter in enumerate("abcd"):
        path = cache.path(letter * 64)
        path.write_bytes(b"." * 100)
        os.utime(path, (1000 + age, 1000 + age))
    (tmp_path / "profile-x.json").write_bytes(b"." * 1000)
    cache.hold(["a" * 64])
    assert cache.prune() == ["b" * 64, "c" * 64]
    cache.drop(["a" * 64])
    cache.limit_bytes = 100
    assert cache.prune() == ["a" * 64]
    assert (tmp_path / "profile-x.json").exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match=r"\[cache\] path"):
        BlobCache(tmp_path / "file" / "cache", 1, lambda: "")
