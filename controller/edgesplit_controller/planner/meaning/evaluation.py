"""Evaluation of an assignment: its costs, recomputed from the problem file's meaning.

Owns: the referee's verdict: exact costs, components and their timeline, the score. Its rule: it reads the problem and
the assignment and nothing the solver computed, so that a solver's mistake shows. Not here: searching; what the file's
numbers mean (`exact`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgesplit.errors import InvalidInput
from edgesplit.planning.plan import Assignment, Component, Evaluation, Ranges, TimelineEntry
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.meaning.components import (
    Graph,
    Grouping,
    as_components,
    graph_of,
    level_groupings,
    merge_groups,
    merge_pairs,
    signature_grouping,
)
from edgesplit_controller.planner.meaning.exact import ExactCosts, exact_costs, exact_noise
from edgesplit_controller.planner.meaning.sums import busiest, periods
from edgesplit_controller.planner.meaning.timeline import simulate
from edgesplit_controller.planner.meaning.tolerance import LEXICOGRAPHIC, keeps, told

__all__ = ["broken_constraints", "end_of_timeline", "energy_per_node", "evaluate", "noise_of", "score"]

_MANY_GROUPS = 150
"""Above this, groups are not merged further: only an arbitrary assignment has so many."""

_FEW_OPERATORS = 40
"""Up to this, single operators are tried as components: one may have to make way for a late arrival."""

Run = tuple[float, tuple[Component, ...], tuple[TimelineEntry, ...]]
"""End of the timeline [s], components, entries."""


def evaluate(problem: Problem, assignment: Assignment, *, shown: bool = True) -> Evaluation:
    """Recompute every cost and check every constraint of an assignment.

    Args:
        problem: A valid problem.
        assignment: A node for every operator.
        shown: Whether anybody looks at the timeline. Where nobody does and it decides nothing (`sum`), it is the first list
            schedule's: looking for a better order takes longer than everything else here.

    Returns:
        The costs; when a transfer has no link the timeline is empty and the latencies are infinite.

    Raises:
        InvalidInput: The assignment leaves an operator out or names an unknown node, operator or codec.
    """
    _check_names(problem, assignment)
    costs = exact_costs(problem, assignment)
    limits, device_j = problem.constraints, costs.energy_j(problem.source)
    latency_s = float("inf") if costs.latency_s is None else float(costs.latency_s)
    timeline_s, components, timeline = _run(problem, assignment, possible=costs.latency_s is not None, shown=shown)
    critical = problem.objective.latency_model == "critical-path"
    rate_hz, bottleneck = _sustained(problem, costs) if costs.latency_s is not None else (None, None)
    return Evaluation(
        latency_s=timeline_s - problem.handling_s if critical else latency_s,
        timeline_s=timeline_s,
        energy_j=float(costs.total_energy_j),
        device_energy_j=told(device_j, device_j, limits.device_energy_limit_j),
        noise=told(costs.usage.noise, costs.usage.noise_magnitude, limits.max_noise),
        memory_bytes={name: float(used) for name, used in costs.usage.weight_bytes.items()},
        violations=costs.violations,
        components=components,
        timeline=timeline,
        rate_hz=rate_hz,
        bottleneck=bottleneck,
    )


def broken_constraints(problem: Problem, assignment: Assignment) -> tuple[str, ...]:
    """One sentence per constraint that an assignment breaks, as `evaluate` says it.

    Raises:
        InvalidInput: As `evaluate`.
    """
    _check_names(problem, assignment)
    return exact_costs(problem, assignment).violations


def _sustained(problem: Problem, costs: ExactCosts) -> tuple[float | None, str | None]:
    """The rate of a plan and what bounds it; no less than a rate to be sustained that it keeps. [1/s]"""
    slowest = busiest(periods(problem), costs.usage)
    period_s = float(slowest.period_s)
    if not period_s or math.isinf(1 / period_s):
        return None, None
    rate_hz, asked_hz = 1 / period_s, problem.constraints.min_rate_hz
    if asked_hz is not None and rate_hz < asked_hz and keeps(slowest.period_s, slowest.period_s, 1 / asked_hz):
        rate_hz = asked_hz
    return rate_hz, slowest.subject


def energy_per_node(problem: Problem, assignment: Assignment) -> dict[str, tuple[float, float]]:
    """What each node spends on computing, coding included, and on sending. [J, J]

    Raises:
        InvalidInput: As `evaluate`.
    """
    _check_names(problem, assignment)
    costs = exact_costs(problem, assignment)
    return {
        node.name: (float(costs.compute_j[node.name]), float(costs.transmit_j[node.name])) for node in problem.nodes
    }


def noise_of(problem: Problem, quantized: frozenset[str]) -> float:
    """Predicted noise of a set of quantized operators, codecs aside. [1]"""
    return float(exact_noise(problem, quantized)[0])


def score(problem: Problem, evaluation: Evaluation, ranges: Ranges) -> float:
    """The normalised weighted sum of docs/problem-file.md.

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
    return length if length >= LEXICOGRAPHIC * best and length > 0 else (best or 1.0)


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


def _run(problem: Problem, assignment: Assignment, *, possible: bool, shown: bool) -> Run:
    """Components and their timeline: fewest components under `sum`, shortest timeline under `critical-path`."""
    node_of, graph = assignment.node_of, graph_of(problem)
    levels = level_groupings(graph, node_of)
    if not possible:
        return float("inf"), as_components(problem, node_of, levels[0]), ()
    groupings = [_merged(graph, node_of, grouping) for grouping in levels]
    if problem.objective.latency_model == "sum":
        fewest = min(len(grouping) for grouping in groupings)
        distinct = dict.fromkeys(grouping for grouping in groupings if len(grouping) == fewest)
        runs = (_simulated(problem, assignment, grouping, searched=shown) for grouping in distinct)
        return min(runs, key=lambda run: run[0])
    grouping, run = _shortest(problem, assignment, graph, groupings)
    return _coarsened(problem, assignment, graph, grouping, run)


def end_of_timeline(problem: Problem, assignment: Assignment) -> float:
    """The end of a plan's best timeline, without the fewest components that keep it: what `evaluate` says under `critical-path`, or later.

    Args:
        problem: A valid problem.
        assignment: A node for every operator, all of its transfers possible.

    Returns:
        When the last thing ends, less what handling takes. [s]
    """
    graph = graph_of(problem)
    levels = level_groupings(graph, assignment.node_of)
    few = [_merged(graph, assignment.node_of, grouping) for grouping in levels]
    return _shortest(problem, assignment, graph, few)[1][0] - problem.handling_s


def _shortest(
    problem: Problem, assignment: Assignment, graph: Graph, coarse: Sequence[Grouping]
) -> tuple[Grouping, Run]:
    """Of some groupings and finer ones, the one whose timeline ends first."""
    node_of = assignment.node_of
    groupings = [*coarse, *level_groupings(graph, node_of), signature_grouping(graph, node_of)]
    if len(graph.order) <= _FEW_OPERATORS:
        groupings.append(tuple((name,) for name in graph.order))
    runs = {grouping: _simulated(problem, assignment, grouping) for grouping in dict.fromkeys(groupings)}
    return min(runs.items(), key=lambda found: (found[1][0], len(found[1][1])))


def _simulated(
    problem: Problem, assignment: Assignment, grouping: Grouping, within_s: float = math.inf, *, searched: bool = True
) -> Run:
    components = as_components(problem, assignment.node_of, grouping)
    end_s, entries = simulate(problem, assignment, grouping, components, within_s, searched=searched)
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
            attempt = _simulated(problem, assignment, candidate, longest_s)
            if attempt[0] <= longest_s:
                groups, run, improved = candidate, attempt, True
                break
    return run
