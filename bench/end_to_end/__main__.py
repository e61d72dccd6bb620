"""Predictions beside measurements and a control, and seconds until changes are noticed, on shaped links: the command.

Owns: options, the three parts in order, what is printed and written. Its rule: whatever ends a run, what it had found until
then is printed and written, and nothing is left behind. Not here: the parts (`visits.py`, `changes.py`, `steady.py`).
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console

from bench.end_to_end.changes import changes, unrest
from bench.end_to_end.course import Course
from bench.end_to_end.document import Document
from bench.end_to_end.plans.wishes import steady_wish
from bench.end_to_end.progress import say
from bench.end_to_end.steady import readings
from bench.end_to_end.subjects import CHANGED, QUICK, SHIPPED, from_folder, from_zoo
from bench.end_to_end.tables import links_table
from bench.end_to_end.visits import Effort, run_visits
from demo.fleet import CommandFailed
from edgesplit.errors import EdgesplitError
from edgesplit_controller.configuration import PlanningSection
from lab.testbed.link_rates import LinkRates
from lab.testbed.requirements import TestbedUnavailable, unavailable
from lab.testbed.testbed import QUOTAS, STUDY, Layout, Testbed

__all__ = ["main"]

PARTS = ("changes", "plans", "steady")
STAYS = "change_threshold = 1000.0\ngain_threshold = 1000.0"
"""While plans are measured none is replaced by itself: a prediction that proves wrong would otherwise be answered with
another plan before it was held to anything."""
RECORDS = "record_timings"
QUICK_EFFORT = Effort(plans=4, rates=(1.0,), candidates=4, warm_up=3, requests=5, profile_every=3)
ENDINGS = (CommandFailed, EdgesplitError, TestbedUnavailable, subprocess.SubprocessError, TimeoutError, OSError)


class Run:
    """One run: its folder, what is kept, and the document that fills.

    Args:
        folder: For everything of this run.
        models: Folder of ONNX files to measure instead of the zoo's.
        effort: How much is measured.
        quick: A smoke run.
        record: Where the controller's observations are copied to, of the part that ran last.
    """

    def __init__(self, folder: Path, models: Path | None, effort: Effort, *, quick: bool, record: Path | None) -> None:
        self._folder = folder
        self._models = models
        self._effort = effort
        self._quick = quick
        self._record = record
        self._console = Console(width=200)
        self.document = Document(seed=effort.seed)

    def changes(self, noise_minutes: float) -> None:
        """Halve what there is to halve, on nodes with quotas; then noise alone."""
        with self._testbed("changes", QUOTAS) as testbed:
            (subject,) = from_zoo(CHANGED, testbed.folder)
            course, rates = Course(testbed, subject), LinkRates(testbed, say)
            course.deploy(0)
            rates.await_believed()
            self._console.print(links_table(testbed))
            for noticed in changes(course, testbed, rates):
                self.document.noticed.append(noticed)
            if noise_minutes > 0:
                self.document.unrest = unrest(course, testbed, noise_minutes, self._effort.seed)

    def plans(self) -> None:
        """Predict and measure plans of every model, on nodes that are slower by a factor."""
        with self._testbed("plans", STUDY, STAYS) as testbed:
            if self._models is not None:
                subjects = from_folder(self._models, testbed.folder)
            else:
                subjects = from_zoo(QUICK if self._quick else SHIPPED, testbed.folder)
            run_visits(testbed, subjects, self._effort, testbed.folder, self.document.findings)
            self._console.print(links_table(testbed))

    def steady(self, minutes: float) -> None:
        """Read one plan's prediction again and again."""
        with self._testbed("steady", STUDY) as testbed:
            (subject,) = from_zoo(CHANGED, testbed.folder)
            course = Course(testbed, subject)
            course.deploy(0)
            LinkRates(testbed, say).await_believed()
            course.ask(steady_wish(course.problem(testbed.folder)))
            readings(course, minutes, self.document.readings)

    def show(self) -> None:
        """Print what was found."""
        for shown in self.document.shown():
            self._console.print(shown)

    @contextmanager
    def _testbed(self, part: str, layout: Layout, planning: str = "") -> Iterator[Testbed]:
        folder = self._folder / part
        observations = folder / "observations.jsonl"
        if self._record is not None:
            planning += f'\n{RECORDS} = "{observations}"'
        try:
            with Testbed(folder / "fleet", layout, planning=planning) as testbed:
                testbed.fleet.await_nodes()
                yield testbed
        finally:
            if self._record is not None and observations.exists():
                shutil.copyfile(observations, self._record)
                say(f"observations: {self._record}")


@click.command()
@click.option(
    "--models",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of ONNX files to measure; default: four topologies of the zoo.",
)
@click.option("--plans", default=Effort.plans, show_default=True, help="Different plans, over all models and rates.")
@click.option("--seed", default=Effort.seed, show_default=True, help="Of the order of visits.")
@click.option("--candidates", default=Effort.candidates, show_default=True, help="Operators that may be quantized.")
@click.option("--quick", is_flag=True, help="Four plans of two small models: whether it works, not how well.")
@click.option("--only", type=click.Choice(PARTS), help="This part alone; steady runs only where it is named.")
@click.option("--minutes", default=10.0, show_default=True, help="How long `steady` reads.")
@click.option("--noise-minutes", default=10.0, show_default=True, help="How long `changes` has noise; 0 for none.")
@click.option("--keep-logs", type=click.Path(path_type=Path), help="Folder for the daemons' logs; default: removed.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write everything that was found there.")
@click.option("--record", type=click.Path(path_type=Path), help="Write what the controller's estimator took in there.")
@click.option("--strict", is_flag=True, help="Exit 1 where something that is aimed at is missed.")
def main(  # noqa: PLR0917 - one parameter an option
    models: Path | None,
    plans: int,
    seed: int,
    candidates: int,
    quick: bool,
    only: str | None,
    minutes: float,
    noise_minutes: float,
    keep_logs: Path | None,
    json_file: Path | None,
    record: Path | None,
    strict: bool,
) -> None:
    """Predicted against measured latency beside a control, on shaped links, and seconds until changes are noticed.

    Plans of several models are visited in shuffled order, two of three of them cut; right before and after each a plain
    onnxruntime loop runs on the same cores. Ctrl-C ends it, and what was found until then is shown.

    Example: sudo .venv/bin/python -m bench.end_to_end --only plans --json run.json
    """
    if reason := unavailable():
        sys.exit(f"bench.end_to_end cannot run: {reason}")
    if record is not None and RECORDS not in PlanningSection.__struct_fields__:
        sys.exit(f"bench.end_to_end cannot record: this controller has no [planning] {RECORDS}")
    # Ending it politely must leave nothing behind; Python ends on SIGTERM without leaving its blocks.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    effort = QUICK_EFFORT if quick else Effort(plans=plans, seed=seed, candidates=candidates)
    with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
        run = Run((keep_logs or Path(name)).absolute(), models, effort, quick=quick, record=record)
        try:
            if only in (None, "changes"):
                run.changes(noise_minutes)
            if only in (None, "plans"):
                run.plans()
            if only == "steady":
                run.steady(minutes)
        except KeyboardInterrupt:
            run.document.ended = "interrupted"
        except ENDINGS as error:
            run.document.ended = f"failed: {error}"
        run.document.close()
    run.show()
    if json_file is not None:
        json_file.write_bytes(run.document.to_json())
    if run.document.ended:
        sys.exit(f"bench.end_to_end {run.document.ended}")
    sys.exit(int(strict and run.document.missed))


if __name__ == "__main__":
    main()
