"""Recombination, a primal heuristic: better plans from parts of assignments seen (crossover and local search).

Owns: improving an assignment by swapping in, part by part, what others do differently. Its rule: it finds plans and
proves nothing; every swap is measured exactly. Not here: where the assignments come from.

Under a limit, the price search visits assignments just beyond it and others well within; the optimum tends to agree
with one of them on every stretch of the graph. Where two differ, connected stretches, and the beginnings of long ones
in graph order, are swapped as long as that brings the assignment closer to the limits, or closer to the objective.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from edgesplit_controller.planner.bounds.presolve import Pool
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.indexed_plan import Plan, measured
from edgesplit_controller.planner.meaning.measures import SumLimit, WeightedSum

__all__ = ["recombine"]

DONORS = 12
"""Assignments tried as a source of parts, the last seen first: their prices are the best known."""

SWAPS = 300
"""Most swaps measured."""

SHARE = 0.1
"""Of the time left that may be used."""

BEGINNINGS = 12
"""Of a long stretch that are tried."""

Standing = tuple[float, float]
"""Excess over the limits, relative and summed, then the objective: less is better."""


def recombine(
    start: Plan | None,
    *,
    pool: Pool,
    costs: Costs,
    objective: WeightedSum,
    limits: Sequence[SumLimit],
    left_s: Callable[[], float],
) -> Plan | None:
    """Improve an assignment as long as a swap helps.

    Args:
        start: A plan that keeps the limits; None starts from the assignment seen that exceeds them least.
        pool: Assignments seen, with and without limits kept.
        costs: The problem's.
        objective: What to minimise.
        limits: On measures.
        left_s: Time left. [s]

    Returns:
        A plan that keeps the limits, at least as good as the start; None when none was found.
    """
    enough_s = (1 - SHARE) * left_s()

    def standing(plan: Plan) -> Standing:
        measures = plan.measures
        if not np.isfinite(measures).all():
            return float("inf"), float("inf")
        excess = [max(0.0, measures[x.measure] - x.bound) / (abs(x.bound) or 1.0) for x in limits]
        kept = all(x.keeps(float(measures[x.measure])) for x in limits)
        return 0.0 if kept else float(sum(excess)) + 1e-12, objective.value(measures)

    rows = [(standing(plan), plan) for plan in pool.plans if costs.allows(plan.node)]
    if start is not None:
        # Its latency may be that of a schedule, which is no sum.
        summed = measured(start.node, start.quantized, start.mode, costs)
        rows.append((standing(summed), summed))
    if not rows:
        return None
    now, best = min(rows, key=lambda row: row[0])
    neighbours = _neighbours(costs)
    swaps, improved = 0, True
    while improved and swaps <= SWAPS:
        improved = False
        for _, donor in rows[: -DONORS - 1 : -1]:
            for part in _parts(best, donor, neighbours):
                swaps += 1
                if swaps > SWAPS or left_s() < enough_s:
                    break
                candidate = _swapped(best, donor, part, costs)
                attempt = standing(candidate)
                if attempt[0] < now[0] or (attempt[0] == now[0] and attempt[1] < now[1] * (1 - 1e-12)):
                    best, now, improved = candidate, attempt, True
    return best if now[0] == 0.0 else None


def _neighbours(costs: Costs) -> list[set[int]]:
    around: list[set[int]] = [set() for _ in costs.operators]
    for tensor in costs.tensors:
        for consumer in tensor.consumers:
            around[tensor.producer].add(consumer)
            around[consumer].add(tensor.producer)
    return around


def _parts(first: Plan, second: Plan, neighbours: Sequence[set[int]]) -> Iterator[frozenset[int]]:
    """Connected stretches of operators that the two treat differently, and beginnings of long ones."""
    changed = first.quantized ^ second.quantized
    open_ = {o for o, (a, b) in enumerate(zip(first.node, second.node, strict=True)) if a != b or o in changed}
    while open_:
        waiting = [open_.pop()]
        part: set[int] = set()
        while waiting:
            operator = waiting.pop()
            part.add(operator)
            found = neighbours[operator] & open_
            open_ -= found
            waiting += found
        yield frozenset(part)
        if len(part) > BEGINNINGS:
            # Operators are indexed in graph order.
            ordered = sorted(part)
            for place in np.linspace(0, len(ordered), BEGINNINGS + 2, dtype=int)[1:-1].tolist():
                yield frozenset(ordered[:place])


def _swapped(plan: Plan, donor: Plan, part: frozenset[int], costs: Costs) -> Plan:
    """The plan with the donor's choices for a part."""
    node = tuple(donor.node[o] if o in part else at for o, at in enumerate(plan.node))
    mode = {
        tensor.name: chosen[tensor.name]
        for tensor in costs.tensors
        if tensor.name in (chosen := donor.mode if tensor.producer in part else plan.mode)
    }
    return measured(node, (plan.quantized - part) | (donor.quantized & part), mode, costs)
