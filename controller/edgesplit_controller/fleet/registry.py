"""Registry of the fleet as it is now, read from the nodes' retained messages.

Owns: every node's registration, figures, links and execution profiles, and which nodes may be planned on. Its rule: it
only remembers what nodes said, and when it came by its own monotonic clock, and tells what changed; it knows no bus or
plan. Not here: what a change leads to (`deciding/changes/replan_reasons.py`), documents for people (`answering/`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from edgesplit.control.event_messages import EventLevel
from edgesplit.control.figure_messages import NODE_METRICS, AskedSizes, LinkMetrics, LinkState, NodeMetrics, Usage
from edgesplit.control.plan_messages import Observed
from edgesplit.control.profile_messages import ExecutionProfile, ProfileReport
from edgesplit.control.registration_messages import NodeStatus
from edgesplit.errors import UnknownNode
from edgesplit.formatting import time_span
from edgesplit.mqtt.topic import Topic
from edgesplit.names import planned_name
from edgesplit.release import PROTOCOL
from edgesplit_controller.fleet.believing.round_trips import RoundTrips
from edgesplit_controller.fleet.usage_sums import UsageSums

__all__ = ["FleetChange", "FleetNode", "Registry"]

M = TypeVar("M", bound=msgspec.Struct)


@dataclass(frozen=True)
class FleetChange:
    """Something about the fleet that people and the planner want to know.

    Attributes:
        kind: An event kind of `Event`.
        text: One sentence.
        data: Figures behind it.
        level: None for that of the kind.
    """

    kind: str
    node: str
    text: str
    model: str = ""
    data: Mapping[str, str | float | int | bool | None] = field(
        default_factory=dict[str, str | float | int | bool | None]
    )
    level: EventLevel | None = None


@dataclass
class FleetNode:
    """One node as far as it reported.

    Attributes:
        said: The last message of every topic that has no place of its own below, by topic and model (empty where the topic
            names none).
        heard_s: When it last said anything, since this controller runs. [s]
        profiles: By model.
        observed: What it holds, by model.
        profiled_s: When `profiles` came. [s]
        observed_s: When `observed` came. [s]
        links_s: When `links` came. [s]
        clock_offset_s: How far its clock is ahead of the controller's; None where that is not known. [s]
    """

    status: NodeStatus | None = None
    said: dict[tuple[Topic[Any], str], Any] = field(default_factory=dict[tuple[Topic[Any], str], Any])
    links: LinkMetrics | None = None
    heard_s: float | None = None
    profiles: dict[str, ProfileReport] = field(default_factory=dict[str, ProfileReport])
    observed: dict[str, Observed] = field(default_factory=dict[str, Observed])
    profiled_s: dict[str, float] = field(default_factory=dict[str, float])
    observed_s: dict[str, float] = field(default_factory=dict[str, float])
    links_s: float = 0.0
    clock_offset_s: float | None = None

    def latest(self, topic: Topic[M], model: str = "") -> M | None:
        """The last message of a topic that the registry keeps as it is."""
        message: M | None = self.said.get((topic, model))
        return message

    @property
    def metrics(self) -> NodeMetrics | None:
        """Its compute and power figures."""
        return self.latest(NODE_METRICS)

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
    """All nodes, by name.

    Args:
        clock: Monotonic. [s]
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._nodes: dict[str, FleetNode] = {}
        self._usage = UsageSums()
        self._round_trips = RoundTrips()
        self._listed: dict[str, FleetNode] | None = None
        self._online: tuple[str, ...] | None = None
        self.revision = 0
        """Another number whenever nodes came, went, or said something else of themselves."""
        self.profiles_revision = 0
        """Another number whenever a node profiled a model."""

    @property
    def nodes(self) -> Mapping[str, FleetNode]:
        """Nodes that registered, by name, in alphabetical order."""
        if self._listed is None:
            self._listed = {name: node for name, node in sorted(self._nodes.items()) if node.status is not None}
        return self._listed

    def names(self) -> Collection[str]:
        """Names under which anything was ever heard."""
        return self._nodes.keys()

    def node(self, name: str) -> FleetNode:
        """The node, empty if it never reported."""
        return self._nodes.get(name) or FleetNode()

    def knows(self, name: str) -> bool:
        """Whether a node of that name ever registered."""
        return name in self._nodes and self._nodes[name].status is not None

    def check_known(self, name: str) -> None:
        """Refuse a name under which no node ever registered.

        Raises:
            UnknownNode: With those that did.
        """
        if not self.knows(name):
            known = ", ".join(self.nodes) or "none yet"
            raise UnknownNode(f"no node {name!r} is registered: choose among the known ones ({known})")

    def online(self) -> tuple[str, ...]:
        """Nodes that are connected and not refused."""
        if self._online is None:
            self._online = tuple(name for name, node in self.nodes.items() if node.online and not node.refused)
        return self._online

    @property
    def addresses(self) -> dict[str, str]:
        """Data-plane address of every node that named one."""
        return {name: node.status.advertise for name, node in self.nodes.items() if node.status is not None}

    @property
    def memory_limit_bytes(self) -> dict[str, float]:
        """Node to what it lends to models; 0 is no limit. [B]"""
        return {name: node.status.memory_limit_bytes for name, node in self.nodes.items() if node.status is not None}

    def gone(self, names: frozenset[str]) -> frozenset[str]:
        """Which of `names` are not there: never registered, offline, or refused."""
        return frozenset(name for name in names if not self._is_there(name))

    def _is_there(self, name: str) -> bool:
        node = self._nodes.get(name)
        return node is not None and node.online and not node.refused

    def _nodes_changed(self) -> None:
        self._listed = self._online = None
        self.revision += 1

    def set_status(self, name: str, status: NodeStatus | None) -> tuple[FleetChange, ...]:
        """Take in a registration or a last will; None removes the node."""
        if status is None and name not in self._nodes:
            return ()
        node = self._entry(name)
        before, was_refused = node.status, node.refused
        was_online = node.online
        if status != before:
            self._nodes_changed()
        node.status = status
        if status is None or not status.online:
            if not was_online:
                return ()
            return (FleetChange("node-left", name, f"node {name} left"),)
        if node.refused:
            return () if node.refused == was_refused else (FleetChange("node-refused", name, node.refused),)
        told: list[FleetChange] = []
        if not was_online or was_refused:
            told.append(FleetChange("node-joined", name, f"node {name} joined at {status.advertise}"))
        elif before is not None and before.instance != status.instance:
            told.append(FleetChange("node-joined", name, f"node {name} restarted"))
        elif before is not None and before.advertise != status.advertise:
            told.append(
                FleetChange("node-moved", name, f"node {name} moved from {before.advertise} to {status.advertise}")
            )
        known = before.warnings if before is not None and was_online else ()
        new = [text for text in status.warnings if text not in known]
        return (*told, *(FleetChange("node-warning", name, f"node {name}: {text}") for text in new))

    def keep(self, row: Topic[M], topic: str, message: M | None) -> None:
        """Take in the last message of a topic about a node, as it is; None where it was cleared."""
        name, *model = row.names(topic)
        if message is not None:
            self._entry(name).said[row, "".join(model)] = message
        elif name in self._nodes:
            self._nodes[name].said.pop((row, "".join(model)), None)

    def set_links(self, name: str, links: LinkMetrics | None) -> None:
        """Take in the links that leave a node."""
        if links is None and name not in self._nodes:
            return
        node = self._entry(name)
        node.links, node.links_s = links, self.clock()
        self._round_trips.take(name, links)

    def set_observed(self, name: str, model: str, observed: Observed | None) -> None:
        """Take in what a node holds of a model."""
        if observed is None and name not in self._nodes:
            return
        node = self._entry(name)
        node.observed.pop(model, None)
        if observed is not None:
            node.observed[model], node.observed_s[model] = observed, self.clock()

    def set_profile(self, name: str, model: str, report: ProfileReport | None) -> tuple[FleetChange, ...]:
        """Take in where a node stands with profiling a model."""
        if report is None and name not in self._nodes:
            return ()
        node = self._entry(name)
        before = node.profiles.get(model)
        if report is None:
            node.profiles.pop(model, None)
            return ()
        node.profiles[model], node.profiled_s[model] = report, self.clock()
        self.profiles_revision += before is None or before.profile != report.profile
        return tuple(_profile_news(before, report))

    def heard(self, name: str) -> None:
        """A node said something just now."""
        if (node := self._nodes.get(name)) is not None:
            node.heard_s = self.clock()

    def set_clock_offset(self, name: str, offset_s: float | None) -> None:
        """Take in how far a node's clock is ahead. [s]"""
        if (node := self._nodes.get(name)) is not None:
            node.clock_offset_s = offset_s

    def last_seen_s(self, name: str, now_unix_s: float) -> float | None:
        """Since when nothing was heard of a node; of what was kept from before a restart, its own clock tells. [s]"""
        node = self.node(name)
        if node.heard_s is not None:
            return max(0.0, self.clock() - node.heard_s)
        return max(0.0, now_unix_s - node.metrics.at_unix_s) if node.metrics is not None else None

    def forget_node(self, name: str) -> None:
        """Drop a node and all that it reported."""
        self._nodes.pop(name, None)
        self._nodes_changed()
        self._usage.forget_node(name)
        self._round_trips.take(name, None)

    def forget_profiles(self, model: str) -> None:
        """Drop the nodes' profiles of a model; they make new ones."""
        for node in self._nodes.values():
            node.profiles.pop(model, None)

    def forget_model(self, model: str) -> None:
        """Drop what nodes reported about a model."""
        self.forget_profiles(model)
        for node in self._nodes.values():
            for key in [key for key in node.said if key[1] == model]:
                del node.said[key]
        self._usage.forget(model)

    def profile(self, name: str, model: str, sha256: str) -> ExecutionProfile | None:
        """A node's times of exactly this model, or None while it has none; those it has stand until there are newer.

        Args:
            name: Of the node.
            model: A planning shape or a deployment of one: nodes time it once, whatever its sources.
            sha256: Of its file.
        """
        report = self.node(name).profiles.get(planned_name(model))
        return report.profile if report is not None and report.sha256 == sha256 else None

    def profiles(self, model: str, sha256: str) -> dict[str, ExecutionProfile]:
        """Those of exactly this model that are in, by node."""
        found = {name: self.profile(name, model, sha256) for name in self.nodes}
        return {name: profile for name, profile in found.items() if profile is not None}

    def profiled(self, model: str, sha256: str) -> tuple[str, ...]:
        """Nodes whose profile of exactly this model is in."""
        return tuple(self.profiles(model, sha256))

    def unrest(self, name: str) -> float:
        """By how much the time of the same work varies on a restless node from one moment to another; 0 on others. [1]"""
        metrics = self.node(name).metrics
        steadiness = metrics.steadiness if metrics is not None else None
        return steadiness.spread if steadiness is not None and steadiness.regime == "restless" else 0.0

    def links(self, among: Collection[str] | None = None) -> tuple[tuple[str, LinkState], ...]:
        """Links between nodes that are connected now: sending node and its measurement, of the round trip that of either end.

        Args:
            among: Both ends are among these; None: among all.
        """
        there = frozenset(self.online() if among is None else filter(self._is_there, among))
        return tuple(
            (name, self._round_trips.newest(name, link))
            for name in sorted(there)
            if (links := self._nodes[name].links) is not None
            for link in links.links
            if link.to in there
        )

    def _entry(self, name: str) -> FleetNode:
        return self._nodes.setdefault(name, FleetNode())

    def add_usage(self, usage: Usage) -> Usage:
        """Take in what serving an epoch cost on a node so far; returns what that adds to what was known."""
        return self._usage.add(usage)

    def usage(self, model: str, epoch: int) -> tuple[Usage, ...]:
        """What serving an epoch cost, one entry a node."""
        return self._usage.of(model, epoch)

    def asked_sizes(self, model: str) -> tuple[AskedSizes, ...]:
        """Sizes that its requests had, where it leaves some open."""
        return self._usage.asked(model)


def _profile_news(before: ProfileReport | None, report: ProfileReport) -> Iterator[FleetChange]:
    """What a report on profiling tells beyond the one before: tries that fail in a row are told once."""
    if before is not None and before.sha256 != report.sha256:
        before = None
    name, model, retry = report.node, report.model, report.retry
    if report.state == "failed":
        known = before is not None and (before.state == "failed" or before.retry is not None)
        if known and before is not None and (before.retry is None) == (retry is None):
            return
        again = f"; it is tried again in {retry.next_try_s:.0f} s" if retry is not None else ""
        text = f"node {name} could not profile {model}: {report.detail or 'it gave no reason'}{again}"
        data = {"next_try_s": retry.next_try_s} if retry is not None else {}
        yield FleetChange("profile-changed", name, text, model, data, "warning")
    elif report.profile is not None and (before is None or before.profile != report.profile):
        profile = report.profile
        modelled = "" if profile.origin == "measured" else f", its units' shares {profile.origin}"
        tries = "1 try" if retry is not None and retry.attempts == 1 else f"{retry.attempts} tries" if retry else ""
        after = f", after {tries} that failed within {retry.failing_s:.0f} s" if retry is not None else ""
        done = "timed" if profile.is_quick else "profiled"
        text = f"node {name} {done} {model}: {time_span(profile.whole_s)}{modelled}{after}"
        yield FleetChange("profile-changed", name, text, model, {"whole_s": profile.whole_s})
