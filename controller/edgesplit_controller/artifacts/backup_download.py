"""Download of a backup: the archive is made while it is sent.

Owns: the order of its bytes. Its rule: a snapshot is sent once and goes then, whatever came of it; a receiver that takes
nothing for too long is cut off. Not here: the archive's form (`edgesplit.backup_archive`), who may have one
(`artifacts/trust_routes.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from edgesplit.backup_archive import END, member_head, padding
from edgesplit_controller.storage.backup_snapshots import BackupSnapshots, Snapshot

__all__ = ["send_backup"]

_CHUNK_BYTES = 1 << 20
STALL_S = 30.0
"""Longest that a receiver may take nothing. [s]"""


async def send_backup(request: web.Request, snapshots: BackupSnapshots) -> web.StreamResponse:
    """Answer a request for a backup by its ticket."""
    snapshot = snapshots.take(request.match_info["ticket"])
    if snapshot is None:
        return web.Response(status=404, text="there is no such backup, or no longer: run splitctl backup again\n")
    response = web.StreamResponse(headers={"Content-Type": "application/x-tar"})
    response.content_length = await asyncio.to_thread(lambda: snapshot.nbytes)
    try:
        await response.prepare(request)
        chunks = _chunks(snapshot)
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            async with asyncio.timeout(STALL_S):
                await response.write(chunk)
        await response.write_eof()
    except (TimeoutError, ConnectionError):
        if request.transport is not None:
            request.transport.abort()  # so that nobody takes half an archive for a whole one
    finally:
        await asyncio.to_thread(snapshots.drop, snapshot)
    return response


def _chunks(snapshot: Snapshot) -> Iterator[bytes]:
    """The archive's bytes."""
    for name, nbytes in snapshot.files:
        yield member_head(name, nbytes, snapshot.manifest.made_unix_s)
        yield from _file(snapshot.folder / name)
        yield padding(nbytes)
    yield END


def _file(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk
