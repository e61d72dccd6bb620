"""Models taken in and profiled as a controller and an agent would, in one process.

Owns: the way from an ONNX file to an execution profile for benchmarks. Its rule: the product's own steps, except that
noise is not modelled and calibration is short, for neither changes times. Not here: what is made of the profile.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesplit.control.profile_messages import ExecutionProfile, ModelOffer, ProfileReport
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.compute.session_pool import RuntimeOptions, open_session
from edgesplit_agent.compute.worker import Worker
from edgesplit_agent.profiling.profiler import Profiler
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.graph_refs import tensor_specs
from edgesplit_controller.graph.importing.importer import import_model
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.quantizable import candidates
from edgesplit_controller.graph.units import find_units
from edgesplit_controller.models.intake.stages import model_offer
from edgesplit_controller.quantization.calibration import load_calibration
from edgesplit_controller.quantization.noise.noise_model import calibrate

__all__ = ["OPTIONS", "ProfiledModel", "TimedSession", "profiled"]

OPTIONS = RuntimeOptions(threads=1, alone=True)
SAMPLES = 4
WHOLE_RUNS = 25


@dataclass(frozen=True)
class ProfiledModel:
    """A model with what one node said about it.

    Attributes:
        quantizable: Its candidates for int8.
        seconds: Profiling took so long. [s]
        whole_s: The float model, timed before and after profiling; the mean of both medians. [s]
    """

    name: str
    graph: ModelGraph
    blobs: BlobStore
    quantizable: tuple[str, ...]
    ranges: Mapping[str, tuple[float, float]]
    offer: ModelOffer
    profile: ExecutionProfile
    seconds: float
    whole_s: float


class TimedSession:
    """A session as agents open it, with inputs, warm."""

    def __init__(self, path: Path, inputs: tuple[TensorSpec, ...]) -> None:
        self._session = open_session(path, OPTIONS)
        generator = np.random.default_rng(0)
        self._inputs: dict[str, NDArray[Any]] = {
            spec.name: (
                generator.random(spec.sizes) if np.dtype(spec.dtype).kind == "f" else np.zeros(spec.sizes)
            ).astype(spec.dtype)
            for spec in inputs
        }
        self.run()

    def run(self) -> float:
        """Run once; seconds of this thread. [s]"""
        started = time.thread_time()
        self._session.run(None, self._inputs)
        return time.thread_time() - started

    def median_s(self, runs: int) -> float:
        """Median seconds of runs one after another. [s]"""
        return statistics.median(self.run() for _ in range(runs))


def profiled(path: Path, folder: Path, *, limit: int) -> ProfiledModel:
    """Take a model in and profile it on this machine.

    Args:
        path: ONNX file.
        folder: For blobs and the result.
        limit: How many operators may run in int8.

    Raises:
        RuntimeError: Profiling failed; says why.
    """
    blobs = BlobStore(folder / "blobs")
    graph = import_model(path, blobs)
    chosen = tuple(candidates(graph, limit))
    graph = graph.with_units(find_units(graph.operators, graph.tensors, chosen, graph.size_tensors))
    named = {unit.name for unit in graph.units}
    quantizable = tuple(name for name in chosen if name in named)
    ranges = calibrate(graph, blobs, quantizable, load_calibration(None, graph, samples=SAMPLES)) if chosen else {}
    offer = model_offer(path.stem, graph, quantizable, ranges, blobs)
    whole = TimedSession(blobs.path(offer.float_graph.digest), tensor_specs(graph, graph.inputs))
    before_s = whole.median_s(WHOLE_RUNS)
    started = time.monotonic()
    profile = asyncio.run(_profile(offer, blobs))
    seconds = time.monotonic() - started
    whole_s = (before_s + whole.median_s(WHOLE_RUNS)) / 2
    return ProfiledModel(path.stem, graph, blobs, quantizable, ranges, offer, profile, seconds, whole_s)


async def _profile(offer: ModelOffer, blobs: BlobStore) -> ExecutionProfile:
    ended: asyncio.Future[ProfileReport] = asyncio.get_running_loop().create_future()

    def heard(report: ProfileReport) -> None:
        if report.state != "running" and not ended.done():
            ended.set_result(report)

    worker = Worker()
    profiler = Profiler(
        node="bench",
        instance="bench",
        runtime="onnxruntime",
        cache=BlobCache(blobs.folder, 1 << 40, lambda: ""),
        worker=worker,
        options=OPTIONS,
        publish=heard,
    )
    try:
        profiler.offer(offer.model, offer)
        report = await ended
    finally:
        await profiler.close()
        await worker.close()
    if report.profile is None:
        raise RuntimeError(f"profiling {offer.model} failed: {report.detail}")
    return report.profile
