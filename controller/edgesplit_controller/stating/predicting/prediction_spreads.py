"""Spreads of a plan's durations, from what is known of nodes and links.

Owns: how sure each duration of a problem is, as standard deviations of logarithms. Its rule: pure; what nobody has measured yet
has a prior, a constant of this module with the reason for its size, and no prior is so wide that a plan that is better by far
could not be told (`deciding/changes/switch_decision.py`). Not here: the durations themselves (`predictions.py`), sampling them
(`planner/studies/sampling.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from edgesplit.control.figure_messages import LinkState
from edgesplit.planning.plan import Assignment, Component, Evaluation
from edgesplit.planning.problem import Problem
from edgesplit.planning.spreads import Spreads
from edgesplit_controller.fleet.estimation.handling_estimate import Handling, expected_handling
from edgesplit_controller.fleet.estimation.interval_trials import FIRST
from edgesplit_controller.fleet.estimation.speed_belief import (
    NodeSpeed,
    coding_factor,
    common_deviation,
    expected,
    factors,
)
from edgesplit_controller.fleet.handling import shape_of
from edgesplit_controller.fleet.unit_times import component_key
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.stating.predicting.predictions import travelling_name

__all__ = ["Evidence", "spreads_of"]

NODE, COMPONENT, CODING = 0.03, 0.05, 0.3
"""Of a node of which nothing is believed: what it errs by in common, each component and each coding by itself. [1]"""
WHOLE = 0.02
"""What a request as a whole errs by that none of its parts explains. [1]"""
SHARE_OF_SCATTER = 1 / 3
"""What is believed of a link wanders by about a third of its measurements' scatter, where it does not say its error. [1]"""


@dataclass(frozen=True)
class Evidence:
    """What is known beside a problem's figures.

    Attributes:
        speeds: Node to what is believed of its speed with this model.
        handling: What is believed of handling requests at the plan's source.
        links: (from, to) to what was measured.
        stretch: What intervals are wider by than spreads say, for nine of ten to hold. [1]
    """

    speeds: Mapping[str, NodeSpeed] = field(default_factory=dict[str, NodeSpeed])
    handling: Handling = field(default_factory=Handling)
    links: Mapping[tuple[str, str], LinkState] = field(default_factory=dict[tuple[str, str], LinkState])
    stretch: float = FIRST

    def without_links(self, certain: Iterable[tuple[str, str]]) -> Evidence:
        """The same where some links' figures are certain."""
        left = set(self.links) - set(certain)
        return replace(self, links={pair: link for pair, link in self.links.items() if pair in left})


def spreads_of(
    problem: Problem, graph: ModelGraph, assignment: Assignment, evaluation: Evaluation, evidence: Evidence
) -> Spreads:
    """How sure the durations of one plan are.

    Args:
        problem: Names nodes and links.
        graph: Its model.
        assignment: For every operator of the problem.
        evaluation: Of the assignment.
        evidence: What was measured.
    """
    links = {(link.source, link.target): evidence.links.get((link.source, link.target)) for link in problem.links}
    components = evaluation.components
    shape = shape_of(problem, assignment, evaluation.timeline_s - problem.handling_s)
    totals = {
        part.id: _component_spread(problem, graph, assignment, part, evidence.speeds.get(part.node))
        for part in components
    }
    nodes = {
        name: common_deviation(evidence.speeds[name]) if name in evidence.speeds else NODE
        for name in (node.name for node in problem.nodes)
    }
    for part in components:
        # What is known of a component is known of its sum with its node: neither alone may be as sure.
        nodes[part.node] = min(nodes[part.node], totals[part.id])
    return Spreads(
        nodes=nodes,
        components={part.id: math.sqrt(max(totals[part.id] ** 2 - nodes[part.node] ** 2, 0.0)) for part in components},
        codings={name: _coding_spread(problem, assignment, name, evidence.speeds.get(name)) for name in nodes},
        links={pair: _link_spread(link) for pair, link in links.items() if link is not None},
        handling_s=expected_handling(evidence.handling, shape)[1],
        whole=WHOLE,
        stretch=evidence.stretch,
    )


def _component_spread(
    problem: Problem, graph: ModelGraph, assignment: Assignment, part: Component, speed: NodeSpeed | None
) -> float:
    """Of all that a component may err by, its node's part included. [1]"""
    if speed is None:
        return math.hypot(NODE, COMPONENT)
    units = {graph.unit_of[name] for name in part.operators}
    stated = {operator.name: operator for operator in problem.operators if operator.name in units}
    in_int8 = units & assignment.quantized
    float_s = sum(stated[name].time_s[part.node] for name in units - in_int8)
    int8_s = sum((stated[name].quantized_time_s or stated[name].time_s)[part.node] for name in in_int8)
    now = factors(speed)
    key = component_key(graph, assignment, part)
    return expected(speed, key, float_s / now.in_float, int8_s / now.in_int8).deviation


def _coding_spread(problem: Problem, assignment: Assignment, node: str, speed: NodeSpeed | None) -> float:
    """Of what codings of a plan on a node err by themselves: the least sure of them. [1]"""
    if speed is None:
        return CODING
    common, most = common_deviation(speed), 0.0
    for tensor in problem.tensors:
        codec = assignment.codecs.get(tensor.name)
        if codec is None:
            continue
        receivers = {assignment.node_of[name] for name in tensor.consumers}
        sender = assignment.node_of[tensor.producer]
        travels = travelling_name(tensor, assignment)
        for direction, nodes in (
            ("encode", {sender} if receivers - {sender} else set()),
            ("decode", receivers - {sender}),
        ):
            if node in nodes:
                most = max(most, coding_factor(speed, codec, direction, travels).deviation)
    return math.sqrt(max(most**2 - common**2, 0.0))


def _link_spread(link: LinkState) -> tuple[float, float]:
    """Of a link's rate [1], and of its latency [s]."""
    return link.error or link.scatter * SHARE_OF_SCATTER, link.latency_error_s
