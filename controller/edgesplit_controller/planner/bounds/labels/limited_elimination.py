"""Label-setting elimination (resource constraints): a Pareto set of labels per joint choice instead of the cheapest.

Owns: dynamic programming over the same order as `elimination`, where a message's entry holds several partial
assignments, none better than another in everything that counts, instead of the cheapest alone. Its rule: a label is
dropped only when another one of the same choice is at most as large in the objective and in every limited measure, or when
no completion can stay within the caps; what is left at the end therefore holds an optimum. A beam alone drops more, and says so. Not here: prices, ceilings.

Limits on a sum couple the whole graph, which is why Lagrangian prices leave a gap and a general solver has to search
in it. Labels close it: where the limited measure accrues at one node only (the device's energy), few of them differ.
Completions are bounded by runs of the plain elimination at several prices. When labels become too many nothing is
said, and the caller searches.

References: M. Desrochers, F. Soumis, A generalized permanent labelling algorithm for the shortest path problem with
time windows, INFOR 26, 1988; R. Dechter, Bucket elimination, Artificial Intelligence 113, 1999.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.labels.dominance import undominated
from edgesplit_controller.planner.bounds.labels.label_store import Labels, LabelStore
from edgesplit_controller.planner.bounds.state_index import Ints, StateLayout, States

__all__ = ["MOST_AT_ONCE", "Alternatives", "Cap", "Finding", "eliminate"]

Floats = NDArray[np.float64]

MOST_AT_ONCE = 2_000_000
"""Combinations of one level, before any is dropped."""

COMPARED = 0.1
"""Of these, so many may be within the caps: comparing them takes longer than making them."""

AHEAD = 3
"""Times a beam's width: so many labels are compared with each other."""

CHUNK = 100_000
"""Labels made at a time, before those out of reach are dropped."""


@dataclass(frozen=True, slots=True)
class Cap:
    """No plan worth finding has more than this of a weighted sum of measures.

    Attributes:
        weights: Of the measures.
        most: The sum's upper bound, rounding errors granted.
        outside: Per state, the least that everything beyond its bag's table adds to the weighted sum: a label's own
            sum plus this bounds all its completions from below.
        ahead: Per slot of children and state, what the children of later slots, and options, add at least, too.
        roots: The least of each of the graph's separate parts, shape (roots,).
        ranks: Whether it is the objective at some prices: the sum less `most` then says how promising a label is.
    """

    weights: Floats
    most: float
    outside: Floats
    ahead: tuple[Floats, ...]
    roots: Floats
    ranks: bool


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
        every: Whether no label was left out for its group's width.
        labels: Of all messages together.
    """

    measures: Floats
    parts: Callable[[int], list[tuple[int, list[int]]]]
    every: bool
    labels: int


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
    width: int | None = None,
    most_at_once: int = MOST_AT_ONCE,
) -> Finding | None:
    """Find all complete labels that the caps admit and that none dominates.

    Args:
        layout: Of the elimination.
        states: Joint choices that may be part of a plan worth finding.
        base: What each state's factors cost where there is no choice, shape (measures, states).
        alternatives: Where there is.
        counting: Weights of what a label is judged by, the objective first, shape (at least 1, measures).
        caps: What no plan worth finding exceeds; those first that most labels exceed.
        most_labels: Of all messages together.
        left_s: Time left. [s]
        width: Of a message's entry, that many labels are kept, the most promising ones (beam search); None: all.
        most_at_once: Combinations of one level.

    Returns:
        The labels; None when they became too many, or time ran out.
    """
    store = LabelStore(len(base), layout.messages, caps[0].weights)
    level = layout.level[states.bag]
    order = np.argsort(level, kind="stable")
    bounds = np.searchsorted(level[order], np.arange(int(layout.level.max(initial=0)) + 2))
    every = True
    for place in range(len(bounds) - 1):
        here = order[bounds[place] : bounds[place + 1]]
        labels = _joined(Labels(here, base[:, here]), states, store, caps=caps, most_at_once=most_at_once)
        labels = labels and _paid(labels, alternatives, caps, most_at_once)
        if labels is None or left_s() <= 0:
            return None
        if width is not None:
            fewer = _most_promising(labels, states.message, caps, AHEAD * width)
            every &= len(fewer.state) == len(labels.state)
            labels = fewer
        if len(labels.state) > COMPARED * most_at_once:
            return None
        labels = labels.take(undominated(states.message[labels.state], counting @ labels.values))
        if width is not None:
            fewer = _most_promising(labels, states.message, caps, width)
            every &= len(fewer.state) == len(labels.state)
            labels = fewer
        store.add(labels, states.message[labels.state])
        if store.used > most_labels:
            return None
    return _complete(layout, store, counting, caps=caps, most=(most_labels, most_at_once), every=every)


def _most_promising(labels: Labels, message: Ints, caps: Sequence[Cap], width: int) -> Labels:
    """Of each group, the labels whose completions are cheapest at some prices, so many for each of these.

    Args:
        labels: Of some states.
        message: Per state, its group.
        caps: Those that rank count.
        width: Of a group, at one of the prices.
    """
    if not len(labels.state):
        return labels
    group = message[labels.state]
    counts = np.bincount(group)
    if int(counts.max()) <= width:
        return labels
    # The place of every label within its group, once these are sorted by group.
    before = np.cumsum(counts) - counts
    place = np.arange(len(group)) - before[np.sort(group)]
    kept = np.zeros(len(group), dtype=bool)
    for cap in caps:
        if cap.ranks:
            best = np.lexsort((cap.weights @ labels.values + cap.outside[labels.state], group))
            kept[best[place < width]] = True
    return labels.take(kept)


def _joined(
    labels: Labels, states: States, store: LabelStore, *, caps: Sequence[Cap], most_at_once: int
) -> Labels | None:
    """Every combination with the labels of what lies below; None when these are too many."""
    for slot, child in enumerate(states.children):
        message = child[labels.state]
        having = message >= 0
        if not having.any():
            break
        most = caps[0].most - caps[0].weights @ labels.values - caps[0].ahead[slot][labels.state]
        counts = np.where(having, store.up_to(message, most), 1)
        first = np.where(having, store.first[message], -1)
        rest = [cap.ahead[slot] for cap in caps]
        combined = _combined(labels, first, counts, store.values, caps=caps, rest=rest, most_at_once=most_at_once)
        if combined is None:
            return None
        labels, taken = combined
        labels.children.append(taken)
    return labels


def _paid(
    labels: Labels, alternatives: Sequence[Alternatives], caps: Sequence[Cap], most_at_once: int
) -> Labels | None:
    """Every combination with the options; None when these are too many."""
    for choice in alternatives:
        first = choice.first[labels.state]
        if (first < 0).all():
            labels.options.append(first)
            continue
        rest = [cap.outside for cap in caps]
        combined = _combined(
            labels,
            first,
            choice.count[labels.state],
            choice.measures,
            caps=caps,
            rest=rest,
            most_at_once=most_at_once,
        )
        if combined is None:
            return None
        labels, taken = combined
        labels.options.append(taken)
    return labels


def _combined(
    labels: Labels,
    first: Ints,
    counts: Ints,
    values: Floats,
    *,
    caps: Sequence[Cap],
    rest: Sequence[Floats],
    most_at_once: int,
) -> tuple[Labels, Ints] | None:
    """Every label with every one of its options that some completion within the caps may have.

    Args:
        labels: So far.
        first: A label's first option; -1 for the only one, which is none.
        counts: How many options a label has; with none it goes.
        values: Of the options, shape (measures, options).
        caps: On weighted sums.
        rest: Per cap and state, what is still to come at least.
        most_at_once: Combinations.

    Returns:
        The combinations and the option in each; None when these are too many.
    """
    ends = np.cumsum(counts)
    if len(ends) and int(ends[-1]) > most_at_once:
        return None
    pieces: list[tuple[Labels, Ints]] = []
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
        kept = np.arange(len(repeated))
        for cap, remaining in zip(caps, rest, strict=True):
            kept = kept[cap.weights @ grown.values[:, kept] + remaining[grown.state[kept]] <= cap.most]
        pieces.append((grown, taken) if len(kept) == len(repeated) else (grown.take(kept), taken[kept]))
        start = stop
    if len(pieces) == 1:
        return pieces[0]
    return Labels.together([piece for piece, _ in pieces], labels), np.concatenate(
        [np.zeros(0, dtype=np.int64), *(taken for _, taken in pieces)]
    )


def _complete(
    layout: StateLayout, store: LabelStore, counting: Floats, *, caps: Sequence[Cap], most: tuple[int, int], every: bool
) -> Finding | None:
    """Combine the labels of the graph's separate parts, the fewest first."""
    roots = sorted(enumerate(layout.roots), key=lambda root: int(store.count[layout.message_of(root[1])]))
    waiting = [place for place, _ in roots]
    values, members = np.zeros((len(store.values), 1)), np.zeros((1, 0), dtype=np.int64)
    for place, root in roots:
        waiting.remove(place)
        message = layout.message_of(root)
        first, count = int(store.first[message]), int(store.count[message])
        if len(members) * count > most[1]:
            return None
        pieces: list[tuple[Floats, Ints]] = []
        step = max(1, CHUNK // max(1, count))
        for start in range(0, max(1, len(members)), step):
            some, own = np.divmod(np.arange(len(members[start : start + step]) * count), max(1, count))
            joined = values[:, start + some] + store.values[:, first + own]
            for cap in caps:
                kept = cap.weights @ joined + float(cap.roots[waiting].sum()) <= cap.most
                joined, some, own = joined[:, kept], some[kept], own[kept]
            pieces.append((joined, np.concatenate([members[start + some], first + own[:, None]], axis=1)))
        values = np.concatenate([piece for piece, _ in pieces], axis=1)
        members = np.concatenate([piece for _, piece in pieces])
        kept_labels = undominated(np.zeros(len(members), dtype=np.int64), counting @ values)
        values, members = values[:, kept_labels], members[kept_labels]
        if len(members) > most[0]:
            return None

    def parts(label: int) -> list[tuple[int, list[int]]]:
        return [part for member in members[label] for part in store.parts(int(member))]

    return Finding(values, parts, every, store.used)
