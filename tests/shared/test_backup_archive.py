"""A backup's archive is whole or refused, and writes nowhere but where it belongs."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import msgspec
import pytest

from edgesplit.backup_archive import (
    END,
    MANIFEST,
    BackupFile,
    BackupManifest,
    add_keys,
    archive_nbytes,
    check_archive,
    copy_without_keys,
    keys_of,
    member_head,
    members,
    padding,
)
from edgesplit.errors import InvalidInput

BLOB = b"weights" * 300
FILES = {
    "state.json": b"{}",
    f"models/{'n' * 100}/manifest.json": b'{"name": "n"}',
    f"blobs/{hashlib.sha256(BLOB).hexdigest()}": BLOB,
}


def listed(files: dict[str, bytes]) -> tuple[BackupFile, ...]:
    return tuple(
        BackupFile(name=name, sha256=hashlib.sha256(content).hexdigest(), nbytes=len(content))
        for name, content in files.items()
    )


def written(
    path: Path, files: dict[str, bytes], said: dict[str, bytes] | None = None, form: str = "edgesplit-backup/1"
) -> Path:
    """An archive of files, whose manifest may say something else."""
    manifest = BackupManifest(
        version="9.9", made_unix_s=1e9, files=listed(files if said is None else said), format=form
    )
    parts = {MANIFEST: msgspec.json.encode(manifest)} | files
    path.write_bytes(
        b"".join(
            member_head(name, len(content), 1e9) + content + padding(len(content)) for name, content in parts.items()
        )
        + END
    )
    assert path.stat().st_size == archive_nbytes([(name, len(content)) for name, content in parts.items()])
    return path


def test_what_was_written_is_read_again_also_by_tar(tmp_path: Path) -> None:
    path = written(tmp_path / "b.tar", FILES)
    manifest = check_archive(path)
    assert manifest.models == ("n" * 100,)
    assert {name: stream.read() for name, stream in members(path)} == FILES
    with tarfile.open(path) as archive:
        assert archive.getnames() == [MANIFEST, *FILES]


def test_keys_are_added_behind_all_else_and_left_out_again(tmp_path: Path) -> None:
    path = written(tmp_path / "b.tar", FILES)
    plain = path.read_bytes()
    keys = {"authority-key.pem": b"secret", "broker/key.pem": b"another"}
    add_keys(path, keys, 1e9)
    check_archive(path)
    assert keys_of(path) == keys
    assert {name for name, _ in members(path)} == set(FILES)
    copy_without_keys(path, tmp_path / "c.tar")
    assert (tmp_path / "c.tar").read_bytes() == plain
    copy_without_keys(tmp_path / "c.tar", tmp_path / "d.tar")
    assert (tmp_path / "d.tar").read_bytes() == plain


@pytest.mark.parametrize("cut", [1, 600, 1500, 3000])
def test_an_archive_that_is_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path / "b.tar", FILES)
    path.write_bytes(path.read_bytes()[: -len(END) - cut])
    with pytest.raises(InvalidInput, match=r"b\.tar is"):
        check_archive(path)


def test_an_archive_of_which_a_byte_is_another_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "b.tar", FILES)
    content = bytearray(path.read_bytes())
    place = content.index(b"weights")
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"b\.tar is damaged: blobs/.* is not what was backed up"):
        check_archive(path)


@pytest.mark.parametrize(
    ("files", "said", "sentence"),
    [
        (FILES, {**FILES, "models/m/graph.onnx": b"x"}, "1 files are missing, such as models/m/graph.onnx"),
        ({**FILES, "models/m/graph.onnx": b"x"}, FILES, "is not what was backed up"),
        ({"../state.json": b"{}"}, None, "has no place in a backup"),
        ({"/etc/passwd": b"{}"}, None, "has no place in a backup"),
        ({"models/../manifest.json": b"{}"}, None, "has no place in a backup"),
        ({"models/m/other.onnx": b"{}"}, None, "has no place in a backup"),
        ({"keys/../../key.pem": b"{}"}, None, "has no place in a backup"),
    ],
)
def test_what_is_missing_or_has_no_place_there_is_refused(
    tmp_path: Path, files: dict[str, bytes], said: dict[str, bytes] | None, sentence: str
) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        check_archive(written(tmp_path / "b.tar", files, said))


def test_what_is_no_backup_or_a_later_one_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.tar"
    with tarfile.open(other, "w") as archive:
        archive.addfile(tarfile.TarInfo("readme"), io.BytesIO(b""))
    with pytest.raises(
        InvalidInput, match=r"other\.tar is no backup of edgesplit: name a file that splitctl backup wrote"
    ):
        check_archive(other)
    other.write_bytes(b"no tar at all" * 100)
    with pytest.raises(InvalidInput, match=r"other\.tar is no backup of edgesplit, or is damaged"):
        check_archive(other)
    with pytest.raises(InvalidInput, match="of the form 'edgesplit-backup/2', and this release knows"):
        check_archive(written(tmp_path / "b.tar", FILES, form="edgesplit-backup/2"))


def test_a_link_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "b.tar"
    manifest = msgspec.json.encode(BackupManifest(version="9.9", made_unix_s=1e9, files=listed({"state.json": b""})))
    with tarfile.open(path, "w") as archive:
        first = tarfile.TarInfo(MANIFEST)
        first.size = len(manifest)
        archive.addfile(first, io.BytesIO(manifest))
        link = tarfile.TarInfo("state.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(InvalidInput, match="has no place in a backup"):
        check_archive(path)
