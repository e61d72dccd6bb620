"""Which figures of a node a battery floor stands on."""

from __future__ import annotations

import time

import pytest

from edgesplit.control.figure_messages import NODE_METRICS, NodeMetrics
from edgesplit.planning.goals import Goals
from edgesplit.planning.origins import Origin
from edgesplit_controller.configuration import Thresholds
from edgesplit_controller.deciding.battery_floors import BatteryFloors
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.fleet.traffic import Traffic


@pytest.mark.parametrize(
    ("power_origin", "idle_origin", "counted_w"),
    [
        ("measured", "measured", 3.0),
        ("configured", "measured", 3.0),  # nothing was computed yet
        ("modelled", "modelled", None),
        ("measured", None, 3.0),  # an agent that does not say
        ("modelled", None, None),
    ],
)
def test_a_draw_at_rest_is_taken_off_only_where_a_sensor_measured_it(
    power_origin: Origin, idle_origin: Origin | None, counted_w: float | None
) -> None:
    registry = Registry()
    metrics = NodeMetrics(
        node="device", instance="i", at_unix_s=0.0, cpu_percent=0.0, memory_available_bytes=1, compute_w=9.0,
        transmit_w=1.0, power_origin=power_origin, idle_w=3.0, idle_origin=idle_origin, battery_fraction=0.5,
        battery_energy_j=90_000.0,
    )  # fmt: skip
    registry.keep(NODE_METRICS, NODE_METRICS.of("device"), metrics)
    traffic, events = Traffic(time.monotonic), EventLog(None, lambda _event: None)
    floors = BatteryFloors(registry, traffic, events, Thresholds(), time.monotonic)
    allowance = floors.allowance("m", "device", Goals(min_battery=0.2))
    assert allowance is not None
    assert allowance.idle_w == counted_w
