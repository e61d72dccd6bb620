"""Caps on labels: what no partial assignment worth finding exceeds, from runs of the plain elimination at several prices.

Owns: how much of a weighted sum a plan below a ceiling and within the limits can have, and what every state's completions add at least. Its
rule: a cap holds for every such plan, rounding included. Not here: which prices, the labels (`limited_elimination.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.elimination import Elimination, Run
from edgesplit_controller.planner.bounds.labels.limited_elimination import Alternatives, Cap
from edgesplit_controller.planner.bounds.state_index import StateLayout, States
from edgesplit_controller.planner.meaning.measures import WEIGHED, SumLimit
from edgesplit_controller.planner.meaning.tolerance import DOUBT

__all__ = ["CapRun", "most_of_measures", "most_of_sum"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CapRun:
    """The plain elimination at some prices.

    Attributes:
        weights: Of the measures.
        least: Per state, the least weighted sum of any assignment with it.
        outside: What of that lies beyond the state's own table.
        messages: Per entry of all messages, the least weighted sum of what is below it.
    """

    weights: Floats
    least: Floats
    outside: Floats
    messages: Floats

    @classmethod
    def of(cls, weights: Floats, run: Run, elimination: Elimination) -> CapRun:
        """From one minimisation."""
        beliefs = _row(elimination.beliefs(run))
        return cls(weights, beliefs, beliefs - _row(run.tables), _row(run.messages))

    def cap(
        self, most: float, states: States, alternatives: Sequence[Alternatives], layout: StateLayout, *, ranks: bool
    ) -> Cap:
        """As a bound on the completions of labels.

        Args:
            most: Of the weighted sum.
            states: Labels start from.
            alternatives: Their options.
            layout: Theirs.
            ranks: Whether it is the objective at some prices.
        """
        rest = self.outside[states.at]
        ahead = rest.copy()
        for choice in alternatives:
            ahead += choice.least(self.weights)
        following = [ahead]
        for child in reversed(states.children[1:]):
            following.append(following[-1] + np.where(child >= 0, self.messages[child], 0.0))
        roots = self.messages[[layout.message_of(root) for root in layout.roots]]
        return Cap(self.weights, most, rest, tuple(reversed(following)), roots, ranks)


def _row(tables: Sequence[Floats]) -> Floats:
    return np.concatenate([table.reshape(-1) for table in tables])


def most_of_measures(
    objective: Floats, ceiling: float, limits: Sequence[SumLimit], least: Floats
) -> tuple[Floats, Floats]:
    """The most of each measure that a plan up to the ceiling and within the limits has, and the magnitude behind it.

    A measure of the objective has at most what the least of the others leaves of the ceiling.
    """
    bounds, magnitudes = np.full(len(objective), np.inf), np.zeros(len(objective))
    for limit in limits:
        bounds[limit.measure] = min(bounds[limit.measure], limit.bound)
        magnitudes[limit.measure] = max(magnitudes[limit.measure], abs(limit.bound), limit.magnitude)
    for measure in np.flatnonzero(objective[:WEIGHED] > 0).tolist():
        others = (objective[:WEIGHED] > 0) & (np.arange(WEIGHED) != measure)
        left = (ceiling - float(objective[:WEIGHED][others] @ least[others])) / objective[measure]
        if np.isfinite(left) and left < bounds[measure]:
            bounds[measure] = left
            magnitudes[measure] = max(magnitudes[measure], abs(ceiling) / objective[measure])
    return bounds, magnitudes


def most_of_sum(run: Floats, objective: Floats, ceiling: float, bounded: tuple[Floats, Floats]) -> float:
    """The most that a plan up to the ceiling can have of a run's weighted sum.

    The sum is put together from as much of the objective as fits and from bounded measures, or from these alone.
    """
    bounds, magnitudes = bounded
    positive = objective > 0
    most = np.inf
    for share in (0.0, float((run[positive] / objective[positive]).min(initial=np.inf))):
        rest = run - share * objective
        rest[np.abs(rest) <= 1e-15 * np.abs(run)] = 0.0
        if (rest >= 0).all():
            own = share * ceiling if share else 0.0
            used = rest > 0
            doubt = DOUBT * (abs(own) + float(rest[used] @ magnitudes[used]))
            most = min(most, own + float(rest[used] @ bounds[used]) + doubt)
    return most
