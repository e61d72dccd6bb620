"""Objectives whose latency is the end of a schedule: places and schedule searched together.

Owns: the shares of time and the sizes of time units of these searches, and what bounds say before one. Its rule: a bound of the longest path and
of each measure alone settles what it can. Not here: the constraints of a schedule (`cpsat/schedule.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.bounds.path_bound import least_latency_s
from edgesplit_controller.planner.bounds.reduction import Reduction, count_flows, unreduced
from edgesplit_controller.planner.cpsat.minimisation import SolveOutcome, build_model, solve_objective
from edgesplit_controller.planner.cpsat.schedule import TICKS, add_schedule, worst_latency_s
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.flows.timed_program import TimedFlowProgram
from edgesplit_controller.planner.linear.highs import LinearSolver
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.indexed_plan import Plan
from edgesplit_controller.planner.meaning.measures import (
    ENERGY,
    ENERGY_ALONE,
    LATENCY,
    LATENCY_ALONE,
    NOISE,
    SumLimit,
    WeightedSum,
)
from edgesplit_controller.planner.meaning.tolerance import DOUBT, PROOF, ULP, proves
from edgesplit_controller.planner.solving.known_plans import KnownPlans

__all__ = ["TimedSearch"]

TIMED_SHARE = 0.35
"""Of the time left, for each solve with a schedule but the last."""

FLOWS_PER_S = 20_000.0
"""Joint choices per second left that are worth a program with time."""

FLOWS_SHARE = 0.3
"""Of the time left, for that program."""

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
        asked = self._problem.objective
        # The best values of a score's measures are to be known to a part of ranges that may be narrow.
        refined = not objective.tolerance and 0 not in (asked.latency_weight, asked.energy_weight)
        floor, domain = self._by_flows(objective, extra, domain, least_energy_j)
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

    def _by_flows(
        self, objective: WeightedSum, extra: tuple[SumLimit, ...], domain: NDArray[np.bool_], least_energy_j: float
    ) -> tuple[float, NDArray[np.bool_]]:
        """A bound by the flow program with time, and the places that it leaves; the plan nearest to its optimum is kept."""
        start = self._known.best(objective, extra)
        if count_flows(self._costs, unreduced(self._costs)) > FLOWS_PER_S * self._clock.left_s():
            return 0.0, domain
        costs = replace(self._costs, allowed=self._costs.allowed & domain)
        noise = next((limit for limit in costs.limits if limit.measure == NOISE), None)
        horizon_s = self._horizon_s(objective, extra, start, least_energy_j)
        program = TimedFlowProgram(costs, self._patterns, None if noise is None else noise.bound, horizon_s)
        coded = any(mode.noise > 0 for tensor in costs.tensors for mode in tensor.modes)
        limits = (*self._limits, *extra, *((noise,) if noise is not None and coded else ()))
        answer = LinearSolver().solve(program.program(objective, limits), FLOWS_SHARE * self._clock.left_s())
        plan = program.plan(answer, objective)
        if plan is not None:
            self._known.keep(plan)
        if self._known.best(objective, extra) is None:
            return max(answer.bound, 0.0), domain
        ceiling = self._known.value(objective, extra) * (1 + PROOF)
        return max(answer.bound, 0.0), domain & (program.bounds(answer).least <= ceiling)

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
