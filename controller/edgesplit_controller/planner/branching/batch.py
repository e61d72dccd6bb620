"""Many eliminations at once: one relaxation at several prices and under several restrictions of its choices.

Owns: bucket elimination level by level, with one more axis, and what its minimisers cost in every measure. Its rule: the same sums as
`Relaxation.tables` and `Elimination.minimise`, in another order. Not here: which prices and restrictions.

Tables are small, and a call of numpy takes longer than what it computes on one of them. So the tables of all bags that wait for the same
number of others stand side by side, choice after choice, and are minimised together; and eight eliminations cost little more than one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.elimination import IMPOSSIBLE, Bag, Elimination
from edgesplit_controller.planner.bounds.relaxation import Relaxation
from edgesplit_controller.planner.bounds.state_index import StateLayout, States, lay_out
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.measures import NOISE

__all__ = ["Batch", "Choices", "Minima", "Modes", "choices_open"]

DENSE = 0.3
"""Share of the states from which on all of them are looked up."""

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Choices = NDArray[np.int16]
Modes = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Minima:
    """Of each restriction, the least sum.

    Attributes:
        value: Shape (restrictions,).
        choice: Of every variable, shape (restrictions, variables).
        modes: Of every tensor, the place in its list of modes, shape (restrictions, tensors); -1 where it is not sent.
        measures: Of the minimiser, shape (restrictions, measures).
    """

    value: Floats
    choice: Choices
    modes: Modes
    measures: Floats


def choices_open(relaxation: Relaxation, costs: Costs) -> NDArray[np.bool_]:
    """Which choices each variable has: an operator's nodes, then a bit's two, shape (variables, most of either)."""
    operators, nodes = costs.allowed.shape
    open_ = np.zeros((operators + len(relaxation.bits), max(nodes, 2)), dtype=bool)
    open_[:operators, :nodes] = costs.allowed
    open_[operators:, :2] = True
    return open_


class Batch:
    """A relaxation laid out for several eliminations at once.

    Args:
        relaxation: With or without patterns.
        costs: Those it was made of.
    """

    def __init__(self, relaxation: Relaxation, costs: Costs) -> None:
        elimination = relaxation.elimination
        sizes = [len(costs.nodes)] * len(costs.operators) + [2] * len(relaxation.bits)
        starts = [start for start, _ in relaxation.slices]
        if relaxation.pattern is not None:
            starts.append(relaxation.slices[-1][1])
        layout = lay_out(elimination, sizes, starts)
        self._relaxation = relaxation
        self._levels = _Levels(elimination, layout, sizes)
        self._factors = self._levels.factors
        self._closed = ~choices_open(relaxation, costs)
        self._rows = _Rows(elimination, starts)
        self._computing = slice(0, len(costs.operators))
        self._sent = slice(len(costs.operators), len(relaxation.slices))
        self._compute_entries = relaxation.compute.shape[1]
        self._never = np.flatnonzero(~costs.allowed[relaxation.choices[0], relaxation.choices[1]])
        self._tensor_slices = [
            slice(start - self._compute_entries, end - self._compute_entries)
            for start, end in relaxation.slices[len(costs.operators) :]
        ]
        self._last_mode = np.array([len(modes) - 1 for modes in relaxation.modes], dtype=np.int8)
        """Of every tensor, the last place in its list of modes; later places repeat it."""
        self._unsent = ~np.any([table.any(axis=0) | never for table, never in relaxation.wires], axis=0)
        self.states = layout.states

    def minimise(
        self, prices: Floats, open_: NDArray[np.bool_], closed: Sequence[Sequence[tuple[int, int]]] = ()
    ) -> Minima:
        """Find the least sums.

        Args:
            prices: Of the measures, shape (restrictions, measures).
            open_: Choices of each variable, shape (restrictions, variables, choices).
            closed: Per restriction, tensors and places in their lists of modes in which they are not sent.
        """
        flat, place = self._priced(prices, closed)
        row = np.zeros((len(prices), self.states))
        for having, entry in self._factors:
            if having is None:
                row += flat.take(entry, axis=1)
            else:
                row[:, having] += flat[:, entry]
        for at, variable, gone in np.argwhere(~open_ & ~self._closed).tolist():
            row[at, self._levels.states_of(variable, gone)] = IMPOSSIBLE
        value = self._levels.reduce(row)
        choice = self._levels.trace(row)
        modes, measures = self._measures(choice, place)
        return Minima(value, choice, modes, measures)

    def measured(self, choice: Choices, prices: Floats) -> Floats:
        """What assignments cost, sending in the modes that are cheapest at some prices, shape (assignments, measures).

        Args:
            choice: Of every variable, shape (assignments, variables); of the bits' patterns all must be listed.
            prices: Of the measures.
        """
        _, place = self._priced(prices[None])
        return self._measures(choice, place)[1]

    def _priced(self, prices: Floats, closed: Sequence[Sequence[tuple[int, int]]] = ()) -> tuple[Floats, Modes | None]:
        """Every entry of every factor at every price, and the place of the cheapest mode where something is sent.

        One entry more is 0.
        """
        relaxation = self._relaxation
        parts = [prices @ relaxation.compute]
        parts[0][:, self._never] = IMPOSSIBLE
        place: Modes | None = None
        if relaxation.wires:
            sending = self._sending(0, prices, closed)
            place = np.zeros(sending.shape, dtype=np.int8)
            for later in range(1, len(relaxation.wires)):
                other = self._sending(later, prices, closed)
                cheaper = other < sending
                place[cheaper] = later
                sending = np.where(cheaper, other, sending)
            parts.append(sending)
        if relaxation.pattern is not None and relaxation.pattern_noise is not None:
            noise = prices[:, NOISE, None] * relaxation.pattern_noise.reshape(-1)
            parts.append(relaxation.pattern.reshape(-1) + noise)
        parts.append(np.zeros((len(prices), 1)))
        return np.concatenate(parts, axis=1), place

    def _sending(self, place: int, prices: Floats, closed: Sequence[Sequence[tuple[int, int]]]) -> Floats:
        table, never = self._relaxation.wires[place]
        cost: Floats = prices[:, : len(table)] @ table
        cost[:, never] = IMPOSSIBLE
        for row, gone in enumerate(closed):
            for tensor, mode in gone:
                if mode == min(place, int(self._last_mode[tensor])):
                    entries = self._tensor_slices[tensor]
                    cost[row, entries][~self._unsent[entries]] = IMPOSSIBLE
        return cost

    def _measures(self, choice: Choices, place: Modes | None) -> tuple[Modes, Floats]:
        """How assignments send, and what they cost; infinity where they are not possible."""
        relaxation = self._relaxation
        entry = self._rows.entries(choice)
        computed, sent = entry[:, self._computing], entry[:, self._sent]
        measures: Floats = relaxation.compute[:, computed].sum(axis=2).T
        modes = np.full(sent.shape, -1, dtype=np.int8)
        if place is not None:
            sent = sent - self._compute_entries
            modes = np.take_along_axis(np.broadcast_to(place, (len(sent), place.shape[1])), sent, axis=1)
            for index, (table, never) in enumerate(relaxation.wires):
                chosen = modes == index
                measures[:, : len(table)] += (table[:, sent] * chosen).sum(axis=2).T
                measures[(chosen & never[sent]).any(axis=1)] = np.inf
            modes = np.where(self._unsent[sent], -1, np.minimum(modes, self._last_mode))
        if relaxation.pattern is not None and relaxation.pattern_noise is not None:
            pattern = entry[:, -1] - relaxation.slices[-1][1]
            measures[:, NOISE] += relaxation.pattern_noise.reshape(-1)[pattern]
            measures[relaxation.pattern.reshape(-1)[pattern] >= IMPOSSIBLE] = np.inf
        return modes, measures


@dataclass(frozen=True, slots=True)
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
    """

    states: slice
    messages: slice
    choices: int
    children: tuple[Ints, ...]
    variables: Ints
    begins: Ints
    others: Ints
    strides: Ints


class _Levels:
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
        self._roots = message_place[[int(message_starts[root]) for root in layout.roots]]
        self.factors = _factors(states, self._order)
        children = [message_place[child[self._order]] for child in states.children]
        self._levels = [_level(part, bags, sizes, children, self._messages) for part in parts]

    def states_of(self, variable: int, choice: int) -> slice:
        """Where a choice of a variable stands in the row of all states."""
        start, together, count = self._states_of[variable]
        return slice(start + choice * together, start + choice * together + count)

    def reduce(self, row: Floats) -> Floats:
        """Eliminate all variables; the least sums, shape (restrictions,). The row then holds the tables with what lies below them."""
        many = len(row)
        messages = np.zeros((many, self._messages + 1))
        for level in self._levels:
            table = row[:, level.states]
            for child in level.children:
                table += messages.take(child, axis=1)
            messages[:, level.messages] = _least(table.reshape(many, level.choices, -1))
        value: Floats = messages[:, self._roots].sum(axis=1)
        return value

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
        strides[place, : len(scope)] = _strides([sizes[variable] for variable in scope])
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
    )


def _strides(shape: Sequence[int]) -> list[int]:
    """Of a table in the order of its axes."""
    return list(itertools.accumulate(reversed(shape[1:]), lambda a, b: a * b, initial=1))[::-1] if shape else []


def _least(table: Floats) -> Floats:
    """Over the second axis, which is short: a reduction takes longer than what it reduces."""
    least = np.minimum(table[:, 0], table[:, 1]) if table.shape[1] > 1 else table[:, 0].copy()
    for choice in range(2, table.shape[1]):
        np.minimum(least, table[:, choice], out=least)
    return least


class _Rows:
    """Where in the row of all factors a joint choice finds its entries."""

    def __init__(self, elimination: Elimination, starts: Sequence[int]) -> None:
        scopes: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        for bag in elimination.bags:
            for factor, shape in bag.factors:
                # Variables without a choice of their own have an axis of size 1.
                kept = [(v, size) for v, size in zip(bag.scope, shape, strict=True) if size > 1]
                scopes[factor] = tuple(v for v, _ in kept), tuple(size for _, size in kept)
        most = max((len(scope) for scope, _ in scopes.values()), default=0)
        count = len(starts)
        self._variables = np.zeros((count, most), dtype=np.intp)
        self._strides = np.zeros((count, most), dtype=np.intp)
        self._starts = np.array(starts, dtype=np.intp)
        for factor, (scope, shape) in scopes.items():
            self._variables[factor, : len(scope)] = scope
            self._strides[factor, : len(scope)] = _strides(shape)

    def entries(self, choice: Choices) -> Ints:
        """Shape (restrictions, factors)."""
        found: Ints = self._starts + (choice[:, self._variables] * self._strides).sum(axis=2)
        return found
