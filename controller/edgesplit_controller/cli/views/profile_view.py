"""What people see of profiling, and of what nodes try again and again.

Owns: these lines. Its rule: whoever waits for something reads since when it fails and when it is tried
next. Not here: tables (`tables.py`), JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgesplit.operations.documents import NodeRow
from edgesplit.operations.profile_documents import ProfilingRow, failing_text

__all__ = ["failing_lines", "profiling_lines"]


def profiling_lines(rows: Sequence[ProfilingRow]) -> Iterator[tuple[str, str]]:
    """Nodes of `splitctl model show` that have no profile, and why."""
    for row in rows:
        if row.state == "running":
            yield row.node, f"is profiling ({row.fraction:.0%})"
        elif row.state == "waiting":
            yield row.node, "has not said anything about it yet"
        elif row.failing_s is not None and row.next_try_s is not None:
            yield row.node, f"{row.reason} ({failing_text(row.attempts, row.failing_s, row.next_try_s)})"
        elif row.state == "failed":
            yield row.node, f"{row.reason} (not tried again by itself)"


def failing_lines(row: NodeRow) -> Iterator[str]:
    """What a node of `splitctl nodes` tries again and again."""
    for failing in row.failing:
        text = failing_text(failing.attempts, failing.failing_s, failing.next_try_s)
        yield f"{row.name} fails at {failing.what} ({text}): {failing.reason}"
