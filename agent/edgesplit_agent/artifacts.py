"""Blobs from the controller's artifact server, kept in a folder and verified.

Owns: the cache folder. Its rule: a file under its digest's name holds exactly those bytes; what is still being
fetched is called `DIGEST.part`. Not here: what the blobs mean (`sessions.py`, `profiling.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import structlog

from edgesplit.errors import ArtifactCorrupt, ArtifactError, ArtifactMissing

__all__ = ["BlobCache"]

TRIES = 3
FIRST_PAUSE_S = 0.3
CHUNK_BYTES = 1 << 20
PARALLEL_FETCHES = 4
STALL_S = 30.0
"""A download that delivers nothing for so long is tried again. [s]"""


class BlobCache:
    """A folder of blobs named by SHA-256.

    Args:
        folder: Made if absent.
        limit_bytes: Least recently used blobs above it are removed by `prune`. [B]
        base_url: Asked for the artifact server's address at every fetch; empty while no controller is known.
    """

    def __init__(self, folder: Path, limit_bytes: int, base_url: Callable[[], str]) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._base_url = base_url
        self._users: Counter[str] = Counter()
        self._under_way: dict[str, asyncio.Task[Path]] = {}
        self._slots = asyncio.Semaphore(PARALLEL_FETCHES)
        self._client: aiohttp.ClientSession | None = None
        self._log = structlog.get_logger(part="artifacts")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtifactError(f"cache folder {folder} cannot be made ({error.strerror}): set [cache] path") from error

    def path(self, digest: str) -> Path:
        """Where a blob lies or would lie."""
        return self.folder / digest

    @asynccontextmanager
    async def held(self, digests: Iterable[str]) -> AsyncGenerator[None]:
        """Fetch blobs and keep them from being pruned inside the block."""
        names = set(digests)
        self.hold(names)
        try:
            await self.fetch(names)
            yield
        finally:
            self.drop(names)

    def hold(self, digests: Iterable[str]) -> None:
        """Keep blobs from being pruned until as many `drop`s."""
        self._users.update(set(digests))

    def drop(self, digests: Iterable[str]) -> None:
        """Undo one `hold`."""
        self._users.subtract(set(digests))

    async def fetch(self, digests: Iterable[str]) -> None:
        """Have all blobs in the folder.

        Raises:
            ArtifactMissing: The controller does not have one, or does not answer.
            ArtifactCorrupt: One arrived with other bytes than its name says, several times.
        """
        await asyncio.gather(*(self._fetch_shared(digest) for digest in sorted(set(digests))))

    async def _fetch_shared(self, digest: str) -> Path:
        path = self.path(digest)
        if path.exists():
            os.utime(path)
            return path
        if digest not in self._under_way:
            task = asyncio.create_task(self._fetch_with_retries(digest))
            task.add_done_callback(lambda _: self._under_way.pop(digest, None))
            self._under_way[digest] = task
        # One who gives up waiting must not take the download from the others.
        return await asyncio.shield(self._under_way[digest])

    async def _fetch_with_retries(self, digest: str) -> Path:
        pause_s = FIRST_PAUSE_S
        attempt = 0
        while True:
            attempt += 1
            try:
                async with self._slots:
                    return await self._fetch_once(digest)
            except ArtifactError as error:
                failure = error
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                failure = ArtifactMissing(
                    f"blob {digest[:12]} cannot be fetched from {self._base_url()}: {error or type(error).__name__}"
                )
                failure.__cause__ = error
            if attempt == TRIES:
                raise failure
            self._log.warning("fetch-retried", digest=digest, attempt=attempt, error=str(failure))
            await asyncio.sleep(pause_s)
            pause_s *= 2

    async def _fetch_once(self, digest: str) -> Path:
        base = self._base_url()
        if not base:
            raise ArtifactMissing(f"blob {digest[:12]} is not in the cache and no controller is known: start one")
        partial = self.folder / f"{digest}.part"
        have = partial.stat().st_size if partial.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        async with self._session().get(f"{base}/blobs/{digest}", headers=headers) as response:
            if response.status == 416:  # the partial file is as long as the blob, or longer
                await response.read()
            elif response.status not in {200, 206}:
                raise ArtifactMissing(f"{base} does not have blob {digest[:12]}: it answers {response.status}")
            else:
                await self._store(response, partial, resume=response.status == 206)
        return await asyncio.to_thread(_adopt, partial, self.path(digest), digest)

    async def _store(self, response: aiohttp.ClientResponse, partial: Path, *, resume: bool) -> None:
        with partial.open("ab" if resume else "wb") as file:
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                file.write(chunk)

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=STALL_S), auto_decompress=False
            )
        return self._client

    def prune(self) -> list[str]:
        """Remove least recently used blobs above the limit, never one that is held; returns their digests."""
        files = [(path, path.stat()) for path in self.folder.iterdir() if path.is_file()]
        blobs = [(path, info) for path, info in files if len(path.stem) == hashlib.sha256().digest_size * 2]
        total = sum(info.st_size for _, info in blobs)
        removed: list[str] = []
        for path, info in sorted(blobs, key=lambda blob: blob[1].st_mtime_ns):
            if total <= self.limit_bytes:
                break
            if self._users[path.stem] > 0 or path.stem in self._under_way:
                continue
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            total -= info.st_size
            removed.append(path.name)
        return removed

    async def close(self) -> None:
        """End downloads; partial files stay and are resumed next time."""
        for task in list(self._under_way.values()):
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        if self._client is not None:
            await self._client.close()


def _adopt(partial: Path, path: Path, digest: str) -> Path:
    """Give a complete download its final name, once its bytes are what they should be."""
    with partial.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    if actual != digest:
        partial.unlink()
        raise ArtifactCorrupt(f"blob {digest[:12]} arrived with other bytes than its name says ({actual[:12]})")
    partial.replace(path)
    return path
