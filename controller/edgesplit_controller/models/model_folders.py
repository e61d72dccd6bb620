"""Model folders on disk, each replaced whole.

Owns: `models/`, and `incoming/` and `replaced/` beside it, where versions of a model stand for a moment. Its rule: a kill
at any moment leaves one whole version of every model. Not here: what is in a folder (`model_record.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from edgesplit.errors import InvalidConfiguration
from edgesplit_controller.models.model_record import ModelRecord, read_record, write_record
from edgesplit_controller.storage.set_aside import DamageLog, is_passing_shortage
from edgesplit_controller.storage.write_health import StoreHealth

__all__ = ["ModelFolders"]


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
            for name in ("models", "incoming", "replaced"):
                (path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidConfiguration(f"[store] path {path} cannot be used: {error.strerror or error}") from error

    def load(self, removed: Collection[str] = ()) -> dict[str, ModelRecord]:
        """Read all models; what a crash left half-written is finished or removed, and what is damaged is set aside.

        Args:
            removed: Those whose removal was decided; their folders go.

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
