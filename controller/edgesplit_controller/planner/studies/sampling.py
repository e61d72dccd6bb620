"""Monte Carlo intervals of a plan's latency and energy: the same schedule with durations as unsure as they are.

Owns: sampling a plan, its 90 % interval, and how much of a gain between two plans is sure. Its rule: pure and repeatable; the
order of things stays that of the timeline, and what two plans have in common errs alike in both (common random numbers), so that
their difference is as sure as it can be. Not here: how sure durations are (`stating/predicting/prediction_spreads.py`), what follows.

Every duration is what the problem says times the exponential of normal deviates, so that the problem's own figure is its median:
of a component, what its node errs by in common and what it errs by itself; of coding likewise; of a transfer, what the link's
rate errs by, and its latency plus a normal deviate. The result is multiplied by what the whole request errs by.
The prediction itself stays the timeline of the problem's figures. Where parallel branches end together, most samples end
later than that (whichever is late decides), so an interval is widened to contain its prediction.

What a component errs by itself is made of what its operators err by, each in proportion to its time: two components that
share operators of one node and form err alike as far as they share them.

References: A. M. Law, Simulation Modeling and Analysis, ch. 11: common random numbers. M. D. McKay, R. J. Beckman,
W. J. Conover, A Comparison of Three Methods for Selecting Values of Input Variables, Technometrics 21, 1979: each deviate
takes its quantiles once (Latin hypercube sampling).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from edgesplit.planning.plan import Assignment, Evaluation
from edgesplit.planning.problem import Problem
from edgesplit.planning.spreads import Interval, PredictionInterval, Spreads
from edgesplit_controller.planner.studies.fixed_order import Step, steps_of

__all__ = ["SAMPLES", "SampledPlan", "gain_interval", "interval_of", "prediction_interval", "sampled"]

SAMPLES = 512
"""Of each plan. [1]"""
COVERED = (0.05, 0.95)
"""Quantiles between which 90 % lie. [1]"""
GAIN_COVERED = (0.1, 0.9)
"""Quantiles of a gain: it exceeds the lower one in nine of ten cases. [1]"""
COUNTED = 0.99
"""Of the variance of what a component errs by itself: the shortest operators beyond it are left out. [1]"""
KEPT_DEVIATES = 4096
"""Deviates that are kept, of 2 KB each: those of some plans. [1]"""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SampledPlan:
    """A plan as it could turn out, one value a sample; equal places of two plans belong together.

    Attributes:
        timeline_s: End of the timeline. [s]
        added_s: Everything one after the other, which is what latency model `sum` means by latency. [s]
        energy_j: All nodes. [J]
        stretch: What its intervals are wider by than samples say. [1]
    """

    timeline_s: Floats
    added_s: Floats
    energy_j: Floats
    stretch: float = 1.0


def prediction_interval(
    problem: Problem, assignment: Assignment, evaluation: Evaluation, spreads: Spreads
) -> PredictionInterval | None:
    """The 90 % intervals around an evaluation's latency and energy; None for what cannot run.

    Args:
        problem: The problem with which it was evaluated.
        assignment: A complete one.
        evaluation: `evaluate` of both.
        spreads: How sure the problem's durations are.
    """
    plan = sampled(problem, assignment, evaluation, spreads)
    return None if plan is None else interval_of(plan, evaluation)


def interval_of(plan: SampledPlan, evaluation: Evaluation) -> PredictionInterval:
    """The 90 % intervals of a sampled plan."""
    return PredictionInterval(
        latency_s=_stretched(
            _interval(plan.timeline_s, COVERED, evaluation.timeline_s), evaluation.timeline_s, plan.stretch
        ),
        energy_j=_stretched(_interval(plan.energy_j, COVERED, evaluation.energy_j), evaluation.energy_j, plan.stretch),
    )


def gain_interval(old: Floats, new: Floats, gain: float) -> Interval:
    """Where the gain of one plan over another lies, 80 % of all cases between both ends. [1]

    Args:
        old: Objective of one plan, per sample, above 0.
        new: Objective of the other, of the same samples.
        gain: 1 - new / old as predicted; the interval contains it.
    """
    return _interval(1.0 - new / old, GAIN_COVERED, gain)


def sampled(problem: Problem, assignment: Assignment, evaluation: Evaluation, spreads: Spreads) -> SampledPlan | None:
    """Run a plan's schedule with `SAMPLES` draws of its durations; None for what cannot run, or is too unsure for numbers.

    Args:
        problem: The problem with which it was evaluated.
        assignment: A complete one.
        evaluation: `evaluate` of both.
        spreads: How sure the problem's durations are.
    """
    if not math.isfinite(evaluation.timeline_s):
        return None
    nodes = {node.name: node for node in problem.nodes}
    steps = steps_of(problem, assignment, evaluation)
    left: list[Floats] = []
    done: list[Floats] = []
    # Deviates are single precision to be kept; sums are not.
    handling = _deviates("handling").astype(np.float64)
    begin_s = np.maximum(problem.handling_s + spreads.handling_s * handling, 0.0)
    end_s, added_s, energy_j = begin_s, begin_s.copy(), np.zeros(SAMPLES)
    for step in steps:
        occupied_s, lag_s = _durations(step, spreads)
        start_s = _latest(
            begin_s, [done[i] for i in step.before] + ([] if step.behind is None else [left[step.behind]])
        )
        left.append(start_s + occupied_s)
        done.append(left[-1] + lag_s)
        end_s = np.maximum(end_s, done[-1])
        whole_s = occupied_s + lag_s
        added_s += whole_s
        node = nodes[step.node]
        energy_j += whole_s * (node.transmit_power_w if step.kind == "transfer" else node.compute_power_w)
    whole = _factor(spreads.whole, "whole")
    plan = SampledPlan(end_s * whole, added_s * whole, energy_j * whole, spreads.stretch)
    return plan if np.isfinite([plan.timeline_s, plan.added_s, plan.energy_j]).all() else None


def _latest(begin_s: Floats, times_s: Sequence[Floats]) -> Floats:
    latest_s = times_s[0] if times_s else begin_s
    for time_s in times_s[1:]:
        latest_s = np.maximum(latest_s, time_s)
    return latest_s


def _durations(step: Step, spreads: Spreads) -> tuple[Floats | float, Floats | float]:
    """How long a step occupies its resource, and how long after that it is done. [s]"""
    if step.kind == "transfer":
        rate, latency_s = spreads.links.get((step.node, step.to), (0.0, 0.0))
        lag_s: Floats | float = step.lag_s
        if latency_s > 0.0:
            lag_s = np.maximum(lag_s + latency_s * _deviates("latency", step.node, step.to), 0.0)
        return step.occupied_s * _factor(rate, "rate", step.node, step.to), lag_s
    common = _factor(spreads.nodes.get(step.node, 0.0), "node", step.node)
    if step.kind == "compute":
        return step.occupied_s * common * _own_factor(step, spreads), 0.0
    own = _factor(spreads.codings.get(step.node, 0.0), step.kind, step.node, step.codec)
    return step.occupied_s * common * own, 0.0


def _own_factor(step: Step, spreads: Spreads) -> Floats | float:
    """What a component errs by itself: what its operators err by, in proportion to their times."""
    spread = spreads.components.get(step.component, 0.0) if step.component is not None else 0.0
    works = sorted((work for work in step.works if work.seconds > 0.0), key=lambda work: -work.seconds)
    if spread <= 0.0 or not works:
        return 1.0
    shares = np.cumsum([work.seconds**2 for work in works])
    works = works[: int(np.searchsorted(shares, COUNTED * shares[-1])) + 1]
    weights = np.array([work.seconds for work in works], np.float32)
    drawn = np.array([_deviates("operator", step.node, w.operator, "int8" if w.quantized else "") for w in works])
    own: Floats = (weights / np.linalg.norm(weights)) @ drawn
    return np.exp(spread * own)


def _factor(spread: float, *key: str) -> Floats | float:
    """What something is multiplied by; its logarithm's standard deviation is the spread."""
    return np.exp(spread * _deviates(*key)) if spread > 0.0 else 1.0


def _interval(values: Floats, covered: tuple[float, float], predicted: float) -> Interval:
    low, high = np.quantile(values, covered)
    return min(float(low), predicted), max(float(high), predicted)


def _stretched(interval: Interval, predicted: float, stretch: float) -> Interval:
    """Both ends' logarithms so many times as far from the prediction's."""
    low, high = interval
    return (
        (low, high)
        if predicted <= 0.0
        else (
            predicted * (low / predicted) ** stretch,
            predicted * (high / predicted) ** stretch,
        )
    )


@lru_cache(maxsize=KEPT_DEVIATES)
def _deviates(*key: str) -> NDArray[np.float32]:
    """Standard normal deviates, shape (SAMPLES,), the same for the same key in every program."""
    seed = int.from_bytes(hashlib.blake2b("\0".join(key).encode(), digest_size=8).digest(), "big")
    drawn = np.random.Generator(np.random.PCG64(seed)).permutation(_scores())
    drawn.flags.writeable = False
    return drawn


@lru_cache(maxsize=1)
def _scores() -> NDArray[np.float32]:
    """The normal distribution's quantiles in the middle of equal shares, scaled to a variance of 1."""
    normal = NormalDist()
    scores = np.array([normal.inv_cdf((index + 0.5) / SAMPLES) for index in range(SAMPLES)])
    scaled: NDArray[np.float32] = (scores / scores.std()).astype(np.float32)
    return scaled
