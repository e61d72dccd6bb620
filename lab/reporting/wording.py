"""Numbers for people: durations, energies, shares, intervals, moments, in few digits with their unit.

Owns: how figures read in tables, captions and claims. Its rule: three significant digits, never more than was measured.
Not here: files, which have every digit (`csv_files.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime

from lab.comparing.intervals import Estimate

__all__ = [
    "NOTHING",
    "counted",
    "moment",
    "of_bytes",
    "of_energy",
    "of_number",
    "of_ratio",
    "of_seconds",
    "of_share",
    "slug",
    "with_interval",
]

NOTHING = "–"


def counted(number: int, thing: str) -> str:
    """`1 run`, `3 runs`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def of_number(value: float | None) -> str:
    """Three significant digits, without an exponent where a person would write none."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    digits = max(2 - math.floor(math.log10(abs(value))), 0)
    return f"{value:.{digits}f}" if digits < 7 else f"{value:.2g}"


def of_seconds(value: float | None) -> str:
    """`1.73 s`, `86.2 ms`, `3 min 20 s`."""
    if value is None:
        return NOTHING
    if value >= 120:
        minutes, seconds = divmod(round(value), 60)
        return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
    return f"{of_number(value)} s" if value >= 1 or value == 0 else f"{of_number(value * 1e3)} ms"


def of_energy(value: float | None) -> str:
    """`6.7 J`, `12.3 mJ`."""
    if value is None:
        return NOTHING
    return f"{of_number(value)} J" if value >= 0.1 or value == 0 else f"{of_number(value * 1e3)} mJ"


def of_share(value: float | None, *, signed: bool = False) -> str:
    """`2.7 %`; with its sign where that matters."""
    if value is None:
        return NOTHING
    return f"{value * 100:+.1f} %" if signed else f"{value * 100:.1f} %"


def of_ratio(value: float | None) -> str:
    """`0.83`."""
    return NOTHING if value is None else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def of_bytes(value: int) -> str:
    """`36.2 MB`."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{of_number(value / size)} {unit}"
    return f"{value} B"


def with_interval(estimate: Estimate, wording: Callable[[float | None], str]) -> str:
    """`0.83 [0.80, 0.86]`; the value alone where there is no interval."""
    if estimate.interval is None:
        return wording(estimate.value)
    return f"{wording(estimate.value)} [{wording(estimate.low)}, {wording(estimate.high)}]"


def moment(unix_s: float | None) -> str:
    """In UTC, to the minute."""
    return NOTHING if unix_s is None else datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def slug(text: str) -> str:
    """For names of files and anchors."""
    return "-".join("".join(letter if letter.isalnum() else " " for letter in text.lower()).split())
