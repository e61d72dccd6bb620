"""Atomic file replacement: a crash leaves the old content or the new.

Its rule: whoever keeps a file over a restart writes it so. Not here: what a refused write means (`write_health.py`).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content so that a crash leaves the old or the new, never a mixture.

    Raises:
        OSError: It could not be written; the old content stands, and nothing half-written takes up room.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            # A rename may reach the disk before the bytes do.
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
