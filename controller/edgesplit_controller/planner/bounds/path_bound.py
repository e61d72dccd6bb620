"""Critical-path bound: a lower bound of the makespan from one path.

Owns: choosing a path through the graph and the least time any placement needs along it. Its rule: valid for every
plan, because what lies on a path runs one after the other. Not here: resources, which only make plans later.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.indexed_plan import Plan
from edgesplit_controller.planner.meaning.measures import LATENCY

__all__ = ["least_latency_s"]

Floats = NDArray[np.float64]


def least_latency_s(costs: Costs, domain: NDArray[np.bool_], plan: Plan) -> float:
    """Least time along the path that is longest in a known plan.

    Args:
        costs: The problem's.
        domain: Nodes each operator may run on, shape (operators, nodes).
        plan: A known one; it only guides the choice of the path.

    Returns:
        A latency no plan is below. [s]
    """
    fastest = np.minimum(costs.compute[LATENCY], costs.quantized_compute[LATENCY])
    fastest = np.where(domain, fastest, np.inf)
    transfers_s: dict[tuple[int, int], Floats] = {}
    for tensor in costs.tensors:
        transfer_s = np.min([m.transfer[LATENCY] + _encode_s(m.encode[LATENCY]) for m in tensor.modes], axis=0)
        for consumer in tensor.consumers:
            pair = tensor.producer, consumer
            transfers_s[pair] = np.maximum(transfers_s[pair], transfer_s) if pair in transfers_s else transfer_s
    path = _longest(costs, plan, transfers_s)
    reached = fastest[path[0]]
    for before, after in itertools.pairwise(path):
        reached = (reached[:, None] + transfers_s[before, after]).min(axis=0) + fastest[after]
    return float(reached.min())


def _encode_s(encode_s: Floats) -> Floats:
    """Paid on every transfer and not when staying."""
    return np.where(np.eye(len(encode_s), dtype=bool), 0.0, encode_s[:, None])


def _longest(costs: Costs, plan: Plan, transfers_s: dict[tuple[int, int], Floats]) -> list[int]:
    """The path that takes longest where the plan puts things."""
    count = len(costs.operators)
    own = costs.compute[LATENCY, np.arange(count), list(plan.node)].tolist()
    for operator in plan.quantized:
        own[operator] = float(costs.quantized_compute[LATENCY, operator, plan.node[operator]])
    end = list(own)
    via = [-1] * count
    # Operators are indexed in graph order, so every producer is final before it is read.
    for before, after in sorted(transfers_s):
        arrives = end[before] + float(transfers_s[before, after][plan.node[before], plan.node[after]])
        if via[after] < 0 or arrives + own[after] > end[after]:
            end[after], via[after] = arrives + own[after], before
    path = [int(np.argmax(end))]
    while via[path[-1]] >= 0:
        path.append(via[path[-1]])
    return path[::-1]
