"""Blobs out, verified uploads in."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from edgesplit.errors import InvalidConfiguration
from edgesplit_controller.artifacts import ArtifactServer
from edgesplit_controller.graph.blobs import BlobStore

CONTENT = bytes(range(256)) * 40
LIMIT = 1 << 20


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[str, BlobStore, Path]]:
    blobs, uploads = BlobStore(tmp_path / "blobs"), tmp_path / "uploads"
    uploads.mkdir()
    running = ArtifactServer(
        blobs, uploads, metrics=lambda: b"up 1\n", health=lambda: (True, "ok"), max_upload_bytes=LIMIT
    )
    port = await running.start("127.0.0.1", 0)
    yield f"http://127.0.0.1:{port}", blobs, uploads
    await running.close()


async def test_blobs_are_served_whole_and_in_ranges(server: tuple[str, BlobStore, Path]) -> None:
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
    second = ArtifactServer(blobs, uploads, metrics=lambda: b"", health=lambda: (True, ""), max_upload_bytes=LIMIT)
    with pytest.raises(InvalidConfiguration, match="cannot be used"):
        await second.start("127.0.0.1", int(base.rsplit(":", 1)[1]))
