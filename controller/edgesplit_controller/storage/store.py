"""Store: the controller's folder.

Owns: where things lie, one controller a folder, writes that a power cut cannot leave half done. Its rule: a write
replaces the old file in one step or is refused and changes nothing; what is damaged is set aside and told, and the rest is
taken as it is. Not here: what the state means, model records (`models/model_record.py`), what damage is told as
(`storage/files/set_aside.py`), telling people (`storage/store_keeper.py`).

    STORE/lock                    held while a controller runs
    STORE/reign.json              which store this is, and how often a controller began with it
    STORE/state.json              what a restart must know
    STORE/speeds.json             what live timings taught of nodes
    STORE/signatures.json         up to which counter messages were signed
    STORE/sessions.json           who is signed in at the dashboard
    STORE/events.jsonl            the history
    STORE/models/NAME/            one record each
    STORE/blobs/DIGEST            graphs and weights, served to agents
    STORE/uploads/DIGEST          from splitctl, until they are used
    STORE/incoming/, replaced/    versions of a model for the moment in which one takes another's place
    STORE/set-aside/NAME.N        what was damaged
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from edgesplit.errors import InvalidConfiguration, InvalidInput, StoreUnwritable
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.storage.deployment_state import STATE_FORMAT, State
from edgesplit_controller.storage.files.atomic_write import write_atomically
from edgesplit_controller.storage.files.file_format import refuse_newer
from edgesplit_controller.storage.files.set_aside import DamageLog, is_passing_shortage
from edgesplit_controller.storage.reign import Reign
from edgesplit_controller.storage.saved_sessions import SavedSessions
from edgesplit_controller.storage.saved_speeds import SavedSpeed
from edgesplit_controller.storage.write_health import StoreHealth

__all__ = ["Store", "is_in_use"]

V = TypeVar("V")
FOLDERS = ("uploads", "blobs", "models", "incoming", "replaced")


class SignatureRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a restart must know of signatures.

    Attributes:
        reserved: No counter above was used.
    """

    reserved: int


def is_in_use(path: Path) -> bool:
    """Whether another process holds the folder now."""
    try:
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


class Store:
    """The folder, held by one controller at a time.

    Args:
        path: Made where it is missing.

    Attributes:
        path: The folder.
        health: Whether it takes writes.
        blobs: Graphs and weights.
        log: What was damaged since this start.
        reign: Which store this is, and its last start that was told to the fleet.
        unmanaged: Something that nodes hold could not be taken over: what the broker keeps of it is left alone.
        on_saved: Called once the state was written.

    Raises:
        InvalidConfiguration: The folder cannot be written, another controller holds it, or a newer release wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.health = StoreHealth(path)
        self.log = DamageLog(path)
        self.unmanaged = False
        self.on_saved: Callable[[], None] = _nobody
        self._log = structlog.get_logger(part="store")
        self._unwritten_speeds: list[SavedSpeed] | None = None
        try:
            path.mkdir(parents=True, exist_ok=True)
            if (path / "lock").is_dir():
                self.log.set_aside(path / "lock", "it is a folder", "another was made")
            self._lock = os.open(path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InvalidConfiguration(f"[store] path {path} cannot be used: {error.strerror or error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise _in_use(path) from error
        try:
            self._refuse_newer()
            self._make_sound()
        except OSError as error:
            os.close(self._lock)
            raise InvalidConfiguration(f"[store] path {path} cannot be used: {error.strerror or error}") from error
        except InvalidConfiguration:
            os.close(self._lock)
            raise
        self.blobs = BlobStore(path / "blobs", partial(self.health.writing, mixed=True))
        self.reign = self._load_reign()

    @staticmethod
    def check_free(path: Path) -> None:
        """Refuse a folder that another process holds.

        Raises:
            InvalidConfiguration: It does.
        """
        if is_in_use(path):
            raise _in_use(path)

    def _make_sound(self) -> None:
        """Have every folder be one, and every blob and history a file."""
        for name in (*FOLDERS, "made"):
            folder = self.path / name
            if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
                self.log.set_aside(folder, "it is no folder", "another was made")
        for name in FOLDERS[:2]:
            (self.path / name).mkdir(exist_ok=True)
        if self.events.exists() and not _is_readable_file(self.events):
            self.log.set_aside(self.events, "it cannot be read", "the history begins anew")
        for name in FOLDERS[:2]:
            for leftover in (self.path / name).glob(".incoming-*"):
                leftover.unlink(missing_ok=True)
        for blob in (self.path / "blobs").iterdir():
            if not blob.is_file():
                self.log.set_aside(blob, "it is no file", "it is fetched again where it is needed")

    def _load_reign(self) -> Reign:
        reign = self._loaded("reign.json", Reign, "this counts as another store, which takes over what the fleet keeps")
        return reign or Reign(store=secrets.token_hex(8))

    def save_reign(self, reign: Reign) -> None:
        """Remember which store this is.

        Raises:
            StoreUnwritable: What was remembered before stands.
        """
        content = msgspec.json.encode(reign)
        with self.health.writing():
            write_atomically(self.path / "reign.json", content)
        self.reign = reign

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
        refuse_newer(path, content, STATE_FORMAT)

    def _loaded(self, name: str, kind: type[V], then: str) -> V | None:
        """What a file holds; None where there is none, or it was damaged and is set aside.

        Args:
            name: Of the file.
            kind: What it holds.
            then: What follows where it is damaged, in a few words.

        Raises:
            InvalidConfiguration: It can neither be read nor moved away, or the machine lacks something at the moment.
        """
        path = self.path / name
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
            if is_passing_shortage(error):
                raise InvalidConfiguration(f"{path} cannot be read now ({error}): start again") from error
            self.log.set_aside(path, error, then)
            return None

    def load_state(self) -> State:
        """Read what was remembered; nothing where the file is damaged, which is set aside.

        Raises:
            InvalidConfiguration: The file can neither be read nor moved away.
        """
        then = "plans and goals are taken over from what nodes keep, as far as they keep it"
        return self._loaded("state.json", State, then) or State()

    def save_state(self, state: State) -> None:
        """Remember.

        Raises:
            StoreUnwritable: What was remembered before stands.
        """
        content = msgspec.json.encode(msgspec.structs.replace(state, format=STATE_FORMAT))
        with self.health.writing():
            write_atomically(self.path / "state.json", content)
        self.health.succeeded()
        self.on_saved()

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
        """Read what live timings taught of nodes; nothing where the file is damaged, which is set aside."""
        then = "execution profiles hold as they were measured"
        return self._loaded("speeds.json", list[SavedSpeed], then) or []

    def save_speeds(self, speeds: list[SavedSpeed]) -> None:
        """Remember; what cannot be written now is with `settle`, for it was measured and can be measured again."""
        self._unwritten_speeds = speeds
        with contextlib.suppress(StoreUnwritable):
            self.settle()

    def load_counter(self) -> int:
        """Read the bound that no counter of a signature was above; 0 before the first, or where the file is damaged, which is set aside."""
        then = "signatures go by the clock alone, which must not have gone back since the last run"
        record = self._loaded("signatures.json", SignatureRecord, then)
        return record.reserved if record is not None else 0

    def save_counter(self, reserved: int) -> None:
        """Remember that bound; until it can be written, the next run relies on the clock not having gone back."""
        content = msgspec.json.encode(SignatureRecord(reserved=reserved))
        with contextlib.suppress(StoreUnwritable), self.health.writing():
            write_atomically(self.path / "signatures.json", content)

    def load_sessions(self) -> SavedSessions | None:
        """Read who was signed in at the dashboard; None before anybody was, or where the file is damaged, which is set aside."""
        return self._loaded("sessions.json", SavedSessions, "operators sign in at the dashboard again")

    def save_sessions(self, sessions: SavedSessions) -> None:
        """Remember; who cannot be remembered signs in again after a restart."""
        with contextlib.suppress(StoreUnwritable), self.health.writing():
            write_atomically(self.path / "sessions.json", msgspec.json.encode(sessions))

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

    def drop_damaged_blobs(self, sizes: Mapping[str, int]) -> frozenset[str]:
        """Set aside blobs that have another size than they should; returns those of `sizes` that are not here. [B]"""
        missing: set[str] = set()
        for digest, nbytes in sizes.items():
            path = self.blobs.folder / digest
            try:
                found = path.stat().st_size
            except OSError:
                missing.add(digest)
                continue
            if found != nbytes:
                why = f"it has {found} bytes instead of {nbytes}"
                self.log.set_aside(path, why, "it is fetched again from whoever has it")
                missing.add(digest)
        return frozenset(missing)

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


def _in_use(path: Path) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"[store] path {path} is in use by another controller: stop that one or name another folder"
    )


def _nobody() -> None:
    """Nobody wants to know yet."""


def _is_readable_file(path: Path) -> bool:
    return path.is_file() and os.access(path, os.R_OK | os.W_OK)
