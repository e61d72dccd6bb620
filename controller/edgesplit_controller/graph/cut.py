"""Cutting a graph into submodels.

Owns: turning groups of operators into graphs of their own. Its rule: a component holds exactly its operators, the
weights they read, and typed inputs and outputs; joined together the components compute the whole model. Not here:
choosing groups (the planner keeps their graph acyclic), quantizing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper

from edgesplit_controller.graph.model_graph import GraphTensor, ModelGraph
from edgesplit_controller.graph.protos import (
    external_fields,
    initializer_nbytes,
    is_external,
    numpy_name,
    used_names,
    value_info,
)

__all__ = ["ComponentGraph", "Weight", "cut", "cut_deployed"]


@dataclass(frozen=True, slots=True)
class Weight:
    """A large initializer that a component needs beside its graph.

    Attributes:
        name: Initializer in the component's graph.
        digest: SHA-256 of its values: the blob's name.
        dtype: numpy's name of the element type.
        shape: Static shape.
        nbytes: Size of the blob. [B]
    """

    name: str
    digest: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, slots=True)
class ComponentGraph:
    """One submodel.

    Attributes:
        proto: Its graph; weights are external data named by digest.
        inputs: Tensors it needs, the model's own inputs first.
        outputs: Tensors others need of it, or the model's outputs.
        weights: Blobs it needs.
    """

    proto: onnx.ModelProto
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[Weight, ...]


def cut(
    proto: onnx.ModelProto,
    groups: Sequence[Collection[str]],
    tensors: Mapping[str, GraphTensor],
    *,
    owner: Mapping[str, str] | None = None,
    replicated: Collection[str] = (),
    size_nodes: Collection[str] = (),
) -> list[ComponentGraph]:
    """Make one submodel per group of operators.

    Args:
        proto: Normalised graph, possibly with the auxiliary nodes of quantization.
        groups: Disjoint operator names, one collection per component. Operators in no group are somebody else's:
            what they read becomes an output.
        tensors: Types of activation tensors; what is missing here is looked up in the graph.
        owner: Auxiliary node to the operator whose group it joins.
        replicated: Nodes that every group which needs their output makes for itself, so that their input is what
            travels (DequantizeLinear behind a quantized operator, arithmetic on sizes).
        size_nodes: Shape nodes. A group that has the tensor, or gets it, asks it for its sizes; another gets the sizes from
            where the tensor is made, and those of the model's inputs from whoever feeds it.

    Returns:
        Components in the order of the groups. A model output that is a model input belongs to none of them.

    Raises:
        ValueError: A group names an operator that is not in the graph, or one is in two groups.
    """
    return _ComponentCutter(
        proto, groups, tensors, owner or {}, frozenset(replicated), size_nodes=frozenset(size_nodes)
    ).components()


def cut_deployed(
    graph: ModelGraph,
    groups: Sequence[Collection[str]],
    *,
    proto: onnx.ModelProto | None = None,
    owner: Mapping[str, str] | None = None,
    replicated: Collection[str] = (),
) -> list[ComponentGraph]:
    """Make the submodels that nodes run: of the open form where a model has one, as requests may have any size.

    Args:
        graph: The model.
        groups: As of `cut`.
        proto: Its deployed form with the auxiliary nodes of quantization, if any.
        owner: As of `cut`.
        replicated: As of `cut`; arithmetic on sizes besides.
    """
    form = graph.deployed
    arithmetic = graph.open.arithmetic if graph.open is not None else frozenset[str]()
    size_nodes = graph.open.size_nodes if graph.open is not None else frozenset[str]()
    return cut(
        proto if proto is not None else form.proto,
        groups,
        form.tensors,
        owner=owner,
        replicated={*replicated, *arithmetic},
        size_nodes=size_nodes,
    )


class _ComponentCutter:
    """The graph indexed once for all components."""

    def __init__(
        self,
        proto: onnx.ModelProto,
        groups: Sequence[Collection[str]],
        tensors: Mapping[str, GraphTensor],
        owner: Mapping[str, str],
        replicated: frozenset[str],
        *,
        size_nodes: frozenset[str],
    ) -> None:
        self._proto = proto
        self._nodes = {node.name: node for node in proto.graph.node}
        self._replica = {
            name: node for node in proto.graph.node if node.name in replicated for name in node.output if name
        }
        self._sizes = {node.output[0]: node for node in proto.graph.node if node.name in size_nodes}
        self._weights = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._model_inputs = [value.name for value in proto.graph.input]
        self._behind: dict[str, list[str]] = {}
        """Replicated node to what travels for it."""
        self._model_outputs = {value.name for value in proto.graph.output}
        self._types = _Types(proto, tensors)
        group_of = _group_of(groups, self._nodes)
        self._members: list[list[NodeProto]] = [[] for _ in groups]
        outside: list[NodeProto] = []
        for node in proto.graph.node:
            if node.name in replicated or node.name in size_nodes:
                continue
            index = group_of.get(owner.get(node.name, node.name))
            (outside if index is None else self._members[index]).append(node)
        self._wanted = self._wanted_by_group(outside)

    def _wanted_by_group(self, outside: Sequence[NodeProto]) -> list[set[str]]:
        """What each group needs from elsewhere, replicas resolved; the last entry is for ungrouped operators."""
        wanted: list[set[str]] = []
        for members in (*self._members, outside):
            made = {name for node in members for name in node.output if name}
            needed = self._travelling(_reads(members))
            asked = self._asked_here(needed, made)
            wanted.append({name for name in needed if name not in made and name not in asked})
        return wanted

    def _asked_here(self, needed: Collection[str], made: Collection[str]) -> set[str]:
        """The sizes that a group takes from tensors which it makes or gets anyway."""
        tensors = {*made, *(name for name in needed if name not in self._sizes)}
        return {name for name in needed if name in self._sizes and self._sizes[name].input[0] in tensors}

    def _travelling(self, names: Iterable[str]) -> list[str]:
        resolved: dict[str, None] = {}
        for name in names:
            if name in self._weights:
                continue
            replica = self._replica.get(name)
            if replica is None:
                resolved[name] = None
                continue
            # Arithmetic on sizes shares its steps; without remembering, ways through it would be counted, not nodes.
            if replica.name not in self._behind:
                self._behind[replica.name] = self._travelling(used_names(replica))
            resolved.update(dict.fromkeys(self._behind[replica.name]))
        return list(resolved)

    def components(self) -> list[ComponentGraph]:
        """Build the components."""
        return [self._component(index) for index in range(len(self._members))]

    def _component(self, index: int) -> ComponentGraph:
        members = self._members[index]
        made = [name for node in members for name in node.output if name]
        own = set(made)
        elsewhere = {name for other, names in enumerate(self._wanted) if other != index for name in names}
        outputs = [name for name in made if name in elsewhere or name in self._model_outputs]
        # A model output behind a replicated node is made where its travelling form is made.
        outputs += [
            value.name
            for value in self._proto.graph.output
            if value.name in self._replica and not own.isdisjoint(self._travelling([value.name]))
        ]
        # Sizes that others need of what is made here are asked for here.
        told = [name for name in self._sizes if name in elsewhere and self._sizes[name].input[0] in own]
        outputs += told
        asked = dict.fromkeys([*told, *sorted(self._asked_here(self._travelling(_reads(members)), own))])
        replicas = [*self._replicas([*_reads(members), *outputs]), *(self._sizes[name] for name in asked)]
        nodes = [*members, *replicas] if not replicas else self._in_graph_order([*members, *replicas])
        made_here = {name for node in nodes for name in node.output if name}
        reads = dict.fromkeys(_reads(nodes))
        inputs = [name for name in self._model_inputs if name in reads]
        inputs += [
            name
            for name in reads
            if name not in made_here and name not in self._weights and name not in self._model_inputs
        ]
        weights = [self._weights[name] for name in reads if name in self._weights]
        return self._assemble(index, nodes, inputs, outputs, weights)

    def _replicas(self, names: Iterable[str]) -> list[NodeProto]:
        found: dict[str, NodeProto] = {}
        pending = list(names)
        while pending:
            replica = self._replica.get(pending.pop())
            if replica is not None and replica.name not in found:
                found[replica.name] = replica
                pending += used_names(replica)
        return list(found.values())

    def _in_graph_order(self, nodes: Iterable[NodeProto]) -> list[NodeProto]:
        names = {node.name for node in nodes}
        return [node for node in self._proto.graph.node if node.name in names]

    def _assemble(
        self,
        index: int,
        nodes: Sequence[NodeProto],
        inputs: Sequence[str],
        outputs: Sequence[str],
        weights: Sequence[TensorProto],
    ) -> ComponentGraph:
        graph = helper.make_graph(
            nodes,
            f"{self._proto.graph.name or 'model'}_component_{index}",
            [self._types.describe(name) for name in inputs],
            [self._types.describe(name) for name in outputs],
            weights,
        )
        model = helper.make_model(graph, producer_name="edgesplit", ir_version=self._proto.ir_version)
        del model.opset_import[:]
        model.opset_import.extend(self._proto.opset_import)
        blobs = tuple(_weight(tensor) for tensor in weights if is_external(tensor))
        return ComponentGraph(model, tuple(inputs), tuple(outputs), blobs)


def _group_of(groups: Sequence[Collection[str]], nodes: Mapping[str, NodeProto]) -> dict[str, int]:
    group_of: dict[str, int] = {}
    for index, group in enumerate(groups):
        for name in group:
            if name not in nodes:
                raise ValueError(f"operator {name} is not in the graph: cut with the names of the imported model")
            if name in group_of:
                raise ValueError(f"operator {name} is in two groups: groups must be disjoint")
            group_of[name] = index
    return group_of


def _reads(nodes: Iterable[NodeProto]) -> list[str]:
    return [name for node in nodes for name in used_names(node)]


def _weight(tensor: TensorProto) -> Weight:
    return Weight(
        name=tensor.name,
        digest=external_fields(tensor)["location"],
        dtype=numpy_name(tensor.data_type),
        shape=tuple(tensor.dims),
        nbytes=initializer_nbytes(tensor),
    )


class _Types:
    """Descriptions of the tensors at cuts."""

    def __init__(self, proto: onnx.ModelProto, tensors: Mapping[str, GraphTensor]) -> None:
        self._tensors = tensors
        self._described = {
            value.name: value for value in (*proto.graph.value_info, *proto.graph.output, *proto.graph.input)
        }
        self._producer = {name: node for node in proto.graph.node for name in node.output}
        self._weights = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._dequantized: dict[str, list[str]] = {}
        for node in proto.graph.node:
            if node.op_type == "DequantizeLinear":
                self._dequantized.setdefault(node.input[0], []).append(node.output[0])

    def describe(self, name: str) -> ValueInfoProto:
        """Return name, element type and shape.

        Raises:
            ValueError: Nobody knows them.
        """
        if name in self._tensors:
            return value_info(self._tensors[name])
        if name in self._described:
            return self._described[name]
        producer = self._producer.get(name)
        if producer is not None and producer.op_type == "QuantizeLinear":
            return self._quantized(name, producer)
        raise ValueError(f"tensor {name} is cut but its type is not known: add it to the tensors or to value_info")

    def _quantized(self, name: str, producer: NodeProto) -> ValueInfoProto:
        # Quantizing keeps the shape: either side of the pair of nodes may be the one that is known.
        sides = [producer.input[0], *self._dequantized.get(name, ())]
        source = next((side for side in sides if side in self._tensors or side in self._described), sides[0])
        described = ValueInfoProto()
        described.CopyFrom(self.describe(source))
        described.name = name
        zero_point = self._weights.get(producer.input[2]) if len(producer.input) > 2 else None
        # Without a zero point QuantizeLinear makes uint8 (ONNX specification).
        described.type.tensor_type.elem_type = zero_point.data_type if zero_point is not None else TensorProto.UINT8
        return described
