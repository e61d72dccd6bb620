"""The controller's folder on disk.

Owns: `models/`, `blobs/`, `uploads/`, `events.jsonl`, `state.json` and `speeds.json`. Its rule: every file is replaced whole, so a
kill at any moment leaves a readable folder; a damaged file is refused with one sentence, never guessed at. Not here:
what the values mean.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from edgesplit.errors import InvalidConfiguration, InvalidInput
from edgesplit_controller.deployment.state import State
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.models.record import ModelRecord, read_record, write_atomically, write_record
from edgesplit_controller.speeds import SavedSpeed

__all__ = ["Store"]


class Store:
    """The folder, held by one controller at a time.

    Args:
        path: Made where it is missing.

    Raises:
        InvalidConfiguration: The folder cannot be written, or another controller holds it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            for name in ("models", "incoming", "uploads", "blobs"):
                (path / name).mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InvalidConfiguration(f"[store] path {path} cannot be used: {error.strerror or error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise InvalidConfiguration(
                f"[store] path {path} is in use by another controller: stop that one or name another folder"
            ) from error
        self.blobs = BlobStore(path / "blobs")
        for leftover in (*self.uploads.glob(".incoming-*"), *self.blobs.folder.glob(".incoming-*")):
            leftover.unlink(missing_ok=True)

    @property
    def uploads(self) -> Path:
        """Where uploads lie, named by digest."""
        return self._path / "uploads"

    @property
    def events(self) -> Path:
        """The history's file."""
        return self._path / "events.jsonl"

    def close(self) -> None:
        """Let another controller have the folder."""
        os.close(self._lock)

    def load_state(self) -> State:
        """Read what was remembered.

        Raises:
            InvalidConfiguration: The file is damaged.
        """
        path = self._path / "state.json"
        if not path.exists():
            return State()
        try:
            return msgspec.json.decode(path.read_bytes(), type=State)
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            raise InvalidConfiguration(
                f"{path} is damaged ({error}): restore it from a backup, or delete it to start without deployments"
            ) from error

    def save_state(self, state: State) -> None:
        """Remember."""
        write_atomically(self._path / "state.json", msgspec.json.encode(state))

    def load_speeds(self) -> list[SavedSpeed]:
        """Read what live timings taught of nodes.

        Raises:
            InvalidConfiguration: The file is damaged.
        """
        path = self._path / "speeds.json"
        if not path.exists():
            return []
        try:
            return msgspec.json.decode(path.read_bytes(), type=list[SavedSpeed])
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            raise InvalidConfiguration(
                f"{path} is damaged ({error}): delete it to start with execution profiles as they were measured"
            ) from error

    def save_speeds(self, speeds: list[SavedSpeed]) -> None:
        """Remember."""
        write_atomically(self._path / "speeds.json", msgspec.json.encode(speeds))

    def load_models(self) -> dict[str, ModelRecord]:
        """Read all models; what a crash left half-written is finished or removed.

        Raises:
            InvalidConfiguration: A model's file is damaged.
        """
        models: dict[str, ModelRecord] = {}
        for folder in sorted((self._path / "incoming").iterdir()):
            # A crash between the two steps of `save_model`: a complete folder is the newer version.
            if read_record(folder) is not None:
                self._install(folder)
            shutil.rmtree(folder, ignore_errors=True)
        for folder in sorted((self._path / "models").iterdir()):
            record = read_record(folder)
            if record is not None:
                models[record.name] = record
        return models

    def save_model(self, record: ModelRecord) -> None:
        """Write a model, replacing one of the same name."""
        fresh = self._path / "incoming" / record.name
        shutil.rmtree(fresh, ignore_errors=True)
        write_record(fresh, record)
        self._install(fresh)

    def _install(self, fresh: Path) -> None:
        folder = self._path / "models" / fresh.name
        if folder.exists():
            shutil.rmtree(folder)
        fresh.replace(folder)

    def remove_model(self, name: str) -> None:
        """Forget a model's record; its blobs go with the next `collect`."""
        shutil.rmtree(self._path / "models" / name, ignore_errors=True)

    def upload(self, digest: str, what: str) -> Path:
        """An uploaded file.

        Raises:
            InvalidInput: It is not here.
        """
        path = self.uploads / digest
        if len(digest) != 64 or not digest.isalnum() or not path.is_file():
            raise InvalidInput(f"the {what} was not uploaded to this controller: run the command again")
        return path

    def remove_uploads(self, digests: Iterable[str]) -> None:
        """Delete uploads that were used."""
        for digest in digests:
            (self.uploads / digest).unlink(missing_ok=True)

    def collect(self, needed: Collection[str]) -> int:
        """Delete blobs that nobody needs and return how many."""
        stale = self.blobs.digests() - set(needed)
        for digest in stale:
            self.blobs.remove(digest)
        return len(stale)
