"""Spreads of a plan's durations, from what is known of nodes and links.

Owns: how sure each duration of a problem is, as standard deviations of logarithms. Its rule: pure; what nobody has measured yet
has a prior, a constant of this module with the reason for its size, and no prior is so wide that a plan that is better by far
could not be told (`deciding/changes/switch_decision.py`). Not here: the durations themselves (`predictions.py`), sampling them
(`planner/studies/sampling.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from edgesplit.control.figure_messages import LinkState
from edgesplit.planning.plan import Assignment, Component
from edgesplit.planning.problem import Problem
from edgesplit.planning.spreads import Spreads
from edgesplit_controller.fleet.unit_times import component_key
from edgesplit_controller.graph.model_graph import ModelGraph

__all__ = ["Evidence", "spreads_of"]

# Priors. They say what is left of an error after everything that is measured was taken into account, not what machines do.
NODE = 0.02
"""What all components of a node err by in common: live timings follow a node's speed this closely on a steady host. [1]"""
TIMED = 0.02
"""What a component errs by itself that was timed where it is: the error of a mean of some runs. [1]"""
NEVER_TIMED = 0.05
"""The same of one that never ran there: its units were timed within the whole model, where their neighbours are others. [1]"""
CODING = 0.15
"""What encoding or decoding errs by: timed on other tensors, by size. [1]"""
WHOLE = 0.015
"""What a request errs by that none of its parts explains: hand-overs, copies, the client's own part. [1]"""
SHARE_OF_SCATTER = 1 / 3
"""What is believed of a link wanders by about a third of its measurements' scatter, where it does not say its error. [1]"""


@dataclass(frozen=True)
class Evidence:
    """What is known beside a problem's figures.

    Attributes:
        timed: Node and `component_key` of components that were timed there.
        links: (from, to) to what was measured.
    """

    timed: Collection[tuple[str, str]] = frozenset()
    links: Mapping[tuple[str, str], LinkState] = field(default_factory=dict[tuple[str, str], LinkState])

    def without_links(self, certain: Iterable[tuple[str, str]]) -> Evidence:
        """The same where some links' figures are certain."""
        left = set(self.links) - set(certain)
        return replace(self, links={pair: link for pair, link in self.links.items() if pair in left})


def spreads_of(
    problem: Problem, graph: ModelGraph, assignment: Assignment, components: Sequence[Component], evidence: Evidence
) -> Spreads:
    """How sure the durations of one plan are.

    Args:
        problem: Names nodes and links.
        graph: Its model.
        assignment: For every operator of the problem.
        components: Of the assignment.
        evidence: What was measured.
    """
    links = {(link.source, link.target): evidence.links.get((link.source, link.target)) for link in problem.links}
    return Spreads(
        nodes={node.name: NODE for node in problem.nodes},
        components={
            part.id: TIMED if (part.node, component_key(graph, assignment, part)) in evidence.timed else NEVER_TIMED
            for part in components
        },
        codings={node.name: CODING for node in problem.nodes},
        links={pair: _link_spread(link) for pair, link in links.items() if link is not None},
        whole=WHOLE,
    )


def _link_spread(link: LinkState) -> tuple[float, float]:
    """Of a link's rate [1], and of its latency [s]."""
    return link.error or link.scatter * SHARE_OF_SCATTER, link.latency_error_s
