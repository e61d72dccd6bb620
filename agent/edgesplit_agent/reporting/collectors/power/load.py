"""A machine's power modelled from the load of its processor, where only idle and busy watts are known.

Owns: the linear model. Its rule: what it gives is `modelled`. Not here: measuring (the other `power_*.py`).

References:
    [1] X. Fan, W.-D. Weber, L. A. Barroso, "Power provisioning for a warehouse-sized computer", ISCA 2007: power is
        close to linear in processor utilization between idle and busy.
"""

from __future__ import annotations

from collections.abc import Callable

import psutil

from edgesplit_agent.reporting.collectors.power.sensor import SensorTraits

__all__ = ["LoadPower", "processor_load"]


def processor_load() -> Callable[[], float]:
    """A function giving the share of all cores in use since its call before, 0 to 1."""
    before = psutil.cpu_times()

    def read() -> float:
        # Not psutil.cpu_percent: its memory of the last call belongs to the node's metrics.
        nonlocal before
        now = psutil.cpu_times()
        total_s = sum(now) - sum(before)
        idle_s = (now.idle + getattr(now, "iowait", 0.0)) - (before.idle + getattr(before, "iowait", 0.0))
        before = now
        return min(max(1.0 - idle_s / total_s, 0.0), 1.0) if total_s > 0 else 0.0

    return read


class LoadPower:
    """P = idle + (busy - idle) x load [1].

    Args:
        idle_w: Drawn with no core in use. [W]
        busy_w: Drawn with all cores in use. [W]
        load: Share of all cores in use since the call before, 0 to 1.
    """

    traits = SensorTraits("load", origin="modelled")

    def __init__(self, idle_w: float, busy_w: float, load: Callable[[], float] | None = None) -> None:
        self._idle_w = idle_w
        self._busy_w = busy_w
        self._load = load or processor_load()

    def read(self) -> float | None:
        """Watts since the reading before, as the model has them. [W]"""
        return self._idle_w + (self._busy_w - self._idle_w) * self._load()
