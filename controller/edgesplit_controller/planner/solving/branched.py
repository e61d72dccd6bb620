"""Branch and bound on what presolve leaves: contracted, and contracted again whenever bounds or a better plan let more go.

Labels are tried first, below ceilings that are no plan's: below a low one little is left, and that nothing is there is a bound. Where labels are too
many, the ceiling sinks, the most promising ones give a better plan, and in the end the tree takes the part.

Owns: which ceilings are tried, which parts of a problem are branched in, and when a tree is given up for smaller ones. Its rule: what is known stays known; an answer is
of the whole problem. Not here: the tree and its parts (`branching/`), the search that follows where it does not settle an objective.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.bounds.presolve import Bounds, reduce
from edgesplit_controller.planner.bounds.reduction import count_flows
from edgesplit_controller.planner.bounds.relaxation import relax
from edgesplit_controller.planner.branching.branch_and_bound import Branching
from edgesplit_controller.planner.branching.contraction import contract
from edgesplit_controller.planner.branching.label_search import LabelSearch
from edgesplit_controller.planner.branching.parts import Part, part_of
from edgesplit_controller.planner.branching.restrictions import Restriction
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.indexed_plan import Plan
from edgesplit_controller.planner.solving.known_plans import KnownPlans
from edgesplit_controller.planner.solving.open_objective import OpenObjective

__all__ = ["branched"]

FEW_FLOWS = 500
"""Joint choices below which search takes no longer than the tree."""

MANY_FLOWS = 4_000
"""Joint choices above which what is left of a problem that is no thin graph is none, either."""

ORDERS = 6
"""Of elimination that are tried for a smaller problem."""

SHRUNK = 0.75
"""Of the gap to the best plan known: once a better one leaves no more, the tree is begun anew."""

RAISED = 0.5
"""Of that gap: once bounds have closed so much, what is left becomes parts of its own."""

LARGE = 20_000
"""States of tables from which on parts are worth being made."""

MOST_TRIED = 4
"""Ceilings below the best plan known that labels are tried at."""

GUESSED = (0.1, 0.2, 0.4, 0.8)
"""Of the bound: how far above it a first plan is looked for."""

SHARE = 0.6
"""Of the time left that the tree may take for one objective."""


def branched(
    known: KnownPlans, costs: Costs, patterns: Patterns | None, left: OpenObjective, bounds: Bounds, *, complete: bool
) -> tuple[float, bool]:
    """Find the best plan, or bound it.

    Args:
        known: Plans; receives what is found.
        costs: The problem's.
        patterns: Allowed quantization patterns.
        left: The objective; its limits are priced.
        bounds: Of the objective, by choice.
        complete: Whether the relaxation of the whole problem is; else that of what is left has to be small to be.

    Returns:
        A value that no plan is below, and whether it settles the best plan known.
    """
    tree = _Tree(known, left)
    whole = Part(replace(costs, allowed=costs.allowed & left.domain), patterns, bounds, lambda plan: plan)
    if not tree.branch(whole, few=FEW_FLOWS, many=None if complete else MANY_FLOWS):
        return bounds.value, False
    while tree.parts and tree.left_s() > 0:
        part = min(tree.parts, key=lambda part: part.bounds.value)
        tree.parts.remove(part)
        if not tree.branch(part, few=0, many=None):
            tree.parts.append(part)
            break
    return tree.lowest(), not tree.parts


@dataclass(frozen=True, slots=True)
class _Within:
    """What is left of a part below a ceiling.

    Attributes:
        part: Contracted.
        branching: In it.
        offer: Takes a plan of it; returns the best value known then.
    """

    part: Part
    branching: Branching
    offer: Callable[[Plan], float]


class _Tree:
    """The parts that are left of one objective.

    Args:
        known: Plans; receives what is found.
        left: The objective.
    """

    def __init__(self, known: KnownPlans, left: OpenObjective) -> None:
        self.parts: list[Part] = []
        self._dived = False
        self._enough_s = (1 - SHARE) * left.left_s()
        self._known, self._left = known, left
        self._closed = float("inf")
        """The least bound of what was given up."""

    def left_s(self) -> float:
        """Time left for it. [s]"""
        return self._left.left_s() - self._enough_s

    def lowest(self) -> float:
        """No plan is below it."""
        return min([self._closed, self._value(), *(part.bounds.value for part in self.parts)])

    def branch(self, part: Part, *, few: int, many: int | None) -> bool:
        """Branch in a part, which may leave smaller ones; whether that was possible.

        Args:
            part: No longer one of those left.
            few: Joint choices below which it is not.
            many: Above which it is not, either; None: it is.
        """
        value = self._value()
        reduction, _ = reduce(part.costs, part.patterns, part.costs.allowed, part.bounds, value)
        if not reduction.domain.any(axis=1).all():
            self._closed = min(self._closed, value)
            return True
        flows = count_flows(part.costs, reduction)
        if flows < few or (many is not None and flows > many):
            return False
        if value == float("inf") and not self._dived:
            return self._dive(part)
        ceiling = self._ceiling(part, value)
        within = self._within(part, ceiling)
        if within is None:
            return False
        start = within.branching.pricing.best(ceiling, self.left_s, within.offer)
        if ceiling < float("inf") and self._has_labels and self._labelled(part, within, start, ceiling):
            return True
        return self._branch_in(within, start, part)

    @property
    def _has_labels(self) -> bool:
        return LabelSearch.suits(self._left.limits)

    def _dive(self, part: Part) -> bool:
        """Look for a first plan; whether that was possible."""
        self._dived = True
        within = self._within(part, float("inf"))
        if within is None:
            return False
        within.branching.dive(offer=within.offer, left_s=self.left_s)
        bound = part.bounds.value
        for factor in GUESSED if self._has_labels else ():
            if self._value() < float("inf") or self.left_s() <= 0:
                break
            ceiling = bound + factor * abs(bound)
            within = self._within(part, ceiling)
            if within is not None:
                start = within.branching.pricing.best(ceiling, self.left_s, within.offer)
                labels = LabelSearch(within.branching.pricing, within.part.costs)
                labels.search(start.best, ceiling, every=False, offer=within.offer, left_s=self.left_s)
        self.parts.append(part)
        return True

    def _ceiling(self, part: Part, value: float) -> float:
        """What plans are looked for below at first: half way to the best one known, where far fewer choices are left."""
        if not self._has_labels or part.tried >= MOST_TRIED or value == float("inf"):
            return value
        if part.ceiling < float("inf"):
            return min(part.ceiling, value)
        # Under an extra limit the plan known is most often the best.
        return value if self._left.extra else (part.bounds.value + value) / 2

    def _within(self, part: Part, ceiling: float) -> _Within | None:
        """What is left of a part below a ceiling; None where its relaxation is not complete."""
        reduction, patterns = reduce(part.costs, part.patterns, part.costs.allowed, part.bounds, ceiling)
        smaller = contract(part.costs, patterns, reduction)
        relaxation = relax(smaller.costs, smaller.patterns, orders=ORDERS)
        if relaxation is None or not relaxation.complete:
            return None
        within = Part(smaller.costs, smaller.patterns, part.bounds, lambda plan: part.expanded(smaller.expanded(plan)))
        branching = Branching(relaxation, within.costs, self._left.objective, self._left.limits)

        def offer(plan: Plan) -> float:
            self._known.keep(within.expanded(plan))
            return self._value()

        return _Within(within, branching, offer)

    def _labelled(self, part: Part, within: _Within, start: Restriction, ceiling: float) -> bool:
        """Look for plans below a ceiling by labels; whether that closed the part or left less of it, or another ceiling to try."""
        value, bound = self._value(), min(start.bound, ceiling)  # what is not within is above the ceiling
        labels = LabelSearch(within.branching.pricing, within.part.costs)
        search = partial(labels.search, start.best, offer=within.offer, left_s=self.left_s)
        found = search(ceiling, every=True)
        if found is None:
            while (before := self._value()) > 0 and search(min(ceiling, before), every=False) is not None:
                if self._value() == before:
                    break
            now = self._value()
            if now < value and now - bound <= SHRUNK * (value - bound):
                self.parts.append(replace(part.above(bound), tried=MOST_TRIED))
                return True
            if now < min(ceiling, value):
                found = search(now, every=True)
        if found is None and ceiling < value:
            lower = (max(part.bounds.value, bound) + ceiling) / 2
            self.parts.append(replace(part.above(bound), ceiling=lower, tried=part.tried + 1))
            return True
        if found is None or not found.settled:
            if ceiling < value:
                self.parts.append(replace(part.above(bound), tried=MOST_TRIED))
            return ceiling < value
        if found.value < ceiling or ceiling >= value:
            self._closed = min(self._closed, found.bound, self._value())
            return True
        higher = value if found.suffices(bound, ceiling, value) else (ceiling + value) / 2
        self.parts.append(replace(part.above(found.bound), ceiling=higher, tried=part.tried + 1))
        return True

    def _branch_in(self, within: _Within, start: Restriction, part: Part) -> bool:
        """Branch in a part's contraction; whether that was possible."""
        bound, value, branching = part.bounds.value, self._value(), within.branching
        verdict = branching.solve(
            start=start,
            ceiling=value,
            offer=within.offer,
            left_s=self.left_s,
            until=lambda lowest: self._is_enough(value, bound, lowest, branching.states),
        )
        if verdict.stuck:
            return False
        if verdict.proven:
            self._closed = min(self._closed, verdict.closed, self._value())
        elif self.left_s() <= 0 or not self._is_raised(bound, verdict.bound):
            self.parts.append(part.above(verdict.bound))
        else:
            self._closed = min(self._closed, verdict.closed)
            found = (part_of(one, branching.pricing, branching.pricing.relaxation, within.part) for one in verdict.left)
            self.parts += [replace(one, tried=MOST_TRIED) for one in found if one is not None]
        return True

    def _is_enough(self, value: float, bound: float, lowest: float, states: int) -> bool:
        """Whether a tree is better given up: for a better plan than the one it was begun with, or for higher bounds."""
        now = self._value()
        if now < value and now - bound <= SHRUNK * (value - bound):
            return True
        return states > LARGE and self._is_raised(bound, lowest)

    def _is_raised(self, bound: float, lowest: float) -> bool:
        now = self._value()
        return bound < lowest < now < float("inf") and lowest - bound >= RAISED * (now - bound)

    def _value(self) -> float:
        return self._known.value(self._left.objective, self._left.extra)
