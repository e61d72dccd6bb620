"""What a request through agents costs beyond the computing: one node, and two nodes on loopback.

Owns: the comparison with onnxruntime called in this process, under the session options that agents use, and with plain
sockets carrying the same bytes: echoed at once, and around the same computing in as many processes. Its rule: all ways
alternate request by request. Not here: plans (`random_plans.py`), agents (`live_plans.py`), plain servers
(`plain_sockets.py`).
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from rich.console import Console
from rich.table import Table

import edgesplit
from bench.live_plans import PlanPusher
from bench.plain_sockets import PlainServer, Step
from bench.random_plans import PlacedPlan, placed_plan, placement_problem, random_inputs
from bench.zoo.builder import GraphBuilder
from demo.fleet import EmulatedNode, LocalFleet
from demo.ports import free_port
from edgesplit_agent.compute.session_pool import RuntimeOptions, open_session
from edgesplit_controller.broker.embedded_broker import EmbeddedBroker
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.importer import import_model
from edgesplit_controller.graph.model_graph import ModelGraph

__all__ = ["main", "three_layers"]

NODES = ("device", "edge")
LOCAL, HOPPING = "local", "hopping"
SIZES = (1_024, 16_384, 65_536, 4_718_592)
"""Of the model's input, of its output, and of the tensors between. [B]"""
FREE_BYTES = 65_536
"""Up to here the aims hold as they are; beyond, what plain sockets add around the same computing is granted. [B]"""
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
        plain_s: Plain sockets, there and back at once.
        bare_s: Plain sockets to a process that computes the whole.
        bare_hopping_s: The same to a process that has another compute the middle.
        local_s: Through one agent, everything there.
        hopping_s: Through two agents: to the other one and back.
    """

    nbytes: int
    direct_s: float
    apart_s: float
    plain_s: float
    bare_s: float
    bare_hopping_s: float
    local_s: float
    hopping_s: float

    @property
    def added_s(self) -> float:
        """By the agent, beyond the computing. [s]"""
        return self.local_s - self.direct_s

    @property
    def hop_s(self) -> float:
        """By each hop from agent to agent, beyond the computing. [s]"""
        return self._hop_of(self.hopping_s, self.local_s)

    @property
    def plain_added_s(self) -> float:
        """By plain sockets, beyond the computing. [s]"""
        return self.bare_s - self.direct_s

    @property
    def plain_hop_s(self) -> float:
        """By each hop over plain sockets, beyond the computing. [s]"""
        return self._hop_of(self.bare_hopping_s, self.bare_s)

    @property
    def reached(self) -> bool:
        """Whether both aims are met."""
        granted = self.nbytes > FREE_BYTES
        local_s, hop_s = (self.plain_added_s, self.plain_hop_s) if granted else (0.0, 0.0)
        return self.added_s <= LOCAL_AIM_S + local_s and self.hop_s <= HOP_AIM_S + hop_s

    def _hop_of(self, hopping_s: float, local_s: float) -> float:
        return (hopping_s - local_s - (self.apart_s - self.direct_s)) / HOPS


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

    def __init__(self, steps: Sequence[Step]) -> None:
        self._parts = [(open_session(step.path, RuntimeOptions(threads=1)), step) for step in steps]

    def run(self, tensor: Any) -> Any:
        """The last one's output."""
        for session, step in self._parts:
            (tensor,) = session.run([step.output], {step.input: tensor})
        return tensor


def _steps(plan: PlacedPlan, blobs: BlobStore) -> list[Step]:
    """The plan's components in order: a chain of one tensor each."""
    components = [component for spec in plan.specs.values() for component in spec.components]
    return [
        Step(blobs.path(component.graph.digest), tensor.name, made.name, tensor.shape)
        for component in sorted(components, key=lambda component: component.component)
        for (tensor,), (made,) in [(component.inputs, component.outputs)]
    ]


def _keep(pid: int, cpu: int) -> None:
    """Have all threads of a process stay on one processor."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {cpu})


def measure(folder: Path, nbytes: int, requests: int, *, pinned: bool = False) -> Row:
    """Compare all ways at one size.

    Args:
        folder: For the model, blobs and logs; made here.
        nbytes: Of an input. [B]
        requests: Of each way.
        pinned: Each agent, and each plain server, stays on a processor of its own.
    """
    folder.mkdir()
    path = folder / "model.onnx"
    onnx.save(three_layers(nbytes), path)
    blobs = BlobStore(folder / "blobs")
    graph = import_model(path, blobs)
    inputs = random_inputs(graph, seed=1)
    session = open_session(path, RuntimeOptions(threads=1))
    (name, tensor), (output,) = next(iter(inputs.items())), session.get_outputs()
    whole = Step(path, name, output.name, tensor.shape)
    with _agents(folder) as fleet, ExitStack() as servers:
        first, middle, last = _steps(asyncio.run(_push(fleet, graph, blobs)), blobs)
        apart = _Apart((first, middle, last))
        echo = servers.enter_context(PlainServer(nbytes))
        bare = servers.enter_context(PlainServer(nbytes, [whole]))
        other = servers.enter_context(PlainServer(nbytes, [middle]))
        bare_hopping = servers.enter_context(PlainServer(nbytes, [first, last], other.port))
        if pinned:
            near, far = sorted(os.sched_getaffinity(0))[:2]
            for pid in (fleet.pid(NODES[0]), echo.pid, bare.pid, bare_hopping.pid):
                _keep(pid, near)
            for pid in (fleet.pid(NODES[1]), other.pid):
                _keep(pid, far)
        with edgesplit.connect(fleet.address(NODES[0])) as node:
            wanted = session.run(None, inputs)
            for model in (LOCAL, HOPPING):
                for got, output in zip(node.infer(model, inputs).values(), wanted, strict=True):
                    np.testing.assert_allclose(got, output, rtol=1e-4, atol=1e-5)
            ways: dict[str, Callable[[], float]] = {
                "direct": lambda: _timed(lambda: session.run(None, inputs)),
                "apart": lambda: _timed(lambda: apart.run(tensor)),
                "plain": echo.round_trip_s,
                "bare": bare.round_trip_s,
                "bare_hopping": bare_hopping.round_trip_s,
                "local": lambda: _timed(lambda: node.infer(LOCAL, inputs)),
                "hopping": lambda: _timed(lambda: node.infer(HOPPING, inputs)),
            }
            medians = _medians(ways, requests)
    return Row(nbytes, **{f"{name}_s": seconds for name, seconds in medians.items()})


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
    heads = (
        "input",
        "onnxruntime",
        "in parts",
        "echo",
        "one node",
        "adds",
        "plain adds",
        "two nodes",
        "hop",
        "plain hop",
        "aims",
    )
    table = Table(
        *heads,
        title="Medians of a request in ms; a hop is half of what a second node adds beyond computing in parts;\n"
        "plain: plain sockets around the same computing",
    )
    for row in rows:
        local = (row.local_s, row.added_s, row.plain_added_s)
        hopping = (row.hopping_s, row.hop_s, row.plain_hop_s)
        figures = (row.direct_s, row.apart_s, row.plain_s, *local, *hopping)
        table.add_row(
            f"{row.nbytes / 1024:.0f} kB", *(f"{s * MILLI:.2f}" for s in figures), "met" if row.reached else "missed"
        )
    return table


@click.command()
@click.option("--requests", default=300, show_default=True, help="Of each way and size.")
@click.option("--pinned", is_flag=True, help="Keep each agent and plain server on one processor, as CPUAffinity= does.")
@click.option("--strict", is_flag=True, help="Exit 1 where an aim is missed.")
def main(requests: int, pinned: bool, strict: bool) -> None:
    """Time that agents add to a request, against onnxruntime alone and plain sockets.

    Example: python -m bench.overhead --requests 300
    """
    with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
        rows = [measure(Path(name) / str(nbytes), nbytes, requests, pinned=pinned) for nbytes in SIZES]
    Console(width=120).print(_table(rows))
    print(
        f"aims: one node adds at most {LOCAL_AIM_S * MILLI} ms, a hop {HOP_AIM_S * MILLI} ms; above "
        f"{FREE_BYTES // 1024} kB plus what plain sockets add"
    )
    sys.exit(int(strict and not all(row.reached for row in rows)))


if __name__ == "__main__":
    main()
