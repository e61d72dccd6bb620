"""What units take among their neighbours: kernels, plus the changes of form between them.

Owns: folding a node's measured costs of such changes, and what live timings show, into the times of a problem. Its
rule: pure; a profile without such costs, of a node never timed again, changes nothing. Not here: finding the changes
(`quantization/transitions.py`), measuring (agents), what timings say of a node (`fleet/speed_factors.py`).

The planner adds up one time per operator, yet what an int8 operator costs depends on whether its neighbours are in
int8 as well. So a problem is stated with typical times: the mean of being the first and the last operator in int8. Once
an assignment is known, `placed` restates the problem with the times these operators take in exactly that assignment,
and the planner's own evaluation of it predicts what will be measured. Of components that served before, what they took
is the best prediction: `as_timed`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

import msgspec

from edgesplit.control.profile_messages import ExecutionProfile
from edgesplit.planning.plan import Assignment, Component
from edgesplit.planning.problem import Operator, Problem
from edgesplit_controller.fleet.speed_factors import Factors
from edgesplit_controller.graph.memo import once_per_graph
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.quantization.transitions import PASSING, Transition, find_transitions, float_targets

__all__ = [
    "as_timed",
    "component_key",
    "corrected",
    "kernel_time_s",
    "placed",
    "typical_bytes",
    "typical_quantized_time_s",
    "unit_seconds",
]


FLOAT_KINDS = frozenset({"reorder", "boundary"})
"""Changes of form that plans without int8 have too."""


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
    taken_s = unit_seconds(graph, quantizable, profiles, assignment)

    def restated(operator: Operator) -> Operator:
        seconds = taken_s.get(operator.name)
        profile = profiles.get(assignment.node_of[operator.name])
        if seconds is None or profile is None or not profile.transition_s_per_byte:
            return operator
        return _retimed(operator, assignment, seconds)

    return msgspec.structs.replace(problem, operators=tuple(map(restated, problem.operators)))


def unit_seconds(
    graph: ModelGraph, quantizable: Sequence[str], profiles: Mapping[str, ExecutionProfile], assignment: Assignment
) -> dict[str, float]:
    """What every unit takes where an assignment puts it, changes of form included. [s]

    Args:
        graph: Of the model.
        quantizable: Operators with an int8 form.
        profiles: By node; units on other nodes are left out.
        assignment: For every unit.
    """
    place_of = {unit.name: assignment.node_of[unit.name] for unit in graph.units}
    by_unit: dict[str, list[Transition]] = {}
    if any(profile.transition_s_per_byte for profile in profiles.values()):
        for entry in find_transitions(graph, float_targets(graph, quantizable), assignment.quantized, place_of):
            by_unit.setdefault(entry.unit, []).append(entry)
    taken_s: dict[str, float] = {}
    for unit, node in place_of.items():
        profile = profiles.get(node)
        if profile is None:
            continue
        costs, quantized = profile.transition_s_per_byte, unit in assignment.quantized
        seconds = kernel_time_s(profile, unit, quantized=quantized)
        if quantized and not costs:
            seconds = profile.quantized_time_s.get(unit, seconds)
        seconds += sum(costs.get(entry.kind, 0.0) * entry.nbytes for entry in by_unit.get(unit, ()))
        # A change that the whole model has and this plan has not counts negative, and may exceed a small unit.
        taken_s[unit] = max(seconds, 0.0)
    return taken_s


def component_key(graph: ModelGraph, assignment: Assignment, component: Component) -> str:
    """The same for components that are cut into the same graph: operators, their form, that of what they read."""
    makers = [_maker(graph, name) for name in component.inputs]
    units = {graph.unit_of[name] for name in (*component.operators, *makers) if name is not None}
    parts = (component.operators, units & assignment.quantized, component.inputs, component.outputs)
    return hashlib.sha256(msgspec.json.encode([sorted(names) for names in parts])).hexdigest()[:32]


def _maker(graph: ModelGraph, name: str) -> str | None:
    """The operator that decides whether a tensor is made in int8; None for an input of the model."""
    tensor = graph.tensors.get(name)
    producer = tensor.producer if tensor is not None else None
    while producer is not None and graph.operator[producer].op_type in PASSING:
        before = graph.tensors[graph.operator[producer].inputs[0]].producer
        if before is None:
            break
        producer = before
    return producer


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


def corrected(profile: ExecutionProfile, factors: Factors) -> ExecutionProfile:
    """A profile as its node computes now, by what live timings say of it."""
    if factors == Factors():
        return profile
    in_float, in_int8 = factors.in_float, factors.in_int8
    costs = profile.transition_s_per_byte
    return msgspec.structs.replace(
        profile,
        time_s={unit: seconds * in_float for unit, seconds in profile.time_s.items()},
        quantized_time_s={unit: seconds * in_int8 for unit, seconds in profile.quantized_time_s.items()},
        integer_time_s={unit: seconds * in_int8 for unit, seconds in profile.integer_time_s.items()},
        transition_s_per_byte={
            kind: seconds * (in_float if kind in FLOAT_KINDS else in_int8) for kind, seconds in costs.items()
        },
        # Coding slows down with everything else that is no int8 kernel.
        codec_times={name: times.scaled(in_float) for name, times in profile.codec_times.items()},
        integer_codec_times={name: times.scaled(in_float) for name, times in profile.integer_codec_times.items()},
        whole_s=profile.whole_s * in_float,
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
