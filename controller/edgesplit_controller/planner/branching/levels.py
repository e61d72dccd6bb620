"""Bucket elimination level by level, of several rows of tables at once.

Owns: where states and messages of one level stand, minimising them upwards, and what that means for every state downwards. Its rule: the same
sums as `Elimination.minimise` and `Elimination.beliefs`, in another order. Not here: what the tables hold (`batch.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.elimination import Bag, Elimination
from edgesplit_controller.planner.bounds.state_index import StateLayout, States

__all__ = ["Levels", "strides_of"]

DENSE = 0.3
"""Share of the states from which on all of them are looked up."""

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Choices = NDArray[np.int16]


@dataclass(frozen=True)
class _Level:
    """Bags that are eliminated together: all of one level whose variables have the same number of choices.

    Attributes:
        states: Their place in the row of all states: choice after choice, bag after bag within a choice.
        messages: The place of their messages, bag after bag.
        choices: Of their variables.
        children: Per slot, the message that each state takes, the last one of all for none.
        variables: Eliminated there.
        begins: Of each bag, where its message begins within the level's.
        others: Further variables of each bag's scope, shape (bags, most); filled up by the first.
        strides: By which these tell the message's entry; 0 for those filled up.
        nothing: The place that stands for no message.
    """

    states: slice
    messages: slice
    choices: int
    children: tuple[Ints, ...]
    variables: Ints
    begins: Ints
    others: Ints
    strides: Ints
    nothing: int

    @cached_property
    def takers(self) -> list[tuple[Ints, Ints, Ints]]:
        """Per slot of children, the states in the order of the messages that they take, where each of these begins, and the messages."""
        found: list[tuple[Ints, Ints, Ints]] = []
        for child in self.children:
            order = np.argsort(child, kind="stable")
            taken = child[order]
            order, taken = order[taken != self.nothing], taken[taken != self.nothing]
            begins = np.flatnonzero(np.concatenate([[True], taken[1:] != taken[:-1]]))
            found.append((order, begins, taken[begins]))
        return found


class Levels:
    """An elimination laid out by levels."""

    def __init__(self, elimination: Elimination, layout: StateLayout, sizes: Sequence[int]) -> None:
        bags = elimination.bags
        entries = np.array([int(np.prod([sizes[v] for v in bag.scope[1:]], dtype=np.int64)) for bag in bags])
        table_starts = np.cumsum([0, *(entries * [sizes[bag.scope[0]] for bag in bags])])
        message_starts = np.cumsum([0, *entries])
        groups: dict[tuple[int, int], list[int]] = {}
        for place, bag in enumerate(bags):
            groups.setdefault((int(layout.level[place]), sizes[bag.scope[0]]), []).append(place)
        self._order = np.empty(layout.states, dtype=np.intp)
        """Of every state in the order of levels, its place in the order of bags."""
        message_place = np.full(layout.messages + 1, layout.messages, dtype=np.intp)
        self._states_of: dict[int, tuple[int, int, int]] = {}
        parts: list[tuple[list[int], int, slice, slice, Ints]] = []
        state = message = 0
        for (_, choices), members in sorted(groups.items()):
            begins = np.cumsum([0, *entries[members]])
            together = int(begins[-1])
            for member, begin in zip(members, begins[:-1].tolist(), strict=True):
                count = int(entries[member])
                message_place[message_starts[member] : message_starts[member] + count] = (
                    message + begin + np.arange(count)
                )
                for choice in range(choices):
                    at = state + choice * together + begin
                    own = table_starts[member] + choice * count
                    self._order[at : at + count] = np.arange(own, own + count)
                self._states_of[bags[member].scope[0]] = state + begin, together, count
            parts.append(
                (members, choices, slice(state, state + choices * together), slice(message, message + together), begins)
            )
            state, message = state + choices * together, message + together
        states = layout.look_up(np.arange(layout.states))
        self._messages = layout.messages
        self._message_place = message_place[:-1]
        self._roots = message_place[[int(message_starts[root]) for root in layout.roots]]
        self._factors = _factors(states, self._order)
        children = [message_place[child[self._order]] for child in states.children]
        self._levels = [_level(part, bags, sizes, children, self._messages) for part in parts]

    def states_of(self, variable: int, choice: int) -> slice:
        """Where a choice of a variable stands in the row of all states."""
        start, together, count = self._states_of[variable]
        return slice(start + choice * together, start + choice * together + count)

    def row(self, flat: Floats) -> Floats:
        """All tables, shape (restrictions, states).

        Args:
            flat: Every entry of every factor, and 0 for none, shape (restrictions, entries + 1).
        """
        row = np.zeros((len(flat), len(self._order)))
        for having, entry in self._factors:
            if having is None:
                row += flat.take(entry, axis=1)
            else:
                row[:, having] += flat[:, entry]
        return row

    def reduce(self, row: Floats) -> tuple[Floats, Floats]:
        """Eliminate all variables; the row then holds the tables with what lies below them.

        Returns:
            The least sums, shape (restrictions,), and all messages.
        """
        many = len(row)
        messages = np.zeros((many, self._messages + 1))
        for level in self._levels:
            table = row[:, level.states]
            for child in level.children:
                table += messages.take(child, axis=1)
            messages[:, level.messages] = _least(table.reshape(many, level.choices, -1))
        value: Floats = messages[:, self._roots].sum(axis=1)
        return value, messages

    def beliefs(self, row: Floats, messages: Floats) -> tuple[Floats, Floats, Floats]:
        """The least sum with each state, what of that lies beyond its own table, and the messages, each in the order of bags.

        Args:
            row: Reduced.
            messages: Of that.
        """
        many = len(row)
        beyond = np.full((many, self._messages + 1), np.inf)
        beyond[:, self._roots] = messages[:, self._roots].sum(axis=1, keepdims=True) - messages[:, self._roots]
        least, outside = np.empty_like(row), np.empty_like(row)
        for level in reversed(self._levels):
            rest = np.tile(beyond[:, level.messages], level.choices)
            belief = row[:, level.states] + rest
            for order, begins, child in level.takers:
                beyond[:, child] = np.minimum.reduceat(belief[:, order], begins, axis=1) - messages[:, child]
            least[:, self._order[level.states]], outside[:, self._order[level.states]] = belief, rest
        return least, outside, messages[:, self._message_place]

    def trace(self, row: Floats) -> Choices:
        """The choices that attain the least sums, shape (restrictions, variables)."""
        each = np.arange(len(row))[:, None, None]
        choice = np.zeros((len(row), sum(len(level.variables) for level in self._levels)), dtype=np.int16)
        for level in reversed(self._levels):
            entry = level.begins + (choice[:, level.others] * level.strides).sum(axis=2)
            together = level.messages.stop - level.messages.start
            at = level.states.start + np.arange(level.choices)[:, None] * together + entry[:, None, :]
            choice[:, level.variables] = row[each, at].argmin(axis=1)
        return choice


def _factors(states: States, order: Ints) -> list[tuple[Ints | None, Ints]]:
    """Per slot of factors, the states that have one and its entry; None for the states where so many have one that all are looked up."""
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order))
    found: list[tuple[Ints | None, Ints]] = []
    for having, _, entry in states.factors:
        if len(having) < DENSE * len(order):
            found.append((place[having], entry))
        else:
            every = np.full(len(order), -1, dtype=np.intp)
            every[place[having]] = entry
            found.append((None, every))
    return found


def _level(
    part: tuple[list[int], int, slice, slice, Ints],
    bags: Sequence[Bag],
    sizes: Sequence[int],
    children: Sequence[Ints],
    nothing: int,
) -> _Level:
    members, choices, states, messages, begins = part
    scopes: list[tuple[int, ...]] = [bags[member].scope[1:] for member in members]
    most = max((len(scope) for scope in scopes), default=0)
    others = np.zeros((len(members), most), dtype=np.intp)
    strides = np.zeros((len(members), most), dtype=np.intp)
    for place, scope in enumerate(scopes):
        others[place, : len(scope)] = scope
        strides[place, : len(scope)] = strides_of([sizes[variable] for variable in scope])
    taken = [child[states] for child in children]
    return _Level(
        states,
        messages,
        choices,
        tuple(child for child in taken if (child != nothing).any()),
        np.array([bags[member].scope[0] for member in members], dtype=np.intp),
        begins[:-1],
        others,
        strides,
        nothing,
    )


def strides_of(shape: Sequence[int]) -> list[int]:
    """Of a table in the order of its axes."""
    return list(itertools.accumulate(reversed(shape[1:]), lambda a, b: a * b, initial=1))[::-1] if shape else []


def _least(table: Floats) -> Floats:
    """Over the second axis, which is short: a reduction takes longer than what it reduces."""
    least = np.minimum(table[:, 0], table[:, 1]) if table.shape[1] > 1 else table[:, 0].copy()
    for choice in range(2, table.shape[1]):
        np.minimum(least, table[:, choice], out=least)
    return least
