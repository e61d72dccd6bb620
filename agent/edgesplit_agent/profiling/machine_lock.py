"""A lock that lets one agent at a time measure where several play nodes on one machine.

Owns: the lock file. Its rule: it is advisory; where it cannot be had, measuring goes on without. Not here: measuring.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

__all__ = ["machine_lock"]

PATIENCE_S = 120.0
PAUSE_S = 0.1


@asynccontextmanager
async def machine_lock(*, enabled: bool, folder: Path | None = None, name: str = "") -> AsyncGenerator[None]:
    """Hold the lock of this user's agents on this machine inside the block; a process that dies lets go of it.

    Args:
        enabled: False: do nothing.
        folder: Of the lock file; the system's for temporary files by default.
        name: Of a lock beside the usual one.
    """
    if not enabled:
        yield
        return
    path = (folder or Path(tempfile.gettempdir())) / f"edgesplit-{os.getuid()}{name}.lock"
    try:
        file = path.open("ab")
    except OSError as error:
        structlog.get_logger(part="profiling").warning("lock-unavailable", path=str(path), error=str(error))
        yield
        return
    with file:
        for _ in range(int(PATIENCE_S / PAUSE_S)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                await asyncio.sleep(PAUSE_S)
            else:
                break
        yield
