"""One problem's solves: what is known so far, and how one goal is brought to its optimum.

Owns: the plans found, the bounds proven, and the way of one goal through presolve and search. Its rule: every plan
found is a start and an upper bound for the next solve. Not here: which goals are solved.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.bounds.labelling import Labelling
from edgesplit_controller.planner.bounds.path_bound import least_latency_s
from edgesplit_controller.planner.bounds.presolve import (
    HOPELESS,
    Bounds,
    Pool,
    Priced,
    bound_choices,
    plans_within,
    price_goal,
    reduce,
)
from edgesplit_controller.planner.bounds.reduction import Reduction, count_flows, unreduced
from edgesplit_controller.planner.bounds.relaxation import NOISE, PRICED, Relaxation, relax
from edgesplit_controller.planner.cpsat.decode import Labels, labels_of, to_assignment
from edgesplit_controller.planner.cpsat.objective import Goal, SumLimit
from edgesplit_controller.planner.cpsat.schedule import TICKS, add_schedule, worst_latency_s
from edgesplit_controller.planner.cpsat.stage import StageOutcome, build_base, solve_goal
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.meaning.costs import DEVICE_ENERGY, ENERGY, LATENCY, MEASURES, costs_of
from edgesplit_controller.planner.meaning.evaluation import evaluate
from edgesplit_controller.planner.meaning.judging import Judging
from edgesplit_controller.planner.meaning.measured_plan import Plan, measures_of
from edgesplit_controller.planner.meaning.noise_patterns import Patterns, pattern_table
from edgesplit_controller.planner.meaning.tolerance import DOUBT, ULP, proves
from edgesplit_controller.planner.node_subsets import plans_on_subsets
from edgesplit_controller.planner.recombination import recombine

__all__ = ["DEVICE_GOAL", "ENERGY_GOAL", "LATENCY_GOAL", "Session"]

LATENCY_GOAL = Goal((1.0, 0.0, 0.0))
ENERGY_GOAL = Goal((0.0, 1.0, 0.0))
DEVICE_GOAL = Goal((0.0, 0.0, 1.0))

MANY_NODES = 4
"""Above this, plans on few nodes are worth their time when the relaxation is not complete."""

FLOWS_PER_S = 20_000.0
"""Joint choices of a model that are worth building per second left."""

MANY_FLOWS = 1_500
"""Joint choices from which a better start is worth looking for before the search."""

TIMED_SHARE = 0.35
"""Of the time left, for each solve with a schedule but the last."""

REFINED_SHARE = 0.1
"""Of the time left, for proving a measure's best value further than by itself it would have to be."""

FIRST_SHARE = 0.5
"""Of the time left, for finding any plan at all."""

TRIED = 20
"""Complete labels held against the exact limits."""

SETTLED = 16
"""Times the rounding of sums: distance from its bound at which a plan needs no search."""


class Session:
    """One problem's solves; every plan found is a start and an upper bound for the next."""

    def __init__(self, problem: Problem, hint: Assignment | None, clock: Clock) -> None:
        self.problem = problem
        self.clock = clock
        self.costs = costs_of(problem)
        self.patterns = pattern_table(problem, self.costs)
        limit_j = problem.constraints.device_energy_limit_j
        self.limits = () if limit_j is None else (SumLimit(DEVICE_ENERGY, limit_j),)
        self.critical = problem.objective.latency_model == "critical-path"
        self.plans: list[Plan] = []
        self._solved: dict[tuple[Goal, tuple[SumLimit, ...]], StageOutcome] = {}
        self.proven = True
        self.relaxation = relax(self.costs, self.patterns)
        limited = self.relaxation.limited if self.relaxation is not None else ()
        self.pool = Pool(self.costs, limited)
        self.floors: dict[int, Bounds] = {}
        self._labelling: Labelling | None = None
        self.judging = Judging(problem, self.costs)
        self._offer_starts(hint)
        if self.relaxation is None or (not self.relaxation.complete and len(self.costs.nodes) > MANY_NODES):
            self._offer_subsets()

    def narrowed(self, allowed: NDArray[np.bool_]) -> Session:
        """The same problem with fewer places for some operators; what is known of it is kept.

        Args:
            allowed: Places that remain, shape (operators, nodes).
        """
        narrow = copy(self)
        narrow.costs = replace(self.costs, allowed=self.costs.allowed & allowed)
        narrow.plans = [plan for plan in self.plans if narrow.costs.allows(plan.labels.node)]
        narrow.pool = self.pool.narrowed(narrow.costs)
        narrow.floors = dict(self.floors)
        narrow._labelling = self._labelling and self._labelling.narrowed(narrow.costs)
        narrow.proven = True
        narrow._solved = {}
        return narrow

    def offer(self, labels: Labels) -> None:
        """Keep a plan as a start, if it is one."""
        if self.costs.allows(labels.node):
            evaluation = evaluate(self.problem, to_assignment(labels, self.costs))
            if not evaluation.violations:
                self._remember(labels, evaluation.latency_s)

    def _offer_starts(self, hint: Assignment | None) -> None:
        """The last plan, and everything on the source."""
        alone = Labels((self.costs.source,) * len(self.costs.operators), frozenset(), {})
        known = labels_of(hint, self.costs) if hint is not None else None
        for labels in (alone, known):
            if labels is not None:
                self.offer(labels)

    def _offer_subsets(self) -> None:
        """Plans on few of the nodes."""
        goals = (LATENCY_GOAL, ENERGY_GOAL)
        left_s = self.clock.left_s
        for labels in plans_on_subsets(self.costs, self.patterns, goals, self.limits, left_s):
            self.pool.add(labels)
        limits = (*self.limits, *self._hidden_limits(self.pool.limited))
        for labels in plans_within(self.pool, self.costs, limits):
            self._remember(labels)

    def _remember(self, labels: Labels, latency_s: float | None = None) -> Plan | None:
        """Keep a plan, its latency measured under the problem's own model; None if it breaks a limit of the problem."""
        known = next((plan for plan in self.plans if plan.labels == labels), None)
        if known is not None:
            return known
        if self.judging.broken(labels):
            return None
        measures = measures_of(labels, self.costs)
        if self.critical:
            if latency_s is None:
                latency_s = evaluate(self.problem, to_assignment(labels, self.costs)).latency_s
            measures[LATENCY] = latency_s
        self.plans.append(Plan(labels, measures))
        return self.plans[-1]

    def best_known(self, goal: Goal, limits: tuple[SumLimit, ...]) -> Plan | None:
        """The best plan found so far that keeps the limits."""
        fitting = [plan for plan in self.plans if not self.judging.beyond(plan, limits)]
        return min(fitting, key=lambda plan: goal.value(plan.measures), default=None)

    def first(self) -> StageOutcome:
        """Any plan; its bound says nothing."""
        known = self.best_known(LATENCY_GOAL, self.limits)
        if known is not None:
            return StageOutcome(known, 0.0, True)
        reduction, patterns = unreduced(self.costs), self.patterns
        if self.relaxation is not None:
            priced = self._price(self.relaxation, LATENCY_GOAL, self.limits, self._domain(()))
            if priced.value >= HOPELESS:
                return StageOutcome(None, priced.value, True)
            self._recombined(LATENCY_GOAL, self.limits)
            known = self.best_known(LATENCY_GOAL, self.limits)
        if known is not None:
            return StageOutcome(known, 0.0, True)
        base = build_base(self.problem, self.costs, patterns, reduction)
        labels, _, proven = solve_goal(
            base,
            self.costs,
            patterns,
            goal=None,
            limits=self.limits,
            start=None,
            clock=self.clock,
            judge=self._judge(LATENCY_GOAL, self.limits),
        )
        return StageOutcome(None if labels is None else self._remember(labels), 0.0, proven)

    def best(self, goal: Goal, *extra: SumLimit) -> StageOutcome:
        """Solve a goal under the problem's limits and extra ones, and remember the plan.

        Args:
            goal: What to minimise.
            extra: Limits beside the problem's.
        """
        if (goal, extra) in self._solved:
            return self._solved[goal, extra]
        limits = (*self.limits, *extra)
        timed = self.critical and (goal.weights[LATENCY] > 0 or any(x.measure == LATENCY for x in extra))
        solve_one = self._best_timed if timed else self._best_summed
        outcome = solve_one(goal, limits, extra)
        self.proven &= outcome.proven
        self._solved[goal, extra] = outcome
        return outcome

    def _best_summed(self, goal: Goal, limits: tuple[SumLimit, ...], extra: tuple[SumLimit, ...]) -> StageOutcome:
        """Bound, reduce, and search what is left; the goal's measures are sums over choices."""
        domain = self._domain(extra)
        if self.relaxation is None:
            return self._search(goal, limits, unreduced(self.costs), self.patterns, -float("inf"))
        priced = self._price(self.relaxation, goal, limits, domain)
        if priced.value >= HOPELESS:
            return StageOutcome(self.best_known(goal, limits), priced.value, True)
        if not extra and goal in (LATENCY_GOAL, ENERGY_GOAL):
            floor = bound_choices(self.relaxation, self.costs, self.patterns, priced)
            self.floors[LATENCY if goal is LATENCY_GOAL else ENERGY] = floor
        start = self.best_known(goal, limits)
        ceiling = float("inf") if start is None else goal.value(start.measures)
        if start is not None and ceiling - priced.value <= self._settled(goal, ceiling):
            return StageOutcome(start, priced.value, True)
        labelled = self._labelled(self.relaxation, goal, limits, priced)
        if labelled.proven:
            return labelled
        return self._reduced(self.relaxation, goal, limits, domain=domain, priced=priced, floor=labelled.bound)

    def _labelled(
        self, relaxation: Relaxation, goal: Goal, limits: tuple[SumLimit, ...], priced: Priced
    ) -> StageOutcome:
        """Close the gap that prices leave, without search where labels are few."""
        start = self.best_known(goal, limits)
        if not Labelling.suits(relaxation, self.costs):
            return StageOutcome(start, priced.value, False)
        if self._labelling is None:
            self._labelling = Labelling(relaxation, self.costs)
        every = (*limits, *self._hidden_limits(relaxation.limited))
        verdict = self._labelling.solve(
            goal,
            every,
            priced=priced,
            least=self._least(),
            ceiling=float("inf") if start is None else goal.value(start.measures),
            improved=lambda: self._improved(goal, limits),
            left_s=self.clock.left_s,
        )
        if verdict is None:
            return StageOutcome(start, priced.value, False)
        for place in range(min(TRIED, len(verdict.values))):
            labels = verdict.plan(place)
            extended = self.pool.add(labels)
            if not all(limit.keeps(float(extended[limit.measure])) for limit in every):
                continue
            plan = self._remember(labels)
            if plan is not None and not self.judging.beyond(plan, limits):
                break
        best = self.best_known(goal, limits)
        bound = max(priced.value, verdict.bound)
        value = float("inf") if best is None else goal.value(best.measures)
        if best is None:
            return StageOutcome(None, bound, bound == float("inf"))
        return StageOutcome(best, bound, value - bound <= self._settled(goal, value))

    def _settled(self, goal: Goal, value: float) -> float:
        """Distance from its bound at which a value needs no search."""
        rounding = ULP if self.relaxation is None else self.relaxation.elimination.rounding
        return goal.tolerance or SETTLED * rounding * abs(value)

    def _improved(self, goal: Goal, limits: tuple[SumLimit, ...]) -> float:
        """The value of the best plan that swaps lead to."""
        self._recombined(goal, limits)
        best = self.best_known(goal, limits)
        return float("inf") if best is None else goal.value(best.measures)

    def _least(self) -> NDArray[np.float64]:
        """What no plan is below in each measure, as far as it is known."""
        least = np.full(MEASURES, -np.inf)
        for measure, goal in ((LATENCY, LATENCY_GOAL), (ENERGY, ENERGY_GOAL)):
            if (goal, ()) in self._solved and not self.critical:
                least[measure] = self._solved[goal, ()].bound
        return least

    def _reduced(
        self,
        relaxation: Relaxation,
        goal: Goal,
        limits: tuple[SumLimit, ...],
        *,
        domain: NDArray[np.bool_],
        priced: Priced,
        floor: float,
    ) -> StageOutcome:
        """Reduce, and search what is left."""
        bounds = bound_choices(relaxation, self.costs, self.patterns, priced)
        start = self.best_known(goal, limits)
        ceiling = float("inf") if start is None else goal.value(start.measures)
        reduction, kept = reduce(self.costs, self.patterns, domain, bounds, ceiling)
        if not self.critical and count_flows(self.costs, reduction) > MANY_FLOWS and self._recombined(goal, limits):
            start = self.best_known(goal, limits)
            ceiling = float("inf") if start is None else goal.value(start.measures)
            reduction, kept = reduce(self.costs, self.patterns, domain, bounds, ceiling)
        elif start is None and count_flows(self.costs, reduction) > MANY_FLOWS:
            start = self._any_plan(goal, limits, reduction, kept)
            ceiling = float("inf") if start is None else goal.value(start.measures)
            reduction, kept = reduce(self.costs, self.patterns, domain, bounds, ceiling)
        if not reduction.domain.any(axis=1).all():
            return StageOutcome(start, ceiling, True)
        return self._search(goal, limits, reduction, kept, max(bounds.value, floor))

    def _any_plan(
        self, goal: Goal, limits: tuple[SumLimit, ...], reduction: Reduction, patterns: Patterns | None
    ) -> Plan | None:
        """A plan that keeps the limits, whatever it costs: a bad one is a start, none is not."""
        base = build_base(self.problem, self.costs, patterns, reduction)
        labels, _, _ = solve_goal(
            base,
            self.costs,
            patterns,
            goal=None,
            limits=limits,
            start=None,
            clock=self.clock,
            share=FIRST_SHARE,
            judge=self._judge(goal, limits),
        )
        if labels is not None:
            self._remember(labels)
            self._recombined(goal, limits)
        return self.best_known(goal, limits)

    def _recombined(self, goal: Goal, limits: tuple[SumLimit, ...]) -> bool:
        """Try to better the best plan known; whether that worked."""
        start = self.best_known(goal, limits)
        # A mixture of two assignments may be noisier than either.
        hidden = self._hidden_limits(self.pool.limited, mixed=True)
        better = recombine(
            start.labels if start is not None else None,
            pool=self.pool,
            costs=self.costs,
            goal=goal,
            limits=(*limits, *hidden),
            left_s=self.clock.left_s,
        )
        if better is None or (start is not None and better == start.labels):
            return False
        self.offer(better)
        return True

    def _price(
        self, relaxation: Relaxation, goal: Goal, limits: tuple[SumLimit, ...], domain: NDArray[np.bool_]
    ) -> Priced:
        """Bound a goal of sums, and remember the plans met."""
        hidden = self._hidden_limits(relaxation.limited)
        start = None if self.critical else self.best_known(goal, limits)
        ceiling = float("inf") if start is None else goal.value(start.measures)
        priced = price_goal(
            relaxation,
            self.costs,
            self.patterns,
            domain=domain,
            goal=goal,
            limits=(*limits, *hidden),
            pool=self.pool,
            ceiling=ceiling,
            left_s=self.clock.left_s,
        )
        for labels in plans_within(self.pool, self.costs, (*self.limits, *hidden)):
            self._remember(labels)
        return priced

    def _search(
        self,
        goal: Goal,
        limits: tuple[SumLimit, ...],
        reduction: Reduction,
        patterns: Patterns | None,
        floor: float,
    ) -> StageOutcome:
        """Let CP-SAT decide among what presolve left."""
        start = self.best_known(goal, limits)
        if start is not None and count_flows(self.costs, reduction) > FLOWS_PER_S * self.clock.left_s():
            return StageOutcome(start, floor, False)
        base = build_base(self.problem, self.costs, patterns, reduction)
        labels, bound, proven = solve_goal(
            base,
            self.costs,
            patterns,
            goal=goal,
            limits=limits,
            start=start,
            clock=self.clock,
            judge=self._judge(goal, limits),
        )
        plan = start if labels is None else self._remember(labels)
        if proven and plan is None:
            return StageOutcome(None, float("inf"), True)
        bound = max(bound, floor, 0.0)
        return StageOutcome(
            plan, bound, proven and plan is not None and proves(goal.value(plan.measures), bound, goal.tolerance)
        )

    def _judge(self, goal: Goal, limits: tuple[SumLimit, ...]) -> Callable[[Labels], float | frozenset[int]]:
        """Exact costs of what the solver finds: the goal's value, or the measures whose limits it breaks."""

        def judge(labels: Labels) -> float | frozenset[int]:
            broken = self.judging.broken(labels)
            plan = None if broken else self._remember(labels)
            if plan is None:
                return broken
            return self.judging.beyond(plan, limits) or goal.value(plan.measures)

        return judge

    def _best_timed(self, goal: Goal, limits: tuple[SumLimit, ...], extra: tuple[SumLimit, ...]) -> StageOutcome:
        """Schedule and place together; latency is the end of the timeline."""
        energy_only = tuple(limit for limit in extra if limit.measure != LATENCY)
        if self.relaxation is not None and not self.floors.get(LATENCY):
            # Plans that are good one after the other are a start for running side by side.
            domain = self._domain(energy_only)
            priced = self._price(self.relaxation, LATENCY_GOAL, self.limits, domain)
            self.floors[LATENCY] = bound_choices(self.relaxation, self.costs, self.patterns, priced)
        if self.relaxation is not None and self.floors[LATENCY].value >= HOPELESS:
            return StageOutcome(None, float("inf"), True)
        domain = self._domain(energy_only)
        reduction = unreduced(self.costs)
        reduction = Reduction(reduction.units, reduction.unit_of, reduction.domain & domain)
        share = TIMED_SHARE if extra or goal in (LATENCY_GOAL, ENERGY_GOAL) else 1.0
        deadline_s = self.clock.left_s() * (1 - share)
        floor, proven, objective = 0.0, False, self.problem.objective
        # The best values of a score's measures are to be known to a part of ranges that may be narrow.
        refined = not goal.tolerance and 0 not in (objective.latency_weight, objective.energy_weight)
        for ticks in TICKS:
            start = self.best_known(goal, limits)
            value = float("inf") if start is None else goal.value(start.measures)
            if start is not None:
                floor = max(floor, self._timed_floor(goal, domain, start))
                if value - floor <= self._settled(goal, value) or (
                    proves(value, floor, goal.tolerance) and not refined
                ):
                    return StageOutcome(start, min(floor, value), True)
            base = build_base(self.problem, self.costs, self.patterns, reduction)
            base = add_schedule(base, self.costs, self._horizon_s(goal, limits, value), ticks)
            _, bound, proven = solve_goal(
                base,
                self.costs,
                self.patterns,
                goal=goal,
                limits=limits,
                start=start,
                clock=self.clock,
                share=1 - deadline_s / max(self.clock.left_s(), deadline_s, 1e-9),
                judge=self._judge(goal, limits),
            )
            floor = max(floor, bound)
            plan = self.best_known(goal, limits)
            if plan is None:
                return StageOutcome(None, floor, proven)
            after = goal.value(plan.measures)
            done = proves(after, floor, goal.tolerance)
            if done and proven and refined and ticks == TICKS[0]:
                deadline_s = max(deadline_s, self.clock.left_s() * (1 - REFINED_SHARE))
                continue
            if not proven or done:
                return StageOutcome(plan, min(floor, after), proves(after, floor, goal.tolerance))
        plan = self.best_known(goal, limits)
        return StageOutcome(plan, floor if plan is None else min(floor, goal.value(plan.measures)), False)

    def _horizon_s(self, goal: Goal, limits: tuple[SumLimit, ...], value: float) -> float:
        """No plan of interest ends later. [s]"""
        horizons_s = [worst_latency_s(self.costs), *(limit.bound for limit in limits if limit.measure == LATENCY)]
        if goal.weights[LATENCY] > 0 and value < float("inf"):
            energy_j = self.floors[ENERGY].value if ENERGY in self.floors else 0.0
            left = value - goal.weights[ENERGY] * max(energy_j, 0.0)
            horizons_s.append(left / goal.weights[LATENCY])
        return min(horizons_s) * (1 + DOUBT)

    def _timed_floor(self, goal: Goal, domain: NDArray[np.bool_], plan: Plan) -> float:
        """Each measure's own bound, weighted."""
        energy_j = self.floors[ENERGY].value if ENERGY in self.floors else 0.0
        least_s = least_latency_s(self.costs, domain, plan.labels)
        floor = goal.weights[LATENCY] * least_s + goal.weights[ENERGY] * max(energy_j, 0.0)
        return floor * (1 - 4 * len(self.costs.operators) * ULP)

    def _domain(self, extra: tuple[SumLimit, ...]) -> NDArray[np.bool_]:
        """Places that extra limits leave, by the bounds proven for the limited measure."""
        domain = self.costs.allowed.copy()
        for limit in extra:
            if limit.measure in self.floors and not (self.critical and limit.measure == LATENCY):
                domain &= self.floors[limit.measure].least <= limit.bound * (1 + DOUBT)
        return domain

    def _hidden_limits(self, limited: tuple[int, ...], *, mixed: bool = False) -> tuple[SumLimit, ...]:
        """Limits that CP-SAT keeps by constraints of their own: memory, and noise unless the listed patterns keep it."""
        memory = tuple(
            SumLimit(PRICED + place, float(self.costs.memory_bytes[node])) for place, node in enumerate(limited)
        )
        limit = self.problem.constraints.max_noise
        codecs = sum(max(mode.noise for mode in tensor.modes) for tensor in self.costs.tensors)
        if limit is None or (codecs == 0.0 and not mixed and (self.patterns is not None or not self.costs.quantizable)):
            return memory
        return (*memory, SumLimit(NOISE, limit, self.costs.noise.magnitude + codecs))
