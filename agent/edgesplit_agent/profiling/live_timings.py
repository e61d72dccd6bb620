"""Live timings: what served components and their tensors' coding really took on this node, lately.

Owns: the last runs of every component, the last codings of every tensor, and what is said of them (`LiveTimings`). Its
rule: only facts; whether a node became slower is the controller's to decide. Every run is said once, as a sample; a
component's first run, a tensor's first coding, and what ran beside the agent's own preparing or profiling do not count.
Not here: running (`compute/session_pool.py`), coding (`compute/coding.py`), timing a whole model again (`retiming.py`).
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgesplit.control.component_messages import ComponentSpec
from edgesplit.control.plan_messages import EpochSpec
from edgesplit.control.profile_messages import CodingTiming, ComponentTiming, LiveTimings, WholeTiming
from edgesplit.wire.tensors import tensor_bytes
from edgesplit_agent.compute.background_work import BackgroundWork
from edgesplit_agent.compute.coding import CodingKind, CodingTurn
from edgesplit_agent.compute.recent_runs import middle_mean

__all__ = ["TimingBook"]

WINDOW_S = 2.0
"""Runs that ended this long before the last one are recent: a change shows within it. [s]"""
ENOUGH_RUNS = 5
"""Where fewer are that recent, so many of the last ones count, or as many as took that long together."""
LEAST_RUNS = 3
"""Of fewer runs nothing is said, unless together they took that long: a long run is a mean by itself."""
KEPT_RUNS = 64
SAMPLES = 16
"""A message has at most so many of one component or coding, the latest."""
MOST_CODINGS = 64
"""Kinds of coding that one message speaks of; plans code a few dozen tensors."""


@dataclass
class _Runs:
    """Of one graph.

    Attributes:
        ended: When each ended [s] and what it took [s], oldest first.
        last: Epoch and component of the last one.
        number: Of the last one, among all runs that are counted.
        samples: What each took since the message before. [s]
    """

    last: tuple[int, ComponentSpec]
    ended: deque[tuple[float, float]] = field(default_factory=lambda: deque[tuple[float, float]](maxlen=KEPT_RUNS))
    last_unix_s: float = 0.0
    number: int = 0
    samples: deque[float] = field(default_factory=lambda: deque[float](maxlen=SAMPLES))

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
class _Codings:
    """Of one kind, since the message before.

    Attributes:
        samples: What each took. [s]
        number: Of the last one, in one order with runs.
        ended_s: When that was, about. [s]
    """

    samples: deque[float] = field(default_factory=lambda: deque[float](maxlen=SAMPLES))
    number: int = 0
    ended_s: float = 0.0


@dataclass
class _TimedModel:
    """What is known of one model.

    Attributes:
        epochs: Held epoch to its components, by number.
        fresh: Components (epoch, number) that did not run since they were prepared.
        runs: By digest of the graph.
        tensors: Held epoch to its tensors: no other's coding is told, nor that of other sizes than planned for. None where the
            size is not open. [B]
        met: Epoch and kind of what was coded before.
    """

    epochs: dict[int, dict[int, ComponentSpec]] = field(default_factory=dict[int, dict[int, ComponentSpec]])
    fresh: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    runs: dict[str, _Runs] = field(default_factory=dict[str, _Runs])
    tensors: dict[int, dict[str, int | None]] = field(default_factory=dict[int, "dict[str, int | None]"])
    met: set[tuple[int, CodingKind]] = field(default_factory=set[tuple[int, CodingKind]])
    codings: dict[CodingKind, _Codings] = field(default_factory=dict[CodingKind, _Codings])
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
        known.tensors[spec.epoch] = _tensors(spec)

    def forget(self, model: str, epoch: int) -> None:
        """An epoch was released; graphs that no other holds are forgotten."""
        known = self._models.get(model)
        if known is None or known.epochs.pop(epoch, None) is None:
            return
        known.fresh = {key for key in known.fresh if key[0] != epoch}
        known.met = {key for key in known.met if key[0] != epoch}
        del known.tensors[epoch]
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
        runs.samples.append(seconds)
        self._changed.add(model)

    def coded(self, model: str, epoch: int, turn: CodingTurn) -> None:
        """Tensors of an epoch were coded or restored."""
        known = self._models.get(model)
        if known is None or not turn.runs or self._background_work.since(turn.began_s):
            return
        tensors = known.tensors.get(epoch, {})
        for kind, seconds in turn.runs:
            if tensors.get(kind.tensor) not in {None, kind.nbytes}:
                continue
            if (epoch, kind) in known.met:
                codings = known.codings.get(kind)
                if codings is None and len(known.codings) < MOST_CODINGS:
                    codings = known.codings[kind] = _Codings()
                if codings is not None:
                    codings.samples.append(seconds)
                    codings.number, codings.ended_s = next(self._numbers), self._clock()
                    self._changed.add(model)
            elif kind.tensor in tensors and len(known.met) < MOST_CODINGS * len(known.tensors):
                known.met.add((epoch, kind))

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
            samples=tuple(seconds)[-SAMPLES:],
        )
        self._changed.add(model)

    def reset(self) -> None:
        """What was measured no longer holds: the profile was restated."""
        for model, known in self._models.items():
            known.runs.clear()
            known.codings.clear()
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
        """What is known of a model; samples are handed out once."""
        parts = [
            self._part(digest, runs, recent) for digest, runs in sorted(known.runs.items()) if (recent := runs.recent())
        ]
        codings = tuple(self._coding(kind, codings) for kind, codings in sorted(known.codings.items()))
        known.codings.clear()
        return LiveTimings(
            node=self._node,
            instance=self._instance,
            model=model,
            at_unix_s=self._wall_clock(),
            components=tuple(parts),
            whole=known.whole,
            codings=codings,
        )

    def _part(self, digest: str, runs: _Runs, recent: Sequence[float]) -> ComponentTiming:
        samples = tuple(runs.samples)
        runs.samples.clear()
        return ComponentTiming(
            graph=digest,
            epoch=runs.last[0],
            component=runs.last[1].component,
            predicted_s=runs.last[1].predicted_s,
            recent_s=middle_mean(recent),
            runs=len(recent),
            last_run_unix_s=runs.last_unix_s,
            number=runs.number,
            ended_ago_s=max(self._clock() - runs.ended[-1][0], 0.0),
            samples=samples,
        )

    def _coding(self, kind: CodingKind, codings: _Codings) -> CodingTiming:
        return CodingTiming(
            tensor=kind.tensor,
            codec=kind.codec,
            direction=kind.direction,
            nbytes=kind.nbytes,
            samples=tuple(codings.samples),
            number=codings.number,
            ended_ago_s=max(self._clock() - codings.ended_s, 0.0),
        )


def _tensors(spec: EpochSpec) -> dict[str, int | None]:
    """All tensors that an epoch has on this node, with their planned size where it is open. [B]"""
    names = (*(route.tensor for route in spec.input_routes), *spec.outputs)
    of_parts = [tensor for part in spec.components for tensor in (*part.inputs, *part.outputs)]
    return dict.fromkeys(names) | {tensor.name: tensor_bytes(tensor) if tensor.typical else None for tensor in of_parts}
