"""Battery charge and state of the machine.

Owns: finding batteries, how full they are, how much energy is left. Its rule: a mouse's battery is not the machine's;
what a battery does not say is None. Not here: what it delivers (`reporting/collectors/power/battery_discharge.py`).

References:
    Linux kernel, Documentation/power/power_supply_class.rst and ABI/testing/sysfs-class-power (uWh, uAh, uV, %).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgesplit_agent.reporting.collectors.sysfs import optional_number, optional_text

__all__ = ["BatteryCollector", "BatteryLevel", "batteries"]

JOULES_PER_WATT_HOUR = 3600.0
JOULES_PER_MICROWATT_HOUR = JOULES_PER_WATT_HOUR / 1e6
ON_MAINS = frozenset({"Charging", "Full", "Not charging"})


@dataclass(frozen=True)
class BatteryLevel:
    """What is in the batteries, together.

    Attributes:
        fraction: Of what they hold when full, 0 to 1.
        energy_j: What is left; None where no battery says it. [J]
        discharging: Whether one of them delivers; False on mains, None where none says.
    """

    fraction: float
    energy_j: float | None
    discharging: bool | None = None


class BatteryCollector:
    """Reads the batteries' level.

    Args:
        sysfs: The kernel's tree.
        capacity_wh: What they hold together when full, for gauges that say only how full they are; 0: not known. [Wh]
    """

    def __init__(self, sysfs: Path = Path("/sys"), capacity_wh: float = 0.0) -> None:
        self._sysfs = sysfs
        self._capacity_wh = capacity_wh

    def read(self) -> BatteryLevel | None:
        """The level, or None on a machine without a battery."""
        found = batteries(self._sysfs)
        discharging = _discharging(found)
        energies = [_energy_uwh(folder) for folder in found]
        known = [energy for energy in energies if energy is not None]
        if known and len(known) == len(found) and all(full > 0 for _, full in known):
            left, full = sum(left for left, _ in known), sum(full for _, full in known)
            return BatteryLevel(_share(left / full), left * JOULES_PER_MICROWATT_HOUR, discharging)
        percents = [percent for folder in found if (percent := optional_number(folder / "capacity")) is not None]
        if not percents:
            return None
        fraction = _share(sum(percents) / len(percents) / 100.0)
        left_j = fraction * self._capacity_wh * JOULES_PER_WATT_HOUR if self._capacity_wh > 0 else None
        return BatteryLevel(fraction, left_j, discharging)


def batteries(sysfs: Path) -> list[Path]:
    """Folders of the machine's batteries."""
    return [
        folder
        for folder in sorted(sysfs.glob("class/power_supply/*"))
        if optional_text(folder / "type") == "Battery"
        and optional_text(folder / "scope") != "Device"
        and optional_number(folder / "present") != 0
    ]


def _discharging(found: list[Path]) -> bool | None:
    states = {optional_text(folder / "status") for folder in found}
    if "Discharging" in states:
        return True
    return False if states & ON_MAINS else None


def _energy_uwh(folder: Path) -> tuple[float, float] | None:
    """Left and full; a battery that counts charge is taken at its nominal voltage. [uWh]"""
    left, full = optional_number(folder / "energy_now"), optional_number(folder / "energy_full")
    if left is not None and full is not None:
        return float(left), float(full)
    left, full = optional_number(folder / "charge_now"), optional_number(folder / "charge_full")
    voltage_uv = optional_number(folder / "voltage_min_design") or optional_number(folder / "voltage_now")
    if left is None or full is None or voltage_uv is None:
        return None
    return left * voltage_uv / 1e6, full * voltage_uv / 1e6


def _share(value: float) -> float:
    return min(max(value, 0.0), 1.0)
