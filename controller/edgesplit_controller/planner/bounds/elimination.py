"""Bucket elimination: exact minimisation of a sum of small tables by eliminating one variable after the other.

Owns: dynamic programming over a tree decomposition: the least sum, an assignment that attains it, and for every
choice the least sum that contains it. Its rule: it knows variables and tables, nothing of operators and nodes. Not
here: what the tables mean.

Neural networks are long and thin: eliminated in a greedy order, their graphs leave tables over a handful of
variables, so that this is exact and fast where general solvers search.

References: R. Dechter, Bucket elimination: a unifying framework for reasoning, Artificial Intelligence 113, 1999.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.meaning.tolerance import ULP

__all__ = ["IMPOSSIBLE", "Bag", "Elimination", "Run", "plan_elimination"]

SMALL = 20_000
"""Entries of all tables for which the first order is good enough."""

IMPOSSIBLE = 1e300
"""Stands for infinity in tables; finite, so that sums and differences stay numbers. Whatever is possible stays far below
(`costs` refuses problems that do not), at any prices: it is put in after pricing."""

Floats = NDArray[np.float64]
Shape = tuple[int, ...]


@dataclass(slots=True)
class Bag:
    """The table in which a variable is eliminated; its first axis is that variable."""

    scope: tuple[int, ...]
    factors: list[tuple[int, Shape]] = field(default_factory=list)
    children: list[tuple[int, Shape]] = field(default_factory=list)


@dataclass(slots=True)
class Run:
    """One minimisation.

    Attributes:
        value: The least sum.
        choice: A value per variable that attains it.
        tables: Per bag, the sum of everything below it.
        messages: Per bag, its table minimised over its own variable.
        beliefs: See `Elimination.beliefs`; empty until asked for.
    """

    value: float
    choice: list[int]
    tables: list[Floats]
    messages: list[Floats]
    beliefs: list[Floats] = field(default_factory=list)


@dataclass(frozen=True)
class Elimination:
    """An order of elimination, reusable for any tables of the same scopes.

    Attributes:
        bags: In order of elimination.
        position: Variable to its place in the order.
        axes: Per factor, the permutation that sorts its scope by elimination.
    """

    bags: tuple[Bag, ...]
    position: tuple[int, ...]
    axes: tuple[tuple[int, ...], ...]

    @cached_property
    def rounding(self) -> float:
        """Relative error, at most, of a sum of entries that are at least 0: one part in 2^52 for every addition."""
        return ULP * (sum(len(bag.factors) + len(bag.children) for bag in self.bags) + 16)

    def minimise(self, factors: Sequence[Floats]) -> Run:
        """Find the least sum.

        Args:
            factors: One table per scope given to `plan_elimination`, axes already sorted by elimination.
        """
        tables: list[Floats] = []
        messages: list[Floats] = []
        for bag in self.bags:
            parts = [factors[index].reshape(shape) for index, shape in bag.factors]
            parts += [messages[index].reshape(shape) for index, shape in bag.children]
            table = parts[0] if parts else np.zeros(1)
            for part in parts[1:]:
                table = table + part
            tables.append(table)
            messages.append(table.min(axis=0))
        value = float(sum(float(m) for m, bag in zip(messages, self.bags, strict=True) if len(bag.scope) == 1))
        return Run(value, self._trace(tables), tables, messages)

    def _trace(self, tables: Sequence[Floats]) -> list[int]:
        choice = [0] * len(self.bags)
        for bag, table in zip(reversed(self.bags), reversed(tables), strict=True):
            column = table
            for variable in reversed(bag.scope[1:]):
                column = column[..., choice[variable]]
            choice[bag.scope[0]] = int(column.argmin())
        return choice

    def beliefs(self, run: Run) -> list[Floats]:
        """Per bag, the least total sum for every joint choice of its variables (its axis order is its scope)."""
        if run.beliefs:
            return run.beliefs
        rest = run.value
        outside: list[Floats] = [np.zeros(1)] * len(self.bags)
        beliefs: list[Floats] = [np.zeros(1)] * len(self.bags)
        for place in reversed(range(len(self.bags))):
            bag = self.bags[place]
            if len(bag.scope) == 1:
                outside[place] = np.asarray(rest - float(run.messages[place]))
            belief = run.tables[place] + outside[place]
            beliefs[place] = belief
            for child, shape in bag.children:
                drop = tuple(axis for axis, size in enumerate(shape) if size == 1 and belief.shape[axis] > 1)
                reduced = belief.min(axis=drop, keepdims=True) if drop else belief
                message = run.messages[child]
                outside[child] = reduced.reshape(message.shape) - message
        run.beliefs = beliefs
        return beliefs


def plan_elimination(
    sizes: Sequence[int], scopes: Sequence[tuple[int, ...]], last: frozenset[int], budget: float, orders: int = 1
) -> Elimination | None:
    """Choose a greedy order: always the variable whose table is smallest.

    Args:
        sizes: Choices per variable.
        scopes: The variables of every factor.
        last: Variables to eliminate after all others.
        budget: Limit on the entries of all tables together.
        orders: So many are tried where tables are not small anyway; worth its time where many eliminations follow.

    Returns:
        The order, or None when its tables would exceed the budget.
    """
    # A variable without a choice needs no axis beside others': arrays have as many as there are real choices.
    open_scopes = [tuple(v for v in scope if sizes[v] > 1) or scope[:1] for scope in scopes]
    neighbours: list[set[int]] = [set() for _ in sizes]
    for scope in open_scopes:
        for variable in scope:
            neighbours[variable].update(scope)
    for variable, around in enumerate(neighbours):
        around.discard(variable)
    order = _greedy_order(sizes, neighbours, last, budget, orders)
    if order is None:
        return None
    position = [0] * len(sizes)
    for place, (variable, _) in enumerate(order):
        position[variable] = place
    bags = [Bag((v, *sorted(around, key=position.__getitem__))) for v, around in order]
    axes: list[tuple[int, ...]] = []
    for index, scope in enumerate(scopes):
        axes.append(tuple(sorted(range(len(scope)), key=lambda axis: position[scope[axis]])))
        home = bags[min(position[variable] for variable in open_scopes[index])]
        home.factors.append((index, _aligned(home.scope, frozenset(scope), sizes)))
    for place, bag in enumerate(bags):
        if len(bag.scope) > 1:
            parent = bags[position[bag.scope[1]]]
            parent.children.append((place, _aligned(parent.scope, frozenset(bag.scope[1:]), sizes)))
    return Elimination(tuple(bags), tuple(position), tuple(axes))


def _aligned(scope: tuple[int, ...], part: frozenset[int], sizes: Sequence[int]) -> Shape:
    """Shape that lets a table over `part` broadcast over `scope`."""
    return tuple(sizes[variable] if variable in part else 1 for variable in scope)


def _greedy_order(
    sizes: Sequence[int], neighbours: Sequence[set[int]], last: frozenset[int], budget: float, orders: int
) -> list[tuple[int, set[int]]] | None:
    """The best of some greedy orders: where many variables are kept to the end, ties decide how often all of them meet."""
    best, entries = _greedy(sizes, neighbours, last, budget)
    if entries > SMALL:
        draw = np.random.default_rng(1)
        for _ in range(orders - 1):
            other, more = _greedy(sizes, neighbours, last, min(budget, entries), draw)
            if other is not None and more < entries:
                best, entries = other, more
    return best


def _greedy(
    sizes: Sequence[int],
    neighbours: Sequence[set[int]],
    last: frozenset[int],
    budget: float,
    draw: np.random.Generator | None = None,
) -> tuple[list[tuple[int, set[int]]] | None, float]:
    """Always the variable whose table is smallest; and the tables' entries.

    Where `draw` is given, about the smallest, and rather one with few neighbours that are kept to the end.
    """
    weight = [float(np.log2(size)) for size in sizes]
    around_of = [set(around) for around in neighbours]

    def cost_of(v: int) -> float:
        cost = weight[v] + sum(weight[n] for n in around_of[v]) + (1e6 if v in last else 0.0)
        return cost if draw is None else cost + len(around_of[v] & last) + float(draw.random())

    cost = [cost_of(v) for v in range(len(sizes))]
    heap = [(value, variable) for variable, value in enumerate(cost)]
    heapq.heapify(heap)
    done = [False] * len(sizes)
    order: list[tuple[int, set[int]]] = []
    entries = 0.0
    while heap:
        value, variable = heapq.heappop(heap)
        if done[variable] or value != cost[variable]:
            continue
        done[variable] = True
        around = around_of[variable]
        order.append((variable, around))
        entries += 2.0 ** (weight[variable] + sum(weight[n] for n in around))
        if entries > budget:
            return None, float("inf")
        for n in around:
            mine = around_of[n]
            mine |= around
            mine.discard(n)
            mine.discard(variable)
            cost[n] = cost_of(n)
            heapq.heappush(heap, (cost[n], n))
    return order, entries
