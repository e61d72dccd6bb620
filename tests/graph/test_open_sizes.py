"""Models with open axes: every split gives what the whole gives, at every size that the model admits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgesplit.errors import InvalidModel
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.cut import cut_deployed
from edgesplit_controller.graph.importing.importer import import_model
from edgesplit_controller.graph.unit_tensors import INPUT, unit_tensors
from tests.graph.support import (
    assert_close,
    assert_split_equals_whole,
    constant,
    feeds_of,
    imported,
    model,
    original_outputs,
    run_components,
    run_deployed,
    tensor,
)

node = helper.make_node
DRAW = np.random.default_rng(3)


def weight(name: str, *shape: int) -> TensorProto:
    return constant(name, DRAW.normal(0, 1 / np.sqrt(np.prod(shape[1:]) or 1), shape))


def convolution(
    name: str, source: str, target: str, inside: int, outside: int
) -> tuple[list[onnx.NodeProto], TensorProto]:
    kernel = weight(f"{name}.w", outside, inside, 3, 3)
    nodes = [
        node("Conv", [source, kernel.name], [f"{name}.c"], name=name, pads=[1, 1, 1, 1]),
        node("Relu", [f"{name}.c"], [target], name=f"{name}.relu"),
    ]
    return nodes, kernel


def pyramid() -> onnx.ModelProto:
    """A smaller map is resized to the sizes of a larger one, as detectors do."""
    first, w1 = convolution("first", "x", "a", 3, 8)
    second, w2 = convolution("second", "p", "b", 8, 8)
    third, w3 = convolution("third", "sum", "c", 8, 4)
    nodes = [
        *first,
        node("MaxPool", ["a"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        *second,
        node("Shape", ["a"], ["a.shape"]),
        node("Slice", ["a.shape", "two", "four"], ["a.sides"]),
        node("Shape", ["b"], ["b.shape"]),
        node("Slice", ["b.shape", "zero", "two"], ["b.front"]),
        node("Concat", ["b.front", "a.sides"], ["target"], axis=0),
        node("Resize", ["b", "", "", "target"], ["up"], name="up", mode="nearest"),
        node("Add", ["up", "a"], ["sum"], name="sum"),
        *third,
        node("ReduceMean", ["c"], ["y"], name="mean", axes=[2, 3]),
    ]
    constants = [constant(name, [value], "int64") for name, value in (("zero", 0), ("two", 2), ("four", 4))]
    return model(nodes, [tensor("x", ["N", 3, "H", "W"])], [tensor("c", ["N", 4, "H", "W"]), tensor("y", ["N", 4, 1, 1])],
                 [w1, w2, w3, *constants])  # fmt: skip


def attention() -> onnx.ModelProto:
    """Heads by reshape to the request's own sizes, a mask made of the length, positions by range."""
    nodes: list[onnx.NodeProto] = [
        node("Gather", ["table", "ids"], ["embedded"], name="embed"),
        node("Shape", ["ids"], ["ids.shape"]),
        node("Gather", ["ids.shape", "i0"], ["batch"]),
        node("Gather", ["ids.shape", "i1"], ["length"]),
        node("Range", ["i0", "length", "i1"], ["places"]),
        node("Gather", ["positions", "places"], ["placed"], name="place"),
        node("Add", ["embedded", "placed"], ["h"], name="h"),
    ]
    for part in "qkv":
        nodes += [
            node("MatMul", ["h", f"{part}.w"], [f"{part}.flat"], name=part),
            node("Shape", [f"{part}.flat"], [f"{part}.shape"]),
            node("Gather", [f"{part}.shape", "i0"], [f"{part}.n"]),
            node("Gather", [f"{part}.shape", "i1"], [f"{part}.s"]),
            node("Unsqueeze", [f"{part}.n", "v0"], [f"{part}.n1"]),
            node("Unsqueeze", [f"{part}.s", "v0"], [f"{part}.s1"]),
            node("Concat", [f"{part}.n1", f"{part}.s1", "heads", "depth"], [f"{part}.to"], axis=0),
            node("Reshape", [f"{part}.flat", f"{part}.to"], [f"{part}.split"], name=f"{part}.split"),
            node("Transpose", [f"{part}.split"], [f"{part}.t"], name=f"{part}.t",
                 perm=[0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]),
        ]  # fmt: skip
    nodes += [
        node("MatMul", ["q.t", "k.t"], ["scores"], name="scores"),
        node("Unsqueeze", ["length", "v0"], ["length1"]),
        node("Concat", ["length1", "length1"], ["square"], axis=0),
        node("ConstantOfShape", ["square"], ["ones"], value=helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])),
        node("Trilu", ["ones", "i1"], ["above"], upper=1),
        node("Mul", ["above", "minus"], ["mask"]),
        node("Add", ["scores", "mask"], ["masked"], name="masked"),
        node("Softmax", ["masked"], ["weights"], name="softmax", axis=-1),
        node("MatMul", ["weights", "v.t"], ["mixed"], name="mixed"),
        node("Transpose", ["mixed"], ["mixed.t"], name="mixed.t", perm=[0, 2, 1, 3]),
        node("Shape", ["h"], ["h.shape"]),
        node("Reshape", ["mixed.t", "h.shape"], ["joined"], name="join"),
        node("MatMul", ["joined", "o.w"], ["y"], name="out"),
    ]
    constants = [
        *(constant("i0", 0, "int64"), constant("i1", 1, "int64"), constant("v0", [0], "int64")),
        *(constant("heads", [2], "int64"), constant("depth", [8], "int64"), constant("minus", -1e4)),
        *(weight("table", 10, 16), weight("positions", 64, 16)),
        *(weight(f"{part}.w", 16, 16) for part in "qkvo"),
    ]
    return model(nodes, [tensor("ids", ["batch", "length"], TensorProto.INT64)], [tensor("y", ["batch", "length", 16])],
                 constants)  # fmt: skip


def class_token() -> onnx.ModelProto:
    """A token is expanded to the request's batch, which a later reshape needs too, across the network."""
    first, w1 = convolution("first", "x", "a", 3, 8)
    nodes = [
        *first,
        node("Shape", ["x"], ["x.shape"]),
        node("Gather", ["x.shape", "i0"], ["n"]),
        node("Unsqueeze", ["n", "v0"], ["n1"]),
        node("Concat", ["n1", "eight", "minus"], ["flat.to"], axis=0),
        node("Reshape", ["a", "flat.to"], ["flat"], name="flat"),
        node("Transpose", ["flat"], ["tokens"], name="tokens", perm=[0, 2, 1]),
        node("Concat", ["n1", "one", "one"], ["token.to"], axis=0),
        node("Expand", ["token", "token.to"], ["token.n"], name="expand"),
        node("Concat", ["token.n", "tokens"], ["all"], name="all", axis=1),
        node("MatMul", ["all", "w2"], ["mixed"], name="mix"),
        node("ReduceMean", ["mixed"], ["pooled"], name="pool", axes=[1], keepdims=0),
        node("Concat", ["n1", "two", "three"], ["out.to"], axis=0),
        node("Reshape", ["pooled", "out.to"], ["y"], name="out"),
        node("Size", ["a"], ["count"], name="count"),
    ]
    numbers = (("eight", 8), ("minus", -1), ("one", 1), ("two", 2), ("three", 3), ("v0", 0))
    constants = [*(constant(name, [value], "int64") for name, value in numbers), constant("i0", 0, "int64")]
    weights = [w1, weight("w2", 8, 6), constant("token", DRAW.normal(size=(1, 1, 8)))]
    outputs = [tensor("y", ["N", 2, 3]), tensor("count", [], TensorProto.INT64)]
    return model(nodes, [tensor("x", ["N", 3, "H", "W"])], outputs, [*weights, *constants])


def choosing() -> onnx.ModelProto:
    """A branch is taken by size, so it may differ from request to request."""
    then = helper.make_graph([node("Relu", ["a"], ["t"])], "then", [], [tensor("t", ["N", 8, "H", "W"])])
    other = helper.make_graph([node("Neg", ["a"], ["e"])], "else", [], [tensor("e", ["N", 8, "H", "W"])])
    first, w1 = convolution("first", "x", "a", 3, 8)
    second, w2 = convolution("second", "chosen", "y", 8, 4)
    nodes = [
        *first,
        node("Shape", ["a"], ["a.shape"], start=2, end=3),
        node("Greater", ["a.shape", "limit"], ["large"]),
        node("If", ["large"], ["chosen"], name="choose", then_branch=then, else_branch=other),
        *second,
    ]
    return model(nodes, [tensor("x", ["N", 3, "H", "W"])], [tensor("y", ["N", 4, "H", "W"])],
                 [w1, w2, constant("limit", [20], "int64")])  # fmt: skip


IMAGE = {"x": (1, 3, 16, 24)}
IMAGE_SIZES: tuple[dict[str, int], ...] = ({}, {"H": 32, "W": 8}, {"N": 4}, {"N": 2, "H": 10, "W": 30})
CASES: dict[str, tuple[Callable[[], onnx.ModelProto], Mapping[str, tuple[int, ...]], tuple[dict[str, int], ...]]] = {
    "pyramid": (pyramid, IMAGE, IMAGE_SIZES),
    "attention": (attention, {"ids": (1, 12)}, ({}, {"length": 5}, {"length": 31, "batch": 4}, {"length": 1})),
    "class_token": (class_token, IMAGE, IMAGE_SIZES),
    "choosing": (choosing, IMAGE, IMAGE_SIZES),
}


@pytest.mark.parametrize("case", CASES)
def test_every_split_equals_the_whole_at_every_size(tmp_path: Path, case: str) -> None:
    build, shapes, requests = CASES[case]
    graph, blobs, path = imported(build(), tmp_path, shapes)
    assert graph.open is not None, graph.notes
    assert len(graph.units) > 2
    for sizes in requests:
        feeds = feeds_of(graph, sizes)
        expected = original_outputs(path, feeds)
        for seed in range(6):
            assert_close(run_deployed(graph, blobs, feeds, seed), expected)


@pytest.mark.parametrize("case", CASES)
def test_a_cut_between_any_two_operators_equals_the_whole(tmp_path: Path, case: str) -> None:
    build, shapes, requests = CASES[case]
    graph, blobs, path = imported(build(), tmp_path, shapes)
    feeds = feeds_of(graph, requests[-1])
    sizes = {entry.name: np.array(feeds[entry.of].shape) for entry in graph.size_tensors if entry.producer is None}
    components = cut_deployed(graph, [[operator.name] for operator in graph.operators])
    outputs = run_components(components, blobs, {**feeds, **sizes}, graph.outputs)
    assert_close(outputs, original_outputs(path, feeds))


def test_sizes_travel_where_the_tensor_does_not(tmp_path: Path) -> None:
    graph, _, _ = imported(class_token(), tmp_path, IMAGE)
    told = {entry.of: entry for entry in graph.size_tensors}
    assert told["x"].producer is None
    assert "out" in told["x"].consumers
    listed = {entry.name: entry for entry in unit_tensors(graph)}
    size = listed[told["x"].name]
    assert (size.producer, size.nbytes, size.dtype) == (INPUT, 32, "int64")


def test_whoever_gets_a_tensor_asks_it_for_its_sizes(tmp_path: Path) -> None:
    graph, _, _ = imported(pyramid(), tmp_path, IMAGE)
    late = [name for name in ("up", "sum", "third", "third.relu", "mean") if name in graph.operator]
    early = [operator.name for operator in graph.operators if operator.name not in late]
    first, second = cut_deployed(graph, [early, late])
    assert set(first.outputs) == set(second.inputs) == {"a", "b"}


def test_bytes_grow_as_the_sizes_do(tmp_path: Path) -> None:
    graph, _, _ = imported(attention(), tmp_path, {"ids": (1, 12)})
    assert graph.open is not None
    assert [size.name for size in graph.open.sizes] == ["batch", "length"]
    assert graph.open.growth["scores"] == (1, 2)
    assert graph.open.growth["y"] == (1, 1)


def test_the_planning_shape_is_said_where_nobody_named_it(tmp_path: Path) -> None:
    graph, _, _ = imported(pyramid(), tmp_path)
    assert graph.tensors["x"].shape == (1, 3, 224, 224)
    assert any("x=1x3x224x224" in note and "--shape" in note for note in graph.notes)


def test_calibration_samples_tell_the_planning_shape(tmp_path: Path) -> None:
    onnx.save(pyramid(), str(tmp_path / "model.onnx"))
    graph = import_model(tmp_path / "model.onnx", BlobStore(tmp_path / "blobs"), samples={"x": (9, 3, 40, 48)})
    assert graph.tensors["x"].shape == (1, 3, 40, 48)


def test_a_default_is_one_that_the_model_runs_on(tmp_path: Path) -> None:
    first, w1 = convolution("first", "x", "a", 3, 8)
    proto = model([*first, node("Reshape", ["a", "to"], ["y"], name="y")], [tensor("x", ["N", 3, "H", "W"])],
                  [tensor("y", ["N", None])], [w1, constant("to", [-1, 8 * 320 * 320], "int64")])  # fmt: skip
    graph, _, _ = imported(proto, tmp_path)
    assert graph.tensors["x"].shape == (1, 3, 320, 320)


def test_where_nothing_can_be_guessed_the_command_is_said(tmp_path: Path) -> None:
    first, w1 = convolution("first", "x", "a", 3, 8)
    proto = model([*first, node("Reshape", ["a", "to"], ["y"], name="y")], [tensor("x", ["N", 3, "H", "W"])],
                  [tensor("y", ["N", None])], [w1, constant("to", [-1, 8 * 7919 * 13], "int64")])  # fmt: skip
    with pytest.raises(InvalidModel, match=r"--shape x=Nx3xNxN"):
        imported(proto, tmp_path)


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"y": (1, 3, 8, 8)}, "no input of the model"),
        ({"x": (1, 3, 8)}, "input x is Nx3xNxN"),
        ({"x": (1, 4, 8, 8)}, "input x is Nx3xNxN"),
        ({"x": (1, 3, 0, 8)}, "input x is Nx3xNxN"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(tmp_path: Path, shapes: Mapping[str, tuple[int, ...]], said: str) -> None:
    with pytest.raises(InvalidModel, match=said):
        imported(pyramid(), tmp_path, shapes)


def test_fixed_sizes_are_folded(tmp_path: Path) -> None:
    onnx.save(pyramid(), str(tmp_path / "model.onnx"))
    graph = import_model(tmp_path / "model.onnx", BlobStore(tmp_path / "blobs"), shapes=IMAGE, fixed=True)
    assert graph.open is None
    assert not any(operator.op_type == "Shape" for operator in graph.operators)


def test_marks_for_want_of_a_name_are_no_names(tmp_path: Path) -> None:
    proto, *_ = (pyramid(),)
    for dim, mark in zip(proto.graph.input[0].type.tensor_type.shape.dim, ("-1", "", "?", "?"), strict=True):
        if mark:
            dim.dim_param = mark
    graph, blobs, path = imported(proto, tmp_path, IMAGE)
    assert graph.open is not None
    assert [size.places for size in graph.open.sizes] == [(("x", 0),), (("x", 2),), (("x", 3),)]
    feeds = {"x": np.random.default_rng(0).random((2, 3, 8, 20), np.float32)}
    assert_close(run_deployed(graph, blobs, feeds, 1), original_outputs(path, feeds))


def test_a_target_shape_by_way_of_other_integers_is_followed(tmp_path: Path) -> None:
    first, w1 = convolution("first", "x", "a", 3, 8)
    second, w2 = convolution("second", "b", "y", 4, 4)
    nodes = [
        *first,
        node("Shape", ["x"], ["s"]),
        node("Cast", ["s"], ["s32"], to=TensorProto.INT32),
        node("Slice", ["s32", "v0", "v1"], ["n"]),
        node("Slice", ["s32", "v2", "v4"], ["sides"]),
        node("Concat", ["n", "four", "minus", "last"], ["to32"], axis=0),
        node("Cast", ["to32"], ["to"], to=TensorProto.INT64),
        node("Reshape", ["a", "to"], ["b"], name="b"),
        *second,
        node("Shape", ["b"], ["b.shape"]),
        node("Reshape", ["y", "b.shape"], ["z"], name="z"),
    ]
    numbers = [constant(name, [value], "int64") for name, value in (("v0", 0), ("v1", 1), ("v2", 2), ("v4", 4))]
    numbers += [constant(name, [value], "int32") for name, value in (("four", 4), ("minus", -1), ("last", 8))]
    proto = model([step for step in nodes if step.output[0] != "sides"], [tensor("x", ["N", 3, "H", "W"])],
                  [tensor("z", ["N", 4, None, 8])], [w1, w2, *numbers])  # fmt: skip
    graph, blobs, path = imported(proto, tmp_path, IMAGE)
    assert graph.open is not None, graph.notes
    feeds = feeds_of(graph, {"N": 3, "H": 8})
    for seed in range(4):
        assert_close(run_deployed(graph, blobs, feeds, seed), original_outputs(path, feeds))


def test_a_mode_and_the_batch_of_a_state_are_guessed(tmp_path: Path) -> None:
    """As voice detectors have it: a sampling rate that a branch compares, and a state of [2, batch, width]."""
    body = [node("Concat", ["half", "half"], ["wide"], axis=1), node("Add", ["wide", "state"], ["t"])]
    then = helper.make_graph(body, "then", [], [tensor("t", [2, None, 8])])
    other = helper.make_graph([node("Reshape", ["x", "odd"], ["e"])], "else", [], [tensor("e", [7919])])
    nodes = [
        node("Equal", ["rate", "wanted"], ["is_wide"], name="is_wide"),
        node("MatMul", ["x", "w"], ["half"], name="half"),
        node("If", ["is_wide"], ["y"], name="choose", then_branch=then, else_branch=other),
    ]
    inputs = [tensor("x", ["batch", 6]), tensor("state", [2, None, 8]), tensor("rate", [], TensorProto.INT64)]
    weights = [weight("w", 6, 4), constant("wanted", 16000, "int64"), constant("odd", [7919], "int64")]
    graph, _, _ = imported(model(nodes, inputs, [tensor("y", [2, None, 8])], weights), tmp_path)
    assert graph.tensors["state"].shape == (2, 1, 8)


def test_channels_that_meet_a_weight_are_planned_as_it_asks(tmp_path: Path) -> None:
    """Of a sound whose axes are all open: batch, channels, length."""
    nodes = [
        node("Conv", ["x", "w1"], ["a"], name="a", pads=[1, 1]),
        node("Transpose", ["a"], ["t"], name="t", perm=[0, 2, 1]),
        node("Add", ["t", "bias"], ["y"], name="y"),
    ]
    inputs = [tensor("x", ["n", "c", "length"])]
    proto = model(nodes, inputs, [tensor("y", ["n", "length", 8])], [weight("w1", 8, 5, 3), weight("bias", 8)])
    graph, _, _ = imported(proto, tmp_path)
    assert graph.tensors["x"].shape[:2] == (1, 5)


def test_a_fault_in_making_the_open_form_leaves_a_model_of_one_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a")

    monkeypatch.setattr("edgesplit_controller.graph.importing.importer.separated", broken)
    graph, blobs, path = imported(pyramid(), tmp_path, IMAGE)
    assert graph.open is None
    assert any("fault of edgesplit's own (KeyError)" in note for note in graph.notes)
    assert_split_equals_whole(graph, blobs, path, [0])
