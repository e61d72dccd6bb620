"""Components of a plan: an acyclic partition of the operators of each node into submodels.

Owns: which operators of one node run as one submodel. Its rule: the graph of components is acyclic, whatever the
assignment. Not here: time (a caller picks among groupings by their timelines) and ONNX.

Two constructions, both acyclic by an invariant that grows along every edge:

* Levels. `level(o)` is the largest over predecessors `p` of `level(p)`, plus 1 where `p` is on another node. An
  edge never lowers the level and every edge between nodes raises it, so a cycle of (node, level) groups would have
  to stay on one node and one level: one group. The mirrored construction counts levels from the end.
* Signatures. Operators of one node that wait for the same cut tensors and that the same cut tensors wait for
  can run back to back without delaying anything but late arrivals. Along every edge the first set grows and the second shrinks, and
  an edge between nodes grows the first strictly: no cycle either.

Merging two groups afterwards keeps the graph acyclic exactly when no path between them passes a third one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edgesplit.planning.plan import Component
from edgesplit.planning.problem import Operator, Problem
from edgesplit.planning.problem_validation import topological_order

__all__ = [
    "Graph",
    "Grouping",
    "as_components",
    "does_work",
    "graph_of",
    "level_groupings",
    "merge_groups",
    "merge_pairs",
    "signature_grouping",
]

Grouping = tuple[tuple[str, ...], ...]
"""Groups of operators of one node each, in an order in which they may run; operators in graph order."""


@dataclass(frozen=True, slots=True)
class Graph:
    """What grouping needs of a problem, derived once.

    Attributes:
        order: Operators, producers before consumers.
        edges: Distinct pairs (producer, consumer), ordered by producer.
        reads: Tensor's index, producer and consumer, ordered by producer.
        apart: Role operators without work at the graph's rim; alone, they neither wait nor make others wait.
    """

    order: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]
    reads: tuple[tuple[int, str, str], ...]
    apart: frozenset[str]


def graph_of(problem: Problem) -> Graph:
    """Derive the graph of a valid problem."""
    order = topological_order(problem)
    position = {name: index for index, name in enumerate(order)}
    pairs = {(tensor.producer, consumer) for tensor in problem.tensors for consumer in tensor.consumers}
    edges = sorted(pairs, key=lambda pair: (position[pair[0]], position[pair[1]]))
    reads = [(i, tensor.producer, name) for i, tensor in enumerate(problem.tensors) for name in tensor.consumers]
    reads.sort(key=lambda read: position[read[1]])
    writing, reading = {producer for producer, _ in edges}, {consumer for _, consumer in edges}
    apart = frozenset(
        operator.name
        for operator in problem.operators
        if not does_work(operator) and not (operator.name in writing and operator.name in reading)
    )
    return Graph(order, tuple(edges), tuple(reads), apart)


def does_work(operator: Operator) -> bool:
    """Whether an operator is part of components at all; a role without compute is nobody's work."""
    return operator.role is None or any(time_s > 0 for time_s in operator.time_s.values())


def level_groupings(graph: Graph, node_of: Mapping[str, str]) -> tuple[Grouping, Grouping]:
    """Groups by level, counted from the inputs and counted from the outputs."""
    early: dict[str, int] = dict.fromkeys(graph.order, 0)
    for producer, consumer in graph.edges:
        early[consumer] = max(early[consumer], early[producer] + (node_of[producer] != node_of[consumer]))
    late: dict[str, int] = dict.fromkeys(graph.order, 0)
    for producer, consumer in reversed(graph.edges):
        late[producer] = max(late[producer], late[consumer] + (node_of[producer] != node_of[consumer]))
    early_groups, late_groups = (
        _grouped(graph, {n: (node_of[n], level[n], n if n in graph.apart else "") for n in graph.order})
        for level in (early, late)
    )
    return early_groups, late_groups


def signature_grouping(graph: Graph, node_of: Mapping[str, str]) -> Grouping:
    """The coarsest groups that delay nothing: same cut tensors before and after."""
    before: dict[str, int] = dict.fromkeys(graph.order, 0)
    after: dict[str, int] = dict.fromkeys(graph.order, 0)
    for tensor, producer, consumer in graph.reads:
        cut = 1 << tensor if node_of[producer] != node_of[consumer] else 0
        before[consumer] |= before[producer] | cut
    for tensor, producer, consumer in reversed(graph.reads):
        cut = 1 << tensor if node_of[producer] != node_of[consumer] else 0
        after[producer] |= after[consumer] | cut
    apart = graph.apart
    return _grouped(graph, {n: (node_of[n], before[n], after[n], n if n in apart else "") for n in graph.order})


def merge_pairs(graph: Graph, node_of: Mapping[str, str], groups: Grouping) -> Iterator[tuple[int, int]]:
    """Pairs of groups of one node that may become one without closing a cycle."""
    of = {name: index for index, group in enumerate(groups) for name in group}
    following = [0] * len(groups)
    preceding: list[set[int]] = [set() for _ in groups]
    for producer, consumer in graph.edges:
        if of[producer] != of[consumer]:
            following[of[producer]] |= 1 << of[consumer]
            preceding[of[consumer]].add(of[producer])
    ancestors = [0] * len(groups)
    for index, before in enumerate(preceding):
        for other in before:
            ancestors[index] |= 1 << other | ancestors[other]
    candidates = [index for index, group in enumerate(groups) if group[0] not in graph.apart]
    for place, first in enumerate(candidates):
        for second in candidates[place + 1 :]:
            # `second` comes later in order: every path between the two starts at `first`.
            if node_of[groups[first][0]] == node_of[groups[second][0]] and not following[first] & ancestors[second]:
                yield first, second


def merge_groups(graph: Graph, groups: Grouping, first: int, second: int) -> Grouping:
    """The grouping with two groups made one, in an order in which the groups may run."""
    of = {name: index for index, group in enumerate(groups) for name in group}
    return _grouped(graph, {name: first if of[name] == second else of[name] for name in graph.order})


def as_components(problem: Problem, node_of: Mapping[str, str], groups: Grouping) -> tuple[Component, ...]:
    """Describe groups as components; operators without work are left out."""
    operators = {operator.name: operator for operator in problem.operators}
    components: list[Component] = []
    for group in groups:
        working = [name for name in group if does_work(operators[name])]
        if not working:
            continue
        inside = set(working)
        inputs = [t.name for t in problem.tensors if t.producer not in inside and inside.intersection(t.consumers)]
        outputs = [t.name for t in problem.tensors if t.producer in inside and not inside.issuperset(t.consumers)]
        components.append(
            Component(
                id=len(components),
                node=node_of[group[0]],
                operators=tuple(member for name in working for member in operators[name].listed),
                inputs=tuple(inputs),
                outputs=tuple(outputs),
            )
        )
    return tuple(components)


def _grouped(graph: Graph, keys: Mapping[str, object]) -> Grouping:
    """Groups of equal key, topologically ordered; operators in graph order."""
    members: dict[object, list[str]] = {}
    for name in graph.order:
        members.setdefault(keys[name], []).append(name)
    waiting: dict[object, set[object]] = {key: set() for key in members}
    following: dict[object, list[object]] = {key: [] for key in members}
    for producer, consumer in graph.edges:
        first, second = keys[producer], keys[consumer]
        if first != second and first not in waiting[second]:
            waiting[second].add(first)
            following[first].append(second)
    ready = [key for key, predecessors in waiting.items() if not predecessors]
    result: list[tuple[str, ...]] = []
    for key in ready:
        result.append(tuple(members[key]))
        for successor in following[key]:
            waiting[successor].discard(key)
            if not waiting[successor]:
                ready.append(successor)
    if len(result) < len(members):
        raise AssertionError("the groups form a cycle, which the constructions exclude")
    return tuple(result)
