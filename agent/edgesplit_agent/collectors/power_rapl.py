"""Processor power from the energy counters of the kernel's powercap tree (Intel RAPL, also on AMD).

Owns: reading the package counters and turning them into watts over idle. Its rule: watts of computing are what the
package draws above its idle draw, per unit of load; until both have been seen, the configured figure stands and says
so. Not here: which sensor is used (`power.py`).

References:
    Linux kernel, Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgesplit_agent.collectors.base import Power, SensorUnavailable

__all__ = ["RaplPower"]

POWERCAP = Path("/sys/class/powercap")
IDLE_LOAD = 0.1
BUSY_LOAD = 0.3
"""Below, the division by the load would blow noise up."""
SMOOTHING = 0.2


@dataclass(frozen=True)
class _Sample:
    at_s: float
    energy_uj: tuple[int, ...]


class RaplPower:
    """Reads package energy counters.

    Args:
        compute_w: Configured, used until busy and idle draw are known. [W]
        transmit_w: Configured; no counter tells the network's share. [W]
        root: The powercap tree.
        load: Share of the processor in use since the call before, 0 to 1.
        clock: Monotonic. [s]

    Raises:
        SensorUnavailable: No package counter can be read.
    """

    def __init__(
        self,
        compute_w: float,
        transmit_w: float,
        *,
        load: Callable[[], float],
        root: Path = POWERCAP,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configured_w = compute_w
        self._transmit_w = transmit_w
        self._load = load
        self._clock = clock
        self._packages = tuple(sorted(root.glob("intel-rapl:[0-9]*")))
        # Children such as intel-rapl:0:0 (cores) are part of their package and would count twice.
        self._packages = tuple(path for path in self._packages if path.name.count(":") == 1)
        if not self._packages:
            raise SensorUnavailable(f"{root} holds no intel-rapl package")
        self._ranges_uj = tuple(_read(path / "max_energy_range_uj") for path in self._packages)
        self._before = self._sample()
        self._idle_w: float | None = None
        self._compute_w: float | None = None

    def read(self) -> Power:
        """Watts of computing, over idle.

        Raises:
            SensorUnavailable: A counter cannot be read any more.
        """
        now, load = self._sample(), self._load()
        watts = self._watts(self._before, now)
        self._before = now
        if watts is not None:
            self._learn(watts, load)
        if self._compute_w is None:
            return Power(self._configured_w, self._transmit_w, "configured", "constant")
        return Power(self._compute_w, self._transmit_w, "measured", "rapl")

    def _learn(self, watts: float, load: float) -> None:
        if load <= IDLE_LOAD:
            self._idle_w = watts if self._idle_w is None else min(watts, self._idle_w)
        elif load >= BUSY_LOAD and self._idle_w is not None:
            over_idle_w = max(watts - self._idle_w, 0.0) / load
            before_w = over_idle_w if self._compute_w is None else self._compute_w
            self._compute_w = before_w + SMOOTHING * (over_idle_w - before_w)

    def _watts(self, before: _Sample, now: _Sample) -> float | None:
        seconds = now.at_s - before.at_s
        if seconds <= 0:
            return None
        # The counters wrap around at their range.
        spent_uj = [
            (new - old) % span for old, new, span in zip(before.energy_uj, now.energy_uj, self._ranges_uj, strict=True)
        ]
        return sum(spent_uj) / 1e6 / seconds

    def _sample(self) -> _Sample:
        return _Sample(self._clock(), tuple(_read(path / "energy_uj") for path in self._packages))


def _read(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise SensorUnavailable(f"{path} cannot be read: {error}") from error
