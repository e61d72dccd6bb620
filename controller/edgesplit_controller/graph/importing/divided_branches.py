"""Division of large branches: an If becomes a chain of Ifs of the same condition, which may be placed apart.

Owns: where an If is divided and what its parts hand on. Its rule: the same nodes run on the same values, whichever branch
is taken. Not here: branches whose condition is constant (`branches.py`).

Some exporters put a whole network into a branch, one for each mode (a sampling rate, a kind of input). As one operator
that could only be placed whole. Part k of the chain holds the k-th part of either branch; what later parts read of it are
outputs of that If, and the branch that does not make them yields empty tensors in their place, which nobody reads.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper

from edgesplit_controller.graph.importing.normalise import constants_to_initializers, rename_within
from edgesplit_controller.graph.protos import (
    defined_names,
    nested_names,
    op_key,
    rename_inputs,
    subgraphs,
    unique_name,
    used_names,
)

__all__ = ["divided_branches"]

_HEAVY = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU", "RNN", "Attention", "ConvInteger",
                    "MatMulInteger", "QLinearConv", "QLinearMatMul", "Einsum", "STFT", "DFT"})  # fmt: skip
_LEAST_HEAVY = 3
"""A branch with fewer operators that weigh anything stays one."""
_MOST_PARTS = 8


@dataclass
class _Branch:
    """One branch on its way into the chain.

    Attributes:
        parts: Its nodes, part by part.
        types: Element type of what they make.
        results: What the If yields of it.
    """

    parts: list[list[NodeProto]]
    types: Mapping[str, int]
    results: list[str]


def divided_branches(proto: onnx.ModelProto) -> onnx.ModelProto | None:
    """The same model with every If of the main graph that has a large branch divided; None where there is none to divide.

    Args:
        proto: A normalised model, which may hold its weights: it is copied only if it has such a branch.
    """
    if not any(map(_is_large, proto.graph.node)):
        return None
    try:
        inferred = onnx.shape_inference.infer_shapes(proto)
    except Exception:  # C++ exceptions of several kinds
        return None
    divided = onnx.ModelProto()
    divided.CopyFrom(proto)
    return divided if _divide(divided.graph, inferred.graph) else None


def _divide(graph: GraphProto, inferred: GraphProto) -> int:
    """Divide in place; how many were."""
    typed = {node.name: node for node in inferred.node if op_key(node) == "If"}
    taken = defined_names(graph) | nested_names(graph) | {node.name for node in graph.node}
    nodes: list[NodeProto] = []
    divided = 0
    for node in graph.node:
        chain = _chain(graph, typed[node.name], taken) if _is_large(node) and node.name in typed else None
        divided += chain is not None
        nodes += chain or [node]
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    return divided


def _is_large(node: NodeProto) -> bool:
    return op_key(node) == "If" and _most_heavy(node) >= _LEAST_HEAVY


def _most_heavy(node: NodeProto) -> int:
    return max(sum(map(_is_heavy, body.node)) for body in subgraphs(node))


def _is_heavy(node: NodeProto) -> bool:
    return node.op_type in _HEAVY or any(_is_heavy(inner) for body in subgraphs(node) for inner in body.node)


def _chain(graph: GraphProto, node: NodeProto, taken: set[str]) -> list[NodeProto] | None:
    """The Ifs in place of one; None where an element type is not known."""
    count = min(_most_heavy(node), _MOST_PARTS)
    named = {entry.name: entry.g for entry in node.attribute}
    bodies = [_unnested(named[name], node.name, taken) for name in ("then_branch", "else_branch")]
    branches = [_divided(body, count) for body in bodies]
    live = [[_live(branch, place) for place in range(count - 1)] for branch in branches]
    if any(
        not branch.types.get(name)
        for branch, sets in zip(branches, live, strict=True)
        for names in sets
        for name in names
    ):
        return None
    for body in bodies:
        graph.initializer.extend(body.initializer)
    chain: list[NodeProto] = []
    for place in range(count - 1):
        handed = [{name: unique_name(f"{name}@part", taken) for name in sets[place]} for sets in live]
        outputs = [outer for names in handed for outer in names.values()]
        made = [
            _part(branch.parts[place], f"{node.name}:{place}", _handed_on(branches, live, index, place, taken))
            for index, branch in enumerate(branches)
        ]
        if outputs:
            name = unique_name(f"{node.name}:{place}", taken)
            chain.append(
                helper.make_node("If", node.input, outputs, name=name, then_branch=made[0], else_branch=made[1])
            )
        for branch, names in zip(branches, handed, strict=True):
            for later in branch.parts[place + 1 :]:
                for inner in later:
                    rename_inputs(inner, names)
            branch.results = [names.get(result, result) for result in branch.results]
    last = [_part(_with_results(branch, taken), f"{node.name}:{count - 1}", _results(branch)) for branch in branches]
    chain.append(
        helper.make_node("If", node.input, node.output, name=node.name, then_branch=last[0], else_branch=last[1])
    )
    return chain


def _unnested(body: GraphProto, owner: str, taken: set[str]) -> GraphProto:
    """A branch with names that nobody else uses and its constants as initializers."""
    copy = GraphProto()
    copy.CopyFrom(body)
    constants_to_initializers(copy)
    rename_within(copy, {name: unique_name(f"{owner}/{name}", taken) for name in sorted(defined_names(copy))})
    return copy


def _divided(body: GraphProto, count: int) -> _Branch:
    nodes = list(body.node)
    heavy = [index for index, node in enumerate(nodes) if _is_heavy(node)]
    places = [0]
    for part in range(1, count):
        first = len(heavy) * part // count
        if first == 0 or first >= len(heavy):
            places.append(places[-1] if first == 0 else len(nodes))
            continue
        between = range(heavy[first - 1] + 1, heavy[first] + 1)
        places.append(min(between, key=lambda place: _crossing(nodes, place)))
    places.append(len(nodes))
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*body.value_info, *body.output)
        if value.type.HasField("tensor_type")
    }
    parts = [nodes[start:end] for start, end in itertools.pairwise(places)]
    return _Branch(parts, types, [value.name for value in body.output])


def _crossing(nodes: Sequence[NodeProto], place: int) -> int:
    made = {name for node in nodes[:place] for name in node.output if name}
    return len(made.intersection(name for node in nodes[place:] for name in used_names(node)))


def _live(branch: _Branch, place: int) -> list[str]:
    """What a part makes that later parts, or the results, need."""
    later = {name for part in branch.parts[place + 1 :] for node in part for name in used_names(node)}
    later.update(branch.results)
    return [name for node in branch.parts[place] for name in node.output if name in later]


def _handed_on(
    branches: Sequence[_Branch], live: Sequence[Sequence[Sequence[str]]], index: int, place: int, taken: set[str]
) -> list[tuple[str, int, bool]]:
    """Names and element types of the outputs of a part of one branch, and whether it makes them or they are empty."""
    entries: list[tuple[str, int, bool]] = []
    for other, branch in enumerate(branches):
        for name in live[other][place]:
            is_own = other == index
            entries.append((name if is_own else unique_name(f"{name}@none", taken), branch.types[name], is_own))
    return entries


def _results(branch: _Branch) -> list[tuple[str, int, bool]]:
    return [(name, branch.types.get(name, 0), True) for name in branch.results]


def _with_results(branch: _Branch, taken: set[str]) -> list[NodeProto]:
    """The last part of a branch, which hands on what an earlier part or the graph around it makes."""
    nodes = list(branch.parts[-1])
    made = {name for node in nodes for name in node.output}
    for index, name in enumerate(branch.results):
        if name not in made:
            result = unique_name(f"{name}@result", taken)
            nodes.append(helper.make_node("Identity", [name], [result], name=unique_name(f"{result}:identity", taken)))
            branch.results[index] = result
    return nodes


def _part(nodes: Sequence[NodeProto], name: str, entries: Sequence[tuple[str, int, bool]]) -> GraphProto:
    outputs: list[ValueInfoProto] = []
    empty: list[NodeProto] = []
    for tensor, elem_type, is_made in entries:
        described = ValueInfoProto(name=tensor)
        if elem_type:
            described.type.tensor_type.elem_type = elem_type
        outputs.append(described)
        if not is_made:
            value = TensorProto(data_type=elem_type, dims=[0])
            empty.append(helper.make_node("Constant", [], [tensor], name=tensor, value=value))
    return helper.make_graph([*nodes, *empty], name, [], outputs)
