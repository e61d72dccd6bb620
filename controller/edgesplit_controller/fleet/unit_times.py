"""Unit times on a node: a unit's kernel, plus the changes of form between it and its neighbours.

Owns: what a node's execution profile says of units and components, as live timings correct it. Its rule: pure; a
profile without costs of such changes, or of a node never timed again, changes nothing. Not here: the changes themselves
(`quantization/transitions.py`), what timings say of a node (`fleet/estimation`), the times of a problem
(`stating/predicting/predictions.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from edgesplit.control.profile_messages import ExecutionProfile
from edgesplit.planning.plan import Assignment, Component
from edgesplit_controller.fleet.estimation.speed_belief import Factors
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.quantization.transitions import PASSING, Transition, find_transitions, float_targets

__all__ = ["component_key", "corrected", "kernel_time_s", "unit_seconds"]


FLOAT_KINDS = frozenset({"reorder", "boundary"})
"""Changes of form that plans without int8 have too."""


def kernel_time_s(profile: ExecutionProfile, unit: str, *, quantized: bool) -> float:
    """Seconds of a unit by itself, changes of form left out. [s]"""
    if not quantized:
        return profile.time_s.get(unit, 0.0)
    return profile.integer_time_s.get(unit, profile.quantized_time_s.get(unit, 0.0))


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
