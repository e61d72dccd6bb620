"""Which power sensor is used.

Owns: the sensors by name, and the order in which `auto` tries them. Its rule: a wrong name is refused, a sensor that
cannot be read now is not: the configured watts stand in and it is tried again with every reading. Not here: reading
(`power_*.py`), what readings mean (`reporting/collectors/power/meter.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
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
from edgesplit_agent.reporting.collectors.power.sensor import Power, PowerSensor, SensorForbidden, SensorUnavailable
from edgesplit_agent.reporting.collectors.power.smart_plug import PlugPower

__all__ = ["SENSORS", "automatic_order", "select_power"]

Builder = Callable[[PowerSection, BrokerAddress | None], PowerSensor]


def _plug(section: PowerSection, broker: BrokerAddress | None) -> PlugPower:
    own = broker if broker is not None and not section.plug_broker else BrokerAddress.parse(section.plug_broker)
    return PlugPower(own, section.plug_topic, section.plug_key, max_age_s=section.plug_max_age_s)


SENSORS: Mapping[str, Builder] = {
    "plug": _plug,
    "rails": lambda section, _: RailsPower(Path(section.sysfs), section.rails),
    "rapl": lambda section, _: RaplPower(Path(section.sysfs)),
    "nvml": lambda section, _: NvmlPower(section.gpu),
    "acpi": lambda section, _: AcpiPower(Path(section.sysfs)),
    "battery": lambda section, _: BatteryPower(Path(section.sysfs)),
    "load": lambda section, _: LoadPower(section.idle_w, section.busy_w),
}
"""How each sensor is made from the configuration and the agent's own broker."""


def automatic_order(section: PowerSection, *, graphics: bool) -> tuple[str, ...]:
    """Names `auto` tries, the first that can be read is taken.

    What the user has set up comes first, then what is quick and near the computing, then what is slow; a model comes
    after every sensor.

    Args:
        section: Decides whether a plug or a model of the load can be used at all.
        graphics: Whether components may run on an NVIDIA graphics processor.
    """
    return (
        *(("plug",) if section.plug_topic else ()),
        "rails",
        *(("rapl+nvml", "nvml") if graphics else ()),
        "rapl",
        "acpi",
        "battery",
        *(("load",) if section.busy_w > 0 else ()),
    )


def select_power(
    section: PowerSection,
    *,
    broker: BrokerAddress | None = None,
    threads: int = 1,
    graphics: bool = False,
    busy: BusyClock | None = None,
    sensors: Mapping[str, Builder] = SENSORS,
) -> PowerMeter:
    """The meter a configuration asks for.

    Args:
        section: The configuration.
        broker: The agent's own, where the plug has no other.
        threads: Of a component, for the model of the load before it has seen one run.
        graphics: As in `automatic_order`.
        busy: When the node computes.
        sensors: How sensors are made.

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
    source: str, section: PowerSection, broker: BrokerAddress | None, sensors: Mapping[str, Builder]
) -> PowerSensor:
    names = source.split("+")
    unknown = [name for name in names if name not in sensors]
    if unknown:
        known = ", ".join(("auto", "constant", *sensors))
        raise InvalidConfiguration(
            f"[power] source {source!r} is not known: use one of {known}, or several of them such as rapl+nvml"
        )
    built = [sensors[name](section, broker) for name in names]
    return built[0] if len(built) == 1 else SummedPower(built)
