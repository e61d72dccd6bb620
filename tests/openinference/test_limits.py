"""Clients that are huge, slow, many or wrong: each is told why and none takes the agent with it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json

import numpy as np
import pytest

from edgesplit.daemon import http_guard
from edgesplit_agent.http import application, endpoint
from edgesplit_agent.openinference import answers, bodies
from tests.openinference.fakes import Served, served
from tests.openinference.test_endpoint import LENGTH, X, binary_body, json_body, post
from tests.waiting import until

URL = "/v2/models/double/infer"


@pytest.fixture(autouse=True)
def _short_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "LINGER_S", 0.1)


async def raw(server: Served, *parts: bytes, end: bool = False) -> bytes:
    """Send bytes, return all that comes back until the server closes."""
    host, port = server.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for part in parts:
        writer.write(part)
        await writer.drain()
    if end:
        writer.write_eof()
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    return answer


def request(body: bytes, *headers: str, length: int | None = None) -> bytes:
    """An HTTP request as bytes."""
    lines = [f"POST {URL} HTTP/1.1", "Host: x", "Connection: close", *headers]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("length", "status", "said"),
    [
        ("-1", 400, "number of bytes"),
        ("1e3", 400, "number of bytes"),
        ("٣", 400, "number of bytes"),
        ("10", 400, "Protocol"),
    ],
)
async def test_a_senseless_head_length_is_refused(length: str, status: int, said: str) -> None:
    async with served() as server:
        got, _, answer = await post(server, URL, data=b"{}" + b" " * 20, headers={LENGTH: length})
        assert got == status
        assert said in json.loads(answer)["error"]


async def test_a_head_longer_than_the_body_is_refused() -> None:
    async with served() as server:
        status, _, answer = await post(server, URL, data=b"{}", headers={LENGTH: "100"})
        assert status == 400
        assert "ends after 2 of 100 B of the JSON head" in json.loads(answer)["error"]


async def test_bodies_above_the_limits_are_refused_before_they_come() -> None:
    async with served(max_body_bytes=1000, max_json_bytes=500) as server:
        answer = await raw(server, request(b"", length=10**12))
        assert b"413" in answer.splitlines()[0]
        status, _, body = await post(server, URL, data=b" " * 600)
        assert (status, json.loads(body)["code"]) == (413, "frame-too-large")
        status, _, body = await post(server, URL, data=b"", headers={LENGTH: "501"})
        assert status == 413


async def test_a_small_body_that_expands_without_end_is_cut_off() -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    async with served(max_json_bytes=100_000) as server:
        status, _, body = await post(server, URL, data=bomb, headers={"Content-Encoding": "gzip"})
        assert status == 413
        assert "100000 B" in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("data", "encoding", "said"),
    [
        (b"nothing of the kind", "gzip", "not valid gzip"),
        (gzip.compress(b"{}", mtime=0)[:-4], "gzip", "in the middle"),
        (gzip.compress(b"{}", mtime=0) + b"more", "gzip", "goes on"),
        (b"{}", "br", "'br' is not understood"),
    ],
)
async def test_broken_compression_is_refused(data: bytes, encoding: str, said: str) -> None:
    async with served() as server:
        status, _, body = await post(server, URL, data=data, headers={"Content-Encoding": encoding})
        assert status == 400
        assert said in json.loads(body)["error"]


async def test_a_client_that_stalls_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "STALL_S", 0.1)
    body, header = binary_body()
    async with served() as server:
        answer = await raw(server, request(body[:-4], f"{LENGTH}: {header[LENGTH]}", length=len(body)))
        assert b"408" in answer.splitlines()[0]
        assert b"too slowly" in answer
        assert server.memory.used_bytes == 0


async def test_a_client_that_trickles_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "STALL_S", 0.3)
    monkeypatch.setattr(bodies, "LEAST_BYTES_PER_S", 1e6)

    async def trickle(server: Served) -> bytes:
        host, port = server.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request(b"", length=1000))
        # Read as it comes: who goes on sending to a closing server may lose what it did not read.
        answer = asyncio.create_task(reader.readuntil(b"too slowly"))
        while not answer.done():
            writer.write(b" ")
            await asyncio.sleep(0.05)  # the pace of who trickles
        writer.close()
        return await answer

    async with served() as server, asyncio.timeout(30):
        assert b"408" in (await trickle(server)).splitlines()[0]


async def test_a_client_that_does_not_read_its_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "STALL_S", 0.2)
    large = np.zeros((1024, 1024), np.float32)
    async with served() as server:
        host, port = server.address.split(":")
        _, writer = await asyncio.open_connection(host, int(port), limit=1024)
        head = (
            f"POST /v2/models/large/infer HTTP/1.1\r\nHost: x\r\n{LENGTH}: 0\r\nContent-Length: {large.nbytes}\r\n\r\n"
        )
        for _ in range(4):  # more answers than the two sockets' buffers hold
            writer.write(head.encode() + large.tobytes())
        await until(lambda: server.endpoint.connections == 0)
        assert server.memory.used_bytes == 0
        writer.close()


async def test_requests_that_hold_too_much_together_are_told_to_come_back() -> None:
    tensor = {"name": "x", "datatype": "UINT8", "shape": [3000], "parameters": {"binary_data_size": 3000}}
    head = json.dumps({"inputs": [tensor]}).encode()
    async with served(max_buffered_bytes=4000) as server:
        host, port = server.address.split(":")
        _, holder = await asyncio.open_connection(host, int(port))
        holder.write(request(head + b"." * 2500, f"{LENGTH}: {len(head)}", length=len(head) + 3000))
        await until(lambda: server.memory.used_bytes >= 2500)
        status, headers, answer = await post(server, URL, data=head + b"." * 3000, headers={LENGTH: str(len(head))})
        assert (status, headers["Retry-After"]) == (429, "1")
        assert json.loads(answer)["code"] == "overloaded"
        holder.close()
        await until(lambda: server.memory.used_bytes == 0)
        assert (await post(server, URL, json=json_body()))[0] == 200


async def test_connections_above_the_limit_are_told_so() -> None:
    async with served(max_connections=2) as server:
        held = [await asyncio.open_connection(*server.address.split(":")) for _ in range(2)]
        await until(lambda: server.endpoint.connections >= 2)
        answer = await raw(server, b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"too many HTTP connections" in answer
        for _, writer in held:
            writer.close()
        await until(lambda: server.endpoint.connections == 0)
        assert (await post(server, URL, json=json_body()))[0] == 200


async def test_a_connection_that_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "IDLE_S", 0.1)
    async with served() as server:
        assert await raw(server) == b""
        assert await raw(server, b"GET /v2 HT") == b""


async def test_a_header_must_be_whole_within_seconds_however_it_trickles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "HEADER_S", 0.3)
    async with served() as server:
        host, port = server.address.split(":")
        assert await raw(server) == b""
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /v2 HTTP/1.1\r\nHost: x\r\n")
        closed = asyncio.create_task(reader.read())
        async with asyncio.timeout(30):
            while not closed.done():
                writer.write(b"A: b\r\n")
                await asyncio.sleep(0.02)  # the pace of who trickles
        with contextlib.suppress(ConnectionError):
            assert await closed == b""
        assert server.endpoint.refused == {"http-idle-timeouts": 1, "http-slow-headers": 1}
        assert (await post(server, URL, json=json_body()))[0] == 200


async def test_a_connection_kept_alive_is_closed_when_idle_and_its_second_header_is_watched_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endpoint, "IDLE_S", 0.3)
    monkeypatch.setattr(endpoint, "HEADER_S", 0.3)
    live = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    async with served() as server:
        assert (await raw(server, live)).endswith(b'{"live":true}')
        assert (await raw(server, live, b"GET /v2 HTTP/1.1\r\n")).count(b"200 OK") == 1
        assert (await raw(server, live * 3)).count(b'{"live":true}') == 3


async def test_a_request_that_takes_longer_than_any_header_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "IDLE_S", 0.1)
    monkeypatch.setattr(endpoint, "HEADER_S", 0.1)
    async with served() as server:
        server.models.open.clear()
        waiting = asyncio.create_task(post(server, URL, json=json_body()))
        await server.models.asked.wait()
        for _ in range(2):  # connections that came after it, and said nothing, were closed meanwhile
            assert await raw(server) == b""
        server.models.open.set()
        assert (await waiting)[0] == 200


async def test_one_address_cannot_take_every_place() -> None:
    async with served(max_connections_per_address=2) as server:
        held = [await asyncio.open_connection(*server.address.split(":")) for _ in range(2)]
        await until(lambda: server.endpoint.connections >= 2)
        assert (await raw(server, b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 503")
        assert server.endpoint.refused["http-connections"] == 1
        for _, writer in held:
            writer.close()


async def test_half_open_connections_give_way_to_whoever_comes_and_requests_being_answered_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_guard, "GRACE_S", 0.0)
    async with served(max_connections=2) as server:
        server.models.open.clear()
        waiting = asyncio.create_task(post(server, URL, json=json_body()))
        await server.models.asked.wait()
        for _ in range(5):
            reader, _ = await asyncio.open_connection(*server.address.split(":"))
        await until(lambda: server.endpoint.refused["http-idle-connections"] >= 4)
        server.models.open.set()
        assert (await waiting)[0] == 200
        assert reader


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100,
        b"GET /v2\r\n\r\n",
        b"POST /v2/models/double/infer HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /v2/models/double/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
    ],
)
async def test_what_is_no_http_is_answered_with_400_and_closed(data: bytes) -> None:
    async with served() as server:
        answer = await raw(server, data, end=True)
        assert answer == b"" or b" 400 " in answer.splitlines()[0]
        assert (await post(server, URL, json=json_body()))[0] == 200
        assert X.size
