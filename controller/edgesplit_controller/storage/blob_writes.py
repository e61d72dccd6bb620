"""Guard of blobs that are written but not yet named by any plan.

Owns: whether there are some. Its rule: while there are, nothing may be collected. Not here: writing, collecting.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

__all__ = ["BlobWrites"]


class BlobWrites:
    """All writes of blobs that a plan will name."""

    def __init__(self) -> None:
        self._count = 0
        self._then: Callable[[], None] | None = None

    @contextmanager
    def __call__(self) -> Generator[None, None, None]:
        """Write, and name what was written, within this context."""
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            if self._count == 0 and self._then is not None:
                then, self._then = self._then, None
                then()

    def when_done(self, then: Callable[[], None]) -> None:
        """Do this once nobody writes; of several, the last counts."""
        if self._count == 0:
            then()
        else:
            self._then = then
