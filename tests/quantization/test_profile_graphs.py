"""The graphs agents profile: same results, kernels that name their unit."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx

from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.quantization.calibration import load_calibration
from edgesplit_controller.quantization.noise.noise_model import calibrate
from edgesplit_controller.quantization.profile_graphs import ProfileGraphs, profile_protos
from edgesplit_controller.quantization.qdq import quantize
from tests.quantization.support import branched, imported, run

FEED = {"image": np.random.default_rng(7).random((1, 3, 20, 20)).astype(np.float32)}


def kernels(proto: onnx.ModelProto, blobs: BlobStore, folder: Path) -> dict[str, float]:
    """Names and times of the kernels that onnxruntime reports."""
    import onnxruntime

    path = blobs.folder / "profiled.onnx"
    onnx.save(proto, str(path))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    session.run(None, FEED)
    times: dict[str, float] = defaultdict(float)
    for event in json.loads(Path(session.end_profiling()).read_text()):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times[event["name"].removesuffix("_kernel_time")] += event["dur"]
    return times


def prepare(folder: Path) -> tuple[ProfileGraphs, BlobStore, dict[str, str]]:
    graph, blobs, chosen = imported(branched(), folder)
    ranges = calibrate(graph, blobs, chosen, load_calibration(None, graph))
    graphs = profile_protos(graph, quantize(graph, blobs, chosen, ranges))
    return graphs, blobs, dict(graph.unit_of)


def test_names_change_and_results_do_not(tmp_path: Path) -> None:
    graph, blobs, chosen = imported(branched(), tmp_path)
    ranges = calibrate(graph, blobs, chosen, load_calibration(None, graph))
    model = quantize(graph, blobs, chosen, ranges)
    graphs = profile_protos(graph, model)
    assert graphs.quantized is not None
    for one, other in ((graph.proto, graphs.plain), (model.proto, graphs.quantized)):
        for expected, actual in zip(run(one, blobs, FEED), run(other, blobs, FEED), strict=True):
            assert np.array_equal(expected, actual)


def test_every_node_belongs_to_a_unit_and_every_unit_has_nodes(tmp_path: Path) -> None:
    graphs, _, unit_of = prepare(tmp_path)
    assert graphs.quantized is not None
    for proto in (graphs.plain, graphs.quantized):
        units = {graphs.kernel_units[node.name] for node in proto.graph.node}
        assert units == set(unit_of.values())


def test_kernels_name_their_unit_but_for_inserted_layout_changes(tmp_path: Path) -> None:
    graphs, blobs, _ = prepare(tmp_path)
    assert graphs.quantized is not None
    for proto in (graphs.plain, graphs.quantized):
        for name in kernels(proto, blobs, tmp_path):
            match = re.search(r"unit\d+", name)
            if match is None:
                assert re.match(r"Reorder(Input|Output)|Transpose|Reshape", name), name
            else:
                assert match.group() in graphs.kernel_units


def test_without_candidates_there_is_one_graph(tmp_path: Path) -> None:
    graph, _, _ = imported(branched(), tmp_path)
    assert profile_protos(graph, None).quantized is None
