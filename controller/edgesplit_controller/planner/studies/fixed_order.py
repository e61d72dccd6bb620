"""Schedule of a plan as a graph of steps: what each waits for once the order of things is fixed.

Owns: reading a timeline back into steps, in an order in which their starts can be computed. Its rule: whatever durations become,
each node and link keeps the order that the timeline found best. Not here: finding it (`meaning/timeline.py`), durations that
vary (`sampling.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import Literal

from edgesplit.planning.plan import Assignment, Component, Evaluation, TimelineEntry
from edgesplit.planning.problem import Operator, Problem, Tensor
from edgesplit_controller.planner.meaning.exact import codec_and_bytes

__all__ = ["Step", "Work", "steps_of"]


@dataclass(frozen=True, slots=True)
class Work:
    """An operator's part of what a component computes.

    Attributes:
        operator: Its name.
        quantized: Whether it runs in int8.
        seconds: [s]
    """

    operator: str
    quantized: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens in a request.

    Attributes:
        kind: As in the timeline.
        node: Where it happens; of a transfer, the sender.
        to: Receiver of a transfer, else empty.
        occupied_s: How long it keeps its node or link busy. [s]
        lag_s: How long after that it is done: latency of a transfer. [s]
        before: Places of the steps that must be done before it starts; all are earlier.
        behind: Place of the step that must have left the node or link before, or None.
        component: Identifier of the component that computes, or None.
        works: What it computes.
        codec: Name of the codec of an encoding or decoding, else empty.
    """

    kind: Literal["compute", "transfer", "encode", "decode"]
    node: str
    to: str
    occupied_s: float
    lag_s: float
    before: tuple[int, ...]
    behind: int | None
    component: int | None = None
    works: tuple[Work, ...] = ()
    codec: str = ""


def steps_of(problem: Problem, assignment: Assignment, evaluation: Evaluation) -> tuple[Step, ...]:
    """What happens in a request, in an order in which starts can be computed.

    Args:
        problem: The problem with which it was evaluated.
        assignment: A complete one.
        evaluation: `evaluate` of both; without a timeline there are no steps.
    """
    plan = _Plan(problem, assignment, evaluation)
    place = {key: index for index, key in enumerate(plan.order)}
    last: dict[tuple[str, str], int] = {}
    steps: list[Step] = []
    for index, key in enumerate(plan.order):
        before = tuple(sorted(place[other] for other in plan.awaited[key]))
        step = plan.step(plan.entries[key], before)
        if step.occupied_s > 0.0:  # what takes no time occupies nothing
            resource = (step.node, step.to)
            step = replace(step, behind=last.get(resource))
            last[resource] = index
        steps.append(step)
    return tuple(steps)


_Key = tuple[str, str, str]
"""Kind, component or tensor, node where it arrives."""


def _key(entry: TimelineEntry) -> _Key:
    what = entry.tensor if entry.component is None else str(entry.component)
    return entry.kind, what or "", entry.node or entry.target or ""


class _Plan:
    """Names to what they stand for, and which entry of the timeline waits for which."""

    def __init__(self, problem: Problem, assignment: Assignment, evaluation: Evaluation) -> None:
        self.assignment = assignment
        self.node_of = assignment.node_of
        self.operators: dict[str, Operator] = {operator.name: operator for operator in problem.operators}
        listed_by = {member: operator.name for operator in problem.operators for member in operator.listed}
        self.tensors: dict[str, Tensor] = {tensor.name: tensor for tensor in problem.tensors}
        self.links = {(link.source, link.target): link for link in problem.links}
        self.components: dict[int, Component] = {part.id: part for part in evaluation.components}
        self.component_of: dict[str, int] = {
            listed_by[name]: part.id for part in evaluation.components for name in part.operators
        }
        self.members: dict[int, list[str]] = {}
        for name, component in self.component_of.items():
            self.members.setdefault(component, []).append(name)
        self.reads: dict[str, list[Tensor]] = {}
        for tensor in problem.tensors:
            for consumer in tensor.consumers:
                if consumer not in self.component_of:
                    self.reads.setdefault(consumer, []).append(tensor)
        self.entries = {_key(entry): entry for entry in evaluation.timeline}
        self.awaited: dict[_Key, set[_Key]] = {
            key: set(self._awaited(entry)) - {key} for key, entry in self.entries.items()
        }
        rank = {key: index for index, key in enumerate(TopologicalSorter(self.awaited).static_order())}
        # What starts at one moment because it takes no time keeps the order of who waits for whom.
        self.order = sorted(self.entries, key=lambda key: (self.entries[key].start_s, rank[key]))

    def _awaited(self, entry: TimelineEntry) -> Iterator[_Key]:
        """What must be done before an entry starts."""
        if entry.component is not None:
            for name in self.components[entry.component].inputs:
                yield from self._arrival(self.tensors[name], entry.node or "")
            return
        tensor = self.tensors[entry.tensor or ""]
        coded = ("encode", tensor.name, self.node_of[tensor.producer])
        if entry.kind == "decode":
            yield ("transfer", tensor.name, entry.node or "")
        elif entry.kind == "transfer" and coded in self.entries:
            yield coded
        else:
            yield from self._made(tensor.producer)

    def _arrival(self, tensor: Tensor, node: str) -> Iterator[_Key]:
        """What brings a tensor to where it is read."""
        if self.node_of[tensor.producer] == node:
            yield from self._made(tensor.producer)
            return
        decoded = ("decode", tensor.name, node)
        yield decoded if decoded in self.entries else ("transfer", tensor.name, node)

    def _made(self, operator: str) -> Iterator[_Key]:
        """What makes an operator's outputs: its component; a role without work passes on what it reads."""
        component = self.component_of.get(operator)
        if component is not None:
            yield ("compute", str(component), self.node_of[operator])
            return
        for tensor in self.reads.get(operator, ()):
            yield from self._arrival(tensor, self.node_of[operator])

    def step(self, entry: TimelineEntry, before: tuple[int, ...]) -> Step:
        """An entry with the durations that the problem gives."""
        if entry.component is not None:
            works = tuple(self._works(self.components[entry.component]))
            seconds = sum(work.seconds for work in works)
            node = entry.node or ""
            return Step("compute", node, "", seconds, 0.0, before, None, entry.component, works)
        codec, size = codec_and_bytes(self.tensors[entry.tensor or ""], self.assignment)
        if entry.source is not None and entry.target is not None:
            link = self.links[entry.source, entry.target]
            occupied_s = size / link.bandwidth_bytes_per_s
            return Step("transfer", link.source, link.target, occupied_s, link.latency_s, before, None)
        node = entry.node or ""
        if codec is None:
            raise AssertionError(f"a timeline codes {entry.tensor!r}, which travels raw")
        times = codec.encode_s if entry.kind == "encode" else codec.decode_s
        return Step(entry.kind, node, "", times[node], 0.0, before, None, codec=codec.name)

    def _works(self, component: Component) -> Iterator[Work]:
        for name in self.members.get(component.id, ()):
            operator = self.operators[name]
            int8_s = operator.quantized_time_s if name in self.assignment.quantized else None
            yield Work(name, int8_s is not None, (int8_s or operator.time_s)[component.node])
