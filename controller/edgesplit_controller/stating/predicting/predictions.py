"""Prediction of units' times among their neighbours: kernels, plus the changes of form between them.

Owns: folding a node's measured costs of such changes, and what live timings show, into the times of a problem. Its
rule: pure; a profile without such costs, of a node never timed again, changes nothing. Not here: finding the changes
(`quantization/transitions.py`), measuring (agents), what timings say of a node (`fleet/estimation`).

The planner adds up one time per operator, yet what an int8 operator costs depends on whether its neighbours are in
int8 as well. So a problem is stated with typical times: the mean of being the first and the last operator in int8. Once
an assignment is known, `placed` restates the problem with the times these operators take in exactly that assignment,
and the planner's own evaluation of it predicts what will be measured. Of components that served before, what they took
is the best prediction: `as_timed`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from edgesplit.control.profile_messages import ExecutionProfile
from edgesplit.planning.plan import Assignment, Component, Evaluation, TimelineEntry
from edgesplit.planning.problem import Operator, Problem, Tensor
from edgesplit_controller.fleet.unit_times import component_key, unit_seconds
from edgesplit_controller.graph.memo import once_per_graph
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.quantization.qdq import wire_name
from edgesplit_controller.quantization.transitions import Transition, find_transitions, float_targets

__all__ = [
    "as_coded",
    "as_timed",
    "handled",
    "placed",
    "travelling_name",
    "typical_bytes",
    "typical_quantized_time_s",
]


def typical_bytes(graph: ModelGraph, quantizable: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
    """Changes of form that putting one operator into int8 typically causes, by unit and kind. [B]"""
    return _typical_bytes(graph, tuple(quantizable))


@once_per_graph
def _typical_bytes(graph: ModelGraph, quantizable: tuple[str, ...]) -> Mapping[str, Mapping[str, float]]:
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
    taken_s = unit_seconds(graph, quantizable, profiles, assignment)

    def restated(operator: Operator) -> Operator:
        seconds = taken_s.get(operator.name)
        profile = profiles.get(assignment.node_of[operator.name])
        if seconds is None or profile is None or not profile.transition_s_per_byte:
            return operator
        return _retimed(operator, assignment, seconds)

    return msgspec.structs.replace(problem, operators=tuple(map(restated, problem.operators)))


def as_timed(
    problem: Problem,
    graph: ModelGraph,
    assignment: Assignment,
    components: Sequence[Component],
    timed_s: Mapping[tuple[str, str], float],
) -> Problem:
    """Restate a problem so that components which were timed on their node take what they took.

    Args:
        problem: Stated with the times that hold in the assignment.
        graph: Its model.
        assignment: For every operator of the problem.
        components: Of the assignment.
        timed_s: Node and `component_key` to seconds. [s]

    Returns:
        The problem, in which the times of such a component's units add up to what it took.
    """
    scale: dict[str, float] = {}
    units = {unit.name for unit in graph.units}
    operators = {operator.name: operator for operator in problem.operators if operator.name in units}
    for component in components:
        target_s = timed_s.get((component.node, component_key(graph, assignment, component)))
        inside = {graph.unit_of[name] for name in component.operators}
        stated_s = sum(_time_s(operators[unit], assignment) for unit in inside)
        if target_s is not None and stated_s > 0:
            scale |= dict.fromkeys(inside, target_s / stated_s)
    if not scale:
        return problem

    def scaled(operator: Operator) -> Operator:
        factor = scale.get(operator.name)
        return operator if factor is None else _retimed(operator, assignment, factor * _time_s(operator, assignment))

    return msgspec.structs.replace(problem, operators=tuple(map(scaled, problem.operators)))


def as_coded(
    problem: Problem,
    assignment: Assignment,
    coded: Mapping[tuple[str, str, str, str], float],
) -> Problem:
    """Restate a problem so that tensors which were coded before take what they took.

    Args:
        problem: Stated with what its nodes take for codecs.
        assignment: For every operator of the problem.
        coded: Node, tensor as it travels, codec and direction, to its time over that of others of this codec. [1]
    """
    if not coded or not assignment.codecs:
        return problem

    def restated(tensor: Tensor) -> Tensor:
        used = assignment.codecs.get(tensor.name)
        if used is None or tensor.codecs is None:
            return tensor
        travels = travelling_name(tensor, assignment)

        def taken_s(seconds: Mapping[str, float], direction: str) -> dict[str, float]:
            return {node: value * coded.get((node, travels, used, direction), 1.0) for node, value in seconds.items()}

        options = [
            msgspec.structs.replace(
                option, encode_s=taken_s(option.encode_s, "encode"), decode_s=taken_s(option.decode_s, "decode")
            )
            if option.name == used
            else option
            for option in tensor.codecs
        ]
        return msgspec.structs.replace(tensor, codecs=tuple(options))

    return msgspec.structs.replace(problem, tensors=tuple(map(restated, problem.tensors)))


def travelling_name(tensor: Tensor, assignment: Assignment) -> str:
    """Of a tensor as nodes send it to each other: integers have a name of their own."""
    in_integers = tensor.quantized_bytes is not None and tensor.producer in assignment.quantized
    return wire_name(tensor.name) if in_integers else tensor.name


def handled(problem: Problem, evaluation: Evaluation, handling_s: float) -> tuple[Problem, Evaluation]:
    """The same with what handling a request takes beside the timeline: everything begins so much later. [s]"""

    def later(entry: TimelineEntry) -> TimelineEntry:
        start_s, end_s = entry.start_s + handling_s, entry.end_s + handling_s
        return msgspec.structs.replace(entry, start_s=start_s, end_s=end_s)

    return (
        msgspec.structs.replace(problem, handling_s=handling_s),
        msgspec.structs.replace(
            evaluation,
            timeline_s=evaluation.timeline_s + handling_s,
            timeline=tuple(map(later, evaluation.timeline)),
        ),
    )


def _time_s(operator: Operator, assignment: Assignment) -> float:
    """Of an operator where it is and as it is. [s]"""
    node = assignment.node_of[operator.name]
    if operator.name in assignment.quantized and operator.quantized_time_s is not None:
        return operator.quantized_time_s[node]
    return operator.time_s[node]


def _retimed(operator: Operator, assignment: Assignment, seconds: float) -> Operator:
    """The operator with another time where it is and as it is."""
    node = assignment.node_of[operator.name]
    if operator.name in assignment.quantized and operator.quantized_time_s is not None:
        return msgspec.structs.replace(operator, quantized_time_s={**operator.quantized_time_s, node: seconds})
    return msgspec.structs.replace(operator, time_s={**operator.time_s, node: seconds})


def _sum_by_kind(transitions: Sequence[Transition]) -> dict[str, float]:
    nbytes: dict[str, float] = {}
    for entry in transitions:
        nbytes[entry.kind] = nbytes.get(entry.kind, 0.0) + entry.nbytes
    return nbytes
