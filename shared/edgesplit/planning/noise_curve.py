"""Monotone response curve: the output's noise as a piecewise linear function of an additive level.

Owns: the curve and what a bound on noise allows of the level. Its rule: what it is given as fractions it answers exactly. Not
here: the level, which is a polynomial over what is quantized (`problem.py`); how a curve is fitted.

What quantized operators do to outputs that saturate adds up before the saturation, not after it: a level that adds up and
a curve that never falls describe both (a single-index model). A bound on the noise is then a bound on the level.

References: P. McCullagh, J. A. Nelder, Generalized Linear Models, 2nd edition, 1989 (the inverse of a link function).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import msgspec

__all__ = ["Line", "NoiseCurve"]

_NEXT_TO_NOTHING = 1e-290
"""A distance of levels over which no slope can be told."""


@dataclass(frozen=True, slots=True)
class Line:
    """One piece of a curve.

    Attributes:
        low: Level where it begins; None: nothing is below. [1]
        high: Level where it ends; None: nothing is above. [1]
        noise: Where it begins. [1]
        slope: At least 0.
    """

    low: float | None
    high: float | None
    noise: float
    slope: Fraction


class NoiseCurve(msgspec.Struct, frozen=True, kw_only=True):
    """Noise by level, linear between its points; the first noise below the first, the last line goes on above the last.

    Attributes:
        levels: Values of the polynomial, rising. [1]
        noises: Noise there, never falling. [1]
    """

    levels: tuple[float, ...]
    noises: tuple[float, ...]

    def at(self, level: Fraction) -> Fraction:
        """Noise at a level, exactly. [1]"""
        place = bisect_right(self.levels, level) - 1
        if place < 0:
            return Fraction(self.noises[0])
        return Fraction(self.noises[place]) + self.slope(place) * (level - Fraction(self.levels[place]))

    def near(self, level: float) -> float:
        """Noise at a level, in floating point. [1]"""
        last = len(self.levels) - 1
        place = min(bisect_right(self.levels, level) - 1, last - 1)
        if place < 0:
            return self.noises[0]
        low, noise = self.levels[place], self.noises[place]
        return noise + (self.noises[place + 1] - noise) / (self.levels[place + 1] - low) * (level - low)

    def slope(self, place: int) -> Fraction:
        """Of the line that begins at a point, by its place; behind the last one the line before goes on."""
        last = len(self.levels) - 1
        if last == 0:
            return Fraction(0)
        first = min(place % (last + 1), last - 1)
        rise = Fraction(self.noises[first + 1]) - Fraction(self.noises[first])
        return rise / (Fraction(self.levels[first + 1]) - Fraction(self.levels[first]))

    @property
    def steepest(self) -> Fraction:
        """The largest slope."""
        return max(self.slope(place) for place in range(len(self.levels)))

    def reach(self, noise: Fraction) -> Fraction | None:
        """The highest level without more noise than this; None where every level has less.

        Raises:
            ValueError: Every level has more.
        """
        if noise < Fraction(self.noises[0]):
            raise ValueError("every level has more noise")
        place = bisect_right(self.noises, noise) - 1
        slope = self.slope(place)
        if slope == 0:  # only behind the last point: a later one of equal noise would have been found
            return None
        return Fraction(self.levels[place]) + (noise - Fraction(self.noises[place])) / slope

    def incline(self, low: float, high: float) -> float:
        """Of the steepest line that is 0 at a level and up to another one nowhere above the noise, rounded down."""
        ends = [level for level in self.levels if low < level < high] + ([high] if high > low else [])
        slopes = [self.near(level) / (level - low) for level in ends if level - low > _NEXT_TO_NOTHING]
        return min(slopes, default=0.0) * (1 - 1e-12)

    def lines(self) -> tuple[Line, ...]:
        """The curve in pieces, rising."""
        ends: tuple[float | None, ...] = (*self.levels, None)
        pieces = (
            Line(low, high, noise, self.slope(place))
            for place, (low, high, noise) in enumerate(zip(self.levels, ends[1:], self.noises, strict=True))
        )
        return (Line(None, self.levels[0], self.noises[0], Fraction(0)), *pieces)

    def rises(self) -> bool:
        """Whether levels rise, noises never fall, and both are as many, at least one."""
        if not self.levels or len(self.levels) != len(self.noises):
            return False
        return all(low < high for low, high in pairwise(self.levels)) and all(
            low <= high for low, high in pairwise(self.noises)
        )

    def louder(self, factor: float) -> NoiseCurve:
        """All noise times a factor."""
        return NoiseCurve(levels=self.levels, noises=tuple(factor * noise for noise in self.noises))
