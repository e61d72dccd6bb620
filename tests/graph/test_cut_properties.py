"""For any graph and any assignment: units are sound, and the parts compute what the whole computes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import networkx
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgesplit_controller.graph.cut import cut
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.quantizable import candidates
from edgesplit_controller.graph.units import find_units
from tests.graph.random_models import models
from tests.graph.support import assert_close, imported, original_outputs, random_feeds, random_groups, run_components


def check_units(graph: ModelGraph, splittable: set[str]) -> None:
    placed = [name for unit in graph.units for name in unit.operators]
    assert sorted(placed) == sorted(operator.name for operator in graph.operators)
    unit_of = graph.unit_of
    rank = {unit.name: index for index, unit in enumerate(graph.units)}
    assert len(rank) == len(graph.units)
    quotient: networkx.DiGraph[str] = networkx.DiGraph()
    edges = [(tensor.producer, tensor.consumers, True) for tensor in graph.tensors.values()]
    edges += [(entry.producer, entry.consumers, False) for entry in graph.size_tensors]
    for producer, consumers, carries in edges:
        if producer is None:
            continue
        for consumer in consumers:
            producing, consuming = unit_of[producer], unit_of[consumer]
            if producing != consuming:
                quotient.add_edge(producing, consuming)
                assert rank[producing] < rank[consuming]
            else:
                assert not carries or producer not in splittable
    assert networkx.is_directed_acyclic_graph(quotient)
    for unit in graph.units:
        inside = splittable & set(unit.operators)
        assert len(inside) <= 1
        assert not inside or unit.name in inside


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(proto=models(), limit=st.integers(0, 4))
def test_units_partition_the_operators_without_cycles(proto: onnx.ModelProto, limit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        graph, _, _ = imported(proto, Path(folder))
    splittable = set(candidates(graph, limit))
    check_units(
        graph.with_units(find_units(graph.operators, graph.tensors, splittable, graph.size_tensors)), splittable
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(proto=models(), seed=st.integers(0, 10_000))
def test_the_parts_of_any_assignment_compute_the_whole(proto: onnx.ModelProto, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        graph, blobs, path = imported(proto, Path(folder))
        feeds = random_feeds(graph, seed)
        components = cut(graph.proto, random_groups(graph, seed), graph.tensors)
        assert sum(len(part.proto.graph.node) for part in components) == len(graph.operators)
        assert_close(run_components(components, blobs, feeds, graph.outputs), original_outputs(path, feeds))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(proto=models(), seed=st.integers(0, 10_000))
def test_a_cut_between_any_two_operators_computes_the_whole(proto: onnx.ModelProto, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        graph, blobs, path = imported(proto, Path(folder))
        single = graph.with_units(
            find_units(graph.operators, graph.tensors, [o.name for o in graph.operators], graph.size_tensors)
        )
        feeds = random_feeds(graph, seed)
        components = cut(graph.proto, random_groups(single, seed), graph.tensors)
        assert_close(run_components(components, blobs, feeds, graph.outputs), original_outputs(path, feeds))
