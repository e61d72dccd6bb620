"""From opset 9 to 10, where onnxruntime's integer kernels begin.

Owns: the three operators whose form changed between the two. Its rule: nodes keep their names and number, tensors
their names and values; what was an attribute becomes a small initializer. Not here: any newer opset (quantized
graphs below opset 13 use onnxruntime's own QuantizeLinear, see `qdq`), quantization itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx

from edgesplit_controller.graph.protos import subgraphs

__all__ = ["LEAST_OPSET", "opset_of", "upgrade_opset"]

LEAST_OPSET = 10
"""The first opset that has QLinearConv and QLinearMatMul."""


def opset_of(proto: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a model uses."""
    return next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 1)


def upgrade_opset(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same model at opset 10 or later.

    Args:
        proto: A model of opset 9 or later; it is not changed.

    Returns:
        A copy: of opset 10 if the model was older, else equal.
    """
    upgraded = onnx.ModelProto()
    upgraded.CopyFrom(proto)
    if opset_of(proto) >= LEAST_OPSET:
        return upgraded
    for entry in upgraded.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = LEAST_OPSET
    _upgrade_nodes(upgraded.graph, upgraded.graph.node)
    return upgraded


def _upgrade_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Upgrade nodes and the bodies of control flow, which may read the constants of the graph around them."""
    for node in nodes:
        for body in subgraphs(node):
            _upgrade_nodes(graph, body.node)
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type == "Slice":
            _slice(graph, node)
        elif node.op_type == "TopK":
            _top_k(graph, node)
        elif node.op_type == "Upsample":
            node.op_type = "Resize"


def _slice(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    attributes = _take_attributes(node, "starts", "ends", "axes")
    starts = list(attributes["starts"])
    axes = list(attributes.get("axes", range(len(starts))))
    for kind, values in (("starts", starts), ("ends", list(attributes["ends"])), ("axes", axes)):
        node.input.append(_constant(graph, f"{node.output[0]}:{kind}", values))


def _top_k(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    count = int(_take_attributes(node, "k")["k"])
    node.input.append(_constant(graph, f"{node.output[0]}:k", [count]))


def _take_attributes(node: onnx.NodeProto, *names: str) -> dict[str, Any]:
    taken = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute if entry.name in names}
    kept = [entry for entry in node.attribute if entry.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)
    return taken


def _constant(graph: onnx.GraphProto, wanted: str, values: list[int]) -> str:
    # The branches of an If may give their tensors equal names, but share the graph's constants.
    name = f"{wanted}:{len(graph.initializer)}"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(values, np.int64), name))
    return name
