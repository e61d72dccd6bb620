"""Reaction, regret and lost requests of a strategy, from its requests and events.

Owns: what counts as noticed, switched and settled; the oracle's settled latency; regret. Its rule: pure; whoever
settles late has no figure rather than a flattering one. Not here: playing (`play.py`), statistics over runs
(`lab/reporting`).

A change is settled with the answer of the first request from which on requests are near: it costs at most 5 % more than the
oracle's, so does the median of it and the next two, and so do the medians of the `HOLD` windows (fewer where the interval has not so
many) that begin with it and the next ones, each of `WINDOW` requests in a row, all begun after the change. What a request costs is its
latency and its energy by the goals of that time, each as a multiple of the oracle's; its energy is that of the plan that answered it.
The oracle's latency of an interval is the median of those of its requests that began in the interval's second half; its energy is that
of the plan that answered the last of them.

By plans alone a change is settled with the answer of the first request from which on all are answered by plans that would cost at most
5 % more than the oracle's in the true problem. That is modelled, and the same whatever else the machine does.

Regret is what requests took above that, together; a request that was not answered took until the next one was sent.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from lab.dynamics.outcome.energy import joules_by_epoch
from lab.dynamics.outcome.observations import Heard
from lab.dynamics.script import Interval
from lab.play_results import EnergySample, OraclePlan, PlanCost, Reaction, TracedRequest
from lab.scenarios.scenario import Change, DelayChange, GoalsChange, LinkCut, LinkRestored, RateChange

__all__ = ["HOLD", "NEAR", "WINDOW", "lost", "noticed", "oracle_plans", "reactions", "regret_s", "regret_steps"]

WINDOW = 5
"""Requests whose median is what serving takes now."""
HOLD = 3
"""Windows in a row, so that no lucky one counts."""
NEAR = 0.05
"""Above what the oracle's cost. [1]"""

Weights = tuple[float, float]
"""Of latency and of energy. [1]"""

_ANSWERS = frozenset({"planned", "replan-declined", "plan-infeasible", "epoch-activated"})
_LINKS = frozenset({"link-changed", "fallback-engaged", "fallback-left", "peer-back"})
_NODES = frozenset({"node-left", "node-silent", "node-joined", "profile-changed", *_LINKS})
_GOALS = frozenset({"goals-changed", "battery-limit", "battery-floor-missed"})


def oracle_plans(
    spans: Sequence[Interval], requests: Sequence[TracedRequest], energy: Sequence[EnergySample] = ()
) -> list[OraclePlan]:
    """What the oracle's plans take, once each has settled; an interval in which none was answered then is left out."""
    found = []
    for span in spans:
        half_s = (span.from_s + span.to_s) / 2
        settled = _answered(requests, half_s, span.to_s)
        if settled:
            latency_s = statistics.median(entry.latency_s or 0.0 for entry in settled)
            joules = joules_by_epoch(span, requests, energy).get(settled[-1].epoch)
            found.append(OraclePlan(from_s=span.from_s, to_s=span.to_s, latency_s=latency_s, joules=joules))
    return found


def reactions(
    spans: Sequence[Interval],
    requests: Sequence[TracedRequest],
    events: Sequence[Heard],
    oracle: Sequence[OraclePlan],
    moved: Sequence[bool],
    *,
    weights: Sequence[Weights],
    energy: Sequence[EnergySample] = (),
    plan_costs: Sequence[PlanCost] = (),
) -> list[Reaction]:
    """How fast a strategy followed each change; changes of one moment share their figures.

    Args:
        spans: The script's intervals.
        requests: The strategy's, in order.
        events: Those heard meanwhile.
        oracle: What the oracle's plans take.
        moved: For each interval, whether the oracle's plan is another than before; where not, the best is to stay, and
            `switched_s` is 0 unless the plan changed all the same.
        weights: For each interval, those of its goals.
        energy: The strategy's, over time.
        plan_costs: Of its plans, and the oracle's.
    """
    best = {entry.from_s: entry for entry in oracle}
    found: list[Reaction] = []
    for number, span in enumerate(spans):
        if not span.changes:
            continue
        noticed_s = _noticed_s(span, events)
        switched_s = _switched_s(span, requests)
        if switched_s is None and not moved[number]:
            switched_s = 0.0
        settled_s = None
        if (plan := best.get(span.from_s)) is not None:
            served = _answered(requests, span.from_s, span.to_s)
            cost = _costs(served, joules_by_epoch(span, requests, energy), plan, weights[number])
            first = _settled(cost)
            settled_s = None if first is None else _end_s(served[first]) - span.from_s
        near = _near_plans([cost for cost in plan_costs if cost.interval == number], weights[number])
        for _ in span.changes:
            found.append(
                Reaction(
                    change=len(found),
                    noticed_s=noticed_s,
                    switched_s=switched_s,
                    within_5_percent_s=settled_s,
                    plan_within_5_percent_s=_plan_settled_s(span, requests, near),
                    oracle_stays=not moved[number],
                )
            )
    return found


def noticed(spans: Sequence[Interval], events: Sequence[Heard]) -> dict[int, float]:
    """Interval to the seconds from its begin to the first event that tells of it; those that nobody told of are left out."""
    found = {number: _noticed_s(span, events) for number, span in enumerate(spans) if span.changes}
    return {number: seconds for number, seconds in found.items() if seconds is not None}


def regret_steps(requests: Sequence[TracedRequest], oracle: Sequence[OraclePlan]) -> list[tuple[float, float]]:
    """When each request was sent, and what it took above the oracle's settled latency of that interval. [s]"""
    ordered = sorted(requests, key=lambda entry: entry.at_s)
    found: list[tuple[float, float]] = []
    for number, entry in enumerate(ordered):
        span = next((span for span in oracle if span.from_s <= entry.at_s < span.to_s), None)
        if span is not None and entry.latency_s is not None:
            found.append((entry.at_s, max(entry.latency_s - span.latency_s, 0.0)))
        elif span is not None:
            until_s = ordered[number + 1].at_s if number + 1 < len(ordered) else span.to_s
            found.append((entry.at_s, until_s - entry.at_s))
    return found


def regret_s(requests: Sequence[TracedRequest], oracle: Sequence[OraclePlan]) -> float:
    """What all of them took above it, together. [s]"""
    return sum(above_s for _, above_s in regret_steps(requests, oracle))


def lost(requests: Sequence[TracedRequest]) -> int:
    """Requests that were not answered."""
    return sum(entry.failed for entry in requests)


def _answered(requests: Sequence[TracedRequest], from_s: float, to_s: float) -> list[TracedRequest]:
    return [entry for entry in requests if from_s <= entry.at_s < to_s and entry.latency_s is not None]


def _noticed_s(span: Interval, events: Sequence[Heard]) -> float | None:
    """Until the first event that tells of a change of this interval. [s]"""
    for event in sorted(events, key=lambda event: event.at_s):
        if span.from_s <= event.at_s < span.to_s and any(_tells(event, change) for change in span.changes):
            return event.at_s - span.from_s
    return None


def _tells(event: Heard, change: Change) -> bool:
    if event.kind in _ANSWERS:
        return True
    if isinstance(change, GoalsChange):
        return event.kind in _GOALS
    if isinstance(change, RateChange | DelayChange | LinkCut | LinkRestored):
        ends = set(change.ends)
        return event.kind in _LINKS and bool(ends & {event.node, event.data.get("from"), event.data.get("to")})
    return event.kind in _NODES | _GOALS and (change.node == event.node or change.node in event.text)


def _switched_s(span: Interval, requests: Sequence[TracedRequest]) -> float | None:
    """Until the first answer of another epoch than the last one before the change. [s]"""
    before = [entry.epoch for entry in requests if entry.at_s < span.from_s and entry.epoch is not None]
    if not before:
        return None
    for entry in _answered(requests, span.from_s, span.to_s):
        if entry.epoch not in {None, before[-1]}:
            return _end_s(entry) - span.from_s
    return None


def _costs(
    requests: Sequence[TracedRequest], joules: Mapping[int | None, float], best: OraclePlan, weights: Weights
) -> list[float]:
    """Of each answered request: 1 where it costs what the oracle's do; infinite where nobody knows."""
    latency, energy = (weight / sum(weights) for weight in weights)
    hunger = {epoch: value / best.joules for epoch, value in joules.items()} if best.joules else {}
    found = [latency * (entry.latency_s or 0.0) / best.latency_s for entry in requests]
    if energy > 0:
        found = [cost + energy * hunger.get(entry.epoch, math.inf) for cost, entry in zip(found, requests, strict=True)]
    return found


def _near_plans(costs: Sequence[PlanCost], weights: Weights) -> frozenset[int]:
    """Epochs of plans that would cost at most 5 % more than the oracle's in an interval, by its goals."""
    best = next((cost for cost in costs if cost.epoch == 0), None)
    if best is None:
        return frozenset()
    latency, energy = (weight / sum(weights) for weight in weights)
    return frozenset(
        cost.epoch
        for cost in costs
        if latency * cost.latency_s / best.latency_s + energy * cost.joules / best.joules <= 1 + NEAR
    )


def _plan_settled_s(span: Interval, requests: Sequence[TracedRequest], near: frozenset[int]) -> float | None:
    """Until the first answer from which on all are of plans that are near. [s]"""
    settled_s = None
    for entry in reversed(_answered(requests, span.from_s, span.to_s)):
        if _end_s(entry) > span.to_s:
            continue  # the next world's
        if entry.epoch not in near:
            break
        settled_s = _end_s(entry) - span.from_s
    return settled_s


def _settled(cost: Sequence[float]) -> int | None:
    """The first request from which on they are near the oracle's, by their costs."""
    medians = [statistics.median(cost[first : first + WINDOW]) for first in range(len(cost) - WINDOW + 1)]
    for first in range(min(len(medians), max(len(medians) - HOLD + 1, 1))):
        early = [statistics.median(cost[first : first + count]) for count in (1, 3)]
        if max(*medians[first : first + HOLD], *early) <= 1 + NEAR:
            return first
    return None


def _end_s(entry: TracedRequest) -> float:
    return entry.at_s + (entry.latency_s or 0.0)
