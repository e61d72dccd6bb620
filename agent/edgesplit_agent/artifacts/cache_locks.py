"""File locks for a cache folder that several agents share: one fetches a blob at a time, and none evicts what another uses.

Owns: claims of partial files, the lists of blobs in use (leases), and the lock of the folder. Its rule: every lock is the
kernel's (flock), so that a process that dies lets go of all it held; a process that hangs holds nobody up for long, and a
file system without locks costs no more than a download done twice. Not here: what is fetched and what is evicted
(`cache.py`).

    DIGEST.part            locked by whoever fetches the blob
    DIGEST.part-PID-X      private to one process, where the other was claimed by one that makes no progress
    .users-PID-X           digests that a process uses, locked for as long as it lives
    the folder itself      locked for moments: while blobs are evicted, and while others are taken into use
    .gone-X                evicted, about to be deleted
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import AsyncGenerator, Collection, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

__all__ = ["Leases", "claimed", "folder_lock", "is_claimed"]

LOOK_EVERY_S = 0.05
STALLED_S = 10.0
"""A claim whose file did not grow for so long is no reason to wait. [s]"""
LOCK_PATIENCE_S = 0.05
"""Most that the event loop waits for another process that evicts. [s]"""
LOCK_LOOK_S = 0.002
_USERS = ".users-"
_ABSENT = (-1, -1)


@asynccontextmanager
async def claimed(partial: Path, done: Path, stalled_s: float = STALLED_S) -> AsyncGenerator[Path | None]:
    """Have a partial file for oneself inside the block.

    Args:
        partial: Where the blob is put together.
        done: Where it will lie; if another process brings it there first, there is nothing left to do.
        stalled_s: How long a claim by another that makes no progress is respected. [s]

    Yields:
        The file to put the blob together in, or None where the blob has arrived meanwhile.
    """
    seen, since_s = _ABSENT, time.monotonic()
    while _progress(done) == _ABSENT:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                now = _progress(partial)
                if now != seen:
                    seen, since_s = now, time.monotonic()
            except OSError:
                since_s = float("-inf")  # no locks here
            else:
                if _is_still(descriptor, partial):
                    yield partial
                    return
                continue  # it was finished, and renamed, while this one waited
        finally:
            os.close(descriptor)
        if time.monotonic() - since_s >= stalled_s:
            private = partial.with_name(f"{partial.name}-{os.getpid()}-{secrets.token_hex(4)}")
            try:
                yield private
            finally:
                private.unlink(missing_ok=True)
            return
        await asyncio.sleep(LOOK_EVERY_S)
    yield None


def is_claimed(partial: Path) -> bool:
    """Whether somebody puts a blob together in this file now."""
    try:
        with partial.open("rb") as file:
            return not _locks(file.fileno())
    except OSError:
        return False


@contextmanager
def folder_lock(folder: Path, patience_s: float = LOCK_PATIENCE_S) -> Generator[bool]:
    """Hold the folder's lock inside the block; whether it was to be had within the patience. [s]

    Where a file system has no locks, one agent alone is assumed.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        until_s = time.monotonic() + patience_s
        while not (had := _locks(descriptor, where_none=True)) and time.monotonic() < until_s:
            time.sleep(LOCK_LOOK_S)
        yield had
    finally:
        os.close(descriptor)


class Leases:
    """The blobs that this process uses, as others see them; and those of the others.

    Args:
        folder: Of the blobs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None
        self._descriptor = -1
        self._said: frozenset[str] = frozenset()

    def say(self, digests: Collection[str]) -> None:
        """Replace the list; more of them take effect at once, fewer as soon as the folder's lock is to be had."""
        wanted = frozenset(digests)
        if wanted == self._said:
            return
        with contextlib.suppress(OSError), folder_lock(self._folder) as locked:
            if self._path is None:
                self._begin()
            if locked and not wanted >= self._said:
                os.ftruncate(self._descriptor, 0)
                self._said = frozenset()
            # Appending keeps what stands there readable for those who look without the lock.
            os.write(self._descriptor, "".join(f"{digest}\n" for digest in sorted(wanted - self._said)).encode())
            self._said |= wanted

    def of_others(self) -> frozenset[str]:
        """What other processes use; lists of processes that ended are removed."""
        found: set[str] = set()
        for path in self._folder.glob(f"{_USERS}*"):
            if path == self._path:
                continue
            with contextlib.suppress(OSError), path.open("rb") as file:
                if _locks(file.fileno()):
                    path.unlink(missing_ok=True)
                else:
                    found.update(file.read().decode("ascii", "replace").split())
        return frozenset(found)

    def close(self) -> None:
        """Nothing is used any more."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._path, self._descriptor, self._said = None, -1, frozenset()

    def _begin(self) -> None:
        unique = f"{os.getpid()}-{secrets.token_hex(4)}"
        new = self._folder / f".new{_USERS}{unique}"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        # Under its name it is locked from the first moment on: an unlocked list is taken for that of a dead process.
        _locks(descriptor)
        self._path, self._descriptor = self._folder / f"{_USERS}{unique}", descriptor
        new.replace(self._path)


def _locks(descriptor: int, *, where_none: bool = False) -> bool:
    """Lock an open file; False if somebody else has, `where_none` where there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return where_none
    return True


def _is_still(descriptor: int, path: Path) -> bool:
    """Whether the path names the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _progress(path: Path) -> tuple[int, int]:
    try:
        info = path.stat()
    except FileNotFoundError:
        return _ABSENT
    return info.st_size, info.st_ino
