"""A node that reads slowly: does its sender's memory stay bounded, and are other nodes still served as before?

Owns: three agents, one of which is stopped most of the time, and callers that want more of it than it takes. Its rule: the
slow node is a real agent that runs for a few milliseconds at a time, so it is alive and late. Not here: nodes that
hang or die (`failures.py`).
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import onnx
import psutil
from rich.console import Console
from rich.table import Table

import edgesplit
from bench.live_plans import PlanPusher
from bench.overhead import three_layers
from bench.random_plans import placed_plan, placement_problem, random_inputs
from demo.fleet import EmulatedNode, LocalFleet
from demo.ports import free_port
from edgesplit.client.asynchronous import AsyncClient
from edgesplit.errors import EdgesplitError
from edgesplit_controller.broker.embedded_broker import EmbeddedBroker
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.importer import import_model

__all__ = ["main"]

SOURCE, SLOW, FAST = "device", "slow", "fast"
NODES = (SOURCE, SLOW, FAST)
TENSOR_BYTES = 4_718_592
MEMORY_BYTES = 256 << 20
RUNS_S, STOPS_S = 0.03, 0.3
CALLERS, DEADLINE_S, BACKOFF_S = 32, 5.0, 0.5
FASTER_AIM = 1.5
MEGA, MILLI = 1e6, 1e3


@dataclass(frozen=True)
class Result:
    """What was seen.

    Attributes:
        before_s: Median latency through the fast node, the slow one not asked. [s]
        during_s: The same while callers want more of the slow one than it takes. [s]
        grown_bytes: The source's resident memory at its most, beyond that of before. [B]
        answers: How requests through the slow node ended: `ok`, or an error's code.
    """

    before_s: float
    during_s: float
    grown_bytes: int
    answers: Counter[str]

    @property
    def reached(self) -> bool:
        """Whether memory stayed under the limit and the fast node's callers were hardly slowed."""
        return self.grown_bytes <= MEMORY_BYTES and self.during_s <= FASTER_AIM * self.before_s


def measure(folder: Path, seconds: float) -> Result:
    """Serve one model through each node, slow one down, ask too much of it."""
    path = folder / "model.onnx"
    onnx.save(three_layers(TENSOR_BYTES), path)
    blobs = BlobStore(folder / "blobs")
    graph = import_model(path, blobs)
    inputs = random_inputs(graph, seed=1)
    nodes = [EmulatedNode(name, 1.0, 1.0, memory_limit_bytes=MEMORY_BYTES) for name in NODES]
    with (
        EmbeddedBroker(f"mqtt://127.0.0.1:{free_port()}") as broker,
        LocalFleet(folder, nodes, broker=broker.url) as fleet,
    ):
        for name in NODES:
            fleet.start_agent(name)
        asyncio.run(_push(fleet, graph, blobs))
        source = psutil.Process(fleet.pid(SOURCE))
        with edgesplit.connect(fleet.address(SOURCE)) as node:
            before_s = _median(node, inputs, seconds)
            started_bytes = source.memory_info().rss
            with (
                _slowed(fleet.pid(SLOW)),
                _asked(fleet.address(SOURCE), inputs) as answers,
                _most(source) as most,
            ):
                during_s = _median(node, inputs, seconds)
    return Result(before_s, during_s, most[0] - started_bytes, answers)


async def _push(fleet: LocalFleet, graph: Any, blobs: BlobStore) -> None:
    problem = placement_problem(graph, NODES)
    async with PlanPusher(fleet.broker, blobs, free_port()) as pusher:
        addresses = await pusher.nodes(NODES)
        for epoch, name in enumerate((SLOW, FAST), start=1):
            node_of = {unit.name: name for unit in graph.units if "middle" in unit.name}
            plan = placed_plan(graph, blobs, problem, node_of, epoch=epoch, addresses=addresses)
            await pusher.serve(name, graph, plan.specs)


def _median(node: edgesplit.Client, inputs: dict[str, Any], seconds: float) -> float:
    """Of requests through the fast node, one after another for so long. [s]"""
    taken: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        started = time.perf_counter()
        node.infer(FAST, inputs)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


@contextmanager
def _slowed(pid: int) -> Generator[None]:
    """Let a process run only now and then."""
    process, ended = psutil.Process(pid), threading.Event()

    def pace() -> None:
        while not ended.is_set():
            process.send_signal(signal.SIGSTOP)
            ended.wait(STOPS_S)
            process.send_signal(signal.SIGCONT)
            ended.wait(RUNS_S)

    thread = threading.Thread(target=pace)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _asked(address: str, inputs: dict[str, Any]) -> Generator[Counter[str]]:
    """Have callers ask for the slow node's model for as long as the block lasts."""
    answers: Counter[str] = Counter()
    ended = threading.Event()

    async def call(client: AsyncClient) -> None:
        while not ended.is_set():
            try:
                await client.infer(SLOW, inputs, deadline_s=DEADLINE_S)
                answers["ok"] += 1
            except EdgesplitError as error:
                answers[error.code] += 1
                await asyncio.sleep(BACKOFF_S)

    async def all_calls() -> None:
        async with AsyncClient(address) as client:
            await asyncio.gather(*(call(client) for _ in range(CALLERS)))

    thread = threading.Thread(target=lambda: asyncio.run(all_calls()))
    thread.start()
    try:
        yield answers
    finally:
        ended.set()
        thread.join()


@contextmanager
def _most(process: psutil.Process) -> Generator[list[int]]:
    """The most resident memory while the block lasts. [B]"""
    most, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            most[0] = max(most[0], process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


@click.command()
@click.option("--seconds", default=8.0, show_default=True, help="Before, and again while the node is slow.")
@click.option("--strict", is_flag=True, help="Exit 1 where an aim is missed.")
def main(seconds: float, strict: bool) -> None:
    """Memory of a sender whose peer reads slowly, and latency through another peer.

    Example: python -m bench.slow_reader --seconds 8
    """
    with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
        result = measure(Path(name), seconds)
    table = Table("through the fast node", "while the other is slow", "memory grew", "of", title="A slow reader")
    table.add_row(
        f"{result.before_s * MILLI:.1f} ms",
        f"{result.during_s * MILLI:.1f} ms",
        f"{result.grown_bytes / MEGA:.0f} MB",
        f"{MEMORY_BYTES / MEGA:.0f} MB",
    )
    Console(width=120).print(table)
    print(f"requests through the slow node: {dict(result.answers)}")
    print(f"aims: memory under the limit, the other node's latency at most {FASTER_AIM} times that of before")
    sys.exit(int(strict and not result.reached))


if __name__ == "__main__":
    main()
