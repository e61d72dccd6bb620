"""DADS: the minimum cut of the operators' graph into two parts, between the device and one server.

Owns: the graph of flows, and reading the plan from its minimum cut. Its rule: the capacity of a cut is what its plan costs, so that the
least cut is the best partition in two, proven (max-flow, min-cut). Not here: the algorithm (networkx).

An operator hangs between both ends: cut off from the source it costs its time on the server, cut off from the server its time at the
source. A tensor costs its transfer once however many operators read it, by a vertex of its own for each direction. The paper's case of
light load (the sum of compute and transfers of one request) is the one that applies; tensors may come back, which the paper excludes and
which can only help. Of several servers the best is taken. It knows no memory: a server whose plan does not fit is left out. With weights on
both latency and energy, each counts as a multiple of its best.

References: C. Hu, W. Bao, D. Wang, F. Liu, Dynamic Adaptive DNN Surgery for Inference Acceleration on the Edge, INFOCOM 2019.
"""

from __future__ import annotations

from collections.abc import Iterator

import networkx

from edgesplit.planning.problem import Problem
from lab.baselines.prices import Cost, MethodHasNoPlan, RawPrices, weigher

__all__ = ["best_two_way_cut"]

SOURCE, SERVER = ("end", "source"), ("end", "server")
UNITS = float(2**50)
"""The largest capacity, in whole numbers: flows of floating point need not come to an end."""
_Vertex = tuple[str, str]


def best_two_way_cut(problem: Problem) -> dict[str, str]:
    """Operator to node.

    Raises:
        MethodHasNoPlan: Pins or memory leave no partition into the source and one server.
    """
    prices = RawPrices(problem)
    if not prices.others:
        raise MethodHasNoPlan("there is no server that the source can send to and hear from")
    objective = problem.objective
    alone = [cost for factors in ((1.0, 0.0), (0.0, 1.0)) for _, cost in _cuts(prices, *factors)]
    if not alone:
        raise MethodHasNoPlan("pins or memory leave no partition into the source and one server")
    per_s, per_j = weigher(objective, alone)
    found = list(_cuts(prices, per_s, per_j))
    if not found:
        raise MethodHasNoPlan("the best partition into the source and one server finds no room for its weights")
    return min(found, key=lambda one: per_s * one[1].latency_s + per_j * one[1].energy_j)[0]


def _cuts(prices: RawPrices, per_s: float, per_j: float) -> Iterator[tuple[dict[str, str], Cost]]:
    """The best partition with each server whose memory holds it."""
    for server in prices.others:
        node_of = _minimum_cut(prices, server, per_s, per_j)
        cost = prices.total(node_of) if node_of is not None else None
        if node_of is not None and cost is not None and prices.fits(node_of):
            yield node_of, cost


def _minimum_cut(prices: RawPrices, server: str, per_s: float, per_j: float) -> dict[str, str] | None:
    """The best partition with one server; None where an operator may be on neither side."""
    problem, source = prices.problem, prices.problem.source
    arcs: list[tuple[_Vertex, _Vertex, float | None]] = []

    def price(cost: Cost | None) -> float:
        assert cost is not None  # the server has both links
        return per_s * cost.latency_s + per_j * cost.energy_j

    for operator in problem.operators:
        vertex, places = ("operator", operator.name), prices.places(operator)
        if source not in places and server not in places:
            return None
        on_server = price(prices.compute(operator, server)) if server in places else None
        at_source = price(prices.compute(operator, source)) if source in places else None
        arcs += [(SOURCE, vertex, on_server), (vertex, SERVER, at_source)]
    for tensor in problem.tensors:
        producer, there, back = ("operator", tensor.producer), ("there", tensor.name), ("back", tensor.name)
        arcs.append((producer, there, price(prices.transfer(tensor, source, server))))
        arcs.append((back, producer, price(prices.transfer(tensor, server, source))))
        for consumer in tensor.consumers:
            arcs += [(there, ("operator", consumer), None), (("operator", consumer), back, None)]
    at_source_side = _partition(arcs)
    return {
        operator.name: source if ("operator", operator.name) in at_source_side else server
        for operator in problem.operators
    }


def _partition(arcs: list[tuple[_Vertex, _Vertex, float | None]]) -> set[_Vertex]:
    """The source's side of the minimum cut; an arc without a capacity is never cut."""
    scale = UNITS / (max((capacity for _, _, capacity in arcs if capacity is not None), default=0.0) or 1.0)
    graph: networkx.DiGraph[_Vertex] = networkx.DiGraph()
    graph.add_nodes_from((SOURCE, SERVER))
    for tail, head, capacity in arcs:
        if capacity is None:
            graph.add_edge(tail, head)
        else:
            graph.add_edge(tail, head, capacity=round(capacity * scale))
    _, (near, _) = networkx.minimum_cut(graph, SOURCE, SERVER)
    return set(near)
