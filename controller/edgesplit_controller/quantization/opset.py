"""Opset upgrade from 7 to 9 to 10, where onnxruntime's integer kernels begin.

Owns: the operators whose form changed on the way. Its rule: nodes keep their names and number, tensors their names and
values; what was an attribute becomes a small initializer; an operator that has no equal form in opset 10 is refused, and
so is any whose change nobody looked at. Not here: whether the upgraded model computes the same
(`models/intake/accuracy.py`), any newer opset (quantized graphs below opset 13 use onnxruntime's
own QuantizeLinear, see `qdq`), quantization itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, numpy_helper

from edgesplit.errors import InvalidModel
from edgesplit_controller.graph.protos import subgraphs, used_names

__all__ = ["LEAST_OPSET", "opset_of", "upgrade_opset"]

LEAST_OPSET = 10
"""The first opset that has QLinearConv and QLinearMatMul."""
_LEAST_UPGRADED = 7
"""Before, elementwise operators broadcast in another way."""


def opset_of(proto: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a model uses."""
    return next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 1)


def upgrade_opset(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same model at opset 10 or later.

    Args:
        proto: A normalised model; it is not changed.

    Returns:
        A copy: of opset 10 if the model was older, else equal.

    Raises:
        InvalidModel: An operator of it has no equal form in opset 10.
    """
    upgraded = onnx.ModelProto()
    upgraded.CopyFrom(proto)
    before = opset_of(proto)
    if before >= LEAST_OPSET:
        return upgraded
    if before < _LEAST_UPGRADED:
        raise InvalidModel(f"the model is of opset {before}, and int8 needs 10; export it with a newer opset")
    for entry in upgraded.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = LEAST_OPSET
    _upgrade_nodes(upgraded.graph, upgraded.graph, before)
    return upgraded


def _upgrade_nodes(main: GraphProto, graph: GraphProto, before: int) -> None:
    """Upgrade nodes and the bodies of control flow, which may read the constants of the graph around them."""
    read = {name for node in graph.node for name in used_names(node)} | {value.name for value in graph.output}
    for node in graph.node:
        for body in subgraphs(node):
            _upgrade_nodes(main, body, before)
        if node.domain not in ("", "ai.onnx") or not _changed(node.op_type, before):
            continue
        upgrade = _UPGRADES.get(node.op_type)
        if upgrade is not None:
            upgrade(main, node)
        elif node.op_type not in _COMPATIBLE:
            raise _no_equal(node)
        if node.op_type == "Dropout" and not read.isdisjoint(node.output[1:]):
            raise _no_equal(node)  # its mask was a float and became a boolean


def _changed(op_type: str, before: int) -> bool:
    """Whether opset 10 means another version of an operator than the model's opset does."""
    try:
        then, now = (onnx.defs.get_schema(op_type, version, "").since_version for version in (before, LEAST_OPSET))
    except onnx.defs.SchemaError:
        return False  # onnxruntime has judged it
    return then != now


def _no_equal(node: NodeProto) -> InvalidModel:
    return InvalidModel(
        f"int8 needs opset 10, in which operator {node.name or node.output[0]} ({node.op_type}) has no equal form; "
        "export the model with a newer opset"
    )


def _upsample(main: GraphProto, node: NodeProto) -> None:
    node.op_type = "Resize"
    scales = _take_attributes(node, "scales")
    if scales:  # an attribute up to opset 8
        node.input.append(_constant(main, f"{node.output[0]}:scales", np.array(scales["scales"], np.float32)))


def _batch_normalization(_main: GraphProto, node: NodeProto) -> None:
    if _take_attributes(node, "spatial").get("spatial", 1) != 1:
        raise _no_equal(node)  # one mean for every place, not for every channel


def _slice(main: GraphProto, node: NodeProto) -> None:
    attributes = _take_attributes(node, "starts", "ends", "axes")
    starts = list(attributes["starts"])
    axes = list(attributes.get("axes", range(len(starts))))
    for kind, values in (("starts", starts), ("ends", list(attributes["ends"])), ("axes", axes)):
        node.input.append(_constant(main, f"{node.output[0]}:{kind}", np.array(values, np.int64)))


def _top_k(main: GraphProto, node: NodeProto) -> None:
    count = int(_take_attributes(node, "k")["k"])
    node.input.append(_constant(main, f"{node.output[0]}:k", np.array([count], np.int64)))


def _take_attributes(node: NodeProto, *names: str) -> dict[str, Any]:
    taken = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute if entry.name in names}
    kept = [entry for entry in node.attribute if entry.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)
    return taken


def _constant(main: GraphProto, wanted: str, values: NDArray[Any]) -> str:
    # The branches of an If may give their tensors equal names, but share the graph's constants.
    name = f"{wanted}:{len(main.initializer)}"
    main.initializer.append(numpy_helper.from_array(values, name))
    return name


_UPGRADES: Mapping[str, Callable[[GraphProto, NodeProto], None]] = {
    "BatchNormalization": _batch_normalization,
    "Slice": _slice,
    "TopK": _top_k,
    "Upsample": _upsample,
}
_COMPATIBLE = frozenset({"AveragePool", "Cast", "Constant", "Dropout", "Flatten", "Gemm", "Greater", "Less", "MatMul",
                         "Max", "MaxPool", "Mean", "Min", "PRelu", "Sum"})  # fmt: skip
"""Only gained types or attributes whose defaults are what was."""
