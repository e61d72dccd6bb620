"""The figures a node reports regularly: metrics, links, usage, timings.

Owns: how often and when changed enough: at once where somebody would plan otherwise, else a sign of life now and then.
Its rule: every number says where it comes from; what only scatters is no news. Not here: measuring
(`collectors/`, the data plane's links, `reporting/usage.py`, `profiling/live_timings.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from edgesplit.control.figure_messages import (
    LINK_METRICS,
    NODE_METRICS,
    USAGE,
    LinkMetrics,
    LinkState,
    NodeMetrics,
    Steadiness,
    UnreachedPeer,
)
from edgesplit.control.profile_messages import LiveTimings
from edgesplit.mqtt.bus import MessageBus
from edgesplit.significance import (
    BATTERY_REPORTED_CHANGE,
    BUSY_REPORTED_PERCENT,
    LATENCY_REPORTED_FLOOR_S,
    MEMORY_REPORTED_CHANGE,
    REPORTED_CHANGE,
    REPORTED_SCATTER_SHARE,
    differs,
)
from edgesplit_agent.profiling.live_timings import TimingBook
from edgesplit_agent.reporting.collectors.battery_level import BatteryCollector
from edgesplit_agent.reporting.collectors.memory import MemoryCollector
from edgesplit_agent.reporting.collectors.power.meter import PowerMeter
from edgesplit_agent.reporting.collectors.power.sensor import Power
from edgesplit_agent.reporting.collectors.processor import ProcessorCollector
from edgesplit_agent.reporting.usage import UsageBook

__all__ = ["Reporter", "links_differ", "metrics_differ", "regime_differs"]

POWER_EVERY_S = 1.0
METRICS_EVERY_S = 2.0
LINKS_EVERY_S = 1.0
AT_LEAST_EVERY_S = 10.0
"""Figures that did not change are said again so often. [s]"""
USAGE_EVERY_S = 1.0
TIMINGS_EVERY_S = 1.0


class Reporter:
    """Publishes a node's figures.

    Args:
        power: Read once a second.
        battery: Read with the metrics.
        links: The data plane's estimates, asked for each time.
        unreached: The peers it has no connection to, and why.
        keep_links: Takes what is said of links, for the next start.
        steadiness: How steady the machine is, as known now.
    """

    def __init__(
        self,
        *,
        node: str,
        instance: str,
        bus: MessageBus,
        power: PowerMeter,
        battery: BatteryCollector,
        usage: UsageBook,
        timings: TimingBook,
        links: Callable[[], tuple[LinkState, ...]],
        unreached: Callable[[], tuple[UnreachedPeer, ...]] = tuple,
        keep_links: Callable[[tuple[LinkState, ...]], None] = lambda _: None,
        steadiness: Callable[[], Steadiness | None] = lambda: None,
    ) -> None:
        self._node = node
        self._instance = instance
        self._bus = bus
        self.power = power
        self._usage = usage
        self._timings = timings
        self._links, self._unreached, self._keep_links = links, unreached, keep_links
        self._steadiness = steadiness
        self._processor = ProcessorCollector()
        self._memory = MemoryCollector()
        self.battery = battery

    async def report_metrics(self) -> None:
        """Compute and power figures, for ever."""
        said_at_s = float("-inf")
        said: NodeMetrics | None = None
        while True:
            # In a thread: some sensors' drivers take their time to answer.
            power = await asyncio.to_thread(self.power.sample, self._usage.take_sent_s())
            self._usage.set_power(power)
            now_s = time.monotonic()
            if now_s - said_at_s >= METRICS_EVERY_S - POWER_EVERY_S / 2:
                metrics = await self._metrics(power)
                if said is None or metrics_differ(said, metrics) or now_s - said_at_s >= AT_LEAST_EVERY_S:
                    said, said_at_s = metrics, now_s
                    self._bus.publish(NODE_METRICS, metrics, self._node)
            await asyncio.sleep(POWER_EVERY_S)

    async def _metrics(self, power: Power) -> NodeMetrics:
        battery = await asyncio.to_thread(self.battery.read)
        return NodeMetrics(
            node=self._node,
            instance=self._instance,
            at_unix_s=time.time(),
            cpu_percent=self._processor.read(),
            memory_available_bytes=self._memory.read(),
            compute_w=power.compute_w,
            transmit_w=power.transmit_w,
            power_origin=power.origin,
            power_sensor=power.sensor,
            power_problem=self.power.problem,
            idle_w=power.idle_w,
            idle_origin=power.idle_origin,
            drawn_w=power.drawn_w,
            battery_fraction=battery.fraction if battery is not None else None,
            battery_energy_j=battery.energy_j if battery is not None else None,
            battery_discharging=battery.discharging if battery is not None else None,
            steadiness=self._steadiness(),
        )

    async def report_links(self) -> None:
        """Link figures, for ever: at once where they changed notably, else now and then."""
        said: tuple[LinkState, ...] = ()
        missed: tuple[UnreachedPeer, ...] = ()
        said_at_s = float("-inf")
        while True:
            links, unreached = self._links(), self._unreached()
            self._keep_links(links)
            now_s = time.monotonic()
            if unreached != missed or links_differ(said, links) or (links and now_s - said_at_s >= AT_LEAST_EVERY_S):
                said, missed, said_at_s = links, unreached, now_s
                message = LinkMetrics(node=self._node, instance=self._instance, links=links, unreached=unreached)
                self._bus.publish(LINK_METRICS, message, self._node)
            await asyncio.sleep(LINKS_EVERY_S)

    async def report_usage(self) -> None:
        """Counters that changed, for ever."""
        while True:
            if self._bus.connected:
                for usage in self._usage.take_changed():
                    self._bus.publish(USAGE, usage, self._node, usage.model)
            await asyncio.sleep(USAGE_EVERY_S)

    async def report_timings(self, say: Callable[[LiveTimings], None]) -> None:
        """What runs took lately, where it changed, for ever."""
        while True:
            for timings in self._timings.take_changed():
                say(timings)
            await asyncio.sleep(TIMINGS_EVERY_S)


def metrics_differ(before: NodeMetrics, now: NodeMetrics) -> bool:
    """Whether figures changed so much that somebody would want to know at once."""
    if (before.power_origin, before.power_sensor, before.power_problem, before.battery_discharging) != (
        now.power_origin,
        now.power_sensor,
        now.power_problem,
        now.battery_discharging,
    ):
        return True
    return (
        differs(before.compute_w, now.compute_w, REPORTED_CHANGE)
        or differs(before.transmit_w, now.transmit_w, REPORTED_CHANGE)
        or _appeared(before.drawn_w, now.drawn_w, REPORTED_CHANGE)
        or _appeared(before.idle_w, now.idle_w, REPORTED_CHANGE)
        or _appeared(before.battery_fraction, now.battery_fraction, 0.0, BATTERY_REPORTED_CHANGE)
        or abs(now.cpu_percent - before.cpu_percent) > BUSY_REPORTED_PERCENT
        or differs(before.memory_available_bytes, now.memory_available_bytes, MEMORY_REPORTED_CHANGE)
        or regime_differs(before.steadiness, now.steadiness)
    )


def regime_differs(before: Steadiness | None, now: Steadiness | None) -> bool:
    """Whether a machine became restless or steady; spreads of minutes need not be said within seconds."""
    return (before.regime if before is not None else None) != (now.regime if now is not None else None)


def links_differ(before: tuple[LinkState, ...], now: tuple[LinkState, ...]) -> bool:
    """Whether a link came, went, or changed by more than a few percent that its scatter does not explain."""
    if [(link.to, link.up) for link in before] != [(link.to, link.up) for link in now]:
        return True
    return any(
        differs(
            old.bandwidth_bytes_per_s,
            new.bandwidth_bytes_per_s,
            max(REPORTED_CHANGE, REPORTED_SCATTER_SHARE * max(old.scatter, new.scatter)),
        )
        or differs(old.latency_s, new.latency_s, REPORTED_CHANGE, LATENCY_REPORTED_FLOOR_S)
        for old, new in zip(before, now, strict=True)
    )


def _appeared(before: float | None, now: float | None, share: float, floor: float = 0.0) -> bool:
    """Whether a figure that not every node has came, went or changed."""
    if before is None or now is None:
        return (before is None) != (now is None)
    return differs(before, now, share, floor)
