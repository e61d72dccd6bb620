"""Packed graphs: the same outputs from weights that sessions share, and a reader of models that garbage cannot harm."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgesplit.control.component_messages import ComponentSpec, GraphRef
from edgesplit.errors import PreparationFailed
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.compute.prepacking.external_data import external_entries, with_external_entries
from edgesplit_agent.compute.prepacking.packed_graphs import PackedGraphs
from edgesplit_agent.compute.runtime import RuntimeOptions, open_session
from edgesplit_agent.compute.session_pool import SessionPool
from tests.agent.graphs import Blobs, local_part

SIDE = 64


def layers(blobs: Blobs, *seeds: int) -> GraphRef:
    """One matrix product per seed, weights drawn from it and kept in blobs."""
    nodes, weights, name = [], [], "x"
    for number, seed in enumerate(seeds):
        weight = numpy_helper.from_array(np.random.default_rng(seed).random((SIDE, SIDE), np.float32), f"w{number}")
        digest = blobs.put(weight.raw_data)
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=digest)
        weights.append(weight)
        target = "y" if number == len(seeds) - 1 else f"t{number}"
        nodes.append(helper.make_node("MatMul", [name, f"w{number}"], [target], name=f"layer{number}"))
        name = target
    return stored(blobs, nodes, weights)


def stored(blobs: Blobs, nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto]) -> GraphRef:
    """A graph from x to y as a blob."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, SIDE)) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "part", ends[:1], ends[1:], initializer=weights)
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    return GraphRef(digest=blobs.put(data), nbytes=len(data))


def part(graph: GraphRef) -> ComponentSpec:
    """A component of it."""
    x, y = (TensorSpec(name=name, dtype="float32", shape=(1, SIDE)) for name in ("x", "y"))
    return ComponentSpec(component=0, graph=graph, inputs=(x,), outputs=(y,), routes=())


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    """In a cache's folder."""
    return Blobs(tmp_path / "cache")


def test_a_packed_graph_computes_what_the_graph_does(blobs: Blobs) -> None:
    graph, packed = layers(blobs, 1, 2), PackedGraphs(blobs.folder)
    assert packed.weights(graph.digest) is None
    names = packed.make(part(graph), RuntimeOptions())
    assert names
    assert packed.weights(graph.digest) == names
    x = np.random.default_rng(7).random((1, SIDE), np.float32)
    plain = open_session(blobs.folder / graph.digest, RuntimeOptions()).run(["y"], {"x": x})[0]
    again = open_session(packed.path(graph.digest), RuntimeOptions(), optimized=True).run(["y"], {"x": x})[0]
    np.testing.assert_array_equal(again, plain)


def test_packed_weights_are_named_by_what_they_hold_and_shared_by_overlapping_components(blobs: Blobs) -> None:
    packed = PackedGraphs(blobs.folder)
    first = packed.make(part(layers(blobs, 1, 2)), RuntimeOptions())
    second = packed.make(part(layers(blobs, 3, 2)), RuntimeOptions())
    assert first is not None
    assert second is not None
    assert len(first | second) == 3
    for name in first | second:
        assert hashlib.sha256((blobs.folder / name).read_bytes()).hexdigest() == name
    assert not list(blobs.folder.glob(".packing-*"))


def test_graphs_packed_at_the_same_time_do_not_sweep_each_other_away(blobs: Blobs) -> None:
    # Sixteen begin at once, again and again: a folder that is taken for a dead process's is a graph that is not packed.
    parts = [part(layers(blobs, seed)) for seed in range(96)]
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda one: PackedGraphs(blobs.folder).make(one, RuntimeOptions()), parts))
    assert all(made)
    assert not list(blobs.folder.glob(".*packing-*"))


def test_a_packed_graph_that_lost_a_weight_is_made_anew(blobs: Blobs) -> None:
    graph, packed = layers(blobs, 1, 2), PackedGraphs(blobs.folder)
    names = packed.make(part(graph), RuntimeOptions())
    assert names
    (blobs.folder / min(names)).unlink()
    assert packed.weights(graph.digest) is None
    assert packed.make(part(graph), RuntimeOptions()) == names


def test_a_damaged_weight_is_written_anew(blobs: Blobs) -> None:
    graph, packed = layers(blobs, 1, 2), PackedGraphs(blobs.folder)
    names = packed.make(part(graph), RuntimeOptions())
    assert names
    damaged = blobs.folder / min(names)
    damaged.write_bytes(bytes(damaged.stat().st_size))
    assert packed.make(part(graph), RuntimeOptions()) == names
    assert hashlib.sha256(damaged.read_bytes()).hexdigest() == damaged.name


def test_a_graph_whose_saved_form_computes_something_else_is_used_as_it_is(blobs: Blobs) -> None:
    # onnxruntime seeds a random operator by its place in the graph, which the folded product before it changes.
    factors = [numpy_helper.from_array(np.full(SIDE, value, np.float32), f"c{value}") for value in (2, 3)]
    nodes = [
        helper.make_node("Mul", ["c2", "c3"], ["six"]),
        helper.make_node("RandomUniformLike", ["x"], ["r"]),
        helper.make_node("Sum", ["x", "r", "six"], ["y"]),
    ]
    graph, packed = stored(blobs, nodes, factors), PackedGraphs(blobs.folder)
    assert packed.make(part(graph), RuntimeOptions()) is None
    assert not packed.path(graph.digest).exists()


async def test_only_the_packed_weights_of_a_component_in_use_are_kept_and_mapped(blobs: Blobs) -> None:
    graph = layers(blobs, 1, 2)
    originals = {path.name for path in blobs.folder.iterdir()} - {graph.digest}
    spec = local_part(1, graph)
    spec = type(spec)(
        epoch=1, source=spec.source, participants=spec.participants, components=(part(graph),), outputs=("y",)
    )
    pool = SessionPool(BlobCache(blobs.folder, 1, lambda: ""), RuntimeOptions())
    held, other = await asyncio.gather(pool.prepare(spec.components), pool.prepare(spec.components))
    pool.release(spec.components)
    names = PackedGraphs(blobs.folder).weights(graph.digest)
    assert names
    assert not any((blobs.folder / name).exists() for name in originals - names)
    if sys.platform == "linux":
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
        assert all(name in maps for name in names)
    x = np.ones((1, SIDE), np.float32)
    np.testing.assert_array_equal(held[0].run({"x": x}).outputs["y"], other[0].run({"x": x}).outputs["y"])
    pool.release(spec.components)
    assert not any((blobs.folder / name).exists() for name in names)
    await pool.close()


def test_only_external_data_changes_also_in_the_bodies_of_loops() -> None:
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="old")
    weight.external_data.add(key="offset", value="300")
    body = helper.make_graph([helper.make_node("Identity", ["w"], ["o"])], "body", [], [], initializer=[weight])
    node = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)
    inline = numpy_helper.from_array(np.arange(5, dtype=np.float32), "inline")
    model = helper.make_model(helper.make_graph([node], "g", [], [], initializer=[inline, weight]))
    data = model.SerializeToString()
    assert [dict(entries) for entries in external_entries(data)] == [{"location": "old", "offset": "300"}] * 3
    moved = onnx.ModelProto.FromString(
        with_external_entries(data, lambda entries: {**entries, "location": "new" * 100})
    )
    for tensor in (
        moved.graph.initializer[1],
        *(attribute.g.initializer[0] for attribute in moved.graph.node[0].attribute),
    ):
        assert tensor.external_data[0].value == "new" * 100
        tensor.external_data[0].value = "old"
    assert moved.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_has_no_weights(data: bytes) -> None:
    try:
        external_entries(data)
    except PreparationFailed:
        return
