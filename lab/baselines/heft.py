"""HEFT: Heterogeneous Earliest Finish Time, list scheduling of a task graph on unlike processors.

Owns: upward ranks, earliest finish times with insertion, and a planning problem as such a task graph. Its rule: tasks by falling upward
rank, each on the processor on which it ends first, in a gap if there is one; a choice is never taken back. Not here: what the schedule
takes when it is served (links carry one tensor at a time, which the method does not know).

Input and output stay at the source, pins hold; a processor without room for a task's weights is passed over. It knows no energy: weights
are ignored. Between two operators travels what one makes and the other reads; a tensor with two readers on a node counts for both, as in
the paper. Ties of ranks go by topological order, ties of finish times by the problem's order of nodes.

References: H. Topcuoglu, S. Hariri, M.-Y. Wu, Performance-Effective and Low-Complexity Task Scheduling for Heterogeneous Computing, IEEE
Transactions on Parallel and Distributed Systems 13(3), 2002.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from statistics import fmean

from edgesplit.planning.problem import Problem, Tensor
from edgesplit.planning.problem_validation import topological_order
from lab.baselines.prices import MethodHasNoPlan, RawPrices

__all__ = ["Slot", "TaskGraph", "heft_placement", "schedule", "upward_ranks"]

Edge = tuple[str, str]


@dataclass(frozen=True)
class TaskGraph:
    """Tasks that wait for each other.

    Attributes:
        order: Tasks, those waited for first.
        compute_s: Task to processor, where it may run, to seconds. [s]
        mean_s: Edge to the mean time of its message between two processors. [s]
        message_s: Of an edge's message from one processor to another one; infinite without a way. [s]
        weight_bytes: What a task takes of its processor for good. [B]
    """

    order: Sequence[str]
    compute_s: Mapping[str, Mapping[str, float]]
    mean_s: Mapping[Edge, float]
    message_s: Callable[[Edge, str, str], float]
    weight_bytes: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Slot:
    """When and where a task runs. [s]"""

    processor: str
    start_s: float
    end_s: float


def upward_ranks(tasks: TaskGraph) -> dict[str, float]:
    """Mean time from the start of each task to the end of all. [s]"""
    after: dict[str, list[str]] = {task: [] for task in tasks.order}
    for task, follower in tasks.mean_s:
        after[task].append(follower)
    ranks: dict[str, float] = {}
    for task in reversed(tasks.order):
        rest_s = max((tasks.mean_s[task, follower] + ranks[follower] for follower in after[task]), default=0.0)
        ranks[task] = fmean(tasks.compute_s[task].values()) + rest_s
    return ranks


def schedule(tasks: TaskGraph, room: Callable[[str, float], bool]) -> dict[str, Slot]:
    """Where and when each task runs.

    Args:
        tasks: All.
        room: Whether a processor has room for so many bytes. [B]

    Raises:
        MethodHasNoPlan: A task can run nowhere.
    """
    ranks, place = upward_ranks(tasks), {task: index for index, task in enumerate(tasks.order)}
    before: dict[str, list[str]] = {task: [] for task in tasks.order}
    for task, follower in tasks.mean_s:
        before[follower].append(task)
    slots: dict[str, Slot] = {}
    busy: dict[str, list[Slot]] = {}
    held = dict.fromkeys((processor for times in tasks.compute_s.values() for processor in times), 0.0)
    for task in sorted(tasks.order, key=lambda task: (-ranks[task], place[task])):
        best: Slot | None = None
        weight_bytes = tasks.weight_bytes.get(task, 0.0)
        for processor, seconds in tasks.compute_s[task].items():
            ready_s = max((_arrival_s(tasks, slots[one], (one, task), processor) for one in before[task]), default=0.0)
            if ready_s == inf or not room(processor, held[processor] + weight_bytes):
                continue
            start_s = _earliest_s(busy.get(processor, []), ready_s, seconds)
            if best is None or start_s + seconds < best.end_s:
                best = Slot(processor, start_s, start_s + seconds)
        if best is None:
            raise MethodHasNoPlan(f"HEFT finds no node for {task}: none has room and links for it by then")
        slots[task] = best
        held[best.processor] += weight_bytes
        busy.setdefault(best.processor, []).append(best)
        busy[best.processor].sort(key=lambda slot: (slot.start_s, slot.end_s))
    return slots


def heft_placement(problem: Problem) -> dict[str, str]:
    """Operator to node.

    Raises:
        MethodHasNoPlan: An operator finds no node with room and links.
    """
    prices = RawPrices(problem)
    return {task: slot.processor for task, slot in schedule(_task_graph(problem, prices), prices.room).items()}


def _task_graph(problem: Problem, prices: RawPrices) -> TaskGraph:
    tensors: dict[Edge, list[Tensor]] = {}
    for tensor in problem.tensors:
        for consumer in dict.fromkeys(tensor.consumers):
            tensors.setdefault((tensor.producer, consumer), []).append(tensor)
    links = problem.links
    mean_latency_s = fmean(link.latency_s for link in links) if links else 0.0
    mean_rate = fmean(link.bandwidth_bytes_per_s for link in links) if links else inf

    def message_s(edge: Edge, sender: str, receiver: str) -> float:
        costs = [prices.transfer(tensor, sender, receiver) for tensor in tensors[edge]]
        return sum(inf if cost is None else cost.latency_s for cost in costs)

    return TaskGraph(
        order=topological_order(problem),
        compute_s={
            operator.name: {node: operator.time_s[node] for node in prices.places(operator)}
            for operator in problem.operators
        },
        mean_s={
            edge: sum(mean_latency_s + tensor.bytes / mean_rate for tensor in between)
            for edge, between in tensors.items()
        },
        message_s=message_s,
        weight_bytes={operator.name: operator.weight_bytes for operator in problem.operators},
    )


def _arrival_s(tasks: TaskGraph, made: Slot, edge: Edge, processor: str) -> float:
    """When what a task waits for is there. [s]"""
    return made.end_s if made.processor == processor else made.end_s + tasks.message_s(edge, made.processor, processor)


def _earliest_s(busy: Sequence[Slot], ready_s: float, seconds: float) -> float:
    """The first start from which a processor is free for so long. [s]"""
    start_s = ready_s
    for slot in busy:
        if start_s + seconds <= slot.start_s:
            break
        start_s = max(start_s, slot.end_s)
    return start_s
