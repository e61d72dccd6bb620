"""Elimination of branches whose condition is known.

Owns: replacing an If with a constant condition by the nodes of the branch it takes (exporters of PyTorch's squeeze
leave such Ifs behind). Its rule: only constants decide. Not here: Ifs and Loops that depend on data; they stay whole.
"""

from __future__ import annotations

from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from edgesplit_controller.graph.importing.normalise import constants_to_initializers
from edgesplit_controller.graph.protos import (
    defined_names,
    is_external,
    nested_names,
    op_key,
    rename_inputs,
    unique_name,
    used_names,
)

__all__ = ["inline_constant_branches"]


def inline_constant_branches(graph: GraphProto) -> int:
    """Inline the taken branch of every If whose condition is an initializer.

    Returns:
        How many were inlined.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer if not is_external(tensor)}
    nodes: list[NodeProto] = []
    inlined = 0
    for node in graph.node:
        if op_key(node) == "If" and node.input[0] in constants:
            taken = bool(numpy_helper.to_array(constants[node.input[0]]).reshape(-1)[0])
            branch = next(entry.g for entry in node.attribute if (entry.name == "then_branch") is taken)
            nodes += _spliced(graph, node, branch)
            inlined += 1
        else:
            nodes.append(_copy(node))
    if inlined:
        del graph.node[:]
        graph.node.extend(nodes)
        constants_to_initializers(graph)
    return inlined


def _spliced(graph: GraphProto, node: NodeProto, branch: GraphProto) -> list[NodeProto]:
    taken = {name for other in graph.node for name in (*used_names(other), *other.output)}
    taken |= defined_names(graph) | nested_names(graph)
    inner = sorted(defined_names(branch))
    # A branch may use names that its sibling or another If uses too.
    names = {name: unique_name(f"{node.name}/{name}", taken) for name in inner}
    made = {name for other in branch.node for name in other.output}
    for name, value in zip(node.output, branch.output, strict=False):
        if name and value.name in made:
            made.discard(value.name)  # a second use of the same value needs an Identity below
            names[value.name] = name
    for tensor in branch.initializer:
        weight = TensorProto()
        weight.CopyFrom(tensor)
        weight.name = names[tensor.name]
        graph.initializer.append(weight)
    for sparse in branch.sparse_initializer:
        graph.sparse_initializer.add().CopyFrom(sparse)
        graph.sparse_initializer[-1].values.name = names[sparse.values.name]
    spliced: list[NodeProto] = []
    for other in branch.node:
        copy = _copy(other)
        rename_inputs(copy, names)
        for index, name in enumerate(copy.output):
            copy.output[index] = names.get(name, name)
        copy.name = f"{node.name}/{other.name}" if other.name else ""
        spliced.append(copy)
    for name, value in zip(node.output, branch.output, strict=False):
        source = names.get(value.name, value.name)
        if name and source != name:
            spliced.append(helper.make_node("Identity", [source], [name], name=""))
    return spliced


def _copy(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy
