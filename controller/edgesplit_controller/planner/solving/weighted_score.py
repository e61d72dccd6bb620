"""Weighted-sum scalarisation: from a problem to a proven plan, by the solves behind the normalised score.

Owns: which objectives are solved, in which order, and what is skipped. Its rule: what it reports is what `evaluate`
finds, never the solver's word. Not here: how one objective is solved.

The score needs up to five solves: L*, E*, E^ (least energy at L*), L^ (least latency at E*) and the score itself.
With one weight 0 the score is one objective's distance to its own best, so that objective alone decides; when one plan is
best in both, nothing is left to trade.
"""

from __future__ import annotations

import msgspec

from edgesplit.errors import PlanningTimedOut
from edgesplit.planning.plan import Assignment, Evaluation, Ranges, Solution, Status, Timings
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.cpsat.minimisation import SolveOutcome
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.evaluation import evaluate, score, span
from edgesplit_controller.planner.meaning.indexed_plan import Plan, measured, to_assignment
from edgesplit_controller.planner.meaning.measures import (
    DEVICE_ENERGY,
    DEVICE_ENERGY_ALONE,
    ENERGY,
    ENERGY_ALONE,
    LATENCY,
    LATENCY_ALONE,
    WEIGHED,
    SumLimit,
    WeightedSum,
)
from edgesplit_controller.planner.meaning.tolerance import LEXICOGRAPHIC, PROOF, ROUNDING, SCORE_PROOF
from edgesplit_controller.planner.solving.reasons.infeasible import explain_infeasible
from edgesplit_controller.planner.solving.session import Session
from edgesplit_controller.planner.solving.simplification import simplified

__all__ = ["score_objective", "solve"]

UNPROVEN = "The problem could not be proven within the time limit; the gap says how far the plan may be from the best."
UNSETTLED = "The plan could not be proven to the last digits; the gap says how far it may be from the best."

RESERVE = 0.03
"""Of the time limit, kept for building the answer."""

SMALL_LIMIT = 0.01
"""Share of the largest single price below which a limit on device energy is first held against the least there is."""

TIE = 1e-10
"""Relative distance from a single objective's best within which the other measure breaks ties."""


def solve(
    problem: Problem, *, hint: Assignment | None = None, time_limit_s: float = 60.0, tolerance: float = 0.0
) -> Solution:
    """Find the plan of least score, or within a tolerance of it one with fewer components.

    Args:
        problem: A valid problem.
        hint: A plan to start from, for instance the one that runs.
        time_limit_s: When it passes, the best plan is returned with its proven gap. [s]
        tolerance: By how much the plan may be worse than the best (`simplification.py`); 0 for none. [1]

    Returns:
        The plan, recomputed by `evaluate`, or the reason why there is none.

    Raises:
        PlanningTimedOut: Time ran out before any plan was known or proven impossible.
    """
    clock = Clock(time_limit_s * (1 - RESERVE))
    planning = Session(problem, hint, clock)
    if _out_of_reach(problem, planning):
        return _without_plan(problem, planning, SolveOutcome(None, float("inf"), True))
    latency_weight, energy_weight = _weights(problem)
    if planning.critical and energy_weight > 0:
        # Quick beside the solves with a schedule, and a start for them.
        planning.best(ENERGY_ALONE)
    first = planning.best(LATENCY_ALONE if latency_weight > 0 else ENERGY_ALONE)
    if first.plan is None:
        return _without_plan(problem, planning, first)
    ranges, bound = _trade(planning, latency_weight, energy_weight, first)
    return _conceding(problem, planning, _report(problem, planning, ranges, bound), tolerance, hint)


def _conceding(
    problem: Problem, planning: Session, solution: Solution, tolerance: float, serving: Assignment | None
) -> Solution:
    """The solution with a simpler plan in place of the best, where the tolerance allows one; its gap grows by what that costs."""
    assignment, evaluation, bound = solution.assignment, solution.evaluation, solution.bound
    if not tolerance > 0 or assignment is None or evaluation is None or bound is None:
        return solution
    found = simplified(
        problem, planning, solution.ranges, (assignment, evaluation), tolerance=tolerance, serving=serving
    )
    if found is None:
        return solution
    assignment, evaluation, concession = found
    value = max(score(problem, evaluation, solution.ranges), bound)
    return msgspec.structs.replace(
        solution,
        assignment=assignment,
        evaluation=evaluation,
        score=value,
        gap=value - bound,
        timings=_timings(planning.clock),
        concession=concession,
    )


def _out_of_reach(problem: Problem, planning: Session) -> bool:
    """Whether even the least device energy exceeds a limit that is small beside single prices.

    Such a limit is settled without being put to the solver, whose integers could not hold the ratio.
    """
    limit_j = problem.constraints.device_energy_limit_j
    largest_j = float(planning.costs.compute[DEVICE_ENERGY].max(initial=0.0))
    if limit_j is None or limit_j >= SMALL_LIMIT * largest_j or planning.known.best(DEVICE_ENERGY_ALONE):
        return False
    constraints = msgspec.structs.replace(problem.constraints, device_energy_limit_j=None)
    free = Session(msgspec.structs.replace(problem, constraints=constraints), None, planning.clock.part(0.5))
    outcome = free.best(DEVICE_ENERGY_ALONE)
    return outcome.proven and outcome.bound > limit_j * (1 + ROUNDING)


def _weights(problem: Problem) -> tuple[float, float]:
    objective = problem.objective
    total = objective.latency_weight + objective.energy_weight
    return objective.latency_weight / total, objective.energy_weight / total


def _trade(planning: Session, wl: float, we: float, first: SolveOutcome) -> tuple[Ranges, float]:
    """The remaining solves; the ranges and a proven bound of the score."""
    if wl == 0 or we == 0:
        return _single(planning, wl > 0, first)
    second = planning.best(ENERGY_ALONE)
    ends = _ends(planning)
    if planning.known.best(LATENCY_ALONE, ends) is None:
        planning.best(ENERGY_ALONE, ends[0])
        planning.best(LATENCY_ALONE, ends[1])
    ranges = _ranges(planning)
    combined = score_objective(ranges, wl, we)
    offset = combined.weights[0] * (ranges.best_latency_s or 0.0)
    offset += combined.weights[1] * (ranges.best_energy_j or 0.0)
    if planning.known.best(LATENCY_ALONE, ends) is not None:
        bound = combined.weights[0] * first.bound + combined.weights[1] * second.bound
        return ranges, min(0.0, bound - offset)
    third = planning.best(combined)
    # No plan is below the best of each measure by itself, either: until it is proven the score is between 0 and its value.
    apart = combined.weights[0] * first.bound + combined.weights[1] * second.bound
    return _ranges(planning), max(third.bound, apart) - offset


def _single(planning: Session, latency: bool, first: SolveOutcome) -> tuple[Ranges, float]:
    """One weight is 0: its measure only breaks ties, and what that takes is no part of the proof."""
    objective, other = (LATENCY_ALONE, ENERGY_ALONE) if latency else (ENERGY_ALONE, LATENCY_ALONE)
    best = planning.known.best(objective)
    value = objective.value(best.measures) if best is not None else 0.0
    proven = planning.proven
    if proven and not planning.critical:
        planning.best(other, SumLimit(LATENCY if latency else ENERGY, value * (1 + TIE)))
        planning.proven = proven
    gap = max(0.0, value - first.bound) / (value or 1.0)
    return Ranges(best_latency_s=value) if latency else Ranges(best_energy_j=value), -gap


def _ends(planning: Session) -> tuple[SumLimit, SumLimit]:
    latency_s, energy_j = _least(planning)
    return SumLimit(LATENCY, latency_s * (1 + LEXICOGRAPHIC)), SumLimit(ENERGY, energy_j * (1 + LEXICOGRAPHIC))


def _least(planning: Session) -> tuple[float, float]:
    return (
        min(float(plan.measures[LATENCY]) for plan in planning.known.plans),
        min(float(plan.measures[ENERGY]) for plan in planning.known.plans),
    )


def _ranges(planning: Session) -> Ranges:
    """From all plans known."""
    latency_s, energy_j = _least(planning)
    at_energy = planning.known.best(LATENCY_ALONE, (SumLimit(ENERGY, energy_j * (1 + LEXICOGRAPHIC)),))
    at_latency = planning.known.best(ENERGY_ALONE, (SumLimit(LATENCY, latency_s * (1 + LEXICOGRAPHIC)),))
    return Ranges(
        best_latency_s=latency_s,
        latency_at_best_energy_s=None if at_energy is None else float(at_energy.measures[LATENCY]),
        best_energy_j=energy_j,
        energy_at_best_latency_j=None if at_latency is None else float(at_latency.measures[ENERGY]),
    )


def score_objective(ranges: Ranges, latency_weight: float, energy_weight: float) -> WeightedSum:
    """The score as an objective; it differs by what the best values take off.

    Args:
        ranges: The scales.
        latency_weight: Normalised.
        energy_weight: Normalised.
    """
    latency_s = span(ranges.best_latency_s or 0.0, ranges.latency_at_best_energy_s)
    energy_j = span(ranges.best_energy_j or 0.0, ranges.energy_at_best_latency_j)
    return WeightedSum((latency_weight / latency_s, energy_weight / energy_j, 0.0), 0.1 * SCORE_PROOF)


def _report(problem: Problem, planning: Session, ranges: Ranges, bound: float) -> Solution:
    """Choose the best plan by its evaluation and fill in the answer."""
    wl, we = _weights(problem)
    if wl > 0 and we > 0:
        plan = planning.known.best(score_objective(ranges, wl, we))
    else:
        objective, other = (LATENCY_ALONE, ENERGY_ALONE) if wl > 0 else (ENERGY_ALONE, LATENCY_ALONE)
        best = (ranges.best_latency_s if wl > 0 else ranges.best_energy_j) or 0.0
        tied = SumLimit(LATENCY if wl > 0 else ENERGY, best * (1 + TIE))
        plan = planning.known.best(other, (tied,)) or planning.known.best(objective)
    if plan is None:
        raise AssertionError("a plan was found and lost")
    assignment, evaluation = _evaluated(problem, planning, plan)
    value = max(0.0, score(problem, evaluation, ranges))
    bound = min(bound, value)
    proven = planning.proven and _is_proof(planning, ranges, (wl, we), value - bound)
    status: Status = "optimal" if proven else "feasible"
    reason = UNSETTLED if planning.proven else UNPROVEN
    return Solution(
        status=status,
        assignment=assignment,
        evaluation=evaluation,
        score=value,
        bound=bound,
        gap=value - bound,
        ranges=ranges,
        timings=_timings(planning.clock),
        reason="" if proven else reason,
    )


def _is_proof(planning: Session, ranges: Ranges, weights: tuple[float, float], gap: float) -> bool:
    """Whether the bounds prove the score: its own, and those of the best values it is measured from."""
    if 0 in weights:
        return gap <= PROOF
    scale = score_objective(ranges, *weights).weights
    for objective, least, weight in (
        (LATENCY_ALONE, ranges.best_latency_s, scale[LATENCY]),
        (ENERGY_ALONE, ranges.best_energy_j, scale[ENERGY]),
    ):
        distance = (least or 0.0) - planning.best(objective).bound
        if distance > PROOF * (least or 0.0) or weight * distance > SCORE_PROOF:
            return False
    return gap <= SCORE_PROOF


def _evaluated(problem: Problem, planning: Session, plan: Plan) -> tuple[Assignment, Evaluation]:
    """The plan as the referee sees it, without quantization that gains nothing."""
    costs = planning.costs
    slimmer = measured(plan.node, plan.quantized, plan.mode, costs)
    for operator in sorted(plan.quantized - _coded_as_integers(plan, costs)):
        candidate = measured(slimmer.node, slimmer.quantized - {operator}, slimmer.mode, costs)
        if (candidate.measures <= slimmer.measures)[:WEIGHED].all():
            slimmer = candidate
    assignment = to_assignment(slimmer, costs)
    evaluation = evaluate(problem, assignment)
    if evaluation.violations:
        # Fewer may be noisier where terms are negative, or need more memory.
        assignment = to_assignment(plan, costs)
        evaluation = evaluate(problem, assignment)
    return assignment, evaluation


def _coded_as_integers(plan: Plan, costs: Costs) -> set[int]:
    """Operators whose output travels under a codec that needs them in int8."""
    return {
        tensor.producer
        for tensor in costs.tensors
        if tensor.name in plan.mode and tensor.modes[plan.mode[tensor.name]].precision == "int8"
    }


def _without_plan(problem: Problem, planning: Session, first: SolveOutcome) -> Solution:
    if not first.proven:
        raise PlanningTimedOut(
            f"No plan was found within {planning.clock.deadline_s:g} s, and none was proven impossible; "
            "allow more time or relax a constraint."
        )
    return Solution(
        status="infeasible",
        assignment=None,
        evaluation=None,
        score=None,
        bound=None,
        gap=None,
        ranges=Ranges(),
        timings=_timings(planning.clock),
        reason=explain_infeasible(problem, planning.clock),
    )


def _timings(clock: Clock) -> Timings:
    total_s = clock.elapsed_s()
    return Timings(build_s=max(0.0, total_s - clock.solve_s), solve_s=clock.solve_s, total_s=total_s)
