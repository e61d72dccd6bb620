"""Flat indices of an elimination's tables: where a joint choice finds its factors and messages.

Owns: the correspondence between joint choices ("states") of all bags in one row and the entries of factors and
messages that belong to them. Its rule: it depends on the elimination's order alone, so that one layout serves every
objective. Not here: costs, labels.

All bags' tables stand one after the other; so do all messages, and so do all factors. Everything is looked up for
many states at once, whatever bag they belong to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.elimination import Elimination, Shape

__all__ = ["Ints", "StateLayout", "States", "count_states", "lay_out"]

Ints = NDArray[np.int64]
Small = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class _Slot:
    """The k-th factor, or child, of every bag that has so many.

    Attributes:
        starts: Per bag, where its row of `entries` begins; -1 where it has no such factor.
        offset: Per bag, where the factor's, or the message's, own entries begin.
        which: Per bag, the index of the factor, or of the child's bag; -1 for none.
        entries: Of every state of these bags, the entry within that factor.
    """

    starts: Ints
    offset: Ints
    which: Ints
    entries: Small

    def entry(self, bag: Ints, local: Ints) -> Ints:
        """Entries of states whose bags have this slot."""
        found: Ints = self.entries[self.starts[bag] + local] + self.offset[bag]
        return found


@dataclass(frozen=True, slots=True)
class States:
    """Chosen states of all bags, in the order of the bags.

    Attributes:
        at: Of each state, its place in the row of all tables.
        bag: Of each state, its bag's place in the order of elimination.
        choice: Value of the bag's own variable.
        message: Entry in the row of all messages that the state is a candidate for.
        factors: Per slot, the states that have one, the factor, and the entry in the row of all factors.
        children: Per slot, the entry in the row of all messages; -1 where the state's bag has no such child.
    """

    at: Ints
    bag: Ints
    choice: Ints
    message: Ints
    factors: tuple[tuple[Ints, Ints, Ints], ...]
    children: tuple[Ints, ...]

    def take(self, chosen: NDArray[np.bool_]) -> States:
        """Some of them."""
        place = np.cumsum(chosen) - 1
        factors = [
            (place[having[chosen[having]]], factor[chosen[having]], entry[chosen[having]])
            for having, factor, entry in self.factors
        ]
        return States(
            at=self.at[chosen],
            bag=self.bag[chosen],
            choice=self.choice[chosen],
            message=self.message[chosen],
            factors=tuple(factors),
            children=tuple(child[chosen] for child in self.children),
        )


@dataclass(frozen=True, slots=True)
class StateLayout:
    """The layout of one elimination.

    Attributes:
        variables: Per bag, the variable that is eliminated there.
        level: Per bag, the most bags on a way down from it; children are on lower levels.
        roots: Bags whose message is one number.
        messages: Entries of all messages.
        states: Of all tables.
    """

    variables: tuple[int, ...]
    level: Ints
    roots: tuple[int, ...]
    messages: int
    states: int
    _table_starts: Ints
    _message_starts: Ints
    _factors: tuple[_Slot, ...]
    _children: tuple[_Slot, ...]

    def message_of(self, root: int) -> int:
        """The place of a root's number in the row of all messages."""
        return int(self._message_starts[root])

    def look_up(self, at: Ints) -> States:
        """Look states up.

        Args:
            at: Places in the row of all tables, rising.
        """
        bag = np.searchsorted(self._table_starts, at, side="right") - 1
        local = at - self._table_starts[bag]
        entries = self._message_starts[bag + 1] - self._message_starts[bag]
        factors: list[tuple[Ints, Ints, Ints]] = []
        for slot in self._factors:
            having = np.flatnonzero(slot.starts[bag] >= 0)
            owner = bag[having]
            factors.append((having, slot.which[owner], slot.entry(owner, local[having])))
        children: list[Ints] = []
        for slot in self._children:
            having = np.flatnonzero(slot.starts[bag] >= 0)
            entry = np.full(len(at), -1, dtype=np.int64)
            entry[having] = slot.entry(bag[having], local[having])
            children.append(entry)
        return States(
            at=at,
            bag=bag,
            choice=local // entries,
            message=self._message_starts[bag] + local % entries,
            factors=tuple(factors),
            children=tuple(children),
        )


def count_states(elimination: Elimination, sizes: Sequence[int]) -> int:
    """Entries of all tables of an elimination."""
    return sum(math.prod(sizes[variable] for variable in bag.scope) for bag in elimination.bags)


def lay_out(elimination: Elimination, sizes: Sequence[int], factor_starts: Sequence[int]) -> StateLayout:
    """Lay an elimination out.

    Args:
        elimination: The order.
        sizes: Choices per variable.
        factor_starts: Per factor, its first entry in the row of all factors.
    """
    bags = elimination.bags
    shapes = [tuple(sizes[variable] for variable in bag.scope) for bag in bags]
    tables = np.array([np.prod(shape, dtype=np.int64) for shape in shapes], dtype=np.int64)
    messages = tables // np.array([shape[0] for shape in shapes], dtype=np.int64)
    message_starts = np.concatenate([[0], np.cumsum(messages)])
    level = np.zeros(len(bags), dtype=np.int64)
    for place, bag in enumerate(bags):
        level[place] = 1 + max((int(level[child]) for child, _ in bag.children), default=-1)
    return StateLayout(
        variables=tuple(bag.scope[0] for bag in bags),
        level=level,
        roots=tuple(place for place, bag in enumerate(bags) if len(bag.scope) == 1),
        messages=int(message_starts[-1]),
        states=int(tables.sum()),
        _table_starts=np.concatenate([[0], np.cumsum(tables)]),
        _message_starts=message_starts,
        _factors=_slots([bag.factors for bag in bags], shapes, lambda factor: factor_starts[factor]),
        _children=_slots([bag.children for bag in bags], shapes, lambda child: int(message_starts[child])),
    )


def _slots(
    parts: Sequence[Sequence[tuple[int, Shape]]], shapes: Sequence[Shape], begin: Callable[[int], int]
) -> tuple[_Slot, ...]:
    slots: list[_Slot] = []
    for place in range(max((len(part) for part in parts), default=0)):
        starts, offset, which = (np.full(len(parts), -1, dtype=np.int64) for _ in range(3))
        rows: list[Small] = []
        used = 0
        for bag, part in enumerate(parts):
            if place < len(part):
                which[bag], shape = part[place]
                offset[bag], starts[bag] = begin(part[place][0]), used
                rows.append(_entries(shape, shapes[bag]))
                used += len(rows[-1])
        slots.append(_Slot(starts, offset, which, np.concatenate(rows)))
    return tuple(slots)


@lru_cache(maxsize=512)
def _entries(part: Shape, whole: Shape) -> Small:
    """For every entry of a table, the entry of one that broadcasts over it."""
    entries = np.arange(np.prod(part, dtype=np.int64), dtype=np.int32).reshape(part)
    return np.broadcast_to(entries, whole).reshape(-1)
