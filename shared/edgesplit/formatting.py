"""Formatting of quantities with units, for people.

Owns: the text of bytes, rates, seconds, joules, watts, shares and intervals. Its rule: an unknown value is a dash, three
significant digits are enough. Not here: tables.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

__all__ = [
    "UNKNOWN",
    "between",
    "clock",
    "day",
    "joules",
    "number",
    "percent",
    "rate",
    "size",
    "speed",
    "time_span",
    "watts",
]

UNKNOWN = "–"


def _scaled(value: float | None, units: tuple[tuple[float, str], ...]) -> str:
    """Pick the largest unit that leaves at least 1, the smallest otherwise."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    factor, unit = next(((factor, unit) for factor, unit in units if abs(value) >= factor), units[-1])
    return f"{_significant(value / factor)} {unit}"


def _significant(value: float) -> str:
    magnitude = abs(value)
    if magnitude == 0:
        return "0"
    if magnitude >= 100:
        return f"{value:.0f}"
    if magnitude < 0.001:
        return f"{value:.2e}"
    return f"{value:.3g}"


def size(value: float | None) -> str:
    """Bytes, decimal units. [B]"""
    return _scaled(value, ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")))


def speed(value: float | None) -> str:
    """Bytes per second, decimal units. [B/s]"""
    return _scaled(value, ((1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s"), (1, "B/s")))


def time_span(value: float | None) -> str:
    """Seconds. [s]"""
    if value == 0:
        return "0 s"
    return _scaled(value, ((1, "s"), (1e-3, "ms"), (1e-6, "µs")))


def joules(value: float | None) -> str:
    """Energy. [J]"""
    if value == 0:
        return "0 J"
    return _scaled(value, ((1e3, "kJ"), (1, "J"), (1e-3, "mJ"), (1e-6, "µJ")))


def watts(value: float | None) -> str:
    """Power. [W]"""
    if value == 0:
        return "0 W"
    return _scaled(value, ((1, "W"), (1e-3, "mW")))


def percent(value: float | None) -> str:
    """A share that is already in percent. [%]"""
    return UNKNOWN if value is None else f"{value:.0f} %"


def rate(value: float | None) -> str:
    """Requests per second. [1/s]"""
    return _scaled(value, ((1, "requests/s"),))


def number(value: float | None) -> str:
    """A quantity without unit. [1]"""
    return UNKNOWN if value is None or not math.isfinite(value) else _significant(value)


def between(value: float | None, interval: tuple[float, float] | None, formatted: Callable[[float | None], str]) -> str:
    """A value and where it may prove to lie, the unit said once where it is the same: `412 ms (398 to 431)`."""
    text = formatted(value)
    if interval is None or text == UNKNOWN:
        return text
    low, high = (formatted(end) for end in interval)
    units = {figure.rpartition(" ")[2] for figure in (text, low, high)}
    if len(units) == 1 and " " in text:
        low, high = low.rpartition(" ")[0], high.rpartition(" ")[0]
    return f"{text} ({low} to {high})"


def clock(at_unix_s: float) -> str:
    """Local date and time to the millisecond."""
    whole = math.floor(at_unix_s) if math.isfinite(at_unix_s) else 0
    thousandths = math.floor((at_unix_s - whole) * 1000) if math.isfinite(at_unix_s) else 0
    shown = _local("%Y-%m-%d %H:%M:%S", at_unix_s)
    return f"{shown}.{thousandths:03d}" if shown else f"{at_unix_s:g} s after 1970"


def day(at_unix_s: float) -> str:
    """Local date and time to the minute."""
    return _local("%Y-%m-%d %H:%M", at_unix_s) or f"{at_unix_s:g} s after 1970"


def _local(pattern: str, at_unix_s: float) -> str:
    """Empty where no clock shows such a time: it may be a stranger's word."""
    try:
        return time.strftime(pattern, time.localtime(math.floor(at_unix_s)))
    except (OverflowError, ValueError, OSError):
        return ""
