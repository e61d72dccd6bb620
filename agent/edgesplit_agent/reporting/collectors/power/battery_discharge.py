"""A machine's power from what its battery delivers.

Owns: reading the discharge. Its rule: only while discharging, for on mains the battery sees nothing of the machine.
Not here: how full it is (`collectors/battery_level.py`).
"""

from __future__ import annotations

from pathlib import Path

from edgesplit_agent.reporting.collectors.battery_level import batteries
from edgesplit_agent.reporting.collectors.power.sensor import SensorTraits
from edgesplit_agent.reporting.collectors.sensor_errors import SensorUnavailable
from edgesplit_agent.reporting.collectors.sysfs import optional_number, optional_text, read_number

__all__ = ["BatteryPower"]

LAG_S = 30.0
"""Fuel gauges average over seconds to half a minute. [s]"""


class BatteryPower:
    """What all discharging batteries deliver.

    Args:
        sysfs: The kernel's tree.
    """

    traits = SensorTraits("battery", covers_sending=True, lag_s=LAG_S)

    def __init__(self, sysfs: Path = Path("/sys")) -> None:
        self._sysfs = sysfs

    def read(self) -> float | None:
        """Watts of the machine. [W]

        Raises:
            SensorUnavailable: No battery, none discharges, or it does not say its power.
        """
        found = batteries(self._sysfs)
        if not found:
            raise SensorUnavailable(f"{self._sysfs / 'class' / 'power_supply'} holds no battery")
        discharging = [folder for folder in found if optional_text(folder / "status") == "Discharging"]
        if not discharging:
            raise SensorUnavailable("the battery is not discharging, so it does not show what the machine draws")
        return sum(_watts(folder) for folder in discharging)


def _watts(folder: Path) -> float:
    # Some drivers give what flows out as a negative number.
    power_uw = optional_number(folder / "power_now")
    if power_uw is not None:
        return abs(power_uw) / 1e6
    return abs(read_number(folder / "current_now")) * read_number(folder / "voltage_now") / 1e12
