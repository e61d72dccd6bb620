"""List scheduling by priorities, and a search for better ones (random keys).

Owns: active schedules of things with durations, one resource each at most and an order, and which of those that compete goes first. Its
rule: every schedule that it returns can be run; that it is the best is not said. Not here: what the things are (`timeline.py`,
`quick_timeline.py`).

The longest way from a thing to the end is the usual priority, and bad where a link waits: a short run that feeds it early may be worth more
than the long one that is urgent. So priorities are multiplied by random factors, a few at a time, and kept where the end comes no later.

References: R. Kolisch, Serial and parallel resource-constrained project scheduling methods revisited, European Journal of Operational Research
90, 1996; J. C. Bean, Genetic algorithms and random keys for sequencing and optimization, ORSA Journal on Computing 6, 1994.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["Tasks", "better_order", "list_schedule", "tails"]

SPREAD = 1.5
"""Standard deviation of a random factor's logarithm."""

CHANGED = (1, 1, 2, 3)
"""Factors changed in a trial, each as likely."""


@dataclass(frozen=True)
class Tasks:
    """Things to schedule, by index.

    Attributes:
        durations_s: How long each keeps its resource busy.
        lags_s: How long after that it is done.
        resources: What each needs; None: nothing.
        after: Which ones wait for it.
    """

    durations_s: Sequence[float]
    lags_s: Sequence[float]
    resources: Sequence[Hashable]
    after: Sequence[Collection[int]]

    @cached_property
    def waiting(self) -> tuple[int, ...]:
        """Per thing, for how many others it waits; the same for every schedule of thousands."""
        count = [0] * len(self.after)
        for successors in self.after:
            for successor in successors:
                count[successor] += 1
        return tuple(count)


def tails(tasks: Tasks) -> list[float]:
    """Longest way from each thing's start to the end. [s]"""
    pending = list(tasks.waiting)
    order = [index for index, count in enumerate(pending) if count == 0]
    for index in order:
        for successor in tasks.after[index]:
            pending[successor] -= 1
            if pending[successor] == 0:
                order.append(successor)
    tail_s = [0.0] * len(pending)
    for index in reversed(order):
        behind_s = max((tail_s[successor] for successor in tasks.after[index]), default=0.0)
        tail_s[index] = tasks.durations_s[index] + tasks.lags_s[index] + behind_s
    return tail_s


def list_schedule(tasks: Tasks, priorities: Sequence[float], begin_s: float = 0.0) -> tuple[float, list[float]]:
    """The active schedule in which, of what competes, the highest priority goes first.

    Args:
        tasks: What to schedule.
        priorities: Of each.
        begin_s: Nothing starts before.

    Returns:
        The end, and the starts. [s]
    """
    durations_s, lags_s, resources = tasks.durations_s, tasks.lags_s, tasks.resources
    pending = list(tasks.waiting)
    ready = [index for index, count in enumerate(pending) if count == 0]
    arrived_s, starts_s = [begin_s] * len(pending), [begin_s] * len(pending)
    free_s: dict[Hashable, float] = {}
    end_s = begin_s
    while ready:
        first, first_done_s = ready[0], math.inf
        for index in ready:
            start_s = arrived_s[index]
            if durations_s[index] > 0.0 and resources[index] is not None:
                start_s = max(start_s, free_s.get(resources[index], begin_s))
            starts_s[index] = start_s
            if start_s + durations_s[index] < first_done_s:
                first, first_done_s = index, start_s + durations_s[index]
        resource = resources[first]
        if durations_s[first] > 0.0 and resource is not None:
            for index in ready:
                competes = resources[index] == resource and durations_s[index] > 0.0
                if competes and starts_s[index] < first_done_s and priorities[index] > priorities[first]:
                    first = index
            free_s[resource] = starts_s[first] + durations_s[first]
        done_s = starts_s[first] + durations_s[first] + lags_s[first]
        end_s = max(end_s, done_s)
        ready.remove(first)
        for successor in tasks.after[first]:
            arrived_s[successor] = max(arrived_s[successor], done_s)
            pending[successor] -= 1
            if pending[successor] == 0:
                ready.append(successor)
    return end_s, starts_s


def better_order(
    tasks: Tasks, priorities: Sequence[float], trials: int, begin_s: float = 0.0, enough_s: float = 0.0
) -> tuple[float, list[float], list[float]]:
    """The best schedule met while priorities are changed at random, always the same for the same tasks.

    Args:
        tasks: What to schedule.
        priorities: To start from.
        trials: How many are tried.
        begin_s: Nothing starts before.
        enough_s: An end that need not be bettered.

    Returns:
        The end, the starts [s], and the factors of the priorities that led to them.
    """
    factors = [1.0] * len(priorities)
    best_s, best = list_schedule(tasks, priorities, begin_s)
    if best_s <= enough_s or not factors:
        return best_s, best, factors
    draw = np.random.default_rng(len(factors))
    most = max(CHANGED)
    counts = draw.choice(CHANGED, trials).tolist()
    places = draw.integers(len(factors), size=(trials, most)).tolist()
    drawn = np.exp(draw.normal(0.0, SPREAD, (trials, most))).tolist()
    for count, where, values in zip(counts, places, drawn, strict=True):
        if best_s <= enough_s:
            break
        changed = factors[:]
        for place, value in zip(where[:count], values[:count], strict=True):
            changed[place] = value
        trial = [priority * factor for priority, factor in zip(priorities, changed, strict=True)]
        end_s, starts_s = list_schedule(tasks, trial, begin_s)
        if end_s <= best_s:
            best_s, best, factors = end_s, starts_s, changed
    return best_s, best, factors
