"""Where a model can be cut: the cheapest cut near a depth, and name patterns that select exactly its parts.

Owns: depths, crossing bytes and patterns, from the problem that a plan exports. Its rule: pure; a unit is never taken
apart, for a pin on one of its operators is a pin on all of them. Not here: which cuts are wanted (`wishes.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

from edgesplit.planning.problem import Operator, Problem

__all__ = ["NEAR", "cheapest_cut", "crossing_bytes", "parts", "patterns_for", "placed"]

NEAR = 0.08
"""A cut this share of the model's time away from the depth that was asked for is still that cut. [1]"""


def placed(problem: Problem) -> tuple[Operator, ...]:
    """What a plan places, in the problem's order; input and output stay on the source anyway."""
    return tuple(entry for entry in problem.operators if entry.role is None and entry.listed)


def crossing_bytes(problem: Problem) -> list[float]:
    """Bytes of float tensors that cross each cut; entry i is the cut before operator i of `placed`. [B]"""
    position = {entry.name: index for index, entry in enumerate(placed(problem))}
    steps = [0.0] * (len(position) + 1)
    for tensor in problem.tensors:
        readers = [position[name] for name in tensor.consumers if name in position]
        written = position.get(tensor.producer, -1)
        if readers and (last := max(readers)) > written:
            steps[written + 1] += tensor.bytes
            steps[last + 1] -= tensor.bytes
    return list(accumulate(steps))[: len(position)]


def cheapest_cut(problem: Problem, depth: float, node: str) -> int:
    """The cut that the least bytes cross near a depth; both sides have an operator.

    Args:
        problem: Of at least two placed operators.
        depth: Share of the model's time in front of the cut, 0 to 1. [1]
        node: By whose times.
    """
    operators = placed(problem)
    total = sum(entry.time_s[node] for entry in operators) or 1.0
    before = [done / total for done in accumulate((entry.time_s[node] for entry in operators), initial=0.0)]
    crossing = crossing_bytes(problem)
    inside = range(1, len(operators))
    near = [index for index in inside if abs(before[index] - depth) <= NEAR]
    if near:
        return min(near, key=lambda index: (crossing[index], abs(before[index] - depth)))
    return min(inside, key=lambda index: abs(before[index] - depth))


def parts(problem: Problem, depths: Sequence[float], node: str) -> list[tuple[str, ...]]:
    """ONNX operators before, between and behind cuts at rising depths; fewer parts where cuts fall together."""
    operators = placed(problem)
    cuts = sorted({cheapest_cut(problem, depth, node) for depth in depths})
    edges = [0, *cuts, len(operators)]
    return [tuple(name for entry in operators[begin:end] for name in entry.listed) for begin, end in pairwise(edges)]


def patterns_for(wanted: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Shell-style patterns that select the wanted names and none of the others; as few as common beginnings allow."""
    return tuple(_covering("", set(wanted), sorted(set(names))))


def _covering(beginning: str, wanted: set[str], names: list[str]) -> Iterator[str]:
    """Patterns for the wanted ones of names that all begin alike."""
    if not wanted.intersection(names):
        return
    plain = not any(sign in beginning for sign in "*?[")
    if plain and wanted.issuperset(names) and len(names) > 1:
        yield f"{beginning}*"
        return
    by_next: dict[str, list[str]] = {}
    for name in names:
        by_next.setdefault(name[: len(beginning) + 1], []).append(name)
    for longer, group in by_next.items():
        # A name may end here, and one that stands alone is its own pattern.
        if longer == beginning or len(group) == 1:
            yield from wanted.intersection(group)
        else:
            yield from _covering(longer, wanted, group)
