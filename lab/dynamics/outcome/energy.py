"""Energy per request, over time and by plan, from what agents say of serving.

Owns: sums over nodes and epochs, their growth between two moments, means of what served. Its rule: pure; configured watts times measured
seconds, and a counter that began anew adds what it has. Not here: hearing it (`listener.py`), what follows from it (`reaction.py`).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from lab.dynamics.outcome.observations import Counted
from lab.dynamics.script import Interval
from lab.play_results import EnergySample, TracedRequest

__all__ = ["energy_samples", "joules_by_epoch"]

STEP_S = 4.0
"""Agents report once a second and of whole requests, so short steps would scatter. [s]"""


def energy_samples(
    counts: Iterable[Counted], requests: Sequence[TracedRequest], lasts_s: float, step_s: float = STEP_S
) -> list[EnergySample]:
    """Energy per answered request of each step of time; steps in which none was answered are left out.

    Args:
        counts: In any order, those before the begin included.
        requests: Of the same span.
        lasts_s: The script's length. [s]
        step_s: Length of a step. [s]
    """
    spent = [0.0] * (int(lasts_s / step_s) + 1)
    known: dict[tuple[str, int, float], float] = {}
    for count in sorted(counts, key=lambda count: count.at_s):
        counter = (count.node, count.epoch, count.since_unix_s)
        grown = count.joules - known.get(counter, 0.0)
        known[counter] = count.joules
        if 0 <= count.at_s < lasts_s and grown > 0:
            spent[int(count.at_s / step_s)] += grown
    answered = [0] * len(spent)
    for entry in requests:
        end_s = entry.at_s + (entry.latency_s or 0.0)
        if entry.latency_s is not None and 0 <= end_s < lasts_s:
            answered[int(end_s / step_s)] += 1
    return [
        EnergySample(at_s=(number + 1) * step_s, joules=joules / count)
        for number, (joules, count) in enumerate(zip(spent, answered, strict=True))
        if count
    ]


def joules_by_epoch(
    span: Interval, requests: Sequence[TracedRequest], energy: Sequence[EnergySample]
) -> dict[int | None, float]:
    """Energy of a request of each plan that served long enough in an interval to tell, over all the time that it served there. [J]

    Args:
        span: The interval.
        requests: Answered in it.
        energy: Of the whole run.
    """
    served: dict[int | None, tuple[float, float]] = {}
    for entry in requests:
        if entry.epoch is not None and span.from_s <= entry.at_s < span.to_s:
            first_s, _ = served.get(entry.epoch, (entry.at_s, 0.0))
            served[entry.epoch] = first_s, min(entry.at_s + (entry.latency_s or 0.0), span.to_s)
    found: dict[int | None, float] = {}
    for epoch, (first_s, last_s) in served.items():
        within = [sample.joules for sample in energy if first_s <= sample.at_s - STEP_S and sample.at_s <= last_s]
        if within:
            found[epoch] = statistics.fmean(within)
    return found
