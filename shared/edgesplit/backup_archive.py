"""A backup's form: a tar archive that says first what it holds, with the digest of every file.

Owns: names within an archive, its bytes, and checking one. Its rule: an archive is looked through as a whole before anything
of it is used; a name that edgesplit did not give is refused, so that no archive writes beside the folder it is for. Not here:
what is backed up, and what restoring it means (the controller).

    edgesplit-backup.json    format, release, time, and the files below: name, digest, length
    state.json               goals, deployments with the plans that serve, pauses, drained nodes
    models/NAME/FILE         records of models
    blobs/DIGEST             graphs and weights
    keys.json, keys/FILE     of the fleet's authority, where they were asked for: the same of these
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

import msgspec

from edgesplit.errors import InvalidInput
from edgesplit.names import base_name, checked_model

__all__ = [
    "END",
    "KEYS",
    "MANIFEST",
    "STATE",
    "BackupFile",
    "BackupManifest",
    "add_keys",
    "archive_nbytes",
    "check_archive",
    "copy_without_keys",
    "keys_of",
    "member_head",
    "members",
    "padding",
]

FORMAT = "edgesplit-backup/1"
MANIFEST = "edgesplit-backup.json"
STATE = "state.json"
KEYS = "keys.json"
END = bytes(2 * tarfile.BLOCKSIZE)
"""What a tar archive ends with."""
_CHUNK_BYTES = 1 << 20
_BLOB = re.compile(r"blobs/[0-9a-f]{64}")
_MODEL = re.compile(r"models/(?P<name>[^/]+)/(manifest\.json|graph\.onnx|open\.onnx|calibration\.npz)")
_KEY = re.compile(r"keys/([A-Za-z0-9_-][A-Za-z0-9._-]*/)?[A-Za-z0-9_-][A-Za-z0-9._-]*")


class BackupFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of an archive.

    Attributes:
        name: Within the archive.
        sha256: Of its bytes.
        nbytes: Its length. [B]
    """

    name: str
    sha256: str
    nbytes: int


class BackupManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The first file of an archive.

    Attributes:
        format: `edgesplit-backup/1`.
        version: Release that made it.
        made_unix_s: When. [s since the epoch]
        files: All others but keys, in the order of the archive.
    """

    version: str
    made_unix_s: float
    files: tuple[BackupFile, ...]
    format: str = FORMAT

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models, without those of further planning shapes."""
        named = (_MODEL.fullmatch(file.name) for file in self.files)
        return tuple(sorted({base_name(found["name"]) for found in named if found is not None}))


def member_head(name: str, nbytes: int, made_unix_s: float) -> bytes:
    """What stands before a file's bytes in an archive."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = nbytes, 0o600, int(made_unix_s)
    return member.tobuf(format=tarfile.GNU_FORMAT)


def padding(nbytes: int) -> bytes:
    """What stands behind them."""
    return bytes(-nbytes % tarfile.BLOCKSIZE)


def archive_nbytes(files: Iterable[tuple[str, int]]) -> int:
    """Length of an archive of files, by name and length. [B]"""
    return len(END) + sum(len(member_head(name, nbytes, 0)) + nbytes + len(padding(nbytes)) for name, nbytes in files)


def check_archive(path: Path) -> BackupManifest:
    """Look through an archive: everything that it says it holds is there, whole, and nothing else.

    Raises:
        InvalidInput: It is none, is damaged, or is of a release whose backups this one does not know.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            manifest = _manifest(path, archive)
            _check_files(path, archive, {file.name: file for file in manifest.files})
    except (tarfile.TarError, EOFError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path.name} is no backup of edgesplit, or is damaged: {error}") from error
    return manifest


def members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and bytes of each file of an archive that was checked, one after another, but for its manifest and its keys."""
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if stream is not None and member.name not in {MANIFEST, KEYS} and not member.name.startswith("keys/"):
                yield member.name, stream


def keys_of(path: Path) -> dict[str, bytes]:
    """The keys of an archive that was checked, by file; none where it was made without."""
    with tarfile.open(path, "r:") as archive:
        found: dict[str, bytes] = {}
        for member in archive:
            stream = archive.extractfile(member)
            if stream is not None and member.name.startswith("keys/"):
                found[member.name.removeprefix("keys/")] = stream.read()
        return found


def add_keys(path: Path, keys: Mapping[str, bytes], made_unix_s: float) -> None:
    """Add keys to the end of an archive that has none.

    Args:
        path: The archive.
        keys: Their bytes, by file; at most one folder deep.
        made_unix_s: When. [s since the epoch]
    """
    files = {f"keys/{name}": content for name, content in keys.items()}
    listed = [
        BackupFile(name=name, sha256=hashlib.sha256(content).hexdigest(), nbytes=len(content))
        for name, content in files.items()
    ]
    with path.open("r+b") as stream:
        stream.seek(-len(END), 2)
        for name, content in ({KEYS: msgspec.json.encode(listed)} | files).items():
            stream.write(member_head(name, len(content), made_unix_s) + content + padding(len(content)))
        stream.write(END)


def copy_without_keys(path: Path, target: Path) -> None:
    """Write an archive that was checked to another file, up to its keys."""
    with tarfile.open(path, "r:") as archive:
        end = next((member.offset for member in archive if member.name == KEYS), path.stat().st_size - len(END))
    with path.open("rb") as source, target.open("wb") as copy:
        while chunk := source.read(min(_CHUNK_BYTES, end - source.tell())):
            copy.write(chunk)
        copy.write(END)


def _manifest(path: Path, archive: tarfile.TarFile) -> BackupManifest:
    first = archive.next()
    stream = archive.extractfile(first) if first is not None and first.name == MANIFEST else None
    if stream is None:
        raise InvalidInput(f"{path.name} is no backup of edgesplit: name a file that splitctl backup wrote")
    content = stream.read()
    said = msgspec.json.decode(content).get("format", "")
    if said != FORMAT:
        raise InvalidInput(f"{path.name} is a backup of the form {said!r}, and this release knows {FORMAT} alone")
    return msgspec.json.decode(content, type=BackupManifest)


def _check_files(path: Path, archive: tarfile.TarFile, expected: dict[str, BackupFile]) -> None:
    """Read every file behind the manifest.

    Raises:
        InvalidInput: One is missing, is another, or should not be there.
    """
    while (member := archive.next()) is not None:
        stream = archive.extractfile(member) if member.isreg() else None
        if stream is None or not _is_ours(member.name):
            raise InvalidInput(f"{path.name} is damaged: {member.name[:200]!r} has no place in a backup")
        if member.name == KEYS:
            listed = msgspec.json.decode(stream.read(), type=tuple[BackupFile, ...])
            expected |= {file.name: file for file in listed if file.name.startswith("keys/")}
            continue
        file = expected.pop(member.name, None)
        if file is None or file.nbytes != member.size or file.sha256 != _digest(stream):
            raise InvalidInput(f"{path.name} is damaged: {member.name[:200]} is not what was backed up")
    if expected:
        raise InvalidInput(f"{path.name} is damaged: {len(expected)} files are missing, such as {min(expected)}")


def _is_ours(name: str) -> bool:
    if name in {STATE, KEYS} or _BLOB.fullmatch(name) or (_KEY.fullmatch(name) and ".." not in name):
        return True
    found = _MODEL.fullmatch(name)
    try:
        return found is not None and bool(checked_model(found["name"]))
    except InvalidInput:
        return False


def _digest(stream: IO[bytes]) -> str:
    hasher = hashlib.sha256()
    while chunk := stream.read(_CHUNK_BYTES):
        hasher.update(chunk)
    return hasher.hexdigest()
