"""Parsing of quantities as people type them: links, rates, times, shares, shapes of inputs.

Owns: reading rates, times, links and shapes from the command line. Its rule: a number needs its unit, and what cannot be
read is wrong use that shows how to write it. Not here: printing (`shared/edgesplit/formatting.py`).
"""

from __future__ import annotations

import math
import re

import click

__all__ = ["InputShape", "Link", "age_s", "input_shape", "link", "rate_bytes_per_s", "share", "span_s"]

Link = tuple[str, str, float | None, float | None]
"""From, to, bandwidth [B/s] and latency [s]; None where not given."""
InputShape = tuple[str, tuple[int, ...]]
"""An input and the sizes of its axes."""

_QUANTITY = re.compile(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-zµ/]+)\s*", re.IGNORECASE)
_RATES = {
    **{"b/s": 1.0, "kb/s": 1e3, "mb/s": 1e6, "gb/s": 1e9},
    **{"bit/s": 1 / 8, "kbit/s": 1e3 / 8, "mbit/s": 1e6 / 8, "gbit/s": 1e9 / 8},
}
_SPANS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
_AGES_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SIZE = re.compile(r"[0-9]{1,9}")


def rate_bytes_per_s(text: str) -> float | None:
    """Read a rate such as `2MB/s` or `16 Mbit/s`; None where the text is none. [B/s]"""
    return _quantity(text, _RATES)


def span_s(text: str) -> float | None:
    """Read a time such as `20ms` or `0.02 s`; None where the text is none. [s]"""
    return _quantity(text, _SPANS)


def age_s(text: str) -> float | None:
    """Read a long time such as `90s`, `15m`, `2h` or `30d`, 0 or more; None where the text is none. [s]"""
    number, unit = (text[:-1], text[-1:]) if text[-1:] in _AGES_S else (text, "s")
    try:
        seconds = float(number) * _AGES_S[unit]
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def share(text: str) -> float | None:
    """Read a share such as `20%`, `20 %` or `0.2`, below 1; None where the text is none. [1]"""
    figure, percent, rest = text.strip().partition("%")
    try:
        value = float(figure) / (100.0 if percent else 1.0)
    except ValueError:
        return None
    return value if not rest and 0 <= value < 1 else None


def link(text: str | Link) -> Link:
    """Read a link and what it would have, such as `device:edge=2MB/s,20ms`.

    Raises:
        click.BadParameter: It is something else.
    """
    if not isinstance(text, str):
        return text
    ends, equals, figures = text.partition("=")
    start, colon, end = ends.partition(":")
    if not (equals and colon and start and end and figures):
        raise click.BadParameter(f"{text!r} must read FROM:TO=RATE[,LATENCY], such as device:edge=2MB/s,20ms")
    bandwidth, latency_s = None, None
    for figure in figures.split(","):
        rate, span = rate_bytes_per_s(figure), span_s(figure)
        if rate is not None and rate > 0 and bandwidth is None:
            bandwidth = rate
        elif span is not None and latency_s is None:
            latency_s = span
        else:
            raise click.BadParameter(
                f"{figure.strip()!r} in {text!r} must be a rate above 0 (B/s, kB/s, MB/s, GB/s, Mbit/s) or a time "
                "(ms, s), each at most once"
            )
    return start, end, bandwidth, latency_s


def input_shape(text: str | InputShape) -> InputShape:
    """Read an input and the sizes of its axes, such as `images=1x3x48x320`.

    Raises:
        click.BadParameter: It is something else.
    """
    if not isinstance(text, str):
        return text
    name, equals, sizes = text.rpartition("=")  # names of inputs may hold anything; sizes hold no =
    if not (equals and name and sizes):
        raise click.BadParameter(f"{text!r} must read INPUT=SIZExSIZEx..., such as images=1x3x48x320")
    found: list[int] = []
    for part in re.split("[x×]", sizes.strip(), flags=re.IGNORECASE):
        if not _SIZE.fullmatch(part.strip()) or int(part) < 1:
            raise click.BadParameter(
                f"{part.strip()!r} in {text!r} must be a whole number from 1: name a size of every axis, as requests have "
                "it, such as images=1x3x48x320"
            )
        found.append(int(part))
    return name, tuple(found)


def _quantity(text: str, factors: dict[str, float]) -> float | None:
    found = _QUANTITY.fullmatch(text)
    if found is None or found[2].lower() not in factors:
        return None
    try:
        value = float(found[1]) * factors[found[2].lower()]
    except ValueError:
        return None
    return value if math.isfinite(value) else None
