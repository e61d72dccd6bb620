"""Live timings: what served components really took on this node, lately.

Owns: the last runs of every component and what is said of them (`LiveTimings`). Its rule: only facts; whether a node
became slower is the controller's to decide. Single outliers, a component's first run and runs beside the agent's own
preparing or profiling do not count. Not here: running (`compute/session_pool.py`), timing a whole model again (`retiming.py`).
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgesplit.control.component_messages import ComponentSpec
from edgesplit.control.plan_messages import EpochSpec
from edgesplit.control.profile_messages import ComponentTiming, LiveTimings, WholeTiming
from edgesplit_agent.compute.background_work import BackgroundWork

__all__ = ["TimingBook", "middle_mean"]

WINDOW_S = 2.0
"""Runs that ended this long before the last one are recent: a change shows within it. [s]"""
ENOUGH_RUNS = 5
"""Where fewer are that recent, so many of the last ones count, or as many as took that long together."""
LEAST_RUNS = 3
"""Of fewer runs nothing is said, unless together they took that long: a long run is a mean by itself."""
KEPT_RUNS = 64


@dataclass
class _Runs:
    """Of one graph.

    Attributes:
        ended: When each ended [s] and what it took [s], oldest first.
        last: Epoch and component of the last one.
        number: Of the last one, among all runs that are counted.
    """

    last: tuple[int, ComponentSpec]
    ended: deque[tuple[float, float]] = field(default_factory=lambda: deque[tuple[float, float]](maxlen=KEPT_RUNS))
    last_unix_s: float = 0.0
    number: int = 0

    def recent(self) -> list[float]:
        """Seconds of the recent runs; empty where they say nothing yet. [s]"""
        recent: list[float] = []
        for ended_s, seconds in reversed(self.ended):
            enough = len(recent) >= ENOUGH_RUNS or sum(recent) >= WINDOW_S
            if enough and ended_s < self.ended[-1][0] - WINDOW_S:
                break
            recent.append(seconds)
        return recent if len(recent) >= LEAST_RUNS or sum(recent) >= WINDOW_S else []


@dataclass
class _TimedModel:
    """What is known of one model.

    Attributes:
        epochs: Held epoch to its components, by number.
        fresh: Components (epoch, number) that did not run since they were prepared.
        runs: By digest of the graph.
    """

    epochs: dict[int, dict[int, ComponentSpec]] = field(default_factory=dict[int, dict[int, ComponentSpec]])
    fresh: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    runs: dict[str, _Runs] = field(default_factory=dict[str, _Runs])
    whole: WholeTiming | None = None
    ran_s: float = float("-inf")


class TimingBook:
    """The last runs of one node.

    Args:
        node: Its name.
        instance: Of the agent.
        background_work: Work beside which runs do not count.
        clock: Monotonic. [s]
        wall_clock: For people only; runs are numbered. [s since the epoch]
    """

    def __init__(
        self,
        node: str,
        instance: str,
        background_work: BackgroundWork,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._node = node
        self._instance = instance
        self._background_work = background_work
        self._clock = clock
        self._wall_clock = wall_clock
        self._numbers = itertools.count(1)
        self._models: dict[str, _TimedModel] = {}
        self._changed: set[str] = set()

    def begin(self, model: str, spec: EpochSpec) -> None:
        """An epoch was prepared."""
        known = self._models.setdefault(model, _TimedModel())
        known.epochs[spec.epoch] = {part.component: part for part in spec.components}
        known.fresh |= {(spec.epoch, part.component) for part in spec.components}

    def forget(self, model: str, epoch: int) -> None:
        """An epoch was released; graphs that no other holds are forgotten."""
        known = self._models.get(model)
        if known is None or known.epochs.pop(epoch, None) is None:
            return
        known.fresh = {key for key in known.fresh if key[0] != epoch}
        held = {part.graph.digest for parts in known.epochs.values() for part in parts.values()}
        for digest in known.runs.keys() - held:
            del known.runs[digest]
            self._changed.add(model)

    def ran(self, model: str, epoch: int, component: int, seconds: float, started_s: float) -> None:
        """A component of an epoch ran.

        `seconds` are on the clock that profiles are taken with, `started_s` is on this book's. [s]
        """
        known = self._models.get(model)
        spec = known.epochs.get(epoch, {}).get(component) if known is not None else None
        if known is None or spec is None:
            return
        known.ran_s = self._clock()
        if (epoch, component) in known.fresh:
            known.fresh.discard((epoch, component))
            return
        if self._background_work.since(started_s):
            return
        runs = known.runs.setdefault(spec.graph.digest, _Runs((epoch, spec)))
        runs.last = epoch, spec
        runs.last_unix_s, runs.number = self._wall_clock(), next(self._numbers)
        runs.ended.append((self._clock(), seconds))
        self._changed.add(model)

    def last_run_s(self, model: str) -> float:
        """When a component of a model last ended, on this book's clock; minus infinity before. [s]"""
        known = self._models.get(model)
        return known.ran_s if known is not None else float("-inf")

    def timed_again(self, model: str, sha256: str, seconds: Sequence[float]) -> None:
        """The whole model ran again, several times. [s]"""
        known = self._models.setdefault(model, _TimedModel())
        known.whole = WholeTiming(
            sha256=sha256,
            whole_s=middle_mean(seconds),
            runs=len(seconds),
            at_unix_s=self._wall_clock(),
            number=next(self._numbers),
        )
        self._changed.add(model)

    def reset(self) -> None:
        """What was measured no longer holds: the profile was restated."""
        for model, known in self._models.items():
            known.runs.clear()
            known.whole = None
            self._changed.add(model)

    def drop(self, model: str) -> None:
        """A model is gone."""
        self._models.pop(model, None)
        self._changed.discard(model)

    def take_changed(self) -> list[LiveTimings]:
        """What changed since the call before."""
        changed, self._changed = sorted(self._changed), set()
        return [self._message(model, self._models[model]) for model in changed]

    def _message(self, model: str, known: _TimedModel) -> LiveTimings:
        timings = tuple(
            ComponentTiming(
                graph=digest,
                epoch=runs.last[0],
                component=runs.last[1].component,
                predicted_s=runs.last[1].predicted_s,
                recent_s=middle_mean(recent),
                runs=len(recent),
                last_run_unix_s=runs.last_unix_s,
                number=runs.number,
                ended_ago_s=max(self._clock() - runs.ended[-1][0], 0.0),
            )
            for digest, runs in sorted(known.runs.items())
            if (recent := runs.recent())
        )
        return LiveTimings(
            node=self._node,
            instance=self._instance,
            model=model,
            at_unix_s=self._wall_clock(),
            components=timings,
            whole=known.whole,
        )


def middle_mean(seconds: Sequence[float]) -> float:
    """Mean of the middle half: an outlier does not count, and means of parts add up as the parts do. [s]

    A run under a processor quota takes one of a few times, depending on where in the quota's period it begins; a
    median would jump between them.
    """
    ordered = sorted(seconds)
    cut = max(len(ordered) // 4, 1) if len(ordered) >= LEAST_RUNS else 0
    middle = ordered[cut : len(ordered) - cut]
    return sum(middle) / len(middle)
