"""Intake benchmark: seconds until a model can be deployed, answers over three nodes and is complete, and the memory that takes.

Owns: the fleet, the commands and the figures. Its rule: the programs a user runs, each command a process of its own; memory is
that of the controller and of whatever it started, looked at all the while. Not here: what nodes time (`profile_accuracy.py`),
how good noise models are (`noise.py`).
"""

from __future__ import annotations

import glob
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

import edgesplit
from bench.process_memory import MemoryWatch, resident
from demo.fleet import EmulatedNode, LocalFleet
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.importer import import_model

__all__ = ["Intake", "measure"]

NODES = ("device", "edge", "cloud")
TIMES, ALLOWANCE = 3, 300_000_000
"""Aim: the controller takes at most so many times the model, and so much beside. [1, B]"""
FIRST_ANSWER_S = 10.0
"""Aim, for a model of some ten megabytes. [s]"""
POLL_S = 1.0


@dataclass(frozen=True)
class Intake:
    """What one model took.

    Attributes:
        nbytes: Of its file. [B]
        ready_s: Until `model add` returned. [s]
        deployed_s: Until a plan over all nodes served, pins and their commands included. [s]
        answer_s: Until the first answer. [s]
        nodes: That the plan uses.
        complete_s: Until noise and codecs were known; None where that was not waited for. [s]
        int8_s: Until nodes had profiled all of it. [s]
        idle: The controller's memory before. [B]
        first: The most until the first answer, of all its processes. [B]
        own, together: The most over all, of the controller alone and with what it started, their resident sizes summed. [B]
        once: As `together`, where files that several of them map count once. [B]
    """

    name: str
    nbytes: int
    ready_s: float
    deployed_s: float
    answer_s: float
    nodes: tuple[str, ...]
    complete_s: float | None
    int8_s: float | None
    idle: int
    first: int
    own: int
    together: int
    once: int

    @property
    def within(self) -> bool:
        """Whether memory stayed within the aim."""
        return self.together <= TIMES * self.nbytes + ALLOWANCE


def measure(
    folder: Path, model: Path, *, wait: bool, calibration: Path | None = None, limit_s: float = 900.0
) -> Intake:
    """Add a model to a fleet of three, deploy it over all of them, ask it once, and wait until it is complete.

    Args:
        folder: For the fleet.
        model: An ONNX file.
        wait: Whether to wait until it is complete.
        calibration: Samples, or None.
        limit_s: Longest wait. [s]
    """
    graph = import_model(model, BlobStore(folder / "blobs"))
    places = [graph.operators[len(graph.operators) * part // 3].name for part in (1, 2)]
    random = np.random.default_rng(0)
    inputs = {
        name: np.asarray(random.random([max(size, 1) for size in graph.tensors[name].shape]), graph.tensors[name].dtype)
        for name in graph.inputs
    }
    del graph
    name = model.stem.replace(" ", "_")
    options = () if calibration is None else ("--calibration", str(calibration))
    with LocalFleet(folder, [EmulatedNode(node, 5.0, 2.0) for node in NODES]) as fleet:
        fleet.start()
        fleet.await_nodes()
        idle = resident(fleet.pid("controller"))
        with MemoryWatch(fleet.pid("controller")).watching() as memory:
            began = time.perf_counter()
            fleet.splitctl("model", "add", name, str(model), *options, timeout_s=limit_s)
            ready_s = time.perf_counter() - began
            for place, node in zip(places, NODES[1:], strict=True):
                fleet.splitctl("pin", name, glob.escape(place), "--node", node)
            fleet.splitctl("deploy", name, "--source", NODES[0])
            deployed_s = time.perf_counter() - began
            with edgesplit.connect(fleet.address(NODES[0])) as source:
                source.infer(name, inputs)
            answer_s = time.perf_counter() - began
            first = memory.together
            complete_s = _until(began, lambda: _document(fleet, name)["stage"] == "complete", limit_s) if wait else None
            int8_s = _until(began, lambda: _all_profiled(_document(fleet, name)), limit_s) if wait else None
            used = {row["node"] for row in fleet.splitctl("plan", name)["components"]}
    nodes = tuple(node for node in NODES if node in used)
    return Intake(
        *(name, model.stat().st_size, ready_s, deployed_s, answer_s, nodes, complete_s, int8_s, idle, first),
        *(memory.own, memory.together, memory.once),
    )


def _document(fleet: LocalFleet, name: str) -> dict[str, Any]:
    document: dict[str, Any] = fleet.splitctl("model", "show", name)
    return document


def _all_profiled(document: dict[str, Any]) -> bool:
    return all(row["state"] == "done" for row in document["profiling"])


def _until(began: float, holds: Any, limit_s: float) -> float | None:
    """When something came to hold, since a beginning; None where it took too long. [s]"""
    while not holds():
        if time.perf_counter() - began > limit_s:
            return None
        time.sleep(POLL_S)
    return time.perf_counter() - began


def _table(results: list[Intake]) -> Table:
    table = Table(title="Intake over three nodes on this machine")
    for column in ("model", "size", "ready", "deployed", "first answer", "nodes", "complete", "all profiled"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for column in ("idle", "most to first answer", "controller", "with its process", "shared once", "allowed"):
        table.add_column(column, justify="right")
    for result in results:
        seconds = (result.ready_s, result.deployed_s, result.answer_s)
        later = [f"{value:.0f} s" if value is not None else "-" for value in (result.complete_s, result.int8_s)]
        nbytes = (
            result.idle,
            result.first,
            result.own,
            result.together,
            result.once,
            TIMES * result.nbytes + ALLOWANCE,
        )
        table.add_row(
            *(result.name, f"{result.nbytes / 1e6:.1f} MB", *(f"{value:.1f} s" for value in seconds)),
            *(str(len(result.nodes)), *later, *(f"{value / 1e6:.0f} MB" for value in nbytes)),
        )
    return table


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--calibration", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Samples, for all.")
@click.option("--no-wait", is_flag=True, help="Do not wait until models are complete.")
@click.option("--strict", is_flag=True, help="Exit 1 where an aim is missed.")
def main(models: tuple[Path, ...], calibration: Path | None, no_wait: bool, strict: bool) -> None:
    """Seconds and memory of adding models to three nodes on this machine.

    Example: python -m bench.intake yolo11n-seg.onnx
    """
    results: list[Intake] = []
    for model in models:
        with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
            results.append(measure(Path(name), model, wait=not no_wait, calibration=calibration))
    Console(width=200).print(_table(results))
    print(
        f"aims: the first answer of a plan over three nodes within {FIRST_ANSWER_S:g} s for some ten megabytes, and at most "
        f"{TIMES} times the model plus {ALLOWANCE / 1e6:.0f} MB of memory, the resident sizes of the controller and of what it started summed"
    )
    missed = [r for r in results if not r.within or r.answer_s > FIRST_ANSWER_S or set(r.nodes) != set(NODES)]
    sys.exit(int(strict and bool(missed)))


if __name__ == "__main__":
    main()
