"""Label-setting elimination (resource constraints): a Pareto set of labels per joint choice instead of the cheapest.

Owns: dynamic programming over the same order as `elimination`, where a message's entry holds several partial
assignments, none better than another in everything that counts, instead of the cheapest alone. Its rule: a label is
dropped only when another one of the same choice is at most as large in the objective and in every limited measure, or when
no completion can stay within the caps; what is left at the end therefore holds an optimum. Not here: prices, ceilings.

Limits on a sum couple the whole graph, which is why Lagrangian prices leave a gap and a general solver has to search
in it. Labels close it: where the limited measure accrues at one node only (the device's energy), few of them differ.
Completions are bounded by runs of the plain elimination at several prices. When labels become too many nothing is
said, and the caller searches.

References: M. Desrochers, F. Soumis, A generalized permanent labelling algorithm for the shortest path problem with
time windows, INFOR 26, 1988; R. Dechter, Bucket elimination, Artificial Intelligence 113, 1999.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.state_index import Ints, StateLayout, States

__all__ = ["Alternatives", "Cap", "Finding", "eliminate", "undominated"]

Floats = NDArray[np.float64]

MOST_AT_ONCE = 2_000_000
"""Of one level, before any is dropped."""

CHUNK = 100_000
"""Labels made at a time, before those out of reach are dropped."""

COMPARED = 24
"""Labels before it, in the order of the objective, that a label is compared with where more than two measures count."""

LEADERS = 8
"""First labels of a group that every label of it is compared with."""


@dataclass(frozen=True, slots=True)
class Cap:
    """No plan worth finding has more than this of a weighted sum of measures.

    Attributes:
        weights: Of the measures.
        most: The sum's upper bound, rounding errors granted.
        outside: Per state, the least that everything beyond its bag's table adds to the weighted sum: a label's own
            sum plus this bounds all its completions from below.
        ahead: Per slot of children and state, what the children of later slots, and options, add at least, too.
    """

    weights: Floats
    most: float
    outside: Floats
    ahead: tuple[Floats, ...]


@dataclass(frozen=True, slots=True)
class Alternatives:
    """Options to pay for one of a state's factors, as a codec trades size for noise.

    Attributes:
        first: Per state, its first option; -1 where there is no choice.
        count: Per state, how many; 1 where there is no choice.
        measures: Of each option, shape (measures, options).
    """

    first: Ints
    count: Ints
    measures: Floats

    def least(self, weights: Floats) -> Floats:
        """Per state, the least weighted sum of any option; 0 where there is no choice."""
        least = np.zeros(len(self.first))
        chosen = np.flatnonzero(self.first >= 0)
        first, count, sums = self.first[chosen], self.count[chosen], weights @ self.measures
        for option in range(int(count.max(initial=0))):
            cost = sums[np.minimum(first + option, len(sums) - 1)]
            least[chosen] = np.where(
                option == 0, cost, np.where(option < count, np.minimum(least[chosen], cost), least[chosen])
            )
        return least


@dataclass(frozen=True, slots=True)
class Finding:
    """Complete labels, none dominated.

    Attributes:
        measures: Shape (measures, labels).
        parts: Of a label, the states it consists of and the options chosen in each (-1 for none), one per `Alternatives`.
    """

    measures: Floats
    parts: Callable[[int], list[tuple[int, list[int]]]]


@dataclass(slots=True)
class _Labels:
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

    def take(self, chosen: Ints | NDArray[np.bool_]) -> _Labels:
        """Some of them."""
        return _Labels(
            self.state[chosen],
            self.values[:, chosen],
            [child[chosen] for child in self.children],
            [option[chosen] for option in self.options],
        )

    @staticmethod
    def together(pieces: Sequence[_Labels], empty: _Labels) -> _Labels:
        """Several one after the other; of none, `empty` says which slots there are."""
        every = [empty.take(np.zeros(0, dtype=np.int64)), *pieces]
        return _Labels(
            np.concatenate([piece.state for piece in every]),
            np.concatenate([piece.values for piece in every], axis=1),
            [np.concatenate(rows) for rows in zip(*(piece.children for piece in every), strict=True)],
            [np.concatenate(rows) for rows in zip(*(piece.options for piece in every), strict=True)],
        )


class _Store:
    """The labels of all messages, level by level, and what each was made of."""

    def __init__(self, measures: int, messages: int) -> None:
        self.values = np.empty((measures, 4096))
        self.first = np.zeros(messages, dtype=np.int64)
        self.count = np.zeros(messages, dtype=np.int64)
        self.starts: list[int] = []
        self.levels: list[_Labels] = []
        self.used = 0

    def add(self, labels: _Labels, message: Ints) -> None:
        """Keep one level's labels, sorted by message."""
        size = self.used + len(message)
        if size > self.values.shape[1]:
            values = np.empty((len(self.values), 2 * size))
            values[:, : self.used] = self.values[:, : self.used]
            self.values = values
        self.values[:, self.used : size] = labels.values
        if len(message):
            begins = np.flatnonzero(np.concatenate([[True], message[1:] != message[:-1]]))
            self.first[message[begins]] = self.used + begins
            self.count[message[begins]] = np.diff(np.concatenate([begins, [len(message)]]))
        self.starts.append(self.used)
        self.levels.append(labels)
        self.used = size

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


def eliminate(
    layout: StateLayout,
    states: States,
    base: Floats,
    alternatives: Sequence[Alternatives],
    *,
    counting: Floats,
    caps: Sequence[Cap],
    most_labels: int,
    left_s: Callable[[], float],
) -> Finding | None:
    """Find all complete labels that the caps admit and that none dominates.

    Args:
        layout: Of the elimination.
        states: Joint choices that may be part of a plan worth finding.
        base: What each state's factors cost where there is no choice, shape (measures, states).
        alternatives: Where there is.
        counting: Weights of what a label is judged by, the objective first, shape (at least 1, measures).
        caps: What no plan worth finding exceeds.
        most_labels: Of all messages together.
        left_s: Time left. [s]

    Returns:
        The labels; None when they became too many, or time ran out.
    """
    store = _Store(len(base), layout.messages)
    level = layout.level[states.bag]
    order = np.argsort(level, kind="stable")
    bounds = np.searchsorted(level[order], np.arange(int(layout.level.max(initial=0)) + 2))
    for place in range(len(bounds) - 1):
        here = order[bounds[place] : bounds[place + 1]]
        labels = _joined(_Labels(here, base[:, here]), states, store, caps)
        labels = labels and _paid(labels, alternatives, caps)
        if labels is None or left_s() <= 0:
            return None
        labels = labels.take(undominated(states.message[labels.state], counting @ labels.values))
        store.add(labels, states.message[labels.state])
        if store.used > most_labels:
            return None
    return _complete(layout, store, counting, most_labels)


def _joined(labels: _Labels, states: States, store: _Store, caps: Sequence[Cap]) -> _Labels | None:
    """Every combination with the labels of what lies below; None when these are too many."""
    for slot, child in enumerate(states.children):
        message = child[labels.state]
        having = message >= 0
        if not having.any():
            break
        counts = np.where(having, store.count[message], 1)
        first = np.where(having, store.first[message], -1)
        rest = [cap.ahead[slot] for cap in caps]
        combined = _combined(labels, first, counts, store.values, caps=caps, rest=rest)
        if combined is None:
            return None
        labels, taken = combined
        labels.children.append(taken)
    return labels


def _paid(labels: _Labels, alternatives: Sequence[Alternatives], caps: Sequence[Cap]) -> _Labels | None:
    """Every combination with the options; None when these are too many."""
    for choice in alternatives:
        first = choice.first[labels.state]
        if (first < 0).all():
            labels.options.append(first)
            continue
        rest = [cap.outside for cap in caps]
        combined = _combined(labels, first, choice.count[labels.state], choice.measures, caps=caps, rest=rest)
        if combined is None:
            return None
        labels, taken = combined
        labels.options.append(taken)
    return labels


def _combined(
    labels: _Labels, first: Ints, counts: Ints, values: Floats, *, caps: Sequence[Cap], rest: Sequence[Floats]
) -> tuple[_Labels, Ints] | None:
    """Every label with every one of its options that some completion within the caps may have.

    Args:
        labels: So far.
        first: A label's first option; -1 for the only one, which is none.
        counts: How many options a label has; with none it goes.
        values: Of the options, shape (measures, options).
        caps: On weighted sums.
        rest: Per cap and state, what is still to come at least.

    Returns:
        The combinations and the option in each; None when these are too many.
    """
    ends = np.cumsum(counts)
    if len(ends) and int(ends[-1]) > MOST_AT_ONCE:
        return None
    pieces: list[tuple[_Labels, Ints]] = []
    start = 0
    while start < len(counts):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + CHUNK, side="right")))
        part = slice(start, stop)
        repeated = np.repeat(np.arange(start, stop), counts[part])
        begin = first[repeated]
        number = np.arange(before, before + len(repeated)) - (ends[repeated] - counts[repeated])
        taken = np.where(begin >= 0, begin + number, -1)
        grown = labels.take(repeated)
        grown.values += np.where(taken >= 0, values[:, taken], 0.0)
        kept = np.ones(len(repeated), dtype=bool)
        for cap, remaining in zip(caps, rest, strict=True):
            kept &= cap.weights @ grown.values + remaining[grown.state] <= cap.most
        pieces.append((grown, taken) if kept.all() else (grown.take(kept), taken[kept]))
        start = stop
    if len(pieces) == 1:
        return pieces[0]
    return _Labels.together([piece for piece, _ in pieces], labels), np.concatenate(
        [np.zeros(0, dtype=np.int64), *(taken for _, taken in pieces)]
    )


def undominated(group: Ints, judged: Floats) -> Ints:
    """The labels to keep, sorted by group and objective.

    Args:
        group: Labels are compared within one.
        judged: Shape (measures that count, labels).
    """
    order: Ints = np.lexsort((*judged[::-1], group))
    if len(order) < 2:
        return order
    group, judged = group[order], judged[:, order]
    begins = np.concatenate([[True], group[1:] != group[:-1]])
    if len(judged) == 1 or begins.all():
        firsts: Ints = order[begins]
        return firsts
    number = np.cumsum(begins)
    if len(judged) == 2:
        # In the order of the objective a label counts only if it has less of the second measure than all before it.
        _, rank = np.unique(judged[1], return_inverse=True)
        least = np.minimum.accumulate(rank - number * (len(order) + 1))
        kept: NDArray[np.bool_] = begins | np.concatenate([[True], np.diff(least) < 0])
    else:
        kept = _compared(number, judged)
    survivors: Ints = order[kept]
    return survivors


def _compared(number: Ints, judged: Floats) -> NDArray[np.bool_]:
    """Which labels survive a comparison with some of those before them in their group."""
    kept = np.ones(len(number), dtype=bool)
    places = np.arange(len(number))
    first = np.searchsorted(number, number)
    most = int((places - first).max()) + 1
    others = [places - shift for shift in range(1, min(COMPARED, most))]
    others += [first + step for step in range(min(LEADERS, most))]
    # Those least in one measure dominate far down.
    others += [np.lexsort((measure, number))[first] for measure in judged[1:]]
    for other in others:
        at = np.clip(other, 0, len(number) - 1)
        kept &= (at >= places) | (number[at] != number) | (judged[:, at] > judged).any(axis=0)
    return kept


def _complete(layout: StateLayout, store: _Store, counting: Floats, most_labels: int) -> Finding | None:
    """Combine the labels of the graph's separate parts."""
    values, members = np.zeros((len(store.values), 1)), np.zeros((1, 0), dtype=np.int64)
    for root in layout.roots:
        message = layout.message_of(root)
        first, count = int(store.first[message]), int(store.count[message])
        if len(members) * count > most_labels:
            return None
        picked = np.arange(first, first + count)
        values = (values[:, :, None] + store.values[:, None, picked]).reshape(len(values), -1)
        members = np.concatenate([np.repeat(members, count, axis=0), np.tile(picked, len(members))[:, None]], axis=1)
        kept = undominated(np.zeros(len(members), dtype=np.int64), counting @ values)
        values, members = values[:, kept], members[kept]

    def parts(label: int) -> list[tuple[int, list[int]]]:
        return [part for member in members[label] for part in store.parts(int(member))]

    return Finding(values, parts)
