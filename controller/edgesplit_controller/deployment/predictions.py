"""What units take among their neighbours: kernels, plus the changes of form between them.

Owns: folding a node's measured costs of such changes into the times of a problem. Its rule: pure; a profile without
such costs changes nothing. Not here: finding the changes (`quantization/transitions.py`), measuring the costs (agents).

The planner adds up one time per operator, yet what an int8 operator costs depends on whether its neighbours are in
int8 as well. So a problem is stated with typical times: the mean of being the first and the last operator in int8. Once
an assignment is known, `placed` restates the problem with the times these operators take in exactly that assignment,
and the planner's own evaluation of it predicts what will be measured.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from edgesplit_controller.quantization.transitions import Transition, find_transitions, float_targets

if TYPE_CHECKING:
    from edgesplit.plan import Assignment
    from edgesplit.problem import Operator, Problem
    from edgesplit.profiles import ExecutionProfile
    from edgesplit_controller.graph.model import ModelGraph

__all__ = ["kernel_time_s", "placed", "typical_bytes", "typical_quantized_time_s"]


def typical_bytes(graph: ModelGraph, quantizable: Sequence[str]) -> dict[str, dict[str, float]]:
    """Changes of form that putting one operator into int8 typically causes, by unit and kind. [B]"""
    if not quantizable:
        return {}
    targets = float_targets(graph, quantizable)
    here = dict.fromkeys((unit.name for unit in graph.units), "here")

    def changed(quantized: Collection[str]) -> dict[str, float]:
        return _sum_by_kind(find_transitions(graph, targets, quantized, here))

    every = set(quantizable)
    all_of_them = changed(every)
    typical: dict[str, dict[str, float]] = {}
    for unit in quantizable:
        first, others = changed({unit}), changed(every - {unit})
        kinds = {*first, *others, *all_of_them}
        typical[unit] = {
            kind: (first.get(kind, 0.0) + all_of_them.get(kind, 0.0) - others.get(kind, 0.0)) / 2 for kind in kinds
        }
    return typical


def typical_quantized_time_s(profile: ExecutionProfile, typical: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Seconds of every quantizable unit in int8 with the changes of form it typically causes. [s]

    Args:
        profile: Of one node.
        typical: From `typical_bytes`.
    """
    costs = profile.transition_s_per_byte
    if not costs or not profile.integer_time_s:
        return dict(profile.quantized_time_s)
    return {
        unit: max(seconds + sum(costs.get(kind, 0.0) * nbytes for kind, nbytes in typical.get(unit, {}).items()), 0.0)
        for unit, seconds in profile.integer_time_s.items()
    }


def kernel_time_s(profile: ExecutionProfile, unit: str, *, quantized: bool) -> float:
    """Seconds of a unit by itself, changes of form left out. [s]"""
    if not quantized:
        return profile.time_s.get(unit, 0.0)
    return profile.integer_time_s.get(unit, profile.quantized_time_s.get(unit, 0.0))


def placed(
    problem: Problem,
    graph: ModelGraph,
    quantizable: Sequence[str],
    profiles: Mapping[str, ExecutionProfile],
    assignment: Assignment,
) -> Problem:
    """Restate a problem with the times that hold in one assignment.

    Args:
        problem: Stated with typical times.
        graph: Its model.
        quantizable: Operators with an int8 form.
        profiles: Of every node of the problem.
        assignment: For every operator of the problem.

    Returns:
        The problem, in which every unit's time on its node and in its precision is what it takes there; all other
        times are untouched.
    """
    if not any(profile.transition_s_per_byte for profile in profiles.values()):
        return problem
    place_of = {unit.name: assignment.node_of[unit.name] for unit in graph.units}
    by_unit: dict[str, list[Transition]] = {}
    for entry in find_transitions(graph, float_targets(graph, quantizable), assignment.quantized, place_of):
        by_unit.setdefault(entry.unit, []).append(entry)

    def restated(operator: Operator) -> Operator:
        if operator.name not in place_of:
            return operator
        node = place_of[operator.name]
        profile = profiles.get(node)
        if profile is None or not profile.transition_s_per_byte:
            return operator
        quantized = operator.name in assignment.quantized
        costs = profile.transition_s_per_byte
        seconds = kernel_time_s(profile, operator.name, quantized=quantized)
        seconds += sum(costs.get(entry.kind, 0.0) * entry.nbytes for entry in by_unit.get(operator.name, ()))
        # A change that the whole model has and this plan has not counts negative, and may exceed a small unit.
        seconds = max(seconds, 0.0)
        if quantized and operator.quantized_time_s is not None:
            return msgspec.structs.replace(operator, quantized_time_s={**operator.quantized_time_s, node: seconds})
        return msgspec.structs.replace(operator, time_s={**operator.time_s, node: seconds})

    return msgspec.structs.replace(problem, operators=tuple(map(restated, problem.operators)))


def _sum_by_kind(transitions: Sequence[Transition]) -> dict[str, float]:
    nbytes: dict[str, float] = {}
    for entry in transitions:
        nbytes[entry.kind] = nbytes.get(entry.kind, 0.0) + entry.nbytes
    return nbytes
