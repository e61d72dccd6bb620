"""The figures a node reports regularly: metrics, links, usage, timings.

Owns: how often and when changed enough. Its rule: every number says where it comes from. Not here: measuring
(`collectors/`, the data plane's links, `usage.py`, `profiling/live_timings.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from edgesplit import topics
from edgesplit.bus import MessageBus
from edgesplit.messages import LinkMetrics, LinkState, NodeMetrics
from edgesplit.profiles import LiveTimings
from edgesplit_agent.collectors.base import Power
from edgesplit_agent.collectors.battery import BatteryCollector
from edgesplit_agent.collectors.memory import MemoryCollector
from edgesplit_agent.collectors.power_meter import PowerMeter
from edgesplit_agent.collectors.processor import ProcessorCollector
from edgesplit_agent.profiling.live_timings import TimingBook
from edgesplit_agent.usage import UsageBook

__all__ = ["Reporter", "links_differ"]

POWER_EVERY_S = 1.0
METRICS_EVERY_S = 2.0
LINKS_EVERY_S = 1.0
LINKS_AT_LEAST_EVERY_S = 5.0
USAGE_EVERY_S = 1.0
TIMINGS_EVERY_S = 1.0
NOTABLE = 0.05
"""Relative change of a link's figures that is said at once."""


class Reporter:
    """Publishes a node's figures.

    Args:
        power: Read once a second.
        battery: Read with the metrics.
        links: The data plane's estimates, asked for each time.
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
    ) -> None:
        self._node = node
        self._instance = instance
        self._bus = bus
        self.power = power
        self._usage = usage
        self._timings = timings
        self._links = links
        self._processor = ProcessorCollector()
        self._memory = MemoryCollector()
        self.battery = battery

    async def report_metrics(self) -> None:
        """Compute and power figures, for ever."""
        said_at_s = float("-inf")
        while True:
            # In a thread: some sensors' drivers take their time to answer.
            power = await asyncio.to_thread(self.power.sample, self._usage.take_sent_s())
            self._usage.set_power(power)
            now_s = time.monotonic()
            if now_s - said_at_s >= METRICS_EVERY_S - POWER_EVERY_S / 2:
                said_at_s = now_s
                self._bus.publish_state(topics.metrics(self._node), await self._metrics(power))
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
            drawn_w=power.drawn_w,
            battery_fraction=battery.fraction if battery is not None else None,
            battery_energy_j=battery.energy_j if battery is not None else None,
            battery_discharging=battery.discharging if battery is not None else None,
        )

    async def report_links(self) -> None:
        """Link figures, for ever: at once where they changed notably, else now and then."""
        said: tuple[LinkState, ...] = ()
        said_at_s = float("-inf")
        while True:
            links = self._links()
            now_s = time.monotonic()
            if links_differ(said, links) or (links and now_s - said_at_s >= LINKS_AT_LEAST_EVERY_S):
                said, said_at_s = links, now_s
                message = LinkMetrics(node=self._node, instance=self._instance, links=links)
                self._bus.publish_state(topics.links(self._node), message)
            await asyncio.sleep(LINKS_EVERY_S)

    async def report_usage(self) -> None:
        """Counters that changed, for ever."""
        while True:
            if self._bus.connected:
                for usage in self._usage.take_changed():
                    self._bus.send(topics.usage(self._node, usage.model), usage)
            await asyncio.sleep(USAGE_EVERY_S)

    async def report_timings(self, say: Callable[[LiveTimings], None]) -> None:
        """What runs took lately, where it changed, for ever."""
        while True:
            for timings in self._timings.take_changed():
                say(timings)
            await asyncio.sleep(TIMINGS_EVERY_S)


def links_differ(before: tuple[LinkState, ...], now: tuple[LinkState, ...]) -> bool:
    """Whether a link came, went, or changed by more than a few percent."""
    if [(link.to, link.up) for link in before] != [(link.to, link.up) for link in now]:
        return True
    return any(
        _changed(old.bandwidth_bytes_per_s, new.bandwidth_bytes_per_s) or _changed(old.latency_s, new.latency_s, 1e-4)
        for old, new in zip(before, now, strict=True)
    )


def _changed(before: float, now: float, floor: float = 0.0) -> bool:
    return abs(now - before) > max(NOTABLE * abs(before), floor)
