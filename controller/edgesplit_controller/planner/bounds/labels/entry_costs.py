"""Costs of table entries in every measure, and undominated alternatives where an entry has several.

Owns: the relaxation's tables without prices, as Pareto labels need them. Its rule: of several alternatives, as raw or under a
codec, those stay that no other one dominates. Not here: prices, labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.elimination import IMPOSSIBLE
from edgesplit_controller.planner.bounds.labels.limited_elimination import Alternatives
from edgesplit_controller.planner.bounds.relaxation import Relaxation
from edgesplit_controller.planner.bounds.state_index import Ints, States
from edgesplit_controller.planner.meaning.costs import Costs
from edgesplit_controller.planner.meaning.measures import NOISE

__all__ = ["Entries", "entries_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Entries:
    """All entries of all factors, one after the other.

    Attributes:
        measures: Shape (measures, entries); 0 where there are several options, infinite where there is none.
        first: Per entry the first of several options; -1 where there is one at most.
        count: Per entry, how many options; 1 where there is one at most.
        options: Measures of all options where there are several, shape (measures, options).
        mode: Of each of these, the place in its tensor's list of modes.
        only: Per entry, that place where there is one option; -1 where nothing is sent.
        sends: Whether anything travels coded at all.
        operators: Factors before those of tensors.
    """

    measures: Floats
    first: Ints
    count: Ints
    options: Floats
    mode: Ints
    only: Ints
    sends: bool
    operators: int

    def priced(self, states: States) -> tuple[States, Floats]:
        """The states that are possible, and what their factors cost where there is no choice."""
        base = np.zeros((len(self.measures), len(states.at)))
        for having, _, entry in states.factors:
            base[:, having] += self.measures[:, entry]
        possible = np.logical_and.reduce(np.isfinite(base), axis=0)
        return (states, base) if possible.all() else (states.take(possible), base[:, possible])

    def alternatives(self, states: States) -> list[Alternatives]:
        """Per slot of factors, the choices states have; none where no state has any."""
        found: list[Alternatives] = []
        for having, _, entry in states.factors:
            first = np.full(len(states.at), -1, dtype=np.int64)
            count = np.ones(len(states.at), dtype=np.int64)
            first[having], count[having] = self.first[entry], self.count[entry]
            if (first >= 0).any():
                found.append(Alternatives(first, count, self.options))
        return found

    def modes(self, states: States, parts: Sequence[tuple[int, Sequence[int]]]) -> dict[int, int]:
        """The mode of every tensor charged in some states, both by index.

        Args:
            states: As they were given to `alternatives`.
            parts: States, and the option chosen per alternatives.
        """
        found: dict[int, int] = {}
        if not self.sends:
            return found
        chosen = np.array([state for state, _ in parts], dtype=np.int64)
        slot = 0
        for having, factor, entry in states.factors:
            options = np.full(len(parts), -1, dtype=np.int64)
            if (self.first[entry] >= 0).any():
                options = np.array([option[slot] for _, option in parts], dtype=np.int64)
                slot += 1
            place = np.minimum(np.searchsorted(having, chosen), len(having) - 1)
            mode = np.where(options >= 0, self.mode[options] if len(self.mode) else -1, self.only[entry[place]])
            charged = np.flatnonzero((having[place] == chosen) & (mode >= 0))
            found.update(zip((factor[place[charged]] - self.operators).tolist(), mode[charged].tolist(), strict=True))
        return found


def entries_of(relaxation: Relaxation, costs: Costs) -> Entries:
    """Read the entries off a complete relaxation.

    Args:
        relaxation: One table per tensor.
        costs: The problem's; places that they do not allow are not possible.
    """
    compute = relaxation.compute.copy()
    compute[:, ~costs.allowed[relaxation.choices[0], relaxation.choices[1]]] = np.inf
    rows = len(compute)
    pattern = np.zeros((rows, 0))
    if relaxation.pattern is not None and relaxation.pattern_noise is not None:
        pattern = np.zeros((rows, relaxation.pattern.size))
        pattern[NOISE] = relaxation.pattern_noise.reshape(-1)
        pattern[:, relaxation.pattern.reshape(-1) > 0] = np.inf
    before, after = compute.shape[1], pattern.shape[1]
    wires = [np.where(never, IMPOSSIBLE, table) for table, never in relaxation.wires]
    sending = np.stack(wires or [np.zeros((costs.sent, 0))])
    kept = _kept(sending)
    number = kept.sum(axis=0)
    several = np.flatnonzero(number > 1)
    single = np.take_along_axis(sending, kept.argmax(axis=0)[None, None], axis=0)[0]
    single = np.where(number == 1, single, np.where(number > 1, 0.0, np.inf))
    table = np.repeat(np.arange(len(relaxation.modes)), [end - start for start, end in _wire_slices(relaxation, costs)])
    places = _places(relaxation, len(sending))
    option = [np.flatnonzero(kept[:, entry]) for entry in several.tolist()]
    of = np.repeat(several, number[several])
    chosen = np.concatenate([np.zeros(0, dtype=np.int64), *option])
    first = np.full(before + sending.shape[2] + after, -1, dtype=np.int64)
    count = np.ones_like(first)
    first[before + several] = np.cumsum(number[several]) - number[several]
    count[before + several] = number[several]
    only = np.full_like(first, -1)
    only[before : before + sending.shape[2]] = places[table, kept.argmax(axis=0)]
    return Entries(
        measures=np.concatenate([compute, _extended(single, rows), pattern], axis=1),
        first=first,
        count=count,
        options=_extended(sending[chosen, :, of].T, rows),
        mode=places[table[of], chosen],
        only=only,
        sends=any(mode.codec is not None for tensor in costs.tensors for mode in tensor.modes),
        operators=len(costs.operators),
    )


def _wire_slices(relaxation: Relaxation, costs: Costs) -> tuple[tuple[int, int], ...]:
    return relaxation.slices[len(costs.operators) :]


def _places(relaxation: Relaxation, most: int) -> Ints:
    """Per table of sending and place in its list of modes, the place in its tensor's list."""
    rows = [[*modes, *[modes[-1]] * (most - len(modes))] for modes in relaxation.modes]
    return np.array(rows, dtype=np.int64).reshape(len(rows), most)


def _extended(sending: Floats, rows: int) -> Floats:
    """Sending adds nothing to sums of weights."""
    return np.concatenate([sending, np.zeros((rows - len(sending), sending.shape[1]))])


def _kept(sending: Floats) -> NDArray[np.bool_]:
    """Options that are possible and that no other one beats, shape (options, entries); the first among equals."""
    kept = np.array([(option < IMPOSSIBLE / 2).all(axis=0) for option in sending], dtype=bool)
    for later in reversed(range(len(sending))):
        for other in range(len(sending)):
            if other != later:
                beats = np.logical_and.reduce(sending[other] <= sending[later], axis=0)
                if other > later:
                    beats &= np.logical_or.reduce(sending[other] < sending[later], axis=0)
                kept[later] &= ~(kept[other] & beats)
    return kept
