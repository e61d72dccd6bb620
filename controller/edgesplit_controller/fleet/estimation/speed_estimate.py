"""Estimate of a node's speed: what observations teach of it.

Owns: how a belief changes with each observation. Its rule: pure; an observation counts by its variance, so noise is averaged and
no estimate moves further than its evidence; a jump is believed when two reports agree on it, or nothing was heard before. Not
here: the belief itself (`speed_belief.py`), who listens (`fleet/node_speeds.py`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from edgesplit.significance import SPEED_AGREEMENT, SPEED_STEP
from edgesplit_controller.fleet.estimation.observations import (
    PartRan,
    PartsRan,
    ProfileSeen,
    SpeedObservation,
    TensorsCoded,
    WholeRan,
)
from edgesplit_controller.fleet.estimation.speed_belief import (
    CODE_ERROR,
    FIRST_SCATTER,
    FIRST_SPELL,
    IDLE,
    KNOWN_SLACK_S,
    LEAST_SCATTER,
    LEAST_SPELL,
    MOST_SPELL,
    NO_TIME_S,
    NODE,
    SCATTER_RUNS,
    SLACK_S,
    SPELL,
    TENSOR_ERROR,
    Known,
    NodeSpeed,
    begun,
    code,
    code_of_tensor,
    coding_weights,
    own,
    own_variance,
    spells,
    weights_of,
)

__all__ = ["taken"]

SPELL_GAIN, SPELL_PULL = 0.03, 0.01
"""How fast it follows what observations show beyond what was expected of them, each, and how fast it forgets that. [1]"""
PRIOR_RUNS = 3
"""What the first scatter counts for."""
MEAN_WORTH = 3.0
"""Means of an agent that says no samples overlap: each is worth that much less. [1]"""
CERTAIN = 4.0
"""Standard deviations beyond which an observation is none of what was expected. [1]"""
KEPT_COMPONENTS = 64
RELAPSE_S = 120.0
"""A node that becomes slow so soon after it was found recovered only seemed so: without its work it is fast. [s]"""


def taken(speed: NodeSpeed, observation: SpeedObservation) -> NodeSpeed:
    """What is believed once an observation was taken in.

    Args:
        speed: Before.
        observation: Of the same node and model; times do not go back.
    """
    if isinstance(observation, ProfileSeen):
        return begun(observation)
    passed_s = observation.at_s - speed.at_s
    speed = replace(speed, belief=speed.belief.after(passed_s), at_s=max(observation.at_s, speed.at_s))
    if isinstance(observation, PartsRan):
        return _served(speed, observation)
    if isinstance(observation, WholeRan):
        return _timed_again(speed, observation)
    return _coded(speed, observation)


@dataclass(frozen=True)
class _Row:
    """One observed weighted sum."""

    weights: Mapping[str, float]
    value: float
    variance: float


def _served(speed: NodeSpeed, observation: PartsRan) -> NodeSpeed:
    parts = [part for part in observation.parts if part.profiled_s > NO_TIME_S and _values(part)]
    if not parts:
        return speed
    is_first = speed.origin == "profile"
    seen = [part for part in parts if part.key in speed.known]
    for part in parts:
        speed = _acquainted(speed, part)
    shift, deviation = _shift(speed, [_row(speed, part) for part in seen or parts])
    if _is_jump(shift, deviation):
        if not is_first and not _confirmed(speed, shift, deviation):
            return _noticed(replace(speed, suspected=shift), shift / deviation)
        if shift > 0 and not is_first:
            relapsed = observation.at_s - speed.recovered_s < RELAPSE_S
            speed = replace(speed, slow_since_s=observation.at_s, relapses=speed.relapses + 1 if relapsed else 0)
        speed = replace(speed, belief=speed.belief.loosened(NODE, shift**2))
    else:
        speed = _noticed(speed, shift / deviation)
    for part in parts:
        speed = _learned(speed, part)
    kept = list(speed.known)[-KEPT_COMPONENTS:]
    gone = [own(key) for key in speed.known.keys() - set(kept)]
    return replace(
        speed,
        belief=speed.belief.without(gone) if gone else speed.belief,
        known={key: speed.known[key] for key in kept},
        suspected=None,
        origin="live timings",
    )


def _timed_again(speed: NodeSpeed, observation: WholeRan) -> NodeSpeed:
    """It counts with an error of its own. One report that the node is fast is enough: nothing makes a slow one look fast."""
    whole = PartRan(
        key=IDLE, float_s=observation.profiled_s, int8_s=0.0, samples=observation.samples, runs=observation.runs
    )
    if not whole.profiled_s > NO_TIME_S or not _values(whole):
        return speed
    scatter = max(_scatter_within(_values(whole)) or FIRST_SCATTER, FIRST_SCATTER)
    value, variance = _location(speed, whole, scatter, KNOWN_SLACK_S)
    row = _Row({NODE: 1.0, SPELL: 1.0, IDLE: 1.0}, value, variance)
    shift, deviation = _shift(speed, [row])
    is_jump = _is_jump(shift, deviation)
    if is_jump and shift > 0 and not _confirmed(speed, shift, deviation):
        return replace(speed, suspected=shift)
    if is_jump and shift < 0:
        if observation.at_s - speed.slow_since_s < speed.hold_s:
            return speed
        speed = replace(speed, recovered_s=observation.at_s)
    belief = speed.belief.loosened(NODE, shift**2) if is_jump else speed.belief
    belief = belief.observed(row.weights, row.value, row.variance)
    return replace(speed, belief=belief, suspected=None, origin="timed again")


def _coded(speed: NodeSpeed, observation: TensorsCoded) -> NodeSpeed:
    belief = speed.belief
    for coding in observation.codings:
        values = [math.log(sample / coding.profiled_s) for sample in coding.samples if sample > 0]
        if not coding.profiled_s > NO_TIME_S or not values:
            continue
        for name, prior in ((code(coding), CODE_ERROR), (code_of_tensor(coding), TENSOR_ERROR)):
            belief = belief if name in belief else belief.with_quantity(name, 0.0, prior**2)
        scatter = max(_scatter_within(values) or 0.0, TENSOR_ERROR)
        # What codings say of the node is little beside what components do, and they must not be what moves it.
        belief = belief.observed(coding_weights(coding), statistics.median(values), scatter**2 / len(values))
    return replace(speed, belief=belief)


def _acquainted(speed: NodeSpeed, part: PartRan) -> NodeSpeed:
    """A component that was never timed has an error of its own from now on."""
    if own(part.key) in speed.belief:
        return speed
    belief = speed.belief.with_quantity(own(part.key), 0.0, own_variance(speed, part.profiled_s))
    return replace(speed, belief=belief)


def _learned(speed: NodeSpeed, part: PartRan) -> NodeSpeed:
    row = _row(speed, part)
    known = dict(speed.known)
    before = known.pop(part.key, Known(part.float_s, part.int8_s))
    known[part.key] = _with_scatter(before, part)
    return replace(speed, belief=speed.belief.observed(row.weights, row.value, row.variance), known=known)


def _shift(speed: NodeSpeed, rows: Sequence[_Row]) -> tuple[float, float]:
    """What all rows have in common beyond what is believed, by generalized least squares, and its deviation. [1, 1]"""
    surprise = np.array([row.value - speed.belief.expected(row.weights)[0] for row in rows])
    covariance = np.array([[speed.belief.shared(one.weights, other.weights) for other in rows] for one in rows])
    covariance += np.diag([row.variance for row in rows])
    worth = np.linalg.solve(covariance, np.ones(len(rows)))
    certainty = float(worth.sum())
    if not certainty > 0:  # rows that say the same in other words
        return float(surprise.mean()), math.sqrt(float(covariance.mean()))
    return float(worth @ surprise) / certainty, 1 / math.sqrt(certainty)


def _is_jump(shift: float, deviation: float) -> bool:
    return abs(shift) > max(CERTAIN * deviation, math.log1p(SPEED_STEP))


def _confirmed(speed: NodeSpeed, shift: float, deviation: float) -> bool:
    """Whether the report before said the same."""
    apart = max(math.log1p(SPEED_AGREEMENT), 3 * deviation)
    return speed.suspected is not None and shift * speed.suspected > 0 and abs(speed.suspected - shift) <= apart


def _noticed(speed: NodeSpeed, surprise: float) -> NodeSpeed:
    """Spells are as large as what was observed beyond what was expected: its square is 1 on average where they are."""
    pulled = SPELL_PULL * math.log(FIRST_SPELL / speed.spell)
    settled = speed.spell * math.exp(SPELL_GAIN / 2 * (min(surprise**2, 9.0) - 1) + pulled)
    settled = min(max(settled, LEAST_SPELL), MOST_SPELL)
    return replace(speed, belief=speed.belief.with_kind(SPELL, spells(settled)))


def _with_scatter(known: Known, part: PartRan) -> Known:
    """How far single runs scatter, from successive differences, in which a step of the mean shows once."""
    scatter, runs, last = known.scatter, known.runs, known.last
    for value in _values(part):
        if last is not None and not part.runs:
            runs = min(runs + 1, SCATTER_RUNS)
            square = min((value - last) ** 2 / 2, (CERTAIN * scatter) ** 2)
            scatter = math.sqrt(scatter**2 + (square - scatter**2) / (runs + PRIOR_RUNS))
        last = value
    return replace(known, scatter=max(scatter, LEAST_SCATTER), runs=runs, last=last)


def _row(speed: NodeSpeed, part: PartRan) -> _Row:
    known = speed.known.get(part.key)
    slack_s = KNOWN_SLACK_S if known is not None else SLACK_S
    scatter = known.scatter if known is not None else FIRST_SCATTER
    value, variance = _location(speed, part, scatter, slack_s)
    return _Row(weights_of(speed, part.key, part.float_s, part.int8_s), value, variance)


def _location(speed: NodeSpeed, part: PartRan, scatter: float, slack_s: float) -> tuple[float, float]:
    """Middle of some runs, and its variance. [1, 1]"""
    values = _values(part)
    variance = scatter**2 * MEAN_WORTH / part.runs if part.runs else scatter**2 / len(values)
    return statistics.median(values), variance + (speed.slow_down * slack_s / part.profiled_s) ** 2


def _values(part: PartRan) -> list[float]:
    return [math.log(sample / part.profiled_s) for sample in part.samples if sample > 0]


def _scatter_within(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    return math.sqrt(statistics.fmean((one - other) ** 2 / 2 for one, other in pairwise(values)))
