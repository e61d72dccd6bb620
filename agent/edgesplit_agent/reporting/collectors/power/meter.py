"""Power meter: from what a sensor reads to what computing draws over idle.

Owns: the idle draw, the watts of computing over it, and the joules of each second of computing. Its rule: the agent
always has watts, and they say what they are: until a sensor has seen this node both idle and computing, and while it
cannot be read, the configured ones stand. Not here: sensors (`power_*.py`), who computed (`reporting/usage.py`).

A machine draws P = idle + compute x f, f the share of time in which this node computes. Idle is the median of the last
readings with f near 0; compute is fitted by least squares through the origin to P - idle over f, recent readings
counting more. Joules are not taken from the fit but added up: what was drawn over idle since the last reading belongs
to what was computed since, and to a computation that still runs as far as it has run.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import structlog

from edgesplit_agent.reporting.collectors.busy_clock import Busy, BusyClock
from edgesplit_agent.reporting.collectors.power.sensor import Power, PowerSensor, close_sensor
from edgesplit_agent.reporting.collectors.sensor_errors import SensorUnavailable

__all__ = ["PowerMeter"]

IDLE_SHARE = 0.01
"""Computing for less of the time than this is not seen in the readings."""
IDLE_READINGS = 60
IDLE_READINGS_NEEDED = 3
EVIDENCE_NEEDED_S = 2.0
"""Seconds of full computing before its watts are believed. [s]"""
MEMORY_S = 60.0
"""Seconds of full computing after which older ones count less than half. [s]"""
DEFICIT_S = 10.0
"""How much of noise below the idle draw is set against later readings, as seconds of computing. [s]"""


class PowerMeter:
    """What this node draws.

    Args:
        sensor: The chosen one, or None for configured watts.
        configured: Watts while no sensor gives any.
        assumed: Watts until the sensor has seen the node idle and computing; `configured` by default.
        busy: When the node computes.
        clock: Monotonic. [s]
        problem: Why no sensor was chosen, where one would have been wanted.

    Attributes:
        problem: Why configured watts stand in for a sensor now; empty where they do not, or were asked for.
    """

    def __init__(
        self,
        sensor: PowerSensor | None,
        configured: Power,
        *,
        assumed: Power | None = None,
        busy: BusyClock | None = None,
        clock: Callable[[], float] = time.monotonic,
        problem: str = "",
    ) -> None:
        self.problem = problem
        self._sensor = sensor
        self._configured = configured
        self._assumed = assumed or configured
        self._busy = busy or BusyClock()
        self._clock = clock
        self._log = structlog.get_logger(part="power")
        self._failing = False
        self._closed_at_s: float | None = None
        self._was_idle: bool | None = None
        self._steady_s = 0.0
        self._idle_w: deque[float] = deque(maxlen=IDLE_READINGS)
        self._products = 0.0
        self._squares_s = 0.0
        self._open_j = 0.0
        self._open_s = 0.0

    @property
    def sensor(self) -> str:
        """Name of the sensor, `constant` for none."""
        return "constant" if self._sensor is None else self._sensor.traits.name

    def sample(self, sent_s: float = 0.0) -> Power:
        """Take a reading, about once a second; may block for some milliseconds.

        Args:
            sent_s: Seconds of sending since the call before. [s]
        """
        if self._sensor is None:
            return self._configured
        try:
            drawn_w = self._sensor.read()
        except SensorUnavailable as error:
            return self._failed(error)
        if self._failing:
            self._failing = False
            self.problem = ""
            self._log.info("sensor-back", sensor=self.sensor, text="the power sensor can be read again")
        if drawn_w is None and self._closed_at_s is not None:
            return self._known()
        now_s, busy = self._clock(), self._busy.take()
        before_s, self._closed_at_s = self._closed_at_s, now_s
        if drawn_w is None or before_s is None or now_s <= before_s:
            return replace(self._known(), drawn_w=drawn_w)
        seconds = now_s - before_s
        if self._sensor.traits.covers_sending:
            drawn_by_rest_w = drawn_w - sent_s / seconds * self._configured.transmit_w
        else:
            drawn_by_rest_w = drawn_w
        self._learn(drawn_by_rest_w, seconds, busy)
        return replace(self._known(), drawn_w=drawn_w, window_w=self._integrate(drawn_by_rest_w, seconds, busy))

    def close(self) -> None:
        """End what the sensor holds open."""
        if self._sensor is not None:
            close_sensor(self._sensor)

    # --- learning --------------------------------------------------------------------------------------------------

    def _learn(self, drawn_w: float, seconds: float, busy: Busy) -> None:
        assert self._sensor is not None  # noqa: S101  narrows for the type checker
        share = min(busy.busy_s / seconds, 1.0)
        is_idle = share < IDLE_SHARE
        self._steady_s = self._steady_s + seconds if is_idle is self._was_idle else 0.0
        self._was_idle = is_idle
        # A slow sensor still shows what was before the last change.
        if self._steady_s < self._sensor.traits.lag_s:
            return
        if is_idle:
            self._idle_w.append(drawn_w)
        elif len(self._idle_w) >= IDLE_READINGS_NEEDED:
            evidence_s = share * share * seconds
            kept = 0.5 ** (evidence_s / MEMORY_S)
            over_idle_w = drawn_w - statistics.median(self._idle_w)
            self._products = kept * self._products + share * over_idle_w * seconds
            self._squares_s = kept * self._squares_s + evidence_s

    def _known(self) -> Power:
        """What has been learned, without the reading."""
        assert self._sensor is not None  # noqa: S101  narrows for the type checker
        idle_w = statistics.median(self._idle_w) if len(self._idle_w) >= IDLE_READINGS_NEEDED else None
        traits = self._sensor.traits
        integrates = traits.lag_s <= 0.0 and idle_w is not None
        known = replace(self._assumed, idle_w=idle_w, idle_origin=traits.origin if idle_w is not None else None)
        if idle_w is None or self._squares_s < EVIDENCE_NEEDED_S:
            return replace(known, integrates=integrates and self._assumed.origin == traits.origin)
        compute_w = max(self._products / self._squares_s, 0.0)
        return replace(known, compute_w=compute_w, origin=traits.origin, sensor=traits.name, integrates=integrates)

    # --- integrating -----------------------------------------------------------------------------------------------

    def _integrate(self, drawn_w: float, seconds: float, busy: Busy) -> float | None:
        """Mean over-idle watts of the computing that ended in a window."""
        known = self._known()
        if not known.integrates or known.idle_w is None:
            return None
        if busy.busy_s < IDLE_SHARE * seconds:
            # Too little to be seen; the noise of a whole window would be put on it.
            self._open_s, self._open_j = 0.0, min(self._open_j, 0.0)
            return None
        self._open_j += (drawn_w - known.idle_w) * seconds
        self._open_s += busy.busy_s
        rate_w = max(self._open_j, 0.0) / self._open_s
        deficit_j = min(self._open_j, 0.0)
        self._open_s = min(self._open_s, busy.running_s)
        self._open_j = max(deficit_j, -DEFICIT_S * known.compute_w) + rate_w * self._open_s
        return rate_w

    def _failed(self, error: SensorUnavailable) -> Power:
        if not self._failing:
            text = f"{str(error).rstrip('.')}: configured watts are used until it can be read"
            self.problem = text
            self._log.warning("sensor-unreadable", sensor=self.sensor, text=text)
        self._failing = True
        self._busy.take()
        self._closed_at_s, self._was_idle = None, None
        self._open_j = self._open_s = 0.0
        return self._configured
