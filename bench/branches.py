"""A plan whose two branches run side by side on two nodes: measured against the predicted critical path, and the sum.

Owns: the model, the fleet of two agents with a core each, and the comparison. Its rule: the prediction is the plan's as
an operator sees it, the simulated timeline over profiles that the agents took; the branch is placed with a pin, nothing
else is chosen here. Not here: the planner, and links that are worth a detour (`bench/end_to_end`).
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from rich.console import Console
from rich.table import Table

import edgesplit
from bench.zoo.builder import GraphBuilder, Value
from demo.fleet import EmulatedNode, LocalFleet, Place

__all__ = ["main"]

NODES = ("device", "edge")
MODEL = "branches"
CHANNELS, SIDE, LAYERS = 64, 64, 48
"""Of each branch: some tens of milliseconds on one core, with a tensor of 1 MB in and out."""
WITHIN = 0.05
WARM_UP = 5
MILLI = 1e3


@dataclass(frozen=True)
class Result:
    """Seconds of one request. [s]

    Attributes:
        predicted_s: End of the plan's timeline.
        sum_s: Of everything in the timeline, one after another.
        measured_s: Of each request.
    """

    predicted_s: float
    sum_s: float
    measured_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """Of the requests. [s]"""
        return statistics.median(self.measured_s)

    @property
    def error(self) -> float:
        """Of the prediction, relative to what was measured. [1]"""
        return self.predicted_s / self.median_s - 1

    @property
    def reached(self) -> bool:
        """Whether the measured latency is that of the critical path and not the sum."""
        return abs(self.error) <= WITHIN and self.median_s < self.sum_s


def branched_model() -> onnx.ModelProto:
    """A stem, two equal branches of convolutions, and their sum."""
    builder = GraphBuilder(MODEL, seed=0)
    stem = builder.activation(
        "Relu", "stem/relu", builder.conv("stem", builder.input("x", (1, 3, SIDE, SIDE)), CHANNELS)
    )
    ends: list[Value] = []
    for branch in ("near", "far"):
        value = stem
        for layer in range(LAYERS):
            name = f"{branch}/{layer}"
            value = builder.activation("Relu", f"{name}/relu", builder.conv(name, value, CHANNELS, 3))
        ends.append(value)
    return builder.finish({"y": builder.conv("head", builder.add("join", *ends), 4)})


def measure(folder: Path, requests: int) -> Result:
    """Deploy the model with one branch on each node, and time requests."""
    path = folder / "branches.onnx"
    onnx.save(branched_model(), path)
    cores = sorted(os.sched_getaffinity(0))
    places = {name: Place(("taskset", "-c", str(cores[index % len(cores)]))) for index, name in enumerate(NODES)}
    nodes = [EmulatedNode(name, 1.0, 1.0) for name in NODES]
    # Under "sum" plans have as few components as possible: the stem's tensor would wait for the near branch.
    with LocalFleet(folder, nodes, places=places, latency_model="critical-path") as fleet:
        fleet.start()
        fleet.await_nodes()
        fleet.splitctl("model", "add", "--wait", "all", MODEL, str(path), "--max-quantizable", "0")
        fleet.splitctl("deploy", MODEL, "--source", NODES[0])
        fleet.splitctl("pin", MODEL, "near/*", "--node", NODES[0])
        fleet.splitctl("pin", MODEL, "far/*", "--node", NODES[1])
        plan = fleet.splitctl("plan", MODEL)
        inputs = {"x": np.random.default_rng(1).random((1, 3, SIDE, SIDE), np.float32)}
        with edgesplit.connect(fleet.address(NODES[0])) as node:
            measured_s = [_timed(node, inputs) for _ in range(WARM_UP + requests)][WARM_UP:]
    return Result(plan["latency_s"], sum(_seconds(entry) for entry in plan["timeline"]), tuple(measured_s))


def _seconds(entry: dict[str, Any]) -> float:
    return float(entry["end_s"] - entry["start_s"])


def _timed(node: edgesplit.Client, inputs: dict[str, Any]) -> float:
    started = time.perf_counter()
    node.infer(MODEL, inputs)
    return time.perf_counter() - started


def _table(result: Result) -> Table:
    table = Table("measured (median)", "predicted", "error", "one after another", title="Two parallel branches")
    figures = (result.median_s, result.predicted_s, result.sum_s)
    measured, predicted, together = (f"{seconds * MILLI:.1f} ms" for seconds in figures)
    table.add_row(measured, predicted, f"{result.error:+.1%}", together)
    return table


@click.command()
@click.option("--requests", default=60, show_default=True, help="One after another.")
@click.option("--strict", is_flag=True, help="Exit 1 where the aim is missed.")
def main(requests: int, strict: bool) -> None:
    """Latency of a plan with parallel branches, measured and predicted.

    Example: python -m bench.branches --requests 60
    """
    with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
        result = measure(Path(name), requests)
    Console(width=120).print(_table(result))
    print(f"aims: measured within {WITHIN:.0%} of the prediction, and below the sum")
    sys.exit(int(strict and not result.reached))


if __name__ == "__main__":
    main()
