"""Incumbents: the plans of one problem that are known, and the best of them for an objective.

Owns: keeping what keeps the problem's limits, by exact judgement; every plan kept is a start and an upper bound for the next
solve. Its rule: latency is measured under the problem's own model. Not here: how plans are found.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from copy import copy

from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.bounds.presolve import Pool
from edgesplit_controller.planner.cpsat.minimisation import Judge
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.evaluation import broken_constraints, end_of_timeline
from edgesplit_controller.planner.meaning.feasibility import Feasibility
from edgesplit_controller.planner.meaning.indexed_plan import Plan, measured, plan_of, to_assignment
from edgesplit_controller.planner.meaning.measures import LATENCY, SumLimit, WeightedSum

__all__ = ["KnownPlans"]


class KnownPlans:
    """Plans that keep every limit of one problem, and a pool of assignments that need not.

    Args:
        problem: It.
        costs: Its.
        watched: Nodes and links that the costs watch; None: all.
    """

    def __init__(self, problem: Problem, costs: Costs, watched: AbstractSet[str] | None = None) -> None:
        self.plans: list[Plan] = []
        self.pool = Pool()
        self._problem, self._costs = problem, costs
        self._critical = problem.objective.latency_model == "critical-path"
        self._feasibility = Feasibility(problem, costs, watched)

    def narrowed(self, costs: Costs) -> KnownPlans:
        """Those that the same problem allows with fewer places for some operators."""
        narrow = copy(self)
        narrow.plans = [plan for plan in self.plans if costs.allows(plan.node)]
        narrow.pool = self.pool.narrowed(costs)
        narrow._costs = costs
        return narrow

    def watching(self, costs: Costs, watched: AbstractSet[str]) -> KnownPlans:
        """The same plans under costs that watch more nodes and links."""
        wider = KnownPlans(self._problem, costs, watched)
        for plan in self.plans:
            known = measured(plan.node, plan.quantized, plan.mode, costs)
            wider.plans.append(known.lasting(float(plan.measures[LATENCY])) if self._critical else known)
        for plan in self.pool.plans:
            wider.pool.add(measured(plan.node, plan.quantized, plan.mode, costs))
        return wider

    def nearest(self, limits: Sequence[SumLimit]) -> Plan | None:
        """Of the pool, the assignment whose worst breach of a limit is the least; None of an empty one."""

        def breach(plan: Plan) -> float:
            return max(float(plan.measures[limit.measure]) / (limit.bound or 1.0) for limit in limits)

        return min(self.pool.plans, key=breach, default=None) if limits else None

    def offer_starts(self, hint: Assignment | None) -> None:
        """Everything on the source, and the last plan."""
        costs = self._costs
        self.offer(measured((costs.source,) * len(costs.operators), frozenset(), {}, costs))
        known = plan_of(hint, costs) if hint is not None else None
        if known is not None:
            self.offer(known)

    def offer(self, plan: Plan) -> None:
        """Keep an assignment as a start, if it is a plan."""
        possible = self._costs.allows(plan.node)
        if possible and not broken_constraints(self._problem, to_assignment(plan, self._costs)):
            self.keep(plan)

    def keep(self, plan: Plan) -> Plan | None:
        """Keep a plan, its latency that of the problem's own model; None if it breaks a limit of the problem."""
        known = next((known for known in self.plans if known == plan), None)
        if known is not None:
            return known
        if self._feasibility.broken(plan):
            return None
        if self._critical:
            plan = plan.lasting(end_of_timeline(self._problem, to_assignment(plan, self._costs)))
        self.plans.append(plan)
        return plan

    def breaks(self, plan: Plan) -> bool:
        """Whether an assignment breaks a limit of the problem."""
        return bool(self._feasibility.broken(plan))

    def keeps(self, plan: Plan, limits: tuple[SumLimit, ...]) -> bool:
        """Whether a plan kept is within further limits."""
        return not self._feasibility.beyond(plan, limits)

    def best(self, objective: WeightedSum, extra: tuple[SumLimit, ...] = ()) -> Plan | None:
        """The best plan that keeps limits beside the problem's."""
        fitting = [plan for plan in self.plans if self.keeps(plan, extra)]
        return min(fitting, key=lambda plan: objective.value(plan.measures), default=None)

    def value(self, objective: WeightedSum, extra: tuple[SumLimit, ...] = ()) -> float:
        """The objective of the best plan; infinity when there is none."""
        best = self.best(objective, extra)
        return float("inf") if best is None else objective.value(best.measures)

    def judge(self, objective: WeightedSum, extra: tuple[SumLimit, ...]) -> Judge:
        """Exact costs of what the solver finds: the objective's value, or the measures whose limits it breaks."""

        def judge(plan: Plan) -> float | frozenset[int]:
            broken = self._feasibility.broken(plan)
            kept = None if broken else self.keep(plan)
            if kept is None:
                return broken
            return self._feasibility.beyond(kept, extra) or objective.value(kept.measures)

        return judge
