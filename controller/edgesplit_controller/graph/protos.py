"""Helpers over ONNX protobuf messages that several modules need.

Owns: names a node reads and writes, element types, external-data references, value descriptions. Its rule: nothing
here knows why it is asked. Not here: any change of a graph's meaning.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, helper

from edgesplit.wire.tensors import TEXT
from edgesplit_controller.graph.model_graph import GraphTensor

__all__ = [
    "defined_names",
    "external_fields",
    "has_whole_bytes",
    "initializer_nbytes",
    "is_external",
    "missing_operator_set",
    "nested_names",
    "numpy_name",
    "onnx_type",
    "op_key",
    "rename_inputs",
    "set_blob",
    "static_shape",
    "subgraphs",
    "unique_name",
    "used_names",
    "value_info",
]


def op_key(node: NodeProto) -> str:
    """Return the operator type, prefixed with its domain unless it is ONNX's own."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def missing_operator_set(needs: Mapping[str, int], known: Mapping[str, int]) -> str:
    """What of a model's operator sets is too new, as the end of a sentence that begins with who; empty for nothing.

    Args:
        needs: Version by domain, as the model states it.
        known: Likewise, of a runtime; a domain it says nothing of is taken to be known.
    """
    for domain, version in sorted(needs.items()):
        newest = known.get("" if domain == "ai.onnx" else domain, version)
        if version > newest:
            of = "" if domain in ("", "ai.onnx") else f" of {domain}"
            return f"which knows opset{of} up to {newest}; this model needs {version}"
    return ""


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the bodies of a control-flow node."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def used_names(node: NodeProto) -> list[str]:
    """Return all names a node reads, those its subgraphs capture from outside included, each once, in order."""
    names = dict.fromkeys(name for name in node.input if name)
    for body in subgraphs(node):
        names.update(dict.fromkeys(_captured(body)))
    return list(names)


def defined_names(graph: GraphProto) -> set[str]:
    """Return what a graph's inputs, weights and nodes define; not what the bodies inside it do."""
    names = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    names |= {tensor.values.name for tensor in graph.sparse_initializer}
    return names | {name for node in graph.node for name in node.output if name}


def nested_names(graph: GraphProto) -> set[str]:
    """Return what the bodies inside a graph define, however deep."""
    bodies = [body for node in graph.node for body in subgraphs(node)]
    return {name for body in bodies for name in defined_names(body) | nested_names(body)}


def _captured(body: GraphProto) -> list[str]:
    own = defined_names(body)
    names = [name for node in body.node for name in used_names(node)]
    names += [value.name for value in body.output]
    return [name for name in names if name not in own]


def rename_inputs(node: NodeProto, names: Mapping[str, str]) -> None:
    """Make a node read other tensors, inside its subgraphs too.

    A body that defines one of the new names itself would capture it: `normalise.separate_scopes` has been there before.
    """
    for index, name in enumerate(node.input):
        if name in names:
            node.input[index] = names[name]
    for body in subgraphs(node):
        own = defined_names(body)
        visible = {old: new for old, new in names.items() if old not in own}
        if not visible:
            continue
        for inner in body.node:
            rename_inputs(inner, visible)
        for value in body.output:
            value.name = visible.get(value.name, value.name)


def numpy_name(elem_type: int) -> str:
    """Return numpy's name of an ONNX element type, `str` for texts; `object` for unknown types."""
    if elem_type == TensorProto.UNDEFINED:
        return "object"
    if elem_type == TensorProto.STRING:
        return TEXT
    return str(np.dtype(helper.tensor_dtype_to_np_dtype(elem_type)).name)


def onnx_type(dtype: str) -> int:
    """Return the ONNX element type of a numpy name (bfloat16 and the float8 kinds included)."""
    return _ONNX_TYPES[dtype]


def _onnx_types() -> dict[str, int]:
    types: dict[str, int] = {}
    for elem_type in TensorProto.DataType.values():
        if elem_type != TensorProto.UNDEFINED:
            types.setdefault(numpy_name(elem_type), elem_type)
    return types


_ONNX_TYPES = _onnx_types()


def static_shape(value: ValueInfoProto) -> tuple[int, ...] | None:
    """Return a value's shape with -1 for open dimensions, or None when it has no tensor shape at all."""
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        return None
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else -1 for dim in dims)


def value_info(tensor: GraphTensor) -> ValueInfoProto:
    """Describe a tensor for a graph's inputs and outputs; open dimensions stay open."""
    shape = [size if size >= 0 else None for size in tensor.shape] if tensor.is_ranked else None
    return helper.make_tensor_value_info(tensor.name, onnx_type(tensor.dtype), shape)


def is_external(tensor: TensorProto) -> bool:
    """Tell whether the values lie outside the message."""
    return tensor.data_location == TensorProto.EXTERNAL


def external_fields(tensor: TensorProto) -> dict[str, str]:
    """Return location, offset, length and checksum of external data, as far as given."""
    return {entry.key: entry.value for entry in tensor.external_data}


_PACKED_BITS = {"int4": 4, "uint4": 4, "float4_e2m1fn": 4, "int2": 2, "uint2": 2}


def initializer_nbytes(tensor: TensorProto) -> int:
    """Return the size of an initializer's values as raw data. [B]"""
    count = math.prod(tensor.dims)
    if tensor.data_type == TensorProto.STRING:
        return sum(len(text) for text in tensor.string_data)
    name = numpy_name(tensor.data_type)
    if name in _PACKED_BITS:
        return (count * _PACKED_BITS[name] + 7) // 8
    return count * np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize


def has_whole_bytes(tensor: TensorProto) -> bool:
    """Tell whether every element has bytes of its own; texts and 4-bit numbers have not, and never become blobs."""
    if tensor.data_type == TensorProto.STRING:
        return False
    itemsize = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    return initializer_nbytes(tensor) == math.prod(tensor.dims) * itemsize


def set_blob(tensor: TensorProto, digest: str, nbytes: int) -> None:
    """Make an initializer refer to a blob instead of holding its values."""
    for field in _DATA_FIELDS:
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", digest), ("offset", "0"), ("length", str(nbytes))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


_DATA_FIELDS = (
    "raw_data",
    "float_data",
    "double_data",
    "int32_data",
    "int64_data",
    "uint64_data",
    "string_data",
    "external_data",
)


def unique_name(wanted: str, taken: set[str]) -> str:
    """Return `wanted`, or `wanted` with the first number that makes it new, and mark it as taken."""
    name, number = wanted, 0
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name)
    return name
