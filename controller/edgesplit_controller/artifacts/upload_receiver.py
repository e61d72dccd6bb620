"""Receiver of uploads: a model's files, streamed to disk and checked.

Owns: the checked writing of uploads, over whichever server they come. Its rule: what lies under a digest's name hashes to it; an upload
takes its name only once verified; nobody silent is waited for. Not here: what becomes of an upload (`models/intake/`), who may
send one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import tempfile
from pathlib import Path

from aiohttp import web

from edgesplit_controller.storage.write_health import StoreHealth

__all__ = ["UploadReceiver"]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20
STALL_S = 30.0
"""Longest that an upload may stand still. [s]"""


class UploadReceiver:
    """Writes into one folder.

    Args:
        folder: Where; the caller removes uploads once they were used.
        limit: The largest accepted upload. [B]
        writing: Told of uploads that cannot be written.
    """

    def __init__(self, folder: Path, limit: int, writing: StoreHealth | None = None) -> None:
        self._folder = folder
        self._limit = limit
        self._writing = writing

    async def head(self, request: web.Request) -> web.StreamResponse:
        """Answer whether an upload is there."""
        digest = request.match_info["digest"]
        there = _DIGEST.fullmatch(digest) is not None and (self._folder / digest).is_file()
        return web.Response(status=200 if there else 404)

    async def put(self, request: web.Request) -> web.StreamResponse:
        """Take an upload."""
        digest = request.match_info["digest"]
        if _DIGEST.fullmatch(digest) is None:
            return web.Response(status=400, text="an upload's name is its SHA-256 in 64 lower-case hex digits\n")
        if request.content_length is not None and request.content_length > self._limit:
            return web.Response(status=413, text=f"an upload may have at most {self._limit} bytes\n")
        try:
            descriptor, name = tempfile.mkstemp(dir=self._folder, prefix=".incoming-")
        except OSError as error:
            return self._unwritten(error)
        temporary = Path(name)
        try:
            return await self._store(request, descriptor, temporary)
        except TimeoutError:
            return web.Response(status=408, text=f"the upload stood still for {STALL_S:g} s: send it again\n")
        except OSError as error:
            return self._unwritten(error)
        finally:
            with contextlib.suppress(OSError):  # the next start deletes it
                await asyncio.to_thread(temporary.unlink, missing_ok=True)

    async def _store(self, request: web.Request, descriptor: int, temporary: Path) -> web.Response:
        """Write the body to an open file, which takes its name if it holds what that says."""
        digest = request.match_info["digest"]
        received = await self._receive(request, descriptor)
        if received is None:
            return web.Response(status=413, text=f"an upload may have at most {self._limit} bytes\n")
        if received != digest:
            text = f"the upload's bytes hash to {received[:12]}, not to {digest[:12]}: send it again\n"
            return web.Response(status=400, text=text)
        await asyncio.to_thread(temporary.replace, self._folder / digest)
        return web.Response(status=201)

    def _unwritten(self, error: OSError) -> web.Response:
        if self._writing is not None:
            self._writing.failed(error)
        return web.Response(status=507, text=f"the upload cannot be stored: {error.strerror or error}\n")

    async def _receive(self, request: web.Request, descriptor: int) -> str | None:
        """Write the body to an open file; its digest, or None when it is too long."""
        hasher = hashlib.sha256()
        nbytes = 0
        with os.fdopen(descriptor, "wb") as stream:
            while chunk := await self._chunk(request):
                nbytes += len(chunk)
                if nbytes > self._limit:
                    return None
                hasher.update(chunk)
                await asyncio.to_thread(stream.write, chunk)
        return hasher.hexdigest()

    async def _chunk(self, request: web.Request) -> bytes:
        """The next bytes of an upload; none at its end.

        Raises:
            TimeoutError: None came for too long.
        """
        async with asyncio.timeout(STALL_S):
            return await request.content.read(_CHUNK_BYTES)
