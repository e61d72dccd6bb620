"""Predicted against measured latency on shaped links, and seconds until changes are noticed: the command."""

from __future__ import annotations

import signal
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from rich.console import Console

from bench import zoo
from bench.end_to_end.changes import changes
from bench.end_to_end.course import Course, Model, Row
from bench.end_to_end.tables import links_table, noticed_table, rows_table
from bench.random_plans import random_inputs
from bench.testbed.requirements import TestbedUnavailable, unavailable
from bench.testbed.testbed import QUOTAS, STUDY, Testbed
from demo.fleet import CommandFailed
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.importer import import_model

__all__ = ["main"]

SHIPPED = {"scale": 0.75, "size": 320}
"""Of the shipped topology, so that it takes about a third of a second on a core, as yolo11n-seg does."""
CHANGED = {"scale": 0.5, "size": 320}
"""The same for changes, less than half of it: how soon a node is found slow depends on how often it computes."""
MEAN_ERROR_AIM, WORST_ERROR_AIM = 0.03, 0.08


def _shipped(into: Path, **size: float) -> Model:
    """The shipped topology."""
    path = into / "yolo_seg.onnx"
    onnx.save(zoo.build("yolo_seg", **size), path)  # type: ignore[arg-type]
    return _model(path, into)


def _model(path: Path, into: Path) -> Model:
    """A model and a request to it."""
    graph = import_model(path, BlobStore(into / f"blobs-{path.stem}"))
    own = into / f"{path.stem}.npz"
    arrays: dict[str, Any] = dict(random_inputs(graph, seed=1))
    np.savez(own, **arrays)
    return Model(path.stem, path, own)


def _changes(folder: Path, console: Console) -> None:
    """Halve what there is to halve, on nodes with quotas."""
    with Testbed(folder / "fleet", QUOTAS) as testbed:
        testbed.fleet.await_nodes()
        course = Course(testbed, _shipped(folder, **CHANGED))
        course.deploy(0)
        course.await_links()
        console.print(links_table(testbed))
        console.print(noticed_table(changes(course, testbed)))


def _predictions(folder: Path, console: Console, models: Path | None, candidates: int) -> list[Row]:
    """Predict and measure plans of every model, on nodes that are slower by a factor."""
    rows: list[Row] = []
    with Testbed(folder / "fleet", STUDY) as testbed:
        testbed.fleet.await_nodes()
        more = [_model(path, folder) for path in sorted(models.glob("*.onnx"))] if models is not None else []
        for model in (_shipped(folder, **SHIPPED), *more):
            course = Course(testbed, model)
            full_noise = course.deploy(candidates)
            course.await_links()
            console.print(links_table(testbed))
            found = course.predictions(full_noise)
            rows += found
            console.print(rows_table(found))
            course.remove()
    return rows


@click.command()
@click.option(
    "--models", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of more ONNX files."
)
@click.option("--candidates", default=12, show_default=True, help="Operators that may be quantized.")
@click.option("--keep-logs", type=click.Path(path_type=Path), help="Folder for the daemons' logs; default: removed.")
@click.option("--only", type=click.Choice(["changes", "plans"]), help="Leave the other part out.")
@click.option("--strict", is_flag=True, help="Exit 1 where the errors exceed what is aimed at.")
def main(models: Path | None, candidates: int, keep_logs: Path | None, only: str | None, strict: bool) -> None:
    """Predicted against measured latency on shaped links, and seconds until changes are noticed.

    Example: sudo .venv/bin/python -m bench.end_to_end --models ~/onnx
    """
    if reason := unavailable():
        sys.exit(f"bench.end_to_end cannot run: {reason}")
    # Ending it politely must leave nothing behind; Python ends on SIGTERM without leaving its blocks.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console, rows = Console(width=150), list[Row]()
    try:
        with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
            folder = keep_logs or Path(name)
            for part in ("changes", "plans"):
                (folder / part).mkdir(parents=True, exist_ok=True)
            if only != "plans":
                _changes(folder / "changes", console)
            if only != "changes":
                rows = _predictions(folder / "plans", console, models, candidates)
    except (CommandFailed, TestbedUnavailable, TimeoutError) as error:
        sys.exit(f"bench.end_to_end failed: {error}")
    if not rows:
        return
    errors = [abs(row.error) for row in rows]
    mean, worst = statistics.mean(errors), max(errors)
    console.print(
        f"{len(rows)} plans: mean error {mean:.1%} (aim {MEAN_ERROR_AIM:.0%}), "
        f"median {statistics.median(errors):.1%}, worst {worst:.1%} (aim {WORST_ERROR_AIM:.0%})"
    )
    corrected = [abs(row.corrected_error) for row in rows]
    console.print(
        f"Corrected by live timings of the warm-up: mean error {statistics.mean(corrected):.1%}, "
        f"median {statistics.median(corrected):.1%}, worst {max(corrected):.1%}"
    )
    sys.exit(int(strict and (mean > MEAN_ERROR_AIM or worst > WORST_ERROR_AIM)))


if __name__ == "__main__":
    main()
