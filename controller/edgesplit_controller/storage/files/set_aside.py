"""Setting aside what is damaged in the controller's folder, so that the next start does not meet it again.

Owns: the folder `set-aside` and what was put there. Its rule: what cannot be read is moved, never deleted, and told; of one
name the last few stay. Not here: what is taken in its place (`store.py`, `models/model_folders.py`).
"""

from __future__ import annotations

import errno
import shutil
from dataclasses import dataclass
from pathlib import Path

from edgesplit.errors import InvalidConfiguration

__all__ = ["Damage", "DamageLog", "is_passing_shortage"]

FOLDER = "set-aside"
KEPT = 5
"""Of one name; a disk that damages a file again and again must not be filled by it."""
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR})


def is_passing_shortage(error: BaseException) -> bool:
    """Whether reading failed for want of something that says nothing of the file."""
    return isinstance(error, OSError) and error.errno in _SHORTAGES


@dataclass(frozen=True)
class Damage:
    """Something that was set aside.

    Attributes:
        path: Where it was.
        reason: What is wrong with it.
        moved_to: Where it is now.
        then: What follows, in a few words.
    """

    path: Path
    reason: str
    moved_to: Path
    then: str

    @property
    def sentence(self) -> str:
        """For people."""
        return f"{self.path} is damaged ({self.reason}) and was set aside as {self.moved_to}: {self.then}"


class DamageLog:
    """Of one folder.

    Args:
        store: The controller's folder, held by this process.

    Attributes:
        damages: What was set aside since this start, in order.
    """

    def __init__(self, store: Path) -> None:
        self.damages: list[Damage] = []
        self._store = store

    def set_aside(self, path: Path, reason: object, then: str) -> None:
        """Move a file or folder away.

        Raises:
            InvalidConfiguration: It cannot be moved.
        """
        folder = self._store / FOLDER
        try:
            folder.mkdir(exist_ok=True)
            held = sorted(int(old.name.rpartition(".")[2]) for old in folder.glob(f"{path.name}.*") if _is_ours(old))
            target = folder / f"{path.name}.{held[-1] + 1 if held else 1}"
            path.rename(target)
        except OSError as error:
            raise InvalidConfiguration(
                f"{path} is damaged ({reason}) and cannot be set aside ({error.strerror or error}): move it away"
            ) from error
        for number in held[: -(KEPT - 1)]:
            _delete(folder / f"{path.name}.{number}")
        self.damages.append(Damage(path, str(reason), target, then))


def _is_ours(path: Path) -> bool:
    return path.name.rpartition(".")[2].isdigit()


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
