"""Simulated annealing of plans whose latency is the end of a schedule: connected operators move, and so does what goes first.

Owns: the moves and which are kept. Its rule: it finds plans and proves nothing; every move is measured by a list schedule
(`meaning/quick_timeline.py`), which the plan's own timeline is never later than. Not here: where the plans to start from come from.

Before anything is drawn, all that comes before or after each unit on its node is tried elsewhere (the other side of every cut), as long as that helps: a plan
that sends what it computed early is often dozens of operators away from one that sends the same late, and no way of single steps between them
goes downhill. There are a few hundred of these moves, so that drawing them at random finds the one that matters once in some thousand.

References: S. Kirkpatrick, C. D. Gelatt, M. P. Vecchi, Optimization by simulated annealing, Science 220, 1983.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.bounds.reduction import Reduction
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.indexed_plan import Plan, PlanMeter, cheapest_modes
from edgesplit_controller.planner.meaning.list_schedule import better_order
from edgesplit_controller.planner.meaning.measures import LATENCY, WEIGHED, SumLimit, WeightedSum
from edgesplit_controller.planner.meaning.quick_timeline import Grouped, QuickTimeline

__all__ = ["TimedAnnealing"]

HOT = 0.003
"""Share of the value by which a move may be worse at first."""

SENDING = 0.02
"""What a second of sending counts beside one of latency: of plans that end together, the one that sends less has more room."""

MOST_GROWN = 7
"""Steps by which what moves grows along the graph."""

REORDERED, REQUANTIZED = 0.6, 0.03
"""Shares of moves that change what goes first, and which operators run in int8."""

TRIALS = 150
"""Priorities tried for a plan before it is judged."""

CHANGED = (1, 1, 2, 3)
"""Factors of urgency changed in a move, each as likely."""

SPREAD = 1.5
"""Standard deviation of a factor of urgency's logarithm."""

SWEPT_SHARE = 0.6
"""Of the time, that trying the other side of every cut may take."""

GROWN = 0.7
"""Share of moves that grow from an operator or unit; others move all on one side of a cut."""

Level = tuple[list[int], list[list[int]]]
"""Unit to group of units, and the units of every group."""


def _level(finest: Reduction, coarse: Reduction) -> Level:
    """The finest units by the coarse one that each began in; where units wait for each other these may overlap."""
    group_of = [int(coarse.unit_of[unit[0]]) for unit in finest.units]
    place = {group: index for index, group in enumerate(dict.fromkeys(group_of))}
    groups: list[list[int]] = [[] for _ in place]
    for unit, group in enumerate(group_of):
        groups[place[group]].append(unit)
    return [place[group] for group in group_of], groups


@dataclass(frozen=True, slots=True)
class _Annealed:
    """A plan, its units' nodes, what goes first in it, and what both are worth: by the objective, and with ties broken."""

    plan: Plan
    node: tuple[int, ...]
    groups: Grouped
    urgency: Mapping[Hashable, float]
    value: float
    standing: float


class TimedAnnealing:
    """Searches of one objective.

    Args:
        costs: The problem's, with the places that are left.
        patterns: Allowed quantization patterns; None leaves the quantization as it is.
        objective: What to minimise.
        limits: On measures, the problem's among them.
        reductions: Units of operators that rather stay together, the coarsest first; those of the finest do stay together.
    """

    def __init__(
        self,
        costs: Costs,
        patterns: Patterns | None,
        objective: WeightedSum,
        limits: Sequence[SumLimit],
        reductions: Sequence[Reduction],
    ) -> None:
        self._costs, self._patterns, self._objective, self._limits = costs, patterns, objective, limits
        finest = reductions[-1]
        self._timeline, self._meter = QuickTimeline(costs, finest.units), PlanMeter(costs)
        self._draw = np.random.default_rng(1)
        self._best: _Annealed | None = None
        self._unit_of, self._allowed = finest.unit_of, finest.domain
        self._levels = [_level(finest, coarse) for coarse in reductions]
        count = len(finest.units)
        self._around: tuple[list[set[int]], list[set[int]]] = (
            [set() for _ in range(count)],
            [set() for _ in range(count)],
        )
        for tensor in costs.tensors:
            first = int(self._unit_of[tensor.producer])
            for second in (int(self._unit_of[consumer]) for consumer in tensor.consumers):
                if first != second:
                    self._around[0][first].add(second)
                    self._around[1][second].add(first)
        self._coded = any(mode.codec is not None for tensor in costs.tensors for mode in tensor.modes)
        self._prices = np.zeros(len(costs.sums))
        self._prices[:WEIGHED] = objective.weights

    def value(self, plan: Plan) -> float:
        """The objective of a plan by the best of some list schedules; infinity where it breaks a limit."""
        state = self._ordered(plan)
        return float("inf") if state is None else state.value

    def improved(self, starts: Sequence[Plan], left_s: Callable[[], float]) -> tuple[Plan, float] | None:
        """The best plan met from some on, and its value by list schedule; None where all of these break a limit.

        Args:
            starts: Plans, the best first; one of the last answers keeps its order. As many are looked at as time allows.
            left_s: Time left; the search cools down while that goes to 0. [s]
        """
        whole_s = max(left_s(), 1e-9)
        now: _Annealed | None = None
        for start in starts:
            if now is not None and left_s() <= (1 - SWEPT_SHARE / 2) * whole_s:
                break  # what is left is too little for another one
            known = self._best
            state = known if known is not None and known.plan.key == start.key else self._ordered(start)
            if state is not None:
                state = self._swept(state, lambda: left_s() - (1 - SWEPT_SHARE) * whole_s)
                now = state if now is None or state.standing < now.standing else now
        if now is None:
            return None
        best = now
        while (rest_s := left_s()) > 0:
            tried = self._moved(now)
            if tried is None:
                continue
            heat = HOT * best.value * (rest_s / whole_s) ** 2
            worse = tried.standing - now.standing
            if worse <= 0 or self._draw.random() < math.exp(-worse / max(heat, 1e-300)):
                now = tried
                if now.value < best.value:
                    best = now
        self._best = best
        return best.plan, best.value

    def _swept(self, state: _Annealed, left_s: Callable[[], float]) -> _Annealed:
        """The plan after trying the other side of every cut, again and again until none is better, or time is over."""
        nodes, improved = range(len(self._costs.nodes)), True
        while improved:
            improved = False
            tried: set[tuple[frozenset[int], int]] = set()
            for start in self._draw.permutation(2 * len(state.node)).tolist():
                part = self._side(state.node, *divmod(start, 2))
                for place in nodes:
                    moving = frozenset(self._movable(part, state.node, place))
                    if not moving or (moving, place) in tried:
                        continue
                    tried.add((moving, place))
                    if left_s() <= 0:
                        return state
                    other = self._placed(state, moving, place)
                    if other is not None and other.standing < state.standing:
                        state, improved = other, True
        return state

    def _ordered(self, plan: Plan) -> _Annealed | None:
        """A plan, every unit where most of it is, with the best order of some; None where it breaks a limit."""
        counts = np.zeros(self._allowed.shape, dtype=np.intp)
        np.add.at(counts, (self._unit_of, np.array(plan.node)), 1)
        node = tuple(np.where(self._allowed, counts, -1).argmax(axis=1).tolist())
        if (state := self._chosen(node, plan.quantized, plan.mode, {})) is None:
            return None
        _, _, factors = better_order(state.groups.tasks, state.groups.tails_s, TRIALS)
        return self._scheduled(state, dict(zip(state.groups.names, factors, strict=True)))

    def _moved(self, state: _Annealed) -> _Annealed | None:
        plan, draw = state.plan, self._draw
        kind = draw.random()
        if kind < REORDERED:
            urgency = dict(state.urgency)
            for place in draw.integers(len(state.groups.names), size=CHANGED[draw.integers(len(CHANGED))]).tolist():
                urgency[state.groups.names[place]] = math.exp(draw.normal(0.0, SPREAD))
            return self._scheduled(state, urgency)
        if kind < REORDERED + REQUANTIZED and self._patterns is not None and len(self._patterns.members) > 1:
            members = self._patterns.members[draw.integers(len(self._patterns.members))]
            chosen = frozenset(o for o, used in zip(self._patterns.operators, members.tolist(), strict=True) if used)
            return self._chosen(state.node, chosen, plan.mode, state.urgency)
        place = int(draw.integers(len(self._costs.nodes)))
        grown = draw.random() < GROWN
        part = self._part() if grown else self._side(state.node, *draw.integers((len(state.node), 2)).tolist())
        moving = self._movable(part, state.node, place)
        return self._placed(state, moving, place) if moving else None

    def _movable(self, part: Collection[int], node: Sequence[int], place: int) -> list[int]:
        """Units of some that are not on a node and may be."""
        return [unit for unit in part if node[unit] != place and self._allowed[unit, place]]

    def _placed(self, state: _Annealed, moving: Collection[int], place: int) -> _Annealed | None:
        """A plan with units moved to a node."""
        node = list(state.node)
        for unit in moving:
            node[unit] = place
        return self._chosen(tuple(node), state.plan.quantized, state.plan.mode, state.urgency)

    def _side(self, node: Sequence[int], start: int, way: int) -> set[int]:
        """All after (0) or before (1) a unit that is where it is, itself included: the other side of a cut."""
        around, found, waiting = self._around[way], {start}, [start]
        while waiting:
            for other in around[waiting.pop()]:
                if other not in found and node[other] == node[start]:
                    found.add(other)
                    waiting.append(other)
        return found

    def _part(self) -> set[int]:
        """Units that hang together."""
        draw = self._draw
        group_of, groups = self._levels[draw.integers(len(self._levels))]
        part = set(groups[draw.integers(len(groups))])
        around = self._around[draw.integers(2)]
        for _ in range(draw.integers(1, MOST_GROWN + 1)):
            beside = sorted({int(group_of[other]) for unit in part for other in around[unit] if other not in part})
            if not beside:
                break
            for group in beside if draw.random() < 0.5 else [beside[draw.integers(len(beside))]]:
                part |= set(groups[group])
        return part

    def _chosen(
        self,
        node: tuple[int, ...],
        quantized: frozenset[int],
        mode: Mapping[str, int],
        urgency: Mapping[Hashable, float],
    ) -> _Annealed | None:
        places = tuple(np.array(node)[self._unit_of].tolist())
        if self._coded:
            mode = cheapest_modes(places, quantized, self._prices, self._costs)
        plan = self._meter.measured(places, quantized, mode)
        if not np.isfinite(plan.measures).all():
            return None
        groups = self._timeline.grouped(node, quantized, mode)
        return self._scheduled(_Annealed(plan, node, groups, {}, math.inf, math.inf), urgency)

    def _scheduled(self, state: _Annealed, urgency: Mapping[Hashable, float]) -> _Annealed | None:
        """A plan with what goes first in it; None where it breaks a limit."""
        ends = state.plan.lasting(state.groups.end_s(urgency))
        if not all(limit.keeps(float(ends.measures[limit.measure])) for limit in self._limits):
            return None
        value = self._objective.value(ends.measures)
        standing = value + SENDING * self._objective.weights[LATENCY] * state.groups.sent_s
        return _Annealed(ends, state.node, state.groups, urgency, value, standing)
