"""Blob cache: a folder of blobs by SHA-256, fetched from the nearest holder, verified, evicted least recently used.

Owns: the cache folder, and whom it trusts. Its rule: a file under its digest's name holds exactly those bytes; what is
still being fetched is called `DIGEST.part`; a peer that sent wrong bytes is not asked again; what another agent that
shares the folder uses stays. Not here: what the blobs mean (`compute/session_pool.py`, `profiling/profiler.py`), the order
of sources (`sources.py`), HTTP (`transfer.py`), locks (`artifacts/cache_locks.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import re
import secrets
import shutil
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog

from edgesplit.errors import ArtifactCorrupt, ArtifactError, ArtifactMissing, CacheUnwritable
from edgesplit.late_libraries import aiohttp
from edgesplit.retrying import Retry, RetryRule, retry_after
from edgesplit.trust.tls import TlsContexts
from edgesplit_agent.artifacts.cache_locks import Leases, claimed, folder_lock, is_claimed
from edgesplit_agent.artifacts.sources import CONTROLLER, Source, in_order
from edgesplit_agent.artifacts.transfer import Transfers, size_of
from edgesplit_agent.artifacts.verification import adopt_verified

__all__ = ["BlobCache"]

TRIES = 3
FIRST_PAUSE_S = 0.3
PARALLEL_FETCHES = 4
LATENCY_HOLDS_S = 60.0
"""How long the measured way to the controller is believed. [s]"""
_UNKNOWN = "whoever filled the partial file before"
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})
_ROOM_BYTES = 1 << 20
"""More free than when a blob found no room: worth a try. [B]"""
_GONE = ".gone-"
_BLOB = re.compile(r"[0-9a-f]{64}")
"""Names of blobs, and the beginning of the names of what is made or being made of them; other files may have names as long."""


class BlobCache:
    """A folder of blobs named by SHA-256.

    Args:
        folder: Made if absent.
        limit_bytes: Least recently used blobs above it are removed by `prune`. [B]
        base_url: Asked for the artifact server's address at every fetch; empty while no controller is known.
        peers: Asked for the nodes that may have blobs, nearest first.
        on_fetched: Told the source's name and the bytes of every blob that arrived.
        contexts: Of a secured fleet; see `Transfers`.
        pinned: Asked what nodes of this folder would need to start alone; it stays, whether their agents run or not.
    """

    def __init__(
        self,
        folder: Path,
        limit_bytes: int,
        base_url: Callable[[], str],
        peers: Callable[[], Sequence[Source]] = tuple,
        on_fetched: Callable[[str, int], None] = lambda _name, _nbytes: None,
        *,
        contexts: TlsContexts | None = None,
        pinned: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._base_url = base_url
        self._users: Counter[str] = Counter()
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(PARALLEL_FETCHES)
        self._peers = peers
        self._pinned = pinned
        self._on_fetched = on_fetched
        self._liars: set[str] = set()
        self._contributors: dict[str, set[str]] = {}
        self._left: dict[str, int] = {}
        self._leases = Leases(folder)
        self._latest_ns = 0
        self._short_at_bytes: int | None = None
        self._controller_latency_s: tuple[float, str, float | None] = (float("-inf"), "", None)
        self._transfers = Transfers(contexts)
        self._log = structlog.get_logger(part="artifacts")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtifactError(f"cache folder {folder} cannot be made ({error.strerror}): set [cache] path") from error

    def path(self, digest: str) -> Path:
        """Where a blob lies or would lie."""
        return self.folder / digest

    async def controller_unreachable(self) -> str:
        """Why the controller, where it says that it is, gives no blobs to this node; empty where it answers."""
        return await self._transfers.unreachable(Source(CONTROLLER, self._base_url(), is_peer=False))

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
        self._leases.say(+self._users)

    def drop(self, digests: Iterable[str]) -> None:
        """Undo one `hold`."""
        self._users.subtract(set(digests))
        self._users = +self._users
        self._leases.say(self._users)

    async def fetch(self, digests: Iterable[str], sizes: Mapping[str, int] | None = None) -> None:
        """Have all blobs in the folder.

        Args:
            digests: Their names.
            sizes: Bytes of those whose size is known; only these are taken from peers. [B]

        Raises:
            ArtifactMissing: Nobody who was asked has one, or nobody answers.
            ArtifactCorrupt: One arrived with other bytes than its name says, several times.
            CacheUnwritable: The folder takes no more.
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
            self.touch(self.path(digest))
        except FileNotFoundError:
            return False
        return True

    def touch(self, path: Path) -> None:
        """Note a file as used later than all others, whatever the clock was set to meanwhile."""
        self._latest_ns = max(time.time_ns(), self._latest_ns + 1)
        os.utime(path, ns=(self._latest_ns, self._latest_ns))

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
            task.add_done_callback(partial(self._download_ended, digest))
            self._under_way[digest] = task
        # One who gives up waiting must not take the download from the others.
        await asyncio.shield(self._under_way[digest])

    def _download_ended(self, digest: str, task: asyncio.Task[None]) -> None:
        self._under_way.pop(digest, None)
        if not task.cancelled():
            task.exception()  # who waited was told; one who gave up waiting wants to know nothing

    async def _fetch(self, digest: str, nbytes: int | None, order: Sequence[Source]) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            async with claimed(self.folder / f"{digest}.part", self.path(digest)) as partial:
                if partial is None:
                    self._touched(digest)
                    return  # another agent has brought it
                try:
                    await self._fetch_into(partial, digest, nbytes, order)
                finally:
                    self._left[digest] = size_of(partial) or 0
                    if not self._left[digest]:
                        partial.unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(digest, error) from error
        self._left.pop(digest, None)

    async def _fetch_into(self, partial: Path, digest: str, nbytes: int | None, order: Sequence[Source]) -> None:
        if (size_of(partial) or 0) != self._left.get(digest, 0):
            self._contributors.setdefault(digest, set()).add(_UNKNOWN)
        failure: ArtifactError | None = None
        for source in order:
            try:
                await self._fetch_from(source, partial, digest, nbytes)
            except CacheUnwritable:
                raise
            except ArtifactError as error:
                failure = error
                self._log.warning("source-failed", digest=digest, source=source.name, error=str(error))
            else:
                self._on_fetched(source.name, size_of(self.path(digest)) or 0)
                return
        raise failure or ArtifactMissing(
            f"blob {digest[:12]} is not in the cache, no controller is known and no peer has it: start one"
        )

    async def _fetch_from(self, source: Source, partial: Path, digest: str, nbytes: int | None) -> None:
        """One source; the controller, which must have the blob, several times."""
        retry: Retry | None = None
        while True:
            try:
                async with self._slots:
                    await self._attempt(source, partial, digest, nbytes)
                return
            except ArtifactError as error:
                failure = error
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if not isinstance(error, aiohttp.ClientError) and getattr(error, "errno", None) in _UNWRITABLE:
                    raise self._unwritable(digest, error) from error
                cause = error or type(error).__name__
                failure = ArtifactMissing(f"blob {digest[:12]} cannot be fetched from {source.url}: {cause}")
                failure.__cause__ = error
            retry = retry_after(retry, time.monotonic(), random.random(), RetryRule(FIRST_PAUSE_S))  # noqa: S311
            if retry.attempts == TRIES or source.is_peer:
                raise failure
            self._log.warning("fetch-retried", digest=digest, attempt=retry.attempts, error=str(failure))
            await asyncio.sleep(retry.next_at_s - retry.failed_at_s)
            source = self._controller() or source  # it may have moved

    async def _attempt(self, source: Source, partial: Path, digest: str, nbytes: int | None) -> None:
        before = size_of(partial) or None
        suspects = self._contributors.setdefault(digest, set())
        try:
            await self._transfers.download(source, digest, partial, nbytes)
            await asyncio.to_thread(adopt_verified, partial, self.path(digest), digest)
            self._touched(digest)
        except ArtifactCorrupt:
            # Emptied, not removed: its claim lies on the file, not on its name.
            os.truncate(partial, 0)
            del self._contributors[digest]
            if suspects <= {source.name}:
                self._distrust({source.name}, digest)
                raise
            # Several filled it. Alone, this one shows whether it was honest, and if so, who was not.
            await self._attempt(source, partial, digest, nbytes)
            self._distrust(suspects - {source.name}, digest)
        finally:
            if digest in self._contributors and (size_of(partial) or None) not in {before, None}:
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
        """Remove least recently used blobs above the limit, never one that an agent uses; returns their digests.

        The limit is the folder's, whoever filled it. Nothing is removed while another agent does.
        """
        try:
            with folder_lock(self.folder, patience_s=0.0) as locked:
                removed = self._evict(self.limit_bytes) if locked else []
        except FileNotFoundError:  # somebody removed the folder, or a file while it was looked at
            return []
        for path in self.folder.glob(f"{_GONE}*"):
            path.unlink(missing_ok=True)
        return removed

    def _evict(self, limit_bytes: int) -> list[str]:
        files = [(path, path.stat()) for path in self._files()]
        blobs = [(path, info) for path, info in files if _BLOB.fullmatch(path.stem)]
        total = sum(info.st_size for _, info in blobs)
        # Others may have touched blobs under a clock that was ahead.
        self._latest_ns = max([self._latest_ns, *(info.st_mtime_ns for _, info in blobs)])
        if total <= limit_bytes:
            return []
        used = self._leases.of_others() | self._under_way.keys() | self._users.keys() | set(self._pinned())
        removed: list[str] = []
        for path, info in sorted(blobs, key=lambda blob: blob[1].st_mtime_ns):
            if total <= limit_bytes:
                break
            # A packed graph is held by the name of the graph it was made of, and so is a partial file.
            if path.stem in used or (path.suffix.startswith(".part") and is_claimed(path)):
                continue
            with contextlib.suppress(FileNotFoundError):
                # Deleting a large file takes its time, and others wait for the folder.
                path.rename(self.folder / f"{_GONE}{secrets.token_hex(8)}")
            total -= info.st_size
            removed.append(path.name)
        return removed

    def _files(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if path.is_file()]

    def _unwritable(self, digest: str, error: OSError) -> CacheUnwritable:
        with contextlib.suppress(OSError):
            self._short_at_bytes = shutil.disk_usage(self.folder).free
        return CacheUnwritable(
            f"blob {digest[:12]} finds no place in {self.folder} ({error.strerror or error}): make room there, or set "
            "[cache] path"
        )

    def room_was_made(self) -> bool:
        """Whether more is free than when a blob last found no room; says so once."""
        short_at_bytes = self._short_at_bytes
        if short_at_bytes is None:
            return False
        try:
            free_bytes = shutil.disk_usage(self.folder).free
        except OSError:
            return False
        self._short_at_bytes = None if free_bytes >= short_at_bytes + _ROOM_BYTES else min(short_at_bytes, free_bytes)
        return self._short_at_bytes is None

    async def close(self) -> None:
        """End downloads; partial files stay and are resumed next time."""
        for task in list(self._under_way.values()):
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        await self._transfers.close()
        self._leases.close()


async def _all(digests: Sequence[str]) -> frozenset[str]:
    return frozenset(digests)
