"""Waiting at random phases: Monte Carlo over the moments at which periodic requests of others begin.

Owns: the distribution of what a request waits for others. Its rule: pure and repeatable; who stays draws the same phases whoever else comes or goes
(common random numbers), so that more work of others never makes a draw wait less. Not here: the longest wait there is (`worst_case.py`).

Each stream sends a request every period, at a phase uniform over the period and independent of others'. A node or link takes pieces in the
order of their arrival (first come, first served), so that one that comes at a moment t waits for the work there [1],

    W(t) = max(0, sup over x >= 0 of A(t - x, t) - x),

where A(t - x, t) are the seconds of all pieces that came in the x seconds before. Others' pieces come when their plans say; that these wait
themselves, for each other and for this request, is left out. Where all periods divide the longest, A repeats with it; else x need not exceed
sum c_p / (1 - load), beyond which A - x is below 0. As many arrivals as that may be, only `MOST_ARRIVALS` of a draw are looked at: beyond them W
is at most what the longest x left out allows.

Phases stay as they are while periods are equal: who waits then waits at every request. A quantile is over draws of phases, and of a
single fleet one draw has happened.

References: [1] I. Norros, J. W. Roberts, A. Simonian, J. T. Virtamo, The Superposition of Variable Bit Rate Sources in an ATM
Multiplexer, IEEE JSAC 9, 1991: the sum of periodic streams as an input, by Benes' formula for virtual waiting times.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.studies.waiting.periodic_streams import PeriodicStream, PieceOfWork, Resource

__all__ = ["DRAWS", "DrawnWaits", "drawn_waits"]

DRAWS = 1000
"""Of all phases. [1]"""
MOST_ARRIVALS = 1024
"""That are looked at before a piece, of each draw. [1]"""
KEPT_PHASES = 1024
"""Streams whose phases are kept, 8 kB each. [1]"""
NOTHING_S = 1e-9
"""What is less than this is rounding. [s]"""
WHOLE = 1e-9
"""Of a number of periods: so near to a whole number is one. [1]"""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DrawnWaits:
    """What one stream's requests wait for, a value a draw; infinite where more is promised than there is time.

    Attributes:
        delays_s: By how much a request ends later than without others, shape (DRAWS,). [s]
        at_s: Node or link to what is waited there, likewise. [s]
    """

    delays_s: Floats
    at_s: dict[Resource, Floats]


def drawn_waits(stream: PeriodicStream, others: Sequence[PeriodicStream]) -> DrawnWaits:
    """Let a request meet the requests of others, and those of its own stream that are still on their way.

    Args:
        stream: Of the request.
        others: All others with a period; what shares no node and no link with it counts for nothing.
    """
    present = [_Comers(stream, resource, others) for resource in stream.resources]
    comers = dict(zip(stream.resources, present, strict=True))
    left_s: list[Floats] = []
    done_s: list[Floats] = []
    at_s: dict[Resource, Floats] = {}
    end_s = np.full(DRAWS, stream.begin_s)
    for piece in stream.pieces:
        ready_s = [done_s[place] for place in piece.before]
        if piece.behind is not None:
            ready_s.append(left_s[piece.behind])
        start_s: Floats = np.max([np.full(DRAWS, stream.begin_s), *ready_s], axis=0)
        if piece.seconds > 0.0:
            wait_s = comers[piece.resource].wait_s(start_s)
            comers[piece.resource].add(piece, start_s)
            start_s = start_s + wait_s
            at_s[piece.resource] = at_s.get(piece.resource, 0.0) + wait_s
        left_s.append(start_s + piece.seconds)
        done_s.append(left_s[-1] + piece.lag_s)
        end_s = np.maximum(end_s, done_s[-1])
    delays_s = end_s - stream.latency_s
    return DrawnWaits(np.where(delays_s > NOTHING_S, delays_s, 0.0), at_s)


@dataclass(frozen=True, slots=True)
class _Coming:
    """Pieces that come once a period.

    Attributes:
        seconds: Each takes. [s]
        period_s: Of its stream. [s]
        first_s: When one comes, counted from the request's begin, shape (DRAWS,). [s]
        own: They are the request's own stream's: the one that comes at `first_s` is the request's own.
    """

    seconds: float
    period_s: float
    first_s: Floats
    own: bool


class _Comers:
    """What comes to one node or link."""

    def __init__(self, stream: PeriodicStream, resource: Resource, others: Sequence[PeriodicStream]) -> None:
        self._coming = [
            _Coming(seconds, other.period_s, _phases(other.name) * other.period_s + start_s, own=False)
            for other in others
            for seconds, start_s in _pieces(other, resource)
        ]
        if math.isfinite(stream.period_s):
            self._coming += [
                _Coming(seconds, stream.period_s, np.full(DRAWS, start_s), own=True)
                for seconds, start_s in _pieces(stream, resource)
            ]
        self._own: list[tuple[float, Floats]] = []
        self._own_s = stream.busy_s(resource)
        self._load = sum(one.seconds / one.period_s for one in self._coming)
        self._once_s = sum(one.seconds for one in self._coming)

    def add(self, piece: PieceOfWork, arrived_s: Floats) -> None:
        """A piece of the request itself comes."""
        self._own.append((piece.seconds, arrived_s))

    def wait_s(self, at_s: Floats) -> Floats:
        """The work that is there, at a moment of each draw. [s]"""
        if self._load > 1.0 + WHOLE:
            return np.full(DRAWS, math.inf)
        if not self._coming or not np.isfinite(at_s).all():
            return np.where(np.isfinite(at_s), 0.0, math.inf)
        longest_s, rest_s = self._looked_back(at_s)
        seconds, ages_s = (
            np.concatenate(parts, axis=1) for parts in zip(*self._arrivals(at_s, longest_s), strict=True)
        )
        order = np.argsort(ages_s, axis=1, kind="stable")
        brought_s = np.cumsum(np.take_along_axis(seconds, order, axis=1), axis=1)
        waits_s = (brought_s - np.take_along_axis(ages_s, order, axis=1)).max(axis=1)
        waits_s = np.maximum(waits_s, rest_s)
        return np.where(waits_s > NOTHING_S, waits_s, 0.0)

    def _looked_back(self, at_s: Floats) -> tuple[float, float]:
        """How far back arrivals are looked at, and what those before may still mean. [s]"""
        every_s = self._once_s + self._own_s
        enough_s = every_s / (1.0 - self._load) if self._load < 1.0 else math.inf
        longest_period_s = max(one.period_s for one in self._coming)
        if all(_divides(one.period_s, longest_period_s) for one in self._coming):
            enough_s = min(enough_s, longest_period_s + float(at_s.max()))
        most_s = max(0.0, MOST_ARRIVALS - 2 * len(self._coming)) / sum(1.0 / one.period_s for one in self._coming)
        if enough_s <= most_s:
            return enough_s, 0.0
        return most_s, every_s - (1.0 - self._load) * most_s

    def _arrivals(self, at_s: Floats, longest_s: float) -> Iterator[tuple[Floats, Floats]]:
        """Seconds of pieces that came, and how long ago, shapes (DRAWS, arrivals)."""
        for one in self._coming:
            numbers = np.floor((at_s - one.first_s) / one.period_s)[:, np.newaxis]
            numbers = numbers - np.arange(math.ceil(longest_s / one.period_s) + 1)
            ages_s = at_s[:, np.newaxis] - one.first_s[:, np.newaxis] - numbers * one.period_s
            counted = (numbers != 0.0) if one.own else np.full(numbers.shape, True)
            yield np.where(counted, one.seconds, 0.0), np.maximum(ages_s, 0.0)
        for seconds, arrived_s in self._own:
            yield np.full((DRAWS, 1), seconds), (at_s - arrived_s)[:, np.newaxis]


def _pieces(stream: PeriodicStream, resource: Resource) -> Iterator[tuple[float, float]]:
    """Seconds and planned start of each piece of a request on a node or link. [s]"""
    for piece, start_s in zip(stream.pieces, stream.starts_s, strict=True):
        if piece.resource == resource and piece.seconds > 0.0:
            yield piece.seconds, start_s


def _divides(period_s: float, longest_s: float) -> bool:
    ratio = longest_s / period_s
    return abs(ratio - round(ratio)) <= WHOLE * ratio


@lru_cache(maxsize=KEPT_PHASES)
def _phases(name: str) -> Floats:
    """Of a stream, as shares of its period, shape (DRAWS,), the same for the same name in every program."""
    seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
    drawn = np.random.Generator(np.random.PCG64(seed)).random(DRAWS)
    drawn.flags.writeable = False
    return drawn
