"""Retiming of idle models: whether the node is still as fast as its profile says.

Owns: when that is worth its time, and doing it. Its rule: at most 0.4 % of the node's time, after every request,
and given up as soon as one arrives. Not here: what follows (the controller), profiles (`profiler.py`).

A node that was found slow is left by plans and then shows no live timings that it recovered; a node that no plan uses
shows none at all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog

from edgesplit.control.profile_messages import ExecutionProfile, ModelOffer
from edgesplit.errors import EdgesplitError
from edgesplit.significance import RETIMING_CHANGE, differs
from edgesplit.wire.tensors import Array
from edgesplit_agent.artifacts.cache import BlobCache
from edgesplit_agent.compute.background_work import BackgroundWork
from edgesplit_agent.compute.recent_runs import middle_mean
from edgesplit_agent.compute.session_pool import RuntimeOptions, digests_of, open_session
from edgesplit_agent.compute.worker import Worker
from edgesplit_agent.profiling.live_timings import TimingBook
from edgesplit_agent.profiling.machine_lock import machine_lock
from edgesplit_agent.profiling.timing.timed_runs import TimedRuns

__all__ = ["Budget", "Profiles", "Retimed", "Retimer", "is_due"]

LOOK_EVERY_S = 1.0
SHARE = 0.004
"""Of the node's time, for all models together; with what else a node measures of itself (`steadiness/`) half a hundredth."""
SAVED_S = 3.0
"""What unused time adds up to at most: a node whose speed is in doubt is timed a few times in a row. [s]"""
SOON_S, RARELY_S = 10.0, 60.0
"""Between two timings of a model while its speed is in doubt, and while it is not. [s]"""
BURSTS, RUNS = 3, 2
"""Runs in a row, as the profile was taken, after one that warms the caches."""
APART_S = 0.4
"""Between the bursts, so that a passing load does not catch all of them. [s]"""


@dataclass(frozen=True)
class Retimed:
    """What is known of a model's last timing.

    Attributes:
        at_s: When it ended, or when the model's profile was first seen. [s]
        ratio: Its time over the profile's; None before the first.
    """

    at_s: float
    ratio: float | None = None


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


def is_due(last: Retimed, served_s: float, now_s: float) -> bool:
    """Whether a model should be timed again.

    Args:
        last: Its last timing.
        served_s: When a component of it last ran; what ran lately shows the node's speed itself. [s]
        now_s: [s]
    """
    if now_s - served_s < SOON_S:
        return False
    doubtful = last.ratio is None or differs(1.0, last.ratio, RETIMING_CHANGE) or served_s > last.at_s
    return now_s - last.at_s >= (SOON_S if doubtful else RARELY_S)


class Budget:
    """Time that may be spent: a share of all time, saved up to a limit.

    Args:
        now_s: [s]
    """

    def __init__(self, now_s: float) -> None:
        self._saved_s = SAVED_S
        self._at_s = now_s

    def spend(self, seconds: float, now_s: float) -> None:
        """Time was spent. [s]"""
        self._save(now_s)
        self._saved_s -= seconds

    def allows(self, now_s: float) -> bool:
        """Whether more may be spent now. [s]"""
        self._save(now_s)
        return self._saved_s > 0

    def _save(self, now_s: float) -> None:
        self._saved_s = min(self._saved_s + SHARE * (now_s - self._at_s), SAVED_S)
        self._at_s = now_s


class Retimer:
    """Times a node's models again for ever.

    Args:
        profiles: The profiler's.
        book: Takes what was measured, and knows what was served.
        cache: Holds the graphs; what is not there any more is not fetched for this.
        worker: Serves, and times between requests.
        options: How sessions are built.
        background_work: Told while a session is built.
        spent: Told the processor time that sessions and runs took. [s]
        clock: Monotonic, the book's. [s]
    """

    def __init__(
        self,
        profiles: Profiles,
        book: TimingBook,
        *,
        cache: BlobCache,
        worker: Worker,
        options: Callable[[], RuntimeOptions],
        background_work: BackgroundWork,
        spent: Callable[[float], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._profiles = profiles
        self._book = book
        self._cache = cache
        self._runs = TimedRuns(worker, options)
        self._options = options
        self._background_work = background_work
        self._spent = spent
        self._clock = clock
        self._last: dict[str, tuple[ExecutionProfile, Retimed]] = {}
        self._budget = Budget(clock())
        self._log = structlog.get_logger(part="retiming")

    async def run_for_ever(self) -> None:
        """Time whatever is due, and rest in proportion."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for model, (offer, profile) in sorted(self._profiles.profiled().items()):
                if self._is_due(model, profile) and not self._profiles.busy and self._budget.allows(self._clock()):
                    await self._time_again(model, offer, profile)

    def _is_due(self, model: str, profile: ExecutionProfile) -> bool:
        known = self._last.get(model)
        if known is None or known[0] != profile:
            # A profile is new and need not be doubted yet; those of an earlier life are as good as their age.
            self._last[model] = profile, Retimed(self._clock())
            return False
        return is_due(known[1], self._book.last_run_s(model), self._clock())

    async def _time_again(self, model: str, offer: ModelOffer, profile: ExecutionProfile) -> None:
        began_s = self._clock()
        try:
            seconds = await self._measure(offer)
        except EdgesplitError as error:
            self._log.warning("retiming-failed", model=model, cause=str(error))
            seconds = []
        except Exception as error:  # onnxruntime raises many types; the next timing may do better
            self._log.warning("retiming-failed", model=model, cause=f"{type(error).__name__}: {error}")
            seconds = []
        self._last[model] = profile, Retimed(self._clock(), self._last[model][1].ratio)
        if not seconds or self._book.last_run_s(model) > began_s:
            return
        slow_down = self._options().slow_down
        self._book.timed_again(model, offer.sha256, [slow_down * value for value in seconds])
        ratio = middle_mean(seconds) / max(profile.whole_s, 1e-9)
        self._last[model] = profile, Retimed(self._clock(), ratio)
        self._log.info("timed-again", model=model, ratio=round(ratio, 3), runs=len(seconds))

    async def _measure(self, offer: ModelOffer) -> list[float]:
        """Run the whole float model a few times; nothing where a request came in between. [s]"""
        digests = digests_of(offer.float_graph)
        if not all(self._cache.path(digest).exists() for digest in digests):
            return []
        options = self._options()
        async with self._cache.held(digests), machine_lock(enabled=options.alone):
            with self._background_work.under_way():
                started_s = self._clock()
                path = self._cache.path(offer.float_graph.digest)
                session = await asyncio.to_thread(self._open, path, options)
                self._budget.spend(self._clock() - started_s, self._clock())
            inputs = self._profiles.inputs(offer)
            seconds: list[float] = []
            for _ in range(BURSTS):
                burst = [await self._attempt(session, inputs) for _ in range(1 + RUNS)]
                taken = [value for value in burst[1:] if value is not None]
                if len(taken) < RUNS or burst[0] is None:
                    return []
                seconds += taken
                await asyncio.sleep(APART_S)
        return seconds

    def _open(self, path: Path, options: RuntimeOptions) -> Any:
        """In a thread of its own."""
        began_s = time.thread_time()
        try:
            return open_session(path, options)
        finally:
            self._spent(time.thread_time() - began_s)

    async def _attempt(self, session: Any, inputs: dict[str, Array]) -> float | None:
        """Run once; None where a request came meanwhile. [s]"""
        taken = await self._runs.attempt(session, inputs)
        self._budget.spend(taken.wall_s, self._clock())
        self._spent(taken.processor_s)
        return taken.seconds
