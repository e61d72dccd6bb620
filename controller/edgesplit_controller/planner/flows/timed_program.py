"""The flow program with time: latency is the end of a schedule, bounded by paths and by what nodes and links have to do.

Owns: the columns of time and their rows. Its rule: a relaxation of every schedule that `timeline` may find, operator by operator. Not here: places
and flows (`flow_program.py`), schedules themselves (`cpsat/schedule.py`).

An operator ends after whatever it reads has arrived and it has run. Where every operator comes before or after a certain one (called a dominator
here), all of the former end before it begins and all of the latter begin after it has ended. So the time between two dominators that
follow one another is at least what any node computes and any link carries of the stretch between them, and stretches follow one another.
Within a stretch the same holds from any operator to its end, for what comes after that operator, and from its begin to any operator: these
rows are many and few of them bind, so they are stated on demand (`stretch_intervals.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.flows.flow_program import FlowProgram, Sender
from edgesplit_controller.planner.meaning.costs import Costs, WireTensor
from edgesplit_controller.planner.meaning.measures import LATENCY

__all__ = ["Load", "Resource", "TimedFlowProgram", "dominators", "following"]

Floats = NDArray[np.float64]
Resource = int | tuple[int, int]
"""A node, or a direction of a link."""

Busy = dict[int, list[tuple[int, float]]]
"""Per stretch, columns and the seconds that they keep something busy."""


def dominators(costs: Costs) -> list[int]:
    """Operators that every other one comes before or after, in graph order; operators are in that order."""
    after = following(costs)
    before = [0] * len(after)
    for tensor in costs.tensors:
        for consumer in tensor.consumers:
            before[consumer] |= 1 << tensor.producer
    # Operators are indexed in graph order, so all that comes before a producer is known when it is read.
    for operator, direct in enumerate(before):
        for producer in _members(direct):
            before[operator] |= before[producer]
    others = len(after) - 1
    return [o for o in range(len(after)) if after[o].bit_count() + before[o].bit_count() == others]


def following(costs: Costs) -> list[int]:
    """Per operator, the set of those that come after it, as bits."""
    after = [0] * len(costs.operators)
    for tensor in sorted(costs.tensors, key=lambda tensor: -tensor.producer):
        for consumer in tensor.consumers:
            after[tensor.producer] |= after[consumer] | 1 << consumer
    return after


def _members(bits: int) -> Iterator[int]:
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


@dataclass(frozen=True, slots=True)
class Load:
    """What keeps something busy.

    Attributes:
        resource: It.
        stretch: Place of the stretch in which all of it happens.
        since: Operator after whose begin it happens; what an operator computes itself: that one.
        until: Operators before whose end it happens; the same.
        column: What of it happens.
        seconds: If all of it does. [s]
    """

    resource: Resource
    stretch: int
    since: int
    until: tuple[int, ...]
    column: int
    seconds: float


class TimedFlowProgram(FlowProgram):
    """Columns and rows of a problem whose latency is the end of a schedule.

    Args:
        costs: The problem's; producers come before consumers.
        patterns: Allowed quantization patterns.
        max_noise: The limit on noise, or None.
        horizon_s: No plan of interest ends later. [s]
    """

    def __init__(self, costs: Costs, patterns: Patterns | None, max_noise: float | None, horizon_s: float) -> None:
        self._horizon_s = horizon_s or 1.0
        self._end: list[int] = []
        self._passed = dominators(costs)
        stretch = np.searchsorted(np.array(self._passed, dtype=np.intp), np.arange(len(costs.operators)), side="right")
        self._stretch = stretch.tolist()
        """Per operator, the dominators up to it."""
        self._busy: dict[Resource, Busy] = {}
        self._carried: list[Load] = []
        super().__init__(costs, patterns, max_noise)
        self._add_ends()
        self.costs = self._rows.costs()
        self.costs[:, LATENCY] = 0.0
        self.costs[self._makespan, LATENCY] = self._horizon_s

    @property
    def horizon_s(self) -> float:
        """What the makespan's column is in units of. [s]"""
        return self._horizon_s

    @property
    def stretches(self) -> list[list[int]]:
        """Operators between dominators: before the first one, between each two, after the last one."""
        found: list[list[int]] = [[] for _ in range(len(self._passed) + 1)]
        passed = set(self._passed)
        for operator, stretch in enumerate(self._stretch):
            if operator not in passed:
                found[stretch].append(operator)
        return found

    def rim(self, stretch: int) -> tuple[int | None, int | None]:
        """The dominators around a stretch; None where it is the first or the last."""
        before = self._passed[stretch - 1] if stretch > 0 else None
        return before, self._passed[stretch] if stretch < len(self._passed) else None

    def loads(self) -> list[Load]:
        """All that keeps nodes and links busy within a stretch, dominators themselves aside."""
        passed = set(self._passed)
        computed = [
            Load(node, self._stretch[operator], operator, (operator,), column, seconds)
            for operator in range(len(self._end))
            if operator not in passed
            for node, column, seconds in self._own(operator)
            if seconds != 0.0
        ]
        return [*computed, *(load for load in self._carried if load.seconds != 0.0)]

    def end_of(self, operator: int | None) -> int:
        """Column of an operator's end; None: of the makespan."""
        return self._makespan if operator is None else self._end[operator]

    def own(self, operator: int) -> list[tuple[int, float]]:
        """Columns and seconds of what an operator takes itself."""
        return [(column, seconds) for _, column, seconds in self._own(operator)]

    def _add_precisions(self, max_noise: float | None) -> None:
        super()._add_precisions(max_noise)
        self._end = [self._rows.column() for _ in self._costs.operators]
        self._makespan = self._rows.column()
        for operator in range(len(self._costs.operators)):
            for node, column, seconds in self._own(operator):
                self._occupy(node, self._stretch[operator], column, seconds, dominates=operator in self._passed)

    def _own(self, operator: int) -> list[tuple[int, int, float]]:
        """Node, column and seconds of what an operator takes; quantizing takes off."""
        costs = self._costs
        parts = [(n, c, float(costs.compute[LATENCY, operator, n])) for n, c in self._place[operator].items()]
        for node, column in self._int8.get(operator, {}).items():
            more = costs.quantized_compute[LATENCY, operator, node] - costs.compute[LATENCY, operator, node]
            parts.append((node, column, float(more)))
        return parts

    def _occupy(
        self, resource: Resource, stretch: int, column: int, seconds: float, *, dominates: bool = False
    ) -> None:
        if seconds != 0.0 and not dominates:
            self._busy.setdefault(resource, {}).setdefault(stretch, []).append((column, seconds))

    def _charge(
        self, tensor: WireTensor, flows: Sequence[dict[tuple[Sender, int], int]]
    ) -> dict[tuple[Sender, int], int]:
        paid = super()._charge(tensor, flows)
        stretch = self._stretch[tensor.producer]
        # What is read beyond the next dominator may be on its way for longer than the stretch.
        within = stretch == len(self._passed) or tensor.consumers[-1] <= self._passed[stretch]
        for ((at, index), node), column in paid.items() if within else ():
            seconds = float(tensor.modes[index].occupied_s[at, node])
            self._occupy((at, node), stretch, column, seconds)
            self._carried.append(Load((at, node), stretch, tensor.producer, tensor.consumers, column, seconds))
        for reader, flow in zip(tensor.consumers, flows, strict=True):
            arriving: list[tuple[int, float]] = []
            for ((at, index), node), column in flow.items():
                mode = tensor.modes[index]
                if at != node:
                    seconds = float(mode.transfer[LATENCY, at, node] + mode.encode[LATENCY, at])
                    arriving.append((column, seconds))
            self._after(reader, self._end[tensor.producer], arriving)
        return paid

    def _after(self, operator: int, begin: int | None, arriving: Sequence[tuple[int, float]]) -> None:
        """An operator ends after a point in time, what arrives from there, and its own run."""
        own = [(column, seconds) for _, column, seconds in self._own(operator)]
        parts = [(column, seconds / self._horizon_s) for column, seconds in (*arriving, *own)]
        parts.append((self._end[operator], -1.0))
        if begin is not None:
            parts.append((begin, 1.0))
        self._rows.weighed([column for column, _ in parts], [weight for _, weight in parts], 0.0)

    def _add_ends(self) -> None:
        reading = {consumer for tensor in self._costs.tensors for consumer in tensor.consumers}
        for operator, end in enumerate(self._end):
            if operator not in reading:
                self._after(operator, None, ())
            self._rows.weighed([end, self._makespan], [1.0, -1.0], 0.0)
        for stretches in self._busy.values():
            for stretch, parts in stretches.items():
                self._bound_stretch(stretch, parts)

    def _bound_stretch(self, stretch: int, parts: Sequence[tuple[int, float]]) -> None:
        """What keeps something busy between two dominators fits between the end of the one and the begin of the other."""
        merged: dict[int, float] = {}
        for column, seconds in parts:
            merged[column] = merged.get(column, 0.0) + seconds / self._horizon_s
        if stretch > 0:
            before = self._end[self._passed[stretch - 1]]
            merged[before] = merged.get(before, 0.0) + 1.0
        if stretch < len(self._passed):
            following = self._passed[stretch]
            for _, column, seconds in self._own(following):
                merged[column] = merged.get(column, 0.0) + seconds / self._horizon_s
            end = self._end[following]
        else:
            end = self._makespan
        merged[end] = merged.get(end, 0.0) - 1.0
        self._rows.weighed(list(merged), list(merged.values()), 0.0)
