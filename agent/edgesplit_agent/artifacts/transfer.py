"""HTTP transfers of blobs: who holds them, how far away they are, and their bytes.

Owns: the client side of the artifact routes. Its rule: nothing a source says is believed; a peer's download ends at
the size its blob has, and bytes count only once they are verified (`verification.py`). Not here: the order of sources
(`sources.py`), the folder and its bookkeeping (`cache.py`), serving (`artifacts/blob_server.py`).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Collection
from pathlib import Path

import msgspec

from edgesplit.errors import ArtifactCorrupt, ArtifactMissing
from edgesplit.late_libraries import aiohttp, imported
from edgesplit.trust.tls import TlsContexts
from edgesplit_agent.artifacts.sources import Source

__all__ = ["Transfers", "size_of"]

CHUNK_BYTES = 1 << 20
STALL_S = 30.0
"""A download that delivers nothing for so long is tried again. [s]"""
ASK_S = 2.0
"""For an answer that is not a blob. [s]"""
MAX_ANSWER_BYTES = 1 << 20
KEPT_S = 1.0
"""An idle connection is kept for the next blob of the same model, and no longer: a source that is trusted no more has no open one. [s]"""


class _HeldBlobs(msgspec.Struct, frozen=True):
    held: frozenset[str]


class Transfers:
    """An HTTP client for blobs; opened when first needed.

    Args:
        contexts: Of a secured fleet: a source that is not who it should be is asked nothing. None: without TLS.
    """

    def __init__(self, contexts: TlsContexts | None = None) -> None:
        self._contexts = contexts
        self._client: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close its connections."""
        if self._client is not None:
            await self._client.close()

    async def held(self, source: Source, digests: Collection[str]) -> frozenset[str]:
        """Which of the blobs a peer says it holds; none where it does not answer in time."""
        body, client = msgspec.json.encode({"digests": sorted(digests)}), await self._session()
        try:
            async with (
                asyncio.timeout(ASK_S),
                client.post(
                    f"{source.url}/blobs/held", data=body, allow_redirects=False, ssl=self._tls(source)
                ) as response,
            ):
                if response.status != 200:
                    return frozenset()
                answer = await response.content.read(MAX_ANSWER_BYTES)
                return msgspec.json.decode(answer, type=_HeldBlobs).held & frozenset(digests)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError):
            return frozenset()

    async def latency_s(self, source: Source, digest: str) -> float | None:
        """Half the round trip of a request on an open connection; None where it does not answer. [s]"""
        client = await self._session()
        try:
            async with asyncio.timeout(ASK_S):
                taken_s: list[float] = []
                for _ in range(2):  # the first one connects
                    started = time.monotonic()
                    url = f"{source.url}/blobs/{digest}"
                    async with client.head(url, allow_redirects=False, ssl=self._tls(source)):
                        taken_s.append(time.monotonic() - started)
                return min(taken_s) / 2
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def unreachable(self, source: Source) -> str:
        """Why a source does not answer; empty where it does, whatever it says."""
        client = await self._session()
        try:
            async with (
                asyncio.timeout(ASK_S),
                client.get(f"{source.url}/healthz", allow_redirects=False, ssl=self._tls(source)),
            ):
                return ""
        except TimeoutError:
            return f"nothing answers within {ASK_S:g} s"
        except (aiohttp.ClientError, OSError) as error:
            return " ".join(str(error).split()) or type(error).__name__

    async def download(self, source: Source, digest: str, partial: Path, nbytes: int | None) -> None:
        """Fetch a blob, or what is missing of it, into its partial file.

        Args:
            source: Who is asked.
            digest: The blob's name.
            partial: Holds what came before.
            nbytes: Of the blob; None where unknown. [B]

        Raises:
            ArtifactMissing: The source does not have it, or has no time.
            ArtifactCorrupt: A peer sends more than the blob has.
            aiohttp.ClientError, TimeoutError, OSError: The download broke off.
        """
        have = size_of(partial) or 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        url = f"{source.url}/blobs/{digest}"
        client = await self._session()
        async with client.get(url, headers=headers, allow_redirects=False, ssl=self._tls(source)) as response:
            if response.status == 416:  # the partial file is as long as the blob, or longer
                await response.read()
            elif response.status not in {200, 206}:
                text = f"{source.name} at {source.url} does not have blob {digest[:12]}: it answers {response.status}"
                raise ArtifactMissing(text)
            else:
                resume = response.status == 206
                # The size is the controller's own word; only a peer could fill the disk with something else.
                room = nbytes - (have if resume else 0) if nbytes is not None and source.is_peer else None
                await _store(response, partial, resume=resume, room_bytes=room)

    def _tls(self, source: Source) -> ssl.SSLContext | bool:
        """How a source must prove who it is."""
        if self._contexts is None:
            return True
        return self._contexts.to_nodes if source.is_peer else self._contexts.to_controller

    async def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            await imported(aiohttp)
        if self._client is None:  # nobody was quicker
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(keepalive_timeout=KEPT_S),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=STALL_S),
                auto_decompress=False,
            )
        return self._client


async def _store(response: aiohttp.ClientResponse, partial: Path, *, resume: bool, room_bytes: int | None) -> None:
    with partial.open("ab" if resume else "wb") as file:
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            if room_bytes is not None:
                room_bytes -= len(chunk)
                if room_bytes < 0:
                    raise ArtifactCorrupt(f"blob {partial.stem[:12]} arrives longer than it is")
            # A slow card must not hold up the event loop.
            await asyncio.to_thread(file.write, chunk)


def size_of(path: Path) -> int | None:
    """Of a file; None where there is none. [B]"""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
