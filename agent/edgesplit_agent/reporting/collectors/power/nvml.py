"""Graphics processor power from NVIDIA's management library.

Owns: the calls into libnvidia-ml. Its rule: nothing is loaded before the first reading, and a driver that went away is
opened anew. Not here: the processor's own power (`reporting/collectors/power/rapl.py`, summed with this by `reporting/collectors/power/combined.py`).

References:
    NVIDIA, NVML API Reference Guide, "Device Queries".
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any

from edgesplit_agent.reporting.collectors.power.sensor import SHORTEST_S, SensorTraits
from edgesplit_agent.reporting.collectors.sensor_errors import SensorUnavailable

__all__ = ["NvmlPower", "load_nvml"]

NOT_SUPPORTED = 3
"""NVML_ERROR_NOT_SUPPORTED: processors before Volta have no energy counter."""


def load_nvml() -> Any:
    """The driver's library.

    Raises:
        OSError: It is not installed.
    """
    return ctypes.CDLL("libnvidia-ml.so.1")


class NvmlPower:
    """Draw of one graphics processor: its energy counter between two readings, or its power where it has none.

    Args:
        index: Number of the processor, as `nvidia-smi` shows it.
        load: Gives the library.
        clock: Monotonic. [s]
    """

    traits = SensorTraits("nvml")

    def __init__(
        self, index: int = 0, *, load: Callable[[], Any] = load_nvml, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._index = index
        self._load = load
        self._clock = clock
        self._library: Any = None
        self._device: ctypes.c_void_p | None = None
        self._before: tuple[float, int] | None = None

    def read(self) -> float | None:
        """Watts since the reading before. [W]

        Raises:
            SensorUnavailable: No library, no such processor, or the driver gave an error.
        """
        before, self._before = self._before, None
        device = self._device or self._open()
        energy_mj = ctypes.c_ulonglong()
        code = self._library.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(energy_mj))
        if code == NOT_SUPPORTED:
            return self._read_power(device)
        self._check(code, "energy")
        now_s, now_mj = self._clock(), energy_mj.value
        if before is not None and now_s - before[0] < SHORTEST_S:
            self._before = before
            return None
        self._before = now_s, now_mj
        # A counter that went back was reset together with the driver.
        if before is None or now_mj < before[1]:
            return None
        return (now_mj - before[1]) / 1e3 / (now_s - before[0])

    def _read_power(self, device: ctypes.c_void_p) -> float:
        power_mw = ctypes.c_uint()
        self._check(self._library.nvmlDeviceGetPowerUsage(device, ctypes.byref(power_mw)), "power")
        return power_mw.value / 1e3

    def _open(self) -> ctypes.c_void_p:
        if self._library is None:
            try:
                self._library = self._load()
            except OSError as error:
                raise SensorUnavailable(f"NVIDIA's management library cannot be loaded: {error}") from error
        self._check(self._library.nvmlInit_v2(), "start")
        device = ctypes.c_void_p()
        code = self._library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(self._index), ctypes.byref(device))
        self._check(code, f"processor {self._index}")
        self._device = device
        return device

    def _check(self, code: int, asked: str) -> None:
        if code == 0:
            return
        if self._device is not None:
            # Its handle may be stale; initializations are counted, so each needs its end.
            self._device = None
            self._library.nvmlShutdown()
        raise SensorUnavailable(f"NVIDIA's management library gave error {code} when asked for {asked}")
