"""Maintenance of live agents: nodes drained under load, and a controller whose folder is lost and restored.

Owns: the fleet, the steps, the counting and the verdict. Its rule: everything is asked as an operator asks it, by splitctl, and a
request that failed is counted, whatever else went well. Not here: what draining and restoring take (the controller).

The aim: 0 failed requests, every drained node held nothing, and the restored controller serves the same plan as the same epoch.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import onnx

from bench import zoo
from demo.fleet import EmulatedNode, LocalFleet
from tests.integration.inputs import random_request

__all__ = ["main"]

MODEL = "upkept"
SOURCE = "device"
NODES = (
    EmulatedNode(SOURCE, compute_w=3.0, transmit_w=3.5, slow_down=12.0),
    EmulatedNode("edge", compute_w=6.0, transmit_w=2.0, slow_down=2.0),
    EmulatedNode("cloud", compute_w=35.0, transmit_w=0.01),
)


def used(fleet: LocalFleet) -> set[str]:
    """Nodes beside the source that compute something of the model."""
    return {node for node, share in fleet.splitctl("plan", MODEL)["per_node"].items() if share["operators"]} - {SOURCE}


def drained_under_load(fleet: LocalFleet, image: Path, requests: int) -> dict[str, Any]:
    """Drain one node after another while requests come, one after another; what came of both."""
    nodes: list[str] = []
    longest_s, stayed = 0.0, 0
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(fleet.splitctl, "infer", MODEL, "--input", str(image), "--count", str(requests))
        while (others := used(fleet)) and not load.done():
            node, begun_s = min(others), time.monotonic()
            rows = fleet.splitctl("drain", node)["models"]
            longest_s = max(longest_s, time.monotonic() - begun_s)
            stayed += sum(bool(row["stays"]) for row in rows) + (node in used(fleet))
            nodes.append(node)
        asked = load.result()
    for node in nodes:
        fleet.splitctl("undrain", node)
    return {"nodes": nodes, "stayed": stayed, "longest_s": longest_s, "asked": asked}


def lost_and_restored(fleet: LocalFleet, image: Path, folder: Path) -> dict[str, Any]:
    """Back up, lose the controller and its folder, restore; what is as before."""
    fleet.splitctl("pause")
    before, file = fleet.splitctl("plan", MODEL), folder / "fleet.tar"
    size_bytes = fleet.splitctl("backup", str(file))["size_bytes"]
    fleet.kill("controller")
    shutil.rmtree(fleet.folder / "store")
    fleet.start_controller()
    fleet.await_nodes()
    begun_s = time.monotonic()
    (row,) = fleet.splitctl("restore", str(file))["models"]
    took_s = time.monotonic() - begun_s
    after = fleet.splitctl("plan", MODEL)
    same = (after["epoch"], after["per_node"], after["serving"]) == (
        before["epoch"],
        before["per_node"],
        before["epoch"],
    )
    asked = fleet.splitctl("infer", MODEL, "--input", str(image), "--count", "20")
    return {"same": same, "pending": row["pending"], "took_s": took_s, "size_bytes": size_bytes, "asked": asked}


@click.command()
@click.option("--requests", default=300, show_default=True, type=click.IntRange(1), help="While nodes are drained.")
def main(requests: int) -> None:
    """Drain nodes of a live fleet under load, then lose the controller's folder and restore it from a backup."""
    with tempfile.TemporaryDirectory(prefix="edgesplit-upkeep-") as name:
        folder = Path(name)
        model = folder / "mobilenet.onnx"
        onnx.save(zoo.build("mobilenet_v2", scale=0.35, size=64), model)
        image = random_request(model, folder)
        with LocalFleet(folder / "fleet", NODES) as fleet:
            fleet.start()
            fleet.await_nodes()
            fleet.splitctl("model", "add", MODEL, str(model))
            fleet.splitctl("deploy", MODEL, "--source", SOURCE)
            drained = drained_under_load(fleet, image, requests)
            restored = lost_and_restored(fleet, image, folder)
    failed = drained["asked"]["failed"] + restored["asked"]["failed"]
    print(f"drained under load: {', '.join(drained['nodes'])}, each empty after at most {drained['longest_s']:.1f} s")
    print(f"requests meanwhile: {drained['asked']['count']} on epochs {drained['asked']['epochs']}")
    print(
        f"restored from {restored['size_bytes']} bytes in {restored['took_s']:.1f} s, the same plan: {restored['same']}"
    )
    print(f"requests that failed: {failed} (aim 0)")
    kept = failed == 0 and drained["nodes"] and not drained["stayed"] and restored["same"] and not restored["pending"]
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
