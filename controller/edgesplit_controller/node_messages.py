"""What arrives from nodes over MQTT: believed or not, and whom it concerns.

Owns: the subscriptions to topics about nodes. Its rule: a handler only hands over; what is not believed is told once in a while
and goes no further. Not here: what is believed (`fleet/plausibility.py`), any decision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import msgspec

from edgesplit.control.figure_messages import LINK_METRICS, NODE_METRICS, USAGE, LinkMetrics, NodeMetrics, Usage
from edgesplit.control.inquiry_messages import NODE_FINDINGS, NodeFindings
from edgesplit.control.noise_messages import NOISE_REPORT, NoiseReport
from edgesplit.control.plan_messages import OBSERVED, Observed
from edgesplit.control.profile_messages import LIVE_TIMINGS, PROFILE_REPORT, LiveTimings, ProfileReport
from edgesplit.control.registration_messages import NODE_STATUS, NodeStatus
from edgesplit.mqtt.bus import MessageBus
from edgesplit.mqtt.topic import Topic
from edgesplit.topic_table import ABOUT_NODES, node_of
from edgesplit_controller.answering.inspection.inquiries import Inquiries
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.deciding.noise_guard import NoiseGuard
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.fleet.handling import HandlingBook
from edgesplit_controller.fleet.node_clocks import NodeClocks
from edgesplit_controller.fleet.node_speeds import Speeds
from edgesplit_controller.fleet.plausibility import Plausibility
from edgesplit_controller.fleet.registry import FleetChange, Registry
from edgesplit_controller.fleet.traffic import Traffic
from edgesplit_controller.rate_limited_events import EventFlood, RateLimitedEvents
from edgesplit_controller.rollout.driver import Rollouts

__all__ = ["NodeMessages"]

M = TypeVar("M", bound=msgspec.Struct)


class NodeMessages:
    """Gives what nodes say to whom it concerns.

    Args:
        bus: Where it arrives.
        registry: Keeps what nodes say.
        clocks: Of nodes.
        traffic: What is asked of nodes.
        speeds: Of nodes.
        handling: Of requests.
        rollouts: Told what nodes hold.
        deployer: Told that something changed.
        guard: Told of noise.
        inquiries: Told of answers.
        events: Where changes of the fleet are told.
        seldom: Where messages that are not believed are told.
        knows_model: Whether something of that name was added.
        most_nodes: Names of nodes beyond are nobody's.

    Attributes:
        ignored: Counts messages that were not taken in, by what is wrong with them.
    """

    def __init__(
        self,
        bus: MessageBus,
        *,
        registry: Registry,
        clocks: NodeClocks,
        traffic: Traffic,
        speeds: Speeds,
        handling: HandlingBook,
        rollouts: Rollouts,
        deployer: Deployer,
        guard: NoiseGuard,
        inquiries: Inquiries,
        events: EventLog,
        seldom: RateLimitedEvents,
        knows_model: Callable[[str], bool],
        most_nodes: int,
    ) -> None:
        self._bus = bus
        self._registry, self._clocks, self._traffic, self._speeds = registry, clocks, traffic, speeds
        self._handling = handling
        self._rollouts, self._deployer, self._guard = rollouts, deployer, guard
        self._inquiries = inquiries
        self._events, self._seldom = events, seldom
        self._plausibility = Plausibility(rollouts.highest_epoch, registry.names, knows_model, most_nodes)
        self._flood = EventFlood(registry.clock)
        self._handled: set[Topic[Any]] = set()
        self.ignored: Counter[str] = Counter()

    def subscribe(self) -> None:
        """Listen to every topic about nodes that the table has for the controller."""
        self._hear(NODE_STATUS, self._on_status)
        self._hear(NODE_METRICS, self._on_metrics)
        self._hear(LINK_METRICS, self._on_links)
        self._hear(PROFILE_REPORT, self._on_profile)
        self._hear(LIVE_TIMINGS, self._on_timings)
        self._hear(OBSERVED, self._on_observed)
        self._hear(USAGE, self._on_usage)
        self._hear(NOISE_REPORT, self._on_noise)
        self._hear(NODE_FINDINGS, self._on_findings)
        for row in ABOUT_NODES:
            if "controller" in row.readers and row not in self._handled:
                self._hear(row, partial(self._registry.keep, row))
        self._bus.on_heard = self._on_heard

    def _hear(self, row: Topic[M], handler: Callable[[str, M | None], None]) -> None:
        """Have what is said about nodes handled, as far as it is believed; what is not is told once in a while."""

        def check(topic: str, message: M | None) -> None:
            doubt = self._plausibility.doubt(row, topic, message)
            if not doubt:
                handler(topic, message)
            else:
                self.ignored["implausible"] += 1
                text = f"the message on {topic[:200]} was ignored: {doubt[:300]}"
                self._seldom.add(f"{row.pattern} {doubt[:40]}", "message-ignored", text)

        self._handled.add(row)
        self._bus.subscribe(row, check)

    def _on_heard(self, topic: str, retained: bool) -> None:
        """A node that says something is there; what the broker kept was said before."""
        if not retained and (node := node_of(topic)) and not self._bus.owns(topic):
            self._registry.heard(node)

    def _on_status(self, topic: str, status: NodeStatus | None) -> None:
        (name,) = NODE_STATUS.names(topic)
        changes = self._registry.set_status(name, status)
        self._tell(changes)
        self._deployer.fleet_changed()
        if any(change.kind == "node-joined" for change in changes):
            if self._rollouts.settled:
                self._rollouts.node_joined(name)
            self._deployer.cause_returned()

    def _on_metrics(self, topic: str, metrics: NodeMetrics | None) -> None:
        (name,) = NODE_METRICS.names(topic)
        was_usable, before = self._registry.node(name).usable, self._registry.node(name).metrics
        self._registry.keep(NODE_METRICS, topic, metrics)
        if metrics is None:
            self._clocks.forget(name)
        elif self._registry.node(name).online:
            self._tell(self._clocks.hear(name, metrics))
            self._registry.set_clock_offset(name, self._clocks.offset_s(name))
        if metrics is not None and not was_usable:
            self._deployer.fleet_changed()
        elif metrics is not None and (
            metrics.power_origin == "measured"
            or metrics.battery_fraction is not None
            or (before is not None and before.compute_w != metrics.compute_w)  # configured anew
        ):
            self._deployer.figures_changed(name)

    def _on_links(self, topic: str, links: LinkMetrics | None) -> None:
        (name,) = LINK_METRICS.names(topic)
        self._registry.set_links(name, links)
        self._deployer.figures_changed(name)

    def _on_profile(self, topic: str, report: ProfileReport | None) -> None:
        name, model = PROFILE_REPORT.names(topic)
        changes = self._registry.set_profile(name, model, report)
        self._tell(changes)
        if changes:
            self._tell(self._speeds.profile_changed(name, model)[0])
            self._deployer.fleet_changed()

    def _on_timings(self, topic: str, timings: LiveTimings | None) -> None:
        name, model = LIVE_TIMINGS.names(topic)
        changes, notable = self._speeds.hear(name, model, timings)
        self._tell(changes)
        if notable:
            self._deployer.fleet_changed()

    def _on_observed(self, topic: str, observed: Observed | None) -> None:
        name, model = OBSERVED.names(topic)
        self._registry.set_observed(name, model, observed)
        self._rollouts.observe(name, model, observed)

    def _on_usage(self, _topic: str, usage: Usage | None) -> None:
        if usage is not None:
            added = self._registry.add_usage(usage)
            self._traffic.add(added)
            if self._handling.add(added):
                self._deployer.fleet_changed()

    def _on_noise(self, topic: str, report: NoiseReport | None) -> None:
        name, model = NOISE_REPORT.names(topic)
        self._guard.observe(name, model, report)

    def _on_findings(self, _topic: str, findings: NodeFindings | None) -> None:
        if findings is not None:
            self._inquiries.hear(findings)

    def _tell(self, changes: tuple[FleetChange, ...]) -> None:
        for change in changes:
            if not self._flood.allows(change.node, known=True):
                text = f"node {change.node} changes more than {EventFlood.MOST_OF_ONE} times a minute: the rest is not told"
                self._seldom.add(f"{change.node} changes", "events-dropped", text)
                continue
            self._events.add(
                change.kind, change.text, model=change.model, node=change.node, data=change.data, level=change.level
            )
