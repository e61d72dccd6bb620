"""Model folders on disk, each replaced whole.

Owns: `models/`, and `incoming/`, `replaced/` and `restored/` beside it, where versions of a model stand for a moment. Its rule: a kill
at any moment leaves one whole version of every model. Not here: what is in a folder (`model_record.py`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import IO

from edgesplit.errors import InvalidConfiguration, InvalidInput
from edgesplit_controller.models.model_record import ModelRecord, read_record, write_record
from edgesplit_controller.storage.files.set_aside import DamageLog, is_passing_shortage
from edgesplit_controller.storage.write_health import StoreHealth

__all__ = ["ModelFolders"]

_CHUNK_BYTES = 1 << 20


class ModelFolders:
    """All of them.

    Args:
        path: The controller's folder, held by this process.
        health: Whether it takes writes.
        log: Where damaged models are set aside.

    Raises:
        InvalidConfiguration: The folder cannot be written.
    """

    def __init__(self, path: Path, health: StoreHealth, log: DamageLog) -> None:
        self._path = path
        self._health = health
        self._log = log
        try:
            for name in ("models", "incoming", "replaced", "restored"):
                (path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidConfiguration(f"[store] path {path} cannot be used: {error.strerror or error}") from error

    def load(self, removed: Collection[str] = (), restored: Collection[str] = ()) -> dict[str, ModelRecord]:
        """Read all models; what a crash left half-written is finished or removed, and what is damaged is set aside.

        Args:
            removed: Those whose removal was decided; their folders go.
            restored: Those of a backup whose restoring was decided; theirs take their places.

        Raises:
            InvalidConfiguration: A damaged model cannot be moved away.
        """
        for name in removed:
            self.remove(name)
        models: dict[str, ModelRecord] = {}
        for folder in sorted((self._path / "replaced").iterdir()):
            # A crash or a full disk in the middle of `_install`: without a newer version, the old one goes back.
            if not (self._path / "models" / folder.name).exists() and folder.name not in removed:
                folder.replace(self._path / "models" / folder.name)
            shutil.rmtree(folder, ignore_errors=True)
        for folder in sorted((self._path / "incoming").iterdir()):
            # A crash between the two steps of `save`: a complete folder is the newer version.
            if folder.name not in removed and self._read(folder) is not None:
                self._install(folder)
            shutil.rmtree(folder, ignore_errors=True)
        for name in restored:
            if read_record(self._path / "restored" / name) is not None:
                self._install(self._path / "restored" / name)
        self.discard_staged()
        for folder in sorted((self._path / "models").iterdir()):
            record = self._read(folder) if folder.name not in removed else None
            if record is not None and record.name == folder.name:
                models[record.name] = record
        return models

    def _read(self, folder: Path) -> ModelRecord | None:
        try:
            return read_record(folder)
        except (InvalidConfiguration, OSError) as error:
            if isinstance(error, InvalidConfiguration) and error.__cause__ is None:
                raise  # whole, and written by a newer release
            cause = error.__cause__ or error
            if is_passing_shortage(cause):
                raise InvalidConfiguration(f"{folder} cannot be read now ({cause}): start again") from error
            self._log.set_aside(folder, cause, "the model is taken over from what nodes keep, or has to be added again")
            return None

    def folder(self, name: str) -> Path:
        """Where a model lies that was saved."""
        return self._path / "models" / name

    def save(self, record: ModelRecord, calibration: Path | None = None) -> None:
        """Write a model, replacing one of the same name.

        Args:
            record: What.
            calibration: The user's samples, kept until the record is replaced.

        Raises:
            StoreUnwritable: The one there was is still there.
        """
        fresh = self._path / "incoming" / record.name
        with self._health.writing():
            try:
                shutil.rmtree(fresh, ignore_errors=True)
                write_record(fresh, record, calibration)
                self._install(fresh)
            except OSError:
                shutil.rmtree(fresh, ignore_errors=True)
                raise

    def stage(self, name: str, file: str, stream: IO[bytes]) -> None:
        """Write a file of a record that is to be restored; nothing holds until it is installed.

        Raises:
            StoreUnwritable: There is no room for it.
        """
        folder = self._path / "restored" / name
        with self._health.writing(mixed=True):
            folder.mkdir(exist_ok=True)
            with (folder / file).open("wb") as written:
                shutil.copyfileobj(stream, written, _CHUNK_BYTES)
                written.flush()
                os.fsync(written.fileno())

    def staged(self, name: str) -> ModelRecord:
        """A record that is to be restored.

        Raises:
            InvalidInput: It is not whole, or of a release that wrote others.
        """
        try:
            record = read_record(self._path / "restored" / name)
        except InvalidConfiguration as error:
            raise InvalidInput(f"the model {name} of the backup cannot be read: {error.__cause__ or error}") from error
        if record is None or record.name != name:
            raise InvalidInput(f"the backup holds no whole record of the model {name}")
        return record

    def install_staged(self, name: str) -> ModelRecord:
        """Put a restored record in its place; that it is to be there is written already.

        Raises:
            StoreUnwritable: The next start does it.
        """
        record = self.staged(name)
        with self._health.writing():
            self._install(self._path / "restored" / name)
        return record

    def discard_staged(self) -> None:
        """Delete what was not installed."""
        for folder in (self._path / "restored").iterdir():
            shutil.rmtree(folder, ignore_errors=True)

    def _install(self, fresh: Path) -> None:
        """Put a complete version in place of the one before, by two renames of which the second decides."""
        folder, before = self._path / "models" / fresh.name, self._path / "replaced" / fresh.name
        shutil.rmtree(before, ignore_errors=True)
        if folder.exists():
            folder.replace(before)
        try:
            fresh.replace(folder)
        except OSError:
            if before.exists():
                before.replace(folder)
            raise
        shutil.rmtree(before, ignore_errors=True)

    def remove(self, name: str) -> bool:
        """Forget a model's record; its blobs go with the store's next `collect`. False if that could not be done now."""
        folders = [self._path / "models" / name, self._path / "replaced" / name]
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        return not any(folder.exists() for folder in folders)
