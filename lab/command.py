"""A run of a scenario carried out, with its report.

Owns: how a run begins and ends: what this machine lacks, Ctrl-C, exit statuses, the report after it. Its rule: whatever ends a run is
one sentence, and what was measured is written and drawn. Not here: options (`__main__.py`), steps (`running/lab.py`).
"""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType

import click

from lab.reporting.commands import draw
from lab.running.journal import JournalForeign
from lab.running.lab import RESULTS, Lab
from lab.running.progress import RunProgress
from lab.scenarios.scenario_file import LoadedScenario
from lab.testbed.namespaces import NamespaceFailed
from lab.testbed.requirements import TestbedUnavailable, unavailable

__all__ = ["run_scenario"]

INTERRUPTED = 130


def run_scenario(loaded: LoadedScenario, folder: Path, command: str, *, fresh: bool) -> int:
    """Run a scenario and draw its report; the exit status."""
    if reason := unavailable():
        click.echo(f"lab: {reason}", err=True)
        return 1
    folder = folder.absolute()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with RunProgress() as progress:
        try:
            lab = Lab(loaded, folder, command, progress, fresh=fresh)
        except JournalForeign as error:
            click.echo(f"lab: {error}", err=True)
            return 1
        status = _ended(lab, progress)
    _drawn(folder)
    return status


def _ended(lab: Lab, progress: RunProgress) -> int:
    """Take the steps; how that ended."""
    try:
        results = lab.run()
    except KeyboardInterrupt:
        progress.say("stopped; nothing is left running, and the same command goes on from here")
        return INTERRUPTED
    except (TestbedUnavailable, NamespaceFailed, TimeoutError) as error:
        progress.say(f"no testbed: {error}")
        return 1
    if results.failures:
        progress.say(f"{len(results.failures)} steps failed; the same command tries them again")
        return 1
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    """The first signal ends the run; those after it must not end its tidying up."""
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def _drawn(folder: Path) -> None:
    """The report of what there is, if anything was measured."""
    if (folder / RESULTS).exists():
        draw(folder)
