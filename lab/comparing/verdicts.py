"""What an interval says of a bound: `met` where all of it is on the right side, `missed` where all is on the wrong one, else `undecided`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

__all__ = ["AT_MOST_SLOWER", "Verdict", "at_least", "at_most", "worst_of"]

Verdict = Literal["met", "missed", "undecided", "not measured"]

AT_MOST_SLOWER = 1.03
"""edgesplit's figure over the best baseline's, which noise of measurement may make of equal plans."""

Ends = tuple[float, float] | None
"""Of an interval; None where there was too little to say."""


def at_most(interval: Ends, bound: float) -> Verdict:
    """Whether something is no more than a bound."""
    if interval is None:
        return "undecided"
    return "met" if interval[1] <= bound else "missed" if interval[0] > bound else "undecided"


def at_least(interval: Ends, bound: float) -> Verdict:
    """Whether something is no less than a bound."""
    if interval is None:
        return "undecided"
    return "met" if interval[0] >= bound else "missed" if interval[1] < bound else "undecided"


def worst_of(verdicts: Sequence[Verdict]) -> Verdict:
    """Of several that all have to hold."""
    return "missed" if "missed" in verdicts else "undecided" if "undecided" in verdicts else "met"
