"""Sum of several power sensors of different parts.

Owns: the sum. Its rule: all parts or nothing, for a part left out would look like less power. Not here: which sensors
belong together (`reporting/collectors/power/selection.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from edgesplit_agent.reporting.collectors.power.sensor import PowerSensor, SensorTraits, close_sensor
from edgesplit_agent.reporting.collectors.sensor_errors import SensorUnavailable

__all__ = ["SummedPower"]


class SummedPower:
    """The sum of sensors, such as a processor's and a graphics processor's.

    Args:
        sensors: Of parts that do not contain each other.
    """

    def __init__(self, sensors: Sequence[PowerSensor]) -> None:
        self._sensors = tuple(sensors)
        traits = [sensor.traits for sensor in self._sensors]
        self.traits = SensorTraits(
            name="+".join(trait.name for trait in traits),
            origin="modelled" if any(trait.origin == "modelled" for trait in traits) else "measured",
            covers_sending=any(trait.covers_sending for trait in traits),
            lag_s=max(trait.lag_s for trait in traits),
        )

    def read(self) -> float | None:
        """Watts of all together. [W]

        Raises:
            SensorUnavailable: One of them cannot be read.
        """
        # All are read even after one failed, so that every counter starts over with the same reading.
        readings: list[float | None] = []
        failure: SensorUnavailable | None = None
        for sensor in self._sensors:
            try:
                readings.append(sensor.read())
            except SensorUnavailable as error:
                failure = failure or error
        if failure is not None:
            raise failure
        known = [watts for watts in readings if watts is not None]
        return sum(known) if len(known) == len(readings) else None

    def close(self) -> None:
        """End what they hold open."""
        for sensor in self._sensors:
            close_sensor(sensor)
