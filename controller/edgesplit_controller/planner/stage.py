"""One goal, solved: reduction, variables, constraints, objective, solver, decoding in that order.

Owns: the exact minimisation of one goal under limits, and the exact measures of a plan by index. Its rule: an
answer's bound is proven for the unreduced problem. Not here: which goals make up the score.
"""

from __future__ import annotations

from dataclasses import dataclass

from ortools.sat.python import cp_model

from edgesplit.problem import Problem
from edgesplit_controller.planner.constraints import add_constraints
from edgesplit_controller.planner.costs import Costs
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.decode import Labels, decode, hint_for
from edgesplit_controller.planner.measure import Plan
from edgesplit_controller.planner.noise import Patterns
from edgesplit_controller.planner.objective import Goal, Limit, Prices, add_limit, minimise, prices_of
from edgesplit_controller.planner.reduction import Reduction
from edgesplit_controller.planner.search import run_solver
from edgesplit_controller.planner.variables import Variables, make_variables

__all__ = ["Base", "Outcome", "build_base", "solve_goal"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known about a goal: its best plan and the bound no plan is below."""

    plan: Plan | None
    bound: float
    proven: bool


@dataclass(frozen=True, slots=True)
class Base:
    """A model without objective, shared by goals."""

    model: cp_model.CpModel
    reduction: Reduction
    variables: Variables
    prices: Prices


def build_base(problem: Problem, costs: Costs, patterns: Patterns | None, reduction: Reduction) -> Base:
    """Variables, constraints and prices of a reduced problem."""
    model = cp_model.CpModel()
    variables = make_variables(model, costs, reduction, patterns)
    add_constraints(model, variables, problem=problem, costs=costs, reduction=reduction, patterns=patterns)
    return Base(model, reduction, variables, prices_of(costs, reduction, variables))


def solve_goal(
    base: Base,
    costs: Costs,
    patterns: Patterns | None,
    *,
    goal: Goal | None,
    limits: tuple[Limit, ...],
    start: Plan | None,
    clock: Clock,
    share: float = 1.0,
) -> tuple[Labels | None, float, bool]:
    """Minimise a goal with CP-SAT.

    Args:
        base: The model without objective; it is used up.
        costs: The problem's.
        patterns: Allowed quantization patterns.
        goal: What to minimise; None asks for any plan.
        limits: Bounds on measures.
        start: A plan that keeps the limits, if one is known.
        clock: Gives the time left.
        share: Of the time left that may be used.

    Returns:
        The assignment found, a proven lower bound, and whether the search was finished; the bound says
        nothing without a goal.
    """
    model = base.model
    for limit in limits:
        add_limit(model, base.prices, limit)
    scale = 1.0
    if goal is not None:
        typical = goal.value(start.measures) if start is not None else 0.0
        if typical <= 0:
            typical = max(goal.value(base.prices.largest), 1e-12)
        scale = minimise(model, base.prices, goal, typical)
    hint = hint_for(start.labels, base.reduction, patterns, base.variables) if start is not None else []
    answer = run_solver(model, hint, clock.left_s() * share)
    clock.solve_s += answer.seconds
    # Each coefficient was rounded by at most half a unit.
    slack = len(base.prices.variables) / 2
    bound = (answer.bound - slack) / scale
    if answer.values is None:
        return None, bound, answer.proven
    return decode(answer.values, costs, base.reduction, patterns, base.variables), bound, answer.proven
