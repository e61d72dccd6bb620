"""Dominance among labels (Pareto filter): which of several partial assignments may be part of an optimum.

Owns: dropping a label where another one of its group is at most as large in everything that counts. Its rule: of equal labels one stays. Not
here: what counts (`limited_elimination.py`).

Two measures are compared by one pass over labels in order. More are compared with a few labels that dominate most, then block by block
with all that are left: dominated labels are worth finding, for where two bags meet their labels multiply.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.state_index import Ints

__all__ = ["undominated"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

COMPARED = 8
"""Labels before it, in the order of the objective, that a label is compared with at first where more than two measures count."""

LEADERS = 8
"""First labels of a group that every label of it is compared with."""

BLOCK = 128
"""Labels compared at a time with those that are left of their group."""


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
        kept: Mask = begins | np.concatenate([[True], np.diff(least) < 0])
        left = np.flatnonzero(kept)
    else:
        left = np.flatnonzero(_compared(number, judged))
        left = left[_compared_with_all(number[left], judged[1:, left])]
    survivors: Ints = order[left]
    return survivors


def _compared(number: Ints, judged: Floats) -> Mask:
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


def _compared_with_all(number: Ints, judged: Floats) -> Mask:
    """Which labels, sorted by group and objective, survive a comparison with all before them; `judged` is without the objective."""
    kept = np.ones(len(number), dtype=bool)
    begins = np.flatnonzero(np.concatenate([[True], number[1:] != number[:-1], [True]]))
    for begin, end in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True):
        if end - begin > LEADERS:
            kept[begin:end] = _front(judged[:, begin:end])
    return kept


def _front(judged: Floats) -> Mask:
    """Of one group."""
    kept = np.zeros(judged.shape[1], dtype=bool)
    front = np.empty_like(judged)
    used = 0
    for begin in range(0, judged.shape[1], BLOCK):
        block = judged[:, begin : begin + BLOCK]
        left = np.flatnonzero(~_at_most(front[:, :used], block).any(axis=0))
        among = _at_most(block[:, left], block[:, left])
        left = left[~np.triu(among, 1).any(axis=0)]
        front[:, used : used + len(left)] = block[:, left]
        used += len(left)
        kept[begin + left] = True
    return kept


def _at_most(first: Floats, second: Floats) -> Mask:
    """Whether each of some labels is at most as large as each of others in every measure, shape (first, second)."""
    found = np.ones((first.shape[1], second.shape[1]), dtype=bool)
    for one, other in zip(first, second, strict=True):
        found &= one[:, None] <= other
    return found
