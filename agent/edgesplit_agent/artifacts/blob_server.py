"""Blob server: what this node holds and has verified, read-only for other nodes.

Owns: the artifact routes of an agent's HTTP endpoint. Its rule: only whole, verified blobs are shown, by their name
alone; few leave at a time and none slowly for ever, for a node's own work comes first. Not here: fetching
(`transfer.py`).

    POST      /blobs/held        {"digests": [...]} -> {"held": [...]}
    GET, HEAD /blobs/DIGEST      with Range
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest

from edgesplit.daemon.http_guard import sent_in_time

__all__ = ["BlobServer"]

UPLOADS = 4
"""Blobs that leave at a time; whoever comes then asks the next source."""
STALL_S = 30.0
LEAST_BYTES_PER_S = 64 * 1024
"""A slower receiver is cut off; it goes on where it stood. [B/s]"""
MAX_QUESTION_BYTES = 1 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


class _Question(msgspec.Struct, frozen=True):
    digests: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=64)], ...], msgspec.Meta(max_length=10_000)]


class BlobServer:
    """Serves the cache's folder.

    Args:
        folder: A file in it under a digest's name holds exactly those bytes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._leaving = 0

    def routes(self) -> list[web.RouteDef]:
        """For the application."""
        return [web.post("/blobs/held", self._held), web.get("/blobs/{digest}", self._blob)]

    async def _held(self, request: web.Request) -> web.Response:
        body = bytearray()
        async with asyncio.timeout(STALL_S):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > MAX_QUESTION_BYTES:
                    return web.Response(status=413, text="too many digests at a time\n")
        try:
            question = msgspec.json.decode(body, type=_Question)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return web.Response(status=400, text=f"not a list of digests: {error}\n")
        held = await asyncio.to_thread(self._present, question.digests)
        return web.Response(body=msgspec.json.encode({"held": held}), content_type="application/json")

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        digest = request.match_info["digest"]
        path = self._folder / digest
        if _DIGEST.fullmatch(digest) is None or not path.is_file():
            return web.Response(status=404, text="this node does not hold that blob\n")
        if request.method != "HEAD" and self._leaving >= UPLOADS:
            return web.Response(status=503, text="enough blobs leave this node at the moment\n")
        try:
            limit_s = STALL_S + path.stat().st_size / LEAST_BYTES_PER_S
        except FileNotFoundError:
            return web.Response(status=404, text="this node does not hold that blob any more\n")
        return _LeavingBlob(path, limit_s, self._one_leaves)

    @contextmanager
    def _one_leaves(self) -> Generator[None]:
        self._leaving += 1
        try:
            yield
        finally:
            self._leaving -= 1

    def _present(self, digests: tuple[str, ...]) -> list[str]:
        return [digest for digest in digests if _DIGEST.fullmatch(digest) and (self._folder / digest).is_file()]


class _LeavingBlob(web.FileResponse):
    """A file that its receiver has to have taken in time, and that is counted while it leaves."""

    def __init__(self, path: Path, limit_s: float, leaving: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__(path, headers={"Content-Type": "application/octet-stream"})
        self._limit_s = limit_s
        self._in_flight = leaving

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Send it; aiohttp calls this once a handler has returned, and only once may it be called."""
        with self._in_flight():
            return await sent_in_time(super().prepare(request), lambda: request.transport, self._limit_s)
