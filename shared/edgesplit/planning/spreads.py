"""Spreads of a plan's durations: how sure a prediction is of what it adds up, and the interval that follows.

Owns: both values. Its rule: values only; a spread is the standard deviation of a logarithm, so that 0.02 is about 2 %, and what
a mapping leaves out is certain. Not here: who knows them (the controller's `stating/`), sampling a plan (the planner's).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Interval", "PredictionInterval", "Spreads"]

Interval = tuple[float, float]
"""Lower and upper end."""


@dataclass(frozen=True, kw_only=True)
class Spreads:
    """How sure the durations of one plan are.

    Attributes:
        nodes: Node to what all that it computes errs by in common, coding included. [1]
        components: Identifier of a component to what it errs by itself. [1]
        codings: Node to what a codec's encoding, and its decoding, err by themselves. [1]
        links: (from, to) to what its rate errs by [1] and the standard deviation of its latency [s].
        handling_s: Standard deviation of what handling a request takes beside the timeline. [s]
        whole: Of a request as a whole: what none of the others explains. [1]
        stretch: Of intervals: what they are wider by than all of these say, as those that held and missed taught. What is between two
            plans is not stretched: most of what predictions err by, both err by. [1]
    """

    nodes: Mapping[str, float] = field(default_factory=dict[str, float])
    components: Mapping[int, float] = field(default_factory=dict[int, float])
    codings: Mapping[str, float] = field(default_factory=dict[str, float])
    links: Mapping[tuple[str, str], tuple[float, float]] = field(
        default_factory=dict[tuple[str, str], tuple[float, float]]
    )
    handling_s: float = 0.0
    whole: float = 0.0
    stretch: float = 1.0


@dataclass(frozen=True, kw_only=True)
class PredictionInterval:
    """Where nine of ten predictions prove right: the median of some requests in a row, while nothing else is served.

    Attributes:
        latency_s: Of the timeline's end. [s]
        energy_j: Of all nodes. [J]
    """

    latency_s: Interval
    energy_j: Interval
