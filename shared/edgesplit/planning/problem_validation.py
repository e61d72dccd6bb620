"""Validation of planning problems.

Owns: every check that needs more than one entry, and the graph's order. Its rule: a problem that passes needs no
further check; what fails is named in one sentence. Not here: types and reading, which are `edgesplit.planning.problem`'s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

from edgesplit.errors import InvalidProblem
from edgesplit.planning.noise_curve import NoiseCurve
from edgesplit.planning.problem import NoiseModel, Problem

__all__ = ["topological_order", "validate"]

LARGEST_SUM = 1e270
"""Of times [s], energies [J], noise or weights [B]; beyond it sums and their products leave the range of doubles."""


def validate(problem: Problem) -> None:
    """Check every entry against the others.

    Raises:
        InvalidProblem: The message names the first entry that is wrong.
    """
    _check_names(problem)
    _check_nodes_and_links(problem)
    _check_operators(problem)
    _check_tensors(problem)
    _check_goals(problem)
    _check_sums(problem)
    topological_order(problem)


def topological_order(problem: Problem) -> tuple[str, ...]:
    """Operators in an order in which every producer precedes its consumers, stable in the file's order.

    Raises:
        InvalidProblem: The tensors close a cycle.
    """
    successors: dict[str, list[str]] = {operator.name: [] for operator in problem.operators}
    waiting = dict.fromkeys(successors, 0)
    for tensor in problem.tensors:
        for consumer in tensor.consumers:
            successors[tensor.producer].append(consumer)
            waiting[consumer] += 1
    ready = [name for name, count in reversed(waiting.items()) if count == 0]
    order: list[str] = []
    while ready:
        name = ready.pop()
        order.append(name)
        for successor in reversed(successors[name]):
            waiting[successor] -= 1
            if waiting[successor] == 0:
                ready.append(successor)
    if len(order) < len(successors):
        raise InvalidProblem(_cycle_sentence(successors, {n for n, count in waiting.items() if count > 0}))
    return tuple(order)


def _cycle_sentence(successors: Mapping[str, list[str]], blocked: set[str]) -> str:
    """Name one cycle among operators that never became ready."""
    predecessor = {s: n for n in sorted(blocked) for s in successors[n] if s in blocked}
    walk = [min(blocked)]
    while predecessor[walk[-1]] not in walk:
        walk.append(predecessor[walk[-1]])
    cycle = walk[walk.index(predecessor[walk[-1]]) :][::-1]
    first = cycle.index(min(cycle))
    cycle = cycle[first:] + cycle[:first]
    shown = " -> ".join([*cycle[:6], "..."] if len(cycle) > 6 else [*cycle, cycle[0]])
    return f"The operators {shown} form a cycle; a model's graph must have none."


def _check_names(problem: Problem) -> None:
    for kind, names in (
        ("node", [node.name for node in problem.nodes]),
        ("operator", [operator.name for operator in problem.operators]),
        ("tensor", [tensor.name for tensor in problem.tensors]),
    ):
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise InvalidProblem(f"The {kind} {name!r} is listed twice; give every {kind} its own name.")
            seen.add(name)
    if not problem.operators:
        raise InvalidProblem("The problem has no operators; there is nothing to place.")


def _check_number(value: float | None, entry: str, *, positive: bool = False) -> None:
    if value is None:
        return
    if not math.isfinite(value):
        raise InvalidProblem(f"The {entry} is {value}; give a finite number.")
    if value < 0 or (positive and value == 0):
        bound = "greater than 0" if positive else "0 or more"
        raise InvalidProblem(f"The {entry} is {value}; it must be {bound}.")


def _check_share(value: float, entry: str) -> None:
    if not 0 <= value <= 1:
        raise InvalidProblem(f"The {entry} is {value}; give a share from 0 to 1.")


def _check_nodes_and_links(problem: Problem) -> None:
    names = {node.name for node in problem.nodes}
    if problem.source not in names:
        raise InvalidProblem(f"The source {problem.source!r} is not among the nodes; name one of {sorted(names)}.")
    for node in problem.nodes:
        _check_number(node.compute_power_w, f"compute_power_w of node {node.name!r}")
        _check_number(node.transmit_power_w, f"transmit_power_w of node {node.name!r}")
        _check_number(node.memory_bytes, f"memory_bytes of node {node.name!r}")
        _check_share(node.load, f"load of node {node.name!r}")
    seen: set[tuple[str, str]] = set()
    for link in problem.links:
        pair = (link.source, link.target)
        entry = f"link {link.source!r} -> {link.target!r}"
        for end in pair:
            if end not in names:
                raise InvalidProblem(f"The {entry} names the unknown node {end!r}; add it or drop the link.")
        if link.source == link.target:
            raise InvalidProblem(f"The {entry} leads to its own node; drop it.")
        if pair in seen:
            raise InvalidProblem(f"The {entry} is listed twice; keep one.")
        seen.add(pair)
        _check_number(link.bandwidth_bytes_per_s, f"bandwidth_bytes_per_s of {entry}", positive=True)
        _check_number(link.latency_s, f"latency_s of {entry}")
        _check_share(link.load, f"load of {entry}")


def _check_times(times: Mapping[str, float], nodes: set[str], entry: str, *, complete: bool) -> None:
    for node, value in times.items():
        if node not in nodes:
            raise InvalidProblem(f"The {entry} names the unknown node {node!r}.")
        _check_number(value, f"{entry} on {node!r}")
    for node in sorted(nodes - times.keys()) if complete else ():
        raise InvalidProblem(f"The {entry} lacks a time for node {node!r}; give one for every node.")


def _check_operators(problem: Problem) -> None:
    nodes = {node.name for node in problem.nodes}
    for operator in problem.operators:
        entry = f"of operator {operator.name!r}"
        _check_times(operator.time_s, nodes, f"time_s {entry}", complete=True)
        _check_number(operator.weight_bytes, f"weight_bytes {entry}")
        _check_number(operator.flops, f"flops {entry}")
        for node in sorted({*operator.held_on, *operator.quantized_held_on} - nodes):
            raise InvalidProblem(f"The weights {entry} are said to be on node {node!r}, which is not in the problem.")
        if operator.quantizable:
            quantized = operator.quantized_time_s or {}
            _check_times(quantized, nodes, f"quantized_time_s {entry}", complete=True)


def _check_tensors(problem: Problem) -> None:
    operators = {operator.name for operator in problem.operators}
    nodes = {node.name for node in problem.nodes}
    for tensor in problem.tensors:
        entry = f"of tensor {tensor.name!r}"
        for role, names in (("producer", (tensor.producer,)), ("consumer", tensor.consumers)):
            for name in names:
                if name not in operators:
                    raise InvalidProblem(f"The {role} {name!r} {entry} is not among the operators.")
        _check_number(tensor.bytes, f"bytes {entry}")
        _check_number(tensor.quantized_bytes, f"quantized_bytes {entry}")
        codecs = [
            (codec.name, quantized)
            for codec in tensor.codecs or ()
            for quantized in (False, True)
            if codec.codes(quantized=quantized)
        ]
        if len(set(codecs)) < len(codecs):
            raise InvalidProblem(f"The codecs {entry} repeat a name; give every codec its own.")
        for codec in tensor.codecs or ():
            label = f"of codec {codec.name!r} {entry}"
            _check_number(codec.bytes, f"bytes {label}")
            _check_number(codec.noise, f"noise {label}")
            _check_times(codec.encode_s, nodes, f"encode_s {label}", complete=False)
            _check_times(codec.decode_s, nodes, f"decode_s {label}", complete=False)


def _check_goals(problem: Problem) -> None:
    operators = {operator.name for operator in problem.operators}
    nodes = {node.name for node in problem.nodes}
    if problem.noise_model is not None:
        _check_noise_model(problem.noise_model, operators)
    _check_number(problem.objective.latency_weight, "objective's latency_weight")
    _check_number(problem.objective.energy_weight, "objective's energy_weight")
    if problem.objective.latency_weight + problem.objective.energy_weight <= 0:
        raise InvalidProblem("Both weights of the objective are 0; give at least one a positive value.")
    _check_number(problem.handling_s, "handling_s")
    _check_number(problem.constraints.max_noise, "constraint max_noise")
    _check_number(problem.constraints.device_energy_limit_j, "constraint device_energy_limit_j")
    _check_number(problem.constraints.min_rate_hz, "constraint min_rate_hz", positive=True)
    for operator, allowed in (problem.constraints.pins or {}).items():
        if operator not in operators:
            raise InvalidProblem(f"The pins name the unknown operator {operator!r}.")
        for node in allowed:
            if node not in nodes:
                raise InvalidProblem(f"The pin of operator {operator!r} names the unknown node {node!r}.")
        if not allowed:
            raise InvalidProblem(f"The pin of operator {operator!r} allows no node; name at least one.")


def _check_sums(problem: Problem) -> None:
    """Refuse figures whose sums floating point cannot hold."""
    seconds = [max([*o.time_s.values(), *(o.quantized_time_s or {}).values()], default=0.0) for o in problem.operators]
    slowest = min((link.bandwidth_bytes_per_s for link in problem.links), default=1.0)
    latency_s = max((link.latency_s for link in problem.links), default=0.0)
    for tensor in problem.tensors:
        codecs = tensor.codecs or ()
        size = max([tensor.bytes, tensor.quantized_bytes or 0.0, *(codec.bytes for codec in codecs)])
        coding = (max([*c.encode_s.values(), *c.decode_s.values()], default=0.0) for c in codecs)
        seconds.append(len(problem.nodes) * (size / slowest + latency_s + 2 * max(coding, default=0.0)))
    most_w = max([1.0, *(n.compute_power_w for n in problem.nodes), *(n.transmit_power_w for n in problem.nodes)])
    noise = _most_noise(problem.noise_model) if problem.noise_model is not None else 0.0
    weights = [operator.weight_bytes for operator in problem.operators]
    for total, what in (
        (sum(seconds) * most_w, "times or energies"),
        (noise, "noise"),
        (sum(weights), "weights"),
    ):
        if not total <= LARGEST_SUM:
            raise InvalidProblem(f"The problem's {what} may add up to {total:.3g}; scale them below {LARGEST_SUM:g}.")


def _most_noise(model: NoiseModel) -> float:
    """What the terms may add up to, or what a curve may make of that. [1]"""
    level, curve = sum(abs(term.coefficient) for term in model.terms), model.curve
    if curve is None or not level <= LARGEST_SUM:
        return level
    reached = max(map(abs, (level, model.intercept, *curve.levels)))
    most = Fraction(curve.noises[-1]) + 3 * curve.steepest * Fraction(reached)
    return max(level, float(most)) if most <= LARGEST_SUM else math.inf


def _check_noise_model(model: NoiseModel, operators: set[str]) -> None:
    for value, entry in (
        (model.intercept, "intercept"),
        *((t.coefficient, "coefficient") for t in model.terms),
    ):
        if not math.isfinite(value):
            raise InvalidProblem(f"A noise_model {entry} is {value}; give a finite number.")
    for name in (name for term in model.terms for name in term.operators):
        if name not in operators:
            raise InvalidProblem(f"The noise_model names the unknown operator {name!r}.")
    if model.curve is not None:
        _check_curve(model.curve)


def _check_curve(curve: NoiseCurve) -> None:
    for value, entry in (*((x, "levels") for x in curve.levels), *((x, "noises") for x in curve.noises)):
        if not math.isfinite(value):
            raise InvalidProblem(f"The {entry} of the noise_model's curve hold {value}; give finite numbers.")
    if min(curve.noises, default=0.0) < 0:
        raise InvalidProblem(f"The noises of the noise_model's curve hold {min(curve.noises)}; give 0 or more.")
    if not curve.rises():
        raise InvalidProblem(
            "The noise_model's curve does not rise; give as many noises as levels, levels that rise, noises that never fall."
        )
