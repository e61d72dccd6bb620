"""The open form beside the graph at the planning shape.

Owns: fixing a graph's sizes and folding what follows, telling arithmetic on sizes from operators, and how tensors grow.
Its rule: both forms have the same operators under the same names; where that cannot be had, the model is refused in its
open form. Not here: choosing the planning shape (`open_axes.py`), cutting.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from edgesplit.errors import InvalidModel
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing import normalise
from edgesplit_controller.graph.importing.folding import fold_shape_arithmetic
from edgesplit_controller.graph.importing.opening.open_axes import PlannedShapes, fix_sizes
from edgesplit_controller.graph.importing.shapes import infer_types
from edgesplit_controller.graph.importing.value_types import ValueType
from edgesplit_controller.graph.model_graph import ModelGraph, SizeTensor
from edgesplit_controller.graph.protos import op_key, used_names

__all__ = ["NotSeparable", "Separated", "closed_at", "growth", "open_shapes", "separated"]

_MOST_PASSES = 64
_FACTORS = (2, 3, 5, 7, 11)
"""What sizes are multiplied by, each by its own, to see how tensors grow: the product tells the exponents apart."""
_MOST_EXPONENT = 2


class NotSeparable(InvalidModel):
    """Operators and arithmetic on sizes cannot be told apart."""


@dataclass(frozen=True, slots=True)
class Separated:
    """The nodes of an open form that are no operators.

    Attributes:
        arithmetic: Those that compute on sizes alone.
        size_nodes: Those that ask a tensor for its sizes.
        size_tensors: What they tell operators that do not read the tensor.
    """

    arithmetic: frozenset[str]
    size_nodes: frozenset[str]
    size_tensors: tuple[SizeTensor, ...]


def closed_at(
    form: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], blobs: BlobStore
) -> tuple[onnx.ModelProto, dict[str, ValueType]]:
    """Fix the sizes of an open form and fold the arithmetic on them.

    Args:
        form: Is not changed.
        shapes: Of every input.
        blobs: Receives large results.

    Returns:
        The graph, and what inference knows of its values. What makes outputs of the model, and what the open form asks
        for its sizes, stays.
    """
    closed = onnx.ModelProto()
    closed.CopyFrom(form)
    fix_sizes(closed.graph, shapes)
    outputs = {value.name for value in closed.graph.output}
    asked = {node.input[0] for node in closed.graph.node if op_key(node) == "Shape"}
    types = infer_types(closed)
    for _ in range(_MOST_PASSES):
        if not fold_shape_arithmetic(closed, types, blobs, keep=outputs):
            break
        types = infer_types(closed)
    made = {name for node in closed.graph.node for name in node.output}
    normalise.drop_unused(closed.graph, keep=asked & made)
    return closed, types


def separated(form: onnx.ModelProto, closed: onnx.ModelProto, types: Mapping[str, ValueType]) -> Separated:
    """Tell the operators of an open form, which its closed form has too, from arithmetic on sizes.

    Args:
        form: The open form.
        closed: The same at the planning shape.
        types: What is known of the closed form's values.

    Raises:
        NotSeparable: What is missing in the closed form depends on more than sizes.
    """
    operators = {node.name for node in closed.graph.node}
    if strange := operators - {node.name for node in form.graph.node}:
        raise NotSeparable(f"operator {min(strange)} exists at the planned sizes alone")
    constants = {tensor.name for tensor in form.graph.initializer}
    arithmetic: set[str] = set()
    asks: dict[str, str] = {}
    nodes: set[str] = set()
    behind: dict[str, frozenset[str]] = {}
    for node in form.graph.node:
        if node.name in operators:
            continue
        if op_key(node) == "Shape" and node.input[0] not in behind and node.input[0] not in constants:
            nodes.add(node.name)
            asks[node.output[0]] = node.input[0]
            behind[node.output[0]] = frozenset({node.output[0]})
            continue
        read = [name for name in used_names(node) if name not in constants]
        if unknown := [name for name in read if name not in behind]:
            raise NotSeparable(f"operator {node.name} reads {unknown[0]} and is constant at the planned sizes")
        arithmetic.add(node.name)
        needs = frozenset(name for tensor in read for name in behind[tensor])
        behind.update((name, needs) for name in node.output if name)
    ranks = {name: len(value.shape) for name, value in types.items() if value.shape is not None}
    return Separated(frozenset(arithmetic), frozenset(nodes), _size_tensors(form, operators, asks, behind, ranks))


def _size_tensors(
    form: onnx.ModelProto,
    operators: set[str],
    asks: Mapping[str, str],
    behind: Mapping[str, frozenset[str]],
    ranks: Mapping[str, int],
) -> tuple[SizeTensor, ...]:
    producer = {name: node.name for node in form.graph.node for name in node.output if name}
    readers: dict[str, list[str]] = {name: [] for name in asks}
    for node in form.graph.node:
        if node.name not in operators:
            continue
        read = used_names(node)
        for name in sorted({size for tensor in read for size in behind.get(tensor, ())}):
            # Whoever gets the tensor itself asks it.
            if asks[name] not in read:
                readers[name].append(node.name)
    found: list[SizeTensor] = []
    for name, tensor in asks.items():
        if not readers[name]:
            continue
        if tensor not in ranks:
            raise NotSeparable(f"how many axes {tensor} has is not known")
        found.append(SizeTensor(name, tensor, ranks[tensor], producer.get(tensor), tuple(readers[name])))
    return tuple(found)


def open_shapes(graph: ModelGraph, types: Mapping[str, ValueType]) -> dict[str, tuple[int, ...]]:
    """The tensors that have open axes: their shape with -1 on these, and on all of them where inference gave up.

    Args:
        graph: At the planning shape.
        types: What is known at every size.
    """
    found: dict[str, tuple[int, ...]] = {}
    for name, tensor in graph.tensors.items():
        known = types.get(name, ValueType(0, None)).shape
        if known is None or len(known) != len(tensor.shape):
            known = (-1,) * len(tensor.shape)
        merged = tuple(size if size == planned else -1 for size, planned in zip(known, tensor.shape, strict=True))
        if merged != tensor.shape:
            found[name] = merged
    return found


def growth(
    form: onnx.ModelProto, planned: PlannedShapes, graph: ModelGraph, blobs: BlobStore
) -> dict[str, tuple[int, ...]]:
    """How the bytes of tensors grow with each open size, as an exponent: seen at one set of larger sizes.

    Where inference says nothing there, a tensor is taken to grow with every size.
    """
    sizes = planned.sizes
    factors = dict(zip((size.name for size in sizes), itertools.cycle(_FACTORS)))
    larger = {name: list(shape) for name, shape in planned.shapes.items()}
    for size in sizes:
        for entry, axis in size.places:
            larger[entry][axis] = size.planned * factors[size.name]
    _, types = closed_at(form, {name: tuple(shape) for name, shape in larger.items()}, blobs)
    choices = list(itertools.product(range(_MOST_EXPONENT + 1), repeat=min(len(sizes), len(_FACTORS))))
    costs = [sum(e * math.log(f) for e, f in zip(choice, _FACTORS, strict=False)) for choice in choices]
    found: dict[str, tuple[int, ...]] = {}
    for name, tensor in graph.tensors.items():
        value = types.get(name, ValueType(0, None))
        before = math.prod(tensor.shape)
        if not value.known or before <= 0 or len(sizes) > len(_FACTORS):
            found[name] = (1,) * len(sizes)
            continue
        ratio = math.log(max(math.prod(value.shape or ()), 1) / before)
        best = min(range(len(choices)), key=lambda index: (abs(costs[index] - ratio), sum(choices[index])))
        if any(choices[best]):
            found[name] = choices[best]
    return found
