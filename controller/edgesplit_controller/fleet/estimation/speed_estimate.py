"""Estimate of a node's speed: what observations teach of it.

Owns: how a belief changes with each observation. Its rule: pure; an observation counts by its variance, so noise is averaged and
no estimate moves further than its evidence; a jump is believed when enough reports agree on it, or nothing was heard before. Not
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
from edgesplit_controller.fleet.estimation.interval_trials import adapted
from edgesplit_controller.fleet.estimation.observations import (
    PartRan,
    PartsRan,
    ProfileSeen,
    SpeedObservation,
    TensorsCoded,
    WholeRan,
)
from edgesplit_controller.fleet.estimation.speed_belief import (
    AHEAD_S,
    CODINGS,
    FIRST_SCATTER,
    FIRST_SPELL,
    IDLE,
    KEPT_COMPONENTS,
    LEAST_SCATTER,
    LEAST_SPELL,
    MOST_SPELL,
    NO_TIME_S,
    NODE,
    RUN_SLACK_S,
    SCATTER_RUNS,
    SPELL,
    TENSOR_ERROR,
    KnownPart,
    NodeSpeed,
    begun,
    coding_quantities,
    coding_weights,
    own,
    own_variance,
    spells,
    weights_of,
)

__all__ = ["taken"]

SPELL_GAIN, SPELL_PULL = 0.06, 0.01
"""How fast it follows what observations show beyond what was expected of them, each, and how fast it forgets that. [1]"""
PRIOR_RUNS = 3
"""What the first scatter counts for."""
MEAN_WORTH = 3.0
"""Means of an agent that says no samples overlap: each is worth that much less. [1]"""
CERTAIN = 4.0
"""Standard deviations beyond which an observation is none of what was expected. [1]"""
FEWEST_REPORTS, MOST_REPORTS = 2, 5
REPORTS = ((0.2, 3),)
"""Jumps of at least so much [1] and the reports that they take; smaller ones take the most. Two single runs beside a busy
neighbour of a virtual machine look like a jump of any size."""
FAR = 10.0
"""Where a node jumped, it is as uncertain as so many times the jump: what was seen counts, not what was believed. [1]"""
TELLING_SHARE = 0.2
"""Of the model's time, from which components that are the first to be timed say that the node is not what its profile says: that timed
the whole model, and may be far off for a few operators of it. [1]"""
DOUBTS = 3
"""Reports in a row in which one component alone was another."""
WITHIN = 1.6449
"""Standard deviations that an interval reaches, which `COVERED` then lie within. [1]"""
UNREST_GAIN, MOST_TURNS, MOST_UNREST = 0.03, 3.0, 0.3
"""How fast unrest follows [1], what one comparison counts for at most after a long time, and the most it becomes. [1]"""
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
        return _awaiting(_served(speed, observation), observation.parts)
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
    speed = _compared(speed, seen)
    for part in parts:
        speed = _acquainted(speed, part)
    shift, deviation = _shift(speed, [_row(speed, part) for part in seen or parts])
    speed, doubted = _doubted(speed, seen, shift)
    if doubted:
        # Neither all of the node nor nothing: what they say of it waits for a report in which they agree.
        return _scattered(speed, parts)
    jumped = _is_jump(shift, deviation)
    if jumped and is_first and sum(part.profiled_s for part in parts) < TELLING_SHARE * speed.whole_s:
        for part in parts:
            speed = _misjudged(speed, part)
    elif jumped:
        suspected = _agreeing(speed.suspected, shift, deviation)
        if not is_first and len(suspected) < _enough(shift):
            return _noticed(_scattered(replace(speed, suspected=suspected), parts), shift / deviation)
        if shift > 0 and not is_first:
            relapsed = observation.at_s - speed.recovered_s < RELAPSE_S
            speed = replace(speed, slow_since_s=observation.at_s, relapses=speed.relapses + 1 if relapsed else 0)
        speed = _compared(speed, seen, jumped=True)
        speed = replace(speed, belief=speed.belief.loosened(NODE, (FAR * shift) ** 2))
    else:
        speed = _noticed(speed, shift / deviation)
    for part in parts:
        speed = _learned(_misjudged(speed, part) if seen and part not in seen else speed, part)
    kept = list(speed.known)[-KEPT_COMPONENTS:]
    gone = [own(key) for key in speed.known.keys() - set(kept)]
    return replace(
        speed,
        belief=speed.belief.without(gone) if gone else speed.belief,
        known={key: speed.known[key] for key in kept},
        suspected=(),
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
    value, variance = _location(speed, whole, scatter)
    row = _Row({NODE: 1.0, SPELL: 1.0, IDLE: 1.0}, value, variance)
    shift, deviation = _shift(speed, [row])
    is_jump = _is_jump(shift, deviation)
    suspected = _agreeing(speed.suspected, shift, deviation)
    # Several runs each, some seconds apart: two such reports are enough for any jump.
    if is_jump and shift > 0 and len(suspected) < FEWEST_REPORTS:
        return replace(speed, suspected=suspected)
    if is_jump and shift < 0:
        if observation.at_s - speed.slow_since_s < speed.hold_s:
            return speed
        speed = replace(speed, recovered_s=observation.at_s)
    belief = speed.belief.loosened(NODE, (FAR * shift) ** 2) if is_jump else speed.belief
    belief = belief.observed(row.weights, row.value, row.variance)
    return replace(speed, belief=belief, suspected=(), origin="timed again")


def _coded(speed: NodeSpeed, observation: TensorsCoded) -> NodeSpeed:
    belief = speed.belief
    for coding in observation.codings:
        values = _logarithms(coding.samples, coding.profiled_s) if coding.profiled_s > NO_TIME_S else []
        if not values:
            continue
        for name, prior in coding_quantities(coding.codec, coding.direction, coding.tensor).items():
            belief = belief if name in belief else belief.with_quantity(name, 0.0, prior**2)
        scatter = max(_scatter_within(values) or 0.0, TENSOR_ERROR)
        # Codings say next to nothing of the node beside what components do, but often: they must not be what moves it.
        others = [name for name in belief.kinds if not name.startswith(CODINGS)]
        variance = scatter**2 / len(values)
        belief = belief.observed(coding_weights(coding), statistics.median(values), variance, considered=others)
    tensors = [name for name in belief.kinds if name.startswith(CODINGS) and name.count(" ") > 1]
    surplus = tensors[: -2 * KEPT_COMPONENTS]
    return replace(speed, belief=belief.without(surplus) if surplus else belief)


def _acquainted(speed: NodeSpeed, part: PartRan) -> NodeSpeed:
    """A component that was never timed has an error of its own from now on."""
    if own(part.key) in speed.belief:
        return speed
    belief = speed.belief.with_quantity(own(part.key), 0.0, own_variance(speed, part.profiled_s))
    return replace(speed, belief=belief)


def _compared(speed: NodeSpeed, parts: Sequence[PartRan], *, jumped: bool = False) -> NodeSpeed:
    """What was expected some time ago beside what came: intervals are as wide as makes nine of ten hold."""
    seconds = speed.at_s - speed.awaited_s
    if seconds < AHEAD_S and not jumped:
        return speed
    rows = [(_row(speed, part), *speed.awaited[part.key]) for part in parts if part.key in speed.awaited]
    unrest = speed.unrest
    if rows:
        off = statistics.fmean(row.value - mean for row, mean, _ in rows)
        variance = statistics.fmean(row.variance + variance for row, _, variance in rows) + unrest**2
        missed = abs(off) > WITHIN * math.sqrt(variance)
        gain = UNREST_GAIN * min(seconds / AHEAD_S, MOST_TURNS)
        unrest = adapted(unrest, gain, missed=missed, bounds=(0.0, MOST_UNREST))
    return replace(speed, unrest=unrest, awaited={}, awaited_s=speed.at_s)


def _awaiting(speed: NodeSpeed, parts: Sequence[PartRan]) -> NodeSpeed:
    """What is expected now of components that ran, to be compared later."""
    if speed.awaited_s != speed.at_s:
        return speed
    ahead = speed.belief.after(AHEAD_S)
    awaited = {
        part.key: ahead.expected(weights_of(speed, part.key, part.float_s, part.int8_s))
        for part in parts
        if part.profiled_s > NO_TIME_S
    }
    return replace(speed, awaited=awaited)


def _misjudged(speed: NodeSpeed, part: PartRan) -> NodeSpeed:
    """A component that runs for the first time beside known ones: what they do not explain is its own."""
    row = _row(speed, part)
    mean, variance = speed.belief.expected(row.weights)
    surprise = row.value - mean
    if abs(surprise) <= CERTAIN * math.sqrt(variance + row.variance):
        return speed
    return replace(speed, belief=speed.belief.loosened(own(part.key), surprise**2))


def _doubted(speed: NodeSpeed, seen: Sequence[PartRan], shift: float) -> tuple[NodeSpeed, bool]:
    """Whether components contradict each other; one that does so alone, again and again, has become another.

    Args:
        speed: Of their node.
        seen: Components that ran before, as they ran now.
        shift: What they have in common. [1]
    """
    known, belief, doubted = dict(speed.known), speed.belief, False
    for part in seen:
        row = _row(speed, part)
        surprise = row.value - belief.expected(row.weights)[0]
        deviation = math.sqrt(belief.expected({own(part.key): 1.0})[1] + row.variance)
        doubts: tuple[float, ...] = ()
        if len(seen) > 1 and abs(surprise - shift) > CERTAIN * deviation:
            doubts = _agreeing(known[part.key].doubts, surprise, deviation)
            if len(doubts) >= DOUBTS:
                belief, doubts = belief.loosened(own(part.key), surprise**2), ()
            else:
                doubted = True
        known[part.key] = replace(known[part.key], doubts=doubts)
    return replace(speed, belief=belief, known=known), doubted


def _learned(speed: NodeSpeed, part: PartRan) -> NodeSpeed:
    row = _row(speed, part)
    speed = _scattered(speed, (part,))
    return replace(speed, belief=speed.belief.observed(row.weights, row.value, row.variance))


def _scattered(speed: NodeSpeed, parts: Sequence[PartRan]) -> NodeSpeed:
    """How far runs scatter shows whatever else is believed of them."""
    known = dict(speed.known)
    for part in parts:
        known[part.key] = _with_scatter(
            known.pop(part.key, KnownPart(part.float_s, part.int8_s, speed.first_scatter)), part
        )
    return replace(speed, known=known)


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


def _agreeing(before: tuple[float, ...], shift: float, deviation: float) -> tuple[float, ...]:
    """What was said now, after what was said before if that is the same. [1]"""
    apart = max(math.log1p(SPEED_AGREEMENT), 3 * deviation)
    agree = before and all(shift * one > 0 and abs(one - shift) <= apart for one in before)
    return (*before, shift) if agree else (shift,)


def _enough(shift: float) -> int:
    """How many reports must say that a node jumped: the less, the more alike noise and change look."""
    return next((reports for least, reports in REPORTS if abs(shift) >= math.log1p(least)), MOST_REPORTS)


def _noticed(speed: NodeSpeed, surprise: float) -> NodeSpeed:
    """Spells are as large as what was observed beyond what was expected: its square is 1 on average where they are."""
    pulled = SPELL_PULL * math.log(FIRST_SPELL / speed.spell)
    settled = speed.spell * math.exp(SPELL_GAIN / 2 * (min(surprise**2, 9.0) - 1) + pulled)
    settled = min(max(settled, LEAST_SPELL), MOST_SPELL)
    return replace(speed, belief=speed.belief.with_kind(SPELL, spells(settled)))


def _with_scatter(known: KnownPart, part: PartRan) -> KnownPart:
    """How far single runs scatter, from successive differences, in which a step of the mean shows once."""
    scatter, runs, last = known.scatter, known.runs, known.last
    for value in _values(part):
        if last is not None and not part.runs:
            runs = min(runs + 1, SCATTER_RUNS)
            square = min((value - last) ** 2 / 2, (CERTAIN * max(scatter, FIRST_SCATTER)) ** 2)
            scatter = math.sqrt(scatter**2 + (square - scatter**2) / (runs + PRIOR_RUNS))
        last = value
    return replace(known, scatter=max(scatter, LEAST_SCATTER), runs=runs, last=last)


def _row(speed: NodeSpeed, part: PartRan) -> _Row:
    known = speed.known.get(part.key)
    scatter = known.scatter if known is not None else speed.first_scatter
    value, variance = _location(speed, part, scatter)
    return _Row(weights_of(speed, part.key, part.float_s, part.int8_s), value, variance)


def _location(speed: NodeSpeed, part: PartRan, scatter: float) -> tuple[float, float]:
    """Middle of some runs, and its variance. [1, 1]"""
    values = _values(part)
    variance = scatter**2 * MEAN_WORTH / part.runs if part.runs else scatter**2 / len(values)
    return statistics.median(values), variance + (speed.slow_down * RUN_SLACK_S / part.profiled_s) ** 2


def _values(part: PartRan) -> list[float]:
    return _logarithms(part.samples, part.profiled_s)


def _logarithms(samples: Sequence[float], profiled_s: float) -> list[float]:
    """Of samples over the profile, those that make sense. [1]"""
    return [math.log(ratio) for sample in samples if (ratio := sample / profiled_s) > NO_TIME_S]


def _scatter_within(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    return math.sqrt(statistics.fmean((one - other) ** 2 / 2 for one, other in pairwise(values)))
