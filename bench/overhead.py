"""What a request through agents costs beyond the computing: one node, and two nodes on loopback.

Owns: the comparison with onnxruntime called in this process, under the session options that agents use, and with plain
sockets carrying the same bytes. Its rule: all ways alternate request by request. Not here: plans (`random_plans.py`),
agents (`live_plans.py`).
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from rich.console import Console
from rich.table import Table

import edgesplit
from bench.echo import Echo
from bench.live_plans import PlanPusher
from bench.random_plans import PlacedPlan, placed_plan, placement_problem, random_inputs
from demo.fleet import EmulatedNode, LocalFleet, free_port
from edgesplit_agent.compute.sessions import RuntimeOptions, open_session
from edgesplit_controller.embedded_broker import EmbeddedBroker
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importer import import_model
from edgesplit_controller.graph.model import ModelGraph
from edgesplit_controller.zoo.builder import GraphBuilder

__all__ = ["main", "three_layers"]

NODES = ("device", "edge")
LOCAL, HOPPING = "local", "hopping"
SIZES = (1_024, 16_384, 65_536, 4_718_592)
"""Of the model's input, of its output, and of the tensors between. [B]"""
FREE_BYTES = 65_536
"""Up to here the aims hold as they are; beyond, plain sockets' time for the bytes is granted. [B]"""
LOCAL_AIM_S, HOP_AIM_S = 0.5e-3, 1e-3
HOPS = 2
MILLI = 1e3


@dataclass(frozen=True)
class Row:
    """Medians of one size. [s]

    Attributes:
        direct_s: onnxruntime in this process.
        apart_s: The same in this process, component by component as the two nodes have them: tensors between them change
            their layout, which is computing.
        plain_s: Plain sockets, there and back.
        local_s: Through one agent, everything there.
        hopping_s: Through two agents: to the other one and back.
    """

    nbytes: int
    direct_s: float
    apart_s: float
    plain_s: float
    local_s: float
    hopping_s: float

    @property
    def added_s(self) -> float:
        """By the agent, beyond the computing. [s]"""
        return self.local_s - self.direct_s

    @property
    def hop_s(self) -> float:
        """By each hop from agent to agent, beyond the computing. [s]"""
        return (self.hopping_s - self.local_s - (self.apart_s - self.direct_s)) / HOPS

    @property
    def reached(self) -> bool:
        """Whether both aims are met."""
        granted_s = self.plain_s if self.nbytes > FREE_BYTES else 0.0
        return self.added_s <= LOCAL_AIM_S + granted_s and self.hop_s <= HOP_AIM_S + granted_s / 2


def three_layers(nbytes: int) -> onnx.ModelProto:
    """Three cheap layers, so that the middle one can be elsewhere."""
    builder = GraphBuilder("overhead", seed=0)
    value = builder.input("x", (1, 4, 1, nbytes // 16))
    for name in ("first", "middle", "last"):
        value = builder.conv(name, value, 4, 1)
    return builder.finish({"y": value})


@contextmanager
def _agents(folder: Path) -> Iterator[LocalFleet]:
    broker = EmbeddedBroker(f"mqtt://127.0.0.1:{free_port()}")
    broker.start()
    try:
        with LocalFleet(folder, [EmulatedNode(name, 1.0, 1.0) for name in NODES], broker=broker.url) as fleet:
            for name in NODES:
                fleet.start_agent(name)
            yield fleet
    finally:
        broker.stop()


async def _push(fleet: LocalFleet, graph: ModelGraph, blobs: BlobStore) -> PlacedPlan:
    """Serve the model twice: whole on the source, and with its middle layer on the other node; the second plan."""
    problem = placement_problem(graph, NODES)
    middle = {unit.name: NODES[1] for unit in graph.units if "middle" in unit.name}
    if not middle:
        raise RuntimeError(f"the middle layer is no unit of its own: {[unit.name for unit in graph.units]}")
    async with PlanPusher(fleet.broker, blobs, free_port()) as pusher:
        addresses = await pusher.nodes(NODES)
        for epoch, (model, node_of) in enumerate(((LOCAL, {}), (HOPPING, middle)), start=1):
            plan = placed_plan(graph, blobs, problem, node_of, epoch=epoch, addresses=addresses)
            await pusher.serve(model, graph, plan.specs)
    return plan


class _Apart:
    """The components of a plan, one after another in this process."""

    def __init__(self, plan: PlacedPlan, blobs: BlobStore) -> None:
        components = [component for spec in plan.specs.values() for component in spec.components]
        self._parts = [
            (
                open_session(blobs.path(component.graph.digest), RuntimeOptions(threads=1)),
                [tensor.name for tensor in component.inputs],
                [tensor.name for tensor in component.outputs],
            )
            for component in sorted(components, key=lambda component: component.component)
        ]

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Every tensor there is."""
        tensors = dict(inputs)
        for session, reads, makes in self._parts:
            made = session.run(makes, {name: tensors[name] for name in reads})
            tensors |= dict(zip(makes, made, strict=True))
        return tensors


def measure(folder: Path, nbytes: int, requests: int) -> Row:
    """Compare all ways at one size."""
    folder.mkdir()
    path = folder / "model.onnx"
    onnx.save(three_layers(nbytes), path)
    blobs = BlobStore(folder / "blobs")
    graph = import_model(path, blobs)
    inputs = random_inputs(graph, seed=1)
    session = open_session(path, RuntimeOptions(threads=1))
    with _agents(folder) as fleet, Echo(nbytes) as echo:
        apart = _Apart(asyncio.run(_push(fleet, graph, blobs)), blobs)
        with edgesplit.connect(fleet.address(NODES[0])) as node:
            wanted = session.run(None, inputs)
            for model in (LOCAL, HOPPING):
                for got, output in zip(node.infer(model, inputs).values(), wanted, strict=True):
                    np.testing.assert_allclose(got, output, rtol=1e-4, atol=1e-5)
            ways: dict[str, Callable[[], float]] = {
                "direct": lambda: _timed(lambda: session.run(None, inputs)),
                "apart": lambda: _timed(lambda: apart.run(inputs)),
                "plain": echo.round_trip_s,
                "local": lambda: _timed(lambda: node.infer(LOCAL, inputs)),
                "hopping": lambda: _timed(lambda: node.infer(HOPPING, inputs)),
            }
            medians = _medians(ways, requests)
    return Row(nbytes, *(medians[name] for name in ("direct", "apart", "plain", "local", "hopping")))


def _timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _medians(ways: Mapping[str, Callable[[], float]], requests: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(requests + requests // 10):
        for name, way in ways.items():
            taken = way()
            if number >= requests // 10:
                seconds[name].append(taken)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _table(rows: list[Row]) -> Table:
    table = Table(
        *("input", "onnxruntime", "in parts", "plain sockets", "one node", "added", "two nodes", "a hop", "aims"),
        title="Medians of a request in ms; a hop is half of what the second node adds beyond computing in parts",
    )
    for row in rows:
        figures = (row.direct_s, row.apart_s, row.plain_s, row.local_s, row.added_s, row.hopping_s, row.hop_s)
        table.add_row(
            f"{row.nbytes / 1024:.0f} kB", *(f"{s * MILLI:.2f}" for s in figures), "met" if row.reached else "missed"
        )
    return table


@click.command()
@click.option("--requests", default=300, show_default=True, help="Of each way and size.")
@click.option("--strict", is_flag=True, help="Exit 1 where an aim is missed.")
def main(requests: int, strict: bool) -> None:
    """Time that agents add to a request, against onnxruntime alone and plain sockets.

    Example: python -m bench.overhead --requests 300
    """
    with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
        rows = [measure(Path(name) / str(nbytes), nbytes, requests) for nbytes in SIZES]
    Console(width=120).print(_table(rows))
    print(
        f"aims: one node adds at most {LOCAL_AIM_S * MILLI} ms, a hop {HOP_AIM_S * MILLI} ms; above "
        f"{FREE_BYTES // 1024} kB plus what plain sockets take for the bytes"
    )
    sys.exit(int(strict and not all(row.reached for row in rows)))


if __name__ == "__main__":
    main()
