"""Objectives whose latency is the end of a schedule: places and schedule searched together.

Owns: the shares of time and the sizes of time units of these searches, and what bounds say before one. Its rule: a bound of the longest path and
of each measure alone settles what it can. Not here: the constraints of a schedule (`cpsat/schedule.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.bounds.path_bound import least_latency_s
from edgesplit_controller.planner.bounds.reduction import Reduction, unreduced
from edgesplit_controller.planner.cpsat.minimisation import SolveOutcome, build_model, solve_objective
from edgesplit_controller.planner.cpsat.schedule import TICKS, add_schedule, worst_latency_s
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.indexed_plan import Plan
from edgesplit_controller.planner.meaning.measures import (
    ENERGY,
    ENERGY_ALONE,
    LATENCY,
    LATENCY_ALONE,
    SumLimit,
    WeightedSum,
)
from edgesplit_controller.planner.meaning.tolerance import DOUBT, ULP, proves
from edgesplit_controller.planner.solving.known_plans import KnownPlans

__all__ = ["TimedSearch"]

TIMED_SHARE = 0.35
"""Of the time left, for each solve with a schedule but the last."""

REFINED_SHARE = 0.1
"""Of the time left, for proving a measure's best value further than by itself it would have to be."""


class TimedSearch:
    """Searches of one problem.

    Args:
        problem: It.
        costs: Its.
        patterns: Allowed quantization patterns.
        known: Plans; receives what is found.
        limits: Of the problem, noise aside.
        clock: Gives the time left.
    """

    def __init__(
        self,
        problem: Problem,
        costs: Costs,
        patterns: Patterns | None,
        *,
        known: KnownPlans,
        limits: tuple[SumLimit, ...],
        clock: Clock,
    ) -> None:
        self._problem, self._costs, self._patterns = problem, costs, patterns
        self._known, self._limits, self._clock = known, limits, clock

    def best(
        self,
        objective: WeightedSum,
        extra: tuple[SumLimit, ...],
        *,
        domain: NDArray[np.bool_],
        least_energy_j: float,
        settled: Callable[[float], float],
    ) -> SolveOutcome:
        """Solve an objective, in ever smaller units of time.

        Args:
            objective: What to minimise.
            extra: Limits beside the problem's.
            domain: Nodes each operator may run on, shape (operators, nodes).
            least_energy_j: What no plan is below. [J]
            settled: How close to a value a bound settles it.
        """
        share = TIMED_SHARE if extra or objective in (LATENCY_ALONE, ENERGY_ALONE) else 1.0
        enough_s = self._clock.left_s() * (1 - share)
        floor, asked = 0.0, self._problem.objective
        # The best values of a score's measures are to be known to a part of ranges that may be narrow.
        refined = not objective.tolerance and 0 not in (asked.latency_weight, asked.energy_weight)
        for ticks in TICKS:
            start = self._known.best(objective, extra)
            if start is not None:
                value = objective.value(start.measures)
                floor = max(floor, self._floor(objective, domain, start, least_energy_j))
                enough = proves(value, floor, objective.tolerance) and not refined
                if enough or value - floor <= settled(value):
                    return SolveOutcome(start, min(floor, value), True)
            horizon_s = self._horizon_s(objective, extra, start, least_energy_j)
            found = self._searched(objective, extra, domain, start, ticks=ticks, horizon_s=horizon_s, enough_s=enough_s)
            floor = max(floor, found.bound)
            plan = self._known.best(objective, extra)
            if plan is None:
                return SolveOutcome(None, floor, found.proven)
            value = objective.value(plan.measures)
            done = proves(value, floor, objective.tolerance)
            if done and found.proven and refined and ticks == TICKS[0]:
                enough_s = max(enough_s, self._clock.left_s() * (1 - REFINED_SHARE))
            elif not found.proven or done:
                return SolveOutcome(plan, min(floor, value), done)
        return SolveOutcome(self._known.best(objective, extra), min(floor, self._known.value(objective, extra)), False)

    def _searched(
        self,
        objective: WeightedSum,
        extra: tuple[SumLimit, ...],
        domain: NDArray[np.bool_],
        start: Plan | None,
        *,
        ticks: int,
        horizon_s: float,
        enough_s: float,
    ) -> SolveOutcome:
        """One search over places and schedules in time units of one size."""
        free = unreduced(self._costs)
        reduction = Reduction(free.units, free.unit_of, free.domain & domain)
        model = build_model(self._problem, self._costs, self._patterns, reduction)
        return solve_objective(
            add_schedule(model, horizon_s, ticks),
            objective,
            limits=(*self._limits, *extra),
            start=start,
            clock=self._clock,
            judge=self._known.judge(objective, extra),
            share=1 - enough_s / max(self._clock.left_s(), enough_s, 1e-9),
        )

    def _horizon_s(
        self, objective: WeightedSum, extra: tuple[SumLimit, ...], start: Plan | None, least_energy_j: float
    ) -> float:
        """No plan of interest ends later. [s]"""
        horizons_s = [worst_latency_s(self._costs), *(limit.bound for limit in extra if limit.measure == LATENCY)]
        if objective.weights[LATENCY] > 0 and start is not None:
            left = objective.value(start.measures) - objective.weights[ENERGY] * least_energy_j
            horizons_s.append(left / objective.weights[LATENCY])
        return min(horizons_s) * (1 + DOUBT)

    def _floor(self, objective: WeightedSum, domain: NDArray[np.bool_], plan: Plan, least_energy_j: float) -> float:
        """Each measure's own bound, weighted."""
        least_s = least_latency_s(self._costs, domain, plan)
        floor = objective.weights[LATENCY] * least_s + objective.weights[ENERGY] * least_energy_j
        return floor * (1 - 4 * len(self._costs.operators) * ULP)
