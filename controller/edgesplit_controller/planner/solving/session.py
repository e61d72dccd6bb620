"""One problem's solves: what is known so far, and how one objective is brought to its optimum.

Owns: the bounds proven, and the way of one objective through Lagrangian bounds, Pareto labels, presolve and CP-SAT. Its rule: every
plan found is a start and an upper bound for the next solve. Not here: which objectives are solved.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.bounds.known_bounds import nothing_known, raised, stronger, under_limits, weighed
from edgesplit_controller.planner.bounds.labels.labelling import Labelling
from edgesplit_controller.planner.bounds.noise_patterns import Patterns, pattern_table
from edgesplit_controller.planner.bounds.presolve import (
    HOPELESS,
    Bounds,
    Priced,
    bound_choices,
    plans_within,
    price_objective,
    reduce,
)
from edgesplit_controller.planner.bounds.reduction import Reduction, count_flows, unreduced
from edgesplit_controller.planner.bounds.relaxation import Relaxation, relax
from edgesplit_controller.planner.cpsat.minimisation import Model, SolveOutcome, build_model, find_plan, solve_objective
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.meaning.costs import costs_of
from edgesplit_controller.planner.meaning.feasibility import MoreToWatch
from edgesplit_controller.planner.meaning.measures import (
    DEVICE_ENERGY,
    ENERGY,
    ENERGY_ALONE,
    LATENCY,
    LATENCY_ALONE,
    NOISE,
    WEIGHED,
    SumLimit,
    WeightedSum,
)
from edgesplit_controller.planner.meaning.sums import watched_at_first
from edgesplit_controller.planner.meaning.tolerance import DOUBT, ULP, proves
from edgesplit_controller.planner.solving.branched import branched
from edgesplit_controller.planner.solving.by_flows import bounded_by_flows
from edgesplit_controller.planner.solving.known_plans import KnownPlans
from edgesplit_controller.planner.solving.node_subsets import plans_on_subsets
from edgesplit_controller.planner.solving.open_objective import OpenObjective, alone
from edgesplit_controller.planner.solving.recombination import recombine
from edgesplit_controller.planner.solving.timed.timed_search import TimedSearch

__all__ = ["Session"]

MANY_NODES = 4
"""Above this, plans on few nodes are worth their time when the relaxation is not complete."""

FLOWS_PER_S = 20_000.0
"""Joint choices of a model that are worth building per second left."""

MANY_FLOWS = 1_500
"""Joint choices from which a better start is worth looking for before the search."""

FIRST_SHARE = 0.5
"""Of the time left, for finding any plan at all."""

TRIED = 20
"""Complete labels held against the exact limits."""

SETTLED = 16
"""Times the rounding of sums: distance from its bound at which a plan needs no search."""

T = TypeVar("T")

FEW_PLACES, FIRST_SEARCH_S = 256, 1.0
"""Operators times nodes up to which search goes first, and for how long: mostly it is done sooner than bounds are raised. [1, s]"""

Extra = tuple[SumLimit, ...]
"""Limits beside the problem's."""

Places = NDArray[np.bool_]
"""Nodes each operator may run on, shape (operators, nodes)."""


class Session:
    """One problem's solves; every plan found is a start and an upper bound for the next."""

    def __init__(self, problem: Problem, hint: Assignment | None, clock: Clock) -> None:
        self.problem = problem
        self.clock = clock
        self.watched = watched_at_first(problem)
        self.costs = costs_of(problem, self.watched)
        self.patterns = pattern_table(problem, self.costs)
        self.limits = tuple(limit for limit in self.costs.limits if limit.measure != NOISE)
        self.critical = problem.objective.latency_model == "critical-path"
        self.known = KnownPlans(problem, self.costs, self.watched)
        self.proven = True
        self.floors: dict[int, Bounds] = {}
        self.relaxation = relax(self.costs, self.patterns)
        self._told: set[int] = set()
        """Measures whose floors are the flow program's."""
        self._solved: dict[tuple[WeightedSum, Extra], SolveOutcome] = {}
        self._labelling: Labelling | None = None
        self.known.offer_starts(hint)
        if self.critical and (
            self.relaxation is None or (not self.relaxation.complete and len(self.costs.nodes) > MANY_NODES)
        ):
            self._watching_more(self._offer_subsets)

    def _watching_more(self, step: Callable[[], T]) -> T:
        """Take a step, again with more watched as long as plans are found that need something else for too long."""
        while True:
            try:
                return step()
            except MoreToWatch as more:
                self._watch(more.subjects)

    def _watch(self, subjects: AbstractSet[str]) -> None:
        """Watch nodes and links, too, and all links of the senders of these; what is known stays so, for bounds hold under more limits."""
        senders = {link.source for link in self.problem.links if f"{link.source}:{link.target}" in subjects}
        beside = {f"{link.source}:{link.target}" for link in self.problem.links if link.source in senders}
        self.watched = (self.watched or frozenset()) | subjects | beside
        self.costs = replace(costs_of(self.problem, self.watched), allowed=self.costs.allowed)
        self.limits = tuple(limit for limit in self.costs.limits if limit.measure != NOISE)
        self.known = self.known.watching(self.costs, self.watched)
        self.relaxation = relax(self.costs, self.patterns)
        self._labelling = None

    def narrowed(self, allowed: Places) -> Session:
        """The same problem with fewer places for some operators; what is known of it is kept.

        Args:
            allowed: Places that remain, shape (operators, nodes).
        """
        narrow = copy(self)
        narrow.costs = replace(self.costs, allowed=self.costs.allowed & allowed)
        narrow.known = self.known.narrowed(narrow.costs)
        narrow.floors, narrow._told = dict(self.floors), set(self._told)
        narrow._labelling = self._labelling and self._labelling.narrowed(narrow.costs)
        narrow.proven = True
        narrow._solved = {}
        return narrow

    def _offer_subsets(self) -> None:
        """Plans on few of the nodes."""
        objectives = (LATENCY_ALONE, ENERGY_ALONE)
        for plan in plans_on_subsets(self.costs, self.patterns, objectives, self.limits, self.clock.left_s):
            self.known.pool.add(plan)
        self._keep_seen()

    def _keep_seen(self) -> None:
        """Keep the plans among the assignments seen."""
        for plan in plans_within(self.known.pool, self.costs, (*self.limits, *self._noise_limit())):
            self.known.keep(plan)

    def first(self) -> SolveOutcome:
        """Any plan; its bound says nothing."""
        return self._watching_more(self._first)

    def _first(self) -> SolveOutcome:
        known = self.known.best(LATENCY_ALONE)
        if known is None and self.relaxation is not None:
            priced = self._price(self.relaxation, LATENCY_ALONE, (), self._domain(()))
            if priced.value >= HOPELESS:
                return SolveOutcome(None, priced.value, True)
            self._recombined(LATENCY_ALONE, ())
            known = self.known.best(LATENCY_ALONE)
        if known is not None:
            return SolveOutcome(known, 0.0, True)
        judge, model = self.known.judge(LATENCY_ALONE, ()), self._model(unreduced(self.costs), self.patterns)
        near = self.known.nearest(self.limits) if self.problem.constraints.min_rate_hz is not None else None
        found = find_plan(model, limits=self.limits, clock=self.clock, judge=judge, start=near)
        return found if found.plan is None else replace(found, plan=self.known.keep(found.plan))

    def best(self, objective: WeightedSum, *extra: SumLimit) -> SolveOutcome:
        """Solve an objective under the problem's limits and extra ones, and remember the plan.

        Args:
            objective: What to minimise.
            extra: Limits beside the problem's.
        """
        if (objective, extra) in self._solved:
            return self._solved[objective, extra]
        if self.problem.constraints.min_rate_hz is not None and not self.known.plans:
            # Where a rate leaves no plan, search says so at once, and bounds take long; any plan is a start for these.
            found = self.first()
            if found.plan is None and found.proven:
                return SolveOutcome(None, float("inf"), True)
        timed = self.critical and (objective.weights[LATENCY] > 0 or any(x.measure == LATENCY for x in extra))
        way = self._best_timed if timed else self._best_summed
        outcome = self._watching_more(partial(way, objective, extra))
        measure = alone(objective, extra)
        if measure in self.floors and not self.critical:
            self.floors[measure] = raised(self.floors[measure], outcome.bound)
        self.proven &= outcome.proven
        self._solved[objective, extra] = outcome
        return outcome

    def _best_summed(self, objective: WeightedSum, extra: Extra) -> SolveOutcome:
        """Bound, reduce, and search what is left; the objective's measures are sums over choices."""
        domain = self._domain(extra)
        priced = None
        if self.relaxation is not None and not self._is_told(objective):
            priced = self._price(self.relaxation, objective, extra, domain)
            if priced.value >= HOPELESS:
                return SolveOutcome(self.known.best(objective, extra), priced.value, True)
            measure = alone(objective, extra)
            if measure is not None:
                self.floors[measure] = bound_choices(self.relaxation, self.costs, self.patterns, priced)
            value = self.known.value(objective, extra)
            if value - priced.value <= self._settled(objective, value):
                return SolveOutcome(self.known.best(objective, extra), priced.value, True)
        return self._closed(objective, extra, domain, priced)

    def _closed(self, objective: WeightedSum, extra: Extra, domain: Places, priced: Priced | None) -> SolveOutcome:
        """Close the gap that prices leave: by labels, by the flow program, by branching, by search."""
        bounds, patterns, floor = None, self.patterns, -float("inf")
        if self.relaxation is not None and priced is not None:
            labelled = self._labelled(self.relaxation, objective, extra, priced)
            if labelled.proven:
                return labelled
            chosen = bound_choices(self.relaxation, self.costs, patterns, priced)
            bounds, floor = self._together(chosen, objective, extra), labelled.bound
        elif self._is_told(objective):
            bounds = self._together(nothing_known(domain), objective, extra)
        limits = (*self.limits, *extra, *self._noise_limit())
        left = OpenObjective(objective, extra, limits, domain, self.clock.left_s)
        complete = self.relaxation is not None and self.relaxation.complete
        if not complete and not self.critical:
            found = bounded_by_flows(self.known, self.costs, patterns, left, bounds)
            measure = alone(objective, extra)
            if found is not None and measure is not None:
                self.floors[measure] = found.of_all_plans(bounds)
                self._told.add(measure)
            if found is not None:
                bounds, patterns, floor = found.bounds, found.patterns, max(floor, found.bounds.value)
            value = self.known.value(objective, extra)
            if floor == float("inf") or (value < float("inf") and proves(value, floor, objective.tolerance)):
                return SolveOutcome(self.known.best(objective, extra), floor, True)
        if bounds is None:
            return self._search(objective, extra, unreduced(self.costs), patterns, floor)
        if self.costs.allowed.size <= FEW_PLACES:
            share = min(1.0, FIRST_SEARCH_S / max(self.clock.left_s(), FIRST_SEARCH_S))
            searched = self._reduced(left, bounds, patterns, floor, share)
            if searched.proven:
                return searched
            floor = max(floor, searched.bound)
        bound, proven = branched(self.known, self.costs, patterns, left, bounds, complete=complete)
        floor = max(floor, bounds.value, bound)
        if proven:
            return SolveOutcome(self.known.best(objective, extra), floor, True)
        return self._reduced(left, bounds, patterns, floor)

    def _is_told(self, objective: WeightedSum) -> bool:
        """Whether an incomplete relaxation, which is slow and weak, has nothing to add to what is known of the objective's measures."""
        if self.critical or self.relaxation is None or self.relaxation.complete:
            return False
        alone = sum(weight > 0 for weight in objective.weights) == 1 and not objective.weights[DEVICE_ENERGY]
        return alone and len(self._told) == 2

    def _together(self, bounds: Bounds, objective: WeightedSum, extra: Extra) -> Bounds:
        """Bounds of an objective with what those of its measures say, and under extra limits."""
        weights = {LATENCY: objective.weights[LATENCY], ENERGY: objective.weights[ENERGY]}
        needed = [measure for measure, weight in weights.items() if weight > 0]
        if not self.critical and all(measure in self.floors for measure in needed):
            apiece = weighed((weights[measure], self.floors[measure]) for measure in needed)
            bounds = bounds if apiece is None else stronger(bounds, apiece)
        return bounds if self.critical else under_limits(bounds, self.floors, extra)

    def _labelled(self, relaxation: Relaxation, objective: WeightedSum, extra: Extra, priced: Priced) -> SolveOutcome:
        """Close the gap that prices leave, without search where labels are few."""
        unsettled = SolveOutcome(self.known.best(objective, extra), priced.value, False)
        if not Labelling.suits(relaxation, self.costs):
            return unsettled
        if self._labelling is None:
            self._labelling = Labelling(relaxation, self.costs)
        every = (*self.limits, *extra, *self._noise_limit())

        def improved() -> float:
            self._recombined(objective, extra)
            return self.known.value(objective, extra)

        proof = self._labelling.solve(
            objective,
            every,
            priced=priced,
            least=self._least(),
            ceiling=self.known.value(objective, extra),
            improved=improved,
            left_s=self.clock.left_s,
        )
        if proof is None:
            return unsettled
        for place in range(min(TRIED, len(proof.values))):
            plan = proof.plan(place)
            self.known.pool.add(plan)
            if not all(limit.keeps(float(plan.measures[limit.measure])) for limit in every):
                continue
            kept = self.known.keep(plan)
            if kept is not None and self.known.keeps(kept, extra):
                break
        best = self.known.best(objective, extra)
        bound = max(priced.value, proof.bound)
        if best is None:
            return SolveOutcome(None, bound, bound == float("inf"))
        value = objective.value(best.measures)
        return SolveOutcome(best, bound, value - bound <= self._settled(objective, value))

    def _settled(self, objective: WeightedSum, value: float) -> float:
        """Distance from its bound at which a value needs no search."""
        rounding = ULP if self.relaxation is None else self.relaxation.elimination.rounding
        return objective.tolerance or (SETTLED * rounding * abs(value) if value < float("inf") else 0.0)

    def _model(self, reduction: Reduction, patterns: Patterns | None) -> Model:
        return build_model(self.problem, self.costs, patterns, reduction)

    def _least(self) -> NDArray[np.float64]:
        """What no plan is below in each measure that an objective may weigh, as far as it is known."""
        least = np.full(WEIGHED, -np.inf)
        for measure, objective in ((LATENCY, LATENCY_ALONE), (ENERGY, ENERGY_ALONE)):
            if (objective, ()) in self._solved and not self.critical:
                least[measure] = self._solved[objective, ()].bound
        return least

    def _reduced(
        self, left: OpenObjective, bounds: Bounds, patterns: Patterns | None, floor: float, share: float = 1.0
    ) -> SolveOutcome:
        """Reduce, and search what is left for a share of the time that is left."""
        objective, extra, domain = left.objective, left.extra, left.domain
        ceiling = self.known.value(objective, extra)
        reduction, kept = reduce(self.costs, patterns, domain, bounds, ceiling)
        many = count_flows(self.costs, reduction) > MANY_FLOWS
        better = many and not self.critical and self._recombined(objective, extra)
        if many and not better and ceiling == float("inf"):
            better = self._any_plan(objective, extra, reduction, kept)
        if better:
            ceiling = self.known.value(objective, extra)
            reduction, kept = reduce(self.costs, patterns, domain, bounds, ceiling)
        if not reduction.domain.any(axis=1).all():
            return SolveOutcome(self.known.best(objective, extra), ceiling, True)
        return self._search(objective, extra, reduction, kept, max(bounds.value, floor), share=share)

    def _any_plan(self, objective: WeightedSum, extra: Extra, reduction: Reduction, patterns: Patterns | None) -> bool:
        """Find a plan that keeps the limits, whatever it costs: a bad one is a start, none is not."""
        judge, limits = self.known.judge(objective, extra), (*self.limits, *extra)
        model = self._model(reduction, patterns)
        found = find_plan(model, limits=limits, clock=self.clock, judge=judge, share=FIRST_SHARE)
        if found.plan is not None:
            self.known.keep(found.plan)
            self._recombined(objective, extra)
        return found.plan is not None

    def _recombined(self, objective: WeightedSum, extra: Extra) -> bool:
        """Try to better the best plan known; whether that worked."""
        start = self.known.best(objective, extra)
        # A mixture of two plans may be noisier than either.
        limits = (*self.limits, *extra, *self._noise_limit(mixed=True))
        better = recombine(
            start, pool=self.known.pool, costs=self.costs, objective=objective, limits=limits, left_s=self.clock.left_s
        )
        if better is None or better == start:
            return False
        self.known.offer(better)
        return True

    def _price(self, relaxation: Relaxation, objective: WeightedSum, extra: Extra, domain: Places) -> Priced:
        """Bound an objective of sums, and remember the plans met."""
        priced = price_objective(
            relaxation,
            self.costs,
            self.patterns,
            domain=domain,
            objective=objective,
            limits=(*self.limits, *extra, *self._noise_limit()),
            pool=self.known.pool,
            ceiling=float("inf") if self.critical else self.known.value(objective, extra),
            left_s=self.clock.left_s,
        )
        self._keep_seen()
        return priced

    def _search(
        self,
        objective: WeightedSum,
        extra: Extra,
        reduction: Reduction,
        patterns: Patterns | None,
        floor: float,
        *,
        share: float = 1.0,
    ) -> SolveOutcome:
        """Let CP-SAT decide among what presolve left, in a share of the time that is left."""
        start = self.known.best(objective, extra)
        if start is not None and count_flows(self.costs, reduction) > FLOWS_PER_S * self.clock.left_s():
            return SolveOutcome(start, floor, False)
        found = solve_objective(
            self._model(reduction, patterns),
            objective,
            limits=(*self.limits, *extra),
            start=start,
            clock=self.clock,
            judge=self.known.judge(objective, extra),
            share=share,
        )
        plan = start if found.plan is None else self.known.keep(found.plan)
        if plan is None and found.proven:
            return SolveOutcome(None, float("inf"), True)
        bound = max(found.bound, floor, 0.0)
        settled = plan is not None and proves(objective.value(plan.measures), bound, objective.tolerance)
        return SolveOutcome(plan, bound, found.proven and settled)

    def _best_timed(self, objective: WeightedSum, extra: Extra) -> SolveOutcome:
        """Schedule and place together; latency is the end of the timeline."""
        domain = self._domain(tuple(limit for limit in extra if limit.measure != LATENCY))
        if self.relaxation is not None and not self.floors.get(LATENCY):
            # Plans that are good one after the other are a start for running side by side.
            priced = self._price(self.relaxation, LATENCY_ALONE, (), domain)
            self.floors[LATENCY] = bound_choices(self.relaxation, self.costs, self.patterns, priced)
        if self.relaxation is not None and self.floors[LATENCY].value >= HOPELESS:
            return SolveOutcome(None, float("inf"), True)
        if self.relaxation is not None and objective.weights[LATENCY] > 0 and objective.weights[ENERGY] > 0:
            # So are those of least score if what runs side by side were summed.
            self._price(self.relaxation, objective, tuple(limit for limit in extra if limit.measure != LATENCY), domain)
        search = TimedSearch(
            self.problem,
            self.costs,
            self.patterns,
            known=self.known,
            limits=self.limits,
            clock=self.clock,
            summed=self.floors.get(LATENCY),
        )
        least_energy_j = max(self.floors[ENERGY].value, 0.0) if ENERGY in self.floors else 0.0
        return search.best(
            objective,
            extra,
            domain=domain,
            least_energy_j=least_energy_j,
            settled=lambda value: self._settled(objective, value),
        )

    def _domain(self, extra: Extra) -> Places:
        """Places that extra limits leave, by the bounds proven for the limited measure."""
        domain = self.costs.allowed.copy()
        for limit in extra:
            if limit.measure in self.floors and not (self.critical and limit.measure == LATENCY):
                domain &= self.floors[limit.measure].least <= limit.bound * (1 + DOUBT)
        return domain

    def _noise_limit(self, *, mixed: bool = False) -> Extra:
        """The limit on noise, which CP-SAT keeps by constraints of its own, unless the listed patterns keep it.

        Args:
            mixed: Quantized operators need not be one of the patterns.
        """
        codecs = any(mode.noise > 0 for tensor in self.costs.tensors for mode in tensor.modes)
        if not codecs and not mixed and (self.patterns is not None or not self.costs.quantizable):
            return ()
        return tuple(limit for limit in self.costs.limits if limit.measure == NOISE)
