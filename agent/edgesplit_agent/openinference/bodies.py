"""Streaming of a request's body: bytes, checked and at a pace, straight into the tensors' memory.

Owns: the reading of a body that may be compressed, and the compressing of an answer. Its rule: no length is believed
before it was compared with the limits, memory is counted as it fills, and a client that does not deliver is not waited
for. Not here: what the bytes mean (`inference_request.py`).
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterable
from typing import Protocol

from edgesplit.errors import InvalidInput
from edgesplit_agent.openinference.failures import BodyTooLarge, BodyTooSlow
from edgesplit_agent.openinference.memory import Account

__all__ = ["Body", "ByteStream", "compressed", "decompressed"]

STALL_S = 20.0
"""Longest without a byte. [s]"""
LEAST_BYTES_PER_S = 16 * 1024
"""Over the whole body, after `STALL_S`; a slower client would hold its memory for too long. [B/s]"""
_STEP_BYTES = 1 << 18
_AUTOMATIC_HEADER = 32 | zlib.MAX_WBITS
"""zlib's own sign for "gzip or zlib, as the data says"."""
_GZIP_HEADER = 16 | zlib.MAX_WBITS


class ByteStream(Protocol):
    """The part of aiohttp's StreamReader that is used."""

    async def readany(self) -> bytes:
        """Some bytes; none at the end."""
        ...


class Body:
    """Reads one body, front to back.

    Args:
        chunks: Its bytes, decompressed.
        account: Told of the memory that fills.
    """

    def __init__(self, chunks: AsyncIterator[bytes], account: Account) -> None:
        self._chunks = chunks
        self._account = account
        self._rest = memoryview(b"")

    async def fill(self, target: memoryview, what: str) -> None:
        """Read exactly as many bytes as the target has.

        Args:
            target: Where they go.
            what: For the message.

        Raises:
            InvalidInput: The body ends before.
            Overloaded: The requests of all clients hold too much.
        """
        missing = target
        while missing:
            if not self._rest and not await self._next():
                got, wanted = target.nbytes - missing.nbytes, target.nbytes
                raise InvalidInput(f"the body ends after {got} of {wanted} B of {what}")
            count = min(len(self._rest), len(missing))
            self._account.take(count)
            missing[:count] = self._rest[:count]
            self._rest, missing = self._rest[count:], missing[count:]

    async def rest(self, limit_bytes: int, what: str) -> bytearray:
        """Read all that is left.

        Raises:
            BodyTooLarge: It is more than the limit.
            Overloaded: As `fill`.
        """
        data = bytearray()
        while self._rest or await self._next():
            if len(data) + len(self._rest) > limit_bytes:
                raise BodyTooLarge(f"{what} takes more than the {limit_bytes} B that this node accepts")
            self._account.take(len(self._rest))
            data += self._rest
            self._rest = memoryview(b"")
        return data

    async def expect_end(self) -> None:
        """Check that nothing is left.

        Raises:
            InvalidInput: Something is.
        """
        if self._rest or await self._next():
            raise InvalidInput("the body is longer than its inputs' binary_data_size together")

    async def _next(self) -> bool:
        chunk = await anext(self._chunks, b"")
        self._rest = memoryview(chunk)
        return bool(chunk)


async def decompressed(stream: ByteStream, encoding: str, expected_bytes: int) -> AsyncIterator[bytes]:
    """A body's bytes as they come, at a pace; in bounded steps, however much a few bytes expand to.

    Args:
        stream: The body as it is on the wire.
        encoding: Of the header `Content-Encoding`: `gzip`, `deflate` or none.
        expected_bytes: How long it can be at most. [B]

    Raises:
        InvalidInput: Unknown encoding, or bytes that are not of it.
        BodyTooSlow: It stalls, or comes slower than `LEAST_BYTES_PER_S`.
    """
    if encoding in {"", "identity"}:
        async for chunk in _paced(stream, expected_bytes):
            yield chunk
        return
    if encoding not in {"gzip", "deflate"}:
        raise InvalidInput(f"Content-Encoding {encoding!r} is not understood here: use gzip, deflate or none")
    inflater = zlib.decompressobj(_AUTOMATIC_HEADER)
    try:
        async for chunk in _paced(stream, expected_bytes):
            rest = chunk
            while rest and not inflater.eof:
                piece = inflater.decompress(rest, _STEP_BYTES)
                rest = inflater.unconsumed_tail
                if piece:
                    yield piece
                await asyncio.sleep(0)  # a few bytes can expand to many steps
            if rest or inflater.unused_data:
                raise InvalidInput("the body goes on after the end of its compressed data")
    except zlib.error as error:
        raise InvalidInput(f"the body is not valid {encoding}: {error}") from None
    if not inflater.eof:
        raise InvalidInput(f"the body ends in the middle of its {encoding} data")


def compressed(parts: Iterable[bytes | memoryview], encoding: str) -> list[bytes]:
    """Compress an answer; blocking, for a thread (zlib lets other threads run meanwhile).

    Args:
        parts: Of the answer, in order.
        encoding: `gzip` or `deflate`.
    """
    # The fastest level: tensors of floats hardly shrink, whatever the effort.
    deflater = zlib.compressobj(1, wbits=_GZIP_HEADER if encoding == "gzip" else zlib.MAX_WBITS)
    pieces: list[bytes] = []
    for part in parts:
        view = memoryview(part)
        pieces += [deflater.compress(view[start : start + _STEP_BYTES]) for start in range(0, view.nbytes, _STEP_BYTES)]
    return [piece for piece in (*pieces, deflater.flush()) if piece]


async def _paced(stream: ByteStream, expected_bytes: int) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + STALL_S + expected_bytes / LEAST_BYTES_PER_S
    received = 0
    while True:
        try:
            async with asyncio.timeout_at(min(loop.time() + STALL_S, ends_at)):
                chunk = await stream.readany()
        except TimeoutError:
            raise BodyTooSlow(f"the body came too slowly: {received} B so far, nothing for a while") from None
        if not chunk:
            return
        received += len(chunk)
        yield chunk
