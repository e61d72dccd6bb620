"""A quick timeline of a plan by index: what latency some schedule of it has, for searches that measure thousands.

Owns: grouping a plan's operators by what they wait for and what waits for them, and one list schedule of these groups. Its rule: never
earlier than the best timeline; how much later is not said. Not here: what is reported, which is `timeline`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from edgesplit_controller.planner.meaning.costs import Costs, WireTensor
from edgesplit_controller.planner.meaning.list_schedule import Tasks, list_schedule, tails
from edgesplit_controller.planner.meaning.measures import LATENCY

__all__ = ["QuickTimeline"]

Table = list[list[float]]


@dataclass(frozen=True, slots=True)
class _Way:
    """One mode of a tensor, in plain numbers: lists are read faster one by one than arrays."""

    coded: bool
    occupied_s: Table
    latency_s: Table
    encode_s: list[float]
    decode_s: list[float]


@dataclass(frozen=True, slots=True)
class _CrossingTensor:
    """A tensor by units: who writes it, who else reads it, and how it may travel.

    Attributes:
        name: Its own.
        operator: The producer.
        producer: The producer's unit.
        consumers: Other units that read it.
        ways: Its modes.
        raw: The mode without a codec in float, and in int8.
    """

    name: str
    operator: int
    producer: int
    consumers: tuple[int, ...]
    ways: tuple[_Way, ...]
    raw: tuple[int, int]

    @classmethod
    def of(cls, tensor: WireTensor, unit_of: Sequence[int]) -> _CrossingTensor:
        """A tensor of the problem."""
        ways = tuple(
            _Way(
                mode.codec is not None,
                mode.occupied_s.tolist(),
                mode.latency_s.tolist(),
                mode.encode[LATENCY].tolist(),
                mode.decode_s.tolist(),
            )
            for mode in tensor.modes
        )
        in_float, in_int8 = (
            next(
                i for i, mode in enumerate(tensor.modes) if mode.codec is None and mode.precision in ("any", precision)
            )
            for precision in ("float", "int8")
        )
        producer = unit_of[tensor.producer]
        consumers = tuple(sorted({unit_of[consumer] for consumer in tensor.consumers} - {producer}))
        return cls(tensor.name, tensor.producer, producer, consumers, ways, (in_float, in_int8))


@dataclass(frozen=True, slots=True)
class Grouped:
    """What a plan has to schedule.

    Attributes:
        tasks: Groups of operators, codings and transfers.
        names: A group's first unit, or the tensor's name.
        tails_s: Longest way from each to the end. [s]
        sent_s: What all transfers take together. [s]
    """

    tasks: Tasks
    names: Sequence[Hashable]
    tails_s: Sequence[float]
    sent_s: float

    def end_s(self, urgency: Mapping[Hashable, float]) -> float:
        """The end of a list schedule. [s]

        Args:
            urgency: Factors of priorities, by name; the longest way to the end is the priority.
        """
        priorities = self.tails_s
        if urgency:
            priorities = [
                tail_s * urgency.get(name, 1.0) for tail_s, name in zip(self.tails_s, self.names, strict=True)
            ]
        return list_schedule(self.tasks, priorities)[0]


class QuickTimeline:
    """Timelines of plans of one problem.

    Args:
        costs: The problem's.
        units: Operators that are on one node in all of these plans, in an order in which units may run.
    """

    def __init__(self, costs: Costs, units: Sequence[Sequence[int]]) -> None:
        unit_of = {operator: place for place, unit in enumerate(units) for operator in unit}
        self._unit_of = [unit_of[operator] for operator in range(len(costs.operators))]
        compute_s = costs.compute[LATENCY]
        self._float_s: Table = [compute_s[list(unit)].sum(axis=0).tolist() for unit in units]
        with np.errstate(invalid="ignore"):
            self._int8_more_s: Table = (costs.quantized_compute[LATENCY] - compute_s).tolist()
        crossing = [_CrossingTensor.of(tensor, self._unit_of) for tensor in costs.tensors]
        self._crossing = [read for read in crossing if read.consumers]
        self._reads: list[list[tuple[int, int]]] = [[] for _ in units]
        self._read_by: list[list[tuple[int, tuple[int, ...]]]] = [[] for _ in units]
        for index, read in enumerate(self._crossing):
            self._read_by[read.producer].append((index, read.consumers))
            for consumer in read.consumers:
                self._reads[consumer].append((index, read.producer))
        self._alone = [
            max(self._float_s[unit]) == 0.0 and not (self._reads[unit] and self._read_by[unit])
            for unit in range(len(units))
        ]

    def grouped(self, node: Sequence[int], quantized: AbstractSet[int], mode: Mapping[str, int]) -> Grouped:
        """What a plan has to schedule.

        Args:
            node: Unit to node.
            quantized: Operators in int8.
            mode: Name of a tensor that travels coded, to its mode's index.
        """
        tasks, names = self._tasks(node, quantized, mode)
        sending = (
            d + lag
            for d, lag, on in zip(tasks.durations_s, tasks.lags_s, tasks.resources, strict=True)
            if isinstance(on, tuple)
        )
        return Grouped(tasks, names, tails(tasks), sum(sending))

    def _tasks(
        self, node: Sequence[int], quantized: AbstractSet[int], mode: Mapping[str, int]
    ) -> tuple[Tasks, list[Hashable]]:
        """Groups, then codings and transfers, and what each is called."""
        group_of, names, durations_s = self._groups(node, quantized)
        resources: list[Hashable] = [node[first] for first in names]
        lags_s = [0.0] * len(names)
        after: list[set[int]] = [set() for _ in names]
        called: list[Hashable] = list(names)

        def add(duration_s: float, lag_s: float, resource: Hashable, name: str, before: int) -> int:
            durations_s.append(duration_s)
            lags_s.append(lag_s)
            resources.append(resource)
            called.append(name)
            after.append(set())
            after[before].add(len(after) - 1)
            return len(after) - 1

        for tensor in self._crossing:
            origin, sender = group_of[tensor.producer], node[tensor.producer]
            readers: dict[int, set[int]] = {}
            for consumer in tensor.consumers:
                if node[consumer] != sender:
                    readers.setdefault(node[consumer], set()).add(group_of[consumer])
                elif group_of[consumer] != origin:
                    after[origin].add(group_of[consumer])
            if not readers:
                continue
            chosen = mode.get(tensor.name, tensor.raw[tensor.operator in quantized])
            way, leaves = tensor.ways[chosen], origin
            if way.coded:
                leaves = add(way.encode_s[sender], 0.0, sender, tensor.name, origin)
            for receiver, groups in readers.items():
                occupied_s, latency_s = way.occupied_s[sender][receiver], way.latency_s[sender][receiver]
                arrived = add(occupied_s, latency_s, (sender, receiver), tensor.name, leaves)
                if way.coded:
                    arrived = add(way.decode_s[receiver], 0.0, receiver, tensor.name, arrived)
                after[arrived] |= groups
        return Tasks(durations_s, lags_s, resources, after), called

    def _groups(self, node: Sequence[int], quantized: AbstractSet[int]) -> tuple[list[int], list[int], list[float]]:
        """Units with the same cut tensors before and after them: each one's group, and per group its first unit and duration."""
        count = len(node)
        before, behind = [0] * count, [0] * count
        for unit, reads in enumerate(self._reads):
            bits, here = 0, node[unit]
            for tensor, producer in reads:
                bits |= before[producer]
                if node[producer] != here:
                    bits |= 1 << tensor
            before[unit] = bits
        for unit in range(count - 1, -1, -1):
            bits, here = 0, node[unit]
            for tensor, consumers in self._read_by[unit]:
                for consumer in consumers:
                    bits |= behind[consumer]
                    if node[consumer] != here:
                        bits |= 1 << tensor
            behind[unit] = bits
        place: dict[tuple[int, int, int, int], int] = {}
        group_of = [0] * count
        first: list[int] = []
        durations_s: list[float] = []
        for unit in range(count):
            key = node[unit], before[unit], behind[unit], unit if self._alone[unit] else -1
            group = place.setdefault(key, len(first))
            if group == len(first):
                first.append(unit)
                durations_s.append(0.0)
            group_of[unit] = group
            durations_s[group] += self._float_s[unit][node[unit]]
        for operator in quantized:
            unit = self._unit_of[operator]
            durations_s[group_of[unit]] += self._int8_more_s[operator][node[unit]]
        durations_s = [max(duration_s, 0.0) for duration_s in durations_s]
        return group_of, first, durations_s
