"""Space-saving counts of the sizes that requests have.

Owns: the most frequent ones, in bounded memory [1]. Its rule: a size that is asked more often than one in `MOST` is never missing;
where more than that are asked, a count may be too high by what the least of them had. Not here: who is told (`usage.py`).

References: [1] A. Metwally, D. Agrawal, A. El Abbadi, Efficient computation of frequent and top-k elements in data streams,
ICDT, 2005.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgesplit.control.figure_messages import AskedSizes

__all__ = ["SizeCounts", "Sizes"]

MOST = 32
"""Different sizes that are counted."""
MOST_TEXT = 1 << 15
"""Roughly what a message may spend on them. [B]"""
_PER_INPUT = 32
"""Roughly what a message spends on a shape, besides the input's name. [B]"""

Sizes = Mapping[str, tuple[int, ...]]
"""Shape of each input that has open axes."""


class SizeCounts:
    """Counts of one model's sizes."""

    def __init__(self) -> None:
        self._counts: dict[tuple[tuple[str, tuple[int, ...]], ...], int] = {}

    def add(self, sizes: Sizes) -> None:
        """A request had these."""
        key = tuple(sizes.items())
        if key not in self._counts and len(self._counts) >= MOST:
            least = min(self._counts, key=self._counts.__getitem__)
            self._counts[key] = self._counts.pop(least)
        self._counts[key] = self._counts.get(key, 0) + 1

    def said(self) -> tuple[AskedSizes, ...]:
        """As messages have them: the most frequent first, as many as find room."""
        found: list[AskedSizes] = []
        room = MOST_TEXT
        for key, requests in sorted(self._counts.items(), key=lambda entry: -entry[1]):
            room -= sum(_PER_INPUT + len(name) for name, _ in key)
            if room < 0:
                break
            found.append(AskedSizes(inputs=dict(key), requests=requests))
        return tuple(found)
