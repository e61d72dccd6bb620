"""One cache folder, several agents: blobs fetched once, none evicted under another's feet, whoever dies lets go."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web

from edgesplit.errors import ArtifactMissing, CacheUnwritable
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.artifacts.cache_locks import Leases, claimed, folder_lock
from edgesplit_agent.artifacts.transfer import Transfers
from tests.agent.http_servers import start_server
from tests.waiting import until

BLOBS = [bytes([number]) * 300_000 for number in range(4)]
DIGESTS = [hashlib.sha256(blob).hexdigest() for blob in BLOBS]


@dataclass
class Server:
    """Gives blobs in two halves, the second once `gate` is open."""

    asked: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def get(self, request: web.Request) -> web.StreamResponse:
        """One blob, whole or from an offset."""
        digest = request.match_info["digest"]
        data = dict(zip(DIGESTS, BLOBS, strict=True))[digest]
        wanted = request.headers.get("Range", "")
        self.asked.append(digest)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(data) - start
        await response.prepare(request)
        middle = max(len(data) // 2, start)
        await response.write(data[start:middle])
        await self.gate.wait()
        await response.write(data[middle:])
        return response


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """On a free port."""
    server = Server()
    runner, server.url = await start_server([web.get("/blobs/{digest}", server.get)])
    yield server
    server.gate.set()
    await runner.cleanup()


@pytest.fixture
async def caches(server: Server, tmp_path: Path) -> AsyncIterator[list[BlobCache]]:
    """Three agents' on one folder."""
    async with AsyncExitStack() as stack:
        found = [BlobCache(tmp_path / "cache", 10**9, lambda: server.url) for _ in range(3)]
        for cache in found:
            stack.push_async_callback(cache.close)
        yield found


async def test_three_agents_that_want_the_same_blobs_fetch_each_once(server: Server, caches: list[BlobCache]) -> None:
    fetching = [asyncio.create_task(cache.fetch(DIGESTS)) for cache in caches]
    await until(lambda: len(server.asked) >= len(DIGESTS))
    server.gate.set()
    await asyncio.gather(*fetching)
    for digest, blob in zip(DIGESTS, BLOBS, strict=True):
        assert caches[0].path(digest).read_bytes() == blob
    assert sorted(server.asked) == sorted(DIGESTS)
    assert sorted(path.name for path in caches[0].folder.iterdir()) == sorted(DIGESTS)


async def test_who_gives_up_leaves_the_rest_to_the_next(server: Server, caches: list[BlobCache]) -> None:
    first = asyncio.create_task(caches[0].fetch(DIGESTS[:1]))
    partial = caches[0].folder / f"{DIGESTS[0]}.part"
    await until(lambda: partial.exists() and partial.stat().st_size == 150_000)
    second = asyncio.create_task(caches[1].fetch(DIGESTS[:1]))
    await caches[0].close()
    await asyncio.gather(first, return_exceptions=True)
    server.gate.set()
    await second
    assert caches[1].path(DIGESTS[0]).read_bytes() == BLOBS[0]


async def test_a_claim_that_makes_no_progress_holds_nobody_up(tmp_path: Path) -> None:
    partial, done = tmp_path / "x.part", tmp_path / "x"
    async with claimed(partial, done) as first, claimed(partial, done, stalled_s=0.1) as second:
        assert first == partial
        assert second is not None
        assert second != partial
        assert second.stem == "x"  # counted and evicted as the blob's
        second.write_bytes(b"whole")
        second.replace(done)
    async with claimed(partial, done) as third:
        assert third is None


async def test_a_claim_dies_with_its_process(tmp_path: Path) -> None:
    partial, done = tmp_path / "x.part", tmp_path / "x"
    script = """
        import asyncio, sys
        from pathlib import Path
        from edgesplit_agent.artifacts.cache_locks import Leases, claimed
        async def main():
            leases = Leases(Path(sys.argv[1]))
            leases.say({"a" * 64})
            async with claimed(Path(sys.argv[1]) / "x.part", Path(sys.argv[1]) / "x"):
                print("held", flush=True)
                await asyncio.Event().wait()
        asyncio.run(main())
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    try:
        assert await asyncio.to_thread(holder.stdout.readline) == "held\n"
        leases = Leases(tmp_path)
        assert leases.of_others() == {"a" * 64}
    finally:
        holder.kill()
        await asyncio.to_thread(holder.wait)
        holder.stdout.close()
    async with asyncio.timeout(5), claimed(partial, done, stalled_s=60.0) as mine:
        assert mine == partial
    assert leases.of_others() == frozenset()
    assert not list(tmp_path.glob(".users-*"))


async def test_what_another_agent_uses_is_not_evicted(server: Server, caches: list[BlobCache]) -> None:
    server.gate.set()
    one, other, _ = caches
    async with one.held(DIGESTS[:1]):
        for digest in DIGESTS[1:]:
            await other.fetch([digest])
        other.limit_bytes = 700_000
        assert other.prune() == DIGESTS[1:3]  # the oldest is in use, the limit counts the whole folder
        assert other.path(DIGESTS[0]).exists()
    other.limit_bytes = 400_000
    assert other.prune() == DIGESTS[:1]


async def test_a_download_under_way_is_not_evicted_by_another(server: Server, caches: list[BlobCache]) -> None:
    one, other, _ = caches
    fetching = asyncio.create_task(one.fetch(DIGESTS[:1]))
    partial = one.folder / f"{DIGESTS[0]}.part"
    await until(lambda: partial.exists() and partial.stat().st_size == 150_000)
    other.limit_bytes = 0
    assert other.prune() == []
    server.gate.set()
    await fetching
    assert one.path(DIGESTS[0]).read_bytes() == BLOBS[0]


async def test_an_agent_that_hangs_while_it_evicts_stops_nobody(caches: list[BlobCache]) -> None:
    one, other, _ = caches
    one.path(DIGESTS[0]).write_bytes(BLOBS[0])
    with folder_lock(one.folder):
        async with asyncio.timeout(5):
            async with other.held(DIGESTS[:1]):
                other.limit_bytes = 0
                assert other.prune() == []
                assert Leases(one.folder).of_others() == {DIGESTS[0]}


def test_blobs_used_last_stay_though_the_clock_was_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = BlobCache(tmp_path, 250, lambda: "")
    for letter in "abc":
        cache.path(letter * 64).write_bytes(b"." * 100)
    clock_ns = 2_000_000_000 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: clock_ns)
    for letter in "ab":
        cache.touch(cache.path(letter * 64))
    clock_ns -= 3600 * 10**9
    cache.touch(cache.path("c" * 64))
    assert cache.prune() == ["a" * 64]


async def test_a_full_disk_is_named_and_told_apart_from_a_server_that_is_away(
    server: Server, caches: list[BlobCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.gate.set()
    cache = caches[0]

    async def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Transfers, "download", full)
    assert not cache.room_was_made()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(CacheUnwritable, match=r"No space left on device.*\[cache\] path"):
        await cache.fetch(DIGESTS[:1])
    assert not cache.room_was_made()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000 + (1 << 20)))
    assert cache.room_was_made()
    assert not cache.room_was_made()


async def test_a_blob_nobody_has_leaves_no_file(server: Server, caches: list[BlobCache]) -> None:
    server.url = "http://127.0.0.1:9"
    with pytest.raises(ArtifactMissing):
        await caches[0].fetch(DIGESTS[:1])
    assert list(caches[0].folder.iterdir()) == []
