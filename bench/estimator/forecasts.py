"""Forecasts of recorded runs: every report of a recording predicted from those before.

Owns: replaying a recording whose truth nobody knows, and the scores that can be had of it. Its rule: deterministic; a
component's report is predicted before it is taken in, and judged by the median of its runs. Not here: simulations, whose truth
is known (`scores.py`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.estimator.contestants import CONTESTANTS
from bench.estimator.scores import NINETY_PERCENT, root_mean_square
from edgesplit_controller.fleet.estimation.observations import PartsRan, SpeedObservation

__all__ = ["Forecast", "forecast"]

LEAST_SCATTER = 0.003


@dataclass(frozen=True)
class Forecast:
    """How one estimator predicted a recording.

    Attributes:
        rms, worst: Error of reports of components that had been timed; a logarithm. [1]
        first_rms: The same of each component's first report. [1]
        wander: Root mean square of what predictions changed by from one report of a component to its next. [1]
        coverage: Share of intervals that held, a single run's own noise taken into account; None without intervals. [1]
        reports, components: How many there were.
    """

    rms: float
    worst: float
    first_rms: float
    wander: float
    coverage: float | None
    reports: int
    components: int


def forecast(observations: Sequence[SpeedObservation], estimator: str) -> Forecast:
    """Replay one node's and model's observations through an estimator."""
    contestant, scatter = CONTESTANTS[estimator](), _scatter(observations)
    errors: list[float] = []
    firsts: list[float] = []
    changes: list[float] = []
    hits: list[bool] = []
    before: dict[str, float] = {}
    for observation in observations:
        for part in observation.parts if isinstance(observation, PartsRan) else ():
            predicted = contestant.predicted(part)
            error = math.log(statistics.median(part.samples) / predicted.seconds)
            logarithm = math.log(predicted.seconds / part.profiled_s)
            if part.key in before:
                errors.append(error)
                changes.append(logarithm - before[part.key])
            else:
                firsts.append(error)
            before[part.key] = logarithm
            if predicted.deviation is not None:
                noise = scatter.get(part.key, 0.0) * math.sqrt(math.pi / 2 if len(part.samples) > 2 else 1.0)
                width = math.hypot(predicted.deviation, noise / math.sqrt(len(part.samples)))
                hits.append(abs(error) <= NINETY_PERCENT * width)
        contestant.take(observation)
    return Forecast(
        rms=root_mean_square(errors),
        worst=max((abs(error) for error in errors), default=math.nan),
        first_rms=root_mean_square(firsts),
        wander=root_mean_square(changes),
        coverage=statistics.fmean(hits) if hits else None,
        reports=len(errors) + len(firsts),
        components=len(before),
    )


def _scatter(observations: Sequence[SpeedObservation]) -> dict[str, float]:
    """How far a component's single runs are apart, from the median of successive differences. [1]"""
    runs: dict[str, list[float]] = {}
    for observation in observations:
        for part in observation.parts if isinstance(observation, PartsRan) else ():
            runs.setdefault(part.key, []).extend(math.log(sample) for sample in part.samples)
    # The median of |difference| of two normal values is 0.954 standard deviations.
    return {
        key: max(statistics.median(abs(b - a) for a, b in pairwise(values)) / 0.954, LEAST_SCATTER)
        for key, values in runs.items()
        if len(values) > 2
    }
