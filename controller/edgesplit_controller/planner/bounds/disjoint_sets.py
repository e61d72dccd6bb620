"""Disjoint sets of indices that are joined one pair at a time.

Owns: union and find. Its rule: only the partition counts, which index stands for a set means nothing. Not here: why
indices belong together.
"""

from __future__ import annotations

__all__ = ["DisjointSets"]


class DisjointSets:
    """Indices 0 to `count` - 1, each alone at first."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, index: int) -> int:
        """The index that stands for the set `index` is in."""
        parent = self._parent
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    def join(self, first: int, second: int) -> bool:
        """Make one set of two; whether they were two."""
        low, high = sorted((self.root(first), self.root(second)))
        self._parent[high] = low
        return low != high
