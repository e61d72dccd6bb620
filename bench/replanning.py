"""Goal after goal under load, decided and rolled out by the real controller: what fails, is wrong, or waits.

Owns: a fleet whose operator moves the split again and again with `splitctl pin`. Its rule: nothing but splitctl tells the
controller anything, and only what it answers counts as a change. Not here: the verdict (`switching.py`), plans that are
given (`switching.py` again).
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from bench.callers import Callers
from bench.live_plans import AgentWatch
from bench.live_rollouts import Switch
from bench.pings import Pings
from bench.random_plans import NODES
from bench.scene import SHIPPED_MODEL, Subject, broker, subject
from bench.switching import FIRST_MEASURE, Run, show
from demo.fleet import EmulatedNode, LocalFleet

__all__ = ["main"]

MODEL = "replanned"
SOURCE = NODES[0]
SLOW_DOWN = 2.0
"""Of the source, so that plans use the others. [1]"""
PINNED = tuple(range(2, 32, 3))
"""How many of the first operators stay on the source, in turn."""


async def _replan(material: Subject, fleet: LocalFleet, run: Run, *, epoch: int, count: int) -> None:
    """Change the plan so often, from the epoch that serves on."""
    address = fleet.address(SOURCE)
    async with AgentWatch(fleet.broker) as watch:
        await watch.nodes(NODES)
        with Callers(address, MODEL, material.requests, fleet.folder) as callers, Pings(address, fleet.folder) as pings:
            await asyncio.sleep(2.0)
            measured_at = {FIRST_MEASURE, FIRST_MEASURE + count}
            for pinned in itertools.cycle(PINNED):
                if len(run.switches) >= FIRST_MEASURE + count:
                    break
                began_s = time.monotonic()
                said: dict[str, Any] = await asyncio.to_thread(
                    fleet.splitctl, "pin", MODEL, "--first", str(pinned), "--node", SOURCE
                )
                activated_s = time.monotonic()
                if not said["changed"]:
                    continue
                await watch.gone(MODEL, epoch)
                epoch = said["epoch"]
                run.plan_of[epoch] = pinned
                run.switches.append(Switch(epoch, began_s, activated_s, time.monotonic()))
                await run.pause()
                if len(run.switches) in measured_at:
                    await run.take_memory(callers, fleet)
                if len(run.switches) % 10 == 0:
                    print(f"{len(run.switches)} switches, {len(callers.answers())} requests", file=sys.stderr)
            run.answers, run.pings = callers.stop(), pings.stop()


def measure(path: Path, folder: Path, *, switches: int) -> Run:
    """Have the controller change a model's plan again and again under load.

    Args:
        path: ONNX file.
        folder: For everything.
        switches: How often, after ten that are not counted for memory.
    """
    run = Run()
    material = subject(path, folder)
    nodes = [EmulatedNode(name, 1.0, 1.0, slow_down=SLOW_DOWN if name == SOURCE else 1.0) for name in NODES]
    with broker(folder) as url, LocalFleet(folder, nodes, broker=url) as fleet:
        fleet.start()
        fleet.await_nodes()
        fleet.splitctl("model", "add", "--wait", "all", MODEL, str(path), "--max-quantizable", "1")
        deployed = fleet.splitctl("deploy", MODEL, "--source", SOURCE)
        asyncio.run(_replan(material, fleet, run, epoch=deployed["epoch"], count=switches))
    return run


@click.command()
@click.option(
    "--model", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="ONNX file; default the demo's."
)
@click.option("--switches", default=100, show_default=True)
def main(model: Path | None, switches: int) -> None:
    """Pin more and fewer operators to the source under load from eight callers, with a real controller.

    Example: python -m bench.replanning --switches 100
    """
    with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
        met = show(measure(model or SHIPPED_MODEL, Path(name), switches=switches))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
