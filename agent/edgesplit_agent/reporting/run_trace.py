"""Trace of execution: each run of a component with its begin and end, a JSON document a line.

Owns: the file. Its rule: nobody waits for it; what cannot be written is told once and disturbs nothing. Not here: what is made of it
(`lab/`), sums and metrics (`serving_counters.py`).

Times are those of the machine's monotonic clock, which all processes of one machine share.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import structlog

from edgesplit.wire.headers import ExecutionKey

__all__ = ["RunTrace", "TracedRun"]


class TracedRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    Attributes:
        request: Whose it was.
        component: Number within the plan.
        start_s: When it began. [s, monotonic]
        end_s: When it ended, emulated slowness included. [s, monotonic]
    """

    model: str
    epoch: int
    request: str
    component: int
    start_s: float
    end_s: float


class RunTrace:
    """Appends runs to a file.

    Args:
        path: Made with its first line; None: nothing is kept.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._failed = False

    def ran(self, key: ExecutionKey, component: int, start_s: float, seconds: float) -> None:
        """A component ran. [s]"""
        if self._path is None or self._failed:
            return
        run = TracedRun(
            model=key.model,
            epoch=key.epoch,
            request=key.request,
            component=component,
            start_s=start_s,
            end_s=start_s + seconds,
        )
        try:
            with self._path.open("ab") as file:
                file.write(msgspec.json.encode(run) + b"\n")
        except OSError as error:
            self._failed = True
            structlog.get_logger(part="trace").warning("not-traced", path=str(self._path), cause=str(error))
