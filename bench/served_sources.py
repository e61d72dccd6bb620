"""Several live sources of one model at the rate that was planned for: whether requests take what their plans promise.

Owns: the fleet with emulated speeds and links, requests that arrive at every source at a steady rate, and the table. Its rule: a request is sent when
it is due, whatever became of the one before; every answer is held against the whole model's. Not here: made-up fleets of a hundred sources
(`many_sources.py`), requests as fast as answers come (`rate.py`).

Sources know nothing of each other: each begins at a moment of its own. A plan's latency is that of a request which waits for nobody; where two
sources share a node, one request in a while has to wait for another's. What that may take, plans say too (`loaded_latency_s`, modelled), and
requests are held against both.
"""

from __future__ import annotations

import asyncio
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from bench.callers import TOLERANCE
from bench.differences import Arrays, relative_difference
from bench.scene import SHIPPED_MODEL
from demo.fleet import EmulatedLink, EmulatedNode, LocalFleet
from edgesplit.client.asynchronous import AsyncClient
from edgesplit.errors import EdgesplitError

__all__ = ["Row", "main"]

MODEL = "shapes"
SHARED = ("edge", "cloud")
NEAR, FAR = EmulatedLink(8e6, 0.005), EmulatedLink(8e6, 0.03)
WITHIN = 1.1
"""Of the planned latency, waiting included: no request should take more. [1]"""
WARM_S, DEADLINE_S = 10.0, 30.0


@dataclass(frozen=True)
class Row:
    """What the requests of one source took.

    Attributes:
        source: The node.
        planned_s: Latency of its plan, for a request that waits for nobody. [s]
        loaded_s: The same with the waiting that its plan says, at 99 % of phases; infinite where it says none. [s]
        worst_s: Likewise at any phase. [s]
        latencies_s: Of its requests, measured at the caller. [s]
        failed: Requests without an answer, or with another than the whole model's.
    """

    source: str
    planned_s: float
    loaded_s: float
    worst_s: float
    latencies_s: Sequence[float]
    failed: int

    def beyond(self, planned_s: float) -> int:
        """Requests that took more than `WITHIN` of a latency."""
        return sum(latency_s > WITHIN * planned_s for latency_s in self.latencies_s)


def nodes(count: int) -> list[EmulatedNode]:
    """Cameras that are slow, a near edge and a faster cloud; slow enough to leave this machine's cores to all of them."""
    cameras = [f"cam{number}" for number in range(1, count + 1)]
    named = {name: NEAR if name == "edge" else FAR for name in (*SHARED, *cameras)}
    speeds = dict.fromkeys(cameras, 60.0) | {"edge": 12.0, "cloud": 8.0}
    return [
        EmulatedNode(
            name, 3.0, 3.0, slow_down=speed, links={other: link for other, link in named.items() if other != name}
        )
        for name, speed in speeds.items()
    ]


async def ask(
    fleet: LocalFleet,
    plans: Mapping[str, Mapping[str, Any]],
    requests: Sequence[tuple[Arrays, Arrays]],
    rate_hz: float,
    seconds: float,
) -> list[Row]:
    """Send requests to every source at a rate.

    Args:
        fleet: Up, with the model served from every source.
        plans: Source to its plan.
        requests: Inputs, and the outputs they should give.
        rate_hz: Of each source. [1/s]
        seconds: For so long, after a while that does not count. [s]
    """
    draw = random.Random(1)

    async def one(
        client: AsyncClient, pair: tuple[Arrays, Arrays], counts: bool, row: tuple[list[float], list[str]]
    ) -> None:
        begin_s = time.monotonic()
        try:
            outputs = (await client.infer_detailed(MODEL, pair[0], deadline_s=DEADLINE_S)).outputs
        except EdgesplitError as error:
            row[1].append(str(error))
            return
        took_s = time.monotonic() - begin_s
        if not relative_difference(pair[1], outputs) <= TOLERANCE:
            row[1].append("another answer than the whole model's")
        elif counts:
            row[0].append(took_s)

    async def source(name: str, plan: Mapping[str, Any], begin_s: float) -> Row:
        row: tuple[list[float], list[str]] = ([], [])
        async with AsyncClient(fleet.address(name)) as client, asyncio.TaskGroup() as group:
            due_s, number = begin_s + draw.random() / rate_hz, 0
            while due_s < begin_s + WARM_S + seconds:
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                counts = due_s >= begin_s + WARM_S
                group.create_task(one(client, requests[number % len(requests)], counts, row))
                due_s, number = due_s + 1.0 / rate_hz, number + 1
        if row[1]:
            click.echo(f"{name}: {row[1][0]}", err=True)
        planned_s, worst_s = plan["latency_s"], plan["waiting"]["worst_s"]
        loaded_s = math.inf if plan["loaded_latency_s"] is None else plan["loaded_latency_s"]
        worst_s = math.inf if worst_s is None else planned_s + worst_s
        return Row(name, planned_s, loaded_s, worst_s, row[0], len(row[1]))

    begin_s = time.monotonic() + 0.5
    return list(await asyncio.gather(*(source(name, plan, begin_s) for name, plan in plans.items())))


def material(count: int = 8) -> list[tuple[Arrays, Arrays]]:
    """Requests and what the whole model answers."""
    import onnxruntime  # noqa: PLC0415  only what runs this needs it

    session = onnxruntime.InferenceSession(SHIPPED_MODEL, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found: list[tuple[Arrays, Arrays]] = []
    for seed in range(count):
        inputs = {
            entry.name: np.random.default_rng(seed).random(
                [1 if isinstance(size, str) else size for size in entry.shape], np.float32
            )
            for entry in session.get_inputs()
        }
        found.append((inputs, dict(zip(names, session.run(names, inputs), strict=True))))
    return found


@click.command()
@click.option("--sources", default=3, show_default=True, help="Cameras; each is an agent of its own.")
@click.option("--rate", "rate_hz", default=1.0, show_default=True, help="Planned, of each source. [1/s]")
@click.option("--share", default=0.8, show_default=True, help="Of the planned rate at which requests come. [1]")
@click.option("--seconds", default=60.0, show_default=True, help="That count. [s]")
def main(sources: int, rate_hz: float, share: float, seconds: float) -> None:
    """Deploy one model from several sources with a rate, and send requests at a share of it.

    Example: python -m bench.served_sources --sources 3 --rate 1 --share 0.8
    """
    stays = "change_threshold = 1000.0\ngain_threshold = 1000.0\n"
    with (
        tempfile.TemporaryDirectory(prefix="edgesplit-sources-") as name,
        LocalFleet(Path(name), nodes(sources), latency_model="critical-path", planning=stays) as fleet,
    ):
        fleet.start()
        fleet.await_nodes()
        fleet.splitctl("model", "add", "--wait", "all", MODEL, str(SHIPPED_MODEL), timeout_s=600.0)
        goals = ("--latency", "1", "--energy", "0", "--max-noise", "0", "--min-rate", repr(rate_hz))
        fleet.splitctl("set-weights", *goals, "--model", MODEL)
        document = fleet.splitctl("deploy", MODEL, "--source", "cam*", "--wait", "300", timeout_s=320.0)
        for sentence in document["warnings"]:
            click.echo(sentence, err=True)
        plans = {row["source"]: fleet.splitctl("plan", row["name"]) for row in document["sources"]}
        rows = asyncio.run(ask(fleet, plans, material(), share * rate_hz, seconds))
    on = {
        source: ", ".join(node for node, part in plan["per_node"].items() if part["operators"])
        for source, plan in plans.items()
    }
    kept = show(rows, on)
    click.echo(
        f"at {share:g} of the planned rate no request takes more than {WITHIN:g} of what was planned, waiting included: "
        f"{'yes' if kept else 'NO'}"
    )
    sys.exit(0 if kept and len(rows) == sources else 1)


def show(rows: Sequence[Row], on: Mapping[str, str]) -> bool:
    """Print the table; whether every request was answered within what was planned, waiting included.

    Args:
        rows: What requests took.
        on: Source to the nodes of its plan.
    """
    click.echo(
        f"{'source':8s}  {'on':16s}  planned  loaded   worst    p50      most     p50/planned  most/planned  most/loaded  "
        f"beyond {WITHIN:g} planned, loaded  failed  of"
    )
    for row in rows:
        times = sorted(row.latencies_s) or [float("nan")]
        middle_s, most_s = statistics.median(times), times[-1]
        click.echo(
            f"{row.source:8s}  {on[row.source]:16s}  {row.planned_s:.3f} s  {row.loaded_s:.3f} s  {row.worst_s:.3f} s  "
            f"{middle_s:.3f} s  {most_s:.3f} s  {middle_s / row.planned_s:11.3f}  {most_s / row.planned_s:12.3f}  "
            f"{most_s / row.loaded_s:11.3f}  {row.beyond(row.planned_s):18d}, {row.beyond(row.loaded_s):6d}  "
            f"{row.failed:6d}  {len(row.latencies_s)}"
        )
    return all(row.latencies_s and not row.beyond(row.loaded_s) and not row.failed for row in rows)


if __name__ == "__main__":
    main()
