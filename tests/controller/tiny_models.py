"""Small ONNX models with known structure."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Arrays = dict[str, NDArray[np.float32]]


def largest_change(reference: Arrays, noisy: Arrays) -> float:
    """A noise metric of a user's own: the largest change of any score."""
    return float(np.abs(reference["scores"] - noisy["scores"]).max())


def always_one(reference: Arrays, noisy: Arrays) -> float:
    """No noise metric: it finds noise in equal outputs."""
    return 1.0


def convolutions(count: int = 4, channels: int = 8, size: int | None = 16) -> bytes:
    """A chain of Conv and Relu pairs, input `image` (1, 3, size, size), output `scores`; without a size, both are open."""
    sides = ("height", "width") if size is None else (size, size)
    random = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    name, depth = "image", 3
    for index in range(count):
        values = random.normal(0, 1 / np.sqrt(9 * depth), (channels, depth, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{index}"))
        output = "scores" if index == count - 1 else f"relu{index}"
        nodes.append(
            helper.make_node("Conv", [name, f"w{index}"], [f"conv{index}"], name=f"conv{index}", pads=[1, 1, 1, 1])
        )
        nodes.append(helper.make_node("Relu", [f"conv{index}"], [output], name=f"relu{index}"))
        name, depth = output, channels
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, *sides))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, channels, *sides))],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()
