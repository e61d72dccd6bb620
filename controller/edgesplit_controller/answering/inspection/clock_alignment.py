"""Alignment of nodes' monotonic clocks by difference constraints: by how much each is ahead of one of them.

Owns: what bounds on differences of clocks amount to. Its rule: pure; nothing arrives before it was sent, whatever the bounds leave open,
so that an aligned picture never shows an effect before its cause. Not here: where bounds come from (`trace_document.py`).

Clock b is ahead of clock a by at most w: an edge from a to b of length w. The least and the greatest amount by which a clock is ahead that
all bounds together admit are shortest paths there and back [1], found by Bellman and Ford's method; a circle of negative length is a contradiction.
The middles of these intervals satisfy all bounds at once, for both ends do, and bounds on differences are convex.

References: [1] T. H. Cormen and others, Introduction to Algorithms, 2009, 24.4 (difference constraints).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Alignment", "ClockBound", "align"]

TOLERANCE_S = 1e-9
"""What rounding may add up to. [s]"""


@dataclass(frozen=True)
class ClockBound:
    """The clock of `node` is ahead of the one of `of` by `most_s` at most. [s]"""

    of: str
    node: str
    most_s: float


@dataclass(frozen=True)
class Alignment:
    """By how much a clock is ahead. [s]

    Attributes:
        ahead_s: Taken off its times. [s]
        uncertain_s: It may be so much more or less; None where only one side is bounded. [s]
    """

    ahead_s: float
    uncertain_s: float | None


def align(origin: str, bounds: Sequence[ClockBound]) -> dict[str, Alignment] | None:
    """Every clock that bounds connect with the one of `origin`; None where they contradict each other."""
    most = _shortest(origin, [(bound.of, bound.node, bound.most_s) for bound in bounds])
    least = _shortest(origin, [(bound.node, bound.of, bound.most_s) for bound in bounds])
    if most is None or least is None:
        return None
    found: dict[str, Alignment] = {}
    for node in most.keys() | least.keys():
        high_s, low_s = most.get(node, math.inf), -least.get(node, math.inf)
        if math.isfinite(high_s) and math.isfinite(low_s):
            found[node] = Alignment((high_s + low_s) / 2, max(high_s - low_s, 0.0) / 2)
        else:
            found[node] = Alignment(high_s if math.isfinite(high_s) else low_s, None)
    return found


def _shortest(origin: str, edges: Iterable[tuple[str, str, float]]) -> dict[str, float] | None:
    """Length of the shortest path to each node; None where there is none, for circles of negative length."""
    edges = list(edges)
    far = {origin: 0.0}
    nodes = {origin, *(end for edge in edges for end in edge[:2])}
    for _ in nodes:
        changed = False
        for start, end, length in edges:
            if start in far and far[start] + length < far.get(end, math.inf) - TOLERANCE_S:
                far[end] = far[start] + length
                changed = True
        if not changed:
            return far
    return None
