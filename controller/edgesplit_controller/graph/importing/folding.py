"""Constant folding of static shape arithmetic.

Owns: replacing Shape nodes over static shapes, and what follows from them, by constants. Its rule: only arithmetic
on shapes, indices and scalars is folded; operators on weights stay, as people see and profile them. Not here: shape
inference, onnxruntime's own folding inside a component.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from edgesplit.errors import InvalidModel
from edgesplit.wire.tensors import DTYPES
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.reading import BLOB_MIN_BYTES
from edgesplit_controller.graph.importing.value_types import ValueType
from edgesplit_controller.graph.protos import is_external, op_key, set_blob, subgraphs
from edgesplit_controller.graph.runner import open_session, run_session

__all__ = ["fold_shape_arithmetic"]

_LARGEST_RESULT_BYTES = 1 << 20
_SCALAR_ELEMENTS = 16
_INDEX_TYPES = frozenset({TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL})
# Folding these would change a draw, or unpack int8 weights that are meant to stay packed.
_NEVER = frozenset({"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial",
                    "Bernoulli", "Dropout", "DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear"})  # fmt: skip
# Their results may be far larger than their inputs, so they wait until inference knows the size.
_GROWING = frozenset({"ConstantOfShape", "Range", "Expand", "Tile", "Pad", "Resize", "Upsample", "OneHot", "EyeLike"})


def fold_shape_arithmetic(
    proto: onnx.ModelProto, types: Mapping[str, ValueType], blobs: BlobStore, *, keep: Collection[str] = ()
) -> int:
    """Fold every node whose result follows from static shapes, indices and scalars; one pass.

    Call it again after new inference: a folded Reshape target makes more shapes static.

    Args:
        proto: Changed in place.
        types: What inference found.
        blobs: Receives large results.
        keep: Tensors whose nodes stay.

    Returns:
        How many nodes were folded.
    """
    graph = proto.graph
    keep_all = frozenset(keep)
    shapes = _static_shapes(graph, types)
    known = {tensor.name for tensor in graph.initializer if _is_index_or_scalar(tensor)}
    computed: list[NodeProto] = []
    folded: set[int] = set()
    for index, node in enumerate(graph.node):
        if not keep_all.isdisjoint(node.output):
            continue
        if node.output[0] in shapes:
            folded.add(index)
            known.add(node.output[0])
        elif _is_foldable(node, known, types):
            folded.add(index)
            known.update(name for name in node.output if name)
            computed.append(node)
    if not folded:
        return 0
    needed = {name for index, node in enumerate(graph.node) if index not in folded for name in _all_reads(node)}
    needed |= {value.name for value in graph.output}
    constants = {name: value for name, value in shapes.items() if name in needed}
    results = [name for node in computed for name in node.output if name in needed]
    arithmetic = _arithmetic(proto, computed, shapes, results)
    try:
        values = run_session(open_session(arithmetic, blobs, optimize=False), results, {}) if results else {}
    except InvalidModel:
        # Whatever onnxruntime dislikes here it will name when the whole model is loaded.
        return 0
    constants |= {name: np.asarray(value) for name, value in values.items()}
    for name, value in constants.items():
        graph.initializer.append(_initializer(name, value, blobs))
    for index in sorted(folded, reverse=True):
        del graph.node[index]
    return len(folded)


def _all_reads(node: NodeProto) -> set[str]:
    names = set(node.input)
    for body in subgraphs(node):
        names |= {name for inner in body.node for name in _all_reads(inner)} | {value.name for value in body.output}
    return names


def _static_shapes(graph: GraphProto, types: Mapping[str, ValueType]) -> dict[str, np.ndarray]:
    values: dict[str, np.ndarray] = {}
    for node in graph.node:
        if op_key(node) not in ("Shape", "Size"):
            continue
        source = types.get(node.input[0])
        if source is None or not source.known or source.shape is None:
            continue
        if node.op_type == "Size":
            values[node.output[0]] = np.asarray(math.prod(source.shape), dtype=np.int64)
        else:
            bounds = {attribute.name: attribute.i for attribute in node.attribute}
            window = source.shape[bounds.get("start", 0) : bounds.get("end", len(source.shape))]
            values[node.output[0]] = np.asarray(window, dtype=np.int64)
    return values


def _is_index_or_scalar(tensor: TensorProto) -> bool:
    if tensor.data_type == TensorProto.STRING:
        return False
    return tensor.data_type in _INDEX_TYPES or math.prod(tensor.dims) <= _SCALAR_ELEMENTS


def _is_foldable(node: NodeProto, known: set[str], types: Mapping[str, ValueType]) -> bool:
    if op_key(node) in _NEVER or node.domain not in ("", "ai.onnx") or any(True for _ in subgraphs(node)):
        return False
    if any(name and name not in known for name in node.input):
        return False
    outputs = [types.get(name) for name in node.output if name]
    if all(value is not None and value.known for value in outputs):
        return sum(_nbytes(value) for value in outputs if value is not None) <= _LARGEST_RESULT_BYTES
    if any(value is not None and not value.is_tensor for value in outputs):
        return False
    return node.op_type not in _GROWING


def _nbytes(value: ValueType) -> int:
    if value.dtype not in DTYPES or value.dtype == "bfloat16":
        return _LARGEST_RESULT_BYTES + 1
    return math.prod(value.shape or ()) * np.dtype(helper.tensor_dtype_to_np_dtype(value.elem_type)).itemsize


def _arithmetic(
    proto: onnx.ModelProto, nodes: list[NodeProto], shapes: Mapping[str, np.ndarray], results: list[str]
) -> onnx.ModelProto:
    """The nodes to fold as a model without inputs."""
    read = {name for node in nodes for name in node.input}
    weights = [tensor for tensor in proto.graph.initializer if tensor.name in read]
    weights += [numpy_helper.from_array(value, name) for name, value in shapes.items() if name in read]
    outputs = [ValueInfoProto(name=name) for name in results]
    graph = helper.make_graph(nodes, "shape_arithmetic", [], outputs, weights)
    return helper.make_model(graph, opset_imports=proto.opset_import, ir_version=proto.ir_version)


def _initializer(name: str, value: np.ndarray, blobs: BlobStore) -> TensorProto:
    tensor = numpy_helper.from_array(value, name)
    if value.nbytes >= BLOB_MIN_BYTES and not is_external(tensor):
        set_blob(tensor, blobs.put(tensor.raw_data), value.nbytes)
    return tensor
