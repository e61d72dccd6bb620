"""Busy time: when this node computes, for the attribution of power.

Owns: the seconds in which the compute thread worked, for setting them against watts. Its rule: serving and profiling
count alike, for both draw power. Not here: who computed what (`reporting/usage.py`), watts (`reporting/collectors/power/meter.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Busy", "BusyClock"]

T = TypeVar("T")


@dataclass(frozen=True)
class Busy:
    """How much was computed.

    Attributes:
        busy_s: Seconds since the question before, those of a computation still running included. [s]
        running_s: How long the computation that still runs has been running, 0 without one. [s]
    """

    busy_s: float
    running_s: float


class BusyClock:
    """Adds up computing; one computation at a time, as the worker does it.

    Args:
        clock: Monotonic. [s]
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._busy_s = 0.0
        self._started_s: float | None = None
        self._counted_to_s = 0.0
        self._ended_s = float("-inf")

    def time(self, function: Callable[[], T]) -> T:
        """Call a function and count its time."""
        with self._lock:
            self._started_s = self._counted_to_s = self._clock()
        try:
            return function()
        finally:
            with self._lock:
                self._ended_s = self._clock()
                self._busy_s += self._ended_s - self._counted_to_s
                self._started_s = None

    def last_computed_s(self) -> float:
        """When something was last computed: now, if it still is; minus infinity if nothing ever was. [s]"""
        with self._lock:
            return self._ended_s if self._started_s is None else self._clock()

    def take(self) -> Busy:
        """What was computed since the call before."""
        with self._lock:
            running_s = 0.0
            if self._started_s is not None:
                now_s = self._clock()
                self._busy_s += now_s - self._counted_to_s
                self._counted_to_s = now_s
                running_s = now_s - self._started_s
            busy_s, self._busy_s = self._busy_s, 0.0
            return Busy(busy_s, running_s)
