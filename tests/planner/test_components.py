"""Components: few, never idle, and never in a cycle."""

from __future__ import annotations

import itertools

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Link, Node, Objective, Operator, Problem, Tensor
from edgesplit_controller.planner import evaluate
from edgesplit_controller.planner.meaning.components import graph_of, level_groupings

NODES = ("device", "edge", "cloud")


def problem_of(edges: list[tuple[str, str]], names: list[str], *, model: str = "sum") -> Problem:
    return Problem(
        model="m",
        source="device",
        nodes=tuple(Node(name=n, compute_power_w=1, transmit_power_w=1) for n in NODES),
        links=tuple(
            Link(source=a, target=b, bandwidth_bytes_per_s=10, latency_s=0.1) for a in NODES for b in NODES if a != b
        ),
        operators=tuple(
            Operator(name=n, time_s=dict.fromkeys(NODES, 1.0), members=(f"{n}/x", f"{n}/y")) for n in names
        ),
        tensors=tuple(Tensor(name=f"{a}-{b}", bytes=1, producer=a, consumers=(b,)) for a, b in dict.fromkeys(edges)),
        objective=Objective(latency_model="sum" if model == "sum" else "critical-path"),
    )


def test_two_parts_of_a_node_around_another_nodes_part_are_two_components() -> None:
    problem = problem_of([("a1", "b"), ("b", "a2"), ("a1", "a2")], ["a1", "b", "a2"])
    found = evaluate(problem, Assignment({"a1": "device", "b": "edge", "a2": "device"})).components
    assert [(c.node, c.operators) for c in found] == [
        ("device", ("a1/x", "a1/y")),
        ("edge", ("b/x", "b/y")),
        ("device", ("a2/x", "a2/y")),
    ]
    assert found[2].inputs == ("b-a2", "a1-a2")
    assert found[0].outputs == ("a1-b", "a1-a2")


def test_independent_branches_of_one_node_are_one_component() -> None:
    problem = problem_of([("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")], ["a", "b", "c", "d"])
    found = evaluate(problem, Assignment({"a": "device", "b": "edge", "c": "edge", "d": "device"})).components
    assert [c.node for c in found] == ["device", "edge", "device"]


@st.composite
def placed_graphs(draw: st.DrawFn) -> tuple[list[tuple[str, str]], dict[str, str]]:
    count = draw(st.integers(1, 14))
    names = [f"o{i}" for i in range(count)]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    edges = draw(st.lists(st.sampled_from(pairs), max_size=30)) if pairs else []
    return edges, {name: draw(st.sampled_from(NODES)) for name in names}


@pytest.mark.parametrize("model", ["sum", "critical-path"])
@settings(max_examples=60, deadline=None)
@given(placed=placed_graphs())
def test_no_assignment_makes_a_cycle_or_an_idle_component(
    model: str, placed: tuple[list[tuple[str, str]], dict[str, str]]
) -> None:
    edges, node_of = placed
    problem = problem_of(edges, list(node_of), model=model)
    found = evaluate(problem, Assignment(node_of)).components
    of = {member.removesuffix("/x"): c.id for c in found for member in c.operators}
    graph: networkx.DiGraph[int] = networkx.DiGraph()
    graph.add_nodes_from(c.id for c in found)
    graph.add_edges_from((of[a], of[b]) for a, b in edges if of[a] != of[b])
    assert networkx.is_directed_acyclic_graph(graph)
    assert all(a < b for a, b in graph.edges)
    assert sorted(m for c in found for m in c.operators) == sorted(f"{n}/{s}" for n in node_of for s in "xy")
    assert all(c.operators and {node_of[m[:-2]] for m in c.operators} == {c.node} for c in found)


@settings(max_examples=60, deadline=None)
@given(placed=placed_graphs())
def test_merged_components_are_never_more_than_levels(placed: tuple[list[tuple[str, str]], dict[str, str]]) -> None:
    edges, node_of = placed
    problem = problem_of(edges, list(node_of))
    graph = graph_of(problem)
    fewest = min(len(grouping) for grouping in level_groupings(graph, node_of))
    assert len(evaluate(problem, Assignment(node_of)).components) <= fewest


@settings(max_examples=80, deadline=None)
@given(placed=placed_graphs())
def test_no_two_components_could_be_one(placed: tuple[list[tuple[str, str]], dict[str, str]]) -> None:
    edges, node_of = placed
    found = evaluate(problem_of(edges, list(node_of)), Assignment(node_of)).components
    of = {member.removesuffix("/x"): c.id for c in found for member in c.operators}
    graph: networkx.DiGraph[int] = networkx.DiGraph()
    graph.add_nodes_from(c.id for c in found)
    graph.add_edges_from((of[a], of[b]) for a, b in edges if of[a] != of[b])
    for first, second in itertools.combinations(found, 2):
        if first.node == second.node:
            merged = networkx.contracted_nodes(graph, first.id, second.id, self_loops=False)
            assert not networkx.is_directed_acyclic_graph(merged)


@settings(max_examples=80, deadline=None)
@given(placed=placed_graphs())
def test_every_cut_is_between_components_of_different_nodes_or_waits_for_one(
    placed: tuple[list[tuple[str, str]], dict[str, str]],
) -> None:
    edges, node_of = placed
    found = evaluate(problem_of(edges, list(node_of), model="critical-path"), Assignment(node_of)).components
    of = {member.removesuffix("/x"): c.id for c in found for member in c.operators}
    for component in found:
        crossing = {f"{a}-{b}" for a, b in edges if of[a] == component.id != of[b]}
        arriving = {f"{a}-{b}" for a, b in edges if of[b] == component.id != of[a]}
        assert set(component.outputs) == crossing
        assert set(component.inputs) == arriving
