"""Emulated slowness: work takes as long as on a node that is a factor slower.

Owns: how long a run lasts on a played node, the repetitions that tell. Its rule: a run's own deviation counts once and is not
multiplied. Not here: what a piece of work typically takes (`recent_runs.py`), the factor (`[emulation] slow_down`).

What is multiplied is what the work typically takes, in a row, on this machine, which is what profiles hold. A run behind
a pause finds other work's data in the caches, and the more often so the more nodes share a core: that is this machine's
and adds up once; multiplied by sixty it would be most of what is measured. So a component runs again, right behind
itself, within the time that the slower node would still compute, and that run is what its typical time is made of.

Nor has the played node the slow spells of this machine, whose neighbours make it some hundredths slower for seconds or minutes.
They only ever make runs longer; so what counts is the quickest quarter of the last ones, which differ by a third of what their middle
does: on a virtual machine with restless neighbours, of 16 runs of a network each, by 0.7 % instead of 1.7 % (standard deviation).
Profiles and retimings of such a node are made of the quickest runs as well (`profiling/timing/timed_runs.py`).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TypeVar

from edgesplit.late_libraries import np
from edgesplit.wire.tensors import Array
from edgesplit_agent.compute.recent_runs import RecentRuns
from edgesplit_agent.compute.runtime import RuntimeOptions

__all__ = ["DISPLACING_BYTES", "displace_caches", "repeats", "slowed"]

T = TypeVar("T")

MAX_SLEEP_S = 3600.0
DISPLACING_BYTES, DISPLACING_S = 1 << 24, 0.004
"""What serves runs a component between two codings, which leaves nothing of the first in any cache: so much is copied before each
coding that is timed. Codings in a row took a half to a fifth of what they take behind a network. About what the copy takes. [B, s]"""
REPEATED_FROM = 3.0
"""Least factor at which a run is repeated: there must be time for it. [1]"""
AT_FIRST, EACH_TIME = 12, 4
"""Repetitions that are wanted soon, and each time: a spell of this machine that catches one or two must not count, nor one that lasts
as long as a run does on the slower node."""


@functools.cache
def _displacing() -> tuple[Array, Array]:
    return np.zeros(DISPLACING_BYTES, np.uint8), np.ones(DISPLACING_BYTES, np.uint8)


def displace_caches() -> None:
    """Fill the caches with what nobody needs."""
    np.copyto(*_displacing())


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
    displaced: bool = False,
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
        displaced: Whether it is profiled with caches that others filled: then its repetitions are so, too.

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
        in_a_row = False
        if recent is not None and repeated and repeats(options.slow_down):
            until = started + own_s * (options.slow_down - 1.0)
            in_a_row = _repeat(work, recent, clock, own_s=own_s, until=until, displaced=displaced)
        takes_s = own_s
        if recent is not None and in_a_row:
            takes_s = recent.quickest_s(own_s)
        elif recent is not None:
            takes_s = recent.typical_s(own_s)
            recent.add(own_s)
        lasts_s += (options.slow_down - 1.0) * takes_s
        time.sleep(min(max(started + lasts_s - time.perf_counter(), 0.0), MAX_SLEEP_S))
        seconds = time.perf_counter() - started
    return done, seconds, lasts_s if options.clock is time.thread_time else seconds


def _repeat(
    work: Callable[[], object],
    recent: RecentRuns,
    clock: Callable[[], float],
    *,
    own_s: float,
    until: float,
    displaced: bool,
) -> bool:
    """Do it again, right behind itself, while the slower node would still compute; whether there was time.

    A few times, more while little is known, and without pauses: a processor that slept is slow for some milliseconds, of which
    three in four repetitions of a short component would consist.

    Args:
        work: Blocking.
        recent: Takes what it took.
        clock: By which that counts. [s]
        own_s: About what it takes. [s]
        until: When it must be over, on the wall clock. [s]
        displaced: Whether the caches are filled with what nobody needs before each.
    """
    takes_s = own_s + (DISPLACING_S if displaced else 0.0)
    wanted = min(max(AT_FIRST - recent.count, EACH_TIME), int((until - time.perf_counter()) / takes_s))
    for _ in range(wanted):
        if displaced:
            displace_caches()
        began = clock()
        work()
        recent.add(clock() - began, warm=True)
    return wanted > 0
