"""Numerical tolerances: when a limit is kept, when a proof is one, and what rounding may do.

Owns: every tolerance of the planner. Its rule: presolve, solver and referee decide by these and by no others. Not
here: what is measured.

A problem file holds binary doubles, each the nearest to what somebody meant: 0.1 + 0.2 is a little above 0.3 in them.
So a sum of them is known to `ROUNDING` of the magnitudes added up, and a limit is kept unless the exact sum is beyond it by
more than that. A limit set to a plan's own value, in whatever order it was added up, therefore admits that plan; one that is
lower by 1e-13 does not. Memory is counted in bytes, which are whole: there the exact sum itself must not exceed the limit.

Tables, bounds and the solver work in floating point. What they say of a plan near a limit (within `DOUBT`) is settled by the
referee's exact sums; bounds are rounded outward by `ULP` times the additions behind them.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Final

__all__ = [
    "DOUBT",
    "LEXICOGRAPHIC",
    "PROOF",
    "ROUNDING",
    "SCORE_PROOF",
    "ULP",
    "exact_sum",
    "keeps",
    "proves",
    "told",
    "verdict",
]

ROUNDING: Final = 2.0**-48
"""Share of the magnitudes added up by which a sum of rounded numbers is uncertain."""

DOUBT: Final = 2.0**-38
"""The same for sums of floating point over tables, thousands of terms with rounding of their own."""

ULP: Final = 2.0**-52
"""What one operation in floating point may be off, relative, generously."""

LEXICOGRAPHIC: Final = 1e-6
"""Relative tolerance of the score's ranges, as the problem format defines them."""

PROOF: Final = 1e-9
"""Relative distance of a single measure from its bound that is still a proof."""

SCORE_PROOF: Final = 1e-6
"""Distance of the score from its bound that is still a proof, in units of the score's range."""

_ROUNDING = Fraction(ROUNDING)

_SMALLEST_EXPONENT = 1074
"""Every finite double is a whole number of 2^-1074."""


def exact_sum(values: Iterable[float]) -> Fraction:
    """The sum of finite doubles without any rounding."""
    total = 0
    for value in values:
        numerator, denominator = value.as_integer_ratio()
        total += numerator << (_SMALLEST_EXPONENT + 1 - denominator.bit_length())
    return Fraction(total, 1 << _SMALLEST_EXPONENT)


def keeps(value: Fraction, magnitude: Fraction, limit: float) -> bool:
    """Whether an exact sum keeps a limit.

    Args:
        value: The sum.
        magnitude: The sum of its terms' absolute values; 0 where the terms are exact.
        limit: What it must not exceed.
    """
    bound = Fraction(limit)
    return value <= bound or value - _ROUNDING * magnitude <= bound


def told(value: Fraction, magnitude: Fraction, limit: float | None) -> float:
    """The sum as a floating-point number, never above a limit that it keeps."""
    rounded = float(value)
    if limit is not None and rounded > limit and keeps(value, magnitude, limit):
        return limit
    return rounded


def verdict(value: float, magnitude: float, limit: float) -> bool | None:
    """Whether a floating-point sum keeps a limit; None when only exact sums can tell."""
    doubt = DOUBT * magnitude
    if value < limit - doubt:
        return True
    if value > limit + doubt:
        return False
    return True if magnitude == 0.0 else None


def proves(value: float, bound: float, tolerance: float = 0.0) -> bool:
    """Whether a lower bound proves a value to be the least.

    Args:
        value: Of a plan.
        bound: No plan is below it.
        tolerance: Distance that is a proof, where the value is not a measure that has one of its own.
    """
    return value - bound <= (tolerance or PROOF * abs(value))
