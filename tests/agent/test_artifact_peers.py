"""Blobs from other nodes: the nearest is asked, wrong bytes end the trust, the controller remains."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.control.figure_messages import LinkState
from edgesplit.control.registration_messages import NodeStatus
from edgesplit.errors import ArtifactCorrupt, ArtifactMissing
from edgesplit_agent.artifacts.blob_server import BlobServer
from edgesplit_agent.artifacts.cache import TRIES, BlobCache
from edgesplit_agent.artifacts.sources import ASKED_PEERS, CONTROLLER, Source, in_order, peer_sources
from edgesplit_agent.artifacts.transfer import Transfers
from tests.agent.http_servers import start_server
from tests.waiting import until

BLOBS = [bytes([number]) * 200_000 for number in range(3)]
DIGESTS = [hashlib.sha256(blob).hexdigest() for blob in BLOBS]
SIZES = dict(zip(DIGESTS, map(len, BLOBS), strict=True))


@dataclass
class Node:
    """A node or the controller, with what was asked of it."""

    url: str
    asked: list[str] = field(default_factory=list)

    def source(self, name: str, latency_s: float = 0.0) -> Source:
        """As a peer; a negative latency is nearer than any that is measured."""
        return Source(name, self.url, True, latency_s)

    @property
    def downloads(self) -> int:
        """How many blobs it was asked for."""
        return sum(path.startswith("GET /blobs/") for path in self.asked)


@asynccontextmanager
async def node(
    folder: Path, *blobs: bytes, lie: Callable[[web.Request], web.StreamResponse] | None = None
) -> AsyncIterator[Node]:
    """Serves blobs as an agent does; a liar says it holds everything and answers every download in its own way."""
    folder.mkdir(exist_ok=True)
    for blob in blobs:
        (folder / hashlib.sha256(blob).hexdigest()).write_bytes(blob)
    served = Node("")

    @web.middleware
    async def note(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        served.asked.append(f"{request.method} {request.path}")
        if lie is not None and request.method == "POST":
            return web.json_response({"held": (await request.json())["digests"]})
        if lie is not None:
            return lie(request)
        return await handler(request)

    runner, served.url = await start_server(BlobServer(folder).routes(), note)
    yield served
    await runner.cleanup()


@asynccontextmanager
async def cache(folder: Path, controller: str, *peers: Source) -> AsyncIterator[tuple[BlobCache, dict[str, int]]]:
    """A cache that asks these, and the bytes that came from each."""
    fetched: dict[str, int] = {}

    def note(name: str, nbytes: int) -> None:
        fetched[name] = fetched.get(name, 0) + nbytes

    made = BlobCache(folder, 10**9, lambda: controller, lambda: peers, note)
    yield made, fetched
    await made.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesplit_agent.artifacts.cache.FIRST_PAUSE_S", 0.01)


async def test_each_blob_comes_from_the_nearest_that_has_it_and_the_rest_from_the_controller(tmp_path: Path) -> None:
    async with (
        node(tmp_path / "near", BLOBS[0]) as near,
        node(tmp_path / "mid", *BLOBS[:2]) as mid,
        node(tmp_path / "controller", *BLOBS) as controller,
        cache(tmp_path / "own", controller.url, near.source("near", -2), mid.source("mid", -1)) as (own, fetched),
    ):
        await own.fetch(DIGESTS, SIZES)
        assert fetched == {"near": 200_000, "mid": 200_000, CONTROLLER: 200_000}
        assert [own.path(digest).read_bytes() for digest in DIGESTS] == BLOBS
        # One question each, not one a blob.
        assert near.asked.count("POST /blobs/held") == mid.asked.count("POST /blobs/held") == 1


async def test_a_peer_farther_than_the_controller_is_asked_only_when_that_fails(tmp_path: Path) -> None:
    async with node(tmp_path / "far", BLOBS[0]) as far, node(tmp_path / "controller", BLOBS[0]) as controller:
        async with cache(tmp_path / "own", controller.url, far.source("far", 10.0)) as (own, fetched):
            await own.fetch(DIGESTS[:1], SIZES)
            assert fetched == {CONTROLLER: 200_000}
        async with cache(tmp_path / "other", "http://127.0.0.1:9", far.source("far", 10.0)) as (other, fetched):
            await other.fetch(DIGESTS[:1], SIZES)
            assert fetched == {"far": 200_000}


async def test_without_a_controller_peers_are_enough(tmp_path: Path) -> None:
    async with node(tmp_path / "peer", BLOBS[0]) as peer, cache(tmp_path / "own", "", peer.source("peer")) as (own, _):
        await own.fetch(DIGESTS[:1], SIZES)
        with pytest.raises(ArtifactMissing, match="no controller is known and no peer has it"):
            await own.fetch(DIGESTS[1:], SIZES)


async def test_a_blob_of_unknown_size_is_not_taken_from_peers(tmp_path: Path) -> None:
    async with node(tmp_path / "peer", BLOBS[0]) as peer, cache(tmp_path / "own", "", peer.source("peer")) as (own, _):
        with pytest.raises(ArtifactMissing):
            await own.fetch(DIGESTS[:1])
        assert peer.asked == []


@pytest.mark.parametrize("body", [b"\xff" * 200_000, b"\xff" * 10, b"\xff" * 300_000])
async def test_a_peer_that_sends_wrong_bytes_is_not_asked_again(tmp_path: Path, body: bytes) -> None:
    async with (
        node(tmp_path / "liar", lie=lambda _: web.Response(body=body)) as liar,
        node(tmp_path / "controller", *BLOBS) as controller,
        cache(tmp_path / "own", controller.url, liar.source("liar", -1)) as (own, fetched),
    ):
        await own.fetch(DIGESTS[:1], SIZES)
        assert (liar.downloads, fetched) == (1, {CONTROLLER: 200_000})
        await own.fetch(DIGESTS[1:], SIZES)
        assert liar.asked == ["POST /blobs/held", f"GET /blobs/{DIGESTS[0]}"]
        assert not list(own.folder.glob("*.part"))


async def test_of_two_who_filled_a_file_the_liar_is_found(tmp_path: Path) -> None:
    def half_a_lie(request: web.Request) -> web.StreamResponse:
        return _BrokenOff(b"\xff" * 100_000, 200_000)

    async with (
        node(tmp_path / "liar", lie=half_a_lie) as liar,
        node(tmp_path / "honest", *BLOBS) as honest,
        cache(tmp_path / "own", "", liar.source("liar", -2), honest.source("honest", -1)) as (own, fetched),
    ):
        await own.fetch(DIGESTS[:1], SIZES)
        assert fetched == {"honest": 200_000}
        asked = len(liar.asked)
        await own.fetch(DIGESTS[1:], SIZES)
        assert len(liar.asked) == asked
        assert fetched == {"honest": 600_000}


class _BrokenOff(web.Response):
    """Announces more than it sends, then closes."""

    def __init__(self, body: bytes, announced: int) -> None:
        super().__init__(headers={"Content-Length": str(announced)})
        self._sent = body

    async def write_eof(self, data: bytes = b"") -> None:
        """Send and cut."""
        await self.write(self._sent)
        transport = self._req.transport if self._req is not None else None
        assert transport is not None
        transport.close()


@pytest.mark.parametrize("status", [404, 503])
async def test_a_peer_that_lost_the_blob_or_is_busy_is_passed_over_without_blame(tmp_path: Path, status: int) -> None:
    async with (
        node(tmp_path / "peer", lie=lambda _: web.Response(status=status)) as peer,
        node(tmp_path / "controller", *BLOBS) as controller,
        cache(tmp_path / "own", controller.url, peer.source("peer", -1)) as (own, fetched),
    ):
        await own.fetch(DIGESTS[:1], SIZES)
        await own.fetch(DIGESTS[1:2], SIZES)
        assert (peer.downloads, fetched) == (2, {CONTROLLER: 400_000})


async def test_a_lying_controller_is_an_error_and_stays_the_controller(tmp_path: Path) -> None:
    async with (
        node(tmp_path / "controller", lie=lambda _: web.Response(body=b"\xff" * 200_000)) as controller,
        cache(tmp_path / "own", controller.url) as (own, _),
    ):
        for _ in range(2):
            asked = controller.downloads
            with pytest.raises(ArtifactCorrupt):
                await own.fetch(DIGESTS[:1], SIZES)
            assert controller.downloads == asked + TRIES


async def test_what_was_fetched_is_kept_within_the_limit(tmp_path: Path) -> None:
    async with node(tmp_path / "controller", *BLOBS) as controller, cache(tmp_path / "own", controller.url) as (own, _):
        own.limit_bytes = 500_000
        for digest in DIGESTS:
            await own.fetch([digest], SIZES)
        assert sorted(path.name for path in own.folder.iterdir()) == sorted(DIGESTS[1:])


class TestService:
    """What an agent shows of its cache."""

    async def test_whole_blobs_with_ranges_and_nothing_else(self, tmp_path: Path) -> None:
        async with node(tmp_path / "cache", BLOBS[0]) as served, aiohttp.ClientSession(served.url) as client:
            folder = tmp_path / "cache"
            (folder / f"{DIGESTS[1]}.part").write_bytes(b"half")
            (folder / "profile-x.json").write_text("{}")
            async with client.get(f"/blobs/{DIGESTS[0]}", headers={"Range": "bytes=150000-"}) as answer:
                assert answer.status == 206
                assert await answer.read() == BLOBS[0][150_000:]
            async with client.head(f"/blobs/{DIGESTS[0]}") as answer:
                assert (answer.status, answer.content_length) == (200, 200_000)
            for name in (DIGESTS[1], f"{DIGESTS[1]}.part", "profile-x.json", "..%2Fcache%2F" + DIGESTS[0], "x" * 64):
                async with client.get(f"/blobs/{name}") as answer:
                    assert answer.status == 404

    async def test_a_node_that_sends_enough_blobs_already_says_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("edgesplit_agent.artifacts.blob_server.UPLOADS", 0)
        async with node(tmp_path / "cache", BLOBS[0]) as served, aiohttp.ClientSession(served.url) as client:
            async with client.get(f"/blobs/{DIGESTS[0]}") as answer:
                assert answer.status == 503
            async with client.head(f"/blobs/{DIGESTS[0]}") as answer:
                assert answer.status == 200

    async def test_what_it_holds_of_many(self, tmp_path: Path) -> None:
        async with node(tmp_path / "cache", BLOBS[0]) as served, aiohttp.ClientSession(served.url) as client:
            async with client.post("/blobs/held", json={"digests": [*DIGESTS, "../x", "profile"]}) as answer:
                assert await answer.json() == {"held": [DIGESTS[0]]}
            for body in (b"", b"[", b'{"digests": 3}', b'{"digests": [' + b"[" * 100_000):
                async with client.post("/blobs/held", data=body) as answer:
                    assert answer.status == 400
            async with client.post("/blobs/held", data=b" " * (1 << 20) + b"[]") as answer:
                assert answer.status == 413


def status(name: str, http: str) -> NodeStatus:
    """A registration."""
    return NodeStatus(node=name, online=True, protocol=1, version="1", instance="i", advertise="10.0.0.1:1", http=http)


def link(to: str, latency_s: float, *, up: bool = True) -> LinkState:
    """A measurement."""
    return LinkState(to=to, up=up, bandwidth_bytes_per_s=1e6, latency_s=latency_s, measured_at_unix_s=0.0)


def test_peers_that_can_be_reached_are_sorted_by_latency() -> None:
    nodes = [status(name, f"10.0.0.{number}:7470") for number, name in enumerate(["a", "b", "down", "unmeasured"])]
    nodes += [status("silent", ""), status("local", "127.0.0.1:7470")]
    links = [link("a", 0.2), link("b", 0.1), link("down", 0.01, up=False), link("silent", 0.01), link("local", 0.01)]
    assert [source.name for source in peer_sources(nodes, links, "10.0.0.9:7400")] == ["b", "a"]
    # All on one machine, as in the demo: loopback is where everybody is.
    assert [source.name for source in peer_sources(nodes, links, "127.0.0.1:7400")] == ["local", "b", "a"]


@given(st.lists(st.floats(0, 1), max_size=6), st.none() | st.floats(0, 1))
def test_the_controller_stands_where_its_latency_puts_it(latencies: list[float], controller_s: float | None) -> None:
    peers = [Source(str(index), "", True, latency) for index, latency in enumerate(sorted(latencies))]
    controller = Source(CONTROLLER, "", False, controller_s)
    order = in_order(peers, controller)
    assert [source for source in order if source.is_peer] == peers[:ASKED_PEERS]
    at = order.index(controller)
    if controller_s is None:
        assert at == len(order) - 1
    else:
        assert all((peer.latency_s or 0) < controller_s for peer in order[:at])
        assert all((peer.latency_s or 0) >= controller_s for peer in order[at + 1 :])


async def test_a_blob_is_sent_once_and_the_connection_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened: list[object] = []

    async def note(_session: aiohttp.ClientSession, _context: object, event: object) -> None:
        opened.append(event)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(note)
    async with node(tmp_path / "peer", *BLOBS) as peer, aiohttp.ClientSession(trace_configs=[trace]) as session:
        for digest, blob in zip(DIGESTS, BLOBS, strict=True):
            async with session.get(f"{peer.url}/blobs/{digest}") as response:
                assert await response.read() == blob
        assert len(opened) == 1
    assert [record.getMessage() for record in caplog.records if record.name.startswith("aiohttp")] == []


async def test_a_connection_over_which_nothing_goes_is_not_kept() -> None:
    """Whoever held it would be connected to a node still that is trusted no more."""
    ended: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        rest = await reader.read()
        writer.close()
        ended.append(rest)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transfers = Transfers()
    async with server:
        assert await transfers.unreachable(Source("edge", f"http://127.0.0.1:{port}", True)) == ""
        await until(lambda: bool(ended), within_s=10.0)
    assert ended == [b""]
    await transfers.close()
