"""Write health: whether the controller's folder takes writes.

Owns: what became of the last writes, and the one error that a refused write is. Its rule: a failure stays known until
the whole state was written again; whoever writes asks nobody, and says it with the same sentence. Not here: what is
written (`store.py`), trying again (`storage/store_keeper.py`).
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from edgesplit.errors import StoreUnwritable

__all__ = ["StoreHealth"]

_OF_THE_STORE = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EIO,
        errno.EFBIG,
        errno.EACCES,
        errno.EPERM,
        errno.EMFILE,
        errno.ENFILE,
        errno.ESTALE,
    }
)
"""What a file system says for itself; other errors may be the caller's."""


class StoreHealth:
    """One folder's.

    Args:
        folder: Named in sentences.
        clock: Seconds since the epoch.

    Attributes:
        cause: Why the last write failed; empty while writes succeed.
        since_unix_s: When that began. [s since the epoch]
        on_change: Called, in whatever thread wrote, when writes begin to fail or succeed again.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.cause = ""
        self.since_unix_s = 0.0
        self.on_change: Callable[[], None] = _nobody
        self._folder = folder
        self._clock = clock

    @property
    def sentence(self) -> str:
        """What is wrong and what to do; empty while writes succeed."""
        if not self.cause:
            return ""
        return (
            f"the controller's store {self._folder} cannot be written ({self.cause}): make room there or mend it; "
            "the controller tries again by itself"
        )

    @contextmanager
    def writing(self, *, mixed: bool = False) -> Generator[None, None, None]:
        """Do what writes to the folder within this context.

        Args:
            mixed: Other things are done in it too, so that only what a file system says for itself counts.

        Raises:
            StoreUnwritable: It failed; nothing was changed.
        """
        try:
            yield
        except OSError as error:
            if mixed and error.errno not in _OF_THE_STORE:
                raise
            self.failed(error)
            raise StoreUnwritable(f"nothing was changed: {self.sentence}") from error

    def failed(self, error: OSError) -> None:
        """A write failed."""
        was_sound = not self.cause
        self.cause = error.strerror or str(error) or type(error).__name__
        if was_sound:
            self.since_unix_s = self._clock()
            self.on_change()

    def succeeded(self) -> None:
        """The whole state was written."""
        if self.cause:
            self.cause = ""
            self.on_change()


def _nobody() -> None:
    """Nobody wants to know yet."""
