"""Sessions on CUDA: whether kernels really run there, what transfers between host and device take, whether outputs agree."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench.differences import relative_difference
from edgesplit_agent.compute.providers import CPU, CUDA
from edgesplit_agent.compute.runtime import RuntimeOptions, open_session, providers_of
from edgesplit_agent.profiling.timing.kernel_times import COPIES, kernel_runs
from tests.gpu.checks import TOPOLOGY

TOLERANCE = 1e-4
MOSTLY = 0.9
"""Of the kernels; a few small ones may stay on the processor."""


def median_s(run: Callable[[], object], count: int, warm: int = 5) -> float:
    """Median seconds of runs one after another. [s]"""
    for _ in range(warm):
        run()
    taken: list[float] = []
    for _ in range(count):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def on_device_s(session: Any, inputs: dict[str, NDArray[Any]]) -> float:
    """Median seconds of runs whose inputs and outputs stay on the device. [s]"""
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", 0))
    for value in session.get_outputs():
        binding.bind_output(value.name, "cuda")

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return median_s(run, 50)


def first_runs_s(search: str) -> list[float]:
    """Seconds of the first run at each of three sizes that a session has not seen, under a search for convolutions. [s]"""
    generator = np.random.default_rng(0)
    names = ["x", *(f"t{number}" for number in range(8))]
    weights = [
        numpy_helper.from_array(
            (generator.standard_normal((32, 3 if not n else 32, 3, 3)) / 20).astype(np.float32), f"w{n}"
        )
        for n in range(8)
    ]
    nodes = [
        helper.make_node("Conv", [names[n], f"w{n}"], [names[n + 1]], pads=[1, 1, 1, 1], kernel_shape=[3, 3])
        for n in range(8)
    ]
    graph = helper.make_graph(
        nodes,
        "open",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, [1, 32, "h", "w"])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = {"use_tf32": "0", "cudnn_conv_algo_search": search}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=[(CUDA, options), CPU])
    session.run(None, {"x": np.zeros((1, 3, 64, 64), np.float32)})
    taken: list[float] = []
    for size in (96, 160, 224):
        started = time.perf_counter()
        session.run(None, {"x": np.zeros((1, 3, size, size), np.float32)})
        taken.append(round(time.perf_counter() - started, 4))
    return taken


def tf32(path: Path, inputs: dict[str, NDArray[Any]], wanted: dict[str, NDArray[Any]]) -> dict[str, float]:
    """What TF32, onnxruntime's default that agents switch off, would save and cost."""
    session = onnxruntime.InferenceSession(str(path), providers=[(CUDA, {"use_tf32": "1"}), CPU])
    found = dict(zip(wanted, session.run(list(wanted), inputs), strict=True))
    return {
        "host_to_host_s": median_s(lambda: session.run(None, inputs), 50),
        "difference": relative_difference(wanted, found),
    }


def check(folder: Path) -> dict[str, Any]:
    """All of it."""
    path = folder / f"{TOPOLOGY}.onnx"
    described = onnx.load(path, load_external_data=False).graph.input[0]
    shape = [dim.dim_value for dim in described.type.tensor_type.shape.dim]
    inputs = {described.name: np.random.default_rng(1).random(shape, dtype=np.float32)}
    session = open_session(path, RuntimeOptions(provider=CUDA))
    providers = providers_of(session)
    processor = open_session(path, RuntimeOptions(provider=CPU))
    names = [value.name for value in processor.get_outputs()]
    wanted = dict(zip(names, processor.run(names, inputs), strict=True))
    found = dict(zip(names, session.run(names, inputs), strict=True))
    watched = open_session(path, RuntimeOptions(provider=CUDA), profile_prefix=folder / "profile")
    for _ in range(3):
        watched.run(None, inputs)
    kernels = kernel_runs(Path(watched.end_profiling()))[-1]
    by_provider = Counter(kernel.provider for kernel in kernels if kernel.operator not in COPIES)
    share = by_provider[CUDA] / max(1, sum(by_provider.values()))
    host_s, device_s = median_s(lambda: session.run(None, inputs), 50), on_device_s(session, inputs)
    difference = relative_difference(wanted, found)
    ok = providers[0] == CUDA and share >= MOSTLY and difference <= TOLERANCE
    moved = sum(array.nbytes for array in (*inputs.values(), *wanted.values()))
    return {
        "ok": ok,
        "said": f"{by_provider[CUDA]} of {sum(by_provider.values())} kernels ran on CUDA, outputs within {difference:.1e}, "
        f"transfers take {1e3 * (host_s - device_s):.2f} ms of {1e3 * host_s:.2f}",
        "providers": list(providers),
        "kernels": dict(by_provider),
        "copies_in_graph": sum(kernel.operator in COPIES for kernel in kernels),
        "host_to_host_s": host_s,
        "on_device_s": device_s,
        "transfers_s": host_s - device_s,
        "transfer_bytes": moved,
        "processor_s": median_s(lambda: processor.run(None, inputs), 5, 1),
        "difference": difference,
        "with_tf32": tf32(path, inputs, wanted),
        "first_run_at_new_sizes_s": {search: first_runs_s(search) for search in ("EXHAUSTIVE", "HEURISTIC", "DEFAULT")},
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(check(Path(sys.argv[1]))) + "\n")
