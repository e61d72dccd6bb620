"""Submodels: what they hold, and how quantized tensors cross a cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.cut import cut
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.runner import open_session
from edgesplit_controller.graph.unit_tensors import INPUT, OUTPUT, unit_tensors
from tests.graph.support import assert_close, constant, imported, model, random_feeds, run_components, tensor

node = helper.make_node


def chain(folder: Path) -> tuple[ModelGraph, BlobStore, Path]:
    """Three products; the first one's result is read by both others, and is an output."""
    draw = np.random.default_rng(0)
    weights = [constant(name, draw.random((20, 20)) - 0.5) for name in ("w1", "w2", "w3")]
    nodes = [
        node("MatMul", ["x", "w1"], ["a"], name="first"),
        node("MatMul", ["a", "w2"], ["b"], name="second"),
        node("MatMul", ["b", "w3"], ["c"], name="third"),
        node("Add", ["a", "c"], ["y"], name="sum"),
    ]
    return imported(model(nodes, [tensor("x", [4, 20])], [tensor("y", [4, 20]), tensor("a", [4, 20])], weights), folder)


def test_a_component_holds_its_operators_and_weights_only(tmp_path: Path) -> None:
    graph, blobs, _ = chain(tmp_path)
    outer, inner = cut(graph.proto, [["first", "third", "sum"], ["second"]], graph.tensors)
    assert [entry.name for entry in inner.proto.graph.node] == ["second"]
    assert [weight.name for weight in inner.weights] == ["w2"]
    assert inner.weights[0].shape == (20, 20)
    assert inner.weights[0].dtype == "float32"
    assert inner.weights[0].nbytes == blobs.nbytes(inner.weights[0].digest) == 1600
    assert (inner.inputs, inner.outputs) == (("a",), ("b",))
    assert outer.inputs == ("x", "b")
    assert set(outer.outputs) == {"a", "y"}


def test_components_pass_the_checker_beside_their_blobs(tmp_path: Path) -> None:
    graph, blobs, _ = chain(tmp_path)
    for component in cut(graph.proto, [["first"], ["second", "third"], ["sum"]], graph.tensors):
        saved = blobs.folder / "component.onnx"
        onnx.save(component.proto, str(saved))
        onnx.checker.check_model(str(saved), full_check=True)


def test_operators_in_no_group_are_somebody_elses(tmp_path: Path) -> None:
    graph, _, _ = chain(tmp_path)
    (only,) = cut(graph.proto, [["second"]], graph.tensors)
    assert (only.inputs, only.outputs) == (("a",), ("b",))


def test_groups_must_name_operators_once(tmp_path: Path) -> None:
    graph, _, _ = chain(tmp_path)
    with pytest.raises(ValueError, match="not in the graph"):
        cut(graph.proto, [["nobody"]], graph.tensors)
    with pytest.raises(ValueError, match="two groups"):
        cut(graph.proto, [["first"], ["first"]], graph.tensors)


def quantized(graph: ModelGraph) -> onnx.ModelProto:
    """Put a QuantizeLinear and a DequantizeLinear behind the first product, under the old name."""
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    nodes = list(proto.graph.node)
    first = next(entry for entry in nodes if entry.name == "first")
    first.output[0] = "a_float"
    quantize = node("QuantizeLinear", ["a_float", "scale", "zero"], ["a@int8"], name="q")
    dequantize = node("DequantizeLinear", ["a@int8", "scale", "zero"], ["a"], name="dq")
    kept = [first, quantize, dequantize, *(entry for entry in nodes if entry.name != "first")]
    copies = [onnx.NodeProto.FromString(entry.SerializeToString()) for entry in kept]
    del proto.graph.node[:]
    proto.graph.node.extend(copies)
    proto.graph.initializer.extend([constant("scale", 0.05), constant("zero", 128, "uint8")])
    return proto


GROUPS = [
    [["first"], ["second"], ["third"], ["sum"]],
    [["first", "second"], ["third", "sum"]],
    [["first"], ["second", "third"], ["sum"]],
    [["first", "second", "third", "sum"]],
    [["first"], ["second", "third", "sum"]],
]


@pytest.mark.parametrize("groups", GROUPS)
def test_a_quantized_operators_output_crosses_as_int8(tmp_path: Path, groups: list[list[str]]) -> None:
    graph, blobs, _ = chain(tmp_path)
    proto = quantized(graph)
    components = cut(proto, groups, graph.tensors, owner={"q": "first"}, replicated=["dq"])
    feeds = random_feeds(graph)
    expected = dict(zip(graph.outputs, open_session(proto, blobs).run(list(graph.outputs), feeds), strict=True))
    values = run_components(components, blobs, feeds, graph.outputs)
    assert_close(values, expected)
    crossing = {name for component in components for name in component.inputs}
    assert "a" not in crossing
    outside = [component for component in components if "a@int8" in component.inputs]
    assert all(any(entry.name == "dq" for entry in part.proto.graph.node) for part in outside)
    made = [component for component in components if "a" in component.outputs]
    assert [entry.name for part in made for entry in part.proto.graph.node if entry.name == "first"] == ["first"]


def test_tensors_between_units_are_listed_once_with_input_and_output(tmp_path: Path) -> None:
    graph, _, _ = chain(tmp_path)
    listed = {entry.name: entry for entry in unit_tensors(graph)}
    assert (listed["x"].producer, listed["x"].consumers) == (INPUT, ("first",))
    assert listed["a"].consumers == ("second", graph.unit_of["sum"], OUTPUT)
    assert listed["y"].consumers == (OUTPUT,)
    assert listed["a"].nbytes == 4 * 4 * 20
    assert sum(len(unit.operators) for unit in graph.units) == 4
