"""Exact presolve: bounds from the relaxation, and every choice they exclude.

Owns: pricing limits into the relaxation, the plans met on the way, and the reduction. Its rule: a choice is removed
only when the least cost of any plan with it, limits priced in, exceeds a known plan's (or a limit itself). That
holds under any constraint, so nothing needs switching off; and a quantizable operator's output is hidden only when
cutting it cannot pay. Not here: the search among what is left.

With prices u >= 0 on limits, min of goal + u * (measure - limit) over the relaxation bounds every plan from below
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
from edgesplit_controller.planner.bounds.lagrange import best_prices
from edgesplit_controller.planner.bounds.reduction import Reduction, merged
from edgesplit_controller.planner.bounds.relaxation import NOISE, Relaxation
from edgesplit_controller.planner.cpsat.decode import Labels
from edgesplit_controller.planner.cpsat.objective import Goal, SumLimit
from edgesplit_controller.planner.meaning.costs import MEASURES, Costs
from edgesplit_controller.planner.meaning.measured_plan import chosen_modes, measures_of, memory_of, noise_of_labels
from edgesplit_controller.planner.meaning.noise_patterns import Patterns
from edgesplit_controller.planner.meaning.tolerance import ULP

__all__ = ["HOPELESS", "Bounds", "Pool", "Priced", "bound_choices", "plans_within", "price_goal", "reduce"]

SEARCH_STEPS = 16
HOPELESS = IMPOSSIBLE / 2
"""A bound beyond this holds something impossible."""

Floats = NDArray[np.float64]
_Key = tuple[tuple[int, ...], frozenset[int], frozenset[tuple[str, int]]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the relaxation says about a goal, rounded down.

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
    """Assignments seen so far with their extended measures; each is a cut for every price search."""

    def __init__(self, costs: Costs, limited: tuple[int, ...]) -> None:
        self._costs, self.limited = costs, limited
        self._seen: set[_Key] = set()
        self.rows: list[tuple[Labels, Floats]] = []

    def measured(self, labels: Labels) -> Floats:
        """Latency, energy, device energy, noise and memory of the limited nodes."""
        memory = memory_of(labels, self._costs)[list(self.limited)]
        noise = noise_of_labels(labels, self._costs)
        return np.concatenate([measures_of(labels, self._costs), [noise], memory])

    def add(self, labels: Labels) -> Floats:
        """Keep an assignment unless something in it is impossible; its extended measures."""
        extended = self.measured(labels)
        key = _key(labels)
        if key not in self._seen and np.isfinite(extended).all():
            self._seen.add(key)
            self.rows.append((labels, extended))
        return extended

    def narrowed(self, costs: Costs) -> Pool:
        """A pool of its own with the assignments that the costs allow."""
        narrow = Pool(costs, self.limited)
        narrow.rows = [row for row in self.rows if costs.allows(row[0].node)]
        narrow._seen = {_key(labels) for labels, _ in narrow.rows}
        return narrow


def _key(labels: Labels) -> _Key:
    return labels.node, labels.quantized, frozenset(labels.mode.items())


def price_goal(
    relaxation: Relaxation,
    costs: Costs,
    patterns: Patterns | None,
    *,
    domain: NDArray[np.bool_],
    goal: Goal,
    limits: Sequence[SumLimit],
    pool: Pool,
    ceiling: float,
    left_s: Callable[[], float],
) -> Priced:
    """Bound a goal from below by the best prices of its limits.

    Args:
        relaxation: The problem's.
        costs: The problem's.
        patterns: Allowed quantization patterns.
        domain: Nodes each operator may run on, shape (operators, nodes).
        goal: What to minimise.
        limits: On extended measures: also on noise (3) and on memory (4 and later).
        pool: Receives the assignments met.
        ceiling: A known plan's value; a bound that reaches it is good enough.
        left_s: Time left; when half of it at the start is gone, the prices are left as they are. [s]
    """
    prices = np.zeros(len(limits))
    enough_s = left_s() / 2
    best: Priced | None = None
    unrestricted = bool((domain == costs.allowed).all())
    for _ in range(SEARCH_STEPS):
        extended_prices = np.array([*goal.weights, *[0.0] * (1 + len(relaxation.limited))])
        for limit, price in zip(limits, prices, strict=True):
            extended_prices[limit.measure] += price
        run = relaxation.elimination.minimise(relaxation.tables(extended_prices, domain))
        offset = -sum(float(price) * limit.bound for limit, price in zip(limits, prices, strict=True))
        value = run.value + offset
        rounding = _rounding(relaxation, costs, run, extended_prices, offset)
        if best is None or value - rounding > best.value:
            unpriced = run if best is None else best.unpriced
            best = Priced(value - rounding, prices, run, offset - 3 * rounding, unpriced, unrestricted)
        if value >= HOPELESS:
            break
        labels = _labels(run, extended_prices, relaxation, costs, patterns)
        if not np.isfinite(pool.add(labels)).all():
            break
        ceiling = min(ceiling, _best_value(pool, goal, limits))
        if not limits or best.value >= ceiling - 1e-10 * abs(ceiling) or left_s() < enough_s:
            break
        prices, promise = best_prices(pool, goal, limits)
        if promise <= best.value + 1e-7 * abs(best.value):
            break
    if best is None:
        raise AssertionError("the relaxation was never evaluated")
    return best


def _rounding(relaxation: Relaxation, costs: Costs, run: Run, prices: Floats, offset: float) -> float:
    """How far the least sum may be above its exact value: every addition may be off by one part in 2^52."""
    magnitude = abs(run.value) + abs(offset) + 2 * float(prices[NOISE]) * costs.noise.magnitude
    return (relaxation.elimination.rounding + ULP * len(prices)) * magnitude


def _best_value(pool: Pool, goal: Goal, limits: Sequence[SumLimit]) -> float:
    """The least goal among seen assignments that keep the limits."""
    return min(
        (
            goal.value(row[:MEASURES])
            for _, row in pool.rows
            if all(limit.keeps(row[limit.measure]) for limit in limits)
        ),
        default=float("inf"),
    )


def _labels(run: Run, prices: Floats, relaxation: Relaxation, costs: Costs, patterns: Patterns | None) -> Labels:
    """The minimiser as an assignment; where patterns were left out, with the pattern that saves most."""
    count = len(costs.operators)
    node = tuple(run.choice[:count])
    quantized = frozenset(o for place, o in enumerate(relaxation.bits) if run.choice[count + place])
    if relaxation.pattern is None and patterns is not None:
        operators = list(patterns.operators)
        places = [node[operator] for operator in operators]
        change = costs.quantized_compute[:, operators, places] - costs.compute[:, operators, places]
        row = int(np.argmin(patterns.members @ (prices[:MEASURES] @ change)))
        quantized = frozenset(o for o, used in zip(operators, patterns.members[row], strict=True) if used)
    return Labels(node, quantized, chosen_modes(node, quantized, prices, costs))


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
        bounds: Of the goal.
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


def plans_within(pool: Pool, costs: Costs, limits: Sequence[SumLimit]) -> list[Labels]:
    """The assignments seen that keep the limits and the places allowed."""
    return [
        labels
        for labels, extended in pool.rows
        if all(limit.keeps(extended[limit.measure]) for limit in limits) and costs.allows(labels.node)
    ]
