"""drain, pause, backup and restore: what is asked, what is shown, which status."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import msgspec
import pytest

from edgesplit.backup_archive import END, MANIFEST, BackupFile, BackupManifest, keys_of, member_head, padding
from edgesplit.errors import ModelExists
from edgesplit.operations.upkeep_operations import (
    BackupOffer,
    DrainDocument,
    DrainNode,
    DrainRow,
    MakeBackup,
    PausePlanning,
    PausesDocument,
    RestoreBackup,
    RestoreDocument,
    RestoreRow,
    ResumePlanning,
    UndrainNode,
)
from tests.cli.conftest import Run
from tests.cli.fakes import FakeController

MOVED = DrainRow(model="yolo", epoch=4, moved=True)
KEPT = DrainRow(model="words", epoch=2, moved=False)
STAYS = DrainRow(
    model="faces", epoch=9, moved=False, stays="edge is its source, and no other node can answer in its place"
)


def test_drain_says_what_moved_and_what_stays(run: Run, controller: FakeController) -> None:
    empty = DrainDocument(node="edge", drained=True, models=(KEPT, MOVED))
    controller.answers |= {DrainNode: lambda _: empty, UndrainNode: lambda _: DrainDocument(node="edge", drained=False)}
    told = run("drain", "edge")
    assert told.status == 0
    assert told.out.splitlines() == [
        "words serves on as epoch 2",
        "yolo serves as epoch 4 without it",
        "edge is drained and empty; plans leave it out until splitctl undrain edge",
    ]
    controller.answers[DrainNode] = lambda _: msgspec.structs.replace(empty, models=(STAYS, MOVED))
    told = run("drain", "edge")
    assert told.status == 3
    assert "faces stays on edge: edge is its source" in told.out
    assert "edge is drained, but still holds faces; plans leave it out" in told.out
    programs = run("drain", "edge", "--json")
    assert programs.status == 3
    assert programs.document["models"][0] == {
        "model": "faces",
        "epoch": 9,
        "moved": False,
        "stays": STAYS.stays,
    }
    assert "models are planned with it again" in run("undrain", "edge").out
    assert run("undrain", "edge", "--json").document == {"node": "edge", "drained": False, "models": []}
    assert controller.operations[0] == DrainNode(name="edge")
    assert controller.operations[-1] == UndrainNode(name="edge")


def test_pauses_are_asked_for_and_those_that_hold_are_shown(run: Run, controller: FakeController) -> None:
    controller.answers |= {
        PausePlanning: lambda asked: PausesDocument(
            all_unix_s=None if asked.model else 1.8e9, models={asked.model: 1.7e9} if asked.model else {}
        ),
        ResumePlanning: lambda _: PausesDocument(all_unix_s=None, models={}),
    }
    assert run("pause", "yolo").out.startswith("yolo is not planned again by itself, since 2023-11-1")
    assert run("pause").out.startswith("no model is planned again by itself, since 2027-01-")
    assert run("pause", "yolo", "--json").document == {"all_unix_s": None, "models": {"yolo": 1.7e9}}
    assert run("resume").out == "every model is planned again by itself\n"
    assert run("resume", "yolo", "--json").document == {"all_unix_s": None, "models": {}}
    assert controller.operations[0] == PausePlanning(model="yolo")
    assert controller.operations[1] == PausePlanning()
    assert controller.operations[-1] == ResumePlanning(model="yolo")


def archive() -> bytes:
    """A backup of one model, as a controller sends it."""
    files = {"state.json": b"{}", "models/yolo/manifest.json": b"{}"}
    listed = tuple(
        BackupFile(name=name, sha256=hashlib.sha256(content).hexdigest(), nbytes=len(content))
        for name, content in files.items()
    )
    manifest = BackupManifest(version="9.9", made_unix_s=1.7e9, files=listed)
    parts = {MANIFEST: msgspec.json.encode(manifest)} | files
    return b"".join(member_head(name, len(body), 0) + body + padding(len(body)) for name, body in parts.items()) + END


@pytest.fixture
def offering(controller: FakeController) -> FakeController:
    controller.backups["abc"] = archive()
    controller.answers[MakeBackup] = lambda _: BackupOffer(path="/backups/abc", nbytes=len(archive()))
    return controller


def test_a_backup_is_fetched_whole_and_is_its_owner_s_alone(run: Run, offering: FakeController, tmp_path: Path) -> None:
    file = tmp_path / "fleet.tar"
    file.write_bytes(b"an older one")
    told = run("backup", file)
    assert told.status == 0
    assert told.out.startswith(f"{file} holds the model yolo, ")
    assert file.read_bytes() == archive()
    assert file.stat().st_mode & 0o777 == 0o600
    document = run("backup", file, "--json").document
    assert document == {
        "file": str(file),
        "size_bytes": len(archive()),
        "made_unix_s": 1.7e9,
        "models": ["yolo"],
        "keys": False,
    }


def test_a_backup_that_comes_damaged_or_not_at_all_leaves_the_older_one(
    run: Run, offering: FakeController, tmp_path: Path
) -> None:
    file = tmp_path / "fleet.tar"
    file.write_bytes(b"an older one")
    offering.backups["abc"] = archive()[:1200]
    told = run("backup", file)
    assert told.status == 1
    assert "is no backup of edgesplit" in told.err or "is damaged" in told.err
    offering.backups.clear()
    assert "the controller refused it (404" in run("backup", file).err
    assert file.read_bytes() == b"an older one"
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.tar"]


def test_keys_are_read_and_written_here_and_never_sent(run: Run, offering: FakeController, tmp_path: Path) -> None:
    trust, back, file = tmp_path / "trust", tmp_path / "back", tmp_path / "fleet.tar"
    refused = run("backup", file, "--with-keys", "--folder", trust)
    assert refused.status == 1
    assert f"{trust} holds no authority's key" in refused.err
    (trust / "broker").mkdir(parents=True)
    (trust / "authority-key.pem").write_bytes(b"secret")
    (trust / "broker" / "key.pem").write_bytes(b"another")
    told = run("backup", file, "--with-keys", "--folder", trust)
    assert told.out.startswith(f"{file} holds the model yolo and the authority's keys, ")
    assert file.stat().st_mode & 0o777 == 0o600
    assert keys_of(file) == {"authority-key.pem": b"secret", "broker/key.pem": b"another"}
    offering.answers[RestoreBackup] = lambda _: RestoreDocument(made_unix_s=1.7e9)
    assert run("restore", file).status == 0
    assert offering.uploads == {hashlib.sha256(archive()).hexdigest(): archive()}
    document = run("restore", file, "--keys", back, "--json").document
    assert document["keys"] == [str(back / "authority-key.pem"), str(back / "broker" / "key.pem")]
    assert (back / "broker" / "key.pem").read_bytes() == b"another"
    assert (back / "authority-key.pem").stat().st_mode & 0o777 == 0o600
    assert f"{back} is not empty, and keys are never overwritten" in run("restore", file, "--keys", back).err
    file.write_bytes(archive())
    assert "holds no keys: it was made without --with-keys" in run("restore", file, "--keys", tmp_path / "other").err


def test_a_restoration_is_asked_for_once_the_file_was_looked_through(
    run: Run, controller: FakeController, tmp_path: Path
) -> None:
    file = tmp_path / "fleet.tar"
    file.write_bytes(archive())
    rows = (
        RestoreRow(model="words", replaced=True, source=None, epoch=0),
        RestoreRow(
            model="yolo", replaced=False, source="device", epoch=7, pending="yolo serves as soon as device is there"
        ),
    )
    controller.answers[RestoreBackup] = lambda _: RestoreDocument(made_unix_s=1.7e9, models=rows, drained=("edge",))
    told = run("restore", file)
    assert told.status == 0
    assert "words is replaced, not deployed" in told.out
    assert "yolo is restored, epoch 7 from device" in told.out
    assert "drained nodes: edge" in told.out
    assert "yolo serves as soon as device is there" in told.err
    digest = hashlib.sha256(archive()).hexdigest()
    assert controller.operations == [RestoreBackup(file=digest)]
    document = run("restore", file, "--replace", "--json").document
    assert [row["model"] for row in document["models"]] == ["words", "yolo"]
    assert controller.operations[-1] == RestoreBackup(file=digest, replace=True)

    def refuses(_asked: RestoreBackup) -> None:
        raise ModelExists("the backup would overwrite the model yolo: add --replace if it shall; nothing was changed")

    controller.answers[RestoreBackup] = refuses
    assert "add --replace" in run("restore", file).err
    asked = len(controller.operations)
    with tarfile.open(file, "w") as other:
        other.addfile(tarfile.TarInfo("readme"))
    assert "no backup of edgesplit" in run("restore", file).err
    assert len(controller.operations) == asked
