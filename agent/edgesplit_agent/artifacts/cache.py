"""Blobs in a folder: fetched from the nearest peer that has them or the controller, verified, kept within a limit.

Owns: the cache folder, and whom it trusts. Its rule: a file under its digest's name holds exactly those bytes; what is
still being fetched is called `DIGEST.part`; a peer that sent wrong bytes is not asked again. Not here: what the blobs
mean (`compute/sessions.py`, `profiling/profiler.py`), the order of sources (`sources.py`), HTTP (`transfer.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import structlog

from edgesplit.errors import ArtifactCorrupt, ArtifactError, ArtifactMissing
from edgesplit_agent.artifacts.sources import CONTROLLER, Source, in_order
from edgesplit_agent.artifacts.transfer import Transfers, adopt, size_of

__all__ = ["BlobCache"]

TRIES = 3
FIRST_PAUSE_S = 0.3
PARALLEL_FETCHES = 4
LATENCY_HOLDS_S = 60.0
"""How long the measured way to the controller is believed. [s]"""
_UNKNOWN = "whoever filled the partial file before"


class BlobCache:
    """A folder of blobs named by SHA-256.

    Args:
        folder: Made if absent.
        limit_bytes: Least recently used blobs above it are removed by `prune`. [B]
        base_url: Asked for the artifact server's address at every fetch; empty while no controller is known.
        peers: Asked for the nodes that may have blobs, nearest first.
        on_fetched: Told the source's name and the bytes of every blob that arrived.
    """

    def __init__(
        self,
        folder: Path,
        limit_bytes: int,
        base_url: Callable[[], str],
        peers: Callable[[], Sequence[Source]] = tuple,
        on_fetched: Callable[[str, int], None] = lambda _name, _nbytes: None,
    ) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._base_url = base_url
        self._users: Counter[str] = Counter()
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(PARALLEL_FETCHES)
        self._peers = peers
        self._on_fetched = on_fetched
        self._liars: set[str] = set()
        self._contributors: dict[str, set[str]] = {}
        self._controller_latency_s: tuple[float, str, float | None] = (float("-inf"), "", None)
        self._transfers = Transfers()
        self._log = structlog.get_logger(part="artifacts")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtifactError(f"cache folder {folder} cannot be made ({error.strerror}): set [cache] path") from error

    def path(self, digest: str) -> Path:
        """Where a blob lies or would lie."""
        return self.folder / digest

    @asynccontextmanager
    async def held(self, digests: Iterable[str], sizes: Mapping[str, int] | None = None) -> AsyncGenerator[None]:
        """Fetch blobs and keep them from being pruned inside the block; arguments as of `fetch`."""
        names = set(digests)
        self.hold(names)
        try:
            await self.fetch(names, sizes)
            yield
        finally:
            self.drop(names)

    def hold(self, digests: Iterable[str]) -> None:
        """Keep blobs from being pruned until as many `drop`s."""
        self._users.update(set(digests))

    def drop(self, digests: Iterable[str]) -> None:
        """Undo one `hold`."""
        self._users.subtract(set(digests))

    async def fetch(self, digests: Iterable[str], sizes: Mapping[str, int] | None = None) -> None:
        """Have all blobs in the folder.

        Args:
            digests: Their names.
            sizes: Bytes of those whose size is known; only these are taken from peers. [B]

        Raises:
            ArtifactMissing: Nobody who was asked has one, or nobody answers.
            ArtifactCorrupt: One arrived with other bytes than its name says, several times.
        """
        missing = [digest for digest in sorted(set(digests)) if not self._touched(digest)]
        if not missing:
            return
        sizes = sizes or {}
        holders = await self._survey(
            [digest for digest in missing if digest in sizes and digest not in self._under_way]
        )
        await asyncio.gather(*(self._fetch_shared(digest, sizes.get(digest), holders) for digest in missing))
        self.prune()

    def _touched(self, digest: str) -> bool:
        """Whether the blob is there; noted as used now."""
        try:
            os.utime(self.path(digest))
        except FileNotFoundError:
            return False
        return True

    # --- who has what ----------------------------------------------------------------------------------------------

    async def _survey(self, digests: Sequence[str]) -> dict[Source, frozenset[str]]:
        """Whom to ask for which of the blobs, in order; the controller is expected to have all."""
        controller = self._controller()
        peers = [peer for peer in self._peers() if peer.name not in self._liars]
        if not digests or not peers:
            return {} if controller is None else {controller: frozenset(digests)}
        if controller is not None:
            controller = replace(controller, latency_s=await self._measured_latency_s(controller, digests[0]))
        order = in_order(peers, controller)
        held = await asyncio.gather(
            *(self._transfers.held(source, digests) if source.is_peer else _all(digests) for source in order)
        )
        return dict(zip(order, held, strict=True))

    def _controller(self) -> Source | None:
        base = self._base_url()
        return Source(CONTROLLER, base, is_peer=False) if base else None

    async def _measured_latency_s(self, controller: Source, digest: str) -> float | None:
        at_s, url, latency_s = self._controller_latency_s
        if url != controller.url or time.monotonic() - at_s > LATENCY_HOLDS_S:
            latency_s = await self._transfers.latency_s(controller, digest)
            self._controller_latency_s = (time.monotonic(), controller.url, latency_s)
        return latency_s

    # --- one blob --------------------------------------------------------------------------------------------------

    async def _fetch_shared(self, digest: str, nbytes: int | None, holders: Mapping[Source, frozenset[str]]) -> None:
        if self._touched(digest):
            return  # somebody else's download ended meanwhile
        if digest not in self._under_way:
            peers = [source for source, held in holders.items() if source.is_peer and digest in held]
            order = [source for source in holders if source in peers or not source.is_peer]
            task = asyncio.create_task(self._fetch(digest, nbytes, order))
            task.add_done_callback(lambda _: self._under_way.pop(digest, None))
            self._under_way[digest] = task
        # One who gives up waiting must not take the download from the others.
        await asyncio.shield(self._under_way[digest])

    async def _fetch(self, digest: str, nbytes: int | None, order: Sequence[Source]) -> None:
        failure: ArtifactError | None = None
        for source in order:
            try:
                await self._fetch_from(source, digest, nbytes)
            except ArtifactError as error:
                failure = error
                self._log.warning("source-failed", digest=digest, source=source.name, error=str(error))
            else:
                self._on_fetched(source.name, size_of(self.path(digest)) or 0)
                return
        raise failure or ArtifactMissing(
            f"blob {digest[:12]} is not in the cache, no controller is known and no peer has it: start one"
        )

    async def _fetch_from(self, source: Source, digest: str, nbytes: int | None) -> None:
        """One source; the controller, which must have the blob, several times."""
        pause_s = FIRST_PAUSE_S
        for attempt in range(1, TRIES + 1):
            try:
                async with self._slots:
                    await self._attempt(source, digest, nbytes)
                return
            except ArtifactError as error:
                failure = error
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                cause = error or type(error).__name__
                failure = ArtifactMissing(f"blob {digest[:12]} cannot be fetched from {source.url}: {cause}")
                failure.__cause__ = error
            if attempt == TRIES or source.is_peer:
                raise failure
            self._log.warning("fetch-retried", digest=digest, attempt=attempt, error=str(failure))
            await asyncio.sleep(pause_s)
            pause_s *= 2
            source = self._controller() or source  # it may have moved

    async def _attempt(self, source: Source, digest: str, nbytes: int | None) -> None:
        partial = self.folder / f"{digest}.part"
        before = size_of(partial)
        suspects = self._contributors.setdefault(digest, {_UNKNOWN} if before is not None else set())
        try:
            await self._transfers.download(source, digest, partial, nbytes)
            await asyncio.to_thread(adopt, partial, self.path(digest), digest)
        except ArtifactCorrupt:
            partial.unlink(missing_ok=True)
            del self._contributors[digest]
            if suspects <= {source.name}:
                self._distrust({source.name}, digest)
                raise
            # Several filled it. Alone, this one shows whether it was honest, and if so, who was not.
            await self._attempt(source, digest, nbytes)
            self._distrust(suspects - {source.name}, digest)
        finally:
            if digest in self._contributors and size_of(partial) not in {before, None}:
                self._contributors[digest].add(source.name)
        self._contributors.pop(digest, None)

    def _distrust(self, names: set[str], digest: str) -> None:
        """Never ask the one peer again that sent wrong bytes; of several, nobody knows which."""
        if len(names) == 1 and not names & {CONTROLLER, _UNKNOWN}:
            (name,) = names
            self._liars.add(name)
            self._log.error("peer-sent-wrong-bytes", peer=name, digest=digest, text="it is not asked for blobs again")

    # --- the folder ------------------------------------------------------------------------------------------------

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
        await self._transfers.close()


async def _all(digests: Sequence[str]) -> frozenset[str]:
    return frozenset(digests)
