"""Quantization patterns under the noise bound, listed.

Owns: turning the interaction polynomial and its curve into the patterns (sets of quantized operators) that a plan may choose
among. Its rule: exact; the convex hull of the listed patterns is the tightest relaxation there is, where a
linearised polynomial's is loose. Not here: codec noise beyond keeping the patterns it may need.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.exact import exact_noise
from edgesplit_controller.planner.meaning.tolerance import DOUBT, keeps

__all__ = ["MAX_TABLE", "Patterns", "pattern_table"]

MAX_TABLE = 14
"""Quantizable operators up to which all patterns are tabulated."""


@dataclass(frozen=True, slots=True)
class Patterns:
    """Quantization patterns worth considering.

    Attributes:
        operators: Quantizable operators, as indices into `Costs.operators`; columns of `members`.
        members: Shape (patterns, quantizable). [bool]
        noise: Shape (patterns,); 0 for the empty pattern. [1]
        closed_below: A plan may also quantize fewer than its pattern in the model, because quantizing all of
            it costs nothing more; decoding takes the whole pattern.
    """

    operators: tuple[int, ...]
    members: NDArray[np.bool_]
    noise: NDArray[np.float64]
    closed_below: bool


def pattern_table(problem: Problem, costs: Costs) -> Patterns | None:
    """List the patterns under the noise bound.

    A pattern is left out when another one contains it, is at most as noisy (without codecs: is also under the
    bound) and quantizing never hurts.

    Returns:
        The patterns, or None when there are too many quantizable operators for a table.
    """
    count = len(costs.quantizable)
    if count > MAX_TABLE:
        return None
    noise, magnitude = _all_noises(costs)
    limit = problem.constraints.max_noise
    feasible = np.ones(1 << count, dtype=bool) if limit is None else _within(problem, costs, noise, magnitude, limit)
    keep = feasible
    if costs.quantizing_never_hurts:
        codecs = any(mode.noise > 0 for tensor in costs.tensors for mode in tensor.modes)
        level = noise if codecs and limit is not None else np.zeros_like(noise)
        keep = feasible & ~_dominated(np.where(feasible, level, np.inf), count)
    chosen = np.flatnonzero(keep)
    members = (chosen[:, None] >> np.arange(count) & 1).astype(bool)
    return Patterns(costs.quantizable, members, noise[chosen], costs.quantizing_never_hurts)


def _within(
    problem: Problem, costs: Costs, noise: NDArray[np.float64], magnitude: NDArray[np.float64], limit: float
) -> NDArray[np.bool_]:
    """Which subsets keep the limit: those near it by their exact noise, without codecs."""
    within = noise <= limit
    names = [costs.operators[index] for index in costs.quantizable]
    for row in np.flatnonzero((np.abs(noise - limit) <= DOUBT * magnitude) & (magnitude > 0.0)).tolist():
        quantized = frozenset(name for place, name in enumerate(names) if row >> place & 1)
        within[row] = keeps(*exact_noise(problem, quantized), limit)
    return within


def _all_noises(costs: Costs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Noise of every subset and the magnitudes behind it, by summing over subsets one operator at a time."""
    count = len(costs.quantizable)
    noise = np.zeros(1 << count)
    magnitude = np.zeros(1 << count)
    bit = {operator: place for place, operator in enumerate(costs.quantizable)}
    for members, coefficient in costs.noise.terms:
        row = sum(1 << bit[operator] for operator in members)
        noise[row] += coefficient
        magnitude[row] += abs(coefficient)
    for table in (noise, magnitude):
        for place in range(count):
            halves = table.reshape(-1, 2, 1 << place)
            halves[:, 1] += halves[:, 0]
    noise += costs.noise.intercept
    magnitude += abs(costs.noise.intercept)
    if costs.noise.curve is not None:
        noise = np.array([costs.noise.curve.near(level) for level in noise.tolist()])
        magnitude = noise + float(costs.noise.curve.steepest) * magnitude
    noise[0] = magnitude[0] = 0.0
    return noise, magnitude


def _dominated(level: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    """Subsets with a proper superset whose level is at most their own."""
    best_above = np.full_like(level, np.inf)  # least level among proper supersets
    reached = level.copy()  # least level among supersets, itself included, over the bits done so far
    for place in range(count):
        above = best_above.reshape(-1, 2, 1 << place)
        full = reached.reshape(-1, 2, 1 << place)
        above[:, 0] = np.minimum(above[:, 0], full[:, 1])
        full[:, 0] = np.minimum(full[:, 0], full[:, 1])
    dominated: NDArray[np.bool_] = best_above <= level
    return dominated
