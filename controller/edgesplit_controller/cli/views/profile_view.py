"""What people see of profiling, and of what nodes try again and again.

Owns: these lines. Its rule: whoever waits for something reads since when it fails and when it is tried
next. Not here: tables (`tables.py`), JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgesplit.operations.fleet_operations import NodeRow
from edgesplit.operations.model_operations import ProfilingRow

__all__ = ["failing_lines", "profiling_lines"]


def profiling_lines(rows: Sequence[ProfilingRow]) -> Iterator[tuple[str, str]]:
    """Nodes of `splitctl model show` that have no profile, and why."""
    for row in rows:
        if row.state == "running":
            yield row.node, f"is profiling ({row.fraction:.0%})"
        elif row.state == "waiting":
            yield row.node, "has not said anything about it yet"
        elif row.failing_s is not None and row.next_try_s is not None:
            yield row.node, f"{row.reason} ({_failing_text(row.attempts, row.failing_s, row.next_try_s)})"
        elif row.state == "failed":
            yield row.node, f"{row.reason} (not tried again by itself)"


def failing_lines(row: NodeRow) -> Iterator[str]:
    """What a node of `splitctl nodes` tries again and again."""
    for failing in row.failing:
        text = _failing_text(failing.attempts, failing.failing_s, failing.next_try_s)
        yield f"{row.name} fails at {failing.what} ({text}): {failing.reason}"


def _failing_text(attempts: int, failing_s: float, next_try_s: float) -> str:
    """Since when something fails and when it is tried next, for people."""
    tries = "1 try" if attempts == 1 else f"{attempts} tries"
    soon = "now" if next_try_s < 0.5 else f"in {_span(next_try_s)}"
    return f"failing for {_span(failing_s)}, {tries}, next {soon}"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
