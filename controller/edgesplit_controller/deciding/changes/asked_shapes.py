"""Sizes that requests have against those that plans are made for: how many would take a plan of their own.

Owns: the sizes of a model's last requests, and which of them come together. Its rule: a size counts with those near
it; what was counted before this was first looked at says nothing. Not here: what a plan would save them (`shape_worth.py`), how long
that has to last, what follows (`deciding/beside/shape_watch.py`).
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence

from edgesplit.control.figure_messages import AskedSizes
from edgesplit.significance import NEAR_SIZES, SHAPE_WORTH
from edgesplit.wire.tensor_spec import TensorSpec

__all__ = ["AskedShapes", "ShapeUse", "Sizes", "nearest_shape"]

Sizes = tuple[tuple[str, tuple[int, ...]], ...]
"""Inputs with open axes and their shapes."""

RECENT = 1_000
"""Requests that are looked back at."""
LEAST = 50
"""Requests of a size, and of those near it, that it takes to be worth a plan."""
IDLE_AFTER_S = 1800.0
"""A shape that nobody named goes after so long without a request, while its model had `IDLE_REQUESTS`. [s]"""
IDLE_REQUESTS = 200
MOST_CANDIDATES = 3
"""Sizes that are weighed at a time."""
_MOST_KNOWN = 512
"""Different sizes whose counts are remembered."""


class AskedShapes:
    """Of one model."""

    def __init__(self) -> None:
        self._counted: dict[Sizes, int] | None = None
        self._recent: deque[tuple[Sizes, int]] = deque()

    def take(self, asked: Iterable[AskedSizes]) -> Counter[Sizes]:
        """Take in what nodes counted so far; returns what that adds to what was known."""
        now = {tuple(sorted(entry.inputs.items())): entry.requests for entry in asked}
        before = self._counted
        new: Counter[Sizes] = Counter()
        if before is not None:
            new.update({sizes: more for sizes, count in now.items() if (more := count - before.get(sizes, 0)) > 0})
        known = {**(before or {}), **now}
        self._counted = dict(list(known.items())[-_MOST_KNOWN:])
        self._recent.extend(new.items())
        surplus = sum(count for _, count in self._recent) - RECENT
        while surplus > 0:
            sizes, count = self._recent.popleft()
            if count > surplus:
                self._recent.appendleft((sizes, count - surplus))
            surplus -= count
        return new

    @property
    def recent(self) -> Counter[Sizes]:
        """The last requests, by their sizes."""
        found: Counter[Sizes] = Counter()
        for sizes, count in self._recent:
            found[sizes] += count
        return found

    def candidates(
        self, planned: Mapping[str, Sequence[TensorSpec]], refused: Iterable[Sizes] = ()
    ) -> list[tuple[Sizes, float]]:
        """Sizes that might be worth a plan, most asked first, each with the share of requests that would take that plan.

        Those are requests of the size, and of others near it that are further from all that is planned.

        Args:
            planned: Name of each planning shape to the inputs that have open axes.
            refused: Sizes that are not planned for, nor are those near them.
        """
        recent, near = self.recent, math.log(NEAR_SIZES)
        far = {sizes: nearest_shape(sizes, planned)[1] for sizes in recent}
        barred = frozenset(refused)
        able = [sizes for sizes in recent if far[sizes] > 0 and all(_between(sizes, one) > near for one in barred)]
        found: list[tuple[Sizes, float]] = []
        for sizes in sorted(able, key=lambda one: (-recent[one], one)):
            if any(_between(sizes, known) <= near for known, _ in found):
                continue
            apart = {other: _between(sizes, other) for other in recent}
            count = sum(recent[other] for other in recent if apart[other] <= near and apart[other] < far[other])
            if count >= max(LEAST, SHAPE_WORTH * recent.total()):
                found.append((sizes, count / recent.total()))
        return sorted(found, key=lambda one: -one[1])[:MOST_CANDIDATES]

    def share(self, name: str, planned: Mapping[str, Sequence[TensorSpec]]) -> float:
        """The share of the last requests whose nearest planning shape is this one."""
        recent = self.recent
        mine = sum(count for sizes, count in recent.items() if nearest_shape(sizes, planned)[0] == name)
        return mine / recent.total() if recent else 0.0


class ShapeUse:
    """How long the planning shapes of one model are without requests."""

    def __init__(self) -> None:
        self._idle: dict[str, tuple[float, int]] = {}
        """Name to when it was asked last, and how many requests of others came since."""

    def count(self, new: Mapping[Sizes, int], planned: Mapping[str, Sequence[TensorSpec]], now_s: float) -> None:
        """Take in new requests, by their sizes."""
        asked = {nearest_shape(sizes, planned)[0] for sizes in new}
        requests = sum(new.values())
        for name in planned:
            since_s, others = self._idle.get(name, (now_s, 0))
            self._idle[name] = (now_s, 0) if name in asked else (since_s, others + requests)

    def is_idle(self, name: str, now_s: float) -> bool:
        """Whether nobody asks for a planning shape."""
        since_s, others = self._idle.get(name, (now_s, 0))
        return now_s - since_s >= IDLE_AFTER_S and others >= IDLE_REQUESTS

    def forget(self, name: str) -> None:
        """It is planned for no more."""
        self._idle.pop(name, None)


def nearest_shape(sizes: Sizes, planned: Mapping[str, Sequence[TensorSpec]]) -> tuple[str, float]:
    """The planning shape whose plan such requests take if it serves, and how far it is.

    Args:
        sizes: Of a request.
        planned: Name of each planning shape to the inputs that have open axes, the first one first.
    """
    shapes = dict(sizes)
    best, least = next(iter(planned), ""), math.inf
    for name, specs in planned.items():
        far = sum(spec.distance(shapes.get(spec.name, ())) for spec in specs)
        if far < least:
            best, least = name, far
    return best, least


def _between(one: Sizes, other: Sizes) -> float:
    pairs = zip(one, other, strict=False)
    return sum(
        abs(math.log(max(mine, 1) / max(its, 1)))
        for (_, left), (_, right) in pairs
        for mine, its in zip(left, right, strict=False)
    )
