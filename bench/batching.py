"""Throughput of requests that are joined (`[runtime] batch_window_ms`), beside the same requests one by one.

Owns: the two agents, the callers and the table. Its rule: both ways alternate round by round on the same machine, every answer is
held against onnxruntime's, and callers never pause. Not here: how requests are joined (the agent).
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

from bench.differences import Arrays, relative_difference
from bench.live_plans import PlanPusher
from bench.random_plans import placed_plan, placement_problem
from demo.fleet import EmulatedNode, LocalFleet
from demo.ports import free_port
from edgesplit.client.asynchronous import AsyncClient
from edgesplit_agent.compute.runtime import RuntimeOptions, open_session
from edgesplit_controller.broker.embedded_broker import EmbeddedBroker
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.importer import import_model

__all__ = ["main"]

PLAIN, JOINING = "plain", "joining"
MODEL = "rows"
WIDTHS = {"dense": (512, 2048, 2048, 512), "small": (64, 64, 64, 64)}
"""Of the layers of each model: what a row costs is reading weights in the first, handling the request in the second."""
TOLERANCE = 1e-4
"""Of an output's range. [1]"""
ROUNDS = 3
MILLI = 1e3


@dataclass
class Rounds:
    """What one way showed.

    Attributes:
        rates: Requests a second, by round. [1/s]
        latencies_s: Of all requests. [s]
        worst: Largest difference from what it should be, relative to the output's range. [1]
    """

    rates: list[float] = field(default_factory=list[float])
    latencies_s: list[float] = field(default_factory=list[float])
    worst: float = 0.0

    def add(self, other: Rounds) -> None:
        """Count another round."""
        self.rates += other.rates
        self.latencies_s += other.latencies_s
        self.worst = max(self.worst, other.worst)


def layers(widths: Sequence[int]) -> onnx.ModelProto:
    """Dense layers over rows, any number of them."""
    generator = np.random.default_rng(0)
    nodes, weights, name = [], [], "x"
    for number, (inside, outside) in enumerate(itertools.pairwise(widths)):
        matrix = generator.normal(0, 1 / np.sqrt(inside), (inside, outside)).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, f"w{number}"))
        target = "y" if number == len(widths) - 2 else f"h{number}"
        nodes.append(helper.make_node("MatMul", [name, f"w{number}"], [f"m{number}"], name=f"dense{number}"))
        nodes.append(helper.make_node("Relu", [f"m{number}"], [target], name=f"relu{number}"))
        name = target
    graph = helper.make_graph(
        nodes,
        "rows",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("batch", widths[0]))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("batch", widths[-1]))],
        initializer=weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@asynccontextmanager
async def _agents(folder: Path, path: Path, window_ms: float) -> AsyncIterator[Mapping[str, AsyncClient]]:
    """Two agents that serve the model, and a client of each."""
    blobs = BlobStore(folder / "blobs")
    graph = import_model(path, blobs)
    broker = EmbeddedBroker(f"mqtt://127.0.0.1:{free_port()}")
    broker.start()
    runtimes = {PLAIN: "", JOINING: f"batch_window_ms = {window_ms}"}
    nodes = [EmulatedNode(name, 1.0, 1.0, runtime=runtime) for name, runtime in runtimes.items()]
    try:
        with LocalFleet(folder, nodes, broker=broker.url) as fleet:
            for name in runtimes:
                fleet.start_agent(name)
            async with PlanPusher(fleet.broker, blobs, free_port()) as pusher:
                addresses = await pusher.nodes((PLAIN, JOINING))
                for epoch, name in enumerate(runtimes, start=1):
                    problem = placement_problem(graph, (name,))
                    plan = placed_plan(graph, blobs, problem, {}, epoch=epoch, addresses=addresses)
                    await pusher.serve(f"{MODEL}-{name}", graph, plan.specs)
                async with AsyncClient(fleet.address(PLAIN)) as plain, AsyncClient(fleet.address(JOINING)) as joining:
                    yield {PLAIN: plain, JOINING: joining}
    finally:
        broker.stop()


async def _round(
    client: AsyncClient, model: str, requests: Sequence[tuple[Arrays, Arrays]], *, callers: int, count: int
) -> Rounds:
    """Have callers ask without a pause."""
    rounds = Rounds()
    numbers = iter(range(count))

    async def call() -> None:
        for number in numbers:
            inputs, wanted = requests[number % len(requests)]
            began_s = time.perf_counter()
            outputs = await client.infer(model, inputs)
            rounds.latencies_s.append(time.perf_counter() - began_s)
            rounds.worst = max(rounds.worst, relative_difference(wanted, outputs))

    began_s = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    rounds.rates.append(count / (time.perf_counter() - began_s))
    return rounds


def measure(folder: Path, widths: Sequence[int], *, callers: int, count: int, window_ms: float) -> dict[str, Rounds]:
    """Compare both ways on one model.

    Args:
        folder: For the model, blobs and logs; made here.
        widths: Of the model's layers.
        callers: At a time.
        count: Requests of a round.
        window_ms: How long requests wait for others. [ms]
    """
    folder.mkdir()
    path = folder / "model.onnx"
    onnx.save(layers(widths), path)
    session = open_session(path, RuntimeOptions(threads=1))
    generator = np.random.default_rng(1)
    inputs: list[Arrays] = [{"x": generator.random((1, widths[0]), np.float32)} for _ in range(64)]
    requests: list[tuple[Arrays, Arrays]] = [(one, {"y": session.run(None, one)[0]}) for one in inputs]
    return asyncio.run(_alternate(folder, path, requests, callers=callers, count=count, window_ms=window_ms))


async def _alternate(
    folder: Path,
    path: Path,
    requests: Sequence[tuple[Arrays, Arrays]],
    *,
    callers: int,
    count: int,
    window_ms: float,
) -> dict[str, Rounds]:
    found = {PLAIN: Rounds(), JOINING: Rounds()}
    async with _agents(folder, path, window_ms) as clients:
        for name, client in clients.items():  # one that does not count
            await _round(client, f"{MODEL}-{name}", requests, callers=callers, count=max(count // 4, callers))
        for _ in range(ROUNDS):
            for name, client in clients.items():
                found[name].add(await _round(client, f"{MODEL}-{name}", requests, callers=callers, count=count))
    return found


@click.command()
@click.option("--callers", default=16, show_default=True, help="At a time.")
@click.option("--count", default=2000, show_default=True, help="Requests of a round; there are three of each way.")
@click.option("--window", "window_ms", default=2.0, show_default=True, help="[runtime] batch_window_ms. [ms]")
def main(callers: int, count: int, window_ms: float) -> None:
    """Compare requests that are joined with the same ones computed one by one.

    Example: python -m bench.batching --callers 16 --window 2
    """
    table = Table(
        *("model", "way", "requests/s", "p50 ms", "p95 ms", "gain", "worst difference"),
        title=f"{callers} callers without a pause, medians of {ROUNDS} rounds of {count} requests; window {window_ms:g} ms",
    )
    wrong = False
    for model, widths in WIDTHS.items():
        with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as folder:
            found = measure(Path(folder) / "run", widths, callers=callers, count=count, window_ms=window_ms)
        before = statistics.median(found[PLAIN].rates)
        for name, rounds in found.items():
            rate, latencies = statistics.median(rounds.rates), np.array(rounds.latencies_s) * MILLI
            p50, p95 = (float(np.quantile(latencies, share)) for share in (0.5, 0.95))
            figures = (f"{rate:.0f}", f"{p50:.2f}", f"{p95:.2f}", f"{rate / before:.2f}", f"{rounds.worst:.1e}")
            table.add_row(model, name, *figures)
            wrong = wrong or rounds.worst > TOLERANCE
    Console(width=120).print(table)
    sys.exit(int(wrong))


if __name__ == "__main__":
    main()
