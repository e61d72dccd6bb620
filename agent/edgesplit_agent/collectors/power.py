"""Which power sensor is used.

Owns: the choice, and falling back to configured watts. Its rule: the agent always has watts, and they say what they
are. Not here: reading (`power_*.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import psutil
import structlog

from edgesplit.errors import InvalidConfiguration
from edgesplit_agent.collectors.base import Power, PowerCollector, SensorUnavailable
from edgesplit_agent.collectors.power_constant import ConstantPower
from edgesplit_agent.collectors.power_rapl import RaplPower
from edgesplit_agent.configuration import PowerSection

__all__ = ["PowerReader", "select_power"]


def _load() -> Callable[[], float]:
    """Share of the processor in use since the call before; psutil's own memory belongs to the metrics."""
    before = psutil.cpu_times()

    def read() -> float:
        nonlocal before
        now = psutil.cpu_times()
        total = sum(now) - sum(before)
        idle = (now.idle + getattr(now, "iowait", 0.0)) - (before.idle + getattr(before, "iowait", 0.0))
        before = now
        return min(max(1.0 - idle / total, 0.0), 1.0) if total > 0 else 0.0

    return read


SENSORS: dict[str, Callable[[PowerSection], PowerCollector]] = {
    "rapl": lambda section: RaplPower(section.compute_w, section.transmit_w, load=_load()),
}
"""Sensors by name, in the order `auto` tries them."""


class PowerReader:
    """A sensor with configured watts behind it.

    Args:
        sensor: The chosen one.
        fallback: Used when the sensor fails.
    """

    def __init__(self, sensor: PowerCollector, fallback: ConstantPower) -> None:
        self._sensor = sensor
        self._fallback = fallback
        self._failing = False
        self._log = structlog.get_logger(part="power")

    def read(self) -> Power:
        """Watts, whatever happens."""
        try:
            power = self._sensor.read()
        except SensorUnavailable as error:
            if not self._failing:
                self._log.warning("sensor-failed", error=str(error), used="configured watts")
            self._failing = True
            return self._fallback.read()
        self._failing = False
        return power


def select_power(section: PowerSection) -> PowerReader:
    """The sensor a configuration asks for.

    Raises:
        InvalidConfiguration: No such sensor, or the named one cannot be read.
    """
    constant = ConstantPower(section.compute_w, section.transmit_w)
    if section.source == "constant":
        return PowerReader(constant, constant)
    if section.source != "auto" and section.source not in SENSORS:
        known = ", ".join(("auto", "constant", *SENSORS))
        raise InvalidConfiguration(f"[power] source {section.source!r} is not known: use one of {known}")
    for name, build in SENSORS.items():
        if section.source not in {"auto", name}:
            continue
        try:
            return PowerReader(build(section), constant)
        except SensorUnavailable as error:
            if section.source == name:
                raise InvalidConfiguration(f"[power] source {name!r} cannot be used here: {error}") from error
            structlog.get_logger(part="power").info("sensor-unavailable", sensor=name, reason=str(error))
    return PowerReader(constant, constant)
