"""Tiny graphs of an open size, cut by hand: they multiply, and halve a row on the way, so that odd sizes do not add up."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper

from edgesplit.control.component_messages import ComponentSpec, GraphRef
from edgesplit.control.plan_messages import Desired, EpochSpec, FootprintTerm, OpenAxis
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import Array
from tests.agent.graphs import Blobs

PLANNED = 4
AXIS = OpenAxis(input="x", axis=1, size=PLANNED)


def open_spec(name: str) -> TensorSpec:
    """A float row of any length."""
    return TensorSpec(name=name, dtype="float32", shape=(1, -1), typical=(1, PLANNED))


def opened(part: EpochSpec) -> EpochSpec:
    """A hand-cut part of float rows, of any length."""
    return msgspec.structs.replace(
        part,
        components=tuple(map(_opened, part.components)),
        open_axes=(AXIS,),
        footprint_terms={node: (FootprintTerm(nbytes=64, exponents=(1,)),) for node in part.participants},
    )


def opened_desired(desired: Desired) -> Desired:
    """The same of all that a node should hold."""
    return msgspec.structs.replace(
        desired,
        inputs=(open_spec("x"),),
        outputs=(open_spec("y"),),
        epochs=tuple(map(opened, desired.epochs)),
    )


def _opened(component: ComponentSpec) -> ComponentSpec:
    return msgspec.structs.replace(
        component,
        inputs=tuple(open_spec(tensor.name) for tensor in component.inputs),
        outputs=tuple(open_spec(tensor.name) for tensor in component.outputs),
    )


def halving(blobs: Blobs, source: str, target: str, factor: float) -> GraphRef:
    """`target = factor * source` by way of two halves: it does not run on rows of odd length."""
    nodes = [
        helper.make_node("Reshape", [source, "halves"], ["two"], name="unit0.0"),
        helper.make_node("Mul", ["two", "factor"], ["scaled"], name="unit0.1"),
        helper.make_node("Reshape", ["scaled", "row"], [target], name="unit0.2"),
    ]
    values: dict[str, Array] = {
        "halves": np.array([2, -1], np.int64),
        "row": np.array([1, -1], np.int64),
        "factor": np.array(factor, np.float32),
    }
    return _blob(blobs, nodes, source, target, values)


def scaling(blobs: Blobs, source: str, target: str, factor: float) -> GraphRef:
    """`target = factor * source`, of rows of any length."""
    nodes = [helper.make_node("Mul", [source, "factor"], [target], name="unit0.0")]
    return _blob(blobs, nodes, source, target, {"factor": np.array(factor, np.float32)})


def _blob(
    blobs: Blobs, nodes: Sequence[onnx.NodeProto], source: str, target: str, values: dict[str, Array]
) -> GraphRef:
    graph = helper.make_graph(
        nodes,
        "open",
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, (1, "length"))],
        [helper.make_tensor_value_info(target, TensorProto.FLOAT, (1, "length"))],
        initializer=[onnx.numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    return GraphRef(digest=blobs.put(data), nbytes=len(data))
