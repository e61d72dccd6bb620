"""One objective minimised by CP-SAT: variables, constraints, objective, solver, decoding in that order.

Owns: the exact minimisation of one objective under limits. Its rule: an answer's bound is proven for the unreduced problem, and
what the solver finds is judged by its exact costs: the integer model is a relaxation. A find that breaks a limit by less than
integers show is excluded, and where rounding leaves the bound too far from the find, the scale gets finer. Not here: which
objectives make up the score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.bounds.reduction import Reduction
from edgesplit_controller.planner.cpsat.constraints import add_constraints
from edgesplit_controller.planner.cpsat.decode import decode, hint_for
from edgesplit_controller.planner.cpsat.exclusion import exclude
from edgesplit_controller.planner.cpsat.objective import FINE, Prices, add_limit, minimise, prices_of
from edgesplit_controller.planner.cpsat.search import SolverAnswer, run_solver
from edgesplit_controller.planner.cpsat.solver_library import cp_model
from edgesplit_controller.planner.cpsat.variables import Variables, make_variables
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.indexed_plan import Plan
from edgesplit_controller.planner.meaning.measures import SumLimit, WeightedSum
from edgesplit_controller.planner.meaning.tolerance import ULP

__all__ = ["Judge", "Model", "SolveOutcome", "build_model", "find_plan", "solve_objective"]

COARSE = 2.0**43
"""Model units of the value not to be exceeded, at first: the solver's relaxation reasons better with small integers."""

CLOSE = 5e-10
"""Relative distance from the bound at which finer integers are not worth another round."""

CHEAP = 2_000
"""Terms up to which another round costs next to nothing, so that it is had for any distance that doubles can show."""

MOST_ROUNDS = 200
"""Of finer scales and of finds that break a limit by less than integers show."""

Judge = Callable[[Plan], float | frozenset[int]]
"""The objective's value of a plan by exact costs, or the measures whose limits it breaks."""


@dataclass(frozen=True, slots=True)
class SolveOutcome:
    """What is known about an objective: its best plan, the bound no plan is below, and whether the two settle it."""

    plan: Plan | None
    bound: float
    proven: bool


@dataclass(frozen=True, slots=True)
class Model:
    """A CP-SAT model without objective and what it is of; one search uses it up."""

    cpsat: cp_model.CpModel
    costs: Costs
    patterns: Patterns | None
    reduction: Reduction
    variables: Variables
    prices: Prices


def build_model(problem: Problem, costs: Costs, patterns: Patterns | None, reduction: Reduction) -> Model:
    """Variables, constraints and prices of a reduced problem.

    Args:
        problem: The problem.
        costs: The problem's.
        patterns: Allowed quantization patterns.
        reduction: What presolve left.
    """
    cpsat = cp_model.CpModel()
    variables = make_variables(cpsat, costs, reduction, patterns)
    add_constraints(cpsat, variables, problem=problem, costs=costs, reduction=reduction, patterns=patterns)
    return Model(cpsat, costs, patterns, reduction, variables, prices_of(costs, reduction, variables))


def solve_objective(
    model: Model,
    objective: WeightedSum,
    *,
    limits: Sequence[SumLimit],
    start: Plan | None,
    clock: Clock,
    judge: Judge,
    share: float = 1.0,
) -> SolveOutcome:
    """Minimise an objective.

    Args:
        model: Without objective; it is used up.
        objective: What to minimise.
        limits: Bounds on measures other than noise, which the model has.
        start: A plan that keeps the limits, if one is known.
        clock: Gives the time left.
        judge: Of what the solver finds.
        share: Of the time left that may be used.

    Returns:
        The best plan found, if that is better than the start, a proven lower bound, and whether the search was finished.

    Raises:
        SolverRefused: CP-SAT does not take the model.
    """
    enough_s = clock.left_s() * (1 - share)
    _prepare(model, limits, start)
    close = CLOSE if len(model.prices.terms) > CHEAP else 2e-4 * CLOSE
    best: Plan | None = None
    ceiling = model.prices.worst(objective) if start is None else objective.value(start.measures)
    bound, units = 0.0, COARSE
    for _ in range(MOST_ROUNDS):
        scale = minimise(model.cpsat, model.prices, objective, ceiling, units)
        answer = _searched(model, clock, enough_s)
        if answer.bound > bound * scale:
            bound = min(answer.bound * (1 - 4 * ULP) / scale, ceiling)
        if answer.values is None:
            nothing = best is None and start is None
            return SolveOutcome(best, float("inf") if answer.proven and nothing else bound, answer.proven)
        plan, value = _judged(model, answer.values, judge)
        if value is None:
            continue
        if value < ceiling or (best is None and start is None):
            best = plan
        finer = value < ceiling / 2 or units < FINE
        ceiling = min(value, ceiling)
        if not answer.proven or ceiling - bound <= (objective.tolerance or close * ceiling) or not finer:
            return SolveOutcome(best, bound, answer.proven)
        units = FINE
    return SolveOutcome(best, bound, False)


def find_plan(
    model: Model,
    *,
    limits: Sequence[SumLimit],
    clock: Clock,
    judge: Judge,
    start: Plan | None = None,
    share: float = 1.0,
) -> SolveOutcome:
    """Find any plan; the bound says nothing.

    Args:
        model: Without objective; it is used up.
        limits: Bounds on measures other than noise, which the model has.
        clock: Gives the time left.
        judge: Of what the solver finds.
        start: An assignment near to a plan; None: any.
        share: Of the time left that may be used.

    Raises:
        SolverRefused: CP-SAT does not take the model.
    """
    enough_s = clock.left_s() * (1 - share)
    _prepare(model, limits, start)
    for _ in range(MOST_ROUNDS):
        answer = _searched(model, clock, enough_s)
        if answer.values is None:
            return SolveOutcome(None, 0.0, answer.proven)
        plan, value = _judged(model, answer.values, judge)
        if value is not None:
            return SolveOutcome(plan, 0.0, True)
    return SolveOutcome(None, 0.0, False)


def _prepare(model: Model, limits: Sequence[SumLimit], start: Plan | None) -> None:
    for limit in limits:
        add_limit(model.cpsat, model.prices, limit)
    hint = hint_for(start, model.reduction, model.patterns, model.variables) if start is not None else []
    for var, known in hint:
        model.cpsat.add_hint(var, known)


def _searched(model: Model, clock: Clock, enough_s: float) -> SolverAnswer:
    answer = run_solver(model.cpsat, clock.left_s() - enough_s)
    clock.solve_s += answer.seconds
    return answer


def _judged(model: Model, values: Sequence[int], judge: Judge) -> tuple[Plan, float | None]:
    """A find and its value; one that breaks a limit has none and is cut off."""
    plan = decode(values, model.costs, model.reduction, model.patterns, model.variables)
    value = judge(plan)
    if isinstance(value, frozenset):
        exclude(model.cpsat, values, value, variables=model.variables, prices=model.prices)
        return plan, None
    return plan, value
