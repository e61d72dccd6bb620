"""Progress display for whoever waits.

Owns: progress on standard error, as bars on a terminal and as plain lines elsewhere. Its rule: nothing here touches
standard output. Not here: what is waited for.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import click

if TYPE_CHECKING:  # rich takes longer to import than --help may, and is only needed on a terminal
    from rich.progress import Progress, TaskID

__all__ = ["PlainProgress", "ProgressDisplay", "TerminalProgress", "progress_display"]


class ProgressDisplay(Protocol):
    """Shows steps; a step is known by its text without figures."""

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal in order."""
        ...

    def step(self, text: str, fraction: float | None) -> None:
        """Show what is being done and which share of it is done, None where unknown. [1]"""
        ...


class PlainProgress:
    """One line per new text, for logs and pipes."""

    def __init__(self) -> None:
        self._text = ""

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to leave."""

    def step(self, text: str, fraction: float | None) -> None:
        """Print the text when it is new; fractions alone would flood a log."""
        if text and text != self._text:
            self._text = text
            click.echo(f"splitctl: {text}", err=True)


class TerminalProgress:
    """A bar per step; a step is done when the next begins."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - only terminals need it
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

        self._progress: Progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TimeElapsedColumn(),
            console=Console(stderr=True, markup=False),
        )
        self._text = ""
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Complete the last bar unless the work failed, and stop drawing."""
        if error is None:
            self._complete()
        self._progress.stop()

    def step(self, text: str, fraction: float | None) -> None:
        """Move the bar, or begin the next one."""
        if self._task is None or (text and text != self._text):
            self._complete()
            self._text = text
            self._task = self._progress.add_task(text, total=None if fraction is None else 1.0)
        if fraction is not None:
            self._progress.update(self._task, total=1.0, completed=fraction)

    def _complete(self) -> None:
        if self._task is not None:
            self._progress.update(self._task, total=1.0, completed=1.0)
            self._progress.stop_task(self._task)


def progress_display() -> ProgressDisplay:
    """The display that fits where standard error goes."""
    return TerminalProgress() if sys.stderr.isatty() else PlainProgress()
