"""Weight blobs on disk, named by what they hold.

Owns: a folder of files whose name is the SHA-256 of their bytes. Its rule: a file under a digest's name is
complete; writers fill a temporary file and rename it. Not here: ONNX, HTTP, deciding which blobs are still needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from edgesplit.errors import ArtifactCorrupt, ArtifactMissing

__all__ = ["CHUNK_BYTES", "BlobStore", "read_range"]

CHUNK_BYTES = 4 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


def read_range(stream: BinaryIO, offset: int, nbytes: int) -> Iterator[bytes]:
    """Yield `nbytes` bytes of an open file from `offset` on, a chunk at a time; fewer when the file ends."""
    stream.seek(offset)
    while nbytes > 0 and (chunk := stream.read(min(CHUNK_BYTES, nbytes))):
        nbytes -= len(chunk)
        yield chunk


class BlobStore:
    """A folder of content-addressed files; many processes may share it.

    Args:
        folder: Made where it is missing.
        writing: What writes are done within; may translate their errors.
    """

    def __init__(
        self, folder: Path, writing: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
    ) -> None:
        self._folder = Path(folder)
        self._writing = writing
        self._folder.mkdir(parents=True, exist_ok=True)

    @property
    def folder(self) -> Path:
        """Where the blobs lie; a graph saved here finds its external data."""
        return self._folder

    def put(self, content: bytes | bytearray | memoryview) -> str:
        """Store bytes and return their digest; storing them again changes nothing."""
        digest = hashlib.sha256(content).hexdigest()
        return digest if self.has(digest) else self.put_chunks([content])

    def put_chunks(self, chunks: Iterable[bytes | bytearray | memoryview]) -> str:
        """Store a stream of bytes without holding it in memory and return its digest."""
        with self._writing():
            return self._put_chunks(chunks)

    def _put_chunks(self, chunks: Iterable[bytes | bytearray | memoryview]) -> str:
        hasher = hashlib.sha256()
        descriptor, name = tempfile.mkstemp(dir=self._folder, prefix=".incoming-")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                for chunk in chunks:
                    hasher.update(chunk)
                    stream.write(chunk)
                stream.flush()
                # A rename may reach the disk before the bytes do: a crash must not leave an empty blob.
                os.fsync(stream.fileno())
            digest = hasher.hexdigest()
            temporary.chmod(0o644)
            temporary.replace(self._path(digest))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return digest

    def has(self, digest: str) -> bool:
        """Tell whether the blob is here."""
        return self._path(digest).is_file()

    def path(self, digest: str) -> Path:
        """Return the blob's file.

        Raises:
            ArtifactMissing: No such blob is stored here.
        """
        path = self._path(digest)
        if not path.is_file():
            raise ArtifactMissing(f"blob {digest[:12]} is not in {self._folder}: add the model again")
        return path

    def read(self, digest: str) -> bytes:
        """Return the blob's bytes, verified.

        Raises:
            ArtifactMissing: No such blob is stored here.
            ArtifactCorrupt: The file no longer holds what its name says.
        """
        content = self.path(digest).read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise ArtifactCorrupt(f"blob {digest[:12]} in {self._folder} is damaged: delete it and add the model again")
        return content

    def nbytes(self, digest: str) -> int:
        """Return the blob's size. [B]

        Raises:
            ArtifactMissing: No such blob is stored here.
        """
        return self.path(digest).stat().st_size

    def digests(self) -> frozenset[str]:
        """Return the names of all stored blobs."""
        return frozenset(path.name for path in self._folder.iterdir() if _DIGEST.fullmatch(path.name))

    def remove(self, digest: str) -> None:
        """Delete a blob; deleting one that is gone changes nothing."""
        self._path(digest).unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        # Digests arrive over HTTP: anything but 64 hex digits could name a file outside the folder.
        if not _DIGEST.fullmatch(digest):
            raise ArtifactMissing(f"{digest[:80]!r} is not a SHA-256 digest: ask for a blob by its 64 hex digits")
        return self._folder / digest
