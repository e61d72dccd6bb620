"""Arithmetic on sizes: one form for the nodes that ask for them, and values that hold at every size.

Owns: bringing Shape and Size to one Shape node a tensor, and evaluating what follows from sizes that are fixed though
others of the same tensor are open. Its rule: what is replaced holds for every input that the graph admits. Not here:
folding where all of a shape is static (`folding.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from edgesplit_controller.graph.importing.value_types import ValueType
from edgesplit_controller.graph.protos import (
    defined_names,
    is_external,
    nested_names,
    op_key,
    rename_inputs,
    unique_name,
)

__all__ = ["fold_fixed_sizes", "one_shape_each"]

_MOST_ELEMENTS = 64
_NUMBERS = frozenset({TensorProto.INT64, TensorProto.INT32})
_TO_THE_END = 1 << 31

Known = tuple[int | None, ...]
"""Elements of a small vector (or of a scalar, which has one); None where one depends on the request."""


def one_shape_each(graph: GraphProto) -> None:
    """Let everybody who asks for sizes of a tensor of the main graph read the output of one Shape node."""
    taken = defined_names(graph) | nested_names(graph) | {node.name for node in graph.node}
    outputs = {value.name for value in graph.output}
    asked: dict[str, str] = {}
    renamed: dict[str, str] = {}
    nodes: list[NodeProto] = []
    for node in graph.node:
        rename_inputs(node, renamed)
        if op_key(node) not in ("Shape", "Size"):
            nodes.append(node)
            continue
        tensor, result = node.input[0], node.output[0]
        if node.op_type == "Shape" and not node.attribute and tensor not in asked and result not in outputs:
            asked[tensor] = result
            nodes.append(node)
            continue
        if tensor not in asked:
            asked[tensor] = unique_name(f"{tensor}@shape", taken)
            name = unique_name(f"{tensor}:shape", taken)
            nodes.append(helper.make_node("Shape", [tensor], [asked[tensor]], name=name))
        bounds = {entry.name: entry.i for entry in node.attribute}
        if node.op_type == "Size":
            nodes.append(helper.make_node("ReduceProd", [asked[tensor]], [result], name=node.name, keepdims=0))
        elif bounds:
            nodes.append(_window(graph, node, asked[tensor], bounds, taken))
        elif result in outputs:
            nodes.append(helper.make_node("Identity", [asked[tensor]], [result], name=node.name))
        else:
            renamed[result] = asked[tensor]
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _window(graph: GraphProto, node: NodeProto, shape: str, bounds: Mapping[str, int], taken: set[str]) -> NodeProto:
    inputs = [shape]
    for key, default in (("start", 0), ("end", _TO_THE_END)):
        name = unique_name(f"{node.output[0]}:{key}", taken)
        graph.initializer.append(numpy_helper.from_array(np.array([bounds.get(key, default)], np.int64), name))
        inputs.append(name)
    return helper.make_node("Slice", inputs, [node.output[0]], name=node.name)


def fold_fixed_sizes(graph: GraphProto, types: Mapping[str, ValueType], keep: frozenset[str] = frozenset()) -> int:
    """Replace by constants what is taken from sizes that are fixed, out of shapes that are open elsewhere.

    Args:
        graph: Changed in place.
        types: What inference found.
        keep: Tensors whose nodes stay.

    Returns:
        How many nodes became constants.
    """
    known: dict[str, Known] = {}
    vectors: dict[str, bool] = {}
    for tensor in graph.initializer:
        if tensor.data_type in _NUMBERS and len(tensor.dims) < 2 and not is_external(tensor):
            constant = numpy_helper.to_array(tensor)
            if constant.size <= _MOST_ELEMENTS:
                known[tensor.name] = tuple(int(value) for value in constant.reshape(-1))
                vectors[tensor.name] = constant.ndim == 1
    folded: set[int] = set()
    for index, node in enumerate(graph.node):
        found = _evaluated(node, known, vectors, types)
        if found is None:
            continue
        values, is_vector = found
        name = node.output[0]
        known[name], vectors[name] = values, is_vector
        elem_type = types.get(name, ValueType(0, None)).elem_type or TensorProto.INT64
        whole = [value for value in values if value is not None]
        if len(whole) == len(values) and name not in keep and elem_type in _NUMBERS:
            dtype = np.int64 if elem_type == TensorProto.INT64 else np.int32
            array = np.array(whole, dtype) if is_vector else np.array(whole[0], dtype)
            graph.initializer.append(numpy_helper.from_array(array, name))
            folded.add(index)
    for index in sorted(folded, reverse=True):
        del graph.node[index]
    return len(folded)


def _evaluated(
    node: NodeProto, known: Mapping[str, Known], vectors: Mapping[str, bool], types: Mapping[str, ValueType]
) -> tuple[Known, bool] | None:
    """The elements of a node's only output, and whether it is a vector; None where nothing is known of it."""
    key = op_key(node)
    if key == "Shape" and not node.attribute:
        shape = types.get(node.input[0], ValueType(0, None)).shape
        return None if shape is None else (tuple(size if size >= 0 else None for size in shape), True)
    if len(node.output) != 1 or not node.input or any(name not in known for name in node.input):
        return None
    given = [known[name] for name in node.input]
    is_vector = vectors[node.input[0]]
    if key in ("Identity", "Cast"):
        elem_type = types.get(node.output[0], ValueType(0, None)).elem_type
        return (given[0], is_vector) if elem_type in _NUMBERS else None
    evaluate = (_OF_VECTORS if is_vector else _OF_SCALARS).get(key)
    return evaluate(node, given, vectors) if evaluate is not None else None


Evaluated = tuple[Known, bool] | None


def _unsqueezed(node: NodeProto, given: Sequence[Known], _vectors: Mapping[str, bool]) -> Evaluated:
    axes = given[1] if len(given) > 1 else next((entry.ints for entry in node.attribute if entry.name == "axes"), ())
    return (given[0], True) if len(axes) == 1 else None


def _squeezed(_node: NodeProto, given: Sequence[Known], _vectors: Mapping[str, bool]) -> Evaluated:
    return (given[0], False) if len(given[0]) == 1 else None


def _joined(node: NodeProto, given: Sequence[Known], vectors: Mapping[str, bool]) -> Evaluated:
    return (
        (tuple(value for values in given for value in values), True)
        if all(vectors[name] for name in node.input)
        else None
    )


def _gathered(node: NodeProto, given: Sequence[Known], vectors: Mapping[str, bool]) -> Evaluated:
    values, indices = given
    places = [index for index in indices if index is not None and -len(values) <= index < len(values)]
    if len(places) < len(indices):
        return None
    return tuple(values[index] for index in places), vectors[node.input[1]]


def _sliced(_node: NodeProto, given: Sequence[Known], _vectors: Mapping[str, bool]) -> Evaluated:
    bounds = [value[0] for value in given[1:] if len(value) == 1]
    numbers = [bound for bound in bounds if bound is not None]
    if len(numbers) < 2 or len(numbers) < len(given) - 1:
        return None
    start, end, axis, step = (*numbers, *(0, 1)[len(numbers) - 2 :])
    return (tuple(given[0][start:end:step]), True) if axis in (0, -1) and step > 0 else None


_OF_VECTORS = {"Squeeze": _squeezed, "Concat": _joined, "Gather": _gathered, "Slice": _sliced}
_OF_SCALARS = {"Unsqueeze": _unsqueezed}
