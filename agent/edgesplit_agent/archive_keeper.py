"""Keeping the controller's archive: its own records, as blobs, for the day on which it loses its store.

Owns: which list of the archive is kept whole here, and its copy on disk. Its rule: a list is kept once every blob of it is
here, and the one before it until then; a controller that knows less than the one before is not obeyed, so that an empty store
never empties the archive. Not here: what the blobs hold, the folder they lie in (`artifacts/cache.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from functools import partial

import msgspec
import structlog

from edgesplit.control.archive_messages import ARCHIVE, KEPT_ARCHIVE, Archive, KeptArchive
from edgesplit.mqtt.bus import MessageBus
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.profiling.attempts import Attempts

__all__ = ["ArchiveKeeper"]


class ArchiveKeeper:
    """What one node keeps of the archive.

    Args:
        node: Its name.
        cache: Where blobs lie.
        bus: Where lists come from, and where it is said which is kept.
    """

    def __init__(self, node: str, cache: BlobCache, bus: MessageBus) -> None:
        self._node = node
        self._cache = cache
        self._bus = bus
        # Agents of one machine may share the folder.
        self._path = cache.folder / f"archive-{node}.json"
        self._kept: Archive | None = None
        self._wanted: Archive | None = None
        self._attempts: Attempts | None = None
        self._log = structlog.get_logger(part="archive")

    def start(self) -> None:
        """Listen, and say what an earlier run kept, as far as its blobs are still here; call it before the bus starts."""
        self._bus.subscribe(ARCHIVE, lambda _topic, archive: self.hear(archive))
        # What others write there is put right by the bus, and told where it cannot be read.
        self._bus.subscribe(KEPT_ARCHIVE, lambda _topic, _kept: None, self._node)
        kept = self._read()
        if kept is not None and all(self._cache.path(digest).exists() for digest in kept.sizes):
            self._hold(kept)
        self._say()

    def hear(self, archive: Archive | None) -> None:
        """What the controller's archive is now; a list that vanished says nothing."""
        if archive is None or archive == self._wanted:
            return
        known = self._wanted or self._kept
        if known is not None and archive.order < known.order:
            self._log.debug("archive-of-less", number=archive.number, kept=known.number)
            return
        self._end_attempts()
        if self._node not in archive.keepers:
            self._wanted = None
            self._let_go()
        elif archive != self._kept:
            self._wanted = archive
            self._attempts = Attempts(partial(self._fetch, archive), failed=self._say_failed)

    def cause_returned(self) -> None:
        """What fetching needs from others may be there again."""
        if self._attempts is not None:
            self._attempts.hasten()

    async def close(self) -> None:
        """Stop fetching; what is kept stays on disk."""
        if self._attempts is not None:
            await asyncio.gather(self._attempts.cancel(), return_exceptions=True)

    async def _fetch(self, archive: Archive) -> None:
        """Have all blobs of a list here, then let go of those of the one before.

        Raises:
            ArtifactError, OSError: It failed.
        """
        async with self._cache.held(archive.sizes, archive.sizes):
            await asyncio.to_thread(self._write, archive)
            self._hold(archive)
        self._say()

    def _hold(self, archive: Archive) -> None:
        before, self._kept = self._kept, archive
        self._cache.hold(archive.sizes)
        if before is not None:
            self._cache.drop(before.sizes)

    def _let_go(self) -> None:
        if self._kept is None:
            return
        self._cache.drop(self._kept.sizes)
        self._kept = None
        with contextlib.suppress(OSError):  # it says less than the next list at the next start
            self._path.unlink(missing_ok=True)
        self._say()

    def _say(self) -> None:
        if self._kept is None:
            self._bus.clear(KEPT_ARCHIVE, self._node)
        else:
            kept = KeptArchive(node=self._node, **msgspec.structs.asdict(self._kept))
            self._bus.publish(KEPT_ARCHIVE, kept, self._node)

    def _end_attempts(self) -> None:
        if self._attempts is not None:
            self._attempts.cancel()
            self._attempts = None

    def _say_failed(self, error: Exception) -> None:
        self._log.warning("archive-not-fetched", error=str(error) or type(error).__name__)

    def _read(self) -> Archive | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Archive)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            self._log.warning("archive-unreadable", path=str(self._path), error=str(error))
            return None

    def _write(self, archive: Archive) -> None:
        temporary = self._path.with_suffix(".new")
        with temporary.open("wb") as stream:
            stream.write(msgspec.json.encode(archive))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(self._path)
