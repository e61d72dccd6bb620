"""Curves from the polynomial's value to noise: drawn at random, and read as docs/problem-file.md says.

Owns: both, for the checks of the planner. Its rule: nothing of it is taken from the planner. Not here: checks.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from fractions import Fraction
from typing import TypeVar

from edgesplit.planning.noise_curve import NoiseCurve

__all__ = ["noise_at", "random_curve", "steepest"]

Number = TypeVar("Number", float, Fraction)


def noise_at(curve: NoiseCurve | None, level: Number, number: Callable[[float], Number]) -> Number:
    """The noise of a value of the polynomial."""
    if curve is None:
        return level
    points = [(number(x), number(y)) for x, y in zip(curve.levels, curve.noises, strict=True)]
    if level <= points[0][0] or len(points) == 1:
        return points[0][1]
    upper = next((place for place, (x, _) in enumerate(points) if level <= x), len(points) - 1)
    (x0, y0), (x1, y1) = points[upper - 1], points[upper]
    return y0 + (y1 - y0) / (x1 - x0) * (level - x0)


def steepest(curve: NoiseCurve) -> Fraction:
    """The largest slope between two points."""
    points = [(Fraction(x), Fraction(y)) for x, y in zip(curve.levels, curve.noises, strict=True)]
    slopes = [(y1 - y0) / (x1 - x0) for (x0, y0), (x1, y1) in itertools.pairwise(points)]
    return max(slopes, default=Fraction(0))


def random_curve(r: random.Random, top: float, most: float) -> NoiseCurve:
    """A curve of up to seven points, flat here and there.

    Args:
        r: Source of chance.
        top: Levels are at most a little above it, and may be below 0.
        most: The largest noise, but for what is above all points.
    """
    count = r.choice([1, 2, 2, 4, 7])
    levels = sorted({r.uniform(-0.3, 1.1) * top for _ in range(count)})
    noises = sorted(most * r.choice([0.0, r.random(), r.random() ** 4]) for _ in levels)
    for place in range(1, len(noises)):
        if r.random() < 0.2:
            noises[place] = noises[place - 1]
    return NoiseCurve(levels=tuple(levels), noises=tuple(noises))
