"""Many eliminations at once: one relaxation at several prices and under several restrictions of its choices.

Owns: bucket elimination level by level, with one more axis, and what its minimisers cost in every measure. Its rule: the same sums as
`Relaxation.tables` and `Elimination.minimise`, in another order. Not here: which prices and restrictions.

Tables are small, and a call of numpy takes longer than what it computes on one of them. So the tables of all bags that wait for the same
number of others stand side by side, choice after choice, and are minimised together; and eight eliminations cost little more than one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.elimination import IMPOSSIBLE, Elimination
from edgesplit_controller.planner.bounds.labels.caps import CapRun
from edgesplit_controller.planner.bounds.relaxation import Relaxation
from edgesplit_controller.planner.bounds.state_index import lay_out
from edgesplit_controller.planner.branching.levels import Levels, strides_of
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.measures import NOISE

__all__ = ["Batch", "Choices", "Minima", "Modes", "choices_open"]

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
        self._levels = Levels(elimination, layout, sizes)
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
        row = self._levels.row(flat)
        for at, variable, gone in np.argwhere(~open_ & ~self._closed).tolist():
            row[at, self._levels.states_of(variable, gone)] = IMPOSSIBLE
        value, _ = self._levels.reduce(row)
        choice = self._levels.trace(row)
        modes, measures = self._measures(choice, place)
        return Minima(value, choice, modes, measures)

    def completions(self, prices: Floats) -> list[CapRun]:
        """What everything beyond each state adds at least, at some prices.

        Args:
            prices: Of the measures, shape (runs, measures).
        """
        flat, _ = self._priced(prices)
        row = self._levels.row(flat)
        _, messages = self._levels.reduce(row)
        least, outside, below = self._levels.beliefs(row, messages)
        return [CapRun(*run) for run in zip(prices, least, outside, below, strict=True)]

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
            self._strides[factor, : len(scope)] = strides_of(shape)

    def entries(self, choice: Choices) -> Ints:
        """Shape (restrictions, factors)."""
        found: Ints = self._starts + (choice[:, self._variables] * self._strides).sum(axis=2)
        return found
