"""How a plan differs from another, in words.

Owns: the comparison of two plans in the planner's sentences. Its rule: differences that floating point makes are none.
Not here: quantities (`edgesplit.formatting`), sentences.
"""

from __future__ import annotations

from edgesplit.formatting import joules, time_span

__all__ = ["change_text"]


def change_text(latency_s: float, energy_j: float) -> str:
    """How a plan differs from another: `12 ms more and 0.2 J less`."""
    parts = [
        f"{text} {'more' if value > 0 else 'less'}"
        for value, text in ((latency_s, time_span(abs(latency_s))), (energy_j, joules(abs(energy_j))))
        if abs(value) > 1e-9
    ]
    return " and ".join(parts) or "the same time and energy"
