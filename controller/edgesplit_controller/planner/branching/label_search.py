"""Labels on a part: exact where few are left of it, else the most promising ones for a better plan.

Owns: at which prices completions are bounded, and how many labels are worth their time. Its rule: what it leaves out it does not answer for.
Not here: the labels (`bounds/labels/`), the tree where they are too many.

A label has used up less or more of a limit than the whole problem at the best prices does, so that other prices bound its completions better: with
multiples of the best ones far fewer labels are left.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.labels.labelling import Labelling
from edgesplit_controller.planner.branching.restrictions import Pricing
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.indexed_plan import Plan
from edgesplit_controller.planner.meaning.measures import (
    DEVICE_ENERGY,
    DEVICE_ENERGY_ALONE,
    ENERGY,
    ENERGY_ALONE,
    LATENCY,
    LATENCY_ALONE,
    NOISE,
    SumLimit,
)

__all__ = ["LabelSearch", "Labelled"]

Floats = NDArray[np.float64]

ALONE = {LATENCY: LATENCY_ALONE, ENERGY: ENERGY_ALONE, DEVICE_ENERGY: DEVICE_ENERGY_ALONE}
"""Measures that could be an objective themselves."""

MULTIPLES = (1.0, 2.0, 0.5, 1.5, 0.75, 3.0, 0.25)
"""Of the best prices, at which completions are bounded."""

APART = (1.0, 2.0, 0.5)
"""Of the price of noise and of the others, each with each, where both are limited."""

BESIDE = (1.0, 2.0, 0.5)
"""Multiples of the best prices of a limited measure taken as an objective, as latency where energy is least at the least latency."""

MOST_LIMITS = 5
"""Under more, hardly a label dominates another."""

MOST_LABELS = 60_000
"""Above which a part is branched in."""

MOST_AT_ONCE = 400_000
"""Combinations of one level above which it is, too."""

WIDE = 5
"""Times as many where only the most promising labels are kept."""

WIDTH = 4
"""Labels kept of each group by each price where they are too many."""

TRIED = 20
"""Complete labels held against the exact limits."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """What labels say.

    Attributes:
        bound: No plan of the part is below it, unless that is the best plan known; minus infinity where labels were left out.
        settled: Whether nothing is left below the best plan known.
        value: Of the best plan known then.
        every: Whether no label was left out.
        labels: How many there were.
    """

    bound: float
    settled: bool
    value: float
    every: bool
    labels: int

    def suffices(self, start: float, ceiling: float, higher: float) -> bool:
        """Whether labels will be few enough up to a higher ceiling, too: their number grows exponentially at most.

        Args:
            start: What prices prove.
            ceiling: That labels were made up to.
            higher: Another one.
        """
        growth = (higher - start) / max(ceiling - start, 1e-12 * abs(ceiling))
        return growth * float(np.log(self.labels + 1)) <= float(np.log(MOST_LABELS))


class LabelSearch:
    """Labels over one part.

    Args:
        pricing: Of it.
        costs: Of it.
    """

    def __init__(self, pricing: Pricing, costs: Costs) -> None:
        self._labelling = Labelling(pricing.relaxation, costs)
        self._pricing = pricing
        self._costs = costs
        self._beside: list[Floats] | None = None

    @staticmethod
    def suits(limits: Sequence[SumLimit]) -> bool:
        """Whether labels may be few."""
        return len(limits) <= MOST_LIMITS

    def search(
        self,
        prices: Floats,
        ceiling: float,
        *,
        every: bool,
        offer: Callable[[Plan], float],
        left_s: Callable[[], float],
    ) -> Labelled | None:
        """Find plans below a ceiling.

        Args:
            prices: The best known, shape (limits,).
            ceiling: A known plan's value, or more than a plan of interest has.
            every: Whether all labels are kept that may be part of the best plan; otherwise the most promising ones.
            offer: Takes a plan that seems to keep the limits; returns the best value known then.
            left_s: Time left. [s]

        Returns:
            What was found; None where labels were too many.
        """
        if self._beside is None:
            self._beside = self._weights_beside(left_s)
        spread = [self._pricing.weights(one) for one in _spread(prices, self._pricing.limits)]
        runs = self._pricing.batch.completions(np.array([*spread, *self._beside]))
        proof = self._labelling.within(
            self._pricing.objective,
            self._pricing.limits,
            runs=runs,
            ceiling=ceiling,
            width=None if every else WIDTH,
            most_labels=MOST_LABELS,
            most_at_once=MOST_AT_ONCE if every else WIDE * MOST_AT_ONCE,
            left_s=left_s,
        )
        if proof is None:
            return None
        value = ceiling
        for place in range(min(TRIED, len(proof.values))):
            if proof.values[place] >= value:
                break
            value = min(value, offer(proof.plan(place)))
        settled = proof.every and (not proof.values or value <= proof.values[0] * (1 + proof.rounding))
        return Labelled(proof.bound, settled, value, proof.every, proof.labels)

    def _weights_beside(self, left_s: Callable[[], float]) -> list[Floats]:
        """Beside those of the objective at its best prices: its own, each limited measure alone, or as an objective."""
        nothing = self._pricing.weights(np.zeros(len(self._pricing.limits)))
        found = [nothing, *(np.eye(len(nothing))[limit.measure] for limit in self._pricing.limits)]
        return found + [
            run for limit in self._pricing.limits if limit.measure in ALONE for run in self._of(limit, left_s)
        ]

    def _of(self, limit: SumLimit, left_s: Callable[[], float]) -> list[Floats]:
        """Weights at which a limited measure is bounded best under the other limits: the objective of a solve of its own."""
        others = [other for other in self._pricing.limits if other != limit]
        alone = ALONE[limit.measure]
        pricing = Pricing(self._pricing.relaxation, self._costs, alone, others, batch=self._pricing.batch)
        prices = pricing.best(limit.bound, left_s).best
        return [pricing.weights(factor * prices) for factor in BESIDE]


def _spread(prices: Floats, limits: Sequence[SumLimit]) -> list[Floats]:
    """The best prices, multiples of them, and others of noise than of the rest."""
    noisy = np.array([limit.measure == NOISE for limit in limits], dtype=bool)
    found = [factor * prices for factor in MULTIPLES]
    if noisy.any() and not noisy.all():
        apart = ((one, other) for one, other in itertools.product(APART, APART) if one != other)
        found += [np.where(noisy, one, other) * prices for one, other in apart]
    return found
