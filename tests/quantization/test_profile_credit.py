"""A kernel that took in what follows a convolution is credited to the convolution."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgesplit.control.profile_messages import ProfilePlan
from edgesplit_agent.profiling.timing.kernel_times import kernel_runs, unit_times
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.importer import import_model
from edgesplit_controller.quantization.profile_graphs import profile_protos


def test_the_float_time_of_a_fused_convolution_is_its_own_not_its_relus(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    weights = [generator.standard_normal((32, channels, 3, 3)).astype(np.float32) for channels in (3, 32)]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "first_relu"),
        helper.make_node("Conv", ["b", "w1"], ["c"], "second", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"], "second_relu"),
    ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 32, 64, 64])],
        [numpy_helper.from_array(values, f"w{index}") for index, values in enumerate(weights)],
    )
    path = tmp_path / "chain.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    blobs = BlobStore(tmp_path / "blobs")
    imported = import_model(path, blobs)
    graphs = profile_protos(imported, None)
    units = tuple(unit.name for unit in imported.units)
    assert {"first", "second"} <= set(units)

    times = _profile(
        graphs.plain,
        blobs,
        ProfilePlan(units=units, kernel_units=dict(graphs.kernel_units), quantizable=(), inputs=()),
        tmp_path,
    )
    assert times["first"] > 0.0
    assert times["second"] > 0.0
    assert times["first"] + times["second"] > 0.5 * sum(times.values())


def _profile(proto: onnx.ModelProto, blobs: BlobStore, plan: ProfilePlan, folder: Path) -> dict[str, float]:
    path = blobs.folder / "plain.onnx"
    path.write_bytes(proto.SerializeToString())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    x = np.zeros((1, 3, 64, 64), np.float32)
    seconds: list[float] = []
    for _ in range(5):
        begin = time.perf_counter()
        session.run(None, {"x": x})
        seconds.append(time.perf_counter() - begin)
    return unit_times(kernel_runs(Path(session.end_profiling())), plan, statistics.median(seconds))
