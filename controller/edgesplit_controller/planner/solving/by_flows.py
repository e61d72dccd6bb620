"""One objective by the flow program's bounds, where elimination had to leave something out.

Owns: what the program is made of and what its answer is worth for the whole problem. Its rule: what is known stays known. Not here: the
program (`flows/`), the tree (`branched.py`), the search that follows where this does not settle an objective.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesplit_controller.planner.bounds.known_bounds import stronger
from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.bounds.presolve import Bounds, reduce
from edgesplit_controller.planner.bounds.reduction import Reduction, count_flows, unreduced
from edgesplit_controller.planner.branching.contraction import Contraction, contract
from edgesplit_controller.planner.flows.flow_program import FlowProgram
from edgesplit_controller.planner.linear.highs import LinearSolver
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.measures import NOISE
from edgesplit_controller.planner.solving.known_plans import KnownPlans
from edgesplit_controller.planner.solving.open_objective import OpenObjective

__all__ = ["FlowBounds", "bounded_by_flows"]

FLOWS_PER_S = 40_000.0
"""Joint choices per second left that are worth a program: some two columns each, and seconds for 200,000 of these."""

SHARE = 0.85
"""Of the time left that the program may take."""


MARGIN = 1e-3
"""Relative distance above the best plan known up to which choices are kept: bounds are also of use for plans that are not the best."""


@dataclass(frozen=True, slots=True)
class FlowBounds:
    """What the program says of the whole problem.

    Attributes:
        bounds: By choice, of plans below the ceiling.
        patterns: Quantization patterns that are left.
        ceiling: Choices beyond it were left out.
    """

    bounds: Bounds
    patterns: Patterns | None
    ceiling: float

    def of_all_plans(self, before: Bounds | None) -> Bounds:
        """Bounds of plans whatever they cost.

        A plan with something that was left out is above the ceiling, and above what was known of its choices.

        Args:
            before: Bounds by which choices were left out.
        """
        least = np.full(self.bounds.least.shape, self.ceiling)
        distances = dict.fromkeys(self.bounds.apart, self.ceiling)
        if before is not None:
            least = np.maximum(least, before.least)
            distances = {pair: max(self.ceiling, before.apart.get(pair, self.ceiling)) for pair in distances}
        apart = {pair: min(distance, distances[pair]) for pair, distance in self.bounds.apart.items()}
        return Bounds(min(self.bounds.value, self.ceiling), np.minimum(self.bounds.least, least), apart, None)


def bounded_by_flows(
    known: KnownPlans, costs: Costs, patterns: Patterns | None, left: OpenObjective, bounds: Bounds | None
) -> FlowBounds | None:
    """Bound every choice, and offer the plan nearest to the program's optimum.

    Args:
        known: Plans; receives what is found.
        costs: The problem's.
        patterns: Allowed quantization patterns.
        left: The objective; its limits are rows.
        bounds: Known by choice, or None.

    Returns:
        The bounds; None where the program is too large for the time left.
    """
    objective, extra, domain = left.objective, left.extra, left.domain
    ceiling = known.value(objective, extra) * (1 + MARGIN)
    if bounds is None:
        free = unreduced(costs)
        reduction, kept = Reduction(free.units, free.unit_of, free.domain & domain), patterns
    else:
        reduction, kept = reduce(costs, patterns, domain, bounds, ceiling)
    if not reduction.domain.any(axis=1).all():
        return FlowBounds(Bounds(ceiling, np.full(domain.shape, np.inf), {}, None), kept, ceiling)
    if count_flows(costs, reduction) > FLOWS_PER_S * left.left_s():
        return None
    smaller = contract(costs, kept, reduction)
    noise = next((limit.bound for limit in costs.limits if limit.measure == NOISE), None)
    program = FlowProgram(smaller.costs, smaller.patterns, noise)
    answer = LinearSolver().solve(program.program(objective, left.limits), SHARE * left.left_s())
    plan = program.plan(answer, objective)
    if plan is not None:
        whole = smaller.expanded(plan)
        known.pool.add(whole)
        known.keep(whole)
    return FlowBounds(_of_the_whole(program.bounds(answer), smaller, bounds), kept, ceiling)


def _of_the_whole(found: Bounds, smaller: Contraction, before: Bounds | None) -> Bounds:
    """Bounds by operator, the higher of two each."""
    apart: dict[tuple[int, int], float] = {}
    group = smaller.group_of.tolist()
    for tensor in smaller.whole.tensors:
        for consumer in tensor.consumers:
            pair = group[tensor.producer], group[consumer]
            if pair in found.apart:
                apart[tensor.producer, consumer] = found.apart[pair]
    whole = Bounds(found.value, found.least[smaller.group_of], apart, found.pattern)
    return whole if before is None else stronger(whole, before)
