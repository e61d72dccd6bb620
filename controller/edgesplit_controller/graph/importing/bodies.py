"""Shape inference of what control flow yields (bodies of If, Loop and Scan).

Owns: types of the outputs of If, Loop and Scan where ONNX's shape inference leaves them open. Its rule: a shape is one
that every iteration and every branch keeps; it is found by inference inside the body, never by a run. Not here:
inference itself, choosing between what a file declares and what is found (`shapes.py`).

A loop's state starts with the shape it is given. If the body, inferred for that shape, yields the same again, all
iterations keep it; sizes that it does not keep are opened, and the body is inferred once more, until nothing changes.
What a loop collects is as long as its trip count, where that is constant and nothing ends the loop early.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import onnx
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from edgesplit_controller.graph.importing.value_types import ValueType
from edgesplit_controller.graph.protos import is_external, op_key, subgraphs, used_names

__all__ = ["control_flow_types"]

_MOST_ROUNDS = 8
_INT64_SCALAR = ValueType(TensorProto.INT64, ())
_BOOL_SCALAR = ValueType(TensorProto.BOOL, ())
_OPEN = ValueType(0, None)

Infer = Callable[[onnx.ModelProto], dict[str, ValueType]]


def control_flow_types(proto: onnx.ModelProto, types: Mapping[str, ValueType], infer: Infer) -> dict[str, ValueType]:
    """Find what the control flow of the main graph yields, as far as inference left it open.

    Args:
        proto: A normalised graph.
        types: What inference knows of its values.
        infer: Inference for the graphs of bodies.

    Returns:
        Types of outputs of control-flow nodes that are known better than before.
    """
    found: dict[str, ValueType] = {}
    bodies = _Bodies(proto, types, infer)
    for node in proto.graph.node:
        open_outputs = [name for name in node.output if name and not types.get(name, _OPEN).known]
        if not open_outputs or not any(True for _ in subgraphs(node)):
            continue
        yielded = zip(node.output, bodies.yields(node), strict=False)
        found |= {
            name: value for name, value in yielded if name in open_outputs and _says_more(value, types.get(name, _OPEN))
        }
    return found


def _says_more(value: ValueType, before: ValueType) -> bool:
    if value.shape is None or not value.is_tensor or not before.is_tensor:
        return False
    return before.shape is None or value.shape.count(-1) < before.shape.count(-1)


class _Bodies:
    """The bodies of one graph's nodes, typed by what is around them."""

    def __init__(self, proto: onnx.ModelProto, types: Mapping[str, ValueType], infer: Infer) -> None:
        self._proto = proto
        self._types = types
        self._infer = infer
        self._constants = {tensor.name: tensor for tensor in proto.graph.initializer if not is_external(tensor)}

    def yields(self, node: NodeProto) -> list[ValueType]:
        """Types of a node's outputs, open ones where nothing is known."""
        bodies = list(subgraphs(node))
        key = op_key(node)
        if key == "If":
            branches = [self._outputs(body, []) for body in bodies]
            return [_merged_all(values) for values in itertools.zip_longest(*branches, fillvalue=_OPEN)]
        if key == "Loop":
            return self._loop(node, bodies[0])
        if key == "Scan":
            return self._scan(node, bodies[0])
        return []

    def _loop(self, node: NodeProto, body: GraphProto) -> list[ValueType]:
        states = [self._type(name) for name in node.input[2:]]
        states, results = self._kept(body, [_INT64_SCALAR, _BOOL_SCALAR], states, [], skipped=1)
        trips = self._trip_count(node, body)
        return [*states, *(_stacked(value, 0, trips) for value in results)]

    def _scan(self, node: NodeProto, body: GraphProto) -> list[ValueType]:
        given = {entry.name: entry for entry in node.attribute}
        scanned = given["num_scan_inputs"].i
        if len(node.input) != len(body.input) or not 0 < scanned <= len(node.input):
            return []  # opset 8: with a batch axis, and the lengths in front
        inputs = [self._type(name) for name in node.input]
        axes = list(given["scan_input_axes"].ints) if "scan_input_axes" in given else [0] * scanned
        slices = [_without(value, axis) for value, axis in zip(inputs[-scanned:], axes, strict=True)]
        lengths = {_extent(value, axis) for value, axis in zip(inputs[-scanned:], axes, strict=True)} - {-1}
        states, results = self._kept(body, [], inputs[:-scanned], slices, skipped=0)
        out = list(given["scan_output_axes"].ints) if "scan_output_axes" in given else [0] * len(results)
        length = lengths.pop() if len(lengths) == 1 else -1
        return [*states, *(_stacked(value, axis, length) for value, axis in zip(results, out, strict=True))]

    def _kept(
        self,
        body: GraphProto,
        before: list[ValueType],
        states: list[ValueType],
        behind: list[ValueType],
        *,
        skipped: int,
    ) -> tuple[list[ValueType], list[ValueType]]:
        """States as every iteration keeps them, and what else the body yields then."""
        for _ in range(_MOST_ROUNDS):
            results = self._outputs(body, [*before, *states, *behind])[skipped:]
            kept = [_merged(state, result) for state, result in zip(states, results, strict=False)]
            if kept == states:
                return states, results[len(states) :]
            states = kept
        open_states = [ValueType(state.elem_type, None, state.is_tensor) for state in states]
        results = self._outputs(body, [*before, *open_states, *behind])[skipped:]
        return open_states, results[len(states) :]

    def _outputs(self, body: GraphProto, inputs: Sequence[ValueType]) -> list[ValueType]:
        """Types of a body's outputs when its inputs have these."""
        model = onnx.ModelProto(ir_version=self._proto.ir_version)
        model.opset_import.extend(self._proto.opset_import)
        graph = model.graph
        graph.CopyFrom(body)
        graph.name = graph.name or "body"
        for value, known in zip(graph.input, inputs, strict=False):
            if known.is_tensor and (known.elem_type or value.type.tensor_type.elem_type):
                described = ValueType(known.elem_type or value.type.tensor_type.elem_type, known.shape)
                value.CopyFrom(_described(value.name, described))
        for name in dict.fromkeys(_captured(body)):
            if name in self._constants:
                graph.initializer.append(self._constants[name])
            elif self._type(name).elem_type:
                graph.input.append(_described(name, self._type(name)))
        types = self._infer(model)
        # A branch may hand an outer tensor on as it is.
        return [types.get(value.name) or self._type(value.name) for value in body.output]

    def _type(self, name: str) -> ValueType:
        return self._types.get(name, _OPEN)

    def _trip_count(self, node: NodeProto, body: GraphProto) -> int:
        """How often a loop runs, -1 where that is not constant."""
        count = self._constants.get(node.input[0])
        begins = len(node.input) < 2 or not node.input[1] or self._is_true(node.input[1])
        if count is None or not begins or not self._goes_on(body):
            return -1
        return max(0, int(numpy_helper.to_array(count).reshape(-1)[0]))

    def _is_true(self, name: str) -> bool:
        tensor = self._constants.get(name)
        return tensor is not None and bool(numpy_helper.to_array(tensor).reshape(-1)[0])

    def _goes_on(self, body: GraphProto) -> bool:
        """Whether a body's condition never turns false."""
        producer = {name: node for node in body.node for name in node.output}
        constants = {tensor.name: tensor for tensor in body.initializer if not is_external(tensor)}
        name = body.output[0].name
        while name in producer and op_key(producer[name]) == "Identity":
            name = producer[name].input[0]
        if len(body.input) > 1 and name == body.input[1].name:
            return True
        if name in producer and op_key(producer[name]) == "Constant":
            value = next((entry.t for entry in producer[name].attribute if entry.name == "value"), None)
            return value is not None and bool(numpy_helper.to_array(value).reshape(-1)[0])
        if name in constants:
            return bool(numpy_helper.to_array(constants[name]).reshape(-1)[0])
        return name not in producer and self._is_true(name)


def _captured(body: GraphProto) -> list[str]:
    holder = NodeProto(attribute=[helper.make_attribute("body", body)])
    return used_names(holder)


def _described(name: str, value: ValueType) -> ValueInfoProto:
    shape = None if value.shape is None else [size if size >= 0 else None for size in value.shape]
    return helper.make_tensor_value_info(name, value.elem_type, shape)


def _merged(one: ValueType, other: ValueType) -> ValueType:
    """What is true of both."""
    elem_type = one.elem_type or other.elem_type
    if not one.is_tensor or not other.is_tensor:
        return ValueType(0, None, is_tensor=False)
    if one.shape is None or other.shape is None or len(one.shape) != len(other.shape):
        return ValueType(elem_type, None)
    return ValueType(elem_type, tuple(a if a == b else -1 for a, b in zip(one.shape, other.shape, strict=True)))


def _merged_all(values: Sequence[ValueType]) -> ValueType:
    merged = values[0]
    for value in values[1:]:
        merged = _merged(merged, value)
    return merged


def _stacked(value: ValueType, axis: int, length: int) -> ValueType:
    if value.shape is None:
        return value
    place = axis if axis >= 0 else axis + len(value.shape) + 1
    return ValueType(value.elem_type, (*value.shape[:place], length, *value.shape[place:]))


def _without(value: ValueType, axis: int) -> ValueType:
    if value.shape is None or not value.shape:
        return ValueType(value.elem_type, None)
    place = axis % len(value.shape)
    return ValueType(value.elem_type, (*value.shape[:place], *value.shape[place + 1 :]))


def _extent(value: ValueType, axis: int) -> int:
    return -1 if not value.shape else value.shape[axis % len(value.shape)]
