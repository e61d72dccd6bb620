"""Feasibility: whether a plan keeps its limits, by floating point where that is plain, by exact sums where it is not.

Owns: the planner's one judgement of limits. Its rule: the referee's exact sums have the last word near a limit, and
nothing else looks at them. Not here: finding plans.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.exact import ExactCosts, exact_costs
from edgesplit_controller.planner.meaning.indexed_plan import Plan, to_assignment
from edgesplit_controller.planner.meaning.measures import LATENCY, SumLimit
from edgesplit_controller.planner.meaning.tolerance import ROUNDING, keeps, verdict

__all__ = ["Feasibility"]


class Feasibility:
    """Judges plans of one problem."""

    def __init__(self, problem: Problem, costs: Costs) -> None:
        self._problem, self._costs = problem, costs
        self._critical = problem.objective.latency_model == "critical-path"
        self._exact: dict[object, ExactCosts] = {}

    def broken(self, plan: Plan) -> frozenset[int]:
        """The measures by which a plan breaks the problem's own limits."""
        return self.beyond(plan, self._costs.limits)

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
