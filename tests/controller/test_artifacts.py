"""Blobs out, verified uploads in."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from edgesplit.daemon.http_guard import GuardLimits
from edgesplit.errors import InvalidConfiguration
from edgesplit_controller.artifacts import artifact_server, upload_receiver
from edgesplit_controller.artifacts.artifact_server import ArtifactServer
from edgesplit_controller.artifacts.upload_receiver import UploadReceiver
from edgesplit_controller.graph.blobs import BlobStore

CONTENT = bytes(range(256)) * 40
LIMIT = 1 << 20


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[str, BlobStore, Path]]:
    blobs, uploads = BlobStore(tmp_path / "blobs"), tmp_path / "uploads"
    uploads.mkdir()
    running = ArtifactServer(
        blobs, UploadReceiver(uploads, LIMIT), metrics=lambda: b"up 1\n", health=lambda: (True, "ok")
    )
    yield f"http://{await running.start('127.0.0.1', 0)}", blobs, uploads
    await running.close()


async def test_blobs_are_served_whole_and_in_ranges(
    server: tuple[str, BlobStore, Path], caplog: pytest.LogCaptureFixture
) -> None:
    base, blobs, _ = server
    digest = blobs.put(CONTENT)
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{base}/blobs/{digest}") as response:
            assert (response.status, await response.read()) == (200, CONTENT)
        async with session.get(f"{base}/blobs/{digest}", headers={"Range": "bytes=100-"}) as response:
            assert (response.status, await response.read()) == (206, CONTENT[100:])
        async with session.head(f"{base}/blobs/{digest}") as response:
            assert (response.status, response.headers["Content-Length"]) == (200, str(len(CONTENT)))
        for unknown in ("0" * 64, "..%2F..%2Fetc%2Fpasswd"):
            async with session.get(f"{base}/blobs/{unknown}") as response:
                assert response.status == 404
    assert not caplog.records  # what fails after the body was sent is only told there


async def test_an_upload_is_kept_only_if_it_is_what_its_name_says(server: tuple[str, BlobStore, Path]) -> None:
    base, _, uploads = server
    digest = hashlib.sha256(CONTENT).hexdigest()
    async with aiohttp.ClientSession() as session:
        async with session.head(f"{base}/uploads/{digest}") as response:
            assert response.status == 404
        async with session.put(f"{base}/uploads/{digest}", data=CONTENT + b"x") as response:
            assert response.status == 400
            assert "send it again" in await response.text()
        async with session.put(f"{base}/uploads/short", data=CONTENT) as response:
            assert response.status == 400
        async with session.put(f"{base}/uploads/{digest}", data=b"0" * (LIMIT + 1)) as response:
            assert response.status == 413
        assert list(uploads.iterdir()) == []
        async with session.put(f"{base}/uploads/{digest}", data=CONTENT) as response:
            assert response.status == 201
        async with session.head(f"{base}/uploads/{digest}") as response:
            assert response.status == 200
    assert (uploads / digest).read_bytes() == CONTENT


async def test_metrics_and_health(server: tuple[str, BlobStore, Path]) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{server[0]}/metrics") as response:
            assert await response.text() == "up 1\n"
        async with session.get(f"{server[0]}/health") as response:
            assert response.status == 200


async def test_a_used_port_is_one_sentence(server: tuple[str, BlobStore, Path]) -> None:
    base, blobs, uploads = server
    second = ArtifactServer(blobs, UploadReceiver(uploads, LIMIT), metrics=lambda: b"", health=lambda: (True, ""))
    with pytest.raises(InvalidConfiguration, match="cannot be used"):
        await second.start("127.0.0.1", int(base.rsplit(":", 1)[1]))


async def test_the_controllers_http_bounds_strangers_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact_server, "LIMITS", GuardLimits(4, 2, header_s=0.2, idle_s=1.0))
    monkeypatch.setattr(upload_receiver, "STALL_S", 0.2)
    (tmp_path / "uploads").mkdir()
    running = ArtifactServer(
        BlobStore(tmp_path / "blobs"),
        UploadReceiver(tmp_path / "uploads", LIMIT),
        metrics=lambda: b"up 1\n",
        health=lambda: (True, "ok"),
    )
    host, port = (await running.start("127.0.0.1", 0)).split(":")
    upload = f"PUT /uploads/{'0' * 64} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n".encode()
    for said, answered in ((b"", b""), (b"GET /health HT", b""), (upload + b"half", b" 408 ")):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(said)
        async with asyncio.timeout(30):
            answer = await reader.read()
        assert answered in answer
        assert bool(answered) == bool(answer)
        writer.close()
    assert not [left for left in (tmp_path / "uploads").iterdir() if left.name.startswith(".incoming-")]
    async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}/metrics") as response:
        page = await response.text()
    assert page.startswith("up 1\n")
    assert 'edgesplit_limited_total{kind="http-idle-timeouts"} ' in page
    assert 'edgesplit_limited_total{kind="http-slow-headers"} 1' in page
    await running.close()
