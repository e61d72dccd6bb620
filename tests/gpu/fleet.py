"""A fleet with a node on CUDA: its profile, a plan that places units there, and whether splits equal the whole."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from bench.differences import relative_difference
from bench.scene import broker
from demo.fleet import EmulatedNode, LocalFleet
from edgesplit_agent.compute.providers import CPU, CUDA
from edgesplit_agent.compute.runtime import RuntimeOptions, open_session
from tests.gpu.checks import TOPOLOGY

TOLERANCE = 1e-4
NODES = (
    EmulatedNode("device", compute_w=3.0, transmit_w=3.0, runtime='provider = "cpu"'),
    EmulatedNode("gpu", compute_w=200.0, transmit_w=3.0, runtime='provider = "cuda"'),
)


def session_figures(folder: Path) -> dict[str, float]:
    """What the check of sessions found before; empty where it found nothing."""
    try:
        found: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))["sessions"]
    except (OSError, KeyError):
        return {}
    return found if {"host_to_host_s", "on_device_s"} <= found.keys() else {}


def check(folder: Path) -> dict[str, Any]:
    """All of it; on loopback."""
    path = folder / f"{TOPOLOGY}.onnx"
    described = onnx.load(path, load_external_data=False).graph.input[0]
    shape = [dim.dim_value for dim in described.type.tensor_type.shape.dim]
    inputs = {described.name: np.random.default_rng(2).random(shape, dtype=np.float32)}
    processor = open_session(path, RuntimeOptions(provider=CPU))
    names = [value.name for value in processor.get_outputs()]
    wanted = dict(zip(names, processor.run(names, inputs), strict=True))
    del processor
    with (
        tempfile.TemporaryDirectory(prefix="edgesplit-gpu-") as name,
        broker(Path(name)) as url,
        LocalFleet(Path(name), NODES, broker=url) as fleet,
    ):
        fleet.start()
        fleet.await_nodes()
        request, answer, problem = (fleet.folder / file for file in ("in.npz", "out.npz", "problem.json"))
        np.savez(request, **inputs)  # type: ignore[arg-type]  # keywords are arrays, not allow_pickle

        def difference() -> float:
            done = fleet.splitctl("infer", TOPOLOGY, "--input", str(request), "--output", str(answer), "--count", "3")
            with np.load(answer) as stored:
                return relative_difference(wanted, dict(stored)) if not done["failed"] else float("inf")

        started = time.monotonic()
        fleet.splitctl("model", "add", TOPOLOGY, str(path), "--max-quantizable", "0", timeout_s=150)
        added_s = time.monotonic() - started
        fleet.splitctl("deploy", TOPOLOGY, "--source", "device", "--wait", "60")
        plan = fleet.splitctl("plan", TOPOLOGY, "--export", str(problem))
        stated = json.loads(problem.read_text(encoding="utf-8"))
        whole_s = {node.name: sum(row["time_s"].get(node.name, 0.0) for row in stated["operators"]) for node in NODES}
        placed = plan["per_node"].get("gpu", {}).get("operators", 0)
        planned = difference()
        free = [row["name"] for row in stated["operators"] if not row.get("role")]
        thirds = [free[part * len(free) // 3 : (part + 1) * len(free) // 3] for part in range(3)]
        for units, node in zip(thirds, ("device", "gpu", "device"), strict=True):
            fleet.splitctl("pin", TOPOLOGY, *units, "--node", node)
        middle = difference()
        fleet.splitctl("unpin", TOPOLOGY, "--all")
        fleet.splitctl("pin", TOPOLOGY, "*", "--node", "gpu")
        everything = difference()
        providers = {row["name"]: row["providers"] for row in fleet.splitctl("nodes")}
        measured = fleet.splitctl("infer", TOPOLOGY, "--input", str(request), "--count", "30")["latency_s"]
    worst = max(planned, middle, everything)
    alone = session_figures(folder)
    return {
        "ok": placed > 0 and worst <= TOLERANCE and CUDA in providers["gpu"],
        "said": f"the plan places {placed} operators on the GPU node, splits equal the whole within {worst:.1e}, a request "
        f"computed there takes {1e3 * measured['p50']:.1f} ms",
        "providers": providers,
        "added_s": round(added_s, 1),
        "profiled_whole_s": whole_s,
        # 1 where the profile has transfers between host and device as requests have them, less where it lacks them.
        "profile_over_host_to_host": whole_s["gpu"] / alone["host_to_host_s"] if alone else None,
        "profile_over_on_device": whole_s["gpu"] / alone["on_device_s"] if alone else None,
        "planned": {"per_node": plan["per_node"], "latency_s": plan["latency_s"]},
        "difference": {"planned": planned, "middle_third_on_gpu": middle, "all_on_gpu": everything},
        "latency_all_on_gpu_s": measured,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(check(Path(sys.argv[1]))) + "\n")
