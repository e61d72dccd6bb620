"""Snapshots for backups: files as they are at one moment, held until they were fetched.

Owns: `backups/` in the controller's folder. Its rule: a snapshot takes no room, for it consists of further names of the same
files (hard links), and no later write changes it, for files are replaced, never written to; where links cannot be made files
are copied. Not here: which files (`answering/upkeep/backup_making.py`), sending them (`artifacts/backup_download.py`).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgesplit.backup_archive import MANIFEST, BackupFile, BackupManifest, archive_nbytes
from edgesplit_controller.storage.write_health import StoreHealth

__all__ = ["BackupSnapshots", "Snapshot"]


@dataclass(frozen=True)
class Snapshot:
    """Files that are held.

    Attributes:
        ticket: Whoever knows it may fetch them.
        folder: Where they lie, named as in the archive.
        manifest: What they are.
    """

    ticket: str
    folder: Path
    manifest: BackupManifest

    @property
    def files(self) -> tuple[tuple[str, int], ...]:
        """Name and length of each file of the archive, the manifest first. [B]"""
        manifest = self.folder / MANIFEST
        return ((MANIFEST, manifest.stat().st_size), *((file.name, file.nbytes) for file in self.manifest.files))

    @property
    def nbytes(self) -> int:
        """Length of the archive. [B]"""
        return archive_nbytes(self.files)


class BackupSnapshots:
    """All that are held.

    Args:
        path: The controller's folder, held by this process; what an earlier one left of snapshots goes.
        health: Whether it takes writes.
    """

    def __init__(self, path: Path, health: StoreHealth) -> None:
        self._folder = path / "backups"
        self._health = health
        self._held: dict[str, Snapshot] = {}
        shutil.rmtree(self._folder, ignore_errors=True)

    def make(
        self, written: Mapping[str, bytes], linked: Mapping[str, Path], *, version: str, made_unix_s: float
    ) -> Snapshot:
        """Hold files; takes some time, so not on the loop.

        Args:
            written: Bytes that lie in no file, by name in the archive.
            linked: Files, by name in the archive; a blob's name says its digest.
            version: This release.
            made_unix_s: Now. [s since the epoch]

        Raises:
            StoreUnwritable: They cannot be held.
            FileNotFoundError: One of them is gone.
        """
        ticket = secrets.token_hex(16)
        folder = self._folder / ticket
        try:
            with self._health.writing(mixed=True):
                files = [_written(folder, name, content) for name, content in written.items()]
                files += [_linked(folder, name, path) for name, path in linked.items()]
                manifest = BackupManifest(version=version, made_unix_s=made_unix_s, files=tuple(files))
                (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        snapshot = self._held[ticket] = Snapshot(ticket, folder, manifest)
        return snapshot

    def take(self, ticket: str) -> Snapshot | None:
        """One that is to be sent, which nobody else gets any more; None where there is none of this ticket."""
        return self._held.pop(ticket, None)

    def drop(self, snapshot: Snapshot) -> None:
        """Hold one no longer."""
        self._held.pop(snapshot.ticket, None)
        shutil.rmtree(snapshot.folder, ignore_errors=True)

    def expire(self, ticket: str) -> None:
        """Hold one no longer that nobody came for."""
        snapshot = self._held.get(ticket)
        if snapshot is not None:
            self.drop(snapshot)


def _written(folder: Path, name: str, content: bytes) -> BackupFile:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return BackupFile(name=name, sha256=hashlib.sha256(content).hexdigest(), nbytes=len(content))


def _linked(folder: Path, name: str, original: Path) -> BackupFile:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(original, path)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links, or a limit on them
        shutil.copyfile(original, path)
    top, _, digest = name.partition("/")
    if top != "blobs":
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return BackupFile(name=name, sha256=digest, nbytes=path.stat().st_size)
