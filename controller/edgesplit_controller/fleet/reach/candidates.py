"""Candidates: the nodes that the plans of a deployment may use, by labels and number.

Owns: this choice. Its rule: it reads registrations and profiles and knows no links, for links are measured where it says; the source is
one in any case. A planner that is given a thousand nodes plans for minutes and is no better for it: of more than a plan may choose among,
those that it uses or that pins name stay, then the fastest. Not here: what a node lacks to be used now (`deciding/plan_maker.py`), forbidden
nodes (goals).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from edgesplit.planning.goals import Goals
from edgesplit.planning.selector import SITE, parsed_selector
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.storage.deployment_state import DeploymentState

__all__ = ["Candidates", "may_use"]

REMEMBERED = 4096
"""Sources and selectors whose matching nodes are remembered."""


def may_use(on: str, source: Mapping[str, str], node: Mapping[str, str]) -> bool:
    """Whether plans may use a node.

    Args:
        on: The selector; empty: nodes of the source's site, and those of no site, which all share.
        source: Labels of the source.
        node: Labels of the node.
    """
    if on:
        return parsed_selector(on).matches(node)
    return SITE not in node or node[SITE] == source.get(SITE)


class Candidates:
    """Those of all deployments.

    Args:
        registry: The fleet.
        most: Among how many nodes a plan may choose.
    """

    def __init__(self, registry: Registry, most: int) -> None:
        self._registry = registry
        self.most = most
        self._revision = -1
        self._matching: dict[tuple[str, str], frozenset[str]] = {}

    def of(
        self, record: ModelRecord, source: str, goals: Goals, deployment: DeploymentState | None = None
    ) -> frozenset[str]:
        """Names of the candidates, the source among them, whether they are online or not.

        Args:
            record: The model.
            source: Where requests arise.
            goals: Select nodes, forbid some, and pin operators to some.
            deployment: What is deployed of it now.
        """
        matching = self.matching(source, goals.on).difference(goals.forbidden) | {source}
        if len(matching) <= self.most:
            return matching
        return frozenset(self._first(matching, record, source, _kept(goals, deployment)))

    def matching(self, source: str, on: str) -> frozenset[str]:
        """All nodes that a selector means for a source, however many."""
        if self._revision != self._registry.revision or len(self._matching) >= REMEMBERED:
            self._revision = self._registry.revision
            self._matching.clear()
        known = self._matching.get((source, on))
        if known is None:
            labels = self.labels(source)
            nodes = self._registry.nodes
            known = frozenset(name for name in nodes if may_use(on, labels, self.labels(name)))
            self._matching[source, on] = known
        return known

    def labels(self, name: str) -> Mapping[str, str]:
        """What a node says of itself; nothing of one that never registered."""
        status = self._registry.node(name).status
        return status.labels if status is not None else {}

    def _first(
        self, matching: Collection[str], record: ModelRecord, source: str, kept: Collection[str]
    ) -> Collection[str]:
        """As many as may be, in the order of what they are worth."""

        def worth(name: str) -> tuple[bool, bool, bool, float, str]:
            profile = self._registry.profile(name, record.name, record.sha256)
            whole_s = profile.whole_s if profile is not None else math.inf
            return name != source, name not in kept, not self._registry.node(name).online, whole_s, name

        return sorted(matching, key=worth)[: self.most]


def _kept(goals: Goals, deployment: DeploymentState | None) -> frozenset[str]:
    """Nodes that the plan uses which serves, and those that somebody pinned operators to."""
    active = deployment.active if deployment is not None else None
    used = active.epoch.participants if active is not None else ()
    return frozenset((*used, *(node for pin in goals.pins for node in pin.nodes)))
