"""Which operators are candidates for int8, and the counts behind the choice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from edgesplit_controller.graph.quantizable import candidates
from tests.graph.support import constant, imported, model, tensor

node = helper.make_node


def weight(name: str, *shape: int) -> TensorProto:
    return constant(name, np.full(shape, 0.1))


def test_heaviest_operators_with_constant_weights_in_graph_order(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "small"], ["a"], name="light", pads=[1, 1, 1, 1]),
        node("Conv", ["a", "large"], ["b"], name="heavy", pads=[1, 1, 1, 1]),
        node("ConvTranspose", ["b", "up"], ["c"], name="up", strides=[2, 2]),
        node("Reshape", ["c", "flat"], ["f"]),
        node("Gemm", ["f", "dense", "bias"], ["g"], name="dense"),
        node("Transpose", ["g"], ["gt"], perm=[1, 0]),
        node("MatMul", ["g", "gt"], ["y"], name="dynamic"),
    ]
    weights = [
        weight("small", 4, 3, 3, 3),
        weight("large", 8, 4, 3, 3),
        weight("up", 8, 2, 2, 2),
        constant("flat", [1, 512], "int64"),
        weight("dense", 512, 10),
        weight("bias", 10),
    ]
    graph, _, _ = imported(model(nodes, [tensor("x", [1, 3, 8, 8])], [tensor("y", [1, 1])], weights), tmp_path)
    assert candidates(graph) == ("light", "heavy", "dense")
    assert candidates(graph, limit=1) == ("heavy",)
    assert candidates(graph, limit=2, exclude=["heavy"]) == ("light", "dense")
    assert graph.operator["light"].flops == 2 * 27 * 4 * 64
    assert graph.operator["heavy"].flops == 2 * 36 * 8 * 64
    assert graph.operator["up"].flops == 8 * 64 * 2 * 2 * 2 * 2
    assert graph.operator["dense"].flops == 10 * (2 * 512 + 1)
    assert graph.operator["dynamic"].flops == 2 * 10
    assert graph.flops == sum(operator.flops for operator in graph.operators)


def test_half_precision_and_sizes_that_depend_on_data_are_left_out(tmp_path: Path) -> None:
    half = helper.make_tensor("h", TensorProto.FLOAT16, [20, 20], np.ones(400).tolist())
    nodes = [
        node("Cast", ["x"], ["x16"], to=TensorProto.FLOAT16),
        node("MatMul", ["x16", "h"], ["y16"], name="half"),
        node("Cast", ["y16"], ["y"], to=TensorProto.FLOAT),
        node("NonZero", ["y"], ["where"]),
        node("Cast", ["where"], ["wf"], to=TensorProto.FLOAT),
        node("ReduceSum", ["wf"], ["s"], keepdims=1),
        node("Add", ["s", "row"], ["r"]),
        node("MatMul", ["r", "w"], ["m"], name="between"),
        node("MatMul", ["m", "wf"], ["z"], name="tied"),
    ]
    weights = [half, weight("row", 1, 2), weight("w", 2, 2)]
    graph, _, _ = imported(model(nodes, [tensor("x", [1, 20])], [tensor("z", [1, None])], weights), tmp_path)
    assert candidates(graph) == ("between",)
