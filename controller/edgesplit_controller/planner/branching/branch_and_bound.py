"""Branch and bound: places are decided one by one where prices alone leave a gap.

Owns: the tree, and which choice is decided next. Its rule: a restriction is given up only when its bound settles the best plan known; what it
cannot decide it hands back. Not here: bounds (`restrictions.py`), exact judgement of plans.

A limit that couples the whole graph, as one on a node's memory, is kept at the best prices by a mixture of assignments (0.6 of all on
the cloud and 0.4 of all on the edge), none of which keeps it. Deciding where an operator goes on which the mixture disagrees takes
the mixture apart. The operator in the middle of what is disputed is decided, by how much it adds to the limited sums: its neighbours
follow it. Restrictions are priced side by side (`batch.py`).

References: A. M. Geoffrion, Lagrangean relaxation for integer programming, Mathematical Programming Study 2, 1974.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.relaxation import Relaxation
from edgesplit_controller.planner.branching.crossing import crossing
from edgesplit_controller.planner.branching.restrictions import MOST_STEPS, Pricing, Restriction, between
from edgesplit_controller.planner.linear.tangents import BestPrices
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.indexed_plan import Plan
from edgesplit_controller.planner.meaning.measures import SumLimit, WeightedSum
from edgesplit_controller.planner.meaning.tolerance import proves

__all__ = ["Branching", "Verdict"]

Floats = NDArray[np.float64]
Offer = Callable[[Plan], float]

SIDE_BY_SIDE = 8
"""Restrictions priced at once."""

CROSSED = 2
"""Choices decided up to which a mixture's parts are crossed, once a plan is known."""

DIVE_STEPS = 4
"""Of prices, for each half tried while looking for a plan."""

ENOUGH = 0.1
"""Of the way to the best plan known: where prices promise less than that more, the next choice is decided."""

GUESSED = 1e-3
"""Of the bound, the same as long as no plan is known."""

FLAT = 1e-7
"""Relative: where prices promise less than that more, they are the best."""

LATELY = 3
"""Assignments seen last that are told apart where the mixture agrees."""

DISPUTED = 1e-9
"""Least share of a mixture that disagrees about a choice worth deciding."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What branching says.

    Attributes:
        bound: No plan is below it, unless that is the best plan known.
        proven: Nothing is left below the best plan known.
        closed: The least bound of what was given up; infinity where all of that is impossible.
        left: Restrictions that may hold a better plan.
        stuck: Whether all agree in one of them and its bound does not settle it.
    """

    bound: float
    proven: bool
    closed: float = np.inf
    left: tuple[Restriction, ...] = ()
    stuck: bool = False


class Branching:
    """One objective under limits.

    Args:
        relaxation: Complete.
        costs: Those it was made of; operators about in the order of the graph.
        objective: What to minimise.
        limits: On measures.
    """

    def __init__(
        self, relaxation: Relaxation, costs: Costs, objective: WeightedSum, limits: Sequence[SumLimit]
    ) -> None:
        self.pricing = Pricing(relaxation, costs, objective, limits)
        self._operators = len(costs.operators)
        self._tolerance = objective.tolerance
        self._weighing = _weighing(costs, limits)

    @property
    def states(self) -> int:
        """Of all tables of one elimination."""
        return self.pricing.batch.states

    def solve(
        self,
        *,
        ceiling: float,
        offer: Offer,
        left_s: Callable[[], float],
        until: Callable[[float], bool] = lambda _: False,
        start: Restriction | None = None,
    ) -> Verdict:
        """Branch until nothing is left below the best plan known.

        Args:
            ceiling: A known plan's value, or infinity.
            offer: Takes a plan that seems to keep the limits; returns the best value known then.
            left_s: Time left. [s]
            start: Everything open, with prices known; None: without.
            until: Asked before every round whether to stop early, with the bound by then.
        """
        number = itertools.count()
        pricing = [self.pricing.whole() if start is None else start]
        waiting: list[tuple[float, int, Restriction]] = []
        undecided: list[Restriction] = []
        closed = np.inf
        """The least bound of what was given up."""
        while pricing or waiting:
            while waiting and len(pricing) < SIDE_BY_SIDE:
                pricing.append(heapq.heappop(waiting)[2])
            open_ = [*pricing, *(one for _, _, one in waiting[:1])]
            if left_s() <= 0 or until(min([closed, ceiling, *(one.bound for one in (*open_, *undecided))])):
                break
            ceiling, possible = self.pricing.tried(pricing, ceiling, offer)
            pricing = []
            for one in possible:
                if self._settles(one.bound, ceiling):
                    closed = min(closed, one.bound)
                    continue
                ceiling, children = self._next(one, ceiling, offer)
                if children is None:
                    pricing.append(one)
                elif not children:
                    undecided.append(one)
                for child in children or ():
                    heapq.heappush(waiting, (child.bound, next(number), child))
        left = [*pricing, *(one for _, _, one in waiting), *undecided]
        bound = min([closed, ceiling, *(one.bound for one in left)])
        closed = min([closed, *(one.bound for one in left if self._settles(one.bound, ceiling))])
        left = [one for one in left if not self._settles(one.bound, ceiling)]
        stuck = any(one in left for one in undecided)
        return Verdict(bound, not left, closed, tuple(left), stuck)

    def dive(self, *, offer: Offer, left_s: Callable[[], float]) -> float:
        """Look for a plan by deciding half of what is disputed at a time, each time the half whose bound stays least.

        Args:
            offer: Takes a plan that seems to keep the limits; returns the best value known then.
            left_s: Time left. [s]

        Returns:
            The best value known.
        """
        ceiling = np.inf
        candidates = [self.pricing.whole()]
        while candidates and left_s() > 0:
            tried: dict[int, Restriction] = {}
            for _ in range(DIVE_STEPS):
                ceiling, possible = self.pricing.tried(candidates, ceiling, offer)
                tried |= {id(one): one for one in possible}
                candidates = [one for one in possible if self._propose(one)]
                if not candidates:
                    break
            best = min(tried.values(), key=lambda one: one.bound, default=None)
            if best is None or best.bound >= ceiling:
                break
            found = self.pricing.mixture(best)
            ceiling = ceiling if found is None else self._crossed(best, found, ceiling, offer)
            candidates = [] if found is None or np.isfinite(ceiling) else self._halves(best, found)
        return ceiling

    def _settles(self, bound: float, ceiling: float) -> bool:
        return bool(np.isfinite(ceiling)) and proves(ceiling, bound, self._tolerance)

    def _next(self, one: Restriction, ceiling: float, offer: Offer) -> tuple[float, list[Restriction] | None]:
        """One more choice decided in every way; None where prices are to be tried further, nothing where all agree at the best prices.

        Before it the best value known then.
        """
        found = self.pricing.mixture(one)
        if found is None:
            return ceiling, []
        gain = found.promise - one.bound
        enough = ENOUGH * (ceiling - one.bound) if np.isfinite(ceiling) else GUESSED * abs(one.bound)
        best = gain <= min(FLAT * abs(one.bound), enough) or one.steps >= MOST_STEPS
        if best or gain <= enough:
            children = self._decided(one, found)
            if children:
                if one.depth <= CROSSED or ceiling == np.inf:
                    ceiling = self._crossed(one, found, ceiling, offer)
                return ceiling, children
        one.trials = between(one, found)
        if not best:
            return ceiling, None
        # One assignment is the mixture, and prices have not got there: it differs from what they gave last.
        lately = one.fitting[-LATELY:]
        return ceiling, self._apart(one, lately, np.ones(len(lately)))

    def _propose(self, one: Restriction) -> bool:
        """Set prices to try, if what was seen promises much better ones."""
        found = self.pricing.mixture(one)
        if found is None or found.promise - one.bound <= GUESSED * abs(one.bound):
            return False
        one.trials = between(one, found)
        return True

    def _crossed(self, one: Restriction, found: BestPrices, ceiling: float, offer: Offer) -> float:
        """Offer the best crossing of a mixture's two largest parts."""
        parts = self._parts(found)
        if len(parts) < 2:
            return ceiling
        pairs = ((parts[0], parts[1]), (parts[1], parts[0]))
        crossed = [crossing(self.pricing, pair, self._operators, one.best) for pair in pairs]
        best, _ = min(crossed, key=lambda pair: pair[1])
        plan = self.pricing.recoded(best, one.best, ceiling)
        return ceiling if plan is None else min(ceiling, offer(plan))

    def _halves(self, one: Restriction, found: BestPrices) -> list[Restriction]:
        """The first or the second half of what a mixture's two largest parts dispute, decided as either has it."""
        parts = self._parts(found)
        if len(parts) < 2:
            return []
        differing = np.flatnonzero(parts[0] != parts[1])
        if not len(differing):
            return []  # they differ in how tensors are coded alone
        operator = np.minimum(differing, self._operators - 1)
        weight = np.cumsum(np.where(differing < self._operators, self._weighing[operator], 0.0))
        middle = int(np.searchsorted(weight, weight[-1] / 2)) + 1
        halves: list[Restriction] = []
        for decided in (differing[:middle], differing[middle:]):
            for choice in parts if len(decided) else ():
                open_ = one.open.copy()
                open_[decided] = False
                open_[decided, choice[decided]] = True
                halves.append(Restriction(open_, one.closed, one.bound, one.depth + len(decided), one.best))
        return halves

    def _parts(self, found: BestPrices) -> list[NDArray[np.int16]]:
        """The two largest parts of a mixture."""
        order = np.argsort(-found.shares)[:2].tolist()
        return [self.pricing.seen[int(found.tangents[place])] for place in order if found.shares[place] > DISPUTED]

    def _decided(self, one: Restriction, found: BestPrices) -> list[Restriction]:
        """The most disputed choice of a mixture decided in every way: a place, a bit, or a mode; nothing where all agree."""
        return self._apart(one, found.tangents[found.shares > 0], found.shares[found.shares > 0])

    def _apart(self, one: Restriction, seen: NDArray[np.intp], shares: Floats) -> list[Restriction]:
        """The choice that assignments disagree about most, decided in every way; nothing where all agree."""
        if not len(seen):
            return []
        share = np.zeros(one.open.shape)
        for which, part in zip(seen.tolist(), shares.tolist(), strict=True):
            share[np.arange(len(share)), self.pricing.seen[which]] += part
        doubt = share.sum(axis=1) - share.max(axis=1)
        doubt[one.open.sum(axis=1) < 2] = 0.0
        places, bits = doubt[: self._operators], doubt[self._operators :]
        variable = None
        most = float(places.max(initial=0.0))
        if most > DISPUTED:
            weight = np.cumsum(np.where(places >= 0.5 * most, places, 0.0) * self._weighing)
            variable = int(np.searchsorted(weight, weight[-1] / 2))
        elif bits.max(initial=0.0) > DISPUTED:
            variable = self._operators + int(bits.argmax())
        if variable is not None:
            choices = np.flatnonzero(one.open[variable]).tolist()
            return [self.pricing.with_choice(one, variable, choice) for choice in choices]
        modes = np.stack([self.pricing.modes[which] for which in seen.tolist()])
        each = np.array([shares @ (modes == place) for place in range(int(modes.max(initial=0)) + 1)])
        unlike = each.sum(axis=0) - each.max(axis=0)
        if unlike.max(initial=0.0) <= DISPUTED:
            return []
        tensor = int(unlike.argmax())
        return [self.pricing.with_mode(one, tensor, mode) for mode in self.pricing.modes_open(one, tensor)]


def _weighing(costs: Costs, limits: Sequence[SumLimit]) -> Floats:
    """How much a choice of each operator's place can change the limited sums, of their bounds, shape (operators,)."""
    total = np.full(len(costs.operators), 1e-9)
    for limit in limits:
        amounts = np.where(np.isfinite(costs.compute[limit.measure]), costs.compute[limit.measure], 0.0)
        total += (amounts.max(axis=1) - amounts.min(axis=1)) / (abs(limit.bound) or 1.0)
    return total
