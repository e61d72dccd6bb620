"""What a node says of its power and battery."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import msgspec

from edgesplit.control.figure_messages import NodeMetrics, Usage
from edgesplit.mqtt.bus import MessageBus
from edgesplit.mqtt.topic import Topic
from edgesplit_agent.compute.background_work import BackgroundWork
from edgesplit_agent.configuration import PowerSection
from edgesplit_agent.profiling.live_timings import TimingBook
from edgesplit_agent.reporting.collectors.battery_level import BatteryCollector
from edgesplit_agent.reporting.collectors.power.selection import select_power
from edgesplit_agent.reporting.reporter import Reporter
from edgesplit_agent.reporting.usage import UsageBook
from tests.agent.collectors.trees import LAPTOP_BATTERY, write


class Bus:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.metrics: asyncio.Queue[NodeMetrics] = asyncio.Queue()

    def publish(self, _topic: Topic[NodeMetrics], message: msgspec.Struct, *_names: str) -> None:
        """Keep it."""
        assert isinstance(message, NodeMetrics)
        self.metrics.put_nowait(message)


async def first_metrics(sysfs: Path) -> NodeMetrics:
    """What a node with this tree says first."""
    bus = Bus()
    power = select_power(PowerSection(sysfs=str(sysfs), compute_w=3.0, transmit_w=2.0))
    reporter = Reporter(
        node="n",
        instance="i",
        bus=cast("MessageBus", bus),
        power=power,
        battery=BatteryCollector(sysfs),
        usage=UsageBook("n", power.sample()),
        timings=TimingBook("n", "i", BackgroundWork()),
        links=tuple,
    )
    task = asyncio.create_task(reporter.report_metrics())
    try:
        return await asyncio.wait_for(bus.metrics.get(), 10.0)
    finally:
        task.cancel()


async def test_draw_and_battery_are_said_where_there_are_sensors(tmp_path: Path) -> None:
    metrics = await first_metrics(write(tmp_path, LAPTOP_BATTERY))
    assert (metrics.compute_w, metrics.transmit_w, metrics.power_origin) == (3.0, 2.0, "configured")
    assert (metrics.drawn_w, metrics.battery_fraction, metrics.battery_energy_j) == (7.5, 0.5, 90_000.0)


async def test_a_machine_without_sensors_says_so(tmp_path: Path) -> None:
    metrics = await first_metrics(tmp_path)
    assert (metrics.power_sensor, metrics.drawn_w, metrics.idle_w) == ("constant", None, None)
    assert (metrics.battery_fraction, metrics.battery_energy_j) == (None, None)


def test_messages_of_agents_without_these_figures_are_understood() -> None:
    old = (
        b'{"node":"n","model":"m","epoch":1,"requests":1,"failed":0,"compute_s":1.0,"transmit_s":0.0,'
        b'"energy_j":3.0,"energy_origin":"measured"}'
    )
    usage = msgspec.json.decode(old, type=Usage)
    assert (usage.energy_j, usage.compute_energy_j, usage.compute_energy_origin) == (3.0, 0.0, "configured")
