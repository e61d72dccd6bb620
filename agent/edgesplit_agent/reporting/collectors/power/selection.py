"""Selection of the power sensor: the table of sensors, and the order in which `auto` tries them.

Owns: `SENSORS`, where a new sensor is registered, once. Its rule: a wrong name is refused, a sensor that cannot be read
now is not: the configured watts stand in and it is tried again with every reading. Not here: reading (one file a
sensor), what readings mean (`meter.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from edgesplit.errors import InvalidConfiguration
from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit_agent.configuration import PowerSection
from edgesplit_agent.reporting.collectors.busy_clock import BusyClock
from edgesplit_agent.reporting.collectors.power.acpi import AcpiPower
from edgesplit_agent.reporting.collectors.power.battery_discharge import BatteryPower
from edgesplit_agent.reporting.collectors.power.combined import SummedPower
from edgesplit_agent.reporting.collectors.power.load import LoadPower
from edgesplit_agent.reporting.collectors.power.meter import PowerMeter
from edgesplit_agent.reporting.collectors.power.nvml import NvmlPower
from edgesplit_agent.reporting.collectors.power.rails import RailsPower
from edgesplit_agent.reporting.collectors.power.rapl import RaplPower
from edgesplit_agent.reporting.collectors.power.sensor import Power, PowerSensor
from edgesplit_agent.reporting.collectors.power.smart_plug import PlugPower
from edgesplit_agent.reporting.collectors.sensor_errors import SensorForbidden, SensorUnavailable

__all__ = ["SENSORS", "SensorKind", "automatic_order", "select_power"]

Builder = Callable[[PowerSection, BrokerAddress | None], PowerSensor]


@dataclass(frozen=True)
class SensorKind:
    """One row of the table.

    Attributes:
        build: Makes the sensor from the configuration and the agent's own broker.
        automatic: Names that `auto` tries in this place, from the configuration and whether components may run on an
            NVIDIA graphics processor: its own, sums with others, or none.
    """

    build: Builder
    automatic: Callable[[PowerSection, bool], tuple[str, ...]]


def _plug(section: PowerSection, broker: BrokerAddress | None) -> PlugPower:
    own = broker if broker is not None and not section.plug_broker else BrokerAddress.parse(section.plug_broker)
    return PlugPower(own, section.plug_topic, section.plug_key, max_age_s=section.plug_max_age_s)


SENSORS: Mapping[str, SensorKind] = {
    "plug": SensorKind(_plug, lambda section, _: ("plug",) if section.plug_topic else ()),
    "rails": SensorKind(
        lambda section, _: RailsPower(Path(section.sysfs), section.rails), lambda _section, _graphics: ("rails",)
    ),
    "rapl": SensorKind(
        lambda section, _: RaplPower(Path(section.sysfs)),
        lambda _, graphics: ("rapl+nvml", "nvml", "rapl") if graphics else ("rapl",),
    ),
    "nvml": SensorKind(
        lambda section, _: NvmlPower(section.gpu), lambda _section, _graphics: ()
    ),  # tried with rapl, see there
    "acpi": SensorKind(lambda section, _: AcpiPower(Path(section.sysfs)), lambda _section, _graphics: ("acpi",)),
    "battery": SensorKind(
        lambda section, _: BatteryPower(Path(section.sysfs)), lambda _section, _graphics: ("battery",)
    ),
    "load": SensorKind(
        lambda section, _: LoadPower(section.idle_w, section.busy_w),
        lambda section, _: ("load",) if section.busy_w > 0 else (),
    ),
}
"""Every sensor by its name in `[power] source`, in the order of `auto`: what the user has set up comes first, then what
is quick and near the computing, then what is slow; a model comes after every sensor."""


def automatic_order(section: PowerSection, *, graphics: bool) -> tuple[str, ...]:
    """Names `auto` tries, the first that can be read is taken.

    Args:
        section: Decides whether a plug or a model of the load can be used at all.
        graphics: Whether components may run on an NVIDIA graphics processor.
    """
    return tuple(name for kind in SENSORS.values() for name in kind.automatic(section, graphics))


def select_power(
    section: PowerSection,
    *,
    broker: BrokerAddress | None = None,
    threads: int = 1,
    graphics: bool = False,
    busy: BusyClock | None = None,
    sensors: Mapping[str, SensorKind] = SENSORS,
) -> PowerMeter:
    """The meter a configuration asks for.

    Args:
        section: The configuration.
        broker: The agent's own, where the plug has no other.
        threads: Of a component, for the model of the load before it has seen one run.
        graphics: As in `automatic_order`.
        busy: When the node computes.
        sensors: The table.

    Raises:
        InvalidConfiguration: No such sensor.
    """
    configured = Power(section.compute_w, section.transmit_w, "configured", "constant")
    modelled_w = (section.busy_w - section.idle_w) * min(threads / (os.cpu_count() or 1), 1.0)
    modelled = Power(modelled_w, section.transmit_w, "modelled", "load")

    def meter(sensor: PowerSensor | None, problem: str = "") -> PowerMeter:
        is_model = sensor is not None and sensor.traits.origin == "modelled"
        return PowerMeter(sensor, configured, assumed=modelled if is_model else None, busy=busy, problem=problem)

    if section.source == "constant":
        return meter(None)
    if section.source != "auto":
        return meter(_build(section.source, section, broker, sensors))
    log = structlog.get_logger(part="power")
    forbidden: list[str] = []
    for name in automatic_order(section, graphics=graphics):
        sensor = _build(name, section, broker, sensors)
        try:
            sensor.read()
        except SensorUnavailable as error:
            log.info("sensor-not-used", sensor=name, text=str(error))
            if isinstance(error, SensorForbidden):
                forbidden.append(str(error))
        else:
            log.info("sensor-used", sensor=name)
            return meter(sensor)
    text = "no power sensor can be read, watts are the configured ones"
    if forbidden:
        # The one reason that somebody can do something about.
        text = f"{text}: {'; '.join(dict.fromkeys(forbidden))}"
    (log.warning if forbidden else log.info)("sensor-used", sensor="constant", text=text)
    return meter(None, text)


def _build(
    source: str, section: PowerSection, broker: BrokerAddress | None, sensors: Mapping[str, SensorKind]
) -> PowerSensor:
    names = source.split("+")
    unknown = [name for name in names if name not in sensors]
    if unknown:
        known = ", ".join(("auto", "constant", *sensors))
        raise InvalidConfiguration(
            f"[power] source {source!r} is not known: use one of {known}, or several of them such as rapl+nvml"
        )
    built = [sensors[name].build(section, broker) for name in names]
    return built[0] if len(built) == 1 else SummedPower(built)
