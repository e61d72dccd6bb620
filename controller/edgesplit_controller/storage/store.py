"""The controller's folder on disk.

Owns: `blobs/`, `uploads/`, `events.jsonl`, `state.json`, `speeds.json` and `signatures.json`. Its rule: every file is replaced whole, so a
kill at any moment leaves a readable folder; what cannot be written raises `StoreUnwritable` and leaves what was there; a
damaged file is refused with one sentence, never guessed at. Not here: what the values mean, `models/`
(`models/model_folders.py`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Collection, Generator, Iterable
from functools import partial
from pathlib import Path

import msgspec
import structlog

from edgesplit.errors import InvalidConfiguration, InvalidInput, StoreUnwritable
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.storage.atomic_write import write_atomically
from edgesplit_controller.storage.deployment_state import STATE_FORMAT, State
from edgesplit_controller.storage.file_format import refuse_newer
from edgesplit_controller.storage.saved_speeds import SavedSpeed
from edgesplit_controller.storage.write_health import StoreHealth

__all__ = ["Store"]


class SignatureRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a restart must know of signatures.

    Attributes:
        reserved: No counter above was used.
    """

    reserved: int


class Store:
    """The folder, held by one controller at a time.

    Args:
        path: Made where it is missing.

    Attributes:
        path: The folder.
        health: Whether it takes writes.
        blobs: Graphs and weights.

    Raises:
        InvalidConfiguration: The folder cannot be written, another controller holds it, or a newer release wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.health = StoreHealth(path)
        self._log = structlog.get_logger(part="store")
        self._unwritten_speeds: list[SavedSpeed] | None = None
        try:
            for name in ("uploads", "blobs"):
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
        self._refuse_newer()
        self.blobs = BlobStore(path / "blobs", partial(self.health.writing, mixed=True))
        for leftover in (*self.uploads.glob(".incoming-*"), *self.blobs.folder.glob(".incoming-*")):
            leftover.unlink(missing_ok=True)

    @property
    def uploads(self) -> Path:
        """Where uploads lie, named by digest."""
        return self.path / "uploads"

    @property
    def events(self) -> Path:
        """The history's file."""
        return self.path / "events.jsonl"

    def close(self) -> None:
        """Let another controller have the folder."""
        os.close(self._lock)

    def _refuse_newer(self) -> None:
        """Touch nothing of a folder that a newer release wrote: its state says which format all of it has."""
        path = self.path / "state.json"
        try:
            content = path.read_bytes()
        except OSError:
            return  # there is none, or reading it says why not
        try:
            refuse_newer(path, content, STATE_FORMAT)
        except InvalidConfiguration:
            os.close(self._lock)
            raise

    def load_state(self) -> State:
        """Read what was remembered.

        Raises:
            InvalidConfiguration: The file is damaged.
        """
        path = self.path / "state.json"
        if not path.exists():
            return State()
        try:
            return msgspec.json.decode(path.read_bytes(), type=State)
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            raise InvalidConfiguration(
                f"{path} is damaged ({error}): restore it from a backup, or delete it to start without deployments"
            ) from error

    def save_state(self, state: State) -> None:
        """Remember.

        Raises:
            StoreUnwritable: What was remembered before stands.
        """
        content = msgspec.json.encode(msgspec.structs.replace(state, format=STATE_FORMAT))
        with self.health.writing():
            write_atomically(self.path / "state.json", content)
        self.health.succeeded()

    def probe(self, nbytes: int = 1 << 16) -> None:
        """Look whether the folder takes writes, without leaving anything there.

        Raises:
            StoreUnwritable: It does not.
        """
        path = self.path / ".probe"
        with self.health.writing():
            try:
                path.write_bytes(bytes(nbytes))
            finally:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)

    def load_speeds(self) -> list[SavedSpeed]:
        """Read what live timings taught of nodes.

        Raises:
            InvalidConfiguration: The file is damaged.
        """
        path = self.path / "speeds.json"
        if not path.exists():
            return []
        try:
            return msgspec.json.decode(path.read_bytes(), type=list[SavedSpeed])
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            raise InvalidConfiguration(
                f"{path} is damaged ({error}): delete it to start with execution profiles as they were measured"
            ) from error

    def save_speeds(self, speeds: list[SavedSpeed]) -> None:
        """Remember; what cannot be written now is with `settle`, for it was measured and can be measured again."""
        self._unwritten_speeds = speeds
        with contextlib.suppress(StoreUnwritable):
            self.settle()

    def load_counter(self) -> int:
        """Read the bound that no counter of a signature was above; 0 before the first.

        Raises:
            InvalidConfiguration: The file is damaged.
        """
        path = self.path / "signatures.json"
        if not path.exists():
            return 0
        try:
            return msgspec.json.decode(path.read_bytes(), type=SignatureRecord).reserved
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            raise InvalidConfiguration(
                f"{path} is damaged ({error}): delete it if this machine's clock did not go back since the last run"
            ) from error

    def save_counter(self, reserved: int) -> None:
        """Remember that bound; until it can be written, the next run relies on the clock not having gone back."""
        content = msgspec.json.encode(SignatureRecord(reserved=reserved))
        with contextlib.suppress(StoreUnwritable), self.health.writing():
            write_atomically(self.path / "signatures.json", content)

    def settle(self) -> None:
        """Write what could not be written before.

        Raises:
            StoreUnwritable: It still cannot.
        """
        if self._unwritten_speeds is None:
            return
        content = msgspec.json.encode(self._unwritten_speeds)
        with self.health.writing():
            write_atomically(self.path / "speeds.json", content)
        self._unwritten_speeds = None

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
        """Delete uploads that were used, or refused."""
        for digest in digests:
            if len(digest) == 64 and digest.isalnum():
                with self._tidying():
                    (self.uploads / digest).unlink(missing_ok=True)

    def collect(self, needed: Collection[str]) -> int:
        """Delete blobs that nobody needs and return how many."""
        stale = self.blobs.digests() - set(needed)
        for digest in stale:
            with self._tidying():
                self.blobs.remove(digest)
        return len(stale)

    @contextlib.contextmanager
    def _tidying(self) -> Generator[None, None, None]:
        """Delete within this context; what stays takes up room until the next time, and that is all."""
        try:
            yield
        except OSError as error:
            self._log.debug("not-deleted", reason=str(error))
