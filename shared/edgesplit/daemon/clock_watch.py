"""Steps of the wall clock, noticed against the monotonic clock.

Owns: the comparison, once a second. Its rule: it only tells; nothing else depends on the wall clock but the times that
people are shown. Time that the machine slept or this process stood still is no step. Not here: clocks of other machines
(the controller compares those).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

__all__ = ["STEP_S", "ClockSteps", "read_clocks", "step_text", "watch_clock"]

STEP_S = 0.5
"""A clock that is steered drifts by half a millisecond a second at most; so much between two looks was set. [s]"""
LOOK_EVERY_S = 1.0
TOGETHER_S = 0.05
"""Readings of both clocks that lie further apart say nothing. [s]"""
# Unlike CLOCK_MONOTONIC it goes on while the machine is suspended, as the wall clock does.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class ClockSteps:
    """What was read last, and what that makes of the next reading."""

    def __init__(self) -> None:
        self._offset_s: float | None = None

    def look(self, wall_s: float, steady_s: float) -> float:
        """How far the wall clock was set since the look before; 0 where it was not. [s]"""
        offset_s = wall_s - steady_s
        before_s, self._offset_s = self._offset_s, offset_s
        step_s = 0.0 if before_s is None else offset_s - before_s
        return step_s if abs(step_s) >= STEP_S else 0.0


def read_clocks() -> tuple[float, float] | None:
    """The wall clock and the steady one at the same moment; None where this process was stopped in between. [s, s]"""
    before_s = time.clock_gettime(_STEADY)
    wall_s = time.time()
    after_s = time.clock_gettime(_STEADY)
    return (wall_s, (before_s + after_s) / 2) if after_s - before_s <= TOGETHER_S else None


def step_text(whose: str, step_s: float) -> str:
    """What happened, in one sentence."""
    way = "forward" if step_s > 0 else "back"
    return f"the clock of {whose} was set {way} by {abs(step_s):.3g} s: only the times that are shown follow it"


async def watch_clock(
    whose: str,
    told: Callable[[str, str, Mapping[str, float]], None],
    read: Callable[[], tuple[float, float] | None] = read_clocks,
    every_s: float = LOOK_EVERY_S,
) -> None:
    """Tell of every step, for ever.

    Args:
        whose: For people.
        told: Takes kind, text and figures of an event.
        read: Wall clock and steady clock. [s, s]
        every_s: Between looks. [s]
    """
    steps = ClockSteps()
    while True:
        if (now := read()) is not None and (step_s := steps.look(*now)):
            told("clock-stepped", step_text(whose, step_s), {"step_s": step_s})
        await asyncio.sleep(every_s)
