"""Snapshot of the fleet: a cheap look whether stating the planning problem of a model could tell anything new.

Owns: what problems are made of, read from the registry without making one. Its rule: pure comparison; what it lets pass is
looked at closely by `replan_reasons.py`. Not here: problems (`stating/problem_statement.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from edgesplit.control.profile_messages import ExecutionProfile
from edgesplit.significance import PLANNED_LINK_SHARE, PLANNED_POWER_CHANGE, differs
from edgesplit_controller.configuration import Thresholds
from edgesplit_controller.deciding.changes.fleet_figures import Figures
from edgesplit_controller.deciding.changes.impact.link_impact import LinkFigures, LinkImpact, Pair
from edgesplit_controller.deciding.changes.replan_reasons import Reason, link_reasons, load_reasons
from edgesplit_controller.fleet.node_speeds import Speeds
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.stating.loads import Loads

__all__ = ["FleetSnapshot", "snapshot_of"]


@dataclass(frozen=True)
class _Node:
    """What a problem takes from a node."""

    compute_w: float
    transmit_w: float
    memory_bytes: float
    profile: ExecutionProfile

    def differs(self, other: _Node) -> bool:
        """Whether predictions would."""
        return (
            self.profile is not other.profile
            or self.memory_bytes != other.memory_bytes
            or differs(self.compute_w, other.compute_w, PLANNED_POWER_CHANGE)
            or differs(self.transmit_w, other.transmit_w, PLANNED_POWER_CHANGE)
        )


@dataclass(frozen=True)
class FleetSnapshot:
    """The fleet as one model's problem would see it.

    Attributes:
        links: Those that are up between usable nodes.
        scatter: Of their bandwidth's measurements, relative. [1]
        unrest: Of restless nodes, how much the time of the same work varies there. [1]
        loads: Share that is promised to others, of each node and of each link as `FROM:TO`, where a rate is to be sustained. [1]
    """

    nodes: Mapping[str, _Node]
    links: Mapping[Pair, LinkFigures]
    scatter: Mapping[Pair, float]
    unrest: Mapping[str, float]
    loads: Mapping[str, float]

    def differs(self, before: FleetSnapshot) -> bool:
        """Whether nodes or links came or went, nodes are another, or others are promised more or less."""
        return (
            self.nodes.keys() != before.nodes.keys()
            or self.links.keys() != before.links.keys()
            or any(node.differs(self.nodes[name]) for name, node in before.nodes.items())
            or self.loads != before.loads
        )

    def changes_predictions(self, before: FleetSnapshot, impact: LinkImpact) -> bool:
        """Whether what the plan predicts differs by what its links became."""
        return any(
            impact.on_plan(pair, before.links[pair], self.links[pair]) > PLANNED_LINK_SHARE
            for pair in impact.sent
            if pair in before.links and pair in self.links
        )

    def reasons(self, decided: Figures, thresholds: Thresholds, impact: LinkImpact) -> list[Reason]:
        """Links and loads that changed since the last decision so that planning again could matter."""
        found = link_reasons(decided.links, self.links, thresholds, impact, self.scatter)
        return found + load_reasons(decided, self.loads, thresholds.change)


def snapshot_of(
    registry: Registry,
    speeds: Speeds,
    record: ModelRecord,
    among: Collection[str],
    *,
    used_bytes: Mapping[str, float],
    loads: Loads | None,
) -> FleetSnapshot:
    """The fleet now.

    Args:
        registry: What nodes say.
        speeds: Their execution profiles as they hold now.
        record: The model.
        among: Nodes that plans of it may use.
        used_bytes: Memory that other models' plans hold, by node. [B]
        loads: What is promised to others of nodes and links; None where no rate is asked for.
    """
    nodes: dict[str, _Node] = {}
    for name in sorted(among):
        node, profile = registry.node(name), speeds.profile(name, record.name, record.sha256)
        if node.usable and node.status is not None and node.metrics is not None and profile is not None:
            free = node.status.memory_limit_bytes - used_bytes.get(name, 0.0)
            nodes[name] = _Node(node.metrics.compute_w, node.metrics.transmit_w, free, profile)
    links = {
        (start, link.to): link
        for start, link in registry.links(nodes)
        if link.up and link.bandwidth_bytes_per_s > 0 and start != link.to
    }
    return FleetSnapshot(
        nodes,
        {pair: (link.bandwidth_bytes_per_s, link.latency_s) for pair, link in links.items()},
        {pair: link.scatter for pair, link in links.items() if link.scatter},
        {name: unrest for name in nodes if (unrest := registry.unrest(name))},
        {}
        if loads is None
        else {name: loads.nodes.get(name, 0.0) for name in nodes}
        | {":".join(pair): loads.links.get(pair, 0.0) for pair in links},
    )
