"""Quantities as people read them.

Owns: numbers with units in the planner's sentences. Its rule: three digits, the unit that keeps them readable. Not
here: sentences.
"""

from __future__ import annotations

__all__ = ["bytes_text", "change_text", "joules_text", "seconds_text"]


def bytes_text(value: float) -> str:
    """A size. [B]"""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} B"


def seconds_text(value: float) -> str:
    """A time. [s]"""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.3g} µs" if value else "0 ms"


def joules_text(value: float) -> str:
    """An energy. [J]"""
    return f"{value:.3g} J" if abs(value) >= 1 or value == 0 else f"{value / 1e-3:.3g} mJ"


def change_text(latency_s: float, energy_j: float) -> str:
    """How a plan differs from another: `12 ms more and 0.2 J less`."""
    parts = [
        f"{text} {'more' if value > 0 else 'less'}"
        for value, text in ((latency_s, seconds_text(abs(latency_s))), (energy_j, joules_text(abs(energy_j))))
        if abs(value) > 1e-9
    ]
    return " and ".join(parts) or "the same time and energy"
