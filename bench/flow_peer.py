"""The planner's peer: the plain flow model, whole, given to HiGHS for the same five solves.

Owns: the integer program and the five solves behind a score. Its rule: nothing of the planner's presolve, bounds or search; one thread. Not
here: the planner's own time (`planner.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import highspy

from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.bounds.noise_patterns import pattern_table
from edgesplit_controller.planner.flows.flow_program import FlowProgram
from edgesplit_controller.planner.linear.highs import LinearProgram, QuietHighs, as_highs
from edgesplit_controller.planner.meaning.costs import costs_of
from edgesplit_controller.planner.meaning.evaluation import span
from edgesplit_controller.planner.meaning.measures import (
    ENERGY,
    ENERGY_ALONE,
    LATENCY,
    LATENCY_ALONE,
    NOISE,
    SumLimit,
    WeightedSum,
)
from edgesplit_controller.planner.meaning.tolerance import LEXICOGRAPHIC

__all__ = ["PeerAnswer", "solve_by_highs"]


@dataclass(frozen=True)
class PeerAnswer:
    """What the peer found.

    Attributes:
        score: As the planner's; None where a solve ran out of time.
        processor_s: Of all solves, building included. [s]
    """

    score: float | None
    processor_s: float


def solve_by_highs(problem: Problem, time_limit_s: float) -> PeerAnswer:
    """Find the least score.

    Args:
        problem: With latency as a sum.
        time_limit_s: Of each solve. [s]
    """
    began_s = time.process_time()
    costs = costs_of(problem)
    program = FlowProgram(costs, pattern_table(problem, costs), problem.constraints.max_noise)
    limits = [limit for limit in costs.limits if limit.measure != NOISE]
    if any(mode.noise > 0 for tensor in costs.tensors for mode in tensor.modes):
        limits += [limit for limit in costs.limits if limit.measure == NOISE]

    def least(objective: WeightedSum, *extra: SumLimit) -> float | None:
        return _integer(program.program(objective, [*limits, *extra]), time_limit_s)

    score = _score(problem, least)
    return PeerAnswer(score, time.process_time() - began_s)


def _score(problem: Problem, least: Callable[..., float | None]) -> float | None:
    latency_s, energy_j = least(LATENCY_ALONE), least(ENERGY_ALONE)
    if latency_s is None or energy_j is None:
        return None
    at_latency = least(ENERGY_ALONE, SumLimit(LATENCY, latency_s * (1 + LEXICOGRAPHIC)))
    at_energy = least(LATENCY_ALONE, SumLimit(ENERGY, energy_j * (1 + LEXICOGRAPHIC)))
    if at_latency is None or at_energy is None:
        return None
    asked = problem.objective
    total = asked.latency_weight + asked.energy_weight
    scales = (
        asked.latency_weight / total / span(latency_s, at_energy),
        asked.energy_weight / total / span(energy_j, at_latency),
        0.0,
    )
    value = least(WeightedSum(scales))
    return None if value is None else value - scales[0] * latency_s - scales[1] * energy_j


def _integer(program: LinearProgram, time_limit_s: float) -> float | None:
    """The least cost with whole columns; None when it was not proven in time."""
    solver = QuietHighs()  # type: ignore[no-untyped-call]
    for option, value in (("threads", 1), ("time_limit", time_limit_s), ("mip_rel_gap", 1e-7)):
        solver.setOptionValue(option, value)
    model = as_highs(program)
    model.integrality_ = [highspy.HighsVarType.kInteger] * len(program.cost)
    solver.passModel(model)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    return float(solver.getObjectiveValue())
