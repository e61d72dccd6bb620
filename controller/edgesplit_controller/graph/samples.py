"""Synthetic inputs for a model whose own are not at hand.

Owns: what values an input may take, as far as the graph says, and seeded samples of them. Its rule: an integer that
selects stays within what it selects from, one that is a number covers its type where the type is small; where neither
is known the sample says so. Not here: the user's own samples, what samples are used for.

What is read off the graph: the values of an integer input are followed through operators that only move or cast them.
Where they end as an index (of Gather and its like) the axis that they index limits them; where they end in arithmetic
they are numbers. Numbers of 8 and 16 bits are mostly images and sound and use all of their type; how far wider ones
go (a count, a mask, a pixel) nothing tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from edgesplit.wire.tensors import TEXT, drawn
from edgesplit_controller.graph.protos import is_external, numpy_name, op_key, static_shape, subgraphs, used_names

__all__ = ["InputRange", "input_ranges", "made_up"]

_MOVING = frozenset({"Cast", "Identity", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split",
                     "Concat", "Expand", "Tile", "SpaceToDepth", "DepthToSpace"})  # fmt: skip
_INDEXING = frozenset({"Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND", "Scatter"})
_DECIDING = frozenset({"And", "Or", "Xor", "Not", "If", "Loop", "NonZero", "Shape", "Size", "ConstantOfShape", "Range",
                       "TopK", "Trilu", "OneHot"})  # fmt: skip
"""Reading a value here does not make its size matter to the numbers of the model."""
_WORD = "word"
_SMALL_BYTES = 2
"""Integers up to so long are taken over the range of their type. [B]"""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class InputRange:
    """Integers from `low` to `high` inclusive.

    Attributes:
        known: Whether the model's own inputs may be taken to lie there; else it is a guess that says nothing of them.
    """

    low: int
    high: int
    known: bool = True


def input_ranges(proto: onnx.ModelProto, shapes: Shapes) -> dict[str, InputRange]:
    """What values the integer and boolean inputs of a model take.

    Args:
        proto: A normalised graph.
        shapes: Static shapes, as far as known; -1 for an open size.
    """
    found: dict[str, InputRange] = {}
    for value in proto.graph.input:
        dtype = _dtype(value)
        if dtype.kind == "b":
            found[value.name] = InputRange(0, 1)
        elif dtype.kind in "iu":
            limits = list(_limits(proto, value.name, shapes))
            compared = _compared_with(proto, value.name)
            only_compared = compared and len(limits) == len(compared) and set(limits) == {None}
            # A mode, such as a sampling rate: only a value that the model asks for is one that it means.
            found[value.name] = InputRange(compared[0], compared[0]) if only_compared else _range(dtype, limits)
    return found


def _compared_with(proto: onnx.ModelProto, name: str) -> list[int]:
    """The constants that an input is compared with, one for each comparison."""
    constants = {tensor.name: tensor for tensor in proto.graph.initializer if not is_external(tensor)}
    found: list[int] = []
    for node in proto.graph.node:
        if op_key(node) == "Equal" and name in node.input:
            others = [constants[other] for other in node.input if other in constants]
            values = [numpy_helper.to_array(tensor).reshape(-1) for tensor in others]
            found += [int(value[0]) for value in values if value.size == 1]
    return found


def _range(dtype: np.dtype[Any], limits: list[int | None]) -> InputRange:
    """The range of an input that is read as these limits say: an index below one, or a number (None)."""
    indexed = [limit for limit in limits if limit is not None]
    if indexed:
        return InputRange(0, max(0, min(*indexed, int(np.iinfo(dtype).max)) - 1))
    if limits and dtype.itemsize <= _SMALL_BYTES:
        return InputRange(int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    # 0 and 1 are valid for most that an integer may be: a flag, a count, an index.
    return InputRange(0, 1, known=not limits)


def _limits(proto: onnx.ModelProto, name: str, shapes: Shapes) -> Iterator[int | None]:
    """How an input's values are used: one entry for each place."""
    same = {name}
    for node in proto.graph.node:
        read = same.intersection(used_names(node))
        if not read:
            continue
        key = op_key(node)
        if not same.isdisjoint(_carried(node, key)):
            same.update(name for name in node.output if name)
        if key in _INDEXING and len(node.input) > 1 and node.input[1] in same:
            yield from _indexed(node, shapes)
        elif any(True for _ in subgraphs(node)):
            # What a body does with it is not followed; as a condition or a count its size does not matter.
            if read - set(node.input[:2]):
                yield None
        elif key not in _MOVING | _INDEXING | _DECIDING | {"Where"}:
            yield None


def _carried(node: NodeProto, key: str) -> list[str]:
    """Inputs whose values the outputs hold unchanged."""
    if key == "Where":
        return list(node.input[1:])
    if key in _INDEXING:
        return [node.input[0], *node.input[2:]]
    if key == "Concat":
        return list(node.input)
    return list(node.input[:1]) if key in _MOVING else []


def _indexed(node: NodeProto, shapes: Shapes) -> Iterator[int]:
    data, axis = shapes.get(node.input[0]), _axis(node)
    if not data:
        return
    if node.op_type in ("GatherND", "ScatterND"):
        places = (shapes.get(node.input[1]) or (0,))[-1]
        first = _axis(node, "batch_dims") if node.op_type == "GatherND" else 0
        extents = data[first : first + max(places, 0)]
    else:
        extents = data[axis : axis + 1] if axis != -1 else data[-1:]
    if extents and min(extents) > 0:
        yield min(extents)


def _axis(node: NodeProto, name: str = "axis") -> int:
    return next((entry.i for entry in node.attribute if entry.name == name), 0)


def made_up(
    proto: onnx.ModelProto,
    ranges: Mapping[str, InputRange],
    count: int,
    seed: int = 0,
    *,
    shapes: Shapes | None = None,
) -> Iterator[dict[str, NDArray[Any]]]:
    """Draw samples: uniform noise in [0, 1] for floats, uniform integers within their ranges, one word for texts.

    Args:
        proto: The model.
        ranges: Of its integer inputs.
        count: How many samples.
        seed: Of the noise.
        shapes: Of inputs that the model describes open.
    """
    random = np.random.default_rng(seed)
    for _ in range(count):
        sample: dict[str, NDArray[Any]] = {}
        for value in proto.graph.input:
            shape, dtype = (
                (shapes or {}).get(value.name, static_shape(value) or ()),
                numpy_name(value.type.tensor_type.elem_type),
            )
            limits = ranges.get(value.name)
            if dtype == TEXT:
                sample[value.name] = np.full(shape, _WORD, dtype=object)
            elif limits is None:
                sample[value.name] = drawn(dtype, shape, random)
            else:
                integers = random.integers(limits.low, limits.high, shape, dtype=np.int64, endpoint=True)
                sample[value.name] = np.asarray(integers, dtype=dtype)
        yield sample


def _dtype(value: onnx.ValueInfoProto) -> np.dtype[Any]:
    return np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
