"""Strategies under a script of changes: requests lost, regret against the oracle, time until a plan was as good as its.

Owns: these figures, and what figures of time draw. Its rule: regret counts only above the oracle, never below, so that nobody makes up
for a slow minute. Not here: how a reaction is found (`lab/dynamics`).
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lab.dynamics.outcome.reaction import regret_steps
from lab.play_results import DynamicRun, OraclePlan, TracedRequest

__all__ = ["OverTime", "oracle_at", "over_time", "regret_course", "rolling_median"]


@dataclass(frozen=True)
class OverTime:
    """One strategy's run, in figures.

    Attributes:
        run: What it is of.
        requests: Sent.
        lost: Without an answer.
        median_s: Of answered requests; None where there was none. [s]
        regret_s: What requests took above the oracle's, together; one without an answer took until the next one. [s]
        regret_share: The same, as a share of what the oracle's would have taken; None without oracle. [1]
        joules: Mean of energy samples, modelled power times measured time; None without. [J]
        late: Changes, from 0, after which requests were not within 5 % of the oracle's in time, or never.
        unknown: Changes after which nobody knows what the oracle's would have taken.
        slowest_s: Longest time until they were, of changes after which they were. [s]
        plans_late: Changes after which the plan that answered was not, or not in time, near the oracle's by the true problem; None where no
            plan was noted.
        plans_slowest_s: Longest time until it was, of changes after which it was. [s]
    """

    run: DynamicRun
    requests: int
    lost: int
    median_s: float | None
    regret_s: float
    regret_share: float | None
    joules: float | None
    late: tuple[int, ...]
    unknown: tuple[int, ...]
    slowest_s: float | None
    plans_late: tuple[int, ...] | None
    plans_slowest_s: float | None


def over_time(run: DynamicRun, *, in_time_s: float) -> OverTime:
    """Of one run; `in_time_s` is what a reaction may take. [s]"""
    answered = [request.latency_s for request in run.requests if request.latency_s is not None]
    best_s = [oracle_at(run.oracle_s, request.at_s) for request in run.requests]
    oracle_takes_s = sum(taken_s for taken_s in best_s if taken_s is not None)
    regret_s = sum(above_s for _at_s, above_s in regret_steps(run.requests, run.oracle_s))
    within = {reaction.change: reaction.within_5_percent_s for reaction in run.reactions}
    near = {reaction.change: reaction.plan_within_5_percent_s for reaction in run.reactions}
    changes = range(len(run.changes))
    unknown = [number for number in changes if oracle_at(run.oracle_s, run.changes[number].at_s) is None]
    return OverTime(
        run=run,
        requests=len(run.requests),
        lost=sum(request.failed for request in run.requests),
        median_s=statistics.median(answered) if answered else None,
        regret_s=regret_s,
        regret_share=regret_s / oracle_takes_s if oracle_takes_s else None,
        joules=statistics.mean(sample.joules for sample in run.energy) if run.energy else None,
        late=_late(within, (number for number in changes if number not in unknown), in_time_s),
        unknown=tuple(unknown),
        slowest_s=_slowest_s(within),
        plans_late=_late(near, changes, in_time_s) if run.plan_costs else None,
        plans_slowest_s=_slowest_s(near),
    )


def _late(reached_s: Mapping[int, float | None], changes: Iterable[int], in_time_s: float) -> tuple[int, ...]:
    """Changes after which it was not reached in time, or never."""
    return tuple(number for number in changes if (seconds := reached_s.get(number)) is None or seconds > in_time_s)


def _slowest_s(reached_s: Mapping[int, float | None]) -> float | None:
    """Of those that were reached. [s]"""
    return max((seconds for seconds in reached_s.values() if seconds is not None), default=None)


def oracle_at(oracle: Sequence[OraclePlan], at_s: float) -> float | None:
    """What the best plan takes at that moment; None where nobody knows. [s]"""
    return next((plan.latency_s for plan in oracle if plan.from_s <= at_s < plan.to_s), None)


def regret_course(run: DynamicRun) -> list[tuple[float, float]]:
    """Moments, and regret added up until then. [s]"""
    steps = regret_steps(run.requests, run.oracle_s)
    added_up = itertools.accumulate(above_s for _at_s, above_s in steps)
    return [(at_s, until_s) for (at_s, _above_s), until_s in zip(steps, added_up, strict=True)]


def rolling_median(requests: Sequence[TracedRequest], width_s: float) -> list[tuple[float, float | None]]:
    """Middle of each stretch of that width, and the median of its answered requests; None where there was none. [s]"""
    if not requests:
        return []
    found: list[tuple[float, float | None]] = []
    last = int(max(request.at_s for request in requests) / width_s)
    bins: list[list[float]] = [[] for _ in range(last + 1)]
    for request in requests:
        if request.latency_s is not None and request.at_s >= 0:
            bins[int(request.at_s / width_s)].append(request.latency_s)
    for number, latencies in enumerate(bins):
        found.append(((number + 0.5) * width_s, statistics.median(latencies) if latencies else None))
    return found
