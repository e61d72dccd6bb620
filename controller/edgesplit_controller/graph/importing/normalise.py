"""Normalisation: the many spellings of a graph brought to one.

Owns: names, constants, weight aliases, order, dead parts, and ZipMaps at outputs. Its rule: every step keeps the meaning of every output
and leaves the operators that people see in their viewer alone. Not here: shapes, folding, reading files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, MutableSequence
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, inliner, numpy_helper

from edgesplit.errors import InvalidModel
from edgesplit_controller.graph.protos import (
    defined_names,
    nested_names,
    op_key,
    rename_inputs,
    subgraphs,
    unique_name,
    used_names,
)

__all__ = [
    "constants_to_initializers",
    "drop_unused",
    "feed_constant_outputs",
    "inline_functions",
    "name_nodes",
    "open_zip_maps",
    "release_initializers",
    "rename_within",
    "resolve_weight_aliases",
    "separate_dequantizers",
    "separate_scopes",
    "sort_nodes",
    "strip_comments",
]

_MOST_CLASSES = 20
"""Classes that a note names; who has more knows them from the file."""


def inline_functions(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Replace calls of model-local functions by their bodies."""
    if not proto.functions:
        return proto
    return inliner.inline_local_functions(proto)


def release_initializers(graph: GraphProto) -> bool:
    """Take initializers off the graph's inputs, where IR 3 demanded them; tell whether there were any.

    There they are defaults that a caller may replace, which keeps onnxruntime from folding them into operators.
    """
    weights = {tensor.name for tensor in graph.initializer}
    weights |= {tensor.values.name for tensor in graph.sparse_initializer}
    return _delete(graph.input, {index for index, value in enumerate(graph.input) if value.name in weights}) > 0


def _delete(entries: MutableSequence[Any], indices: set[int]) -> int:
    # Deleting in place keeps protobuf from copying the entries that stay.
    for index in sorted(indices, reverse=True):
        del entries[index]
    return len(indices)


def constants_to_initializers(graph: GraphProto) -> None:
    """Turn Constant nodes and sparse initializers of the main graph into initializers."""
    for sparse in graph.sparse_initializer:
        graph.initializer.append(numpy_helper.from_array(_dense(sparse), sparse.values.name))
    del graph.sparse_initializer[:]
    converted: set[int] = set()
    for index, node in enumerate(graph.node):
        if op_key(node) == "Constant" and node.attribute:
            tensor = _constant_value(node)
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
            converted.add(index)
    _delete(graph.node, converted)


def _constant_value(node: NodeProto) -> TensorProto:
    attribute = node.attribute[0]
    value = helper.get_attribute_value(attribute)
    tensor = TensorProto()
    if attribute.name == "value":
        tensor.CopyFrom(value)
    elif attribute.name == "sparse_value":
        tensor.CopyFrom(numpy_helper.from_array(_dense(value)))
    elif attribute.name in ("value_string", "value_strings"):
        texts = [value] if attribute.name == "value_string" else list(value)
        dims = [] if attribute.name == "value_string" else [len(texts)]
        tensor.CopyFrom(helper.make_tensor("", TensorProto.STRING, dims, texts))
    else:
        dtype = np.float32 if "float" in attribute.name else np.int64
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(value, dtype=dtype)))
    return tensor


def _dense(sparse: onnx.SparseTensorProto) -> np.ndarray:
    values = numpy_helper.to_array(sparse.values)
    indices = numpy_helper.to_array(sparse.indices)
    dense = np.zeros(tuple(sparse.dims), dtype=values.dtype)
    if indices.ndim == 2:
        indices = np.ravel_multi_index(tuple(indices.T), tuple(sparse.dims))
    dense.reshape(-1)[indices] = values
    return dense


def strip_comments(graph: GraphProto) -> None:
    """Drop what exporters note beside nodes and values: stack traces of the user's program, sometimes megabytes."""
    for entry in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        entry.ClearField("doc_string")
        entry.ClearField("metadata_props")


def name_nodes(graph: GraphProto) -> None:
    """Give every node a unique name: its own, or its first output's."""
    taken: set[str] = set()
    for node in graph.node:
        first_output = next((name for name in node.output if name), node.op_type)
        node.name = unique_name(node.name or first_output, taken)


def separate_scopes(graph: GraphProto) -> None:
    """Rename what a body defines under a name that a graph around it uses, too.

    Such a name hides the outer one inside the body. With none hidden, a name means one tensor wherever it is read, and
    outer tensors may be renamed (aliases, tags, int8 forms) without a body catching the new name.
    """
    _separate(graph, defined_names(graph), defined_names(graph) | nested_names(graph))


def _separate(graph: GraphProto, outer: set[str], taken: set[str]) -> None:
    for node in graph.node:
        for body in subgraphs(node):
            own = defined_names(body)
            rename_within(body, {name: unique_name(name, taken) for name in sorted(own & outer)})
            _separate(body, outer | defined_names(body), taken)


def rename_within(body: GraphProto, names: dict[str, str]) -> None:
    """Give what a body defines other names, wherever the body reads it."""
    if not names:
        return
    for value in (*body.input, *body.output, *body.value_info):
        value.name = names.get(value.name, value.name)
    for tensor in body.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for sparse in body.sparse_initializer:
        sparse.values.name = names.get(sparse.values.name, sparse.values.name)
    for node in body.node:
        rename_inputs(node, names)
        for index, name in enumerate(node.output):
            node.output[index] = names.get(name, name)


def separate_dequantizers(graph: GraphProto) -> None:
    """Give every reader of a DequantizeLinear one of its own, as onnxruntime does before it merges it with its reader.

    In a model that was quantized before, integers then lie between what is merged, and a cut there changes nothing.
    """
    taken = defined_names(graph) | nested_names(graph) | {node.name for node in graph.node}
    outputs = {value.name for value in graph.output}
    makers = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    free = {name for name in makers if name not in outputs}
    copies: list[NodeProto] = []
    for node in graph.node:
        own: dict[str, str] = {}
        for name in used_names(node):
            if name not in makers:
                continue
            if name in free:
                free.remove(name)
                continue
            copy = _copy(makers[name])
            own[name] = copy.output[0] = unique_name(name, taken)
            copy.name = unique_name(copy.name, taken)
            copies.append(copy)
        rename_inputs(node, own)
    graph.node.extend(copies)


def resolve_weight_aliases(graph: GraphProto) -> None:
    """Let readers of an Identity over a weight (or over such an Identity) read the weight itself."""
    weights = {tensor.name for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    aliases: dict[str, str] = {}
    resolved: set[int] = set()
    for index, node in enumerate(graph.node):
        rename_inputs(node, aliases)
        if op_key(node) == "Identity" and node.input[0] in weights and node.output[0] not in outputs:
            aliases[node.output[0]] = node.input[0]
            resolved.add(index)
    _delete(graph.node, resolved)


def feed_constant_outputs(graph: GraphProto) -> None:
    """Give a model output that is an initializer an operator that makes it, so that some node owns it."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    taken = {name for node in graph.node for name in (*used_names(node), *node.output, node.name)} | set(weights)
    taken |= nested_names(graph)
    for value in graph.output:
        tensor = weights.get(value.name)
        if tensor is None:
            continue
        tensor.name = unique_name(f"{value.name}_value", taken)
        for node in graph.node:
            rename_inputs(node, {value.name: tensor.name})
        name = unique_name(f"{value.name}_constant", taken)
        graph.node.append(helper.make_node("Identity", [tensor.name], [value.name], name=name))


def sort_nodes(graph: GraphProto) -> None:
    """Order nodes so that each comes after those it reads, otherwise as they were.

    Raises:
        InvalidModel: Nodes wait for each other, or one reads a tensor that nobody makes.
    """
    producer = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    if len(producer) < sum(1 for node in graph.node for name in node.output if name):
        raise InvalidModel("two operators of the model write the same tensor: export the model again")
    known = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    waiting: list[set[int]] = []
    readers: list[list[int]] = [[] for _ in graph.node]
    for index, node in enumerate(graph.node):
        needed = set()
        for name in used_names(node):
            if name in producer:
                needed.add(producer[name])
            elif name not in known:
                raise InvalidModel(f"operator {node.name} reads {name}, which nothing makes: export the model again")
        waiting.append(needed)
        for other in needed:
            readers[other].append(index)
    order = list(_released(waiting, readers))
    if len(order) < len(graph.node):
        stuck = next(node.name for index, node in enumerate(graph.node) if index not in set(order))
        raise InvalidModel(f"the model has a cycle through operator {stuck}: export the model again")
    if order != sorted(order):
        nodes = [_copy(graph.node[index]) for index in order]
        del graph.node[:]
        graph.node.extend(nodes)


def _copy(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy


def _released(waiting: list[set[int]], readers: list[list[int]]) -> Iterator[int]:
    ready = [index for index, needed in enumerate(waiting) if not needed]
    heapify(ready)
    while ready:
        index = heappop(ready)
        yield index
        for reader in readers[index]:
            waiting[reader].discard(index)
            if not waiting[reader]:
                heappush(ready, reader)


def drop_unused(graph: GraphProto, keep: Collection[str] = ()) -> int:
    """Remove nodes and initializers that neither an output nor `keep` needs; return how many nodes went."""
    needed = {value.name for value in graph.output} | set(keep)
    unused: set[int] = set()
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        if needed.isdisjoint(name for name in node.output if name):
            unused.add(index)
        else:
            needed.update(used_names(node))
    _delete(graph.initializer, {i for i, tensor in enumerate(graph.initializer) if tensor.name not in needed})
    return _delete(graph.node, unused)


def open_zip_maps(graph: GraphProto) -> list[str]:
    """Let the tensor in front of a ZipMap be the output; one sentence for each.

    Converters of scikit-learn's classifiers end in one: of each row of probabilities it makes a map from class to
    probability. An answer holds tensors; the one in front of it says the same.
    """
    outputs = {value.name: value for value in graph.output}
    notes: list[str] = []
    for node in graph.node:
        if op_key(node) != "ai.onnx.ml.ZipMap" or node.output[0] not in outputs:
            continue
        notes.append(
            f"output {node.output[0]} is the tensor of probabilities of which the file's ZipMap makes a list of maps; its "
            f"columns are {_classes(node)}"
        )
        node.op_type, node.domain = "Identity", ""
        del node.attribute[:]
        value = outputs[node.output[0]]
        value.CopyFrom(ValueInfoProto(name=value.name))
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    return notes


def _classes(node: NodeProto) -> str:
    names = [
        str(name) for entry in node.attribute for name in (*entry.ints, *(text.decode() for text in entry.strings))
    ]
    more = f" and {len(names) - _MOST_CLASSES} more" if len(names) > _MOST_CLASSES else ""
    return ", ".join(names[:_MOST_CLASSES]) + more
