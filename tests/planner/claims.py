"""Every claim of a solution, held against trying everything.

Owns: the checks. Its rule: what decides is rational arithmetic wherever floating point is near a limit. Not here:
drawing problems.
"""

from __future__ import annotations

from fractions import Fraction

from edgesplit.planning.plan import Assignment, Evaluation, Solution
from edgesplit.planning.problem import Problem
from tests.planner.brute_force import all_assignments, makespan
from tests.planner.exact_sums import ROUNDING, ExactSums, exact_sums, keeps_all, keeps_limits, rounded_sums

__all__ = ["wrong_claims"]

SCORE_PROOF = 1e-6
PROOF = 1e-9
LEXICOGRAPHIC = 1e-6
DUST = 1e-12
"""Of floating point in the check itself."""

Point = tuple[float, float]
"""Latency and energy. [s, J]"""


def wrong_claims(problem: Problem, solution: Solution) -> list[str]:
    """One sentence for everything the solution says that is not so; a proof that is missing counts as well."""
    points = _points(problem)
    if solution.status == "infeasible":
        return [f"infeasible, but there are {len(points)} plans"] if points else []
    assignment, evaluation = solution.assignment, solution.evaluation
    if assignment is None or evaluation is None or solution.score is None or solution.bound is None:
        return ["no plan although it is not infeasible"]
    wrong: list[str] = []
    sums = exact_sums(problem, assignment)
    if not keeps_limits(problem, sums) or not _places_allowed(problem, assignment):
        wrong.append("the plan breaks a limit")
    limits = problem.constraints
    for told, limit in (
        (evaluation.noise, limits.max_noise),
        (evaluation.device_energy_j, limits.device_energy_limit_j),
    ):
        if limit is not None and told > limit:
            wrong.append("the value told is above the limit")
    wrong += _wrong_rate(problem, evaluation, sums)
    latency_s = _latency_s(problem, assignment, float(sums.latency_s))
    told_s, told_j = evaluation.latency_s, evaluation.energy_j
    if abs(told_j - float(sums.energy_j)) > DUST * abs(told_j):
        wrong.append(f"energy told {told_j!r}, is {float(sums.energy_j)!r}")
    # A timeline told is one that components of the plan have: of many operators it need not be the very shortest.
    longer = problem.objective.latency_model == "critical-path" and told_s > latency_s
    if not longer and abs(told_s - latency_s) > DUST * abs(latency_s):
        wrong.append(f"latency told {told_s!r}, is {latency_s!r}")
    if not points:
        return [*wrong, "a plan although there is none"]
    best = _best_score(problem, points)
    mine = _scorer(problem, points)((told_s, float(sums.energy_j)))
    single = 0.0 in (problem.objective.latency_weight, problem.objective.energy_weight)
    near = PROOF if single else SCORE_PROOF
    if solution.status != "optimal":
        wrong.append(f"not proven: gap {solution.gap}")
    elif mine > best + near * (1 + 1e-3) + DUST:
        wrong.append(f"called optimal, but {mine!r} is above {best!r}")
    if solution.status == "optimal" and solution.bound > best + near:
        wrong.append(f"the bound {solution.bound!r} is above the best score {best!r}")
    return wrong


def _wrong_rate(problem: Problem, evaluation: Evaluation, sums: ExactSums) -> list[str]:
    """The rate told, what bounds it, and whether it is the one asked for."""
    told_hz, asked_hz = evaluation.rate_hz, problem.constraints.min_rate_hz
    if not sums.period_s or told_hz is None:
        known = told_hz is None and evaluation.bottleneck is None
        return (
            [] if known and float(sums.period_s) < 1e-300 else [f"rate told {told_hz!r}, the period is {sums.period_s}"]
        )
    wrong: list[str] = []
    if abs(told_hz * float(sums.period_s) - 1) > DUST:
        wrong.append(f"rate told {told_hz!r}, the period is {float(sums.period_s)!r}")
    if asked_hz is not None and told_hz < asked_hz:
        wrong.append("the rate told is below the one asked for")
    if sums.periods_s.get(evaluation.bottleneck or "", 0) < sums.period_s * (1 - ROUNDING):
        wrong.append(f"bounded by {evaluation.bottleneck!r}, which is not the busiest")
    return wrong


def _points(problem: Problem) -> list[Point]:
    """Latency and energy of every plan."""
    found: list[Point] = []
    for assignment in all_assignments(problem):
        sums = rounded_sums(problem, assignment)
        if keeps_all(problem, assignment, sums):
            found.append((_latency_s(problem, assignment, sums.latency_s), sums.energy_j))
    return found


def _latency_s(problem: Problem, assignment: Assignment, summed_s: float) -> float:
    if problem.objective.latency_model == "critical-path":
        return makespan(problem, assignment)
    return summed_s


def _places_allowed(problem: Problem, assignment: Assignment) -> bool:
    pins = problem.constraints.pins or {}
    return all(
        assignment.node_of[o.name] in pins.get(o.name, (assignment.node_of[o.name],))
        and (o.role is None or assignment.node_of[o.name] == problem.source)
        and (o.quantizable or o.name not in assignment.quantized)
        for o in problem.operators
    )


class _Scorer:
    """The score of docs/problem-file.md over all plans."""

    def __init__(self, problem: Problem, points: list[Point]) -> None:
        self.weights = problem.objective.latency_weight, problem.objective.energy_weight
        self.best = min(p[0] for p in points), min(p[1] for p in points)
        top_j = min(e for latency, e in points if latency <= self.best[0] * (1 + LEXICOGRAPHIC))
        top_s = min(latency for latency, e in points if e <= self.best[1] * (1 + LEXICOGRAPHIC))
        single = 0.0 in self.weights
        self.span = (
            _span(self.best[0], self.best[0] if single else top_s),
            _span(self.best[1], self.best[1] if single else top_j),
        )

    def __call__(self, point: Point) -> float:
        parts = [
            weight * float((Fraction(value) - Fraction(best)) / Fraction(span))
            for weight, value, best, span in zip(self.weights, point, self.best, self.span, strict=True)
            if weight > 0
        ]
        return sum(parts) / sum(self.weights)


def _scorer(problem: Problem, points: list[Point]) -> _Scorer:
    return _Scorer(problem, points)


def _best_score(problem: Problem, points: list[Point]) -> float:
    return min(map(_Scorer(problem, points), points))


def _span(best: float, worst: float) -> float:
    length = worst - best
    return length if length >= LEXICOGRAPHIC * best and length > 0 else best or 1.0
