"""List scheduling of a fixed plan: when every component, encoding, transfer and decoding starts and ends.

Owns: scheduling a fixed plan. Its rule: a node does one thing at a time, a link direction carries one tensor at a
time (its latency does not occupy it), a tensor leaves when its component ends; what takes no time occupies nothing.
Not here: choosing the plan.

The order of things is free. Branching over active schedules (Giffler and Thompson) finds the best; the search is
bounded in steps, so a plan of many components gets the best order found, by branching or by list schedules of other priorities
(`list_schedule.py`).

References: B. Giffler, G. L. Thompson, Algorithms for Solving Production-Scheduling Problems, Operations
Research 8, 1960.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edgesplit.planning.plan import Assignment, Component, TimelineEntry
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.meaning.components import Grouping, does_work
from edgesplit_controller.planner.meaning.exact import codec_and_bytes
from edgesplit_controller.planner.meaning.list_schedule import Tasks, better_order

__all__ = ["simulate"]

SEARCH_WORK = 60_000
"""Steps of the search times the number of things to schedule, before it settles for the best found."""

MANY = 24
"""Things from which that search alone is not worth its time: it stops soon after the first list schedule."""

FEW_TRIALS = 30
"""Priorities tried for an end that is of interest only if it is early enough."""

TRIALS_WORK = 20_000
"""Priorities tried where that search did not end, times the number of things."""

Resource = str | tuple[str, str]


@dataclass(slots=True)
class _Item:
    """One thing to schedule: `duration_s` on its resource, done `lag_s` after it leaves the resource."""

    kind: str
    resource: Resource | None
    duration_s: float
    lag_s: float = 0.0
    before: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    tail_s: float = 0.0
    component: int | None = None
    tensor: str | None = None


def simulate(
    problem: Problem,
    assignment: Assignment,
    groups: Grouping,
    components: Sequence[Component],
    within_s: float = math.inf,
    *,
    searched: bool = True,
) -> tuple[float, tuple[TimelineEntry, ...]]:
    """Schedule a plan as early as its best order allows.

    Args:
        problem: A valid problem.
        assignment: A complete assignment all of whose transfers have links.
        groups: The grouping of its operators, in an order in which they may run.
        components: `as_components` of these groups.
        within_s: A later end is of no interest: where there are many things, little is tried to find whether there is an earlier one. [s]
        searched: Whether an order better than the first list schedule's is looked for where there are many things.

    Returns:
        The end of the last thing [s], and the entries ordered by start; nothing starts before the request was taken in. The result is needed at the source,
        where the output's role operator waits for it.
    """
    items = _items(problem, assignment, groups, components)
    _set_tails(items)
    starts = _best_starts(items, problem.handling_s, within_s, searched=searched)
    entries = [_entry(item, start) for item, start in zip(items, starts, strict=True) if item.kind != "role"]
    entries.sort(key=lambda entry: (entry.start_s, entry.end_s))
    end_s = max((s + i.duration_s + i.lag_s for i, s in zip(items, starts, strict=True)), default=problem.handling_s)
    return end_s, tuple(entries)


def _entry(item: _Item, start_s: float) -> TimelineEntry:
    end_s = start_s + item.duration_s + item.lag_s
    if isinstance(item.resource, tuple):
        source, target = item.resource
        return TimelineEntry(
            kind="transfer", start_s=start_s, end_s=end_s, source=source, target=target, tensor=item.tensor
        )
    kind: Literal["compute", "encode", "decode"] = "compute"
    if item.kind in ("encode", "decode"):
        kind = "encode" if item.kind == "encode" else "decode"
    return TimelineEntry(
        kind=kind,
        start_s=start_s,
        end_s=end_s,
        node=item.resource,
        component=item.component,
        tensor=item.tensor,
    )


def _items(problem: Problem, assignment: Assignment, groups: Grouping, components: Sequence[Component]) -> list[_Item]:
    """One item per group, then per cut tensor its encoding, transfers and decodings."""
    operators = {operator.name: operator for operator in problem.operators}
    items: list[_Item] = []
    group_of: dict[str, int] = {}
    working = 0
    for index, group in enumerate(groups):
        node = assignment.node_of[group[0]]
        duration_s = 0.0
        for name in group:
            group_of[name] = index
            quantized = operators[name].quantized_time_s if name in assignment.quantized else None
            duration_s += (quantized or operators[name].time_s)[node]
        if any(does_work(operators[name]) for name in group):
            items.append(_Item("compute", node, duration_s, component=components[working].id))
            working += 1
        else:
            items.append(_Item("role", None, 0.0))
    _add_transfers(problem, assignment, group_of, items)
    return items


def _add_transfers(problem: Problem, assignment: Assignment, group_of: Mapping[str, int], items: list[_Item]) -> None:
    links = {(link.source, link.target): link for link in problem.links}
    for tensor in problem.tensors:
        origin, sender = group_of[tensor.producer], assignment.node_of[tensor.producer]
        readers: dict[str, set[int]] = {}
        for consumer in tensor.consumers:
            readers.setdefault(assignment.node_of[consumer], set()).add(group_of[consumer])
        for group in sorted(readers.pop(sender, set()) - {origin}):
            _precede(items, origin, group)
        if not readers:
            continue
        codec, size = codec_and_bytes(tensor, assignment)
        leaves = origin
        if codec is not None:
            leaves = _append(items, _Item("encode", sender, codec.encode_s[sender], tensor=tensor.name), [origin])
        for receiver, targets in readers.items():
            link = links[sender, receiver]
            transfer = _Item("transfer", (sender, receiver), size / link.bandwidth_bytes_per_s, link.latency_s)
            transfer.tensor = tensor.name
            arrived = _append(items, transfer, [leaves])
            if codec is not None:
                decode = _Item("decode", receiver, codec.decode_s[receiver], tensor=tensor.name)
                arrived = _append(items, decode, [arrived])
            for target in sorted(targets):
                _precede(items, arrived, target)


def _append(items: list[_Item], item: _Item, before: Sequence[int]) -> int:
    items.append(item)
    for index in before:
        _precede(items, index, len(items) - 1)
    return len(items) - 1


def _precede(items: list[_Item], first: int, second: int) -> None:
    if second not in items[first].after:
        items[first].after.append(second)
        items[second].before.append(first)


def _set_tails(items: list[_Item]) -> None:
    """Longest way from an item's start to the end, the usual priority and bound."""
    pending = [len(item.after) for item in items]
    ready = [index for index, count in enumerate(pending) if count == 0]
    while ready:
        item = items[ready.pop()]
        item.tail_s = item.duration_s + item.lag_s + max((items[i].tail_s for i in item.after), default=0.0)
        for index in item.before:
            pending[index] -= 1
            if pending[index] == 0:
                ready.append(index)


@dataclass(slots=True)
class _State:
    """A partial schedule; `ready_s` is when an unscheduled item's last scheduled predecessor is done."""

    starts: list[float]
    ready_s: list[float]
    pending: list[int]
    free_s: dict[Resource, float]
    end_s: float = 0.0
    scheduled: int = 0


def _best_starts(items: Sequence[_Item], begin_s: float, within_s: float, *, searched: bool) -> list[float]:
    """Depth-first search over active schedules, most urgent first; the first leaf is a list schedule."""
    if len(items) > MANY and not searched:
        return _starts_by_priorities(items, begin_s, 0, math.inf)
    if len(items) > MANY and within_s < math.inf:
        return _starts_by_priorities(items, begin_s, FEW_TRIALS, within_s)
    root = _State([-1.0] * len(items), [begin_s] * len(items), [len(i.before) for i in items], {})
    bound = begin_s + max((item.tail_s for item in items), default=0.0)
    best_end, best = float("inf"), root.starts
    stack = [root]
    steps, most = 0, SEARCH_WORK // max(len(items), 1)
    if len(items) > MANY:
        most = MANY
    settled = True
    while stack:
        state = stack.pop()
        steps += 1
        if state.scheduled == len(items):
            if state.end_s < best_end:
                best_end, best = state.end_s, state.starts
            if best_end <= bound * (1 + 1e-12):
                break
            continue
        if best_end < float("inf") and steps > most:
            settled = False
            break
        if best_end < float("inf") and _lower_bound(items, state) >= best_end:
            continue
        urgent_last = sorted(_conflict(items, state), key=lambda i: items[i].tail_s)
        stack.extend(_schedule(items, state, index) for index in urgent_last)
    if settled:
        return best
    found = _starts_by_priorities(items, begin_s, TRIALS_WORK // len(items), bound * (1 + 1e-12))
    return min(best, found, key=lambda starts: _end_s(items, starts))


def _starts_by_priorities(items: Sequence[_Item], begin_s: float, trials: int, enough_s: float) -> list[float]:
    tasks = Tasks(
        [item.duration_s for item in items],
        [item.lag_s for item in items],
        [item.resource for item in items],
        [item.after for item in items],
    )
    return better_order(tasks, [item.tail_s for item in items], trials, begin_s, enough_s)[1]


def _end_s(items: Sequence[_Item], starts: Sequence[float]) -> float:
    return max(start + item.duration_s + item.lag_s for item, start in zip(items, starts, strict=True))


def _start(items: Sequence[_Item], state: _State, index: int) -> float:
    resource = items[index].resource
    if resource is None or items[index].duration_s == 0.0:
        return state.ready_s[index]
    return max(state.ready_s[index], state.free_s.get(resource, 0.0))


def _lower_bound(items: Sequence[_Item], state: _State) -> float:
    return max(
        (
            _start(items, state, index) + items[index].tail_s
            for index, count in enumerate(state.pending)
            if count == 0 and state.starts[index] < 0
        ),
        default=state.end_s,
    )


def _conflict(items: Sequence[_Item], state: _State) -> list[int]:
    """Items that compete for the resource that could be done first; an active schedule starts with one of them."""
    ready = [i for i, count in enumerate(state.pending) if count == 0 and state.starts[i] < 0]
    starts = {index: _start(items, state, index) for index in ready}
    first = min(ready, key=lambda i: (starts[i] + items[i].duration_s, i))
    resource, done_s = items[first].resource, starts[first] + items[first].duration_s
    if resource is None or items[first].duration_s == 0.0:
        return [first]
    # The first one is in conflict with itself even where its duration vanishes beside its start.
    return [i for i in ready if i == first or (items[i].resource == resource and starts[i] < done_s)]


def _schedule(items: Sequence[_Item], state: _State, index: int) -> _State:
    item, start = items[index], _start(items, state, index)
    free = dict(state.free_s)
    if item.resource is not None and item.duration_s > 0.0:
        free[item.resource] = start + item.duration_s
    done = start + item.duration_s + item.lag_s
    starts, ready_s, pending = list(state.starts), list(state.ready_s), list(state.pending)
    starts[index] = start
    for successor in item.after:
        pending[successor] -= 1
        ready_s[successor] = max(ready_s[successor], done)
    return _State(starts, ready_s, pending, free, max(state.end_s, done), state.scheduled + 1)
