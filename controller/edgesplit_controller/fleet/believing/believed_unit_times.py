"""Empirical-Bayes shrinkage of unit times: what profiles of several nodes say of each other.

Owns: how far a unit's time on a node is moved towards what other nodes say of it. Its rule: pure; only differences that the spread
of measurement explains are taken back, what nodes take as a whole stays, and a time whose spread is not known is left alone. Not
here: measuring (agents), a node's speed over time (`estimation`), which plan follows.

A planner that may choose the least of several noisy times for every unit chooses noise: of three equal nodes measured to 10 %, the
least time of each unit promises 8 % that nobody will see. So times are believed as far as they say something. The model, for unit u
on node n:

    log time[u, n] = work[u] + speed[n] + deviation[u, n] + error[u, n]

Errors have the variances that nodes tell. How much two nodes really deviate (other kernels, another kind of machine) is the
variance of their difference over all units less what errors explain, by the moment estimator of random effects [1]; it counts from
one standard deviation beyond chance. These variances are the distances between nodes from which the covariance of deviations
follows, and a unit's time is the best linear prediction from its times on all nodes: nodes of one kind lend to each other, a
graphics processor and a core do not. This is the estimator of James and Stein with a covariance [2].

References: [1] R. DerSimonian, N. Laird, Meta-analysis in clinical trials, Controlled Clinical Trials 7, 1986.
[2] B. Efron, C. Morris, Empirical Bayes on vector observations, Biometrika 59, 1972.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgesplit.control.profile_messages import ExecutionProfile

__all__ = ["Beliefs", "as_believed", "beliefs"]

Floats = NDArray[np.float64]

LEAST_UNITS = 8
"""That two nodes both timed: of fewer it cannot be told how much they really deviate."""
MOST_NODES = 12
"""The nearest ones that say something of a node's units."""
LEAST_SPREAD = 1e-3
"""Of any time; a clock says no more. [1]"""
STRANGERS = 1e2
"""Variance of the difference between nodes of which it is not known. [1]"""
UNKNOWN = 1e6
"""Variance of what was not measured. [1]"""


@dataclass(frozen=True)
class Beliefs:
    """Factors on the times of one node's profile.

    Attributes:
        in_float: By unit. [1]
        in_int8: By quantizable unit. [1]
    """

    in_float: Mapping[str, float]
    in_int8: Mapping[str, float]


def beliefs(profiles: Mapping[str, ExecutionProfile]) -> dict[str, Beliefs]:
    """What to multiply the times of each node's profile with, so that they are believed as far as they say something.

    Args:
        profiles: By node, all of one model.

    Returns:
        By node; units that are not named, and nodes that say no spreads, stay as they are.
    """
    names = [name for name, profile in profiles.items() if profile.unit_spreads]
    if len(names) < 2:
        return {}
    measured = [profiles[name] for name in names]
    in_float = _factors([one.time_s for one in measured], [one.unit_spreads for one in measured])
    in_int8 = _factors([one.quantized_time_s for one in measured], [one.quantized_unit_spreads for one in measured])
    return {name: Beliefs(*pair) for name, *pair in zip(names, in_float, in_int8, strict=True)}


def as_believed(profile: ExecutionProfile, believed: Beliefs | None) -> ExecutionProfile:
    """A profile with its times as they are believed; sums over units are what they were."""
    if believed is None or not (believed.in_float or believed.in_int8):
        return profile
    in_float, in_int8 = believed.in_float, believed.in_int8
    return msgspec.structs.replace(
        profile,
        time_s={unit: seconds * in_float.get(unit, 1.0) for unit, seconds in profile.time_s.items()},
        quantized_time_s={unit: seconds * in_int8.get(unit, 1.0) for unit, seconds in profile.quantized_time_s.items()},
        integer_time_s={unit: seconds * in_int8.get(unit, 1.0) for unit, seconds in profile.integer_time_s.items()},
    )


def _factors(times: Sequence[Mapping[str, float]], spreads: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """One factor for each unit and node that is known well enough, node by node."""
    units = sorted(set[str]().union(*(one.keys() for one in spreads)))
    seconds = np.array([[one.get(unit, 0.0) for unit in units] for one in times]).reshape(len(times), -1)
    errors = np.array([[one.get(unit, 0.0) for unit in units] for one in spreads]).reshape(len(times), -1)
    known = (seconds > 0) & (errors > 0)
    logs = np.log(np.where(known, seconds, 1.0))
    variances = np.where(known, np.maximum(errors, LEAST_SPREAD) ** 2, UNKNOWN)
    slower, apart = _differences(logs, variances, known)
    found: list[dict[str, float]] = []
    for node in range(len(times)):
        others = np.argsort(apart[node], kind="stable")
        others = others[(others != node) & (apart[node, others] < STRANGERS)][: MOST_NODES - 1]
        if not len(others):
            found.append({})
            continue
        near = np.array([node, *others])
        level = logs[near] - slower[near, node][:, np.newaxis]
        believed = _predicted(level, variances[near], apart[np.ix_(near, near)])
        factor = np.exp(np.where(known[node], believed - logs[node], 0.0))
        factor[known[node]] *= seconds[node, known[node]].sum() / (seconds[node] * factor)[known[node]].sum()
        found.append(
            {unit: float(value) for unit, value, is_known in zip(units, factor, known[node], strict=True) if is_known}
        )
    return found


def _differences(logs: Floats, variances: Floats, known: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """By how much each node is slower than each other [1], and the variance of how their units really deviate from that [1]."""
    count = len(logs)
    slower, apart = np.zeros((count, count)), np.zeros((count, count))
    for first in range(count):
        for second in range(first):
            both = known[first] & known[second]
            mean, variance = 0.0, STRANGERS
            if both.sum() >= LEAST_UNITS:
                difference = (logs[first] - logs[second])[both]
                mean, variance = _random_effects(difference, (variances[first] + variances[second])[both])
            slower[first, second], slower[second, first] = mean, -mean
            apart[first, second] = apart[second, first] = variance
    return slower, apart


def _random_effects(values: Floats, variances: Floats) -> tuple[float, float]:
    """Mean of values with known error variances, and by which variance they differ beyond errors and chance."""
    weights = 1.0 / variances
    mean = float(weights @ values / weights.sum())
    freedom = len(values) - 1
    excess = float(weights @ (values - mean) ** 2) - freedom - math.sqrt(2 * freedom)
    scale = float(weights.sum() - (weights @ weights) / weights.sum())
    return mean, max(excess / scale, 0.0)


def _predicted(level: Floats, variances: Floats, apart: Floats) -> Floats:
    """Best linear prediction of the first node's units from those of all, in logarithms.

    Args:
        level: As they would be at that node's speed, shape (nodes, units).
        variances: Of their errors, shape (nodes, units).
        apart: Variances of real differences, shape (nodes, nodes).
    """
    count = len(level)
    centred = np.eye(count) - 1.0 / count
    values, vectors = np.linalg.eigh(-0.5 * centred @ apart @ centred)
    covariance = (vectors * np.maximum(values, 0.0)) @ vectors.T
    weights = np.linalg.inv(covariance[np.newaxis] + np.eye(count) * variances.T[:, :, np.newaxis])
    summed = weights.sum(axis=1)
    mean = (summed * level.T).sum(axis=1) / summed.sum(axis=1)
    rest = np.einsum("unm,um->un", weights, level.T - mean[:, np.newaxis])
    predicted: Floats = mean + rest @ covariance[0]
    return predicted
