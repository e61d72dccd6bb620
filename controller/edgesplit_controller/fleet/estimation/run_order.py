"""Order of an agent's runs: which of those that it says are new, and recent enough to show its speed now.

Owns: both questions. Its rule: pure; agents number their runs, and only of one that does not is its clock believed. Not here:
what runs teach (`speed_estimate.py`).
"""

from __future__ import annotations

from edgesplit.control.profile_messages import CodingTiming, ComponentTiming, LiveTimings

__all__ = ["FRESH_S", "coding_key", "is_fresh", "is_later", "place"]

FRESH_S = 10.0
"""Runs that ended so long before a node speaks of them show its speed now. [s]"""


def place(number: int, unix_s: float) -> float:
    """Place of a run in the order of an agent's runs; one that does not count them has only its clock."""
    return float(number) if number else unix_s


def is_later(place: float, before: float | None, number: int) -> bool:
    """Whether a run is not the one known already. Without numbers each other time is later: clocks are set back, too."""
    return before is None or (place > before if number else place != before)


def is_fresh(timing: ComponentTiming, said: LiveTimings) -> bool:
    """Whether a run had ended only just before the node spoke of it."""
    return (timing.ended_ago_s if timing.number else said.at_unix_s - timing.last_run_unix_s) < FRESH_S


def coding_key(timing: CodingTiming) -> str:
    """What tells one series of codings from another."""
    return f"{timing.direction} {timing.codec} {timing.nbytes} {timing.tensor}"
