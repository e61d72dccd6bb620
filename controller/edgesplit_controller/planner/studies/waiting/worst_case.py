"""Worst-case waiting of periodic requests: response-time analysis of busy periods, with jitter along the way.

Owns: how long a request may have to wait at most, whatever the phases and the order in which nodes and links take what is there. Its rule:
pure; a bound that cannot be given is infinite. Not here: how likely such a wait is (`random_phases.py`).

A node or link that always works while anything is there (work-conserving) is busy without a break for at most the least L > 0 with

    L = sum over pieces p on it of c_p ceil((L + J_p) / T_p)

where c_p are the piece's seconds, T_p the period of its stream, and J_p its jitter, by how much later than planned it may come there: the
longest wait before it [1, 2]. What comes within such a busy period leaves within it, in whatever order. From its start at a moment 0 to the end
of a request's piece only its own pieces and what others bring within L are worked on. So as long as a request is
alone of its stream (its worst latency is within its period), all its pieces that follow each other on the node or link wait together no longer
than what others bring:

    I = sum over pieces p of other streams of c_p ceil((L + J_p) / T_p).

Where requests of one stream may overlap, each piece waits at most L less its own seconds. The request's worst wait is that of its longest way through
its pieces, counting each node or link once per unbroken stay. Waits make jitter, and jitter waits: this is iterated from 0 to the least
fixed point (holistic analysis [2]); where none is found, there is no bound.

References: [1] M. Joseph, P. Pandya, Finding Response Times in a Real-Time System, The Computer Journal 29, 1986.
[2] K. Tindell, J. Clark, Holistic Schedulability Analysis for Distributed Hard Real-Time Systems, Microprocessing and
Microprogramming 40, 1994.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.studies.waiting.periodic_streams import (
    PeriodicStream,
    PieceOfWork,
    Resource,
)

__all__ = ["worst_waits"]

FULL = 1.0 - 1e-9
"""Of the time of a node or link: beyond it busy periods may never end. [1]"""
STEPS = 1000
"""Towards the length of a busy period; nearer to a full load there is no bound. [1]"""
ROUNDS = 100
"""Of waits and jitter towards their fixed point. [1]"""
LONGEST_PERIODS = 10.0
"""A busy period of so many of the longest periods is taken for one without end. [1]"""
ROUNDING = 1e-9
"""Of a number of periods: so much more than a whole number is that number. [1]"""

Floats = NDArray[np.float64]


@dataclass
class _SharedResource:
    """A node or link, and all pieces that come there."""

    owners: list[int] = field(default_factory=list[int])
    places: list[int] = field(default_factory=list[int])
    seconds: Floats = field(default_factory=lambda: np.zeros(0))
    periods_s: Floats = field(default_factory=lambda: np.zeros(0))
    busy_s: float = 0.0
    brought_s: dict[int, float] = field(default_factory=dict[int, float])


def worst_waits(streams: Sequence[PeriodicStream]) -> tuple[float, ...]:
    """How long a request of each stream waits at most, over what it takes alone; infinite where no bound is known. [s]

    Args:
        streams: All that share nodes and links.
    """
    return _Analysis(streams).run()


class _Analysis:
    """One call."""

    def __init__(self, streams: Sequence[PeriodicStream]) -> None:
        self._streams = streams
        self._jitter_s = [[0.0] * len(stream.pieces) for stream in streams]
        self._waits_s = [0.0] * len(streams)
        self._overlapping = [stream.latency_s > stream.period_s for stream in streams]
        self._shared = _shared(streams)
        periods = [stream.period_s for stream in streams if math.isfinite(stream.period_s)]
        self._limit_s = LONGEST_PERIODS * max(periods, default=1.0)

    def run(self) -> tuple[float, ...]:
        """Iterate until nothing changes; what keeps growing is infinite."""
        for _ in range(ROUNDS):
            before = list(self._waits_s), list(self._overlapping)
            for shared in self._shared.values():
                self._set_busy_period(shared)
            for index in range(len(self._streams)):
                self._set_waits(index)
            if before == (self._waits_s, self._overlapping):
                return tuple(self._waits_s)
        return (math.inf,) * len(self._streams)

    def _set_busy_period(self, shared: _SharedResource) -> None:
        """The longest busy period, and what each stream brings within it."""
        finite = np.isfinite(shared.periods_s)
        load = float((shared.seconds[finite] / shared.periods_s[finite]).sum())
        jitter_s = np.array(
            [self._jitter_s[owner][place] for owner, place in zip(shared.owners, shared.places, strict=True)]
        )
        busy_s = float(shared.seconds.sum())
        brought_s = shared.seconds
        for _ in range(STEPS):
            if load > FULL or not np.isfinite(jitter_s).all() or busy_s > self._limit_s:
                busy_s = math.inf
                break
            # Half-open windows: what comes as the last of it ends begins another busy period.
            periods = np.ceil((busy_s + jitter_s) / shared.periods_s - ROUNDING)
            brought_s = shared.seconds * np.maximum(periods, 1.0)
            longer_s = float(brought_s.sum())
            if longer_s <= busy_s * (1.0 + 1e-12):
                break
            busy_s = longer_s
        else:
            busy_s = math.inf
        shared.busy_s, shared.brought_s = busy_s, {}
        for owner, seconds in zip(shared.owners, brought_s.tolist(), strict=True):
            shared.brought_s[owner] = shared.brought_s.get(owner, 0.0) + seconds

    def _set_waits(self, index: int) -> None:
        """Jitter before each piece of a stream, and the longest wait of all."""
        stream, overlapping = self._streams[index], self._overlapping[index]
        stays: dict[Resource, float] = {}
        for resource in stream.resources:
            shared = self._shared[resource]
            alone = len(shared.brought_s) == 1 and not overlapping
            stays[resource] = 0.0 if alone else shared.busy_s - (0.0 if overlapping else shared.brought_s[index])
        jitter_s: list[float] = []
        ended_s: list[float] = []
        for piece in stream.pieces:
            own = () if piece.behind is None else (piece.behind,)
            earlier = {*piece.before, *own}
            jitter_s.append(max((ended_s[place] for place in earlier), default=0.0))
            if piece.seconds <= 0.0:
                ended_s.append(jitter_s[-1])
                continue
            stay_s = stays[piece.resource] - (piece.seconds if overlapping else 0.0)
            # A piece that goes on where the one before it left waits with it, within one busy period.
            ways = [
                ended_s[place] + (0.0 if _stays(stream, place, piece) and not overlapping else stay_s)
                for place in earlier
            ]
            ended_s.append(max(ways, default=stay_s))
        self._jitter_s[index] = jitter_s
        self._waits_s[index] = max(ended_s, default=0.0)
        if stream.latency_s + self._waits_s[index] > stream.period_s:
            self._overlapping[index] = True


def _stays(stream: PeriodicStream, place: int, piece: PieceOfWork) -> bool:
    """Whether a piece that follows another may go on where that one left."""
    earlier = stream.pieces[place]
    if earlier.seconds <= 0.0 or earlier.resource != piece.resource:
        return False
    return place == piece.behind or earlier.lag_s == 0.0


def _shared(streams: Sequence[PeriodicStream]) -> dict[Resource, _SharedResource]:
    found: dict[Resource, _SharedResource] = {}
    seconds: dict[Resource, list[float]] = {}
    periods_s: dict[Resource, list[float]] = {}
    for owner, stream in enumerate(streams):
        for place, piece in enumerate(stream.pieces):
            shared = found.setdefault(piece.resource, _SharedResource())
            shared.owners.append(owner)
            shared.places.append(place)
            seconds.setdefault(piece.resource, []).append(piece.seconds)
            periods_s.setdefault(piece.resource, []).append(stream.period_s)
    for resource, shared in found.items():
        shared.seconds, shared.periods_s = np.array(seconds[resource]), np.array(periods_s[resource])
    return found
