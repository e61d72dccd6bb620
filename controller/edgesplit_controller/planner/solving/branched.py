"""Branch and bound on what presolve leaves: contracted, and contracted again whenever a better plan lets more go.

Owns: when the tree is begun anew on a smaller problem. Its rule: what is known stays known; an answer is of the whole problem.
Not here: the tree (`branching/`), the search that follows where it does not settle an objective.
"""

from __future__ import annotations

from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.bounds.presolve import Bounds, reduce
from edgesplit_controller.planner.bounds.reduction import count_flows
from edgesplit_controller.planner.bounds.relaxation import relax
from edgesplit_controller.planner.branching.branch_and_bound import Branching
from edgesplit_controller.planner.branching.contraction import contract
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.indexed_plan import Plan
from edgesplit_controller.planner.solving.known_plans import KnownPlans
from edgesplit_controller.planner.solving.open_objective import OpenObjective

__all__ = ["branched"]

MOST_CONTRACTIONS = 6

FEW_FLOWS = 500
"""Joint choices below which search takes no longer than the tree."""

MANY_FLOWS = 4_000
"""Joint choices above which what is left of a problem that is no thin graph is none, either."""

ORDERS = 6
"""Of elimination that are tried for a smaller problem."""

SHRUNK = 0.75
"""Of the gap to the best plan known: once it is that much smaller, the tree is begun anew."""

SHARE = 0.6
"""Of the time left that the tree may take for one objective."""


def branched(
    known: KnownPlans, costs: Costs, patterns: Patterns | None, left: OpenObjective, bounds: Bounds, *, complete: bool
) -> tuple[float, bool]:
    """Find the best plan, or bound it.

    Args:
        known: Plans; receives what is found.
        costs: The problem's.
        patterns: Allowed quantization patterns.
        left: The objective; its limits are priced.
        bounds: Of the objective, by choice.
        complete: Whether the relaxation of the whole problem is; else that of what is left has to be small to be.

    Returns:
        A value that no plan is below, and whether it settles the best plan known.
    """
    objective, extra = left.objective, left.extra
    enough_s = (1 - SHARE) * left.left_s()
    floor = bounds.value
    for _ in range(MOST_CONTRACTIONS):
        value = known.value(objective, extra)
        reduction, kept = reduce(costs, patterns, left.domain, bounds, value)
        if not reduction.domain.any(axis=1).all():
            return value, True
        flows = count_flows(costs, reduction)
        if flows < FEW_FLOWS or (flows > MANY_FLOWS and not complete):
            break
        smaller = contract(costs, kept, reduction)
        relaxation = relax(smaller.costs, smaller.patterns, orders=ORDERS)
        if relaxation is None or not relaxation.complete:
            break

        def offer(plan: Plan) -> float:
            known.keep(smaller.expanded(plan))  # noqa: B023  called while the loop is here
            return known.value(objective, extra)

        def shrunk() -> bool:
            now = known.value(objective, extra)
            return now < value and now - floor <= SHRUNK * (value - floor)  # noqa: B023  the same

        def left_s() -> float:
            return left.left_s() - enough_s

        branching = Branching(relaxation, smaller.costs, objective, left.limits)
        if value == float("inf"):
            branching.dive(offer=offer, left_s=left_s)
            if known.value(objective, extra) < value:
                continue
        verdict = branching.solve(ceiling=value, offer=offer, left_s=left_s, until=shrunk)
        floor = max(floor, verdict.bound)
        if verdict.proven:
            return floor, True
        if not shrunk() or left_s() <= 0:
            break
    return floor, False
