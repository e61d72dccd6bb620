"""The blob store."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesplit.errors import ArtifactCorrupt, ArtifactMissing
from edgesplit_controller.graph.blobs import BlobStore


def test_a_blob_is_named_by_its_content_and_kept_once(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path / "deep" / "store")
    digest = blobs.put(b"weights")
    assert digest == hashlib.sha256(b"weights").hexdigest()
    assert blobs.put(bytearray(b"weights")) == digest
    assert blobs.read(digest) == b"weights"
    assert blobs.nbytes(digest) == 7
    assert blobs.path(digest).parent == blobs.folder
    assert [path.name for path in blobs.folder.iterdir()] == [digest]


def test_streams_become_blobs(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path / "store")
    assert blobs.put_chunks([b"abc"] * 1000) == blobs.put(b"abc" * 1000)


def test_a_failing_stream_leaves_nothing_behind(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)

    def broken() -> object:
        yield b"some"
        raise OSError("unplugged")

    with pytest.raises(OSError, match="unplugged"):
        blobs.put_chunks(broken())  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_missing_and_damaged_blobs_are_named(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    digest = blobs.put(b"weights")
    blobs.path(digest).write_bytes(b"weighty")
    with pytest.raises(ArtifactCorrupt, match=digest[:12]):
        blobs.read(digest)
    blobs.remove(digest)
    blobs.remove(digest)
    assert not blobs.has(digest)
    with pytest.raises(ArtifactMissing, match=digest[:12]):
        blobs.path(digest)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "ABC", "a" * 63, "A" * 64, "g" * 64])
def test_names_that_are_no_digests_reach_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactMissing):
        BlobStore(tmp_path).path(name)


@settings(max_examples=30, deadline=None)
@given(content=st.binary(max_size=2000))
def test_any_bytes_come_back(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    blobs = BlobStore(tmp_path_factory.mktemp("blobs"))
    assert blobs.read(blobs.put(content)) == content
