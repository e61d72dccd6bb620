"""Labels of all messages, level by level: what each amounts to, and what it was made of.

Owns: where a message's labels stand, in the order of one weighted sum, and the way back from a label to its states. Its rule: labels kept are
not changed. Not here: which are kept (`dominance.py`, `limited_elimination.py`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.state_index import Ints

__all__ = ["LabelStore", "Labels"]

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Labels:
    """Partial assignments of some states.

    Attributes:
        state: Of each.
        values: Measures so far, shape (measures, labels).
        children: Per slot of children, the label taken from there, or -1.
        options: Per `Alternatives`, the option taken, or -1.
    """

    state: Ints
    values: Floats
    children: list[Ints] = field(default_factory=list)
    options: list[Ints] = field(default_factory=list)

    def take(self, chosen: Ints | NDArray[np.bool_]) -> Labels:
        """Some of them."""
        return Labels(
            self.state[chosen],
            self.values[:, chosen],
            [child[chosen] for child in self.children],
            [option[chosen] for option in self.options],
        )

    @staticmethod
    def together(pieces: Sequence[Labels], empty: Labels) -> Labels:
        """Several one after the other; of none, `empty` says which slots there are."""
        every = [empty.take(np.zeros(0, dtype=np.int64)), *pieces]
        return Labels(
            np.concatenate([piece.state for piece in every]),
            np.concatenate([piece.values for piece in every], axis=1),
            [np.concatenate(rows) for rows in zip(*(piece.children for piece in every), strict=True)],
            [np.concatenate(rows) for rows in zip(*(piece.options for piece in every), strict=True)],
        )


class LabelStore:
    """The labels of all messages, level by level, and what each was made of.

    Args:
        measures: How many.
        messages: Entries of all messages.
        weights: Of the measures; a message's labels are kept in the order of this sum.
    """

    def __init__(self, measures: int, messages: int, weights: Floats) -> None:
        self.values = np.empty((measures, 4096))
        self.sums = np.empty(4096)
        self.first = np.zeros(messages, dtype=np.int64)
        self.count = np.zeros(messages, dtype=np.int64)
        self.starts: list[int] = []
        self.levels: list[Labels] = []
        self.used = 0
        self._weights = weights

    def add(self, labels: Labels, message: Ints) -> None:
        """Keep one level's labels."""
        sums = self._weights @ labels.values
        order = np.lexsort((sums, message))
        labels, message = labels.take(order), message[order]
        size = self.used + len(message)
        if size > self.values.shape[1]:
            self.values = np.concatenate([self.values, np.empty((len(self.values), size))], axis=1)
            self.sums = np.concatenate([self.sums, np.empty(size)])
        self.values[:, self.used : size], self.sums[self.used : size] = labels.values, sums[order]
        if len(message):
            begins = np.flatnonzero(np.concatenate([[True], message[1:] != message[:-1]]))
            self.first[message[begins]] = self.used + begins
            self.count[message[begins]] = np.diff(np.concatenate([begins, [len(message)]]))
        self.starts.append(self.used)
        self.levels.append(labels)
        self.used = size

    def up_to(self, message: Ints, most: Floats) -> Ints:
        """How many labels of some messages have at most so much of the sum."""
        low = self.first[message]
        begin, high = low, low + self.count[message]
        for _ in range(int(self.count.max(initial=0)).bit_length()):
            middle = (low + high) // 2
            fits = (low < high) & (self.sums[np.minimum(middle, len(self.sums) - 1)] <= most)
            low, high = np.where(fits, middle + 1, low), np.where(fits, high, middle)
        found: Ints = low - begin
        return found

    def parts(self, label: int) -> list[tuple[int, list[int]]]:
        """The states a label was made of and the options taken there."""
        waiting, found = [label], []
        while waiting:
            label = waiting.pop()
            level = bisect_right(self.starts, label) - 1
            labels, place = self.levels[level], label - self.starts[level]
            found.append((int(labels.state[place]), [int(option[place]) for option in labels.options]))
            waiting += [int(child[place]) for child in labels.children if child[place] >= 0]
        return found
