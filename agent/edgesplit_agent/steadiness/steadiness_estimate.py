"""Spread and regime of a machine: robust estimates from timed blocks of a reference workload.

Owns: what blocks mean. Its rule: pure; spreads are of logarithms, so that twice and half as long count alike; what happens
to one block in twenty is an accident. Not here: timing (`steadiness_watch.py`), how much is restless
(`edgesplit.significance`).

A block is a run after a pause, a moment right behind it and another about a second later; a moment is some runs in a row. What
runs of one moment differ by is averaged by anything that takes longer than they do, such as a network, and is taken off: two
halves of each moment tell how much it is. What is left between a block's moments is the spread over seconds. Medians of
minutes that differ by more than that explains show a drift. A rested run against the moment behind it tells what a pause costs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from edgesplit.control.figure_messages import Regime, Steadiness
from edgesplit.significance import RESTLESS_SPREAD, STEADY_SPREAD

__all__ = ["LEAST_BLOCKS", "Block", "estimated", "next_regime"]

LEAST_BLOCKS = 6
"""Of fewer, nothing is said."""
OF_MINUTE, LEAST_MINUTES = 5, 3
"""Blocks in a row, about a minute's; and how many minutes tell how far minutes differ."""
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
        soon: Means of the two halves of a moment, the runs right behind it. [s]
        later: The same about a second later. [s]
        runs: How many runs these are.
    """

    at_s: float
    rested_s: float
    soon: tuple[float, float]
    later: tuple[float, float]
    runs: int

    @property
    def moments(self) -> tuple[float, float]:
        """Logarithms of both. [1]"""
        return _middle(self.soon), _middle(self.later)


def estimated(blocks: Sequence[Block], before: Regime) -> Steadiness:
    """What blocks say; only spreads, regime and number of samples are filled in.

    Args:
        blocks: Of the last minutes, oldest first.
        before: What was said last.
    """
    samples = sum(block.runs for block in blocks)
    if len(blocks) < LEAST_BLOCKS:
        return Steadiness(samples=samples)
    between = _spread([soon - later for soon, later in (block.moments for block in blocks)])
    within = _spread([(_halves(block.soon) - _halves(block.later)) / 2 for block in blocks])
    # A mean of two halves scatters as half their difference does: what is left between moments is their own.
    seconds = math.sqrt(max(between**2 - within**2, 0.0) / 2)
    minutes = _minutes_spread(blocks, between / math.sqrt(2))
    pauses = [math.log(block.rested_s) - block.moments[0] for block in blocks]
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


def _minutes_spread(blocks: Sequence[Block], moment: float) -> float:
    """How far medians of minutes lie apart, less what the spread of single moments makes of them. [1]"""
    count = len(blocks) // OF_MINUTE
    if count < LEAST_MINUTES:
        return 0.0
    values = [value for block in blocks[-count * OF_MINUTE :] for value in block.moments]
    medians = [
        statistics.median(values[start : start + 2 * OF_MINUTE]) for start in range(0, len(values), 2 * OF_MINUTE)
    ]
    explained = MEDIAN_VARIANCE * moment**2 / (2 * OF_MINUTE)
    return math.sqrt(max(statistics.variance(medians) - explained, 0.0))


def _middle(halves: tuple[float, float]) -> float:
    return (math.log(halves[0]) + math.log(halves[1])) / 2


def _halves(halves: tuple[float, float]) -> float:
    return math.log(halves[0] / halves[1])
