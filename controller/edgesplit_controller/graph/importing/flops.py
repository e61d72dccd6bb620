"""Floating-point operations of an operator.

Owns: counts of floating-point operations from shapes. Its rule: counts compare operators and name units; plans are
made from measured times, never from these. Not here: timing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from onnx import NodeProto

from edgesplit_controller.graph.protos import op_key

__all__ = ["count_flops"]

# Views of the same bytes and copies compute nothing.
_MOVES = frozenset({"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Concat", "Split", "Slice",
                    "Gather", "Expand", "Tile", "Pad", "Shape", "Size", "Dropout", "Cast", "SpaceToDepth",
                    "DepthToSpace", "GatherND", "GatherElements", "ScatterND", "ScatterElements"})  # fmt: skip


def count_flops(node: NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Count one run's floating-point operations; a multiply-add is two.

    Convolutions and matrix products are counted exactly (products and bias); everything else as one operation per
    element that is read or written, whichever is more, or per window element for pools.

    Args:
        node: The operator.
        shapes: Static shapes of everything it reads and writes; open ones may be absent.
    """
    output = shapes.get(node.output[0], ()) if node.output else ()
    written = _elements(output)
    inputs = [shapes.get(name, ()) for name in node.input if name]
    key = op_key(node)
    if key in _MOVES or not inputs:
        return 0
    if key == "Conv" and len(inputs) > 1:
        return written * (2 * _elements(inputs[1][1:]) + (len(inputs) > 2))
    if key == "ConvTranspose" and len(inputs) > 1:
        return _elements(inputs[0]) * 2 * _elements(inputs[1][1:]) + written * (len(inputs) > 2)
    if key in ("MatMul", "Gemm") and len(inputs) > 1:
        transposed = key == "Gemm" and any(entry.name == "transA" and entry.i for entry in node.attribute)
        inner = inputs[0][0 if transposed else -1] if inputs[0] else 1
        return written * (2 * max(inner, 0) + (len(inputs) > 2))
    if key in ("MaxPool", "AveragePool", "LpPool"):
        window = next((math.prod(entry.ints) for entry in node.attribute if entry.name == "kernel_shape"), 1)
        return written * window
    return max(written, *(_elements(shape) for shape in inputs))


def _elements(shape: tuple[int, ...]) -> int:
    return math.prod(max(size, 0) for size in shape)
