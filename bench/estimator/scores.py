"""Scores of estimators on simulated recordings, whose truth is known.

Owns: replaying a simulation through a contestant or the oracle, and what is made of its predictions. Its rule: a prediction is
judged by the median of the next dozen of runs, or of ten seconds where there are more, which nobody has seen; whether an
interval holds, by the median of their true times, for it leaves the noise of single runs out. Not here: recordings of real machines (`forecasts.py`), tables.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bench.estimator.contestants import CONTESTANTS, Predicted
from bench.estimator.scenarios import scenarios
from bench.estimator.simulation import DURATION_S, Scenario, Simulation, simulated
from edgesplit_controller.fleet.estimation.observations import PartsRan

__all__ = ["ESTIMATORS", "Score", "pooled", "scored"]

Array = npt.NDArray[np.float64]

ORACLE = "oracle"
ESTIMATORS = (*CONTESTANTS, ORACLE)
LOOK_EVERY_S, FIRST_LOOK_S = 2.0, 10.0
"""When predictions are judged; the first requests came before. [s]"""
DOZEN = 12
AHEAD_S, FARTHEST_S = 10.0, 60.0
"""A dozen of runs are ahead, and at least so many seconds: plans live longer; whose first is not farther away. [s]"""
SETTLED_S = 30.0
"""After a step, before what is predicted should stay where it is. [s]"""
WITHIN = 0.05
"""A step is believed when two predictions in a row are that near to the truth, and within a third of the step. [1]"""
TOLD = 0.2
"""People are told of changes by more than this. [1]"""
TEN_MINUTES_S = 600.0
NINETY_PERCENT = 1.6449
"""Standard deviations of a normal distribution within which nine of ten values are."""


@dataclass(frozen=True)
class Score:
    """How one estimator did on one simulation.

    Attributes:
        errors: Logarithms of the next runs' median over the prediction, of components that had been timed. [1]
        spare_errors: The same of components never timed. [1]
        hits, spare_hits: Whether the interval held the truth, one each.
        deviations: Half width of the interval, in standard deviations of the logarithm. [1]
        believed_s: Of every step, seconds from the first request after it until it was believed; infinite where it never was. [s]
        false_jumps: Changes told although what was told before was no further off than half of what is told, in ten minutes.
        wander: Standard deviation of predictions over the truth while it stays. [1]
    """

    errors: tuple[float, ...]
    spare_errors: tuple[float, ...]
    hits: tuple[bool, ...]
    spare_hits: tuple[bool, ...]
    deviations: tuple[float, ...]
    believed_s: tuple[float, ...]
    false_jumps: float
    wander: float

    @property
    def rms(self) -> float:
        """Of `errors`. [1]"""
        return root_mean_square(self.errors)

    @property
    def worst(self) -> float:
        """Of `errors`. [1]"""
        return max((abs(error) for error in self.errors), default=math.nan)

    @property
    def spare_rms(self) -> float:
        """Of `spare_errors`. [1]"""
        return root_mean_square(self.spare_errors)


def root_mean_square(errors: Sequence[float]) -> float:
    """Not a number where there are none. [1]"""
    return math.sqrt(statistics.fmean(error * error for error in errors)) if errors else math.nan


@dataclass(frozen=True)
class _Moment:
    """What was predicted from a time on: of each of the simulation's parts, and which of them were timed by then."""

    at_s: float
    predicted: tuple[Predicted, ...]
    timed: frozenset[str]


def scored(simulation: Simulation, estimator: str) -> Score:
    """Replay a simulation through one of `ESTIMATORS`."""
    moments = _oracle(simulation) if estimator == ORACLE else _replayed(simulation, estimator)
    looks = [_last(moments, at_s) for at_s in np.arange(FIRST_LOOK_S, DURATION_S, LOOK_EVERY_S).tolist()]
    errors: dict[bool, list[float]] = {True: [], False: []}
    hits: dict[bool, list[bool]] = {True: [], False: []}
    deviations: list[float] = []
    for at_s, moment in looks:
        ahead = _ahead(simulation.arrivals, at_s)
        if ahead is None:
            continue
        for part, predicted in zip(simulation.parts, moment.predicted, strict=True):
            timed = part.key in moment.timed
            errors[timed].append(math.log(float(np.median(simulation.runs[part.key][ahead])) / predicted.seconds))
            if predicted.deviation is None:
                continue
            off = math.log(float(np.median(simulation.truth[part.key][ahead])) / predicted.seconds)
            hits[timed].append(abs(off) <= NINETY_PERCENT * predicted.deviation)
            deviations.append(predicted.deviation)
    return Score(
        errors=tuple(errors[True]),
        spare_errors=tuple(errors[False]),
        hits=tuple(hits[True]),
        spare_hits=tuple(hits[False]),
        deviations=tuple(deviations),
        believed_s=tuple(_believed_s(simulation, moments, step_s) for step_s in simulation.scenario.steps),
        false_jumps=_false_jumps(simulation, moments) * TEN_MINUTES_S / DURATION_S,
        wander=_wander(simulation, looks),
    )


def pooled(
    estimators: Sequence[str], seeds: int, chosen: Sequence[Scenario] | None = None
) -> dict[str, dict[str, list[Score]]]:
    """Scores of every scenario and estimator, one a seed."""
    found: dict[str, dict[str, list[Score]]] = {}
    for scenario in (scenarios() if chosen is None else chosen) if seeds else ():
        runs = [simulated(scenario, seed) for seed in range(seeds)]
        found[scenario.name] = {name: [scored(run, name) for run in runs] for name in estimators}
    return found


def _replayed(simulation: Simulation, estimator: str) -> list[_Moment]:
    contestant = CONTESTANTS[estimator]()
    timed: frozenset[str] = frozenset()
    moments: list[_Moment] = []
    for observation in simulation.observations:
        contestant.take(observation)
        if isinstance(observation, PartsRan):
            timed |= {part.key for part in observation.parts}
        moments.append(_Moment(observation.at_s, tuple(contestant.predicted(part) for part in simulation.parts), timed))
    return moments


def _oracle(simulation: Simulation) -> list[_Moment]:
    """It knows what everything takes now, and that it stays."""
    timed: frozenset[str] = frozenset()
    moments: list[_Moment] = []
    ran = {observation.at_s: observation for observation in simulation.observations}
    for at_s in np.arange(0.0, DURATION_S + 1.0, 1.0).tolist():
        observation = ran.get(at_s)
        if isinstance(observation, PartsRan):
            timed |= {part.key for part in observation.parts}
        now = tuple(Predicted(simulation.true_s(part, at_s)) for part in simulation.parts)
        moments.append(_Moment(at_s, now, timed))
    return moments


def _ahead(arrivals: Array, at_s: float) -> slice | None:
    """The requests that a prediction is judged by; None where they are too few or too far away."""
    first = int(np.searchsorted(arrivals, at_s, side="right"))
    end = max(first + DOZEN, int(np.searchsorted(arrivals, at_s + AHEAD_S, side="right")))
    return slice(first, end) if end <= len(arrivals) and arrivals[first] <= at_s + FARTHEST_S else None


def _last(moments: Sequence[_Moment], at_s: float) -> tuple[float, _Moment]:
    """What was predicted at a time."""
    found = moments[0]
    for moment in moments:
        if moment.at_s > at_s:
            break
        found = moment
    return at_s, found


def _off(simulation: Simulation, moment: _Moment, at_s: float, parts: Sequence[int]) -> float:
    """Logarithm of what is predicted of some components together over their truth. [1]"""
    predicted_s = sum(moment.predicted[number].seconds for number in parts)
    return math.log(predicted_s / sum(simulation.steady_s(simulation.parts[number], at_s) for number in parts))


def _believed_s(simulation: Simulation, moments: Sequence[_Moment], step_s: float) -> float:
    level = simulation.scenario.level
    step = level(step_s) - level(step_s - 1.0)
    near = min(WITHIN, abs(step) / 3)
    served = simulation.scenario.served
    shown_s = next((at_s for at_s in simulation.arrivals.tolist() if at_s >= step_s), math.inf)
    until_s = min((other_s for other_s in simulation.scenario.steps if other_s > step_s), default=DURATION_S)
    later = [moment for moment in moments if shown_s < moment.at_s <= until_s]
    off = [abs(_off(simulation, moment, moment.at_s, served(moment.at_s))) <= near for moment in later]
    for moment, now, then in zip(later, off, off[1:], strict=False):
        if now and then:
            return moment.at_s - shown_s
    return math.inf


def _false_jumps(simulation: Simulation, moments: Sequence[_Moment]) -> int:
    every = range(len(simulation.parts))
    told_s = sum(part.seconds for part in moments[0].predicted)
    count, threshold = 0, math.log1p(TOLD)
    for moment in moments:
        now_s = sum(part.seconds for part in moment.predicted)
        if abs(math.log(now_s / told_s)) <= threshold:
            continue
        truth_s = sum(simulation.steady_s(simulation.parts[number], moment.at_s) for number in every)
        count += abs(math.log(told_s / truth_s)) <= threshold / 2
        told_s = now_s
    return count


def _wander(simulation: Simulation, looks: Sequence[tuple[float, _Moment]]) -> float:
    """Within each stretch in which nothing changes, neither the truth nor which components there are."""
    if not simulation.scenario.constant:
        return math.nan
    edges, served = (0.0, *simulation.scenario.steps, DURATION_S), simulation.scenario.served
    squares: list[float] = []
    for begin_s, end_s in pairwise(edges):
        stretches: dict[tuple[int, ...], list[float]] = {}
        for at_s, moment in looks:
            if begin_s + SETTLED_S <= at_s < end_s:
                stretches.setdefault(served(at_s), []).append(_off(simulation, moment, at_s, served(at_s)))
        for values in stretches.values():
            middle = statistics.fmean(values)
            squares += [(value - middle) ** 2 for value in values]
    return math.sqrt(statistics.fmean(squares)) if squares else math.nan
