"""Series of figures: counts, values and distributions by their labels.

Owns: what is counted, and adding up. Its rule: plain numbers, for the event loop alone; a series is there from its first figure until it is
dropped. Not here: which series there are (`metrics.py`), how Prometheus is told of them (`metrics_page.py`).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

__all__ = ["Buckets", "Kind", "LabelledDistributions", "LabelledFigures"]

Kind = Literal["count", "value"]


class LabelledFigures:
    """Numbers of one name.

    Args:
        kind: Whether they only grow.
        name: As on the page, without what Prometheus puts behind counts.
        text: What they are.
        labels: Names of labels.
    """

    def __init__(self, kind: Kind, name: str, text: str, *labels: str) -> None:
        self.kind: Kind = kind
        self.name = name
        self.text = text
        self.labels = labels
        self._values: dict[tuple[str, ...], float] = {}

    def add(self, by: float, *labels: str) -> None:
        """It is so much more."""
        self._values[labels] = self._values.get(labels, 0.0) + by

    def set(self, value: float, *labels: str) -> None:
        """It is that now."""
        self._values[labels] = float(value)

    def drop(self, *labels: str) -> None:
        """The series goes, if it was there."""
        self._values.pop(labels, None)

    def series(self) -> Mapping[tuple[str, ...], float]:
        """All, by the values of their labels."""
        return self._values


@dataclass
class Buckets:
    """A distribution.

    Attributes:
        bounds: The greatest value of each bucket but the last, which has none; ascending.
        counts: Of values in each.
        total: Sum of all values.
    """

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list[int])
    total: float = 0.0

    def __post_init__(self) -> None:
        """Empty."""
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """One more."""
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.total += value

    def up_to(self) -> Iterable[tuple[float, int]]:
        """Each bound, infinity last, and how many values are at most that."""
        return zip((*self.bounds, math.inf), accumulate(self.counts), strict=True)


class LabelledDistributions:
    """LabelledDistributions of one name.

    Args:
        name: As on the page.
        text: What they are.
        labels: Names of labels.
        bounds: See `Buckets`.
    """

    def __init__(self, name: str, text: str, *labels: str, bounds: Sequence[float]) -> None:
        self.name = name
        self.text = text
        self.labels = labels
        self._bounds = bounds
        self._found: dict[tuple[str, ...], Buckets] = {}

    def of(self, *labels: str) -> Buckets:
        """The one with these values of labels; there from now on."""
        return self._found.setdefault(labels, Buckets(self._bounds))

    def drop(self, *labels: str) -> None:
        """The series goes, if it was there."""
        self._found.pop(labels, None)

    def series(self) -> Mapping[tuple[str, ...], Buckets]:
        """All, by the values of their labels."""
        return self._found
