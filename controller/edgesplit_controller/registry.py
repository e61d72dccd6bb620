"""What the fleet looks like now, read from the nodes' retained messages.

Owns: every node's registration, figures, links and execution profiles, and which nodes may be planned on. Its rule: it
only remembers what nodes said and tells what changed; it knows no clock, bus or plan. Not here: what a change leads to
(`deployment/replanning.py`), documents for people (`documents.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgesplit.messages import PROTOCOL, LinkMetrics, LinkState, NodeMetrics, NodeStatus, Usage
from edgesplit.profiles import ExecutionProfile, ProfileReport
from edgesplit_controller.usage_sums import UsageSums

__all__ = ["Change", "Node", "Registry"]


@dataclass(frozen=True)
class Change:
    """Something about the fleet that people and the planner want to know.

    Attributes:
        kind: An event kind of `messages.Event`.
        text: One sentence.
        data: Figures behind it.
    """

    kind: str
    node: str
    text: str
    model: str = ""
    data: Mapping[str, str | float | int | bool | None] = field(
        default_factory=dict[str, str | float | int | bool | None]
    )


@dataclass
class Node:
    """One node as far as it reported.

    Attributes:
        profiles: By model.
    """

    status: NodeStatus | None = None
    metrics: NodeMetrics | None = None
    links: LinkMetrics | None = None
    profiles: dict[str, ProfileReport] = field(default_factory=dict[str, ProfileReport])

    @property
    def refused(self) -> str:
        """Why the node is never planned on, or empty."""
        if self.status is None:
            return ""
        if self.status.protocol != PROTOCOL:
            return (
                f"node {self.status.node} speaks protocol {self.status.protocol} (edgesplit {self.status.version}) and "
                f"this controller speaks {PROTOCOL}: install the same release on both"
            )
        return self.status.refused

    @property
    def online(self) -> bool:
        """Whether its agent is connected."""
        return self.status is not None and self.status.online

    @property
    def usable(self) -> bool:
        """Whether plans may use it: online, not refused, its watts known."""
        return self.online and not self.refused and self.metrics is not None


class Registry:
    """All nodes, by name."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._usage = UsageSums()

    @property
    def nodes(self) -> Mapping[str, Node]:
        """Nodes that registered, by name, in alphabetical order."""
        return {name: self._nodes[name] for name in sorted(self._nodes) if self._nodes[name].status is not None}

    def node(self, name: str) -> Node:
        """The node, empty if it never reported."""
        return self._nodes.setdefault(name, Node())

    def knows(self, name: str) -> bool:
        """Whether a node of that name ever registered."""
        return name in self._nodes and self._nodes[name].status is not None

    def online(self) -> tuple[str, ...]:
        """Nodes that are connected and not refused."""
        return tuple(name for name, node in self.nodes.items() if node.online and not node.refused)

    def gone(self, names: frozenset[str]) -> frozenset[str]:
        """Which of `names` are not there: never registered, offline, or refused."""
        return names - frozenset(self.online())

    def set_status(self, name: str, status: NodeStatus | None) -> tuple[Change, ...]:
        """Take in a registration or a last will; None removes the node."""
        node = self.node(name)
        before, was_refused = node.status, node.refused
        was_online = node.online
        node.status = status
        if status is None or not status.online:
            if not was_online:
                return ()
            return (Change("node-left", name, f"node {name} left"),)
        if node.refused:
            return () if node.refused == was_refused else (Change("node-refused", name, node.refused),)
        told: list[Change] = []
        if not was_online or was_refused:
            told.append(Change("node-joined", name, f"node {name} joined at {status.advertise}"))
        elif before is not None and before.instance != status.instance:
            told.append(Change("node-joined", name, f"node {name} restarted"))
        elif before is not None and before.advertise != status.advertise:
            told.append(Change("node-moved", name, f"node {name} moved from {before.advertise} to {status.advertise}"))
        known = before.warnings if before is not None and was_online else ()
        new = [text for text in status.warnings if text not in known]
        return (*told, *(Change("node-warning", name, f"node {name}: {text}") for text in new))

    def set_metrics(self, name: str, metrics: NodeMetrics | None) -> None:
        """Take in compute and power figures."""
        self.node(name).metrics = metrics

    def set_links(self, name: str, links: LinkMetrics | None) -> None:
        """Take in the links that leave a node."""
        self.node(name).links = links

    def set_profile(self, name: str, model: str, report: ProfileReport | None) -> tuple[Change, ...]:
        """Take in where a node stands with profiling a model."""
        profiles = self.node(name).profiles
        before = profiles.get(model)
        if report is None:
            profiles.pop(model, None)
            return ()
        profiles[model] = report
        if report.state == "failed" and (before is None or before.state != "failed" or before.sha256 != report.sha256):
            text = f"node {name} could not profile {model}: {report.detail or 'it gave no reason'}"
            return (Change("profile-changed", name, text, model),)
        if report.profile is None or (before is not None and before.profile == report.profile):
            return ()
        modelled = "" if report.profile.origin == "measured" else f", its units' shares {report.profile.origin}"
        text = f"node {name} profiled {model}: {report.profile.whole_s * 1e3:.1f} ms{modelled}"
        return (Change("profile-changed", name, text, model, {"whole_s": report.profile.whole_s}),)

    def forget_profiles(self, model: str) -> None:
        """Drop the nodes' profiles of a model; they make new ones."""
        for node in self._nodes.values():
            node.profiles.pop(model, None)

    def forget_model(self, model: str) -> None:
        """Drop what nodes reported about a model."""
        self.forget_profiles(model)
        self._usage.forget(model)

    def profile(self, name: str, model: str, sha256: str) -> ExecutionProfile | None:
        """A node's times of exactly this model, or None while it has none."""
        report = self.node(name).profiles.get(model)
        return report.profile if report is not None and report.sha256 == sha256 and report.state == "done" else None

    def profiled(self, model: str, sha256: str) -> tuple[str, ...]:
        """Nodes whose profile of exactly this model is in."""
        return tuple(name for name in self.nodes if self.profile(name, model, sha256) is not None)

    def links(self) -> tuple[tuple[str, LinkState], ...]:
        """Links between nodes that are connected now: sending node and its measurement."""
        there = frozenset(self.online())
        return tuple(
            (name, link)
            for name, node in self.nodes.items()
            if name in there and node.links is not None
            for link in node.links.links
            if link.to in there
        )

    def add_usage(self, usage: Usage) -> Usage:
        """Take in what serving an epoch cost on a node so far; returns what that adds to what was known."""
        return self._usage.add(usage)

    def usage(self, model: str, epoch: int) -> tuple[Usage, ...]:
        """What serving an epoch cost, one entry a node."""
        return self._usage.of(model, epoch)
