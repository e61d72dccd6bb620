"""A machine's power from an ACPI power meter (servers whose firmware offers one).

Owns: reading `acpi_power_meter`. Its rule: its average is as slow as the firmware says. Not here: batteries
(`reporting/collectors/power/battery_discharge.py`).

References:
    Linux kernel, Documentation/hwmon/acpi_power_meter.rst (uW, ms).
"""

from __future__ import annotations

from pathlib import Path

from edgesplit_agent.reporting.collectors.power.sensor import SensorTraits
from edgesplit_agent.reporting.collectors.sensor_errors import SensorUnavailable
from edgesplit_agent.reporting.collectors.sysfs import optional_text, read_number

__all__ = ["AcpiPower"]

LAG_S = 10.0
"""Typical averaging interval of firmware, taken where it does not say its own. [s]"""


class AcpiPower:
    """The average of the first ACPI power meter.

    Args:
        sysfs: The kernel's tree.
    """

    traits = SensorTraits("acpi", covers_sending=True, lag_s=LAG_S)

    def __init__(self, sysfs: Path = Path("/sys")) -> None:
        self._sysfs = sysfs

    def read(self) -> float | None:
        """Watts of the machine. [W]

        Raises:
            SensorUnavailable: No meter, or it cannot be read.
        """
        for folder in sorted(self._sysfs.glob("class/hwmon/hwmon*")):
            if optional_text(folder / "name") == "power_meter":
                # Older kernels keep the files with the ACPI device.
                own = folder / "power1_average"
                return read_number(own if own.exists() else folder / "device" / "power1_average") / 1e6
        raise SensorUnavailable(f"{self._sysfs / 'class' / 'hwmon'} holds no ACPI power meter")
