"""A file as an HTTP response that does not leave slowly for ever.

Owns: the limit on its time, and what a receiver that goes away is. Its rule: it is sent when aiohttp asks for it, once a handler has returned it,
and only then, for a file that is sent twice is an error of its own. Not here: which file, who may have it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest

__all__ = ["BlobResponse"]


class BlobResponse(web.FileResponse):
    """A file that its receiver has to have taken in time.

    Args:
        path: It.
        limit_s: After which the receiver is cut off. [s]
        leaving: Entered while it leaves.
    """

    def __init__(
        self, path: Path, limit_s: float, leaving: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        super().__init__(path, headers={"Content-Type": "application/octet-stream"})
        self._limit_s = limit_s
        self._in_flight = leaving

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Send it; aiohttp calls this, and takes a `ConnectionError` for a receiver that went away."""
        with self._in_flight():
            try:
                async with asyncio.timeout(self._limit_s):
                    return await super().prepare(request)
            except TimeoutError:
                if request.transport is not None:
                    request.transport.abort()
                raise ConnectionResetError("the receiver of a blob is too slow") from None
            except AssertionError:
                if request.transport is not None:
                    raise
                raise ConnectionResetError("the receiver of a blob went away") from None
