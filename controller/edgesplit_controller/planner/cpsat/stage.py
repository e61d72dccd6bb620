"""One goal, solved: reduction, variables, constraints, objective, solver, decoding in that order.

Owns: the exact minimisation of one goal under limits, and the exact measures of a plan by index. Its rule: an
answer's bound is proven for the unreduced problem. Not here: which goals make up the score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ortools.sat.python import cp_model

from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.bounds.reduction import Reduction
from edgesplit_controller.planner.cpsat.constraints import add_constraints
from edgesplit_controller.planner.cpsat.decode import Labels, decode, hint_for
from edgesplit_controller.planner.cpsat.exclusion import exclude
from edgesplit_controller.planner.cpsat.objective import FINE, Goal, Prices, SumLimit, add_limit, minimise, prices_of
from edgesplit_controller.planner.cpsat.search import run_solver
from edgesplit_controller.planner.cpsat.variables import Variables, make_variables
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.measured_plan import Plan, measures_of
from edgesplit_controller.planner.meaning.noise_patterns import Patterns
from edgesplit_controller.planner.meaning.tolerance import ULP

__all__ = ["Base", "StageOutcome", "build_base", "solve_goal"]

COARSE = 2.0**43
"""Model units of the value not to be exceeded, at first: the solver's relaxation reasons better with small integers."""

CLOSE = 5e-10
"""Relative distance from the bound at which finer integers are not worth another round."""

CHEAP = 2_000
"""Terms up to which another round costs next to nothing, so that it is had for any distance that doubles can show."""

MOST_ROUNDS = 200
"""Of finer scales and of finds that break a limit by less than integers show."""


@dataclass(frozen=True, slots=True)
class StageOutcome:
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
    limits: tuple[SumLimit, ...],
    start: Plan | None,
    clock: Clock,
    share: float = 1.0,
    judge: Callable[[Labels], float | frozenset[int]] | None = None,
) -> tuple[Labels | None, float, bool]:
    """Minimise a goal with CP-SAT.

    The integer model is a relaxation: what it finds is judged by its exact costs. A find that breaks a limit by less
    than integers show is excluded, and where rounding leaves the bound too far from the find, the scale gets finer.

    Args:
        base: The model without objective; it is used up.
        costs: The problem's.
        patterns: Allowed quantization patterns.
        goal: What to minimise; None asks for any plan.
        limits: Bounds on measures.
        start: A plan that keeps the limits, if one is known.
        clock: Gives the time left.
        share: Of the time left that may be used.
        judge: The goal's value of an assignment, or the measures whose limits it breaks.

    Returns:
        The best assignment found, if that is better than the start, a proven lower bound, and whether the search was
        finished; the bound says nothing without a goal.

    Raises:
        SolverRefused: CP-SAT does not take the model.
    """
    deadline_s = clock.left_s() * (1 - share)
    for limit in limits:
        add_limit(base.model, base.prices, limit)
    hint = hint_for(start.labels, base.reduction, patterns, base.variables) if start is not None else []
    for var, known in hint:
        base.model.add_hint(var, known)
    close = CLOSE if len(base.prices.terms) > CHEAP else 2e-4 * CLOSE
    best: Labels | None = None
    ceiling = bound = 0.0
    if goal is not None:
        ceiling = base.prices.worst(goal) if start is None else goal.value(start.measures)
    units = COARSE
    for _ in range(MOST_ROUNDS):
        scale = 1.0 if goal is None else minimise(base.model, base.prices, goal, ceiling, units)
        answer = run_solver(base.model, clock.left_s() - deadline_s)
        clock.solve_s += answer.seconds
        if goal is not None and answer.bound > bound * scale:
            bound = min(answer.bound * (1 - 4 * ULP) / scale, ceiling)
        if answer.values is None:
            nothing = best is None and start is None
            return best, float("inf") if answer.proven and nothing else bound, answer.proven
        labels = decode(answer.values, costs, base.reduction, patterns, base.variables)
        value = judge(labels) if judge is not None else _value(goal, labels, costs)
        if isinstance(value, frozenset):
            exclude(
                base.model,
                answer.values,
                value,
                costs=costs,
                reduction=base.reduction,
                variables=base.variables,
                prices=base.prices,
            )
            continue
        if goal is None:
            return labels, 0.0, True
        if value < ceiling or (best is None and start is None):
            best = labels
        finer = value < ceiling / 2 or units < FINE
        ceiling = min(value, ceiling)
        if not answer.proven or ceiling - bound <= (goal.tolerance or close * ceiling) or not finer:
            return best, bound, answer.proven
        units = FINE
    return best, bound, False


def _value(goal: Goal | None, labels: Labels, costs: Costs) -> float:
    return 0.0 if goal is None else goal.value(measures_of(labels, costs))
