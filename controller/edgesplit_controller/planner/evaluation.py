"""What an assignment costs, recomputed from the problem file's meaning.

Owns: the one reference implementation of INTERFACES' "Problem file" semantics. Its rule: it reads the problem and
the assignment and nothing the solver computed, so that a solver's mistake shows. Not here: searching.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgesplit.errors import InvalidInput
from edgesplit.plan import Assignment, Component, Evaluation, Ranges, TimelineEntry
from edgesplit.problem import Codec, Node, Problem, Tensor
from edgesplit_controller.planner.components import (
    Graph,
    Grouping,
    as_components,
    graph_of,
    level_groupings,
    merge_groups,
    merge_pairs,
    signature_grouping,
)
from edgesplit_controller.planner.timeline import simulate
from edgesplit_controller.planner.wire import codec_and_bytes

__all__ = ["TOLERANCE", "energy_per_node", "evaluate", "noise_of", "score"]

TOLERANCE = 1e-6
"""Relative tolerance of the lexicographic ranges and of limits."""

_MANY_GROUPS = 150
"""Above this, groups are not merged further: only an arbitrary assignment has so many."""

_FEW_OPERATORS = 40
"""Up to this, single operators are tried as components: one may have to make way for a late arrival."""

Run = tuple[float, tuple[Component, ...], tuple[TimelineEntry, ...]]
"""End of the timeline [s], components, entries."""


@dataclass(slots=True)
class _Tally:
    """Running sums over operators and transfers."""

    latency_s: float = 0.0
    energy_j: dict[str, float] = field(default_factory=dict)
    transmit_j: dict[str, float] = field(default_factory=dict)
    memory_bytes: dict[str, float] = field(default_factory=dict)
    codec_noise: float = 0.0
    violations: list[str] = field(default_factory=list)


def evaluate(problem: Problem, assignment: Assignment) -> Evaluation:
    """Recompute every cost and check every constraint of an assignment.

    Args:
        problem: A valid problem.
        assignment: A node for every operator.

    Returns:
        The costs; when a transfer has no link the timeline is empty and the latencies are infinite.

    Raises:
        InvalidInput: The assignment leaves an operator out or names an unknown node, operator or codec.
    """
    _check_names(problem, assignment)
    tally = _Tally(
        energy_j={node.name: 0.0 for node in problem.nodes},
        memory_bytes={node.name: 0.0 for node in problem.nodes},
    )
    _add_compute(problem, assignment, tally)
    _add_transfers(problem, assignment, tally)
    noise = noise_of(problem, assignment.quantized) + tally.codec_noise
    device_energy_j = tally.energy_j[problem.source]
    _check_limits(problem, assignment, tally, noise, device_energy_j)
    timeline_s, components, timeline = _run(problem, assignment, tally)
    critical = problem.objective.latency_model == "critical-path"
    return Evaluation(
        latency_s=timeline_s if critical else tally.latency_s,
        timeline_s=timeline_s,
        energy_j=sum(tally.energy_j.values()),
        device_energy_j=device_energy_j,
        noise=noise,
        memory_bytes=tally.memory_bytes,
        violations=tuple(tally.violations),
        components=components,
        timeline=timeline,
    )


def energy_per_node(problem: Problem, assignment: Assignment) -> dict[str, tuple[float, float]]:
    """What each node spends on computing, coding included, and on sending. [J, J]

    Raises:
        InvalidInput: As `evaluate`.
    """
    _check_names(problem, assignment)
    names = [node.name for node in problem.nodes]
    tally = _Tally(energy_j=dict.fromkeys(names, 0.0), memory_bytes=dict.fromkeys(names, 0.0))
    _add_compute(problem, assignment, tally)
    _add_transfers(problem, assignment, tally)
    sending_j = {name: tally.transmit_j.get(name, 0.0) for name in names}
    return {name: (max(tally.energy_j[name] - sending_j[name], 0.0), sending_j[name]) for name in names}


def noise_of(problem: Problem, quantized: frozenset[str]) -> float:
    """Predicted noise of a set of quantized operators, codecs aside. [1]"""
    if not quantized or problem.noise_model is None:
        return 0.0
    terms = problem.noise_model.terms
    return problem.noise_model.intercept + sum(t.coefficient for t in terms if quantized.issuperset(t.operators))


def score(problem: Problem, evaluation: Evaluation, ranges: Ranges) -> float:
    """The normalised weighted sum of INTERFACES.

    Args:
        problem: Holds the weights.
        evaluation: Its latency and energy are scored.
        ranges: Of the same problem; an end that is None was not needed and its range counts as tiny.
    """
    objective = problem.objective
    total = objective.latency_weight + objective.energy_weight
    value = 0.0
    for weight, cost, best, worst in (
        (
            objective.latency_weight,
            evaluation.latency_s,
            ranges.best_latency_s,
            ranges.latency_at_best_energy_s,
        ),
        (objective.energy_weight, evaluation.energy_j, ranges.best_energy_j, ranges.energy_at_best_latency_j),
    ):
        if weight > 0 and best is not None:
            value += weight / total * (cost - best) / span(best, worst)
    return value


def span(best: float, worst: float | None) -> float:
    """A range's length; one under 1e-6 of the best value counts as that best value."""
    length = (worst if worst is not None else best) - best
    return length if length >= TOLERANCE * best and length > 0 else (best or 1.0)


def _check_names(problem: Problem, assignment: Assignment) -> None:
    nodes = {node.name for node in problem.nodes}
    for operator in problem.operators:
        node = assignment.node_of.get(operator.name)
        if node not in nodes:
            raise InvalidInput(f"The assignment puts operator {operator.name!r} on {node!r}; name a known node.")
    unknown = assignment.quantized - {operator.name for operator in problem.operators}
    if unknown:
        raise InvalidInput(f"The assignment quantizes the unknown operator {min(unknown)!r}; drop it.")
    offers = {tensor.name: [codec.name for codec in tensor.codecs or ()] for tensor in problem.tensors}
    for tensor_name, codec_name in assignment.codecs.items():
        if codec_name not in offers.get(tensor_name, ()):
            raise InvalidInput(f"The tensor {tensor_name!r} has no codec {codec_name!r}; choose one it offers.")


def _add_compute(problem: Problem, assignment: Assignment, tally: _Tally) -> None:
    powers = {node.name: node.compute_power_w for node in problem.nodes}
    pins = problem.constraints.pins or {}
    for operator in problem.operators:
        node = assignment.node_of[operator.name]
        quantized = operator.name in assignment.quantized
        time_s = operator.time_s[node]
        if quantized and operator.quantizable and operator.quantized_time_s is not None:
            time_s = operator.quantized_time_s[node]
        elif quantized:
            tally.violations.append(f"Operator {operator.name!r} is quantized but not quantizable.")
        tally.latency_s += time_s
        tally.energy_j[node] += time_s * powers[node]
        tally.memory_bytes[node] += operator.weight_bytes * (0.25 if quantized else 1.0)
        if operator.role is not None and node != problem.source:
            tally.violations.append(f"The {operator.role} {operator.name!r} is not on the source.")
        if operator.name in pins and node not in pins[operator.name]:
            tally.violations.append(f"Operator {operator.name!r} is on {node!r} against its pin.")


def _add_transfers(problem: Problem, assignment: Assignment, tally: _Tally) -> None:
    nodes = {node.name: node for node in problem.nodes}
    links = {(link.source, link.target): link for link in problem.links}
    for tensor in problem.tensors:
        sender = assignment.node_of[tensor.producer]
        receivers = {assignment.node_of[consumer] for consumer in tensor.consumers} - {sender}
        if not receivers:
            continue
        codec, size = codec_and_bytes(tensor, assignment)
        if codec is not None:
            tally.codec_noise += codec.noise
            _add_coding(codec, sender, receivers, nodes=nodes, tensor=tensor, tally=tally)
        for receiver in sorted(receivers):
            link = links.get((sender, receiver))
            if link is None:
                tally.violations.append(f"Tensor {tensor.name!r} goes from {sender!r} to {receiver!r} without a link.")
                tally.latency_s = float("inf")
                continue
            seconds = size / link.bandwidth_bytes_per_s + link.latency_s
            tally.latency_s += seconds
            sending_j = seconds * nodes[sender].transmit_power_w
            tally.energy_j[sender] += sending_j
            tally.transmit_j[sender] = tally.transmit_j.get(sender, 0.0) + sending_j


def _add_coding(
    codec: Codec, sender: str, receivers: set[str], *, nodes: Mapping[str, Node], tensor: Tensor, tally: _Tally
) -> None:
    works: list[tuple[str, Mapping[str, float], str]] = [(sender, codec.encode_s, "encode")]
    works += [(receiver, codec.decode_s, "decode") for receiver in sorted(receivers)]
    for node, times, verb in works:
        seconds = times.get(node)
        if seconds is None:
            tally.violations.append(f"Node {node!r} cannot {verb} tensor {tensor.name!r} as {codec.name!r}.")
            tally.latency_s = float("inf")
            continue
        tally.latency_s += seconds
        tally.energy_j[node] += seconds * nodes[node].compute_power_w


def _check_limits(
    problem: Problem, assignment: Assignment, tally: _Tally, noise: float, device_energy_j: float
) -> None:
    limits = problem.constraints
    if limits.max_noise is not None and noise > limits.max_noise + 1e-9 * max(1.0, limits.max_noise):
        tally.violations.append(f"The noise {noise:.6g} exceeds max_noise {limits.max_noise:.6g}.")
    limit_j = limits.device_energy_limit_j
    if limit_j is not None and device_energy_j > limit_j * (1 + 1e-9):
        tally.violations.append(f"The device's energy {device_energy_j:.6g} J exceeds {limit_j:.6g} J.")
    for node in problem.nodes:
        used = tally.memory_bytes[node.name]
        if node.memory_bytes is not None and used > node.memory_bytes * (1 + 1e-12):
            tally.violations.append(f"The weights on {node.name!r} need {used:.0f} B of its {node.memory_bytes:.0f} B.")


def _run(problem: Problem, assignment: Assignment, tally: _Tally) -> Run:
    """Components and their timeline: fewest components under `sum`, shortest timeline under `critical-path`."""
    node_of, graph = assignment.node_of, graph_of(problem)
    levels = level_groupings(graph, node_of)
    if tally.latency_s == float("inf"):
        return float("inf"), as_components(problem, node_of, levels[0]), ()
    groupings = [_merged(graph, node_of, grouping) for grouping in levels]
    if problem.objective.latency_model == "sum":
        fewest = min(len(grouping) for grouping in groupings)
        distinct = dict.fromkeys(grouping for grouping in groupings if len(grouping) == fewest)
        return min((_simulated(problem, assignment, grouping) for grouping in distinct), key=lambda run: run[0])
    groupings += [*levels, signature_grouping(graph, node_of)]
    if len(graph.order) <= _FEW_OPERATORS:
        groupings.append(tuple((name,) for name in graph.order))
    runs = [_simulated(problem, assignment, grouping) for grouping in groupings]
    shortest = min(range(len(runs)), key=lambda index: (runs[index][0], len(runs[index][1])))
    return _coarsened(problem, assignment, graph, groupings[shortest], runs[shortest])


def _simulated(problem: Problem, assignment: Assignment, grouping: Grouping) -> Run:
    components = as_components(problem, assignment.node_of, grouping)
    end_s, entries = simulate(problem, assignment, grouping, components)
    return end_s, components, entries


def _merged(graph: Graph, node_of: Mapping[str, str], groups: Grouping) -> Grouping:
    """Merge groups as long as the graph stays acyclic."""
    while len(groups) <= _MANY_GROUPS and (pair := next(merge_pairs(graph, node_of, groups), None)):
        groups = merge_groups(graph, groups, *pair)
    return groups


def _coarsened(problem: Problem, assignment: Assignment, graph: Graph, groups: Grouping, run: Run) -> Run:
    """Merge groups as long as the timeline does not get longer."""
    longest_s = run[0] * (1 + 1e-12)
    improved = len(groups) <= _MANY_GROUPS
    while improved:
        improved = False
        for first, second in merge_pairs(graph, assignment.node_of, groups):
            candidate = merge_groups(graph, groups, first, second)
            attempt = _simulated(problem, assignment, candidate)
            if attempt[0] <= longest_s:
                groups, run, improved = candidate, attempt, True
                break
    return run
