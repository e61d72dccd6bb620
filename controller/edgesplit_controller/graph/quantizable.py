"""Selection of operators worth quantizing.

Owns: choosing candidates for int8. Its rule: only operators that onnxruntime runs in int8 on a CPU, with a constant
weight. Not here: quantizing them, measuring the noise.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.units import kept_whole

__all__ = ["candidates", "why_none"]

_INT8_KERNELS = frozenset({"Conv", "MatMul", "Gemm"})
_QUANTIZED = re.compile(r"QuantizeLinear|Integer$|^QLinear|\.Q[A-Z]|\.DynamicQuantize|NBits$")
"""Types of operators that compute on integers made of floats, ONNX's and onnxruntime's own."""


def candidates(graph: ModelGraph, limit: int = 12, exclude: Collection[str] = ()) -> tuple[str, ...]:
    """Return the operators with most FLOPs that can run in int8.

    These are float32 Conv, MatMul and Gemm with a constant weight and static shapes. onnxruntime has no int8 kernel
    for ConvTranspose on a CPU. Operators inside a part that is kept whole are left out.

    Args:
        graph: The imported model.
        limit: At most so many.
        exclude: Names the user wants in float.

    Returns:
        Operator names in topological order.
    """
    weights = {tensor.name for tensor in graph.proto.graph.initializer}
    whole = {name for group in kept_whole(graph.operators, graph.tensors, graph.size_tensors) for name in group}
    eligible: list[tuple[int, int, str]] = []
    for order, node in enumerate(graph.proto.graph.node):
        if node.op_type not in _INT8_KERNELS or node.domain not in ("", "ai.onnx") or node.name in exclude:
            continue
        if node.name in whole:
            continue
        constant_weight = len(node.input) > 1 and node.input[1] in weights and node.input[0] in graph.tensors
        constant_bias = len(node.input) < 3 or not node.input[2] or node.input[2] in weights
        if not constant_weight or not constant_bias:
            continue
        activations = [graph.tensors[name] for name in (node.input[0], node.output[0])]
        if all(tensor.dtype == "float32" and tensor.is_static for tensor in activations):
            eligible.append((-graph.operator[node.name].flops, order, node.name))
    chosen = {name for _, _, name in sorted(eligible)[:limit]}
    return tuple(operator.name for operator in graph.operators if operator.name in chosen)


def why_none(graph: ModelGraph) -> str:
    """Say why no operator can run in int8 where people may expect some to; empty where nothing needs saying."""
    keys = {operator.op_type for operator in graph.operators}
    if any(_QUANTIZED.search(key) for key in keys):
        return "the model was quantized before and is left as it is: no operator of it is offered in int8 once more"
    types = {
        graph.tensors[name].dtype
        for operator in graph.operators
        if operator.op_type in _INT8_KERNELS
        for name in operator.outputs
    }
    if other := sorted(types - {"float32"}):
        kinds = " and ".join(sorted({operator.op_type for operator in graph.operators} & _INT8_KERNELS))
        return f"its {kinds} compute in {' and '.join(other)}, and int8 is made of float32 alone: they stay as they are"
    return ""
