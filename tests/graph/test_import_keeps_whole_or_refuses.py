"""What cannot be split is kept whole; what cannot be served is refused with one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgesplit.errors import InvalidModel
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing import importer, normalise
from edgesplit_controller.graph.importing.importer import import_model
from tests.graph.support import assert_split_equals_whole, constant, imported, model, tensor

node = helper.make_node


def refusal(proto: onnx.ModelProto, folder: Path) -> str:
    """Import and return the one sentence that refuses it."""
    with pytest.raises(InvalidModel) as caught:
        imported(proto, folder)
    text = str(caught.value)
    assert "\n" not in text
    return text


def branch(name: str, nodes: list[onnx.NodeProto], output: str, shape: list[int]) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, [], [tensor(output, shape)])


def conditional(condition: str) -> onnx.NodeProto:
    return node(
        "If",
        [condition],
        ["chosen"],
        name="choose",
        then_branch=branch("t", [node("MatMul", ["r", "w"], ["inner"])], "inner", [1, 20]),
        else_branch=branch("e", [node("Neg", ["r"], ["inner"])], "inner", [1, 20]),
    )


SQUARE = constant("w", np.linspace(-1, 1, 400).reshape(20, 20))


def test_a_branch_on_data_is_one_operator_with_its_captures(tmp_path: Path) -> None:
    nodes = [
        node("Relu", ["x"], ["r"]),
        node("Cast", ["flag"], ["condition"], to=TensorProto.BOOL),
        conditional("condition"),
        node("Neg", ["chosen"], ["y"]),
    ]
    inputs = [tensor("x", [1, 20]), tensor("flag", [1], TensorProto.INT32)]
    graph, blobs, path = imported(model(nodes, inputs, [tensor("y", [1, 20])], [SQUARE]), tmp_path)
    assert set(graph.operator["choose"].inputs) == {"condition", "r"}
    assert graph.operator["choose"].weight_bytes == 1600
    assert_split_equals_whole(graph, blobs, path, range(4))


@pytest.mark.parametrize(("flag", "kind"), [(True, "MatMul"), (False, "Neg")])
def test_a_branch_on_a_constant_is_replaced_by_its_body(tmp_path: Path, flag: bool, kind: str) -> None:
    nodes = [
        node("Relu", ["x"], ["r"]),
        node("Shape", ["r"], ["s"]),
        node("Size", ["s"], ["rank"]),
        node("Equal", ["rank", "two" if flag else "three"], ["condition"]),
        conditional("condition"),
        node("Neg", ["chosen"], ["y"]),
    ]
    weights = [SQUARE, constant("two", 2, "int64"), constant("three", 3, "int64")]
    graph, blobs, path = imported(model(nodes, [tensor("x", [1, 20])], [tensor("y", [1, 20])], weights), tmp_path)
    assert [operator.op_type for operator in graph.operators] == ["Relu", kind, "Neg"]
    assert_split_equals_whole(graph, blobs, path, range(2))


def test_a_loop_is_one_operator(tmp_path: Path) -> None:
    body = helper.make_graph(
        [node("Add", ["state", "step"], ["next"]), node("Identity", ["go"], ["go_on"])],
        "body",
        [tensor("i", [], TensorProto.INT64), tensor("go", [], TensorProto.BOOL), tensor("state", [1, 4])],
        [tensor("go_on", [], TensorProto.BOOL), tensor("next", [1, 4])],
    )
    nodes = [
        node("Relu", ["x"], ["step"]),
        node("Loop", ["times", "", "step"], ["looped"], name="loop", body=body),
        node("Neg", ["looped"], ["y"]),
    ]
    weights = [constant("times", 3, "int64")]
    graph, blobs, path = imported(model(nodes, [tensor("x", [1, 4])], [tensor("y", [1, 4])], weights), tmp_path)
    assert [operator.op_type for operator in graph.operators] == ["Relu", "Loop", "Neg"]
    assert_split_equals_whole(graph, blobs, path, range(3))


def test_tensors_whose_size_depends_on_data_travel_as_they_are(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["h"], name="before"),
        node("NonZero", ["h"], ["where"], name="nonzero"),
        node("Cast", ["where"], ["f"], to=TensorProto.FLOAT, name="cast"),
        node("ReduceSum", ["f"], ["s"], keepdims=0, name="sum"),
        node("Add", ["h", "s"], ["t"], name="add"),
        node("MatMul", ["t", "w"], ["y"], name="after"),
    ]
    graph, blobs, path = imported(model(nodes, [tensor("x", [1, 20])], [tensor("y", [1, 20])], [SQUARE]), tmp_path)
    where = graph.tensors["where"]
    assert (where.shape, where.is_static, where.cuttable) == ((2, -1), False, True)
    assert where.seen is not None and where.nbytes == 2 * where.seen[1] * 8 > 0
    assert graph.unit_of["before"] != graph.unit_of["nonzero"] != graph.unit_of["after"]
    assert_split_equals_whole(graph, blobs, path, range(6))


def test_an_output_whose_size_depends_on_data_may_arise_anywhere(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("NonZero", ["h"], ["where"], name="nonzero"),
        node("Relu", ["h"], ["y"]),
    ]
    outputs = [tensor("where", [2, "found"], TensorProto.INT64), tensor("y", [1, 20])]
    graph, blobs, path = imported(model(nodes, [tensor("x", [1, 20])], outputs, [SQUARE]), tmp_path)
    assert not any(unit.at_source for unit in graph.units)
    assert graph.tensors["where"].shape == (2, -1)
    assert_split_equals_whole(graph, blobs, path, range(3))


def test_sequences_stay_inside_one_unit(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["h"], name="before"),
        node("SplitToSequence", ["h", "five"], ["parts"], axis=1, name="split"),
        node("MatMul", ["h", "w"], ["side"], name="side"),
        node("ConcatFromSequence", ["parts"], ["joined"], axis=1, name="join"),
        node("Add", ["joined", "side"], ["y"], name="after"),
    ]
    weights = [SQUARE, constant("five", 5, "int64")]
    graph, blobs, path = imported(model(nodes, [tensor("x", [1, 20])], [tensor("y", [1, 20])], weights), tmp_path)
    assert graph.unit_of["split"] == graph.unit_of["join"]
    assert graph.unit_of["side"] != graph.unit_of["join"]
    assert_split_equals_whole(graph, blobs, path, range(6))


def test_operators_of_onnxruntime_get_their_shapes_from_a_run(tmp_path: Path) -> None:
    nodes = [
        node("Relu", ["x"], ["r"]),
        node("FusedMatMul", ["r", "w"], ["m"], domain="com.microsoft", alpha=0.5),
        node("Neg", ["m"], ["y"]),
    ]
    proto = model(nodes, [tensor("x", [3, 20])], [tensor("y", ["a", "b"])], [SQUARE])
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    graph, blobs, path = imported(proto, tmp_path)
    assert graph.tensors["m"].shape == (3, 20)
    assert graph.tensors["y"].nbytes == 240
    assert graph.operators[1].op_type == "com.microsoft.FusedMatMul"
    assert_split_equals_whole(graph, blobs, path, range(3))


def test_sequences_as_inputs_and_outputs_are_refused(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    at = node("SequenceAt", ["s", "zero"], ["y"])
    zero = constant("zero", 0, "int64")
    assert "input s" in refusal(model([at], [sequence], [tensor("y", [2])], [zero]), tmp_path)
    made = model([node("SequenceConstruct", ["x"], ["s"])], [tensor("x", [2])], [sequence])
    assert "output s" in refusal(made, tmp_path)


def test_unknown_operators_are_refused(tmp_path: Path) -> None:
    proto = model([node("Sparkle", ["x"], ["y"], domain="my.own")], [tensor("x", [2])], [tensor("y", [2])])
    proto.opset_import.append(helper.make_opsetid("my.own", 1))
    assert "onnxruntime does not load the model" in refusal(proto, tmp_path)


def test_contradictions_are_refused(tmp_path: Path) -> None:
    cycle = [node("Add", ["x", "b"], ["a"], name="a"), node("Neg", ["a"], ["b"]), node("Neg", ["a"], ["y"])]
    assert "cycle" in refusal(model(cycle, [tensor("x", [2])], [tensor("y", [2])]), tmp_path)
    hole = [node("Add", ["x", "nowhere"], ["y"])]
    assert "nowhere" in refusal(model(hole, [tensor("x", [2])], [tensor("y", [2])]), tmp_path)
    twice = [node("Neg", ["x"], ["y"]), node("Relu", ["x"], ["y"])]
    assert "same tensor" in refusal(model(twice, [tensor("x", [2])], [tensor("y", [2])]), tmp_path)
    orphan = [node("Neg", ["x"], ["z"])]
    assert "\n" not in refusal(model(orphan, [tensor("x", [2])], [tensor("y", [2])]), tmp_path)
    misfit = model([node("MatMul", ["x", "w"], ["y"])], [tensor("x", [1, 3])], [tensor("y", [1, 20])], [SQUARE])
    refusal(misfit, tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07", bytes(range(256)) * 40])
def test_files_that_are_no_models_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidModel, match=r"broken\.onnx"):
        import_model(path, BlobStore(tmp_path / "blobs"))


def test_truncated_and_missing_files_are_refused(tmp_path: Path) -> None:
    proto = model([node("MatMul", ["x", "w"], ["y"])], [tensor("x", [1, 20])], [tensor("y", [1, 20])], [SQUARE])
    content = proto.SerializeToString()
    path = tmp_path / "short.onnx"
    for size in range(1, len(content), len(content) // 40):
        path.write_bytes(content[:size])
        with pytest.raises(InvalidModel) as caught:
            import_model(path, BlobStore(tmp_path / "blobs"))
        assert "\n" not in str(caught.value)
    with pytest.raises(InvalidModel, match="cannot be read"):
        import_model(tmp_path / "absent.onnx", BlobStore(tmp_path / "blobs"))


def test_stripped_weights_are_refused(tmp_path: Path) -> None:
    emptied = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[20, 20])
    proto = model([node("MatMul", ["x", "w"], ["y"])], [tensor("x", [1, 20])], [tensor("y", [1, 20])], [emptied])
    assert "weight w holds 0 of its 1600 bytes" in refusal(proto, tmp_path)


def test_a_model_that_onnxruntime_refuses_only_once_its_shapes_are_folded_is_taken_unfolded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def misfolded(proto: onnx.ModelProto, _types: object, _blobs: object) -> int:
        # As where a size that folding makes known shows onnxruntime a vector in the place of a scalar.
        del proto.graph.node[0].input[:]
        return 0

    monkeypatch.setattr(importer, "fold_shape_arithmetic", misfolded)
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Neg", ["r"], ["y"])]
    graph, blobs, path = imported(model(nodes, [tensor("x", [1, 4])], [tensor("y", [1, 4])]), tmp_path)
    assert any("left as it is" in note for note in graph.notes)
    assert_split_equals_whole(graph, blobs, path, range(3))


def test_onnxruntime_is_blamed_only_for_the_users_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: onnx.GraphProto) -> None:
        graph.node[0].op_type = "NoSuchOperator"

    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    proto = model(nodes, [tensor("x", [1, 4])], [tensor("y", [1, 4])])
    monkeypatch.setattr(normalise, "strip_comments", broken)
    with pytest.raises(InvalidModel, match="refuses a graph that was made of the model") as caught:
        imported(proto, tmp_path)
    assert "does not load the model" not in str(caught.value)
    proto.graph.node[0].op_type = "NoSuchOperator"
    monkeypatch.undo()
    with pytest.raises(InvalidModel, match="onnxruntime does not load the model"):
        imported(proto, tmp_path)


def test_what_no_run_showed_stays_with_its_neighbours(tmp_path: Path) -> None:
    """Nothing exceeds the limit on made-up inputs, so how much is found was never seen."""
    nodes = [
        node("MatMul", ["x", "w"], ["h"], name="before"),
        node("Greater", ["h", "limit"], ["large"], name="large"),
        node("NonZero", ["large"], ["where"], name="nonzero"),
        node("Cast", ["where"], ["f"], to=TensorProto.FLOAT, name="cast"),
        node("ReduceSum", ["f"], ["s"], keepdims=0, name="sum"),
        node("Add", ["h", "s"], ["t"], name="add"),
    ]
    weights = [SQUARE, constant("limit", 1e9)]
    graph, _, _ = imported(model(nodes, [tensor("x", [1, 20])], [tensor("t", [1, 20])], weights), tmp_path)
    assert graph.unit_of["nonzero"] == graph.unit_of["cast"] == graph.unit_of["sum"]
    assert any("stay together" in note for note in graph.notes)


def test_a_branch_that_changes_the_number_of_axes_may_travel(tmp_path: Path) -> None:
    then = helper.make_graph([node("Squeeze", ["h", "first"], ["t"])], "then", [], [tensor("t", [20])])
    other = helper.make_graph([node("Identity", ["h"], ["e"])], "else", [], [tensor("e", [1, 20])])
    nodes = [
        node("MatMul", ["x", "w"], ["h"], name="before"),
        node("ReduceSum", ["h"], ["total"], keepdims=0, name="total"),
        node("Greater", ["total", "zero"], ["large"], name="large"),
        node("If", ["large"], ["chosen"], name="choose", then_branch=then, else_branch=other),
        node("MatMul", ["chosen", "w"], ["y"], name="after"),
    ]
    weights = [SQUARE, constant("zero", 0.0), constant("first", [0], "int64")]
    graph, blobs, path = imported(model(nodes, [tensor("x", [1, 20])], [tensor("y", [None, 20])], weights), tmp_path)
    assert not graph.tensors["chosen"].is_ranked
    assert graph.unit_of["choose"] != graph.unit_of["after"]
    assert_split_equals_whole(graph, blobs, path, range(4))
