"""Deadlines of planning.

Owns: the clock of one planning run, and what frontiers say where it left nothing. Its rule: without ortools. Not here: what is done
with the time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from edgesplit.errors import PlanningTimedOut

__all__ = ["Clock"]


@dataclass(slots=True)
class Clock:
    """The deadline, and where the time went."""

    deadline_s: float
    solve_s: float = 0.0
    started_s: float = field(default_factory=time.perf_counter)

    def elapsed_s(self) -> float:
        """Since planning began. [s]"""
        return time.perf_counter() - self.started_s

    def left_s(self) -> float:
        """Until the deadline. [s]"""
        return self.deadline_s - self.elapsed_s()

    def part(self, share: float) -> Clock:
        """A clock for a share of the time that is left."""
        return Clock(max(self.left_s(), 0.0) * share)

    def passed(self) -> PlanningTimedOut:
        """The error of time that ran out before any plan was known."""
        return PlanningTimedOut(
            f"No plan was found within {self.deadline_s:g} s, and none was proven impossible; allow more time."
        )
