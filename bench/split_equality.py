"""Proof: whatever the split, the outputs are the whole model's.

Owns: the run over real and shipped models: random assignments over three nodes, in one process and through three
live agents, against the unsplit model. Its rule: it fails (exit 1) when any output differs by more than 1e-4 of its
range. Not here: speed.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import onnx
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench import zoo
from bench.live_plans import PlanPusher
from bench.random_plans import NODES, random_inputs, random_plan, relative_difference, run_in_process
from demo.fleet import EmulatedNode, LocalFleet
from demo.ports import free_port
from edgesplit.client.asynchronous import AsyncClient
from edgesplit_controller.broker.embedded_broker import EmbeddedBroker
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.importer import import_model
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.runner import open_session

__all__ = ["TOLERANCE", "main", "prove"]

TOLERANCE = 1e-4
MODEL = "random"


@dataclass(frozen=True)
class Whole:
    """A model unsplit: its graph, one request and the outputs every split has to give."""

    graph: ModelGraph
    blobs: BlobStore
    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Proof:
    """What was found for one model. Differences are relative to each output's range."""

    name: str
    graph: ModelGraph
    in_process: tuple[float, ...]
    live: tuple[float, ...]
    components: tuple[int, ...]
    seconds: float

    @property
    def worst(self) -> float:
        """The largest difference."""
        return max((*self.in_process, *self.live))


def prove(path: Path, folder: Path, *, in_process: int, live: int) -> Proof:
    """Split one model at random, again and again.

    Args:
        path: ONNX file.
        folder: For blobs, logs and caches.
        in_process: Assignments to run in this process.
        live: Assignments to run through three agents.
    """
    begin = time.perf_counter()
    blobs = BlobStore(folder / "blobs")
    graph = import_model(path, blobs)
    inputs = random_inputs(graph, seed=1)
    session = open_session(graph.proto, blobs)
    wanted: dict[str, NDArray[Any]] = dict(zip(graph.outputs, session.run(list(graph.outputs), inputs), strict=True))
    whole = Whole(graph, blobs, inputs, wanted)
    differences: list[float] = []
    components: list[int] = []
    for seed in range(in_process):
        plan = random_plan(graph, blobs, seed)
        components.append(plan.components)
        differences.append(relative_difference(wanted, run_in_process(plan, blobs, inputs)))
    found = asyncio.run(_live(whole, folder, live)) if live else []
    return Proof(path.stem, graph, tuple(differences), tuple(found), tuple(components), time.perf_counter() - begin)


async def _live(whole: Whole, folder: Path, count: int) -> list[float]:
    broker = EmbeddedBroker(f"mqtt://127.0.0.1:{free_port()}")
    broker.start()
    differences: list[float] = []
    try:
        with LocalFleet(folder, [EmulatedNode(name, 1.0, 1.0) for name in NODES], broker=broker.url) as fleet:
            for name in NODES:
                fleet.start_agent(name)
            async with PlanPusher(broker.url, whole.blobs, free_port()) as pusher:
                addresses = await pusher.nodes(NODES)
                async with AsyncClient(addresses[NODES[0]]) as client:
                    for number in range(count):
                        plan = random_plan(
                            whole.graph, whole.blobs, 1000 + number, epoch=number + 1, addresses=addresses
                        )
                        await pusher.serve(MODEL, whole.graph, plan.specs)
                        outputs = await client.infer(MODEL, whole.inputs)
                        differences.append(relative_difference(whole.outputs, outputs))
    finally:
        broker.stop()
    return differences


def _models(folders: tuple[Path, ...], names: tuple[str, ...], into: Path) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(folder.glob("*.onnx"))
    for name in names:
        path = into / f"{name}.onnx"
        onnx.save(zoo.build(name), path)
        yield path


@click.command()
@click.option(
    "--models",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of ONNX files.",
)
@click.option(
    "--topology", "topologies", multiple=True, type=click.Choice(zoo.names()), help="Shipped topology; default all."
)
@click.option("--assignments", default=20, show_default=True, help="Random assignments in one process.")
@click.option("--live", default=3, show_default=True, help="Random assignments through three live agents.")
def main(models: tuple[Path, ...], topologies: tuple[str, ...], assignments: int, live: int) -> None:
    """Split models at random over three nodes and compare the outputs with the unsplit model's.

    Example: python -m bench.split_equality --models ~/onnx --assignments 20 --live 3
    """
    table = Table("model", "operators", "units", "components", "in process: worst", "live: worst", "seconds")
    failed = False
    with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
        into = Path(name)
        for path in _models(models, topologies or zoo.names(), into):
            proof = prove(path, into / f"run-{path.stem}", in_process=assignments, live=live)
            failed |= proof.worst > TOLERANCE
            table.add_row(
                proof.name,
                str(len(proof.graph.operators)),
                str(len(proof.graph.units)),
                f"{min(proof.components)} to {max(proof.components)}",
                f"{max(proof.in_process):.1e} of {len(proof.in_process)}",
                f"{max(proof.live):.1e} of {len(proof.live)}" if proof.live else "-",
                f"{proof.seconds:.0f}",
            )
            print(f"{proof.name}: worst {proof.worst:.1e}", file=sys.stderr)
    Console(width=120).print(table)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
