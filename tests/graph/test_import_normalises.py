"""What import makes of the many ways to write the same model."""

from __future__ import annotations

import gc
import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgesplit_controller.graph.runner import open_session
from tests.graph.support import (
    assert_split_equals_whole,
    constant,
    imported,
    model,
    original_outputs,
    random_feeds,
    tensor,
)

node = helper.make_node


def test_unnamed_operators_are_named_after_their_first_output(tmp_path: Path) -> None:
    proto = model([node("Relu", ["x"], ["y"]), node("Neg", ["y"], ["z"])], [tensor("x", [2])], [tensor("z", [2])])
    graph, _, _ = imported(proto, tmp_path)
    assert [operator.name for operator in graph.operators] == ["y", "z"]


def test_equal_names_become_different(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["y"], name="n"), node("Neg", ["y"], ["z"], name="n")]
    graph, _, _ = imported(model(nodes, [tensor("x", [2])], [tensor("z", [2])]), tmp_path)
    assert [operator.name for operator in graph.operators] == ["n", "n_1"]


@pytest.mark.parametrize("ir_version", [3, 4, 8])
def test_initializers_among_the_inputs_become_constants(tmp_path: Path, ir_version: int) -> None:
    proto = model(
        [node("MatMul", ["x", "w"], ["y"])],
        [tensor("x", [1, 4]), tensor("w", [4, 3])],
        [tensor("y", [1, 3])],
        [constant("w", np.ones((4, 3)))],
        ir_version=ir_version,
        opset=9,
    )
    graph, blobs, path = imported(proto, tmp_path)
    assert graph.inputs == ("x",)
    assert any("were also inputs" in note for note in graph.notes)
    assert_split_equals_whole(graph, blobs, path, [0])


def test_constant_nodes_and_weight_identities_are_no_operators(tmp_path: Path) -> None:
    nodes = [
        node("Constant", [], ["c"], value=constant("", np.arange(600.0))),
        node("Constant", [], ["s"], value_float=2.0),
        node("Identity", ["c"], ["c1"]),
        node("Identity", ["c1"], ["c2"]),
        node("Add", ["x", "c2"], ["y"]),
        node("Mul", ["y", "s"], ["z"]),
        node("Mul", ["z", "c1"], ["out"]),
    ]
    graph, blobs, path = imported(model(nodes, [tensor("x", [600])], [tensor("out", [600])]), tmp_path)
    assert [operator.op_type for operator in graph.operators] == ["Add", "Mul", "Mul"]
    assert len(blobs.digests()) == 1
    assert graph.operators[0].weight_bytes == 2400
    assert_split_equals_whole(graph, blobs, path, [0, 1])


def test_sparse_constants_become_dense(tmp_path: Path) -> None:
    values = constant("", [5.0, 7.0])
    indices = constant("", [1, 5], "int64")
    nodes = [
        node("Constant", [], ["c"], sparse_value=helper.make_sparse_tensor(values, indices, [2, 3])),
        node("Add", ["x", "c"], ["y"]),
    ]
    graph, blobs, path = imported(model(nodes, [tensor("x", [2, 3])], [tensor("y", [2, 3])]), tmp_path)
    assert len(graph.operators) == 1
    assert_split_equals_whole(graph, blobs, path, [0])


def test_shape_arithmetic_on_static_shapes_is_folded(tmp_path: Path) -> None:
    nodes = [
        node("Relu", ["x"], ["r"]),
        node("Shape", ["r"], ["s"]),
        node("Gather", ["s", "zero"], ["n"], axis=0),
        node("Unsqueeze", ["n"], ["n1"], axes=[0]),
        node("Concat", ["n1", "minus"], ["target"], axis=0),
        node("Reshape", ["r", "target"], ["flat"]),
        node("MatMul", ["flat", "w"], ["y"]),
    ]
    weights = [constant("zero", 0, "int64"), constant("minus", [-1], "int64"), constant("w", np.ones((12, 40)))]
    proto = model(nodes, [tensor("x", [2, 3, 4])], [tensor("y", ["a", "b"])], weights, opset=9)
    graph, blobs, path = imported(proto, tmp_path)
    assert [operator.op_type for operator in graph.operators] == ["Relu", "Reshape", "MatMul"]
    assert graph.tensors["y"].shape == (2, 40)
    assert graph.tensors["y"].nbytes == 320
    assert_split_equals_whole(graph, blobs, path, [0, 1])


def test_folding_goes_on_through_sizes_it_made_known(tmp_path: Path) -> None:
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("ConstantOfShape", ["s"], ["ones"], value=constant("", [1.0])),
        node("Shape", ["ones"], ["s2"], start=1),
        node("ReduceProd", ["s2"], ["count"], keepdims=0),
        node("Cast", ["count"], ["limit"], to=TensorProto.INT64),
        node("Range", ["zero", "limit", "one"], ["indices"]),
        node("Cast", ["indices"], ["ramp"], to=TensorProto.FLOAT),
        node("Reshape", ["x", "s"], ["same"]),
        node("Add", ["same", "ramp"], ["y"]),
    ]
    weights = [constant("zero", 0, "int64"), constant("one", 1, "int64")]
    proto = model(nodes, [tensor("x", [2, 5])], [tensor("y", [2, 5])], weights, opset=17)
    graph, blobs, path = imported(proto, tmp_path)
    assert [operator.op_type for operator in graph.operators] == ["Reshape", "Add"]
    assert_split_equals_whole(graph, blobs, path, [0])


def test_arithmetic_on_weights_is_kept(tmp_path: Path) -> None:
    nodes = [node("Mul", ["w", "scale"], ["w1"]), node("MatMul", ["x", "w1"], ["y"])]
    weights = [constant("w", np.ones((8, 40))), constant("scale", np.full((8, 1), 2.0))]
    graph, blobs, path = imported(model(nodes, [tensor("x", [1, 8])], [tensor("y", [1, 40])], weights), tmp_path)
    assert [operator.op_type for operator in graph.operators] == ["Mul", "MatMul"]
    assert len(graph.units) == 1
    assert_split_equals_whole(graph, blobs, path, [0])


def test_an_output_that_is_a_weight_gets_an_operator(tmp_path: Path) -> None:
    proto = model(
        [node("Add", ["x", "w"], ["y"])],
        [tensor("x", [3])],
        [tensor("y", [3]), tensor("w", [3])],
        [constant("w", [1.0, 2.0, 3.0])],
    )
    graph, blobs, path = imported(proto, tmp_path)
    assert graph.tensors["w"].producer is not None
    assert_split_equals_whole(graph, blobs, path, [0, 1, 2])


def test_an_output_that_is_an_input_needs_no_component(tmp_path: Path) -> None:
    proto = model([node("Neg", ["x"], ["y"])], [tensor("x", [3])], [tensor("y", [3]), tensor("x", [3])])
    graph, blobs, path = imported(proto, tmp_path)
    assert graph.tensors["x"].is_output
    assert_split_equals_whole(graph, blobs, path, [0])


def test_empty_optional_inputs_and_unused_outputs_survive(tmp_path: Path) -> None:
    nodes = [
        node("Clip", ["x", "", "high"], ["c"]),
        node("Resize", ["c", "", "scales"], ["big"], mode="nearest"),
        node("Split", ["big"], ["a", "b", "unused"], axis=1),
        node("TopK", ["a", "k"], ["unread", "best"]),
        node("Cast", ["best"], ["f"], to=TensorProto.FLOAT),
        node("ReduceSum", ["f", "last"], ["s"], keepdims=1),
        node("Add", ["b", "s"], ["y"]),
    ]
    weights = [
        constant("high", 0.5),
        constant("scales", [1, 1, 2, 2]),
        constant("k", [3], "int64"),
        constant("last", [3], "int64"),
    ]
    proto = model(nodes, [tensor("x", [1, 6, 4, 4])], [tensor("y", [1, 2, 8, 8])], weights, opset=13)
    graph, blobs, path = imported(proto, tmp_path)
    assert graph.operator["a"].outputs == ("a", "b")
    assert_split_equals_whole(graph, blobs, path, range(4))


def test_outputs_that_are_used_inside_and_several_inputs(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["image", "w"], ["features"]),
        node("Relu", ["features"], ["r"]),
        node("Mul", ["r", "gain"], ["m"]),
        node("GlobalAveragePool", ["m"], ["pooled"]),
        node("Sub", ["r", "pooled"], ["y"]),
    ]
    proto = model(
        nodes,
        [tensor("image", [1, 3, 8, 8]), tensor("gain", [1, 4, 1, 1])],
        [tensor("y", [1, 4, 6, 6]), tensor("features", [1, 4, 6, 6]), tensor("pooled", [1, 4, 1, 1])],
        [constant("w", np.random.default_rng(0).random((4, 3, 3, 3)))],
    )
    graph, blobs, path = imported(proto, tmp_path)
    assert graph.outputs == ("y", "features", "pooled")
    assert_split_equals_whole(graph, blobs, path, range(4))


def test_nodes_in_any_order_and_dead_ones(tmp_path: Path) -> None:
    nodes = [
        node("Exp", ["a"], ["dead"]),
        node("Neg", ["a"], ["y"], name="second"),
        node("Relu", ["x"], ["a"], name="first"),
    ]
    graph, _, _ = imported(model(nodes, [tensor("x", [2])], [tensor("y", [2])], [constant("unused", [1.0])]), tmp_path)
    assert [operator.name for operator in graph.operators] == ["first", "second"]
    assert not graph.proto.graph.initializer


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    body = [node("Sigmoid", ["i"], ["s"]), node("Mul", ["i", "s"], ["o"])]
    silu = helper.make_function("local", "Silu", ["i"], ["o"], body, [helper.make_opsetid("", 17)])
    graph_proto = helper.make_graph(
        [node("Silu", ["x"], ["y"], domain="local"), node("Silu", ["y"], ["z"], domain="local")],
        "g",
        [tensor("x", [1, 4])],
        [tensor("z", [1, 4])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    proto = helper.make_model(graph_proto, functions=[silu], opset_imports=opsets, ir_version=8)
    graph, blobs, path = imported(proto, tmp_path)
    assert [operator.op_type for operator in graph.operators] == ["Sigmoid", "Mul", "Sigmoid", "Mul"]
    assert_split_equals_whole(graph, blobs, path, range(3))


@pytest.mark.parametrize("opset", range(9, 24))
def test_every_opset_from_9_on(tmp_path: Path, opset: int) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("BatchNormalization", ["c", "g", "g", "g", "g"], ["b"]),
        node("Relu", ["b"], ["r"]),
        node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "v", "h"], ["y"]),
    ]
    weights = [
        constant("w", np.linspace(-1, 1, 4 * 27).reshape(4, 3, 3, 3)),
        constant("g", np.linspace(0.5, 1, 4)),
        constant("v", np.linspace(-1, 1, 4 * 25 * 7).reshape(100, 7)),
        constant("h", np.zeros(7)),
    ]
    ir_version = 4 if opset < 15 else 8 if opset < 19 else 10
    proto = model(nodes, [tensor("x", ["N", 3, 8, 8])], [tensor("y", ["N", 7])], weights, opset=opset,
                  ir_version=ir_version)  # fmt: skip
    graph, blobs, path = imported(proto, tmp_path)
    assert graph.tensors["y"].shape == (1, 7)
    assert any("first axis of input x" in note for note in graph.notes)
    assert_split_equals_whole(graph, blobs, path, [0])


@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE])
def test_weights_of_other_types_become_blobs(tmp_path: Path, elem_type: int) -> None:
    weight = helper.make_tensor("w", elem_type, [32, 32], np.linspace(-1, 1, 1024).tolist())
    nodes = [node("Cast", ["w"], ["wf"], to=TensorProto.FLOAT), node("MatMul", ["x", "wf"], ["y"])]
    graph, blobs, path = imported(model(nodes, [tensor("x", [1, 32])], [tensor("y", [1, 32])], [weight]), tmp_path)
    assert len(blobs.digests()) == 1
    assert_split_equals_whole(graph, blobs, path, [0])


def test_packed_weights_stay_in_the_graph(tmp_path: Path) -> None:
    packed = helper.make_tensor("w", TensorProto.INT4, [64, 64], np.tile([-2, 1], 2048).tolist())
    nodes = [node("DequantizeLinear", ["w", "s"], ["wf"]), node("MatMul", ["x", "wf"], ["y"])]
    proto = model(nodes, [tensor("x", [1, 64])], [tensor("y", [1, 64])], [packed, constant("s", 0.5)], opset=21,
                  ir_version=10)  # fmt: skip
    graph, blobs, path = imported(proto, tmp_path)
    assert not blobs.digests()
    assert_split_equals_whole(graph, blobs, path, [0])


def test_sessions_keep_their_weights_alive(tmp_path: Path) -> None:
    weights = [constant("w", np.full((300, 300), 2.0))]
    proto = model([node("MatMul", ["x", "w"], ["y"])], [tensor("x", [1, 300])], [tensor("y", [1, 300])], weights)
    graph, blobs, _ = imported(proto, tmp_path)
    session = open_session(graph.proto, blobs)
    gc.collect()
    (result,) = session.run(None, {"x": np.ones((1, 300), np.float32)})
    np.testing.assert_allclose(result, np.full((1, 300), 600.0))


def test_stack_traces_of_exporters_are_dropped(tmp_path: Path) -> None:
    entry = node("Relu", ["x"], ["y"], doc_string="Traceback " * 1000)
    graph, _, _ = imported(model([entry], [tensor("x", [2])], [tensor("y", [2])]), tmp_path)
    assert len(graph.proto.SerializeToString()) < 500


def test_equal_weights_share_a_blob(tmp_path: Path) -> None:
    table = np.random.default_rng(1).random((20, 20))
    nodes = [node("MatMul", ["x", "a"], ["y"]), node("MatMul", ["y", "b"], ["z"]), node("MatMul", ["z", "a"], ["o"])]
    proto = model(nodes, [tensor("x", [1, 20])], [tensor("o", [1, 20])], [constant("a", table), constant("b", table)])
    graph, blobs, path = imported(proto, tmp_path)
    assert len(blobs.digests()) == 1
    assert_split_equals_whole(graph, blobs, path, [0, 1])


def test_the_users_file_is_named_by_its_digest_and_left_alone(tmp_path: Path) -> None:
    proto = model([node("Relu", ["x"], ["y"])], [tensor("x", ["n", 2])], [tensor("y", ["n", 2])])
    graph, _, path = imported(proto, tmp_path)
    assert path.read_bytes() == proto.SerializeToString()
    assert graph.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_normalised_graph_loads_beside_its_blobs(tmp_path: Path) -> None:
    weights = [constant("w", np.random.default_rng(0).random((4, 300)))]
    proto = model([node("MatMul", ["x", "w"], ["y"])], [tensor("x", [1, 4])], [tensor("y", [1, 300])], weights)
    graph, blobs, path = imported(proto, tmp_path)
    saved = blobs.folder / "graph.onnx"
    onnx.save(graph.proto, str(saved))
    onnx.checker.check_model(str(saved), full_check=True)
    feeds = random_feeds(graph)
    np.testing.assert_array_equal(original_outputs(saved, feeds)["y"], original_outputs(path, feeds)["y"])
