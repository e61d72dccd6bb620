"""Building the model graph from a settled ONNX graph and what is known of its values.

Owns: describing operators and tensors. Its rule: an output that no answer could hold is refused. Not here: how the graph was
settled (`importer.py`), units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper

from edgesplit.errors import InvalidModel
from edgesplit.wire.tensors import TRAVELLING
from edgesplit_controller.graph.importing.flops import count_flops
from edgesplit_controller.graph.importing.value_types import ValueType
from edgesplit_controller.graph.model_graph import GraphOperator, GraphTensor, ModelGraph
from edgesplit_controller.graph.protos import initializer_nbytes, op_key, static_shape, used_names, value_info

__all__ = ["build_graph"]


def build_graph(proto: onnx.ModelProto, types: Mapping[str, ValueType], sha256: str) -> ModelGraph:
    """Describe a normalised graph by operators and tensors; units and notes are left empty.

    Raises:
        InvalidModel: An output is no tensor that an answer may hold.
    """
    weights = {tensor.name: initializer_nbytes(tensor) for tensor in proto.graph.initializer}
    inputs = tuple(value.name for value in proto.graph.input)
    outputs = tuple(value.name for value in proto.graph.output)
    shapes = {name: value.shape for name, value in types.items() if value.shape is not None}
    read = {name for node in proto.graph.node for name in used_names(node)} | set(outputs)
    operators: list[GraphOperator] = []
    for node in proto.graph.node:
        names = used_names(node)
        operators.append(
            GraphOperator(
                name=node.name,
                op_type=op_key(node),
                inputs=tuple(name for name in names if name not in weights),
                outputs=tuple(name for name in node.output if name and name in read),
                weight_bytes=sum(weights.get(name, 0) for name in names),
                flops=count_flops(node, shapes),
            )
        )
    tensors = _tensors(operators, types, inputs, outputs)
    for name in outputs:
        if tensors[name].dtype == "object":
            raise InvalidModel(
                f"output {name} is a sequence, a map or an optional value, and answers hold tensors: export the model "
                "without it"
            )
        if tensors[name].dtype not in TRAVELLING:
            raise InvalidModel(
                f"output {name} is {tensors[name].dtype}, which answers cannot hold: export it as float32"
            )
    _describe_outputs(proto, tensors)
    return ModelGraph(sha256, proto, tuple(operators), tensors, inputs, outputs)


def _tensors(
    operators: list[GraphOperator], types: Mapping[str, ValueType], inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> dict[str, GraphTensor]:
    producer = {name: operator.name for operator in operators for name in operator.outputs}
    consumers: dict[str, list[str]] = {name: [] for name in (*inputs, *producer)}
    for operator in operators:
        for name in operator.inputs:
            consumers[name].append(operator.name)
    # A branch may well yield nothing; where nothing was found in the data, more may be found another time.
    chosen = {name for operator in operators if operator.op_type == "If" for name in operator.outputs}
    tensors: dict[str, GraphTensor] = {}
    for name, readers in consumers.items():
        value = types.get(name, ValueType(0, None))
        shape = value.shape if value.shape is not None else (-1,)
        seen = shape if value.known else value.seen
        nbytes = 0
        if seen is not None and value.is_tensor and value.dtype != "object":
            nbytes = math.prod(seen) * np.dtype(helper.tensor_dtype_to_np_dtype(value.elem_type)).itemsize
        tensors[name] = GraphTensor(
            *(name, value.dtype, shape, nbytes, producer.get(name), tuple(readers), name in outputs),
            seen=None if value.known or (not nbytes and name not in chosen) else seen,
            is_ranked=value.shape is not None,
        )
    return tensors


def _describe_outputs(proto: onnx.ModelProto, tensors: Mapping[str, GraphTensor]) -> None:
    # The exporter's claims were cleared for inference; a client wants to see the shapes.
    for value in proto.graph.output:
        tensor = tensors[value.name]
        if static_shape(value) is None:
            value.CopyFrom(value_info(tensor))
