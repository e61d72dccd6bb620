"""Pareto labels for one objective under limits: the proof where Lagrange multipliers leave a duality gap.

Owns: which joint choices and bounds the labels start from, the ceilings tried, and what a complete label means as a
plan. Its rule: it answers for every plan below the ceiling, or says that it does not know. Not here: the dynamic
programme itself (`limited_elimination`), the search that follows when it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.elimination import Run
from edgesplit_controller.planner.bounds.labels.caps import CapRun, most_of_measures, most_of_sum
from edgesplit_controller.planner.bounds.labels.entry_costs import entries_of
from edgesplit_controller.planner.bounds.labels.limited_elimination import MOST_AT_ONCE, Finding, eliminate
from edgesplit_controller.planner.bounds.presolve import Priced
from edgesplit_controller.planner.bounds.relaxation import Relaxation
from edgesplit_controller.planner.bounds.state_index import States, count_states, lay_out
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.indexed_plan import Plan, measured
from edgesplit_controller.planner.meaning.measures import NOISE, WEIGHED, SumLimit, WeightedSum

__all__ = ["LabelProof", "Labelling"]

Floats = NDArray[np.float64]

MOST_STATES = 1_000_000
"""Joint choices of all tables up to which labels are tried."""

MOST_RUNS = 8
"""Priced runs kept."""

FEW_LABELS = 20_000
"""With these a known plan's value is tried as ceiling at once."""

MANY_LABELS = 150_000
"""With these, ceilings are tried one above the other."""

PLAIN = 3
"""How many times as many where one limit is all there is."""

FIRST_STEP = 0.02
"""Distance of the first of these from what prices prove, relative."""

GROWTH = 1.5
"""How many times as far every other one is."""

MOST_STEPS = 14
"""Ceilings tried before the last one; that is then some four times what prices prove."""

SHARE = 0.25
"""Of the time left that labels may take for one objective."""


@dataclass(frozen=True, slots=True)
class LabelProof:
    """What labels say about an objective.

    Attributes:
        values: The objective of the plans found, rising; each keeps the limits, rounding errors aside.
        plan: One of them, by its place.
        ceiling: Every plan below this was considered.
        rounding: Relative error of their sums.
        every: Whether that is so; otherwise only the most promising were.
        labels: How many that took.
    """

    values: tuple[float, ...]
    plan: Callable[[int], Plan]
    ceiling: float
    rounding: float
    every: bool
    labels: int

    @property
    def bound(self) -> float:
        """No plan is below it, rounding errors included."""
        if not self.every:
            return -np.inf
        least = min((*self.values[:1], self.ceiling))
        return least - self.rounding * abs(least) if np.isfinite(least) else least


class Labelling:
    """Labels over one relaxation; bounds are kept from objective to objective."""

    def __init__(self, relaxation: Relaxation, costs: Costs) -> None:
        starts = [start for start, _ in relaxation.slices]
        if relaxation.pattern is not None:
            starts.append(relaxation.slices[-1][1])
        self._relaxation, self._costs = relaxation, costs
        self._layout = lay_out(relaxation.elimination, _sizes(relaxation, costs), starts)
        self._entries = entries_of(relaxation, costs)
        self._runs: list[CapRun] = []

    @staticmethod
    def suits(relaxation: Relaxation, costs: Costs) -> bool:
        """Whether the relaxation leaves nothing out and is small enough, and nothing but energy and noise is limited.

        Weights differ from operator to operator, and times add up on every node and link, so that labels under limits on
        them become too many.
        """
        if not relaxation.complete or len(costs.sums) > NOISE + 1:
            return False
        return count_states(relaxation.elimination, _sizes(relaxation, costs)) <= MOST_STATES

    def narrowed(self, costs: Costs) -> Labelling:
        """The same with fewer places for some operators; bounds known hold there, too."""
        narrow = copy(self)
        narrow._costs = costs
        narrow._entries = entries_of(self._relaxation, costs)
        narrow._runs = list(self._runs)
        return narrow

    def solve(
        self,
        objective: WeightedSum,
        limits: Sequence[SumLimit],
        *,
        priced: Priced,
        least: Floats,
        ceiling: float,
        improved: Callable[[], float],
        left_s: Callable[[], float],
    ) -> LabelProof | None:
        """Find the best plan up to a ceiling, or prove that there is none below it.

        Args:
            objective: What to minimise.
            limits: On measures.
            priced: The objective at the best prices known.
            least: Of every measure, a value that no plan is below, shape (3,); minus infinity where none is known.
            ceiling: A known plan's value, or infinity.
            improved: Looks for a better plan and returns its value, where that pays.
            left_s: Time left. [s]

        Returns:
            What was found; None when nothing could be said.
        """
        weights = np.zeros(len(self._entries.measures))
        weights[:WEIGHED] = objective.weights
        at_prices = weights.copy()
        for limit, price in zip(limits, priced.prices, strict=True):
            at_prices[limit.measure] += price
        for limit in limits:
            self._keep(np.eye(len(weights))[limit.measure])
        self._keep(at_prices, priced.run if priced.unrestricted else None)
        self._keep(weights, priced.unpriced if priced.unrestricted else None)
        enough_s = left_s() * (1 - SHARE)
        below = partial(self._below, weights, limits, least=least, left_s=lambda: left_s() - enough_s)
        # Comparing two measures takes a sort, comparing more takes pairs.
        few, many = (PLAIN * FEW_LABELS, PLAIN * MANY_LABELS) if len(limits) == 1 else (FEW_LABELS, MANY_LABELS)
        verdict = below(ceiling, few) if np.isfinite(ceiling) else None
        if verdict is not None:
            return verdict
        ceiling = improved()
        step = FIRST_STEP * (abs(priced.value) or abs(ceiling))
        for _ in range(MOST_STEPS):
            if step == 0.0 or priced.value + GROWTH * step >= ceiling:
                break
            higher = below(priced.value + step, many)
            if higher is None or higher.values:
                return higher or verdict
            verdict = higher
            step *= GROWTH
        return below(ceiling, many) or verdict

    def within(
        self,
        objective: WeightedSum,
        limits: Sequence[SumLimit],
        *,
        runs: Sequence[CapRun],
        ceiling: float,
        width: int | None,
        most_labels: int,
        most_at_once: int,
        left_s: Callable[[], float],
    ) -> LabelProof | None:
        """Find plans below a ceiling by given bounds: the best one, unless labels were left out for the width.

        Args:
            objective: What to minimise.
            limits: On measures.
            runs: Bounds of completions, those first that most labels exceed.
            ceiling: Plans above it are not looked for.
            width: Labels kept of each group; None: all.
            most_labels: Of all groups together.
            most_at_once: Combinations of one level.
            left_s: Time left. [s]

        Returns:
            What was found; None when nothing could be said.
        """
        weights = np.zeros(len(self._entries.measures))
        weights[:WEIGHED] = objective.weights
        self._runs = list(reversed(runs))
        least = np.full(WEIGHED, -np.inf)
        return self._below(
            weights, limits, ceiling, most_labels, least=least, left_s=left_s, width=width, most_at_once=most_at_once
        )

    def _keep(self, weights: Floats, run: Run | None = None) -> None:
        """Keep a run at these prices, the last asked for last."""
        known = next((run for run in self._runs if np.array_equal(run.weights, weights)), None)
        if known is None:
            elimination = self._relaxation.elimination
            if run is None:
                run = elimination.minimise(self._relaxation.tables(weights, self._costs.allowed))
            known = CapRun.of(weights, run, elimination)
        others = [run for run in self._runs if run is not known]
        self._runs = [*others[1 - MOST_RUNS :], known]

    def _below(
        self,
        weights: Floats,
        limits: Sequence[SumLimit],
        ceiling: float,
        most_labels: int,
        *,
        least: Floats,
        left_s: Callable[[], float],
        width: int | None = None,
        most_at_once: int = MOST_AT_ONCE,
    ) -> LabelProof | None:
        bounds = most_of_measures(weights, ceiling, limits, least)
        capped = [(run, most_of_sum(run.weights, weights, ceiling, bounds)) for run in reversed(self._runs)]
        capped = [(run, most) for run, most in capped if np.isfinite(most)]
        alive = np.ones(self._layout.states, dtype=bool)
        for run, most in capped:
            alive &= run.least <= most
        states, base = self._entries.priced(self._layout.look_up(np.flatnonzero(alive)))
        alternatives = self._entries.alternatives(states)
        finding = eliminate(
            self._layout,
            states,
            base,
            alternatives,
            counting=np.array([weights, *(np.eye(len(weights))[limit.measure] for limit in limits)]),
            caps=[
                run.cap(most, states, alternatives, self._layout, ranks=bool((run.weights >= weights).all()))
                for run, most in capped
            ],
            most_labels=most_labels,
            left_s=left_s,
            width=width,
            most_at_once=most_at_once,
        )
        return None if finding is None else self._verdict(states, finding, weights, ceiling)

    def _verdict(self, states: States, finding: Finding, weights: Floats, ceiling: float) -> LabelProof:
        values = weights @ finding.measures
        order = np.argsort(values, kind="stable")

        def plan(place: int) -> Plan:
            return self._plan(states, finding.parts(int(order[place])))

        rounding = 4 * self._relaxation.elimination.rounding
        return LabelProof(tuple(values[order].tolist()), plan, ceiling, rounding, finding.every, finding.labels)

    def _plan(self, states: States, parts: Sequence[tuple[int, Sequence[int]]]) -> Plan:
        """What a complete label means as a plan."""
        value = [0] * len(self._layout.variables)
        for state, _ in parts:
            value[self._layout.variables[states.bag[state]]] = int(states.choice[state])
        count = len(self._costs.operators)
        node = tuple(value[:count])
        quantized = frozenset(o for place, o in enumerate(self._relaxation.bits) if value[count + place])
        modes = self._entries.modes(states, parts).items()
        tensors = ((self._costs.tensors[place], index) for place, index in modes)
        coded = {
            tensor.name: index
            for tensor, index in tensors
            if tensor.modes[index].codec is not None and any(node[o] != node[tensor.producer] for o in tensor.consumers)
        }
        return measured(node, quantized, coded, self._costs)


def _sizes(relaxation: Relaxation, costs: Costs) -> list[int]:
    return [len(costs.nodes)] * len(costs.operators) + [2] * len(relaxation.bits)
