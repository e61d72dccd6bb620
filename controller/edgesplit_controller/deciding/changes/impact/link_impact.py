"""Impact of a link's change on a plan, or on one that the planner might choose in its place.

Owns: the seconds and joules that depend on every link, as shares of what the plan takes. Its rule: pure; one place says
whether a link's change matters, whoever asks. Not here: what follows from that (`replan_reasons.py`).

A link that the plan uses delays it by bytes / rate + latency for every tensor that it sends there. A link that it does
not use matters only if it became better: its alternatives were no better before, and nothing worse can make them so. What
such a plan could save is what its largest tensor would that still travels in less time than the plan takes now.

As the plan was the best to within the gain that justifies a switch, a change that costs it less than that gain cannot
bring about one; half of it leaves room for the changes that went before.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from edgesplit.planning.plan import Assignment, Evaluation
from edgesplit.planning.problem import Problem
from edgesplit.significance import beyond_scatter, differs
from edgesplit_controller.planner.meaning.exact import codec_and_bytes

__all__ = ["LinkFigures", "LinkImpact", "Pair", "impact_of", "notable"]

Pair = tuple[str, str]
LinkFigures = tuple[float, float]
"""Bandwidth [B/s] and latency [s]."""


@dataclass(frozen=True)
class LinkImpact:
    """What a plan and its alternatives have at stake on links.

    Attributes:
        plan_s: Latency of the plan. [s]
        plan_j: Its energy. [J]
        latency_weight: Of the goals, both together 1.
        energy_weight: Likewise.
        source: Of the plan.
        device_limit_j: What it may take of the source; None for no limit. [J]
        transmit_w: By node. [W]
        sent: What the plan sends: bytes and tensors by link. [B, 1]
        sizes: Of every tensor that might travel, ascending. [B]
        floor_s: Delays below this are none. [s]
        min_rate_hz: Requests a second that it must sustain; None: one at a time is enough. [1/s]
    """

    plan_s: float
    plan_j: float
    latency_weight: float
    energy_weight: float
    source: str
    device_limit_j: float | None
    transmit_w: Mapping[str, float]
    sent: Mapping[Pair, tuple[float, int]]
    sizes: tuple[float, ...]
    floor_s: float
    min_rate_hz: float | None = None

    def on_plan(self, pair: Pair, before: LinkFigures, now: LinkFigures) -> float:
        """Share of the plan that a change of a link it uses makes; 0 for another link. [1]"""
        nbytes, count = self.sent.get(pair, (0.0, 0))
        occupied_s = abs(nbytes / now[0] - nbytes / before[0])
        share = self._share(pair[0], occupied_s + count * abs(now[1] - before[1]))
        # Of the time between two requests, too: a link that is no matter for latency may bound the rate.
        return max(share, occupied_s * self.min_rate_hz) if self.min_rate_hz else share

    def on_alternatives(self, pair: Pair, before: LinkFigures, now: LinkFigures) -> float:
        """Share of the plan that a better link could save another one; 0 for a link that became worse. [1]"""
        if now[0] <= before[0] and now[1] >= before[1]:
            return 0.0
        # The most a plan could send there and still be better than this one.
        most_bytes = (self._worth_s(pair[0]) - now[1]) * now[0]
        useful = bisect_left(self.sizes, most_bytes)
        if useful == 0:
            return 0.0
        nbytes = self.sizes[useful - 1 if now[0] > before[0] else 0]
        saved_s = nbytes / before[0] - nbytes / now[0] + before[1] - now[1]
        return self._share(pair[0], max(saved_s, 0.0))

    def _worth_s(self, sender: str) -> float:
        """How long a plan may spend on sending from a node before it cannot be better than this one. [s]"""
        by_latency_s = self.plan_s if self.latency_weight > 0 else 0.0
        transmit_w = self.transmit_w.get(sender, 0.0)
        if self.energy_weight <= 0:
            return by_latency_s
        return max(by_latency_s, self.plan_j / transmit_w if transmit_w > 0 else math.inf)

    def _share(self, sender: str, seconds: float) -> float:
        joules = seconds * self.transmit_w.get(sender, 0.0)
        share = self.energy_weight * joules / self.plan_j if self.plan_j > 0 else 0.0
        if seconds > self.floor_s and self.plan_s > 0:
            share += self.latency_weight * seconds / self.plan_s
        if self.device_limit_j and sender == self.source:
            share = max(share, joules / self.device_limit_j)
        return share


def impact_of(problem: Problem, assignment: Assignment, evaluation: Evaluation, floor_s: float) -> LinkImpact:
    """What is at stake for a plan.

    Args:
        problem: The plan's.
        assignment: Its decision.
        evaluation: What it takes.
        floor_s: Delays below this are none. [s]
    """
    sent: dict[Pair, tuple[float, int]] = {}
    for tensor in problem.tensors:
        start = assignment.node_of[tensor.producer]
        _, nbytes = codec_and_bytes(tensor, assignment)
        for end in {assignment.node_of[consumer] for consumer in tensor.consumers} - {start}:
            before_bytes, count = sent.get((start, end), (0.0, 0))
            sent[start, end] = before_bytes + nbytes, count + 1
    objective = problem.objective
    total = objective.latency_weight + objective.energy_weight
    return LinkImpact(
        plan_s=evaluation.latency_s,
        plan_j=evaluation.energy_j,
        latency_weight=objective.latency_weight / total,
        energy_weight=objective.energy_weight / total,
        source=problem.source,
        device_limit_j=problem.constraints.device_energy_limit_j,
        min_rate_hz=problem.constraints.min_rate_hz,
        transmit_w={node.name: node.transmit_power_w for node in problem.nodes},
        sent=sent,
        sizes=tuple(sorted({tensor.bytes for tensor in problem.tensors})),
        floor_s=floor_s,
    )


def notable(before: LinkFigures, now: LinkFigures, change: float, scatter: float, floor_s: float) -> tuple[bool, bool]:
    """Whether a link's bandwidth and its latency changed by more than its own measurements scatter.

    Args:
        before: At the last decision.
        now: As told now.
        change: Relative change that always counts as noise. [1]
        scatter: Standard deviation of one measurement of the bandwidth, relative; what is told is filtered and
            wanders by a small part of that. [1]
        floor_s: Latencies that differ by less are the same. [s]
    """
    return beyond_scatter(before[0], now[0], change, scatter), differs(before[1], now[1], change, floor_s)
