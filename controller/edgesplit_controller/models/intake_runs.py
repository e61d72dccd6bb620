"""Child processes of the controller that do the work of an intake.

Owns: starting one, its environment, its end. Its rule: whoever is cancelled ends its process; one that ends without a word failed.
Not here: what it does (`intake/intake_process.py`), whether it is tried again (`background_completion.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable

import msgspec

from edgesplit_controller.models.intake_messages import (
    CompletionRequest,
    IntakeDone,
    IntakeFailed,
    IntakeMessage,
    IntakeProgress,
    IntakeRequest,
    request_line,
)

__all__ = ["IntakeRun", "Tell", "run_in_process"]

MODULE = "edgesplit_controller.models.intake.intake_process"
ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}
GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_TRIM_THRESHOLD_": str(8 << 20)}
"""For glibc, where hundreds of sessions run for minutes: tensors of a megabyte are the system's pages, and go back to it; else what
they once took would stay. Pages are cleared each time they are had, so whom somebody waits for does without."""

Tell = Callable[[IntakeProgress], None]
IntakeRun = Callable[[IntakeRequest, Tell], Awaitable[IntakeDone | IntakeFailed]]
"""Carries out a request; cancelled, it ends that."""


async def run_in_process(request: IntakeRequest, tell: Tell) -> IntakeDone | IntakeFailed:
    """Carry out a request in a process of its own."""
    pipe = asyncio.subprocess.PIPE
    heap = ONE_HEAP | GIVING_BACK if isinstance(request, CompletionRequest) else ONE_HEAP
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", MODULE), stdin=pipe, stdout=pipe, env=os.environ | heap
    )
    ended: IntakeDone | IntakeFailed | None = None
    try:
        assert process.stdin is not None  # noqa: S101 - asked for above
        assert process.stdout is not None  # noqa: S101 - asked for above
        process.stdin.write(request_line(request))
        async for line in process.stdout:
            message: IntakeMessage = msgspec.json.decode(line, type=IntakeMessage)
            if isinstance(message, IntakeProgress):
                tell(message)
            else:
                ended = message
        code = await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    what = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
    return ended or IntakeFailed(reason=f"the process that does it {what}", passing=True, died=True)
