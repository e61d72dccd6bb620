"""bench.shipped_models end to end: a small model with open axes goes over the whole course, what is no model is a finding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench.shipped_models.course import examine


def small(folder: Path) -> Path:
    """Two convolutions over an image of any size, with another operator between."""
    draw = np.random.default_rng(0)
    weights = {"w1": (6, 3, 3, 3), "w2": (4, 6, 3, 3)}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w1"], ["a"], name="first", pads=[1, 1, 1, 1]),
            helper.make_node("Tanh", ["a"], ["b"], name="middle"),
            helper.make_node("Conv", ["b", "w2"], ["y"], name="last", pads=[1, 1, 1, 1]),
        ],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, "h", "w"])],
        [
            numpy_helper.from_array(draw.normal(0, 0.2, shape).astype(np.float32), name)
            for name, shape in weights.items()
        ],
    )
    path = folder / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_small_model_goes_over_the_course(tmp_path: Path) -> None:
    said: list[str] = []
    finding = examine(small(tmp_path), tmp_path / "programs", said.append, int8=False)
    assert finding.failed == ""
    assert finding.right
    assert len(finding.split) == len(finding.unsplit) == 4
    assert set(finding.nodes) == {"device", "edge", "cloud"}
    assert finding.first_answer_s is not None
    assert finding.peak_bytes > 0
    assert finding.peak_bytes <= finding.limit_bytes


def test_what_onnxruntime_does_not_load_is_a_finding(tmp_path: Path) -> None:
    file = tmp_path / "broken.onnx"
    file.write_bytes(b"no model")
    finding = examine(file, tmp_path / "programs", lambda _text: None)
    assert finding.failed.startswith("plain onnxruntime does not load it")
    assert not finding.right
