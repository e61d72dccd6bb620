"""What requests cost by the goals of their interval, as multiples of what the oracle's cost.

Owns: latency and energy weighed as the planner weighs them. Its rule: pure; a request's energy is that of the plan that answered it,
over all the time that this served in the interval, for agents report energy once a second and of whole requests. Not here: what
follows from being near the oracle (`reaction.py`), energy over time (`energy.py`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from lab.dynamics.energy import STEP_S
from lab.dynamics.script import Interval
from lab.play_results import EnergySample, OraclePlan, TracedRequest

__all__ = ["Weights", "costs", "joules_by_epoch"]

Weights = tuple[float, float]
"""Of latency and of energy. [1]"""


def joules_by_epoch(
    span: Interval, requests: Sequence[TracedRequest], energy: Sequence[EnergySample]
) -> dict[int, float]:
    """Energy of a request of each plan that served long enough in an interval to tell. [J]

    Args:
        span: The interval.
        requests: Answered in it.
        energy: Of the whole run.
    """
    served: dict[int, tuple[float, float]] = {}
    for entry in requests:
        if entry.epoch is not None and span.from_s <= entry.at_s < span.to_s:
            first_s, _ = served.get(entry.epoch, (entry.at_s, 0.0))
            served[entry.epoch] = first_s, min(entry.at_s + (entry.latency_s or 0.0), span.to_s)
    found: dict[int, float] = {}
    for epoch, (first_s, last_s) in served.items():
        within = [sample.joules for sample in energy if first_s <= sample.at_s - STEP_S and sample.at_s <= last_s]
        if within:
            found[epoch] = statistics.fmean(within)
    return found


def costs(
    requests: Sequence[TracedRequest], joules: Mapping[int, float], best: OraclePlan, weights: Weights
) -> list[float]:
    """Of each request: 1 where it costs what the oracle's do; infinite where nobody knows.

    Args:
        requests: Answered ones.
        joules: Of a request, by epoch. [J]
        best: What the oracle's take in the same interval.
        weights: Of the goals.
    """
    latency, energy = (weight / sum(weights) for weight in weights)
    found = []
    for entry in requests:
        cost = latency * (entry.latency_s or 0.0) / best.latency_s
        if energy > 0:
            known = entry.epoch in joules and best.joules
            cost += energy * joules[entry.epoch or 0] / best.joules if known and best.joules else math.inf
        found.append(cost)
    return found
