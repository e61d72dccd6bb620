"""Saturation: whether this machine's integer kernels clip sums of 8 bit products.

Owns: finding it out by running one. Its rule: tried, not looked up: which kernel runs is onnxruntime's to decide. Not here: what follows
(`parameters.py`).

x86 without VNNI adds two neighbouring products of unsigned and signed 8 bits in 16 bits: 2 * 255 * 127 is twice what these hold. Networks
whose weights are large in some channels then lose far more than quantization costs (12.5 % of the output's size instead of 2 %
on a network of a few convolutions, tests/quantization/test_quantized_graphs.py). With 7 bits nothing is clipped.

Reference: onnxruntime, Quantize ONNX models, "When and why do I need to try U8U8?".
"""

from __future__ import annotations

from functools import cache

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

__all__ = ["weight_bits"]

LENGTH = 64
"""Products added up."""


@cache
def weight_bits() -> int:
    """Bits of weights that no kernel of this machine clips: 8, or 7."""
    largest = 255 * 127 * LENGTH
    return 8 if _product() == largest else 7


def _product() -> int:
    nodes = [helper.make_node("MatMulInteger", ["a", "b"], ["c"])]
    values = {"a": np.full((1, LENGTH), 255, np.uint8), "b": np.full((LENGTH, 1), 127, np.int8)}
    graph = helper.make_graph(
        nodes,
        "saturation",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [1, LENGTH])],
        [helper.make_tensor_value_info("c", TensorProto.INT32, [1, 1])],
        [numpy_helper.from_array(values["b"], "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (total,) = session.run(None, {"a": values["a"]})
    return int(np.asarray(total).item())
