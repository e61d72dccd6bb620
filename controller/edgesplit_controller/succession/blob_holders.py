"""Fetching of blobs from nodes: how a controller gets back what it gave them once.

Owns: the asking of nodes. Its rule: nothing a node sends is believed: a blob counts once its bytes hash to its name. Not here: which
blobs are wanted (`takeover.py`), which nodes there are (`candidacy.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

import aiohttp
import msgspec
import structlog

from edgesplit.control.registration_messages import NodeStatus
from edgesplit_controller.graph.blobs import BlobStore

__all__ = ["BlobHolders"]

ASK_S = 3.0
STALL_S = 30.0
CHUNK_BYTES = 1 << 20
ASKED_AT_A_TIME = 1_000
"""Digests in one question; a node refuses ten times as many."""
MOST_BYTES = 64 << 30
"""Of a blob whose size nobody says: an upload has no more. [B]"""


class _Held(msgspec.Struct, frozen=True):
    held: tuple[str, ...]


class BlobHolders:
    """Asks nodes for blobs.

    Args:
        blobs: Where they go.
        tls: Of a secured fleet: who is no node of it is asked nothing; None: without TLS.
    """

    def __init__(self, blobs: BlobStore, tls: ssl.SSLContext | None = None) -> None:
        self._blobs = blobs
        self._tls: ssl.SSLContext | bool = True if tls is None else tls
        self._scheme = "http" if tls is None else "https"
        self._log = structlog.get_logger(part="succession")

    async def fetch(self, wanted: Mapping[str, int | None], nodes: Iterable[NodeStatus]) -> frozenset[str]:
        """Fetch what is not here yet from whoever has it.

        Args:
            wanted: Digest to size; None where that is not known. [B]
            nodes: Whom to ask, in this order.

        Returns:
            What nobody had.

        Raises:
            StoreUnwritable: The store takes no more.
        """
        missing = {digest for digest in wanted if not self._blobs.has(digest)}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=ASK_S, sock_read=STALL_S)
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
            for node in nodes:
                if not missing:
                    break
                for digest in await self._held(session, node, sorted(missing)):
                    if digest in missing and await self._fetched(session, node, digest, wanted[digest]):
                        missing.discard(digest)
        return frozenset(missing)

    async def _held(self, session: aiohttp.ClientSession, node: NodeStatus, digests: Sequence[str]) -> list[str]:
        """Which of the blobs a node says it holds; none where it does not answer in time."""
        held: list[str] = []
        for first in range(0, len(digests), ASKED_AT_A_TIME):
            question = msgspec.json.encode({"digests": digests[first : first + ASKED_AT_A_TIME]})
            try:
                async with (
                    asyncio.timeout(ASK_S),
                    session.post(
                        f"{self._scheme}://{node.http}/blobs/held", data=question, allow_redirects=False, ssl=self._tls
                    ) as response,
                ):
                    if response.status != 200:
                        return held
                    held += msgspec.json.decode(await response.content.read(CHUNK_BYTES), type=_Held).held
            except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
                self._log.debug("node-not-asked", node=node.node, reason=str(error) or type(error).__name__)
                return held
        return held

    async def _fetched(self, session: aiohttp.ClientSession, node: NodeStatus, digest: str, nbytes: int | None) -> bool:
        """Whether a blob came whole; it is stored then."""
        limit = MOST_BYTES if nbytes is None else nbytes
        try:
            async with session.get(
                f"{self._scheme}://{node.http}/blobs/{digest}", allow_redirects=False, ssl=self._tls
            ) as response:
                if response.status != 200:
                    return False
                stored = await self._stored(response.content.iter_chunked(CHUNK_BYTES), digest, limit)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._log.warning("blob-not-fetched", node=node.node, digest=digest, reason=str(error))
            return False
        if not stored:
            self._log.error("node-sent-wrong-bytes", node=node.node, digest=digest)
        return stored

    async def _stored(self, chunks: AsyncIterator[bytes], digest: str, limit: int) -> bool:
        """Keep what arrives if it is what was asked for; it is held in memory until that is known."""
        hasher, taken, parts = hashlib.sha256(), 0, list[bytes]()
        async for chunk in chunks:
            taken += len(chunk)
            if taken > limit:
                return False
            hasher.update(chunk)
            parts.append(chunk)
        if hasher.hexdigest() != digest:
            return False
        await asyncio.to_thread(self._blobs.put_chunks, parts)
        return True
