"""Progress of a run on standard error: what is being done, how much is left.

Owns: lines and the bar below them. Its rule: standard output is for results; where nobody looks (a pipe, a log), only lines. Not here:
estimating what is left (`steps.py`).
"""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

__all__ = ["RunProgress", "hours"]


def hours(seconds: float) -> str:
    """As people say it: `2 h 05 min`, `3 min`, `40 s`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


class RunProgress:
    """Lines and a bar; a context manager."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}, {task.fields[left]} left"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._doing = ""

    def __enter__(self) -> RunProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """A line, with the time of day."""
        self._console.print(f"{time.strftime('%H:%M:%S')} {text}", markup=False)

    def doing(self, text: str) -> None:
        """What is being done now; a line where there is no bar, once."""
        if text == self._doing:
            return
        self._doing = text
        if self._task is not None:
            self._progress.update(self._task, description=text)

    def done(self, number: int, of: int, left_s: float) -> None:
        """How far it is."""
        left = hours(left_s)
        if self._task is None:
            self._task = self._progress.add_task(self._doing, total=of, completed=number, left=left)
        else:
            self._progress.update(self._task, completed=number, total=of, left=left)
