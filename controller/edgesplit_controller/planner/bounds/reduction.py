"""The reduced problem after presolve: units of operators placed together, and their domains.

Owns: the value that presolve returns and model building reads. Its rule: it only ever removes choices that no
optimum of the objective at hand needs. Not here: how that is proven.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.disjoint_sets import DisjointSets
from edgesplit_controller.planner.meaning.costs import Costs

__all__ = ["Reduction", "count_flows", "in_graph_order", "merged", "unreduced"]


@dataclass(frozen=True, slots=True)
class Reduction:
    """Units and their domains.

    Attributes:
        units: Operators placed together, by index; in order of their first operator.
        unit_of: Operator to unit, shape (operators,).
        domain: Nodes each unit may still run on, shape (units, nodes). [bool]
    """

    units: tuple[tuple[int, ...], ...]
    unit_of: NDArray[np.intp]
    domain: NDArray[np.bool_]


def unreduced(costs: Costs) -> Reduction:
    """Every operator its own unit, free as far as the problem allows."""
    count = len(costs.operators)
    return Reduction(tuple((index,) for index in range(count)), np.arange(count), costs.allowed.copy())


def count_flows(costs: Costs, reduction: Reduction) -> int:
    """Joint choices a model of this reduction would have, an estimate of its size."""
    sizes = reduction.domain.sum(axis=1)
    total = 0
    for tensor in costs.tensors:
        unit = int(reduction.unit_of[tensor.producer])
        readers = {int(reduction.unit_of[operator]) for operator in tensor.consumers} - {unit}
        senders = int(sizes[unit]) * len(tensor.modes)
        total += sum(senders * int(sizes[reader]) for reader in readers if senders > 1 and sizes[reader] > 1)
    return total


def merged(costs: Costs, pairs: Sequence[tuple[int, int]], domain: NDArray[np.bool_]) -> Reduction:
    """Units from pairs of operators that stay together.

    Args:
        costs: The problem's.
        pairs: Operators, by index.
        domain: Nodes each operator may run on, shape (operators, nodes); a unit gets the intersection.
    """
    sets = DisjointSets(len(costs.operators))
    for first, second in pairs:
        sets.join(first, second)
    groups: dict[int, list[int]] = {}
    for index in range(len(costs.operators)):
        groups.setdefault(sets.root(index), []).append(index)
    units = tuple(tuple(group) for group in groups.values())
    unit_of = np.empty(len(costs.operators), dtype=np.intp)
    for place, group in enumerate(units):
        unit_of[list(group)] = place
    return Reduction(units, unit_of, np.array([domain[list(group)].all(axis=0) for group in units]))


def in_graph_order(costs: Costs, reduction: Reduction) -> Reduction:
    """The same in an order in which units may run: those that wait for each other are put together.

    Args:
        costs: The problem's.
        reduction: Units and their places.
    """
    behind: list[set[int]] = [set() for _ in reduction.units]
    before: list[set[int]] = [set() for _ in reduction.units]
    for tensor in costs.tensors:
        first = int(reduction.unit_of[tensor.producer])
        for second in (int(reduction.unit_of[operator]) for operator in tensor.consumers):
            if first != second:
                behind[first].add(second)
                before[second].add(first)
    units: list[tuple[int, ...]] = []
    grouped: set[int] = set()
    # Strongly connected components, each found after those that come before it (Sharir).
    for start in reversed(_finished(behind)):
        if start in grouped:
            continue
        group, waiting = {start}, [start]
        while waiting:
            new = before[waiting.pop()] - grouped - group
            group |= new
            waiting += new
        grouped |= group
        units.append(tuple(sorted(operator for unit in group for operator in reduction.units[unit])))
    unit_of = np.empty(len(costs.operators), dtype=np.intp)
    for place, unit in enumerate(units):
        unit_of[list(unit)] = place
    places = [reduction.domain[reduction.unit_of[list(unit)]].all(axis=0) for unit in units]
    return Reduction(tuple(units), unit_of, np.array(places))


def _finished(behind: Sequence[set[int]]) -> list[int]:
    """Units in the order in which a search in depth leaves them."""
    left: list[int] = []
    seen: set[int] = set()
    for start in range(len(behind)):
        way = [] if start in seen else [(start, iter(sorted(behind[start])))]
        seen.add(start)
        while way:
            unit, coming = way[-1]
            new = next((other for other in coming if other not in seen), None)
            if new is None:
                left.append(unit)
                way.pop()
            else:
                seen.add(new)
                way.append((new, iter(sorted(behind[new]))))
    return left
