"""Selection of operators worth quantizing.

Owns: choosing candidates for int8. Its rule: only operators that onnxruntime runs in int8 on a CPU, with a constant
weight. Not here: quantizing them, measuring the noise.
"""

from __future__ import annotations

from collections.abc import Collection

from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.units import kept_whole

__all__ = ["candidates"]

_INT8_KERNELS = frozenset({"Conv", "MatMul", "Gemm"})


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
        if all(tensor.dtype == "float32" and tensor.cuttable for tensor in activations):
            eligible.append((-graph.operator[node.name].flops, order, node.name))
    chosen = {name for _, _, name in sorted(eligible)[:limit]}
    return tuple(operator.name for operator in graph.operators if operator.name in chosen)
