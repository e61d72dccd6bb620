"""Board power from INA monitors on supply rails (NVIDIA Jetson and other boards).

Owns: finding rails in the kernel's tree and adding up their watts. Its rule: where a rail feeds the whole module, it
alone counts, for the others are part of it. Not here: which sensor is used (`reporting/collectors/power/selection.py`).

References:
    [1] Linux kernel, Documentation/hwmon/ina3221.rst, ina2xx.rst, sysfs-interface.rst (mV, mA, uW).
    [2] NVIDIA, Jetson Linux Developer Guide, "Power and Performance", rails of each module.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from edgesplit_agent.reporting.collectors.power.sensor import SensorTraits
from edgesplit_agent.reporting.collectors.sensor_errors import SensorUnavailable
from edgesplit_agent.reporting.collectors.sysfs import optional_number, optional_text, read_number

__all__ = ["RailsPower"]

INPUTS = ("VIN", "VDD_IN", "POM_5V_IN")
"""Labels of rails that feed a whole Jetson board or module, the larger first."""
UNUSED = ("NC", "")
INA3221_CHANNELS = 3
"""Above, the chip's files are shunt voltages and sums of channels."""


@dataclass(frozen=True)
class _Rail:
    """Its power is the product of the files' numbers over `per_watt`."""

    label: str
    files: tuple[Path, ...]
    per_watt: float

    def watts(self) -> float:
        return math.prod(read_number(path) for path in self.files) / self.per_watt


class RailsPower:
    """The sum of the rails of all INA monitors.

    Args:
        sysfs: The kernel's tree.
        rails: Labels of those to add up; empty: the module's input where there is one, else all.
    """

    traits = SensorTraits("rails")

    def __init__(self, sysfs: Path = Path("/sys"), rails: tuple[str, ...] = ()) -> None:
        self._sysfs = sysfs
        self._wanted = rails
        self._rails: tuple[_Rail, ...] = ()

    def read(self) -> float | None:
        """Watts now. [W]

        Raises:
            SensorUnavailable: No monitor, no such rail, or one that cannot be read.
        """
        rails, self._rails = self._rails or self._find(), ()
        watts = sum(rail.watts() for rail in rails)
        # Kept only once all could be read: numbers of monitors change when their driver is loaded anew.
        self._rails = rails
        return watts

    def _find(self) -> tuple[_Rail, ...]:
        rails = [*_hwmon_rails(self._sysfs), *_iio_rails(self._sysfs)]
        if not rails:
            raise SensorUnavailable(f"{self._sysfs / 'class' / 'hwmon'} holds no INA monitor with a rail in use")
        known = {rail.label for rail in rails}
        missing = [label for label in self._wanted if label not in known]
        if missing:
            raise SensorUnavailable(f"there is no rail {missing[0]!r}, only {', '.join(sorted(known))}")
        chosen = self._wanted or [label for label in INPUTS if label in known][:1] or known
        return tuple(rail for rail in rails if rail.label in chosen)


def _hwmon_rails(sysfs: Path) -> list[_Rail]:
    found: dict[Path, Path] = {}
    folders = (*sysfs.glob("class/hwmon/hwmon*"), *sysfs.glob("bus/i2c/devices/*/hwmon/hwmon*"))
    for folder in sorted(folders):
        # The class's entries are links to the same folders.
        found.setdefault(folder.resolve(), folder)
    return [rail for folder in found.values() for rail in _rails_of_chip(folder)]


def _rails_of_chip(folder: Path) -> list[_Rail]:
    chip = optional_text(folder / "name")
    if not chip.startswith("ina"):
        return []
    rails: list[_Rail] = []
    channels = sorted({_channel(path) for path in (*folder.glob("curr*_input"), *folder.glob("power*_input"))})
    for channel in channels:
        label = optional_text(folder / f"in{channel}_label") or optional_text(folder / f"power{channel}_label")
        is_sum = chip == "ina3221" and channel > INA3221_CHANNELS
        if is_sum or label == "NC" or optional_number(folder / f"in{channel}_enable") == 0:
            continue
        label = label or f"{chip}/{folder.name}/{channel}"
        power, current, voltage = (folder / f"{kind}{channel}_input" for kind in ("power", "curr", "in"))
        if power.exists():
            rails.append(_Rail(label, (power,), 1e6))
        elif voltage.exists():
            rails.append(_Rail(label, (current, voltage), 1e6))
    return rails


def _iio_rails(sysfs: Path) -> list[_Rail]:
    """Jetson's own driver before JetPack 5 [2]; its power is in mW."""
    rails: list[_Rail] = []
    for power in sorted(sysfs.glob("bus/i2c/drivers/ina3221x/*/iio:device*/in_power*_input")):
        label = optional_text(power.parent / f"rail_name_{_channel(power)}")
        if label not in UNUSED:
            rails.append(_Rail(label, (power,), 1e3))
    return rails


def _channel(path: Path) -> int:
    return int("".join(filter(str.isdecimal, path.name)) or 0)
