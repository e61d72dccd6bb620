"""Shape inference: element type and shape of every tensor.

Owns: ONNX's shape inference and, where it gives up, observing a run. Its rule: a shape reported
here holds for every input; what depends on the data is reported open (-1). Not here: folding, changing operators.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import onnx
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper

from edgesplit.errors import InvalidModel
from edgesplit.wire.tensors import dtype_name, zeros_of
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.bodies import control_flow_types
from edgesplit_controller.graph.importing.value_types import ValueType
from edgesplit_controller.graph.protos import op_key, static_shape, subgraphs, used_names
from edgesplit_controller.graph.runner import open_session, shapes_of
from edgesplit_controller.graph.samples import input_ranges, made_up

__all__ = ["complete_types", "declared_shapes", "infer_types"]

# Outputs whose size is decided by values, whatever the inputs' shapes are.
_DATA_DEPENDENT = frozenset({"NonZero", "NonMaxSuppression", "Unique", "Compress", "StringSplit", "ImageDecoder"})
# Inputs whose values decide the output's shape.
_SHAPE_OPERANDS = {
    "Reshape": (1,),
    "Expand": (1,),
    "Tile": (1, 2),
    "Slice": (1, 2, 3, 4),
    "Range": (0, 1, 2),
    "ConstantOfShape": (0,),
    "TopK": (1,),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
    "Pad": (1, 3),
    "OneHot": (1,),
    "Split": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    "CenterCropPad": (1, 2),
    "Col2Im": (1, 2),
    "AffineGrid": (1,),
    "MaxUnpool": (2,),
    "BlackmanWindow": (0,),
    "HannWindow": (0,),
    "HammingWindow": (0,),
    "DFT": (1, 2),
    "STFT": (1, 3),
    "MelWeightMatrix": (0, 1),
}


def infer_types(proto: onnx.ModelProto, trusted: Mapping[str, ValueType] | None = None) -> dict[str, ValueType]:
    """Infer the types of all values of the main graph, forgetting what the file claimed about inner ones.

    Args:
        proto: A normalised graph.
        trusted: Types to start from beside those of inputs and weights.
    """
    # Claims of the exporter may still hold the symbolic batch, and inference would keep them.
    _forget_claims(proto.graph)
    found = dict(trusted or {})
    _claim(proto.graph, found)
    types = _inferred(proto) | found
    while new := control_flow_types(proto, types, infer_types).items() - found.items():
        found |= new
        _claim(proto.graph, found)
        types = _inferred(proto) | found
    _forget_claims(proto.graph)
    return types


def _forget_claims(graph: GraphProto) -> None:
    del graph.value_info[:]
    for value in graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")


def _claim(graph: GraphProto, types: Mapping[str, ValueType]) -> None:
    """Tell inference what it cannot find by itself."""
    outputs = {value.name: value for value in graph.output}
    for name, value in types.items():
        shape = None if value.shape is None else [size if size >= 0 else None for size in value.shape]
        claim = helper.make_tensor_value_info(name, value.elem_type, shape)
        (outputs[name] if name in outputs else graph.value_info.add()).CopyFrom(claim)


def _inferred(proto: onnx.ModelProto) -> dict[str, ValueType]:
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except Exception:  # C++ exceptions of several kinds
        # onnxruntime, whose word counts, takes some of what ONNX's inference calls a contradiction.
        inferred = proto
    types = {tensor.name: ValueType(tensor.data_type, tuple(tensor.dims)) for tensor in proto.graph.initializer}
    for value in (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input):
        types[value.name] = _type_of(value)
    return types


def _type_of(value: ValueInfoProto) -> ValueType:
    kind = value.type.WhichOneof("value")
    if kind not in (None, "tensor_type"):
        return ValueType(0, None, is_tensor=False)
    return ValueType(value.type.tensor_type.elem_type, static_shape(value))


def declared_shapes(graph: GraphProto) -> dict[str, tuple[int, ...]]:
    """Return the fixed shapes that a file claims for inner values and outputs, before inference forgets them."""
    claimed = {value.name: static_shape(value) for value in (*graph.value_info, *graph.output)}
    return {name: shape for name, shape in claimed.items() if shape is not None and min(shape, default=0) >= 0}


def complete_types(
    proto: onnx.ModelProto,
    blobs: BlobStore,
    types: Mapping[str, ValueType],
    declared: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, ValueType]:
    """Find what inference left open: by tracing what depends on data, and by running the rest.

    Args:
        proto: A normalised graph.
        blobs: Where its weights lie.
        types: What inference found.
        declared: Shapes that the file claims; one of a loop's state is believed where inference cannot follow the body
            (operators that it does not know) but the state starts so and comes out so.

    Returns:
        A type for every activation tensor; shapes that depend on the data have -1 in every open place, and are None where
        inference does not tell how many axes there are.

    Raises:
        InvalidModel: onnxruntime does not load or run the model.
    """
    complete = dict(types)
    constants = {tensor.name for tensor in proto.graph.initializer}
    depending: set[str] = set()
    missing: list[str] = []
    for node in proto.graph.node:
        depends = _depends_on_data(node, constants, depending)
        for name in node.output:
            value = complete.get(name, ValueType(0, None))
            if not name or value.known or not value.is_tensor:
                depending.update([name] if name and not value.is_tensor else [])
                continue
            (depending.add if depends else missing.append)(name)
    wanted = [*missing, *(name for name in depending if complete.get(name, ValueType(0, None)).is_tensor)]
    if wanted:
        observed = _observe(proto, blobs, types, wanted)
        if states := _believed_states(proto, complete, declared or {}, observed):
            return complete_types(proto, blobs, infer_types(proto, states))
        for name, (elem_type, shapes) in observed.items():
            if name in depending or len(set(shapes)) != 1:
                inferred = complete.get(name, ValueType(0, None)).shape
                seen = max(shapes, key=math.prod, default=None)
                complete[name] = ValueType(elem_type, inferred, seen=seen)
            else:
                complete[name] = ValueType(elem_type, shapes[0])
    return complete


def _believed_states(
    proto: onnx.ModelProto,
    types: Mapping[str, ValueType],
    declared: Mapping[str, tuple[int, ...]],
    observed: Mapping[str, tuple[int, list[tuple[int, ...]]]],
) -> dict[str, ValueType]:
    """States of loops, of unknown shape, whose declared one nothing contradicts."""
    believed: dict[str, ValueType] = {}
    for node in proto.graph.node:
        if op_key(node) not in ("Loop", "Scan") or any(_is_data_dependent(body) for body in subgraphs(node)):
            continue
        for initial, name in zip(node.input[2 if op_key(node) == "Loop" else 0 :], node.output, strict=False):
            elem_type, shapes = observed.get(name, (0, []))
            starts = types.get(initial, ValueType(0, None)).shape
            if shapes and starts is not None and set(shapes) == {starts} == {declared.get(name)}:
                believed[name] = ValueType(elem_type, starts)
    return believed


def _is_data_dependent(body: GraphProto) -> bool:
    inner = (nested for node in body.node for nested in subgraphs(node))
    return any(op_key(node) in _DATA_DEPENDENT for node in body.node) or any(map(_is_data_dependent, inner))


def _depends_on_data(node: NodeProto, constants: set[str], depending: set[str]) -> bool:
    key = op_key(node)
    if key in _DATA_DEPENDENT or any(True for _ in subgraphs(node)):
        return True
    if not depending.isdisjoint(used_names(node)):
        return True
    operands = _SHAPE_OPERANDS.get(key, (1,) if key.startswith("Reduce") else ())
    return any(index < len(node.input) and node.input[index] not in {"", *constants} for index in operands)


def _observe(
    proto: onnx.ModelProto, blobs: BlobStore, types: Mapping[str, ValueType], names: Iterable[str]
) -> dict[str, tuple[int, list[tuple[int, ...]]]]:
    """Run the model on zeros and on noise and report type and shapes of the named tensors.

    A model may refuse such inputs (an index beyond its table, a division by zero); what no run showed has no shape.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    existing = {value.name for value in probe.graph.output}
    names = list(names)
    probe.graph.output.extend(ValueInfoProto(name=name) for name in names if name not in existing)
    session = open_session(probe, blobs, optimize=False)
    elem_types = {value.name: _elem_type(value.type) for value in session.get_outputs()}
    shapes: dict[str, list[tuple[int, ...]]] = {name: [] for name in names}
    known = {name: value.shape for name, value in types.items() if value.shape is not None}
    noise = next(made_up(proto, input_ranges(proto, known), 1, shapes=known))
    zeros = {name: zeros_of(dtype_name(array), array.shape) for name, array in noise.items()}
    for feeds in (zeros, noise):
        try:
            found = shapes_of(session, names, feeds)
        except InvalidModel:
            continue
        for name, shape in found.items():
            shapes[name].append(shape)
    return {name: (elem_types[name], shapes[name]) for name in names}


def _elem_type(text: str) -> int:
    # onnxruntime spells types "tensor(float)", "tensor(int64)"; its words are ONNX's enum names in lower case.
    word = text.removeprefix("tensor(").removesuffix(")").upper()
    return int(dict(TensorProto.DataType.items()).get(word, 0))
