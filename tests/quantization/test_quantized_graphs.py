"""Quantized graphs: form, fusion, opsets, closeness to the float model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgesplit.errors import InvalidModel
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.quantization.calibration import load_calibration
from edgesplit_controller.quantization.noise.noise_model import calibrate
from edgesplit_controller.quantization.opset import upgrade_opset
from edgesplit_controller.quantization.qdq import QuantizedModel, Ranges, quantize
from edgesplit_controller.quantization.sites import quantizable
from edgesplit_controller.quantization.weights import read_initializer
from tests.quantization.support import Network, branched, imported, optimised_kinds, run

FEED = {"image": np.random.default_rng(7).random((1, 3, 20, 20)).astype(np.float32)}
Prepared = tuple[ModelGraph, BlobStore, tuple[str, ...], Ranges]


def prepare(proto: onnx.ModelProto, folder: Path) -> Prepared:
    graph, blobs, chosen = imported(proto, folder)
    return graph, blobs, chosen, calibrate(graph, blobs, chosen, load_calibration(None, graph))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(branched(), tmp_path_factory.mktemp("model"))


def relative_noise(reference: list[NDArray[np.float32]], noisy: list[NDArray[np.float32]]) -> float:
    return max(
        float(np.abs(one - other).mean() / np.abs(one).mean()) for one, other in zip(reference, noisy, strict=True)
    )


def node(model: QuantizedModel, name: str) -> onnx.NodeProto:
    return next(entry for entry in model.proto.graph.node if entry.name == name)


def initializer(model: QuantizedModel, blobs: BlobStore, name: str) -> NDArray[Any]:
    return read_initializer(next(entry for entry in model.proto.graph.initializer if entry.name == name), blobs)


def test_all_forms_of_candidates_are_found(prepared: Prepared) -> None:
    assert prepared[2] == ("stem", "left", "right", "depth", "row1", "row2", "head", "scores")


def test_quantizing_nothing_leaves_the_model_as_it_is(prepared: Prepared) -> None:
    graph, blobs, _, _ = prepared
    model = quantize(graph, blobs, (), {})
    assert model.proto == graph.proto
    assert (model.owner, model.replicated, model.wire) == ({}, frozenset(), {})


def test_quantizing_leaves_the_float_graph_alone(prepared: Prepared) -> None:
    graph, blobs, chosen, ranges = prepared
    before = graph.proto.SerializeToString(deterministic=True)
    quantize(graph, blobs, chosen, ranges)
    assert graph.proto.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("opset", [9, 10, 11, 12, 13, 17, 21])
def test_every_opset_runs_in_integer_kernels_and_stays_close(opset: int, tmp_path: Path) -> None:
    proto = branched(opset=opset)
    graph, blobs, chosen, ranges = prepare(proto, tmp_path)
    model = quantize(graph, blobs, chosen, ranges)
    kinds = Counter(optimised_kinds(model.proto, blobs, tmp_path))
    assert kinds["QLinearConv"] == 6
    assert kinds["QGemm"] == 1
    assert kinds["QLinearMatMul"] == 1
    assert kinds["Conv"] + kinds["Gemm"] + kinds["MatMul"] + kinds["BatchNormalization"] == 0
    assert 0 < relative_noise(run(graph.proto, blobs, FEED), run(model.proto, blobs, FEED)) < 0.05


def test_neighbours_exchange_integers_without_a_round_trip(prepared: Prepared, tmp_path: Path) -> None:
    graph, blobs, _, ranges = prepared
    model = quantize(graph, blobs, ("row1", "row2"), ranges)
    assert node(model, "row2").input[0] == "row1.out"
    assert node(model, "row1:output-dequantize").output[0] == "row1.out"
    assert optimised_kinds(model.proto, blobs, tmp_path).count("QuantizeLinear") == 1


def test_relu_between_quantized_operators_costs_no_round_trip(tmp_path: Path) -> None:
    net = Network()
    first = net.add("Relu", "relu", [net.conv("first", "image", (3, 8))])
    second = net.conv("second", first, (8, 4))
    graph, blobs, chosen, ranges = prepare(net.proto((1, 3, 20, 20), {second: (1, 4, 20, 20)}), tmp_path)
    model = quantize(graph, blobs, chosen, ranges)
    kinds = Counter(optimised_kinds(model.proto, blobs, tmp_path))
    assert (kinds["QuantizeLinear"], kinds["DequantizeLinear"], kinds["Relu"]) == (1, 1, 0)
    assert initializer(model, blobs, "first.out:zero-point") == 0
    assert initializer(model, blobs, "second.out:zero-point") > 0


def test_operators_that_read_the_same_tensor_share_its_round_trip(prepared: Prepared) -> None:
    graph, blobs, _, ranges = prepared
    model = quantize(graph, blobs, ("left", "right"), ranges)
    assert node(model, "left").input[0] == node(model, "right").input[0] == "stem.relu.out@rounded"
    assert {"stem.relu.out:quantize", "stem.relu.out:dequantize"} <= model.replicated


def test_normalisation_is_folded_and_its_operator_dequantizes(prepared: Prepared) -> None:
    graph, blobs, _, ranges = prepared
    model = quantize(graph, blobs, ("stem",), ranges)
    folded = node(model, "stem.norm")
    assert (folded.op_type, folded.input[0], folded.output[0]) == ("DequantizeLinear", "stem.out@int8", "stem.norm.out")
    assert model.replicated == {"image:quantize", "image:dequantize"}
    assert model.wire == {"stem.out": "stem.out@int8"}
    assert relative_noise(run(graph.proto, blobs, FEED), run(model.proto, blobs, FEED)) < 0.02


def test_normalisation_is_kept_when_others_read_the_convolution(tmp_path: Path) -> None:
    net = Network()
    conv = net.conv("conv", "image", (3, 8))
    net.add("Add", "sum", [conv, net.norm("norm", conv, 8)])
    graph, blobs, chosen, ranges = prepare(net.proto((1, 3, 20, 20), {"sum.out": (1, 8, 20, 20)}), tmp_path)
    model = quantize(graph, blobs, chosen, ranges)
    assert node(model, "norm").op_type == "BatchNormalization"
    assert relative_noise(run(graph.proto, blobs, FEED), run(model.proto, blobs, FEED)) < 0.03


def test_clip_bounds_the_quantized_range(tmp_path: Path) -> None:
    net = Network()
    bounds = [net.constant(name, np.array(value, np.float32)) for name, value in (("low", 0.0), ("high", 0.25))]
    net.add("Clip", "clip", [net.conv("conv", "image", (3, 8)), *bounds])
    graph, blobs, chosen, ranges = prepare(net.proto((1, 3, 20, 20), {"clip.out": (1, 8, 20, 20)}), tmp_path)
    model = quantize(graph, blobs, chosen, ranges)
    assert float(initializer(model, blobs, "conv.out:scale").item()) == pytest.approx(0.25 / 255)


def test_each_added_node_has_one_owner_or_is_replicated(prepared: Prepared) -> None:
    graph, blobs, chosen, ranges = prepared
    model = quantize(graph, blobs, chosen, ranges)
    operators = {operator.name for operator in graph.operators}
    names = [entry.name for entry in model.proto.graph.node]
    assert len(set(names)) == len(names)
    for name in names:
        assert (name in operators) + (name in model.owner) + (name in model.replicated) == 1
    assert set(model.owner.values()) == set(chosen)
    assert all(node(model, name).op_type.endswith("uantizeLinear") for name in model.replicated)


def test_wire_tensors_are_bytes_of_the_float_tensors_shape(prepared: Prepared) -> None:
    graph, blobs, chosen, ranges = prepared
    model = quantize(graph, blobs, chosen, ranges)
    described = {entry.name: entry.type.tensor_type for entry in model.proto.graph.value_info}
    assert set(model.wire) == {f"{name}.out" for name in chosen}
    for tensor, wire in model.wire.items():
        assert described[wire].elem_type == TensorProto.UINT8
        assert tuple(dim.dim_value for dim in described[wire].shape.dim) == graph.tensors[tensor].shape


def test_large_integer_weights_are_blobs_a_quarter_of_the_size(prepared: Prepared) -> None:
    graph, blobs, _, ranges = prepared
    model = quantize(graph, blobs, ("left",), ranges)
    entry = next(entry for entry in model.proto.graph.initializer if entry.name == "left:weight-integers")
    assert entry.data_location == TensorProto.EXTERNAL
    assert blobs.nbytes(entry.external_data[0].value) * 4 == 16 * 16 * 9 * 4
    assert "left.w" not in {entry.name for entry in model.proto.graph.initializer}


def test_a_weight_shared_with_a_float_operator_stays(tmp_path: Path) -> None:
    net = Network()
    first = net.conv("first", "image", (3, 3), bias=False)
    second = net.add("Conv", "second", [first, "first.w"], pads=[1, 1, 1, 1])
    graph, blobs, chosen, ranges = prepare(net.proto((1, 3, 20, 20), {second: (1, 3, 20, 20)}), tmp_path)
    model = quantize(graph, blobs, ("first",), ranges)
    assert chosen == ("first", "second")
    assert relative_noise(run(graph.proto, blobs, FEED), run(model.proto, blobs, FEED)) < 0.03


@pytest.mark.parametrize(
    ("operators", "ranges", "said"),
    [
        (("nobody",), {}, "'nobody' is not in the model"),
        (("stem.relu",), {}, r"'stem.relu' \(Relu\) has no int8 form"),
        (("left",), {}, "was not calibrated"),
    ],
)
def test_what_cannot_be_quantized_is_named(
    prepared: Prepared, operators: tuple[str, ...], ranges: Ranges, said: str
) -> None:
    graph, blobs, _, _ = prepared
    with pytest.raises(InvalidModel, match=said):
        quantize(graph, blobs, operators, ranges)


def test_opset_9_operators_with_changed_forms_compute_the_same_at_10(tmp_path: Path) -> None:
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    nodes = [
        helper.make_node("Slice", ["image"], ["cut"], name="cut", starts=[2, 1], ends=[9, -1], axes=[2, 3]),
        helper.make_node("Slice", ["cut"], ["head"], name="head", starts=[0, 0], ends=[1, 2]),
        helper.make_node("Upsample", ["head", "scales"], ["large"], name="large", mode="nearest"),
        helper.make_node("TopK", ["large"], ["top", "index"], name="top", k=3, axis=2),
    ]
    described = helper.make_tensor_value_info
    outputs = [described("top", TensorProto.FLOAT, (1, 2, 3, 36)), described("index", TensorProto.INT64, (1, 2, 3, 36))]
    inputs = [described("image", TensorProto.FLOAT, (1, 3, 20, 20))]
    proto = helper.make_model(
        helper.make_graph(nodes, "old", inputs, outputs, [scales]),
        opset_imports=[helper.make_opsetid("", 9)],
        ir_version=8,
    )
    before = proto.SerializeToString(deterministic=True)
    upgraded = upgrade_opset(proto)
    onnx.checker.check_model(upgraded, full_check=True)
    blobs = BlobStore(tmp_path)
    for one, other in zip(run(proto, blobs, FEED), run(upgraded, blobs, FEED), strict=True):
        assert np.array_equal(one, other)
    assert proto.SerializeToString(deterministic=True) == before
    assert [entry.name for entry in upgraded.graph.node] == ["cut", "head", "large", "top"]


def test_opset_9_bodies_of_control_flow_are_upgraded_too(tmp_path: Path) -> None:
    described = helper.make_tensor_value_info
    result = described("cut", TensorProto.FLOAT, (1, 3, 5, 20))
    first = helper.make_node("Slice", ["image"], ["cut"], name="inner", starts=[0], ends=[5], axes=[2])
    second = helper.make_node("Slice", ["image"], ["cut"], name="inner", starts=[5], ends=[10], axes=[2])
    bodies = [helper.make_graph([node], f"body{index}", [], [result]) for index, node in enumerate((first, second))]
    choose = helper.make_node("If", ["flag"], ["y"], name="if", then_branch=bodies[0], else_branch=bodies[1])
    flag = numpy_helper.from_array(np.array(False), "flag")
    outputs = [described("y", TensorProto.FLOAT, (1, 3, 5, 20))]
    inputs = [described("image", TensorProto.FLOAT, (1, 3, 20, 20))]
    graph = helper.make_graph([choose], "old", inputs, outputs, [flag])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=8)
    (cut,) = run(upgrade_opset(proto), BlobStore(tmp_path), FEED)
    assert np.array_equal(cut, FEED["image"][:, :, 5:10])


def _one_operator(kind: str, shape: tuple[int, ...], weight: tuple[int, ...], **attributes: Any) -> onnx.ModelProto:
    net = Network()
    values = net.random.normal(0, 0.3, weight).astype(np.float32)
    net.add(kind, "op", ["image", net.constant("w", values)], **attributes)
    graph = helper.make_graph(
        net.nodes,
        "one",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("op.out", TensorProto.FLOAT, None)],
        net.weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("proto", "kernel"),
    [
        (_one_operator("Conv", (1, 4, 30), (8, 4, 3)), "QLinearConv"),
        (_one_operator("Conv", (1, 4, 6, 7, 8), (8, 4, 3, 3, 3)), "QLinearConv"),
        (_one_operator("Conv", (1, 4, 20, 20), (8, 2, 3, 3), group=2, dilations=[2, 2], strides=[2, 2]), "QLinearConv"),
        (_one_operator("MatMul", (1, 3, 10, 16), (16, 40)), "QLinearMatMul"),
        (_one_operator("Gemm", (5, 16), (16, 40)), "QGemm"),
    ],
    ids=["one dimension", "three dimensions", "groups and dilation", "batched MatMul", "Gemm without bias"],
)
def test_other_ranks_and_forms_have_integer_kernels(proto: onnx.ModelProto, kernel: str, tmp_path: Path) -> None:
    graph, blobs, chosen, ranges = prepare(proto, tmp_path)
    assert chosen == ("op",)
    model = quantize(graph, blobs, chosen, ranges)
    assert kernel in optimised_kinds(model.proto, blobs, tmp_path)
    feed = dict(load_calibration(None, graph, seed=5).samples[0])
    assert 0 < relative_noise(run(graph.proto, blobs, feed), run(model.proto, blobs, feed)) < 0.03


@pytest.mark.parametrize(
    "proto",
    [
        _one_operator("MatMul", (2, 3, 4), (2, 4, 5)),
        _one_operator("MatMul", (3, 4), (4,)),
        _one_operator("Gemm", (4, 3), (4, 5), transA=1),
        _one_operator("Gemm", (3, 4), (4, 5), alpha=0.5),
        _one_operator("ConvTranspose", (1, 4, 8, 8), (4, 2, 3, 3)),
    ],
    ids=["stack of weights", "vector", "transposed input", "scaled", "ConvTranspose"],
)
def test_forms_without_an_integer_kernel_are_not_offered(proto: onnx.ModelProto) -> None:
    assert not quantizable(proto.graph.node[0], {entry.name: entry for entry in proto.graph.initializer})


def test_the_newest_opset_is_quantized_in_a_form_that_onnxruntime_has_kernels_for(tmp_path: Path) -> None:
    graph, blobs, chosen = imported(branched(), tmp_path)
    ranges = calibrate(graph, blobs, chosen, load_calibration(None, graph, samples=4))
    graph.proto.opset_import[0].version = 28
    model = quantize(graph, blobs, chosen, ranges)
    kinds = {(node.domain, node.op_type) for node in model.proto.graph.node if node.op_type.endswith("uantizeLinear")}
    assert kinds == {("com.microsoft", "QuantizeLinear"), ("com.microsoft", "DequantizeLinear")}
    # onnxruntime may be older than the opset, which changes nothing in this model's operators.
    model.proto.opset_import[0].version = 17
    assert "QLinearConv" in optimised_kinds(model.proto, blobs, tmp_path)
