"""Objectives whose latency is the end of a schedule: places and schedule searched together.

Owns: the shares of time and the sizes of time units of these searches, and what bounds say before one. Its rule: a bound of the longest path and
of each measure alone settles what it can. Not here: the constraints of a schedule (`cpsat/schedule.py`).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.bounds.path_bound import least_latency_s
from edgesplit_controller.planner.bounds.presolve import Bounds
from edgesplit_controller.planner.bounds.reduction import Reduction, count_flows, unreduced
from edgesplit_controller.planner.cpsat.minimisation import SolveOutcome, build_model, solve_objective
from edgesplit_controller.planner.cpsat.schedule import TICKS, add_schedule, worst_latency_s
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.flows.timed_program import TimedFlowProgram
from edgesplit_controller.planner.linear.highs import LinearProgram, LinearSolver
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
from edgesplit_controller.planner.solving.timed.timed_annealing import TimedAnnealing
from edgesplit_controller.planner.solving.timed.timed_branching import TimedBranching
from edgesplit_controller.planner.solving.timed.timed_units import units_in_order

__all__ = ["TimedSearch"]

TIMED_SHARE = 0.35
"""Of the time left, for each solve with a schedule but the last."""

ENDS_SHARE = 0.1
"""The same for the ends of ranges of a large problem: a plan there is wanted, and bounds of it are not."""

FLOWS_PER_S = 20_000.0
"""Joint choices per second left that are worth a program with time."""

FLOWS_SHARE = 0.3
"""Of the time left, for that program."""

SEARCHED_FLOWS = 1_000
"""Joint choices beyond which the search with its schedule finds next to nothing in time."""

TURNS = ((0.25, 0.45), (0.85, 0.95), (1.0, 1.0))
"""Shares of the time until which bounds are raised and plans annealed, in turns."""

PATIENCE = 0.8
"""Share of the time by which the first bound has to be there."""

STARTS = 12
"""Plans found that annealing looks at, as time allows."""

KEPT = 2
"""Plans found that are measured by their own timelines."""

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
        summed: What is known of latencies that are sums; it says which operators rather stay together. None: nothing.
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
        summed: Bounds | None,
    ) -> None:
        self._problem, self._costs, self._patterns, self._summed = problem, costs, patterns, summed
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
        asked = self._problem.objective
        only = 0 in (asked.latency_weight, asked.energy_weight)
        large = count_flows(self._costs, unreduced(self._costs)) > SEARCHED_FLOWS
        share = 1.0
        if extra:
            share = ENDS_SHARE if large else TIMED_SHARE
        elif objective in (LATENCY_ALONE, ENERGY_ALONE) and not only:
            share = TIMED_SHARE
        enough_s = self._clock.left_s() * (1 - share)
        # The best values of a score's measures are to be known to a part of ranges that may be narrow.
        refined = not objective.tolerance and not only
        known = self._known.best(objective, extra)
        # Where no plan is known, search finds one rather than annealing.
        if large and known is not None:
            value, floor = objective.value(known.measures), self._floor(objective, domain, known, least_energy_j)
            if value - floor <= settled(value) or proves(value, floor, objective.tolerance):
                return SolveOutcome(known, min(floor, value), True)
            return self._branched(
                objective, extra, domain, known, floor, least_energy_j=least_energy_j, enough_s=enough_s
            )
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

    def _branched(
        self,
        objective: WeightedSum,
        extra: tuple[SumLimit, ...],
        domain: NDArray[np.bool_],
        start: Plan,
        floor: float,
        *,
        least_energy_j: float,
        enough_s: float,
    ) -> SolveOutcome:
        """Bounds by branching over the flow program, and plans by annealing, in turns."""
        costs = replace(self._costs, allowed=self._costs.allowed & domain)
        program, linear = self._timed(
            costs, objective, extra, 2 * self._horizon_s(objective, extra, start, least_energy_j)
        )
        every = (*costs.limits, *extra)
        by_operator = TimedAnnealing(costs, self._patterns, objective, every, [unreduced(costs)])
        annealing = TimedAnnealing(costs, self._patterns, objective, every, units_in_order(costs, self._summed))
        candidates: list[tuple[float, int, Plan]] = []
        met: set[object] = set()

        def seen(plan: Plan, value: float | None = None) -> float:
            """Keep a plan as a candidate, its value that of a list schedule unless it is known; the least value of all."""
            if value is None and plan.key in met:
                return min(candidates)[0]
            met.add(plan.key)
            value = by_operator.value(plan) if value is None else value
            if value < float("inf") and not self._known.breaks(plan):
                candidates.append((value, len(candidates), plan))
            return min(candidates)[0]

        ceiling = seen(start, objective.value(start.measures))

        branching = TimedBranching(program, linear, costs, self._patterns, objective=objective, seen=seen)
        whole_s = max(self._clock.left_s() - enough_s, 0.0)

        def until(share: float) -> Callable[[], float]:
            """Time left until a share of what there was is used."""
            return lambda: self._clock.left_s() - enough_s - whole_s * (1 - share)

        for bounded, annealed in TURNS:
            floor = max(floor, branching.bound(ceiling, until(bounded), until(PATIENCE)()))
            if branching.done:
                break
            starts = [plan for _, _, plan in heapq.nsmallest(STARTS, candidates)]
            found = annealing.improved(starts, until(annealed))
            ceiling = min(candidates)[0] if found is None else seen(*found)
        for _, _, plan in heapq.nsmallest(KEPT, candidates):
            self._known.keep(plan)
        best = self._known.best(objective, extra) or start
        value = objective.value(best.measures)
        return SolveOutcome(best, min(floor, value), proves(value, floor, objective.tolerance))

    def _timed(
        self, costs: Costs, objective: WeightedSum, extra: tuple[SumLimit, ...], horizon_s: float
    ) -> tuple[TimedFlowProgram, LinearProgram]:
        """The flow program with time, and with objective and limits."""
        noise = next((limit for limit in costs.limits if limit.measure == NOISE), None)
        program = TimedFlowProgram(costs, self._patterns, None if noise is None else noise.bound, horizon_s)
        coded = any(mode.noise > 0 for tensor in costs.tensors for mode in tensor.modes)
        limits = (*self._limits, *extra, *((noise,) if noise is not None and coded else ()))
        return program, program.program(objective, limits)

    def _by_flows(
        self, objective: WeightedSum, extra: tuple[SumLimit, ...], domain: NDArray[np.bool_], least_energy_j: float
    ) -> tuple[float, NDArray[np.bool_]]:
        """A bound by the flow program with time, and the places that it leaves; the plan nearest to its optimum is kept."""
        start = self._known.best(objective, extra)
        if count_flows(self._costs, unreduced(self._costs)) > FLOWS_PER_S * self._clock.left_s():
            return 0.0, domain
        costs = replace(self._costs, allowed=self._costs.allowed & domain)
        program, linear = self._timed(costs, objective, extra, self._horizon_s(objective, extra, start, least_energy_j))
        answer = LinearSolver().solve(linear, FLOWS_SHARE * self._clock.left_s())
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
