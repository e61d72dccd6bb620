"""Loaded latency: what a request is to be expected to take beside the promised requests of others, and at most.

Owns: the figures that people see, and the guarantee behind each. Its rule: pure; what cannot be bounded is infinite. Not here: which plans
there are (`stating/promised_streams.py` of the controller), the two analyses.

A plan's latency is that of a request which waits for nobody. On it comes the waiting: `covered_s` for `COVERED` of all phases at which
others' requests may begin, `worst_s` for every phase, as long as no deployment sends more than it promised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from edgesplit_controller.planner.studies.waiting.periodic_streams import PeriodicStream, Resource
from edgesplit_controller.planner.studies.waiting.random_phases import DRAWS, drawn_waits
from edgesplit_controller.planner.studies.waiting.worst_case import worst_waits

__all__ = ["COVERED", "ExpectedWaiting", "WaitingPlace", "expected_waiting"]

COVERED = 0.99
"""Of all phases: the request waits no longer than said. [1]"""
CONFIDENCE = 0.95
"""That the quantile of all draws is not above the one that is told of `DRAWS`. [1]"""


@dataclass(frozen=True)
class WaitingPlace:
    """A node or link at which a request may wait.

    Attributes:
        load: Share of its time that is promised to others. [1]
        mean_s: Waited there by a request, over all its pieces. [s]
    """

    load: float
    mean_s: float


@dataclass(frozen=True)
class ExpectedWaiting:
    """By how much requests of one deployment end later than its plan alone says; infinite where more is promised than there is time.

    Attributes:
        share: Of phases at which anything is waited. [1]
        mean_s: Over phases. [s]
        covered_s: No request waits longer at `COVERED` of phases. [s]
        worst_s: At any phase; infinite where no bound is known. [s]
        places: Node or link to what is waited there; those alone that others use, too.
    """

    share: float
    mean_s: float
    covered_s: float
    worst_s: float
    places: Mapping[Resource, WaitingPlace]


def expected_waiting(stream: PeriodicStream, others: Sequence[PeriodicStream]) -> ExpectedWaiting:
    """What a request waits.

    Args:
        stream: Of the request.
        others: Of all others that promise a rate.
    """
    drawn = drawn_waits(stream, others)
    loads = {resource: sum(other.load(resource) for other in others) for resource in stream.resources}
    return ExpectedWaiting(
        share=float((drawn.delays_s > 0.0).mean()),
        mean_s=float(drawn.delays_s.mean()),
        covered_s=float(np.sort(drawn.delays_s)[_rank(DRAWS) - 1]),
        worst_s=worst_waits((stream, *others))[0],
        places={
            resource: WaitingPlace(load, float(np.mean(drawn.at_s.get(resource, 0.0))))
            for resource, load in loads.items()
            if load > 0.0
        },
    )


@lru_cache(maxsize=1)
def _rank(draws: int) -> int:
    """Of the draw, by size, that is with `CONFIDENCE` not below the quantile: fewer draws than that are below it then.

    The number of draws below the quantile has a binomial distribution of `draws` and `COVERED`.
    """
    below = 0.0
    for rank in range(draws):
        ways = math.lgamma(draws + 1) - math.lgamma(rank + 1) - math.lgamma(draws - rank + 1)
        below += math.exp(ways + rank * math.log(COVERED) + (draws - rank) * math.log(1.0 - COVERED))
        if below >= CONFIDENCE:
            return rank + 1
    return draws
