"""Impact of a node's change on a plan, or on one that the planner might choose in its place.

Owns: the seconds and joules that depend on what a node computes with, as shares of what the plan takes. Its rule: pure; as for links
(`link_impact.py`), what cannot bring about a switch is no occasion. Not here: what follows from that (`replan_reasons.py`).

A node that the plan uses makes it slower or faster by what its operators there take now. Any other plan can gain at most what all
operators together became faster there, and of the time that it may spend on that node and still be better no more than the
largest factor by which one became faster. A node that only became slower, or takes more power, makes no other plan better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgesplit.planning.plan import Assignment, Evaluation
from edgesplit.planning.problem import Problem
from edgesplit_controller.deciding.changes.fleet_figures import NodeFigures

__all__ = ["ComputeImpact", "compute_impact_of"]


@dataclass(frozen=True)
class ComputeImpact:
    """What a plan and its alternatives have at stake on nodes.

    Attributes:
        plan_s: Latency of the plan. [s]
        plan_j: Its energy. [J]
        latency_weight: Of the goals, both together 1.
        energy_weight: Likewise.
        source: Of the plan.
        device_limit_j: What it may take of the source; None for no limit. [J]
        in_float: Places of the plan's operators in float among all operators, by node.
        in_int8: Places of its operators in int8 among those that have an int8 form, by node.
        sending_s: What each node spends on sending. [s]
        min_rate_hz: Requests a second that it must sustain; None: one at a time is enough. [1/s]
    """

    plan_s: float
    plan_j: float
    latency_weight: float
    energy_weight: float
    source: str
    device_limit_j: float | None
    in_float: Mapping[str, tuple[int, ...]]
    in_int8: Mapping[str, tuple[int, ...]]
    sending_s: Mapping[str, float]
    min_rate_hz: float | None = None

    def share(self, node: str, before: NodeFigures, now: NodeFigures) -> float:
        """Share of the plan that a node's change makes, or could save another one: the larger. [1]

        Both figures name the same operators.
        """
        taken = [
            sum(figures.times_s[place] for place in self.in_float.get(node, ()))
            + sum(figures.int8_times_s[place] for place in self.in_int8.get(node, ()))
            for figures in (before, now)
        ]
        sent_s = self.sending_s.get(node, 0.0)
        joules = taken[1] * now.compute_w - taken[0] * before.compute_w
        joules += sent_s * (now.transmit_w - before.transmit_w)
        on_plan = self._share(node, abs(taken[1] - taken[0]), abs(joules))
        return max(on_plan, self._on_alternatives(node, before, now))

    def _on_alternatives(self, node: str, before: NodeFigures, now: NodeFigures) -> float:
        seconds = [[*figures.times_s, *figures.int8_times_s] for figures in (before, now)]
        joules = [
            [figures.compute_w * taken_s for taken_s in times_s]
            for figures, times_s in zip((before, now), seconds, strict=True)
        ]
        # What a plan better than this one may have of either, the other being nothing.
        most_s = self.plan_s / self.latency_weight if self.latency_weight > 0 else 0.0
        most_s = max(most_s, 1 / self.min_rate_hz) if self.min_rate_hz else most_s
        most_j = self.plan_j / self.energy_weight if self.energy_weight > 0 else self.device_limit_j or 0.0
        sent_j = (before.transmit_w / now.transmit_w - 1.0) * most_j if now.transmit_w > 0 else most_j
        saved_j = _saved(joules[0], joules[1], most_j) + max(sent_j if before.transmit_w > 0 else 0.0, 0.0)
        return self._share(node, _saved(seconds[0], seconds[1], most_s), saved_j)

    def _share(self, node: str, seconds: float, joules: float) -> float:
        share = self.latency_weight * seconds / self.plan_s if self.plan_s > 0 else 0.0
        share += self.energy_weight * joules / self.plan_j if self.plan_j > 0 else 0.0
        # Of the time between two requests, too: a node that is no matter for latency may bound the rate.
        share = max(share, seconds * self.min_rate_hz) if self.min_rate_hz else share
        return max(share, joules / self.device_limit_j) if self.device_limit_j and node == self.source else share


def _saved(before: Sequence[float], now: Sequence[float], most: float) -> float:
    """What a plan could save on a node at most, by what each operator took and takes there and what a plan may have of it. [s or J]"""
    pairs = list(zip(before, now, strict=True))
    saved = sum(max(old - new, 0.0) for old, new in pairs)
    if any(old > 0 >= new for old, new in pairs):
        return saved
    factor = max((old / new for old, new in pairs if new > 0), default=1.0)
    return min(saved, max(factor - 1.0, 0.0) * most)


def compute_impact_of(problem: Problem, assignment: Assignment, evaluation: Evaluation) -> ComputeImpact:
    """What is at stake for a plan.

    Args:
        problem: The plan's.
        assignment: Its decision.
        evaluation: What it takes.
    """
    in_float: dict[str, list[int]] = {}
    in_int8: dict[str, list[int]] = {}
    with_int8 = 0
    for place, operator in enumerate(problem.operators):
        node = assignment.node_of[operator.name]
        if operator.name in assignment.quantized and operator.quantized_time_s:
            in_int8.setdefault(node, []).append(with_int8)
        else:
            in_float.setdefault(node, []).append(place)
        with_int8 += bool(operator.quantized_time_s)
    sending_s: dict[str, float] = {}
    for entry in evaluation.timeline:
        if entry.source is not None:
            sending_s[entry.source] = sending_s.get(entry.source, 0.0) + entry.end_s - entry.start_s
    objective = problem.objective
    total = objective.latency_weight + objective.energy_weight
    return ComputeImpact(
        plan_s=evaluation.latency_s,
        plan_j=evaluation.energy_j,
        latency_weight=objective.latency_weight / total,
        energy_weight=objective.energy_weight / total,
        source=problem.source,
        device_limit_j=problem.constraints.device_energy_limit_j,
        in_float={node: tuple(places) for node, places in in_float.items()},
        in_int8={node: tuple(places) for node, places in in_int8.items()},
        sending_s=sending_s,
        min_rate_hz=problem.constraints.min_rate_hz,
    )
