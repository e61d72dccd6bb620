"""Processor power from the energy counters of the kernel's powercap tree (Intel RAPL, AMD since Zen).

Owns: the package counters. Its rule: packages only, for their parts (cores, graphics) and the platform domain that
contains them would count twice. Not here: idle draw and attribution (`reporting/collectors/power/meter.py`).

References:
    Linux kernel, Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from edgesplit_agent.reporting.collectors.power.sensor import SHORTEST_S, SensorTraits
from edgesplit_agent.reporting.collectors.sensor_errors import SensorUnavailable
from edgesplit_agent.reporting.collectors.sysfs import optional_text, read_number

__all__ = ["RaplPower"]


class RaplPower:
    """Mean draw of all processor packages between two readings.

    Args:
        sysfs: The kernel's tree.
        clock: Monotonic. [s]
    """

    traits = SensorTraits("rapl")

    def __init__(self, sysfs: Path = Path("/sys"), *, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = sysfs / "class" / "powercap"
        self._clock = clock
        self._before: tuple[float, dict[Path, int]] | None = None

    def read(self) -> float | None:
        """Watts since the reading before. [W]

        Raises:
            SensorUnavailable: No package, or a counter that cannot be read.
        """
        before, self._before = self._before, None
        counters_uj = {package: read_number(package / "energy_uj") for package in self._packages()}
        now_s = self._clock()
        if before is not None and now_s - before[0] < SHORTEST_S:
            self._before = before
            return None
        self._before = now_s, counters_uj
        if before is None or before[1].keys() != counters_uj.keys():
            return None
        spent_uj = sum(_spent_uj(package, before[1][package], now) for package, now in counters_uj.items())
        return spent_uj / 1e6 / (now_s - before[0])

    def _packages(self) -> list[Path]:
        # intel-rapl:0 is a package, intel-rapl:0:0 a part of it; AMD's driver uses the same names.
        zones = [path for path in sorted(self._root.glob("intel-rapl:*")) if path.name.count(":") == 1]
        packages = [zone for zone in zones if optional_text(zone / "name") != "psys"]
        if not packages:
            raise SensorUnavailable(f"{self._root} holds no processor package")
        return packages


def _spent_uj(package: Path, before_uj: int, now_uj: int) -> int:
    if now_uj >= before_uj:
        return now_uj - before_uj
    # The counter went around at its range.
    return now_uj - before_uj + read_number(package / "max_energy_range_uj")
