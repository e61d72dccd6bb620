"""Restrictions and their Lagrangian bounds: what is left open of a problem, and how good the best of it can be.

Owns: the assignments seen while pricing, and the prices proposed from them. Its rule: a bound holds for every plan within the restriction,
rounding included; an assignment seen in one restriction serves all that allow it. Not here: which choice is decided next (`branch_and_bound.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.presolve import HOPELESS
from edgesplit_controller.planner.bounds.relaxation import Relaxation
from edgesplit_controller.planner.branching.batch import Batch, Choices, Modes, choices_open
from edgesplit_controller.planner.linear.tangents import BestPrices, Tangents
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.indexed_plan import Plan, cheapest_modes, measured
from edgesplit_controller.planner.meaning.measures import NOISE, WEIGHED, SumLimit, WeightedSum
from edgesplit_controller.planner.meaning.tolerance import ULP

__all__ = ["FAR", "MOST_STEPS", "Pricing", "Restriction", "between"]

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

CODED_AT = (1.0, 1.3, 1.7, 2.5, 4.0, 10.0, 100.0)
"""Multiples of prices: at higher ones tensors are coded with less noise."""

FAR = 1e100
"""Stands for what is not possible where it is weighed."""

MOST_STEPS = 60
"""Of prices, for one restriction."""

GUESSED = 1e-3
"""Of the gap: where prices promise less than that more, they are good enough for everything open."""

MOST_TANGENTS = 48
"""That prices are chosen by: the least ones at the best prices so far."""


@dataclass(slots=True, eq=False)
class Restriction:
    """Choices that are left, and the best bound found for them.

    Attributes:
        open: Shape (variables, choices).
        closed: Tensors and places in their lists of modes in which they are not sent.
        bound: No plan within is below it.
        depth: Choices decided.
        best: Prices of the bound, shape (limits,).
        trials: Prices to try next; at first those that were good for more choices.
        steps: How often prices were tried.
        fitting: Assignments seen that it allows, of the first `looked`.
        looked: Of so many it is known.
    """

    open: NDArray[np.bool_]
    closed: tuple[tuple[int, int], ...]
    bound: float
    depth: int
    best: Floats
    trials: list[Floats] = field(default_factory=list[Floats])
    steps: int = 0
    fitting: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    looked: int = 0

    def __post_init__(self) -> None:
        """Set the first prices to try."""
        if not self.trials:
            self.trials = [self.best]


class Pricing:
    """One objective under limits, priced under any restriction.

    Args:
        relaxation: Complete.
        costs: Those it was made of.
        objective: What to minimise.
        limits: On measures.
        batch: Of the relaxation, where there is one already.
    """

    def __init__(
        self,
        relaxation: Relaxation,
        costs: Costs,
        objective: WeightedSum,
        limits: Sequence[SumLimit],
        *,
        batch: Batch | None = None,
    ) -> None:
        self.batch = batch or Batch(relaxation, costs)
        self.relaxation = relaxation
        self.objective, self.limits = objective, tuple(limits)
        self.bounds: Floats = np.array([limit.bound for limit in limits])
        self.seen: list[Choices] = []
        self.modes: list[Modes] = []
        self._known: set[bytes] = set()
        self._costs = costs
        self._limited = [limit.measure for limit in limits]
        self._weights = np.zeros(len(costs.sums))
        self._weights[:WEIGHED] = objective.weights
        self._tangents = Tangents(self.bounds)

    def whole(self) -> Restriction:
        """Everything open, without prices."""
        return Restriction(choices_open(self.relaxation, self._costs), (), -np.inf, 0, np.zeros(len(self.limits)))

    def best(
        self, ceiling: float, left_s: Callable[[], float], offer: Callable[[Plan], float] | None = None
    ) -> Restriction:
        """Everything open, at the best prices; an infinite bound where nothing is possible.

        Args:
            ceiling: A known plan's value, or infinity.
            left_s: Time left. [s]
            offer: Takes a plan that seems to keep the limits; returns the best value known then. None: plans are not asked for.
        """
        one = self.whole()
        while left_s() > 0 and one.steps < MOST_STEPS:
            if offer is None:
                _, possible = self.tried([one], -np.inf, _refuse)
            else:
                ceiling, possible = self.tried([one], ceiling, offer)
            if not possible:
                one.bound = np.inf
                break
            found = self.mixture(one) if one.bound < ceiling else None
            gap = ceiling - one.bound if np.isfinite(ceiling) else abs(one.bound)
            if found is None or found.promise - one.bound <= GUESSED * gap:
                break
            one.trials = between(one, found)
        return one

    def tried(
        self, pricing: Sequence[Restriction], ceiling: float, offer: Callable[[Plan], float]
    ) -> tuple[float, list[Restriction]]:
        """Try every restriction's prices.

        Args:
            pricing: Restrictions.
            ceiling: The best value known.
            offer: Takes a plan that seems to keep the limits; returns the best value known then.

        Returns:
            The best value known then, and the restrictions in which anything is possible.
        """
        rows = [(one, prices) for one in pricing for prices in one.trials]
        weights = np.array([self.weights(prices) for _, prices in rows])
        minima = self.batch.minimise(weights, np.stack([one.open for one, _ in rows]), [one.closed for one, _ in rows])
        possible: list[Restriction] = []
        for row, (one, prices) in enumerate(rows):
            measures = minima.measures[row]
            if minima.value[row] >= HOPELESS:
                continue
            if not possible or possible[-1] is not one:
                possible.append(one)
                one.steps += 1
            self._bounded(one, float(minima.value[row]), prices)
            if not np.isfinite(measures).all():
                continue
            value = self.objective.value(measures)
            self._remember(value, measures, minima.choice[row], minima.modes[row])
            if value < ceiling and all(limit.keeps(float(measures[limit.measure])) for limit in self.limits):
                ceiling = min(ceiling, offer(self._as_plan(minima.choice[row], minima.modes[row])))
        return ceiling, possible

    def _remember(self, value: float, measures: Floats, choice: Choices, modes: Modes) -> None:
        """Keep an assignment, once: the same one again would push others out of those that prices are chosen by."""
        key = choice.tobytes() + modes.tobytes()
        if key not in self._known:
            self._known.add(key)
            self._tangents.add(value, measures[self._limited])
            self.seen.append(choice)
            self.modes.append(modes)

    def mixture(self, one: Restriction) -> BestPrices | None:
        """The prices at which what was seen promises most, and the mixture of assignments behind that; None without any."""
        return self._tangents.best(self._fitting(one), one.best, MOST_TANGENTS)

    def with_choice(self, one: Restriction, variable: int, choice: int) -> Restriction:
        """A restriction with one choice decided."""
        open_ = one.open.copy()
        open_[variable] = False
        open_[variable, choice] = True
        chosen = [seen for seen in one.fitting.tolist() if self.seen[seen][variable] == choice]
        return self._child(one, open_, one.closed, chosen)

    def with_mode(self, one: Restriction, tensor: int, mode: int) -> Restriction:
        """A restriction with the mode decided in which a tensor is sent, if it is."""
        others = [place for place in range(len(self.relaxation.modes[tensor])) if place != mode]
        closed = (*one.closed, *((tensor, place) for place in others))
        chosen = [seen for seen in one.fitting.tolist() if self.modes[seen][tensor] in (-1, mode)]
        return self._child(one, one.open, closed, chosen)

    def modes_open(self, one: Restriction, tensor: int) -> list[int]:
        """Places in a tensor's list of modes in which it may be sent."""
        return [place for place in range(len(self.relaxation.modes[tensor])) if (tensor, place) not in one.closed]

    def _child(
        self, one: Restriction, open_: NDArray[np.bool_], closed: tuple[tuple[int, int], ...], fitting: Sequence[int]
    ) -> Restriction:
        chosen = np.array(fitting, dtype=np.intp)
        return Restriction(open_, closed, one.bound, one.depth + 1, one.best, fitting=chosen, looked=one.looked)

    def weights(self, prices: Floats) -> Floats:
        """Of all measures at some prices, shape (measures,)."""
        weights = self._weights.copy()
        weights[self._limited] += prices
        return weights

    def measures(self, choices: Choices, prices: Floats) -> tuple[Floats, Floats]:
        """Of assignments, shape (assignments, variables), the objective and the limited measures, shape (assignments, limits)."""
        measures = self.batch.measured(choices, self.weights(prices))
        values = (np.where(np.isfinite(measures), measures, FAR)[:, :WEIGHED] @ self._weights[:WEIGHED]).astype(
            np.float64
        )
        return values, measures[:, self._limited]

    def plan(self, choice: Choices, prices: Floats) -> Plan:
        """An assignment as a plan, sending in the modes that are cheapest at some prices."""
        count = len(self._costs.operators)
        node = tuple(choice[:count].tolist())
        quantized = frozenset(o for place, o in enumerate(self.relaxation.bits) if choice[count + place])
        return measured(
            node, quantized, cheapest_modes(node, quantized, self.weights(prices), self._costs), self._costs
        )

    def _as_plan(self, choice: Choices, modes: Modes) -> Plan:
        """An assignment as a plan, sending in given modes."""
        count = len(self._costs.operators)
        quantized = frozenset(o for place, o in enumerate(self.relaxation.bits) if choice[count + place])
        coded: dict[str, int] = {}
        for place, (tensor, mode) in enumerate(zip(self._costs.tensors, modes.tolist(), strict=True)):
            index = self.relaxation.modes[place][mode] if mode >= 0 else 0
            if mode >= 0 and tensor.modes[index].codec is not None:
                coded[tensor.name] = index
        return measured(tuple(choice[:count].tolist()), quantized, coded, self._costs)

    def recoded(self, choice: Choices, prices: Floats, ceiling: float) -> Plan | None:
        """The best of an assignment's ways to code its tensors at multiples of some prices that keeps the limits and is below a ceiling."""
        best = None
        for factor in CODED_AT:
            values, measures = self.measures(choice[None], factor * prices)
            if values[0] < ceiling and (measures[0] <= self.bounds).all():
                best, ceiling = factor, float(values[0])
        return None if best is None else self.plan(choice, best * prices)

    def _bounded(self, one: Restriction, value: float, prices: Floats) -> None:
        """Take what one elimination says."""
        offset = float(prices @ self.bounds)
        magnitude = abs(value) + abs(offset)
        if NOISE in self._limited:
            magnitude += 2 * float(prices[self._limited.index(NOISE)]) * self._costs.noise.magnitude
        rounding = (self.relaxation.elimination.rounding + ULP * len(self._weights)) * magnitude
        bound = value - offset - rounding
        if bound > one.bound:
            one.bound, one.best = bound, prices

    def _fitting(self, one: Restriction) -> Ints:
        """The assignments seen that a restriction allows."""
        if one.looked < len(self.seen):
            new = np.stack(self.seen[one.looked :])
            fits = one.open[np.arange(new.shape[1]), new].all(axis=1)
            if one.closed:
                modes = np.stack(self.modes[one.looked :])
                for tensor, place in one.closed:
                    fits &= modes[:, tensor] != place
            fit = np.flatnonzero(fits) + one.looked
            one.fitting, one.looked = np.concatenate([one.fitting, fit]), len(self.seen)
        return one.fitting


def _refuse(_: Plan) -> float:
    return -np.inf


def between(one: Restriction, found: BestPrices) -> list[Floats]:
    """The prices that the tangents promise most at, and those half way from the best known: few tangents promise too far away."""
    return [found.prices, (found.prices + one.best) / 2]
