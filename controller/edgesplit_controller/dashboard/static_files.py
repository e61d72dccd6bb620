"""Static files of the dashboard's page, compressed once and kept in memory.

Owns: reading them, their types, and what says that a browser's copy is the same. Its rule: nothing outside the folder is ever read, and
a file that changed on disk is read again. Not here: what the page does.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from edgesplit_controller.dashboard.api_answers import compressed, takes_gzip

__all__ = ["INDEX", "KeptFile", "StaticFiles", "send_kept"]

INDEX = "index.html"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".woff2": "font/woff2",
}
MOST_BYTES = 16 << 20
"""Of one file: nothing of a page is as large."""
LEAST_COMPRESSED_BYTES = 256


@dataclass(frozen=True)
class KeptFile:
    """A file in memory.

    Attributes:
        stamp: Another one whenever it was changed on disk.
        tag: Another one whenever it holds something else.
        packed: In gzip's format; None where that is no smaller.
    """

    stamp: tuple[int, int]
    tag: str
    content_type: str
    plain: bytes
    packed: bytes | None

    @classmethod
    def of(cls, content: bytes, content_type: str, stamp: tuple[int, int] = (0, 0)) -> KeptFile:
        """Compress it; takes some time."""
        packed = compressed(content) if len(content) >= LEAST_COMPRESSED_BYTES else content
        tag = hashlib.sha256(content).hexdigest()[:32]
        return cls(stamp, tag, content_type, content, packed if len(packed) < len(content) else None)


class StaticFiles:
    """Of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._kept: dict[str, KeptFile] = {}

    async def send(self, request: web.Request, name: str) -> web.Response:
        """Answer with a file."""
        kept = await self._file(name)
        if kept is None:
            return web.Response(status=404, text=f"there is no {name[:100]} in this build of the dashboard\n")
        return send_kept(request, kept)

    async def _file(self, name: str) -> KeptFile | None:
        path = self._folder / name
        content_type = _TYPES.get(path.suffix)
        if _NAME.fullmatch(name) is None or content_type is None:
            return None
        try:
            found = path.stat()
            stamp = found.st_mtime_ns, found.st_size
            kept = self._kept.get(name)
            if kept is None or kept.stamp != stamp:
                if not path.resolve().is_relative_to(self._folder) or found.st_size > MOST_BYTES:
                    return None
                kept = self._kept[name] = await asyncio.to_thread(
                    lambda: KeptFile.of(path.read_bytes(), content_type, stamp)
                )
            return kept
        except OSError:
            self._kept.pop(name, None)
            return None


def send_kept(request: web.Request, kept: KeptFile) -> web.Response:
    """Answer with a file, or with a word that the browser's copy is the same."""
    headers = {"Cache-Control": "no-cache", "ETag": f'"{kept.tag}"', "Vary": "Accept-Encoding"}
    if any(tag.value == kept.tag for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    body = kept.plain
    if kept.packed is not None and takes_gzip(request):
        body = kept.packed
        headers["Content-Encoding"] = "gzip"
    charset = None if kept.content_type.startswith("image/") or kept.content_type.startswith("font/") else "utf-8"
    return web.Response(body=body, headers=headers, content_type=kept.content_type, charset=charset)
