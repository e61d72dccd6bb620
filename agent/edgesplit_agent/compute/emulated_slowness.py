"""Emulated slowness: work takes as long as on a node that is a factor slower.

Owns: how long a run lasts on a played node, the repetitions that tell, and the pace of this machine. Its rule: a run's own deviation
counts once and is not multiplied. Not here: what a piece of work typically takes (`recent_runs.py`), the factor (`[emulation] slow_down`).

What is multiplied is what the work typically takes, in a row, on this machine, which is what profiles hold. A run behind
a pause finds other work's data in the caches, and the more often so the more nodes share a core: that is this machine's
and adds up once; multiplied by sixty it would be most of what is measured. So a component runs again, right behind
itself, within the time that the slower node would still compute, and that run is what its typical time is made of.

Nor has the played node the slow spells of this machine, whose neighbours make it some hundredths slower for seconds or minutes.
So a repetition is told at a constant pace: over the time that one small layer takes these seconds, times what that takes
usually. Beside neighbours of all kinds a network's median of a dozen runs differed by 5 %, and so by 2 %. Profiles and retimings
of such a node are told alike (`profiling/timing/timed_runs.py`).
"""

from __future__ import annotations

import functools
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgesplit_agent.compute.recent_runs import RecentRuns
from edgesplit_agent.compute.runtime import RuntimeOptions, tiny_session

__all__ = ["DISPLACING_BYTES", "MachinePace", "at_usual_pace", "displace_caches", "machine_pace", "repeats", "slowed"]

T = TypeVar("T")

MAX_SLEEP_S = 3600.0
DISPLACING_BYTES, DISPLACING_S = 1 << 24, 0.004
"""What serves runs a component between two codings, which leaves nothing of the first in any cache: so much is copied before each
coding that is timed. Codings in a row took a half to a fifth of what they take behind a network. About what the copy takes. [B, s]"""
LEAST_S = 1e-9
"""A clock that did not advance has seen that much. [s]"""
REPEATED_FROM = 3.0
"""Least factor at which a run is repeated: there must be time for it. [1]"""
AT_FIRST = 12
"""Repetitions that are wanted soon: a spell of this machine that catches one or two must not count."""

CHANNELS, SIDE = 16, 144
_LAYER = bytes.fromhex(
    "080812003ae5010a320a0164120177220f436f6e7374616e744f6653686170652a190a0576616c75652a0d080110012204398ee33b420176a0"
    "01040a220a01780a017712017a2204436f6e762a110a04706164734001400140014001a001070a0f0a017a12017322075369676d6f69640a0e"
    "0a017a0a017312017922034d756c1201672a29080410074201644a201000000000000000100000000000000003000000000000000300000000"
    "0000005a1d0a017812180a16080112120a0208010a0208100a030890010a03089001621d0a017912180a16080112120a0208010a0208100a03"
    "0890010a0308900142040a00100d"
)
"""A serialized model of one layer: a convolution of three by three and its SiLU, on `CHANNELS` of `SIDE` by `SIDE`.

Its tensors of 1.3 MB fit into no second-level cache, as those of networks do not: beside a neighbour that takes memory bandwidth
a network of 90 ms took 5, 8 and 8 % longer, such a layer 6, 11 and 9 %, a product of matrices that fit 1, 2 and 1 %."""
USUAL_RUNS = 100
"""Of the layer, that say what it usually takes; a millisecond each."""
PACE_RUNS, PACE_SHARE = (3, 24), 1 / 3
"""Those beside a run: least and most, and the share of its time that they may take. [1, 1]"""
PACE_WINDOW_S, PACE_WINDOW_RUNS = 10.0, 200
"""The pace is that of so long: over a few milliseconds the layer differs by more than a run of a network does. [s, 1]"""
PACE_WORTH = 0.8
"""By how much of a hundredth a network is slower where the layer is slower by one: about 0.5 without neighbours that one would
notice, 1.15 beside one that takes memory bandwidth. [1]"""


class MachinePace:
    """How fast this machine is just now, by a small layer; for any thread.

    Attributes:
        usual_s: What the layer took when it was first asked for. [s]
    """

    def __init__(self) -> None:
        self._session: Any = tiny_session(_LAYER)
        self._inputs = {"x": np.full((1, CHANNELS, SIDE, SIDE), 1.0 / SIDE, np.float32)}
        self._recent: deque[tuple[float, float]] = deque(maxlen=PACE_WINDOW_RUNS)
        self._runs(PACE_RUNS[0])
        self.usual_s = _median(self._runs(USUAL_RUNS))

    def factor(self, beside_s: float = 0.0) -> float:
        """What times of just now are multiplied with to be those of the usual pace.

        Args:
            beside_s: What the run took that is told: the longer, the more often the layer runs. [s]
        """
        least, most = PACE_RUNS
        runs = self._runs(min(max(int(beside_s * PACE_SHARE / self.usual_s), least), most))
        now = time.monotonic()
        self._recent.extend((now, seconds) for seconds in runs)
        just_now_s = _median(seconds for at, seconds in self._recent.copy() if at >= now - PACE_WINDOW_S)
        return float((self.usual_s / just_now_s) ** PACE_WORTH)

    def takes_s(self, beside_s: float) -> float:
        """What `factor` takes. [s]"""
        return max(PACE_RUNS[0] * self.usual_s, min(beside_s * PACE_SHARE, PACE_RUNS[1] * self.usual_s))

    def _runs(self, count: int) -> list[float]:
        seconds: list[float] = []
        for _ in range(count):
            began = time.thread_time()
            self._session.run(None, self._inputs)
            seconds.append(time.thread_time() - began)
        return seconds


def _median(seconds: Iterable[float]) -> float:
    return max(statistics.median(seconds), LEAST_S)


@functools.cache
def _displacing() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return np.zeros(DISPLACING_BYTES, np.uint8), np.ones(DISPLACING_BYTES, np.uint8)


def displace_caches() -> None:
    """Fill the caches with what nobody needs."""
    np.copyto(*_displacing())


@functools.cache
def machine_pace() -> MachinePace:
    """The one of this process, made when it is first needed."""
    return MachinePace()


def repeats(slow_down: float) -> bool:
    """Whether runs of components are repeated at this factor, so that what pauses cost is not multiplied."""
    return slow_down >= REPEATED_FROM


def at_usual_pace(seconds: float, slow_down: float) -> float:
    """What something that has just run would have taken at the usual pace, on a node that plays one of constant speed. [s]"""
    return seconds * machine_pace().factor(seconds) if repeats(slow_down) else seconds


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
            before = displace_caches if displaced else work
            in_a_row = _repeat(work, recent, clock, own_s=own_s, until=until, before=before)
        lasts_s += (options.slow_down - 1.0) * (own_s if recent is None else recent.typical_s(own_s))
        if recent is not None and not in_a_row:
            recent.add(own_s)
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
    before: Callable[[], object],
) -> bool:
    """Do it again, right behind itself, while the slower node would still compute; whether there was time.

    Once; while little is known a few times with pauses between them, so that they meet different moments of this
    machine, each behind one that brings what it needs into the caches.

    Args:
        work: Blocking.
        recent: Takes what it took, at the usual pace.
        clock: By which that counts. [s]
        own_s: About what it takes. [s]
        until: When it must be over, on the wall clock. [s]
        before: What makes the caches as they were at profiling: the work itself, or what displaces it.
    """
    pace = machine_pace()
    takes_s = own_s + max(own_s, DISPLACING_S if before is displace_caches else 0.0) + pace.takes_s(own_s)
    wanted = min(max(AT_FIRST - recent.count, 1), int((until - time.perf_counter()) / takes_s))
    pause_s = (until - time.perf_counter()) / wanted - takes_s if wanted > 0 else 0.0
    for number in range(wanted):
        if number:
            time.sleep(max(pause_s, 0.0))
        if number or before is not work:  # the run itself was right before the first
            before()
        began = clock()
        work()
        seconds = clock() - began
        recent.add(seconds * pace.factor(seconds), warm=True)
    return wanted > 0
