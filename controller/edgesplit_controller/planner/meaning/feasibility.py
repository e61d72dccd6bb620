"""Feasibility: whether a plan keeps its limits, by floating point where that is plain, by exact sums where it is not.

Owns: the planner's one judgement of limits. Its rule: the referee's exact sums have the last word near a limit, and
nothing else looks at them; a plan that breaks what costs do not watch is never let pass. Not here: finding plans.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.exact import ExactCosts, exact_costs
from edgesplit_controller.planner.meaning.indexed_plan import Plan, to_assignment
from edgesplit_controller.planner.meaning.measures import LATENCY, SumLimit
from edgesplit_controller.planner.meaning.throughput import periods
from edgesplit_controller.planner.meaning.tolerance import ROUNDING, keeps, verdict

__all__ = ["Feasibility", "MoreToWatch"]


class MoreToWatch(Exception):
    """A plan keeps all limits that costs watch, and needs some other node or link for longer than its period.

    Attributes:
        subjects: These nodes and links.
    """

    def __init__(self, subjects: frozenset[str]) -> None:
        super().__init__(", ".join(sorted(subjects)))
        self.subjects = subjects


class Feasibility:
    """Judges plans of one problem.

    Args:
        problem: It.
        costs: Its.
        watched: Nodes and links that the costs watch; None: all.
    """

    def __init__(self, problem: Problem, costs: Costs, watched: AbstractSet[str] | None = None) -> None:
        self._problem, self._costs = problem, costs
        self._critical = problem.objective.latency_model == "critical-path"
        self._exact: dict[object, ExactCosts] = {}
        rate_hz = problem.constraints.min_rate_hz
        others = watched is not None and rate_hz is not None
        self._period_s = 1 / rate_hz if rate_hz is not None else 0.0
        self._unwatched = [one for one in periods(problem) if others and one.subject not in (watched or ())]

    def broken(self, plan: Plan) -> frozenset[int]:
        """The measures by which a plan breaks the problem's own limits.

        Raises:
            MoreToWatch: It breaks none of these, and one that the costs do not watch.
        """
        found = self.beyond(plan, self._costs.limits)
        if self._unwatched and not found:
            self._check_unwatched(plan)
        return found

    def _check_unwatched(self, plan: Plan) -> None:
        usage = self._exact_costs(plan).usage
        beyond = {one.subject for one in self._unwatched if not keeps(*one.sum.exact(usage), self._period_s)}
        if beyond:
            raise MoreToWatch(frozenset(beyond))

    def beyond(self, plan: Plan, limits: Sequence[SumLimit]) -> frozenset[int]:
        """The measures by which a plan exceeds limits."""
        return frozenset(limit.measure for limit in limits if not self._within(plan, limit))

    def _within(self, plan: Plan, limit: SumLimit) -> bool:
        value = float(plan.measures[limit.measure])
        if limit.measure == LATENCY and self._critical:
            return value <= limit.bound * (1 + ROUNDING)
        kept = verdict(value, limit.magnitude or value, limit.bound)
        if kept is None:
            exact = self._exact_costs(plan)
            possible = limit.measure != LATENCY or exact.latency_s is not None
            kept = possible and keeps(*self._costs.sums[limit.measure].exact(exact.usage), limit.bound)
        return kept

    def _exact_costs(self, plan: Plan) -> ExactCosts:
        """The referee's sums."""
        key = plan.key
        if key not in self._exact:
            self._exact[key] = exact_costs(self._problem, to_assignment(plan, self._costs))
        return self._exact[key]
