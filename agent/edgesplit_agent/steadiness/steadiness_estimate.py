"""Spread and regime of a machine: robust estimates from timed blocks of a reference workload.

Owns: what blocks mean. Its rule: pure; spreads are of logarithms, so that twice and half as long count alike; what happens
to one block in twenty is an accident. Not here: timing (`steadiness_watch.py`), how much is restless
(`edgesplit.significance`).

A block is a run after a pause, a moment right behind it and another about a second later; a moment is the mean of runs in a
row. From one moment of a block to the other the spread is that of seconds. Medians of minutes differ by more than that
explains where the machine drifts. A rested run against the moment behind it tells what a pause costs.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from edgesplit.control.figure_messages import Regime, Steadiness
from edgesplit.significance import RESTLESS_SPREAD, STEADY_SPREAD

__all__ = ["LEAST_BLOCKS", "Block", "estimated", "next_regime"]

LEAST_BLOCKS = 6
"""Of fewer, nothing is said."""
MINUTE_S = 60.0
LEAST_MINUTES, LEAST_OF_MINUTE = 3, 3
"""Minutes that tell how far minutes differ, and blocks of one that counts."""
ACCIDENTS = 0.05
"""Share of deviations that is left out, the largest, and at least one: rare ones are accidents. [1]"""
MEDIAN_VARIANCE = math.pi / 2
"""Of a median of normal values, times their number and over their variance. [1]"""
NORMAL = statistics.NormalDist()


@dataclass(frozen=True)
class Block:
    """Runs of the workload that belong together.

    Attributes:
        at_s: When it was done. [s]
        rested_s: A run after a pause. [s]
        moments: Mean of the runs right behind it, and of some about a second later. [s]
        runs: How many runs these are.
    """

    at_s: float
    rested_s: float
    moments: tuple[float, float]
    runs: int


def estimated(blocks: Sequence[Block], before: Regime) -> Steadiness:
    """What blocks say; only spreads, regime and number of samples are filled in.

    Args:
        blocks: Of the last minutes, oldest first.
        before: What was said last.
    """
    samples = sum(block.runs for block in blocks)
    if len(blocks) < LEAST_BLOCKS:
        return Steadiness(samples=samples)
    seconds = _spread([math.log(first / second) for first, second in (block.moments for block in blocks)]) / math.sqrt(
        2
    )
    minutes = _minutes_spread(blocks, seconds)
    pauses = [math.log(block.rested_s / block.moments[0]) for block in blocks]
    usual = statistics.median(pauses)
    return Steadiness(
        seconds_spread=seconds,
        minutes_spread=minutes,
        rested_spread=_spread([pause - usual for pause in pauses]),
        rested_ratio=math.exp(usual),
        regime=next_regime(before, math.hypot(seconds, minutes)),
        samples=samples,
    )


def next_regime(before: Regime, spread: float) -> Regime:
    """The regime of a machine by its spread; between the two thresholds it stays what it was.

    Args:
        before: What was said last.
        spread: From one moment to any other, relative. [1]
    """
    return "restless" if spread >= (STEADY_SPREAD if before == "restless" else RESTLESS_SPREAD) else "steady"


def _spread(deviations: Sequence[float]) -> float:
    """Standard deviation around 0, of a normal distribution whose largest values are missing. [1]"""
    count = len(deviations)
    kept = sorted(abs(value) for value in deviations)[: count - max(round(ACCIDENTS * count), 1)]
    share = len(kept) / count
    most = NORMAL.inv_cdf((1 + share) / 2)
    # Variance of a standard normal distribution that is cut off at `most` on both sides.
    left = 1 - 2 * most * NORMAL.pdf(most) / share
    return math.sqrt(sum(value * value for value in kept) / len(kept) / left)


def _minutes_spread(blocks: Sequence[Block], seconds: float) -> float:
    """How far medians of minutes lie apart, less what the spread within seconds makes of them. [1]"""
    minutes: dict[int, list[float]] = defaultdict(list)
    for block in blocks:
        minutes[int(block.at_s // MINUTE_S)] += [math.log(moment) for moment in block.moments]
    told = [values for values in minutes.values() if len(values) >= 2 * LEAST_OF_MINUTE]
    if len(told) < LEAST_MINUTES:
        return 0.0
    explained = MEDIAN_VARIANCE * seconds**2 * statistics.fmean(1 / len(values) for values in told)
    return math.sqrt(max(statistics.variance(map(statistics.median, told)) - explained, 0.0))
