"""What the benchmarks of switching and failing run on: agents as processes on loopback, a broker, a model, requests.

Owns: setting that up and what its processes use. Its rule: nothing is emulated. Not here: load (`callers.py`), plans.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from bench.callers import save_requests
from bench.random_plans import random_inputs
from demo.fleet import EmulatedNode, LocalFleet
from demo.ports import free_port
from edgesplit_controller.broker.embedded_broker import EmbeddedBroker
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.importer import import_model
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.runner import open_session
from lab.testbed.requirements import program

__all__ = ["SHIPPED_MODEL", "Subject", "agents", "broker", "memory", "most_memory", "open_images", "subject"]

SHIPPED_MODEL = Path(__file__).resolve().parents[1] / "demo" / "shapes.onnx"
_IMAGE_AXES = ("batch", "channels", "height", "width")
REQUESTS = 16
"""Different requests, so that an answer to another one's shows."""
MEMORY_SAMPLES, MEMORY_EVERY_S = 40, 0.05
"""Tensors in flight come and go: one look would see how many there just were."""


@dataclass(frozen=True)
class Subject:
    """A model and requests whose answers are known.

    Attributes:
        requests: File of `bench.callers.save_requests`.
        further: The same model at its further planning shapes.
        asked: Shapes of the requests, which take turns; empty where all are of the planning shape.
    """

    graph: ModelGraph
    blobs: BlobStore
    requests: Path
    further: Sequence[ModelGraph] = ()
    asked: Sequence[Mapping[str, tuple[int, ...]]] = ()


def open_images(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Open batch, height and width of a network of images that does not depend on them; changed in place."""
    inputs = {value.name for value in proto.graph.input}
    for value in (*proto.graph.input, *proto.graph.output):
        dims = value.type.tensor_type.shape.dim
        for dim, name in zip(dims, _IMAGE_AXES, strict=False):
            if name != "channels" and (name == "batch" or len(dims) == len(_IMAGE_AXES)):
                dim.Clear()
                dim.dim_param = name if value.name in inputs else ""
    del proto.graph.value_info[:]
    return proto


def subject(
    path: Path,
    folder: Path,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    further: Sequence[Mapping[str, tuple[int, ...]]] = (),
    asked: Sequence[Mapping[str, tuple[int, ...]]] = (),
) -> Subject:
    """Import a model, and run it whole on some requests.

    Args:
        path: ONNX file.
        folder: For blobs and requests.
        shapes: What is planned for, by input.
        further: Likewise, of further planning shapes.
        asked: Shapes of the requests, which take turns; the planning shape where none are given.
    """
    blobs = BlobStore(folder / "blobs")
    graph = import_model(path, blobs, shapes=shapes)
    session = open_session(graph.deployed.proto, blobs)
    pairs: list[tuple[Any, Any]] = []
    for seed in range(REQUESTS):
        inputs = random_inputs(graph, seed, asked[seed % len(asked)] if asked else None)
        pairs.append((inputs, dict(zip(graph.outputs, session.run(list(graph.outputs), inputs), strict=True))))
    requests = folder / "requests.npz"
    save_requests(requests, pairs)
    return Subject(graph, blobs, requests, [import_model(path, blobs, shapes=shape) for shape in further], asked)


@contextmanager
def broker(folder: Path) -> Generator[str]:
    """A Mosquitto of our own where one is installed, else amqtt in this process; its URL."""
    tool, port = program("mosquitto"), free_port()
    url = f"mqtt://127.0.0.1:{port}"
    if tool is None:
        embedded = EmbeddedBroker(url)
        embedded.start()
        try:
            yield url
        finally:
            embedded.stop()
        return
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n", encoding="utf-8"
    )
    with (folder / "mosquitto.log").open("wb") as log:
        process = subprocess.Popen([tool, "-c", str(config)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        time.sleep(0.3)
        yield url
    finally:
        process.terminate()
        process.wait()


@contextmanager
def agents(
    folder: Path, url: str, names: Sequence[str], *, memory_limit_bytes: int = 4 << 30, runtime: str = ""
) -> Generator[LocalFleet]:
    """Agents and no controller.

    Args:
        folder: For configurations, logs and caches.
        url: Of the broker.
        names: Of the nodes.
        memory_limit_bytes: Of each. [B]
        runtime: More lines of their `[runtime]` section.
    """
    nodes = [EmulatedNode(name, 1.0, 1.0, memory_limit_bytes=memory_limit_bytes, runtime=runtime) for name in names]
    with LocalFleet(folder, nodes, broker=url) as fleet:
        for name in names:
            fleet.start_agent(name)
        yield fleet


def memory(process: int) -> dict[str, int]:
    """What a process uses, with the pages of files that it shares with others counted in part; medians of two seconds. [B]

    Returns:
        `anonymous`, what is its own; `proportional`, that and its part of what it shares.
    """
    samples: list[dict[str, int]] = []
    for _ in range(MEMORY_SAMPLES):
        samples.append(_memory_now(process))
        time.sleep(MEMORY_EVERY_S)
    return {kind: int(statistics.median(sample[kind] for sample in samples)) for kind in samples[0]}


def most_memory(process: int) -> int:
    """What a process used at most, with all pages of files that it mapped. [B]"""
    text = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return 1024 * int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmHWM:")))


def _memory_now(process: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines():
        words = line.split()
        if words[0] in {"Pss:", "Pss_Anon:"}:
            found["proportional" if words[0] == "Pss:" else "anonymous"] = int(words[1]) * 1024
    return found
