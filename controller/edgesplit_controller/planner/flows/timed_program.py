"""The flow program with time: latency is the end of a schedule, bounded by paths and by what nodes and links have to do.

Owns: the columns of time and their rows. Its rule: a relaxation of every schedule that `timeline` may find, operator by operator. Not here: places
and flows (`flow_program.py`), schedules themselves (`cpsat/schedule.py`).

An operator ends after whatever it reads has arrived and it has run. Between two operators that every path passes (dominators of the output),
everything else runs after the one has ended and before the other begins: so that time is at least what any node computes and any
link carries of the stretch between them, and stretches follow one another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgesplit_controller.planner.bounds.noise_patterns import Patterns
from edgesplit_controller.planner.flows.flow_program import FlowProgram, Sender
from edgesplit_controller.planner.meaning.costs import Costs, WireTensor
from edgesplit_controller.planner.meaning.measures import LATENCY

__all__ = ["TimedFlowProgram", "dominators"]

Floats = NDArray[np.float64]
Busy = dict[int, list[tuple[int, float]]]
"""Per stretch, columns and the seconds that they keep something busy."""


def dominators(costs: Costs) -> list[int]:
    """Operators that every path passes, in graph order; operators are in that order."""
    count = len(costs.operators)
    jumped = np.zeros(count + 1, dtype=np.int64)
    read, reads = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    for tensor in costs.tensors:
        read[tensor.producer] = True
        for consumer in tensor.consumers:
            reads[consumer] = True
            jumped[tensor.producer + 1] += 1
            jumped[consumer] -= 1
    open_edges = np.cumsum(jumped)[:count]
    ends = np.cumsum(~read) - ~read
    begins = np.cumsum((~reads)[::-1])[::-1] - ~reads
    return np.flatnonzero((open_edges == 0) & (ends == 0) & (begins == 0)).tolist()


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
        self._busy: dict[int | tuple[int, int], Busy] = {}
        super().__init__(costs, patterns, max_noise)
        self._add_ends()
        self.costs = self._rows.costs()
        self.costs[:, LATENCY] = 0.0
        self.costs[self._makespan, LATENCY] = self._horizon_s

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
        self, resource: int | tuple[int, int], stretch: int, column: int, seconds: float, *, dominates: bool = False
    ) -> None:
        if seconds != 0.0 and not dominates:
            self._busy.setdefault(resource, {}).setdefault(stretch, []).append((column, seconds))

    def _charge(self, tensor: WireTensor, flows: Sequence[dict[tuple[Sender, int], int]]) -> None:
        super()._charge(tensor, flows)
        for reader, flow in zip(tensor.consumers, flows, strict=True):
            arriving: list[tuple[int, float]] = []
            for ((at, index), node), column in flow.items():
                mode = tensor.modes[index]
                if at != node:
                    seconds = float(mode.transfer[LATENCY, at, node] + mode.encode[LATENCY, at])
                    arriving.append((column, seconds))
                    if len(flows) == 1:
                        # Of several readers on one node the first one's transfer serves all.
                        stretch = self._stretch[tensor.producer]
                        self._occupy((at, node), stretch, column, float(mode.occupied_s[at, node]))
            self._after(reader, self._end[tensor.producer], arriving)

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
