"""Retiming of idle models: whether the node is still as fast as its profile says.

Owns: doing it. Its rule: after every request, and given up as soon as one arrives. Not here: when that is worth its time and what
it may cost (`retiming_schedule.py`), what follows (the controller), profiles (`profiler.py`).

A node that was found slow is left by plans and then shows no live timings that it recovered; a node that no plan uses
shows none at all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import structlog

from edgesplit.control.profile_messages import ExecutionProfile, ModelOffer
from edgesplit.errors import EdgesplitError
from edgesplit.significance import RETIMING_CHANGE, differs
from edgesplit.wire.tensors import Array
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.compute.background_work import BackgroundWork
from edgesplit_agent.compute.session_pool import RuntimeOptions, digests_of
from edgesplit_agent.profiling.live_timings import TimingBook
from edgesplit_agent.profiling.machine_lock import machine_lock
from edgesplit_agent.profiling.retiming_schedule import (
    DOUBT_SHARE,
    FIRST_S,
    OWED_S,
    ROUTINE_SAVED_S,
    ROUTINE_SHARE,
    SAVED_S,
    SERVED_S,
    Budget,
    Glimpses,
    Retimed,
    is_doubtful,
    is_due,
)
from edgesplit_agent.profiling.timing.robust_statistics import location
from edgesplit_agent.profiling.timing.timed_runs import TimedRuns

__all__ = ["Profiles", "Retimer"]

LOOK_EVERY_S = 1.0
RUNS = 2
"""In a row, as the profile was taken, after one that warms the caches: a burst."""
COLD_S = 0.1
"""A run that takes so long warms the caches itself; while in doubt one alone is told where it shows nothing new. [s]"""
APART_S = 4.0
"""Between two bursts, so that a passing load does not catch both. [s]"""
KEPT_OPEN_S = 30.0
"""A session is kept so long where the model's speed is in doubt: opening it takes as long as a run. [s]"""


@dataclass
class _OpenSession:
    """A session that may be needed again soon."""

    session: Any
    offer: ModelOffer
    used_s: float


class Profiles(Protocol):
    """The part of the profiler that this uses."""

    @property
    def busy(self) -> bool:
        """Whether a model is being profiled."""
        ...

    def profiled(self) -> Mapping[str, tuple[ModelOffer, ExecutionProfile]]:
        """Models whose profile is there, with the times the machine itself takes."""
        ...

    def inputs(self, offer: ModelOffer) -> dict[str, Array]:
        """What to feed a whole model."""
        ...


class Retimer:
    """Times a node's models again for ever.

    Args:
        profiles: The profiler's.
        book: Takes what was measured, and knows what was served.
        cache: Holds the graphs; what is not there any more is not fetched for this.
        runs: Times runs between requests.
        options: How sessions are built.
        background_work: Told while a session is built.
        glimpse: Runs a fixed workload of a few milliseconds and says what it took; None where something else was to be done. [s]
        spent: Told the processor time that sessions and runs took. [s]
        clock: Monotonic, the book's. [s]
    """

    def __init__(
        self,
        profiles: Profiles,
        book: TimingBook,
        *,
        cache: BlobCache,
        runs: TimedRuns,
        options: Callable[[], RuntimeOptions],
        background_work: BackgroundWork,
        glimpse: Callable[[], Awaitable[float | None]],
        spent: Callable[[float], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._profiles = profiles
        self._book = book
        self._cache = cache
        self._runs = runs
        self._options = options
        self._background_work = background_work
        self._glimpse = glimpse
        self._spent = spent
        self._clock = clock
        self._last: dict[str, tuple[ExecutionProfile, Retimed]] = {}
        self._open: dict[str, _OpenSession] = {}
        self._routine = Budget(ROUTINE_SHARE, ROUTINE_SAVED_S, ROUTINE_SAVED_S, clock())
        self._doubt = Budget(DOUBT_SHARE, SAVED_S, FIRST_S, clock())
        self._glimpses = Glimpses()
        self._log = structlog.get_logger(part="retiming")

    @property
    def open_sessions(self) -> int:
        """Sessions that are kept open."""
        return len(self._open)

    async def run_for_ever(self) -> None:
        """Time whatever is due, and rest in proportion."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Time what is due and can be afforded, what waited longest first."""
        profiled = self._profiles.profiled()
        self._meet(profiled)
        recovered = await self._seems_recovered()
        for model in sorted(self._last, key=lambda model: self._last[model][1].at_s):
            last, served_s, now_s = self._last[model][1], self._book.last_run_s(model), self._clock()
            at_once = recovered and self._is_slow(model)
            if self._profiles.busy or not (at_once or is_due(last, served_s, now_s)):
                continue
            doubtful = is_doubtful(last, served_s)
            budget = self._doubt if doubtful else self._routine
            if budget.allows(now_s, owed_s=OWED_S if at_once else 0.0):
                await self._time_again(model, *profiled[model], budget)
                await self._seems_recovered()  # what the workload takes goes with what the model took
        for model, known in list(self._open.items()):
            if self._clock() - known.used_s > KEPT_OPEN_S:
                del self._open[model]

    def _meet(self, profiled: Mapping[str, tuple[ModelOffer, ExecutionProfile]]) -> None:
        """A profile that is new need not be doubted yet; those of an earlier life are as good as their age."""
        for model in self._last.keys() - profiled.keys():
            del self._last[model]
            self._open.pop(model, None)
        for model, (offer, profile) in profiled.items():
            if model not in self._last or self._last[model][0] != profile:
                self._last[model] = profile, Retimed(self._clock())
            if model in self._open and self._open[model].offer != offer:
                del self._open[model]

    def _is_slow(self, model: str) -> bool:
        """Whether a model that nobody asks for was slow when it was last timed."""
        last = self._last[model][1]
        idle = self._clock() - self._book.last_run_s(model) >= SERVED_S
        return idle and last.ratio is not None and last.ratio > 1 + RETIMING_CHANGE

    async def _seems_recovered(self) -> bool:
        """Whether the machine became faster since something was found slow."""
        if self._profiles.busy or not any(map(self._is_slow, self._last)) or not self._glimpses.is_due(self._clock()):
            return False
        began_s = self._clock()
        seconds = await self._glimpse()
        self._doubt.spend(self._clock() - began_s, self._clock())
        return seconds is not None and self._glimpses.take(seconds, self._clock())

    async def _time_again(self, model: str, offer: ModelOffer, profile: ExecutionProfile, budget: Budget) -> None:
        began_s, before = self._clock(), self._last[model][1]
        try:
            seconds = await self._measure(offer, profile, before, budget)
        except EdgesplitError as error:
            self._log.warning("retiming-failed", model=model, cause=str(error))
            seconds = []
        except Exception as error:  # onnxruntime raises many types; the next timing may do better
            self._log.warning("retiming-failed", model=model, cause=f"{type(error).__name__}: {error}")
            seconds = []
        self._last[model] = profile, Retimed(self._clock(), before.ratio)
        if not seconds or self._book.last_run_s(model) > began_s:
            return
        slow_down = self._options().slow_down
        self._book.timed_again(model, offer.sha256, [slow_down * value for value in seconds])
        ratio = _ratio(seconds, profile)
        self._last[model] = profile, Retimed(self._clock(), ratio)
        if before.ratio is None or differs(before.ratio, ratio, RETIMING_CHANGE):
            self._glimpses.begin()
        if not is_doubtful(self._last[model][1], self._book.last_run_s(model)):
            self._open.pop(model, None)
        self._log.info("timed-again", model=model, ratio=round(ratio, 3), runs=len(seconds))

    async def _measure(
        self, offer: ModelOffer, profile: ExecutionProfile, before: Retimed, budget: Budget
    ) -> list[float]:
        """Run the whole float model a few times; nothing where a request came in between. [s]"""
        digests = digests_of(offer.float_graph)
        if not all(self._cache.path(digest).exists() for digest in digests):
            return []
        async with self._cache.held(digests), machine_lock(enabled=self._options().alone):
            session = await self._session(offer, budget)
            burst = partial(self._burst, session, self._profiles.inputs(offer), budget)
            if budget is self._routine:
                first = await burst(RUNS)
                await self._runs.pause(APART_S if first else 0.0)
                second = await burst(RUNS) if first else []
                return first + second if second else []
            long = profile.whole_s >= COLD_S
            seconds = await burst(1 if long else RUNS, warm=long)
            known = before.ratio is not None and not differs(before.ratio, _ratio(seconds, profile), RETIMING_CHANGE)
            return seconds if known or not seconds else await burst(RUNS, warm=True)

    async def _session(self, offer: ModelOffer, budget: Budget) -> Any:
        """A session of the whole model, opened where none is kept open."""
        known = self._open.get(offer.model)
        if known is None:
            path = self._cache.path(offer.float_graph.digest)
            with self._background_work.under_way():
                began_s = self._clock()
                session = await self._runs.opened(path, self._options(), spent=self._spent)
                budget.spend(self._clock() - began_s, self._clock())
            known = self._open[offer.model] = _OpenSession(session, offer, self._clock())
        known.used_s = self._clock()
        return known.session

    async def _burst(
        self, session: Any, inputs: dict[str, Array], budget: Budget, count: int, *, warm: bool = False
    ) -> list[float]:
        """Runs in a row, behind one that warms the caches unless they are warm; nothing where a request came. [s]"""
        seconds: list[float] = []
        for _ in range(count if warm else 1 + count):
            taken = await self._runs.attempt(session, inputs)
            budget.spend(taken.wall_s, self._clock())
            self._spent(taken.processor_s)
            if taken.seconds is None:
                return []
            seconds.append(self._runs.typical(session, taken.seconds))
        return seconds[-count:]


def _ratio(seconds: Sequence[float], profile: ExecutionProfile) -> float:
    """Time over the profile's; 0 of no run. [1]"""
    return (location(seconds) if seconds else 0.0) / max(profile.whole_s, 1e-9)
