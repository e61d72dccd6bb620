"""Emulated slowness: work takes as long as on a node that is a factor slower.

Owns: how long a run lasts on a played node, and the repetitions that tell. Its rule: a run's own deviation counts once and is
not multiplied. Not here: what a piece of work typically takes (`recent_runs.py`), the factor (`[emulation] slow_down`).

What is multiplied is what the work typically takes, in a row, on this machine, which is what profiles hold. A run behind
a pause finds other work's data in the caches, and the more often so the more nodes share a core: that is this machine's
and adds up once; multiplied by sixty it would be most of what is measured. So a component runs again, right behind
itself, within the time that the slower node would still compute, and that run is what its typical time is made of.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from edgesplit_agent.compute.recent_runs import RecentRuns
from edgesplit_agent.compute.runtime import RuntimeOptions

__all__ = ["REPEATED_FROM", "repeats", "slowed"]

T = TypeVar("T")

MAX_SLEEP_S = 3600.0
REPEATED_FROM = 3.0
"""Least factor at which a run is repeated: there must be time for it. [1]"""
AT_FIRST = 8
"""Repetitions that are wanted soon: a spell of this machine that catches one or two must not count."""


def repeats(slow_down: float) -> bool:
    """Whether runs of components are repeated at this factor, so that what pauses cost is not multiplied."""
    return slow_down >= REPEATED_FROM


def slowed(
    work: Callable[[], T],
    options: RuntimeOptions,
    *,
    single_threaded: bool,
    recent: RecentRuns | None,
    repeated: bool = False,
) -> tuple[T, float, float]:
    """Do a piece of work as slowly as emulation wants: its own time, and `slow_down - 1` times what it typically takes.

    A lasting change of this machine's speed is in what it typically takes, in full, after three runs.

    Agents on one machine share its cores. Of a single thread only its own work counts, and the wait for a core that
    another node's work has passes unseen as long as it is shorter than the slowness that is added, and so does a
    processor quota: nodes are played as if each had the machine to itself. What they share besides is not taken out of
    the run itself, nor of what is not repeated: caches, memory bandwidth and the clock rate of busy cores. With several
    threads, and by the wall clock at a slowness of 1, waiting for a core is computing.

    Args:
        work: Blocking.
        options: Slowness and clock.
        single_threaded: Whether all of it happens in the calling thread.
        recent: Of the same work; takes this run. None where it is like no other: its own time counts.
        repeated: Whether it may be done again to see what it takes in a row; it has no effects.

    Returns:
        What it gave; its seconds by the wall clock; the same on the clock that profiles are taken with. Emulated
        slowness is in both. [s]
    """
    clock = time.thread_time if single_threaded else time.perf_counter
    started, began = time.perf_counter(), clock()
    done = work()
    own_s = clock() - began
    seconds = time.perf_counter() - started
    lasts_s = own_s
    if options.slow_down > 1.0:
        in_a_row = recent is not None and repeated and repeats(options.slow_down)
        if recent is not None and in_a_row:
            _repeat(work, recent, clock, own_s, started + own_s * (options.slow_down - 1.0))
        lasts_s += (options.slow_down - 1.0) * (own_s if recent is None else recent.typical_s(own_s))
        if recent is not None and not in_a_row:
            recent.add(own_s)
        time.sleep(min(max(started + lasts_s - time.perf_counter(), 0.0), MAX_SLEEP_S))
        seconds = time.perf_counter() - started
    return done, seconds, lasts_s if options.clock is time.thread_time else seconds


def _repeat(
    work: Callable[[], object], recent: RecentRuns, clock: Callable[[], float], own_s: float, until: float
) -> None:
    """Do it again, right behind itself, while the slower node would still compute.

    Once; while little is known a few times with pauses between them, so that they meet different moments of this
    machine, each behind one that brings what it needs into the caches.

    Args:
        work: Blocking.
        recent: Takes what it took.
        clock: By which that counts. [s]
        own_s: About what it takes. [s]
        until: When it must be over, on the wall clock. [s]
    """
    fit = int((until - time.perf_counter()) / (2 * own_s)) if own_s > 0 else 0
    wanted = min(max(AT_FIRST - recent.count, 1), fit)
    pause_s = (until - time.perf_counter()) / wanted - 2 * own_s if wanted else 0.0
    for number in range(wanted):
        if number:
            time.sleep(max(pause_s, 0.0))
            work()
        began = clock()
        work()
        recent.add(clock() - began, warm=True)
