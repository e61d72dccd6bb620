"""Answers of the dashboard's HTTP interface in JSON: documents, and errors as `splitctl --json` prints them."""

from __future__ import annotations

import asyncio
import zlib
from http import HTTPStatus

import msgspec
from aiohttp import web

from edgesplit.errors import EdgesplitError, InvalidInput

__all__ = ["answered", "body_of", "compressed", "failed", "takes_gzip"]

BODY_S = 10.0
"""For the body of a question to come. [s]"""
_CHUNK_BYTES = 64 << 10
_GZIP_BITS = 31
"""zlib's word for gzip's format."""


def answered(document: object) -> web.Response:
    """A document."""
    return web.Response(body=msgspec.json.encode(document), content_type="application/json", headers=_KEPT_NOWHERE)


def failed(error: EdgesplitError, status: HTTPStatus) -> web.Response:
    """An error."""
    document = {"error": {"code": error.code, "message": str(error)}}
    return web.Response(
        body=msgspec.json.encode(document), status=status, content_type="application/json", headers=_KEPT_NOWHERE
    )


_KEPT_NOWHERE = {"Cache-Control": "no-store"}


async def body_of(request: web.Request, most_bytes: int) -> bytes:
    """What a request brings, within limits.

    Raises:
        InvalidInput: It is too long, or does not come in time.
    """
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            while chunk := await request.content.read(_CHUNK_BYTES):
                content += chunk
                if len(content) > most_bytes:
                    raise InvalidInput(f"what is asked here has at most {most_bytes} bytes")
    except TimeoutError:
        raise InvalidInput("what is asked did not come in time") from None
    return bytes(content)


def takes_gzip(request: web.Request) -> bool:
    """Whether whoever asks reads gzip."""
    return "gzip" in request.headers.get("Accept-Encoding", "")


def compressed(content: bytes) -> bytes:
    """In gzip's format, as small as it gets; takes some time."""
    packer = zlib.compressobj(9, zlib.DEFLATED, _GZIP_BITS)
    return packer.compress(content) + packer.flush()
