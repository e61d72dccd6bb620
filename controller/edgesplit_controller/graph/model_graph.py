"""The model graph: operators, tensors and units, as the rest of the controller sees them.

Owns: frozen values for operators, tensors and units of one imported model. Its rule: what is here is true of every
run of the model at its planning shape (static shapes, topological order, unique names); what is true at every size stands
in the open form. Not here: reading files, cutting, planning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import onnx

from edgesplit.wire.tensors import TRAVELLING

__all__ = ["GraphOperator", "GraphTensor", "ModelGraph", "OpenForm", "OpenSize", "SizeTensor", "Unit"]


@dataclass(frozen=True, slots=True)
class GraphOperator:
    """A node of the graph that computes something from activations.

    Attributes:
        name: Unique in the graph.
        op_type: ONNX operator type, with its domain in front when that is not ONNX's own.
        inputs: Activation tensors it reads, those captured by its subgraphs included; weights are not listed.
        outputs: Tensors it writes that somebody could read; skipped optional outputs are not listed.
        weight_bytes: Size of the initializers it reads, shared ones counted for each reader. [B]
        flops: Floating-point operations of one run, a multiply-add counted as two.
    """

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weight_bytes: int
    flops: int


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """A value that flows between operators.

    Attributes:
        name: Unique in the graph.
        dtype: numpy's name of the element type, `str` for texts; `object` for sequences and other values that are no tensors.
        shape: At the planning shape; -1 marks a dimension that depends on the data.
        nbytes: Size at a cut; where it depends on the data, as it was seen, or 0. [B]
        producer: Operator that writes it; None for the model's inputs.
        consumers: Operators that read it, in topological order, each once.
        is_output: Whether it is an output of the model.
        seen: Where the shape depends on the data, one that a run showed; None if it is static or none did.
        is_ranked: Whether the number of axes is the same for every request; else `shape` says nothing.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    producer: str | None
    consumers: tuple[str, ...]
    is_output: bool = False
    seen: tuple[int, ...] | None = None
    is_ranked: bool = True

    @property
    def is_static(self) -> bool:
        """Whether every request of the planning shape has it in the same size."""
        return self.is_ranked and all(size >= 0 for size in self.shape)

    @property
    def cuttable(self) -> bool:
        """Whether it could travel: of a dtype that frames know, and of a size that is known or was seen."""
        return self.dtype in TRAVELLING and (self.is_static or self.seen is not None)


@dataclass(frozen=True, slots=True)
class Unit:
    """Operators that are always placed together.

    Attributes:
        name: Its most expensive operator's name, or its quantizable operator's if it has one.
        operators: In topological order.
        inputs: Tensors it needs from other units or from the model's inputs.
        outputs: Tensors it makes that other units or the model's outputs need.
        at_source: It makes a model output that cannot travel, so it may only sit on the source.
    """

    name: str
    operators: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    at_source: bool = False


@dataclass(frozen=True, slots=True)
class OpenSize:
    """A size that requests choose.

    Attributes:
        name: As the file has it, else after the input and its axis.
        places: Inputs and axes that have it.
        planned: What is planned for.
    """

    name: str
    places: tuple[tuple[str, int], ...]
    planned: int


@dataclass(frozen=True, slots=True)
class SizeTensor:
    """The sizes of one tensor, which arithmetic elsewhere in the open form reads.

    Attributes:
        name: Of the vector of sizes. [int64]
        of: The tensor.
        rank: Its number of axes.
        producer: Operator that makes the tensor; None for the model's inputs.
        consumers: Operators whose arguments follow from these sizes and that do not read the tensor itself, in
            topological order.
    """

    name: str
    of: str
    rank: int
    producer: str | None
    consumers: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class OpenForm:
    """The graph that takes every size the model admits; what nodes run is cut from it.

    It has the operators of the graph at the planning shape, under their names, and beside them the arithmetic on sizes
    that is constant there.

    Attributes:
        proto: Normalised graph, weights as in the ModelGraph's.
        sizes: What requests choose.
        shapes: Tensors that have open axes, by name: their shape with -1 on these.
        arithmetic: Nodes that compute on sizes alone; every component that needs what they make has its own.
        size_nodes: Nodes that ask a tensor for its sizes, where such arithmetic starts.
        size_tensors: What they tell operators that do not read the tensor.
        growth: Tensor to how its bytes grow with each of `sizes`: an exponent each.
    """

    proto: onnx.ModelProto
    sizes: tuple[OpenSize, ...]
    shapes: Mapping[str, tuple[int, ...]]
    arithmetic: frozenset[str]
    size_nodes: frozenset[str]
    size_tensors: tuple[SizeTensor, ...]
    growth: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class ModelGraph:
    """One imported model, at its planning shape.

    Attributes:
        sha256: Digest of the user's file; of the file and its external data files, in name order, if it has some.
        proto: Normalised graph. Initializers of at least 1 KiB are external data whose location is the blob's digest
            (offset 0), so that the graph saved into the blob store's folder loads as it is.
        operators: In topological order.
        tensors: Every activation tensor, model inputs included, by name.
        inputs: Model inputs in their order.
        outputs: Model outputs in their order.
        units: In topological order.
        notes: What the import changed or found remarkable, one sentence each.
        open: The same model with open sizes; None where every size is fixed.
        weight_bits: Of weights in int8; 7 where kernels clip sums of products of 8.
    """

    sha256: str
    proto: onnx.ModelProto
    operators: tuple[GraphOperator, ...]
    tensors: Mapping[str, GraphTensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    units: tuple[Unit, ...] = ()
    notes: tuple[str, ...] = ()
    open: OpenForm | None = None
    weight_bits: int = 8

    @cached_property
    def flops(self) -> int:
        """Floating-point operations of one run."""
        return sum(operator.flops for operator in self.operators)

    @cached_property
    def operator(self) -> Mapping[str, GraphOperator]:
        """Operators by name."""
        return {operator.name: operator for operator in self.operators}

    @cached_property
    def unit_of(self) -> Mapping[str, str]:
        """The unit's name for every operator's name."""
        return {operator: unit.name for unit in self.units for operator in unit.operators}

    @cached_property
    def size_tensors(self) -> tuple[SizeTensor, ...]:
        """Sizes that one operator's arguments need of another's result."""
        return self.open.size_tensors if self.open is not None else ()

    @cached_property
    def deployed(self) -> ModelGraph:
        """The form that components are cut from: open tensors with -1 on their open axes."""
        if self.open is None:
            return self
        shapes = self.open.shapes
        tensors = {
            name: dataclasses.replace(tensor, shape=shapes[name]) if name in shapes else tensor
            for name, tensor in self.tensors.items()
        }
        sizes = {
            entry.name: GraphTensor(entry.name, "int64", (entry.rank,), 8 * entry.rank, entry.producer, entry.consumers)
            for entry in self.open.size_tensors
        }
        return dataclasses.replace(self, proto=self.open.proto, tensors={**tensors, **sizes}, open=None)

    @cached_property
    def described(self) -> Mapping[str, GraphTensor]:
        """Tensors as graphs that are made of this one describe them: open where this one describes its inputs so.

        It does where onnxruntime refuses it with all sizes fixed.
        """
        dims = [dim for value in self.proto.graph.input for dim in value.type.tensor_type.shape.dim]
        return self.tensors if all(dim.dim_value for dim in dims) else self.deployed.tensors

    def with_units(self, units: tuple[Unit, ...]) -> ModelGraph:
        """Return the same graph with other units (after another choice of quantizable operators)."""
        return dataclasses.replace(self, units=units)
