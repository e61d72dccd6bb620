"""Presolve by Lagrangian bounds: price limits into the relaxation, and exclude every choice whose bound is too high.

Owns: pricing limits into the relaxation, the plans met on the way, and the reduction. Its rule: a choice is removed
only when the least cost of any plan with it, limits priced in, exceeds a known plan's (or a limit itself). That
holds under any constraint, so nothing needs switching off; and a quantizable operator's output is hidden only when
cutting it cannot pay. Not here: the search among what is left.

With prices u >= 0 on limits, min of objective + u * (measure - limit) over the relaxation bounds every plan from below
(Lagrange). Every assignment seen bounds that minimum from above, linearly in u; the next prices maximise the least
of those lines.

References: J. E. Kelley, The cutting-plane method for solving convex programs, J. SIAM 8, 1960.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.elimination import IMPOSSIBLE, Run
from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.bounds.reduction import Reduction, merged
from edgesplit_controller.planner.bounds.relaxation import Relaxation
from edgesplit_controller.planner.linear.tangents import Tangents
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.indexed_plan import Plan, cheapest_modes, measured
from edgesplit_controller.planner.meaning.measures import NOISE, WEIGHED, SumLimit, WeightedSum
from edgesplit_controller.planner.meaning.tolerance import ULP

__all__ = [
    "HOPELESS",
    "Bounds",
    "Pool",
    "Priced",
    "bound_choices",
    "plans_within",
    "price_objective",
    "priced_at",
    "reduce",
]

SEARCH_STEPS = 16
ROUGH_STEPS = 4
"""Prices tried where the relaxation leaves something out anyway."""

HOPELESS = IMPOSSIBLE / 2
"""A bound beyond this holds something impossible."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the relaxation says about an objective, rounded down.

    Attributes:
        value: No plan is below it.
        least: Per operator and node, no plan with that choice is below it, shape (operators, nodes).
        apart: Per producer-consumer pair, no plan that separates the two is below it.
        pattern: Per row of the patterns, no plan with it is below it; None when patterns were left out.
    """

    value: float
    least: Floats
    apart: dict[tuple[int, int], float]
    pattern: Floats | None


@dataclass(frozen=True, slots=True)
class Priced:
    """The relaxation at the best prices found.

    Attributes:
        value: No plan is below it, rounding included.
        prices: Of the limits.
        run: The elimination at these prices.
        offset: What the limits and rounding take off the run's sums.
        unpriced: The elimination without prices.
        unrestricted: Whether every place that the problem allows was.
    """

    value: float
    prices: Floats
    run: Run
    offset: float
    unpriced: Run
    unrestricted: bool


class Pool:
    """Plans seen so far, whether or not they keep limits; each is a cut for every price search."""

    def __init__(self) -> None:
        self._seen: set[object] = set()
        self.plans: list[Plan] = []

    def add(self, plan: Plan) -> bool:
        """Keep a plan unless something in it is impossible; whether all of it is possible."""
        possible = bool(np.isfinite(plan.measures).all())
        key = plan.key
        if possible and key not in self._seen:
            self._seen.add(key)
            self.plans.append(plan)
        return possible

    def narrowed(self, costs: Costs) -> Pool:
        """A pool of its own with the plans that the costs allow."""
        narrow = Pool()
        narrow.plans = [plan for plan in self.plans if costs.allows(plan.node)]
        narrow._seen = {plan.key for plan in narrow.plans}
        return narrow


def price_objective(
    relaxation: Relaxation,
    costs: Costs,
    patterns: Patterns | None,
    *,
    domain: NDArray[np.bool_],
    objective: WeightedSum,
    limits: Sequence[SumLimit],
    pool: Pool,
    ceiling: float,
    left_s: Callable[[], float],
) -> Priced:
    """Bound an objective from below by the best prices of its limits.

    Args:
        relaxation: The problem's.
        costs: The problem's.
        patterns: Allowed quantization patterns.
        domain: Nodes each operator may run on, shape (operators, nodes).
        objective: What to minimise.
        limits: On measures.
        pool: Receives the plans met.
        ceiling: A known plan's value; a bound that reaches it is good enough.
        left_s: Time left; when half of it at the start is gone, the prices are left as they are. [s]
    """
    prices = np.zeros(len(limits))
    enough_s = left_s() / 2
    best: Priced | None = None
    unrestricted = bool((domain == costs.allowed).all())
    tangents, seen = Tangents(np.array([limit.bound for limit in limits])), 0
    for _ in range(SEARCH_STEPS if relaxation.complete else ROUGH_STEPS):
        weights = np.zeros(len(costs.sums))
        weights[:WEIGHED] = objective.weights
        for limit, price in zip(limits, prices, strict=True):
            weights[limit.measure] += price
        run = relaxation.elimination.minimise(relaxation.tables(weights, domain))
        offset = -sum(float(price) * limit.bound for limit, price in zip(limits, prices, strict=True))
        value = run.value + offset
        rounding = _rounding(relaxation, costs, run, weights, offset)
        if best is None or value - rounding > best.value:
            unpriced = run if best is None else best.unpriced
            best = Priced(value - rounding, prices, run, offset - 3 * rounding, unpriced, unrestricted)
        if value >= HOPELESS:
            break
        if not pool.add(_minimiser(run, weights, relaxation, costs, patterns)):
            break
        ceiling = min(ceiling, _best_value(pool, objective, limits))
        if not limits or best.value >= ceiling - 1e-10 * abs(ceiling) or left_s() < enough_s:
            break
        for plan in pool.plans[seen:]:
            tangents.add(objective.value(plan.measures), plan.measures[[limit.measure for limit in limits]])
        seen = len(pool.plans)
        found = tangents.best(np.arange(seen), prices, seen)
        if found is None or found.promise <= best.value + 1e-7 * abs(best.value):
            break
        prices = found.prices
    if best is None:
        raise AssertionError("the relaxation was never evaluated")
    return best


def priced_at(
    relaxation: Relaxation, costs: Costs, weights: Floats, offset: float, domain: NDArray[np.bool_]
) -> Priced:
    """The relaxation at given prices.

    Args:
        relaxation: The problem's.
        costs: The problem's.
        weights: Of the measures, prices included, shape (measures,).
        offset: What the limits take off: minus the sum of price * bound.
        domain: Nodes each operator may run on, shape (operators, nodes).
    """
    run = relaxation.elimination.minimise(relaxation.tables(weights, domain))
    rounding = _rounding(relaxation, costs, run, weights, offset)
    return Priced(run.value + offset - rounding, np.zeros(0), run, offset - 3 * rounding, run, False)


def _rounding(relaxation: Relaxation, costs: Costs, run: Run, prices: Floats, offset: float) -> float:
    """How far the least sum may be above its exact value: every addition may be off by one part in 2^52."""
    magnitude = abs(run.value) + abs(offset) + 2 * float(prices[NOISE]) * costs.noise.magnitude
    return (relaxation.elimination.rounding + ULP * len(prices)) * magnitude


def _best_value(pool: Pool, objective: WeightedSum, limits: Sequence[SumLimit]) -> float:
    """The least objective among plans seen that keep the limits."""
    return min((objective.value(plan.measures) for plan in pool.plans if _keeps(plan, limits)), default=float("inf"))


def _keeps(plan: Plan, limits: Sequence[SumLimit]) -> bool:
    return all(limit.keeps(plan.measures[limit.measure]) for limit in limits)


def _minimiser(run: Run, prices: Floats, relaxation: Relaxation, costs: Costs, patterns: Patterns | None) -> Plan:
    """The minimiser as a plan; where patterns were left out, with the pattern that saves most."""
    count = len(costs.operators)
    node = tuple(run.choice[:count])
    quantized = frozenset(o for place, o in enumerate(relaxation.bits) if run.choice[count + place])
    if relaxation.pattern is None and patterns is not None:
        operators = list(patterns.operators)
        places = [node[operator] for operator in operators]
        change = costs.quantized_compute[:, operators, places] - costs.compute[:, operators, places]
        row = int(np.argmin(patterns.members @ (prices @ change)))
        quantized = frozenset(o for o, used in zip(operators, patterns.members[row], strict=True) if used)
    return measured(node, quantized, cheapest_modes(node, quantized, prices, costs), costs)


def bound_choices(relaxation: Relaxation, costs: Costs, patterns: Patterns | None, priced: Priced) -> Bounds:
    """Bound every choice: read off the beliefs what a plan with it costs at least."""
    run, offset = priced.run, priced.offset
    elimination = relaxation.elimination
    beliefs = elimination.beliefs(run)
    count = len(costs.operators)
    least = np.empty((count, len(costs.nodes)))
    for operator in range(count):
        belief = beliefs[elimination.position[operator]]
        least[operator] = belief.reshape(belief.shape[0], -1).min(axis=1) + offset
    apart: dict[tuple[int, int], float] = {}
    off_diagonal = ~np.eye(len(costs.nodes), dtype=bool)
    for tensor in costs.tensors:
        for consumer in tensor.consumers:
            pair = tensor.producer, consumer
            first = min(pair, key=elimination.position.__getitem__)
            scope = elimination.bags[elimination.position[first]].scope
            other = pair[0] if first == pair[1] else pair[1]
            if pair in apart or other not in scope:
                continue
            belief = beliefs[elimination.position[first]]
            axes = tuple(axis for axis in range(1, belief.ndim) if scope[axis] != other)
            joint = belief.min(axis=axes) if axes else belief
            apart[pair] = float(joint[off_diagonal].min(initial=np.inf)) + offset
    pattern = None
    if patterns is not None and relaxation.pattern is not None:
        pattern = _pattern_bounds(relaxation, costs, patterns, beliefs) + offset
    return Bounds(priced.value, least, apart, pattern)


def _pattern_bounds(relaxation: Relaxation, costs: Costs, patterns: Patterns, beliefs: Sequence[Floats]) -> Floats:
    count = len(costs.operators)
    position = relaxation.elimination.position
    place = min(position[count + bit] for bit in range(len(relaxation.bits)))
    scope = relaxation.elimination.bags[place].scope
    columns = [patterns.operators.index(relaxation.bits[variable - count]) for variable in scope]
    bounds: Floats = beliefs[place][tuple(patterns.members[:, columns].astype(np.intp).T)]
    return bounds


def reduce(
    costs: Costs, patterns: Patterns | None, domain: NDArray[np.bool_], bounds: Bounds, ceiling: float
) -> tuple[Reduction, Patterns | None]:
    """Remove every choice whose bound exceeds the ceiling.

    Args:
        costs: The problem's.
        patterns: Allowed quantization patterns.
        domain: Nodes each operator may run on.
        bounds: Of the objective.
        ceiling: The value of a known plan, or infinity.
    """
    ceiling += 1e-9 * abs(ceiling)
    kept = domain & (bounds.least <= ceiling)
    pairs = [pair for pair, least in bounds.apart.items() if least > ceiling]
    if patterns is not None and bounds.pattern is not None:
        rows = bounds.pattern <= ceiling
        if rows.any():
            patterns = Patterns(patterns.operators, patterns.members[rows], patterns.noise[rows], patterns.closed_below)
    return merged(costs, pairs, kept), patterns


def plans_within(pool: Pool, costs: Costs, limits: Sequence[SumLimit]) -> list[Plan]:
    """The plans seen that keep the limits and the places allowed."""
    return [plan for plan in pool.plans if _keeps(plan, limits) and costs.allows(plan.node)]
