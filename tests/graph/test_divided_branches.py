"""Large branches are divided: every split gives what the file gives, whichever branch is taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.graph.support import assert_close, constant, imported, model, original_outputs, run_deployed, tensor

node = helper.make_node
DRAW = np.random.default_rng(5)
WIDTH = 12
EVERY = 6


def layers(prefix: str, count: int, source: str) -> list[onnx.NodeProto]:
    """Matrix products with weights of the branch's own, some as initializers and some as constants."""
    nodes: list[onnx.NodeProto] = []
    for index in range(count):
        values = DRAW.normal(0, 0.3, (WIDTH, WIDTH)).astype(np.float32)
        nodes += [
            node("Constant", [], [f"{prefix}{index}.w"], value=constant("", values)),
            node("MatMul", [source, f"{prefix}{index}.w"], [f"{prefix}{index}.m"], name=f"{prefix}{index}"),
            node("Tanh", [f"{prefix}{index}.m"], [f"{prefix}{index}"]),
        ]
        source = f"{prefix}{index}"
    return nodes


def modes() -> onnx.ModelProto:
    """Two networks of different length under one condition; both use the same inner names, as exporters do."""
    skip = [
        node("Add", ["a5", "a0"], ["sum"]),
        node("Cast", ["a2"], ["early"], to=TensorProto.DOUBLE),
        node("Identity", ["x"], ["same"]),
    ]
    then = helper.make_graph(
        [*layers("a", EVERY, "h"), *skip], "then", [],
        [tensor("sum", ["N", WIDTH]), tensor("early", ["N", WIDTH], TensorProto.DOUBLE), tensor("same", ["N", WIDTH])],
    )  # fmt: skip
    inner = helper.make_graph([node("Neg", ["a1"], ["t"])], "inner", [], [tensor("t", ["N", WIDTH])])
    outer = helper.make_graph([node("Add", ["a1", "a0"], ["t"])], "outer", [], [tensor("t", ["N", WIDTH])])
    other_nodes = [
        *layers("a", 3, "h"),
        node("If", ["is_odd"], ["picked"], name="nested", then_branch=inner, else_branch=outer),
        node("Add", ["picked", "bias"], ["sum"]),
        node("Cast", ["a0"], ["early"], to=TensorProto.DOUBLE),
        node("Identity", ["sum"], ["third"]),
    ]
    other = helper.make_graph(
        other_nodes, "else", [],
        [tensor("sum", ["N", WIDTH]), tensor("early", ["N", WIDTH], TensorProto.DOUBLE), tensor("third", ["N", WIDTH])],
        [constant("bias", DRAW.normal(size=WIDTH))],
    )  # fmt: skip
    nodes = [
        node("Equal", ["mode", "wanted"], ["is_wanted"], name="is_wanted"),
        node("Equal", ["mode", "three"], ["is_odd"], name="is_odd"),
        node("Relu", ["x"], ["h"], name="h"),
        node("If", ["is_wanted"], ["y", "early_y", "third_y"], name="choose", then_branch=then, else_branch=other),
        node("Add", ["y", "third_y"], ["z"], name="z"),
    ]
    outputs = [tensor("z", ["N", WIDTH]), tensor("early_y", ["N", WIDTH], TensorProto.DOUBLE)]
    weights = [constant("wanted", 7, "int64"), constant("three", 3, "int64")]
    return model(nodes, [tensor("x", ["N", WIDTH]), tensor("mode", [], TensorProto.INT64)], outputs, weights)


@pytest.mark.parametrize("mode", [7, 3, 0])
def test_every_split_equals_the_file_in_every_mode(tmp_path: Path, mode: int) -> None:
    graph, blobs, path = imported(modes(), tmp_path)
    assert graph.open is not None
    for rows in (1, 4):
        feeds = {"x": DRAW.normal(size=(rows, WIDTH)).astype(np.float32), "mode": np.array(mode)}
        expected = original_outputs(path, feeds)
        for seed in range(4):
            assert_close(run_deployed(graph, blobs, feeds, seed), expected)


def test_the_parts_of_a_branch_are_units_of_their_own(tmp_path: Path) -> None:
    graph, _, _ = imported(modes(), tmp_path)
    parts = [operator.name for operator in graph.operators if operator.op_type == "If"]
    assert len(parts) == EVERY
    assert len({graph.unit_of[name] for name in parts}) == EVERY
    assert any("branches" in note for note in graph.notes)


def test_a_small_branch_stays_one(tmp_path: Path) -> None:
    then = helper.make_graph(layers("a", 2, "x"), "then", [], [tensor("a1", [1, WIDTH])])
    other = helper.make_graph([node("Neg", ["x"], ["e"])], "else", [], [tensor("e", [1, WIDTH])])
    nodes = [
        node("Equal", ["mode", "wanted"], ["is_wanted"], name="is_wanted"),
        node("If", ["is_wanted"], ["y"], name="choose", then_branch=then, else_branch=other),
    ]
    proto = model(nodes, [tensor("x", [1, WIDTH]), tensor("mode", [], TensorProto.INT64)], [tensor("y", [1, WIDTH])],
                  [constant("wanted", 7, "int64")])  # fmt: skip
    graph, _, _ = imported(proto, tmp_path)
    assert [operator.name for operator in graph.operators if operator.op_type == "If"] == ["choose"]
