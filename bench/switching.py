"""Plan after plan under load: what fails, what is wrong, who waits, what stays behind.

Owns: the run and its verdict. Its rule: requests are told apart by what went on while they were under way, plan by plan,
because random plans differ in latency by themselves. Not here: callers (`callers.py`), roll-outs (`live_rollouts.py`).
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import onnx
from rich.console import Console
from rich.table import Table

from bench import zoo
from bench.callers import Answer, Callers
from bench.live_rollouts import PlanRoller, Switch
from bench.pings import Pings
from bench.planned_shapes import FIRST_EPOCHS, PlannedShape, ServedShapes, planned_shapes
from bench.random_plans import NODES
from bench.scene import SHIPPED_MODEL, Subject, agents, broker, memory, most_memory, open_images, subject
from demo.fleet import LocalFleet
from demo.ports import free_port

__all__ = ["Run", "main"]

MODEL = "switched"
RATIO_AIM, WAIT_AIM_S, GROWTH_AIM = 1.5, 0.05, 0.05
FIRST_MEASURE = 10
"""Switches after which memory is taken for the first time."""
QUIET_S = 11.0
"""Agents give memory back within ten seconds after sessions went; nobody calls meanwhile: what is left is kept. [s]"""
BETWEEN_S = 0.08
"""Between two switches. [s]"""
PAUSE_S, PAUSE_AFTER = 1.5, 7
"""So long without a switch after every seventh, so that each plan is seen steady now and then. [s]"""
LATEST_S = 0.7
"""A steady request begins so long before the next switch: in a shorter time only quick ones would end. [s]"""
MIB = 1 << 20
MIXED_SIZES = (
    *((1, 128, 128), (1, 96, 160), (4, 128, 128), (2, 192, 64)),
    *((1, 224, 224), (3, 64, 64), (1, 33, 97), (8, 96, 96)),
)
"""Batch, height and width of requests; the first is planned for."""
FURTHER_SIZES = ((1, 224, 224), (6, 96, 112))
"""Those of the further planning shapes, of which requests have the first and come near the second."""
MEMORY_LIMIT_BYTES = 512 << 20
"""Of every agent with requests of many sizes. [B]"""
WINDOW_MS = 2.0
"""So long their requests wait for others to be joined with. [ms]"""


@dataclass
class Run:
    """What was seen.

    Attributes:
        plan_of: Epoch to the number of its plan.
        pauses: When nothing was switched for a while: begin and end. [s]
        rests: When nobody called, for taking memory: begin and end. [s]
        pings: When each left and how long its answer took. [s]
        memory: Node to what its agent keeps after the first and after all switches. [B]
        most_bytes: Node to what its agent took at most, above what it took before anything was deployed. [B]
        limit_bytes: What it may; 0: no figure. [B]
        shapes: Which planning shapes served when.
        asked: Shapes of the requests, which take turns.
    """

    switches: list[Switch] = field(default_factory=list[Switch])
    answers: Sequence[Answer] = ()
    plan_of: dict[int, int] = field(default_factory=dict[int, int])
    pauses: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    rests: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    pings: Sequence[tuple[float, float]] = ()
    memory: list[dict[str, dict[str, int]]] = field(default_factory=list[dict[str, dict[str, int]]])
    most_bytes: dict[str, int] = field(default_factory=dict[str, int])
    limit_bytes: int = 0
    shapes: ServedShapes = field(default_factory=lambda: ServedShapes(()))
    asked: Sequence[Mapping[str, tuple[int, ...]]] = ()

    @property
    def abandoned(self) -> list[Switch]:
        """Changes that came to nothing."""
        return [switch for switch in self.switches if switch.abandoned]

    def _during(self, begin_s: float, end_s: float) -> bool:
        """Whether a change was under way at any time of a span."""
        return any(switch.began_s < end_s and switch.retired_s > begin_s for switch in self.switches)

    def _in_pause(self, sent_s: float) -> bool:
        """Whether a request began when no switch was near."""
        return any(begin_s <= sent_s <= end_s - LATEST_S for begin_s, end_s in self.pauses)

    async def take_memory(self, callers: Callers, fleet: LocalFleet) -> None:
        """Note what agents keep, with nobody calling."""
        begin_s = time.monotonic()
        with callers.paused():
            await asyncio.sleep(QUIET_S)
            self.memory.append({node: memory(fleet.pid(node)) for node in NODES})
        self.rests.append((begin_s, time.monotonic()))

    async def pause(self) -> None:
        """Let some time pass before the next switch, a longer one now and then."""
        if len(self.switches) % PAUSE_AFTER:
            await asyncio.sleep(BETWEEN_S)
            return
        begin_s = time.monotonic()
        await asyncio.sleep(PAUSE_S)
        self.pauses.append((begin_s, time.monotonic()))

    def latencies(self) -> tuple[float, float, float]:
        """Median latency steady [s], during a switch [s], and the median over plans of their ratio [1]."""
        steady: dict[int, list[float]] = {}
        during: dict[int, list[float]] = {}
        for answer in self.answers:
            if answer.epoch not in self.plan_of:
                continue
            plan = self.plan_of[answer.epoch]
            if self._during(answer.sent_s, answer.done_s):
                during.setdefault(plan, []).append(answer.latency_s)
            elif self._in_pause(answer.sent_s):
                steady.setdefault(plan, []).append(answer.latency_s)
        both = steady.keys() & during.keys()
        ratios = [statistics.median(during[plan]) / statistics.median(steady[plan]) for plan in both]
        every = [[value for plan in both for value in side[plan]] for side in (steady, during)]
        return statistics.median(every[0]), statistics.median(every[1]), statistics.median(ratios)

    def turns(self) -> tuple[list[float], list[float]]:
        """Times until the source took something in, steady and during a switch, in order. [s]"""
        sides: tuple[list[float], list[float]] = ([0.0], [0.0])
        for sent_s, took_s in self.pings:
            if any(begin_s <= sent_s <= end_s for begin_s, end_s in self.rests):
                continue
            sides[self._during(sent_s, sent_s + took_s)].append(took_s)
        return sorted(sides[0]), sorted(sides[1])

    def growth(self) -> dict[str, float]:
        """Node to the growth of its agent's memory from the first measurement to the last. [1]"""
        first, last = self.memory[0], self.memory[-1]
        return {node: last[node]["proportional"] / first[node]["proportional"] - 1 for node in first}


async def _switch(material: Subject, fleet: LocalFleet, run: Run, *, count: int, distinct: int) -> None:
    async with PlanRoller(fleet.broker, material.blobs, free_port()) as roller:
        addresses = await roller.nodes(NODES)
        graphs = [material.graph, *material.further]
        shapes = planned_shapes(MODEL, graphs, material.blobs, distinct=distinct, addresses=addresses)
        served = run.shapes = ServedShapes(shapes)
        idle_bytes = {node: most_memory(fleet.pid(node)) for node in NODES}

        async def change(shape: PlannedShape | None) -> Switch:
            if shape is None and served.is_whole:
                return await served.withdraw(roller)
            switch, plan = await served.roll_out(shape or served.away, roller)
            run.plan_of[switch.epoch] = plan
            return switch

        for shape in shapes:
            await change(shape)
        address, turns = fleet.address(NODES[0]), served.turns()
        with Callers(address, MODEL, material.requests, fleet.folder) as callers, Pings(address, fleet.folder) as pings:
            await asyncio.sleep(2.0)
            first = min(FIRST_MEASURE, count)
            # So many switches after the first measurement, and at the same plan where plans take turns evenly.
            last = first + count if count > first else count
            for done in range(1, last + 1):
                run.switches.append(await change(next(turns)))
                await run.pause()
                if done in {first, last}:
                    for switch, plan in await served.settle(roller) if material.further else ():
                        run.switches.append(switch)
                        run.plan_of[switch.epoch] = plan
                    await run.take_memory(callers, fleet)
                callers.answers()
                if done % 100 == 0:
                    print(f"{done} switches, {len(callers.answers())} requests", file=sys.stderr)
            run.answers, run.pings = callers.stop(), pings.stop()
        run.most_bytes = {node: most_memory(fleet.pid(node)) - idle_bytes[node] for node in NODES}


def measure(path: Path, folder: Path, *, switches: int, distinct: int, mixed: bool = False) -> Run:
    """Switch a model again and again under load.

    Memory is taken after ten switches, and again after as many as were asked for.

    Args:
        path: ONNX file.
        folder: For blobs, logs, caches and records.
        switches: How often.
        distinct: Different plans that take turns.
        mixed: Requests have many sizes and batches, of a network of images whose axes are open and that has several planning
            shapes, of which the further ones come and go.
    """
    run = Run()
    material = _mixed(path, folder) if mixed else subject(path, folder)
    settings: dict[str, Any] = {}
    if mixed:
        run.asked, run.limit_bytes = material.asked, MEMORY_LIMIT_BYTES
        settings = {"memory_limit_bytes": MEMORY_LIMIT_BYTES, "runtime": f"batch_window_ms = {WINDOW_MS}"}
    with broker(folder) as url, agents(folder, url, NODES, **settings) as fleet:
        asyncio.run(_switch(material, fleet, run, count=switches, distinct=distinct))
    return run


def _mixed(path: Path, folder: Path) -> Subject:
    """A network of images with its axes opened, and requests of many sizes."""
    proto = open_images(onnx.load(path))
    opened = folder / "open.onnx"
    onnx.save(proto, opened)
    image = proto.graph.input[0]
    channels = image.type.tensor_type.shape.dim[1].dim_value
    asked, further = (
        [{image.name: (batch, channels, height, width)} for batch, height, width in sizes]
        for sizes in (MIXED_SIZES, FURTHER_SIZES)
    )
    return subject(opened, folder, shapes=asked[0], further=further, asked=asked)


def _tail(seconds: Sequence[float]) -> str:
    """The longest, and how rare long ones are."""
    ranks = {f"{share:.1%}": seconds[int(share * (len(seconds) - 1))] * 1e3 for share in (0.5, 0.99, 0.999)}
    return (
        f"{seconds[-1] * 1e3:.0f} ms of {len(seconds)} (" + ", ".join(f"{n}: {v:.0f}" for n, v in ranks.items()) + ")"
    )


def _of_shapes(run: Run) -> list[tuple[str, str, str, bool]]:
    """Rows on planning shapes and the memory limit."""
    shapes, limit = run.shapes, run.limit_bytes / MIB
    by_shape = Counter(answer.epoch // FIRST_EPOCHS for answer in run.answers if not answer.failed)
    served = ", ".join(f"{shape.name} {by_shape[shape.number]}" for shape in shapes.shapes)
    misplaced = shapes.misplaced(run.answers, run.asked)
    rows = [
        ("requests by planning shape", "all serve", served, all(by_shape[shape.number] for shape in shapes.shapes)),
        ("shapes that came or went", "", str(shapes.comings - len(shapes.shapes)), True),
        ("served by another than the nearest", "0", str(misplaced), not misplaced),
    ]
    for node, most in run.most_bytes.items():
        rows.append(
            (f"most memory of {node}, above idle", f"{limit:.0f} MiB", f"{most / MIB:.0f} MiB", most <= run.limit_bytes)
        )
    return rows


def show(run: Run) -> bool:
    """Print the table; whether every aim is met."""
    steady_s, during_s, ratio = run.latencies()
    steady, switching = run.turns()
    failed = [answer for answer in run.answers if answer.failed]
    wrong = [answer for answer in run.answers if answer.wrong]
    again = sum(answer.again for answer in run.answers)
    growth = run.growth()
    spans_s = [switch.retired_s - switch.began_s for switch in run.switches]
    table = Table("figure", "aim", "measured", title=f"{len(run.switches)} switches, {len(run.answers)} requests")
    rows = [
        ("failed requests", "0", str(len(failed)), not failed),
        ("wrong outputs", "0", str(len(wrong)), not wrong),
        ("answered twice", "0", str(again), not again),
        ("changes abandoned", "0", str(len(run.abandoned)), not run.abandoned),
        ("median latency, steady", "", f"{steady_s * 1e3:.1f} ms", True),
        ("median latency while switching", "", f"{during_s * 1e3:.1f} ms", True),
        ("ratio of the same plan's", f"{RATIO_AIM}", f"{ratio:.2f}", ratio <= RATIO_AIM),
        ("wait for the source's turn, steady", "", _tail(steady), True),
        ("while switching: longest", f"{WAIT_AIM_S * 1e3:.0f} ms", _tail(switching), switching[-1] <= WAIT_AIM_S),
        ("a switch, from plan to retired", "", f"{statistics.median(spans_s) * 1e3:.0f} ms", True),
    ]
    for node, share in growth.items():
        first, last = (taken[node]["proportional"] / MIB for taken in (run.memory[0], run.memory[-1]))
        text = f"{first:.0f} to {last:.0f} MiB ({share:+.1%})"
        rows.append((f"memory of {node}, from switch {FIRST_MEASURE}", f"{GROWTH_AIM:+.0%}", text, share <= GROWTH_AIM))
    if run.limit_bytes:
        rows += _of_shapes(run)
    for name, aim, text, met in rows:
        table.add_row(name, aim, text if met else f"[red]{text}[/red]")
    Console(width=110).print(table)
    for answer in itertools.islice(failed, 5):
        print(answer.error, file=sys.stderr)
    for switch in itertools.islice(run.abandoned, 5):
        print(f"epoch {switch.epoch}: {switch.abandoned}", file=sys.stderr)
    return all(met for *_, met in rows)


@click.command()
@click.option(
    "--model", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="ONNX file; default the demo's."
)
@click.option("--topology", type=click.Choice(zoo.names()), help="A shipped topology instead.")
@click.option("--switches", default=1000, show_default=True)
@click.option("--plans", default=20, show_default=True, help="Different plans that take turns.")
@click.option("--mixed", is_flag=True, help="Eight sizes of requests, three planning shapes, joined requests.")
def main(model: Path | None, topology: str | None, switches: int, plans: int, *, mixed: bool) -> None:
    """Switch plans under load from eight callers, on three agents of this machine.

    Examples: python -m bench.switching --switches 1000
    python -m bench.switching --mixed --topology mobilenet_v2 --switches 200
    """
    with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
        folder = Path(name)
        path = model or SHIPPED_MODEL
        if topology is not None:
            path = folder / f"{topology}.onnx"
            onnx.save(zoo.build(topology), path)
        run = measure(path, folder, switches=switches, distinct=plans, mixed=mixed)
        met = show(run)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
