"""Open axes of a model's inputs, and the sizes that are planned for.

Owns: finding and naming them, choosing a planning shape, setting sizes for good. Its rule: what the user names counts,
then the calibration samples, then 1 for a batch; what is left is guessed, tried with onnxruntime, and said. Not here:
what follows from the sizes inside the graph (`shapes.py`, `size_arithmetic.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, TensorShapeProto

from edgesplit.errors import InvalidModel
from edgesplit.wire.tensors import TRAVELLING, dtype_name, zeros_of
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.model_graph import OpenSize
from edgesplit_controller.graph.protos import numpy_name, op_key, static_shape
from edgesplit_controller.graph.runner import RunRefused, open_session, shapes_of
from edgesplit_controller.graph.samples import input_ranges, made_up

__all__ = ["OpenAxes", "PlannedShapes", "fix_sizes", "name_ranks", "open_axes", "planned_shapes"]

Shape = tuple[int, ...]

_SIDES = ((224, 224), (320, 320), (48, 320), (256, 256), (32, 320), (128, 128), (64, 64), (640, 640), (512, 512))
"""Height and width of images, most usual first."""
_LENGTHS = (128, 256, 512, 64, 32, 16, 100, 1024, 16000)
"""Lengths of sequences and signals; tried in turn with `_SIDES`."""
_MOST_CHANNELS = 4


@dataclass(frozen=True, slots=True)
class OpenAxes:
    """What requests may choose.

    Attributes:
        places: Name of an open size to the inputs and axes that have it.
        shapes: Every input's shape, -1 on open axes.
    """

    places: Mapping[str, tuple[tuple[str, int], ...]]
    shapes: Mapping[str, Shape]


@dataclass(frozen=True, slots=True)
class PlannedShapes:
    """A size for every open axis.

    Attributes:
        sizes: By what requests choose; empty where nothing is open.
        shapes: Every input's planning shape.
        notes: Sentences for the user.
    """

    sizes: tuple[OpenSize, ...]
    shapes: Mapping[str, Shape]
    notes: tuple[str, ...]


def name_ranks(graph: GraphProto, ranks: Mapping[str, int]) -> None:
    """Give inputs of which the file tells no shape so many open axes."""
    for value in graph.input:
        kind = value.type.tensor_type
        if value.type.HasField("tensor_type") and not kind.HasField("shape") and value.name in ranks:
            kind.shape.dim.extend(TensorShapeProto.Dimension() for _ in range(ranks[value.name]))


def open_axes(graph: GraphProto) -> OpenAxes:
    """Find the open axes of a graph's inputs and give each a name in it.

    Args:
        graph: Changed in place: an axis without a name gets one, which inference then follows.

    Raises:
        InvalidModel: An input is no tensor that requests could hold.
    """
    taken = {dim.dim_param for value in graph.input for dim in value.type.tensor_type.shape.dim if _is_name(dim)}
    places: dict[str, list[tuple[str, int]]] = {}
    shapes: dict[str, Shape] = {}
    for value in graph.input:
        _check_type(value)
        shape = static_shape(value)
        if shape is None:
            raise InvalidModel(
                f"the file does not say how many axes input {value.name} has: name a shape, --shape {value.name}=1x3x224x224"
            )
        # A name that an input has twice may mean two sizes.
        own = [dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value > 0:
                continue
            is_named = _is_name(dim) and own.count(dim.dim_param) == 1
            name = dim.dim_param if is_named else _unused(f"{value.name}.{axis}", taken)
            dim.ClearField("dim_value")
            dim.dim_param = name
            places.setdefault(name, []).append((value.name, axis))
        shapes[value.name] = static_shape(value) or ()
    return OpenAxes({name: tuple(found) for name, found in places.items()}, shapes)


def _is_name(dim: TensorShapeProto.Dimension) -> bool:
    """Whether an exporter gave an open size a name, and no mark for want of one such as ? or -1."""
    return any(letter.isalpha() for letter in dim.dim_param) and dim.dim_param != "None"


def _check_type(value: onnx.ValueInfoProto) -> None:
    dtype = numpy_name(value.type.tensor_type.elem_type)
    if not value.type.HasField("tensor_type") or dtype == "object":
        raise InvalidModel(
            f"input {value.name} is a sequence, a map or an optional value, and requests hold tensors: export it as one"
        )
    if dtype not in TRAVELLING:
        raise InvalidModel(f"input {value.name} is {dtype}, which requests cannot hold: export it as float32")


def _unused(wanted: str, taken: set[str]) -> str:
    name = wanted
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def planned_shapes(
    proto: onnx.ModelProto,
    axes: OpenAxes,
    blobs: BlobStore,
    *,
    given: Mapping[str, Shape],
    samples: Mapping[str, Shape],
) -> PlannedShapes:
    """Choose a size for every open axis.

    Args:
        proto: A normalised graph whose open axes have names.
        axes: They.
        blobs: Where its weights lie.
        given: Shapes that the user named, by input.
        samples: Shapes of the arrays of calibration samples, by input; their first axis counts samples.

    Raises:
        InvalidModel: A named shape contradicts the file or another one, the model does not run on it, or no sizes are
            known and none of those tried runs.
    """
    _check_given(axes, given)
    if not axes.places:
        return PlannedShapes((), axes.shapes, ())
    sizes = _taken_from(axes, given, "shapes named")
    for found in (_taken_from(axes, _fitting(axes, samples), ""), _asked_by_weights(proto, axes)):
        sizes = {**found, **sizes}
    for name, where in axes.places.items():
        if name not in sizes and all(axis == 0 for _, axis in where) and _is_batch(axes, where):
            sizes[name] = 1
    missing = [name for name in axes.places if name not in sizes]
    notes = _batch_notes(axes, sizes, given)
    if missing:
        sizes |= _guessed(_SizeTrial(proto, axes, blobs), sizes, missing)
        told = ", ".join(_text(name, shape) for name, shape in _shapes(axes, sizes).items() if _is_open(axes, name))
        notes.append(
            f"no size was named for {_axes_text(axes, missing)}, so plans are made for {told}; requests may have others, "
            "and --shape plans for them"
        )
    elif given:
        refusal = _SizeTrial(proto, axes, blobs).refusal(sizes)
        if refusal:
            told = ", ".join(_text(name, shape) for name, shape in _shapes(axes, sizes).items())
            raise InvalidModel(f"the model does not run on {told} ({refusal}): name another --shape")
    open_sizes = tuple(OpenSize(name, where, sizes[name]) for name, where in axes.places.items())
    return PlannedShapes(open_sizes, _shapes(axes, sizes), tuple(notes))


def _check_given(axes: OpenAxes, given: Mapping[str, Shape]) -> None:
    for name, shape in given.items():
        expected = axes.shapes.get(name)
        if expected is None:
            known = ", ".join(axes.shapes) or "none"
            raise InvalidModel(f"--shape names {name!r}, which is no input of the model: its inputs are {known}")
        fits = len(expected) == len(shape) and all(
            size > 0 and own in (-1, size) for own, size in zip(expected, shape, strict=True)
        )
        if not fits:
            wanted = "x".join("N" if size < 0 else str(size) for size in expected) or "a scalar"
            raise InvalidModel(f"--shape {_text(name, shape)} does not fit: input {name} is {wanted}, N for any size")


def _fitting(axes: OpenAxes, samples: Mapping[str, Shape]) -> dict[str, Shape]:
    """Shapes of single samples that an input can have; arrays that do not fit are told where samples are read."""
    found: dict[str, Shape] = {}
    for name, shape in samples.items():
        own = axes.shapes.get(name)
        if own is None or not shape:
            continue
        single = shape[1:] if len(shape) == len(own) + 1 else (1, *shape[1:])
        if len(single) == len(own) and all(mine in (-1, size) for mine, size in zip(own, single, strict=True)):
            found[name] = single
    return found


def _taken_from(axes: OpenAxes, shapes: Mapping[str, Shape], what: str) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for name, where in axes.places.items():
        found = {shapes[entry][axis] for entry, axis in where if entry in shapes}
        if len(found) > 1 and what:
            told = ", ".join(sorted(entry for entry, _ in where if entry in shapes))
            raise InvalidModel(f"the {what} give size {name!r} of {told} different values: the model has it equal")
        if len(found) == 1:
            sizes[name] = found.pop()
    return sizes


def _asked_by_weights(proto: onnx.ModelProto, axes: OpenAxes) -> dict[str, int]:
    """Open sizes that only one value runs with: channels and features that meet a weight at once."""
    weights = {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}
    asked: dict[tuple[str, int], int] = {}
    for node in proto.graph.node:
        shape = axes.shapes.get(node.input[0]) if node.input else None
        weight = weights.get(node.input[1]) if len(node.input) > 1 else None
        if shape is None or not weight:
            continue
        numbers = {entry.name: entry.i for entry in node.attribute}
        key, last = op_key(node), len(shape) - 1
        if key == "Conv" and last > 0:
            asked[node.input[0], 1] = weight[1] * (numbers.get("group", 1) or 1)
        elif key == "MatMul" and len(weight) > 1:
            asked[node.input[0], last] = weight[-2]
        elif key == "Gemm" and not numbers.get("transA"):
            asked[node.input[0], 1] = weight[1 if numbers.get("transB") else 0]
        elif key in ("LSTM", "GRU", "RNN"):
            asked[node.input[0], last] = weight[-1]
    return {name: asked[place] for name, where in axes.places.items() for place in where if asked.get(place, 0) > 0}


def _is_batch(axes: OpenAxes, where: Sequence[tuple[str, int]]) -> bool:
    """Whether an open first axis is a batch: a lone axis may as well be a length."""
    return any(len(axes.shapes[name]) > 1 for name, _ in where)


def _batch_notes(axes: OpenAxes, sizes: Mapping[str, int], given: Mapping[str, Shape]) -> list[str]:
    named = {name for name, where in axes.places.items() if any(entry in given for entry, _ in where)}
    firsts = [entry for name, where in axes.places.items() if name in sizes and name not in named
              for entry, axis in where if axis == 0 and sizes[name] == 1]  # fmt: skip
    return [
        f"the open first axis of input {entry} was set to 1 for plans; requests may have other sizes"
        for entry in firsts
    ]


def _guessed(trial: _SizeTrial, sizes: Mapping[str, int], missing: Sequence[str]) -> dict[str, int]:
    """The first sizes of those tried that the model runs on."""
    axes, refusal = trial.axes, ""
    for sides, length in zip(_SIDES, _LENGTHS, strict=True):
        tried = {name: _guess(axes, name, sides, length) for name in missing}
        refused = trial.refusal({**sizes, **tried})
        if not refused:
            return tried
        refusal = refusal or refused
    commands = " ".join(f"--shape {_text(name, axes.shapes[name])}" for name in axes.shapes if _is_open(axes, name))
    raise InvalidModel(
        f"the sizes of {_axes_text(axes, missing)} are open and the model runs on none of those tried ({refusal}): "
        f"add {commands.replace('-1', 'N')} with a number for each N"
    )


def _guess(axes: OpenAxes, name: str, sides: tuple[int, int], length: int) -> int:
    entry, axis = axes.places[name][0]
    shape = axes.shapes[entry]
    if len(shape) != 4:
        # Between two fixed axes stands the batch of a recurrent state.
        is_batch = (axis == 0 and len(shape) > 1) or (axis == 1 and len(shape) == 3 and min(shape[0], shape[2]) > 0)
        return 1 if is_batch else length
    if axis == 1:
        return 3
    last = 0 < shape[3] <= _MOST_CHANNELS
    return sides[axis - 1 if last else axis - 2] if axis > 0 else 1


class _SizeTrial:
    """A model loaded once, to run at several sizes."""

    def __init__(self, proto: onnx.ModelProto, axes: OpenAxes, blobs: BlobStore) -> None:
        self.axes = axes
        self._proto = proto
        self._session = open_session(proto, blobs, optimize=False)
        self._weights = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}

    def refusal(self, sizes: Mapping[str, int]) -> str:
        """Why the model does not run on these sizes, on made-up values; empty where it does on some."""
        shapes = _shapes(self.axes, sizes)
        fixed = onnx.ModelProto()
        fixed.CopyFrom(self._proto)
        fix_sizes(fixed.graph, shapes)
        refusal = ""
        for feeds in _feeds(fixed, {**self._weights, **shapes}):
            try:
                shapes_of(self._session, [value.name for value in self._proto.graph.output], feeds)
            except RunRefused as error:
                refusal = refusal or error.reason
            else:
                return ""
        return refusal


def _feeds(fixed: onnx.ModelProto, shapes: Mapping[str, Shape]) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    noise = next(made_up(fixed, input_ranges(fixed, shapes), 1))
    yield noise
    yield {name: zeros_of(dtype_name(array), array.shape) for name, array in noise.items()}
    if any(array.dtype.kind in "iu" for array in noise.values()):
        yield {name: np.ones_like(array) if array.dtype.kind in "iu" else array for name, array in noise.items()}


def _shapes(axes: OpenAxes, sizes: Mapping[str, int]) -> dict[str, Shape]:
    shapes = {name: list(shape) for name, shape in axes.shapes.items()}
    for name, where in axes.places.items():
        for entry, axis in where:
            shapes[entry][axis] = sizes[name]
    return {name: tuple(shape) for name, shape in shapes.items()}


def _is_open(axes: OpenAxes, name: str) -> bool:
    return min(axes.shapes[name], default=0) < 0


def _axes_text(axes: OpenAxes, names: Sequence[str]) -> str:
    told = [f"axis {axis} of input {entry}" for name in names for entry, axis in axes.places[name][:1]]
    return ", ".join(told[:-1]) + (" and " if len(told) > 1 else "") + told[-1]


def _text(name: str, shape: Shape) -> str:
    return f"{name}={'x'.join(map(str, shape))}"


def fix_sizes(graph: GraphProto, shapes: Mapping[str, Shape]) -> None:
    """Set the sizes of a graph's inputs for good."""
    for value in graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            dim.Clear()
            dim.dim_value = size
