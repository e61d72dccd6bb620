"""One goal under limits, proven by labels where prices leave a gap.

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

from edgesplit_controller.planner.costs import MEASURES, Costs
from edgesplit_controller.planner.decode import Labels
from edgesplit_controller.planner.factors import Relaxation
from edgesplit_controller.planner.limited_elimination import SLACK, Cap, Finding, eliminate
from edgesplit_controller.planner.objective import Goal, Limit
from edgesplit_controller.planner.state_index import States, count_states, lay_out
from edgesplit_controller.planner.ways import entries_of

__all__ = ["Labelling", "Verdict"]

Floats = NDArray[np.float64]

MOST_STATES = 1_000_000
"""Joint choices of all tables up to which labels are tried."""

MOST_RUNS = 8
"""Priced runs kept."""

STEPS = (0.003, 0.02, 0.1)
"""Ceilings tried where no good plan is known, as relative distances above what prices prove."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What labels say about a goal.

    Attributes:
        values: The goal of the plans found, rising; each keeps the limits, rounding errors aside.
        plan: One of them, by its place.
        ceiling: Every plan below this was considered.
    """

    values: tuple[float, ...]
    plan: Callable[[int], Labels]
    ceiling: float

    @property
    def bound(self) -> float:
        """No plan is below it, rounding errors included."""
        least = min((*self.values[:1], self.ceiling))
        return least - SLACK * abs(least)


@dataclass(frozen=True, slots=True)
class _Run:
    """The plain elimination at some prices.

    Attributes:
        weights: Of the measures.
        least: Per state, the least weighted sum of any assignment with it.
        tables: What of that lies within the state's own table.
    """

    weights: Floats
    least: Floats
    tables: Floats


class Labelling:
    """Labels over one relaxation; bounds are kept from goal to goal."""

    def __init__(self, relaxation: Relaxation, costs: Costs) -> None:
        starts = [start for start, _ in relaxation.slices]
        if relaxation.pattern is not None:
            starts.append(relaxation.slices[-1][1])
        self._relaxation, self._costs = relaxation, costs
        self._layout = lay_out(relaxation.elimination, _sizes(relaxation, costs), starts)
        self._entries = entries_of(relaxation, costs)
        self._runs: list[_Run] = []

    @staticmethod
    def suits(relaxation: Relaxation, costs: Costs) -> bool:
        """Whether the relaxation leaves nothing out and is small enough."""
        if not relaxation.complete:
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
        goal: Goal,
        limits: Sequence[Limit],
        *,
        prices: Floats,
        floor: float,
        ceiling: float,
        left_s: Callable[[], float],
    ) -> Verdict | None:
        """Find the best plan up to a ceiling, or prove that there is none below it.

        Args:
            goal: What to minimise.
            limits: On extended measures.
            prices: Of the limits, the best known.
            floor: What they prove.
            ceiling: A known plan's value, or infinity.
            left_s: Time left. [s]

        Returns:
            What was found; None when nothing could be said.
        """
        weights = np.zeros(len(self._entries.measures))
        weights[:MEASURES] = goal.weights
        priced = weights.copy()
        for limit, price in zip(limits, prices, strict=True):
            priced[limit.measure] += price
        for wanted in (*(np.eye(len(weights))[limit.measure] for limit in limits), priced, weights):
            self._run(wanted)
        below = partial(self._below, weights, limits, left_s=left_s)
        verdict = below(ceiling) if np.isfinite(ceiling) else None
        if verdict is not None:
            return verdict
        scale = abs(floor) or abs(ceiling)
        for step in STEPS:
            if floor + step * scale >= ceiling:
                return verdict
            higher = below(floor + step * scale)
            if higher is None or higher.values:
                return higher or verdict
            verdict = higher
        return verdict if np.isfinite(ceiling) else below(ceiling) or verdict

    def _run(self, weights: Floats) -> None:
        """Keep a run at these prices, the last asked for last."""
        known = next((run for run in self._runs if np.array_equal(run.weights, weights)), None)
        if known is None:
            elimination = self._relaxation.elimination
            run = elimination.minimise(self._relaxation.tables(weights, self._costs.allowed))
            beliefs = elimination.beliefs(run)
            known = _Run(weights, _row(beliefs), _row(run.tables))
        others = [run for run in self._runs if run is not known]
        self._runs = [*others[1 - MOST_RUNS :], known]

    def _below(
        self, weights: Floats, limits: Sequence[Limit], ceiling: float, *, left_s: Callable[[], float]
    ) -> Verdict | None:
        capped = [(run, _most(run.weights, weights, ceiling, limits)) for run in self._runs]
        capped = [(run, most) for run, most in capped if np.isfinite(most)]
        alive = np.ones(self._layout.states, dtype=bool)
        for run, most in capped:
            alive &= run.least <= most
        states, base = self._entries.priced(self._layout.look_up(np.flatnonzero(alive)))
        caps = [Cap(run.weights, most, run.least[states.at] - run.tables[states.at]) for run, most in capped]
        finding = eliminate(
            self._layout,
            states,
            base,
            self._entries.alternatives(states),
            counting=np.array([weights, *(np.eye(len(weights))[limit.measure] for limit in limits)]),
            caps=caps,
            left_s=left_s,
        )
        return None if finding is None else self._verdict(states, finding, weights, ceiling)

    def _verdict(self, states: States, finding: Finding, weights: Floats, ceiling: float) -> Verdict:
        values = weights @ finding.measures
        order = np.argsort(values, kind="stable")

        def plan(place: int) -> Labels:
            return self._labels(states, finding.parts(int(order[place])))

        return Verdict(tuple(values[order].tolist()), plan, ceiling)

    def _labels(self, states: States, parts: Sequence[tuple[int, Sequence[int]]]) -> Labels:
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
        return Labels(node, quantized, coded)


def _sizes(relaxation: Relaxation, costs: Costs) -> list[int]:
    return [len(costs.nodes)] * len(costs.operators) + [2] * len(relaxation.bits)


def _row(tables: Sequence[Floats]) -> Floats:
    return np.concatenate([table.reshape(-1) for table in tables])


def _most(run: Floats, goal: Floats, ceiling: float, limits: Sequence[Limit]) -> float:
    """The most that a plan up to the ceiling and within the limits can have of a run's weighted sum.

    The sum is put together from as much of the goal as fits and from limited measures, or from these alone.
    """
    bounds = np.full(len(run), np.inf)
    for limit in limits:
        bounds[limit.measure] = min(bounds[limit.measure], limit.bound)
    used = goal > 0
    most = np.inf
    for share in {0.0, float((run[used] / goal[used]).min(initial=np.inf))}:
        rest = run - share * goal
        rest[np.abs(rest) <= 1e-15 * np.abs(run)] = 0.0
        if np.isfinite(share) and (rest >= 0).all():
            terms = np.array([share * ceiling if share else 0.0, *(rest[rest > 0] * bounds[rest > 0])])
            most = min(most, float(terms.sum() + SLACK * np.abs(terms).sum()))
    return most
