"""The same problem with one thing changed, and a plan for every node that could vanish.

Owns: pure functions from problem to problem, behind what-if, explain and fallbacks. Its rule: a valid problem
goes in and a valid one comes out, or an error says in one sentence what the change names wrongly. Not here: how a
problem is solved, patterns over operator names.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import msgspec

from edgesplit.errors import InvalidInput, PlanInfeasible, PlanningTimedOut, UnknownNode
from edgesplit.planning.plan import Assignment, Ranges, Solution, Timings, uncompared
from edgesplit.planning.problem import CodecOption, Link, Operator, Problem, Tensor
from edgesplit.planning.problem_validation import validate
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.meaning.evaluation import evaluate
from edgesplit_controller.planner.solving.session import Session
from edgesplit_controller.planner.solving.weighted_score import solve

__all__ = [
    "fallbacks",
    "moved_off",
    "with_link",
    "without_node",
    "without_rate",
]

RATE_SHARE = 0.5
"""Of a fallback's time, for finding out whether any plan sustains the rate asked for."""


def without_node(problem: Problem, node: str) -> Problem:
    """The problem after a node and all its links are gone.

    Args:
        problem: A valid problem.
        node: Any node but the source.

    Raises:
        UnknownNode: The problem has no such node.
        InvalidInput: The node is the source, without which there is no input.
        PlanInfeasible: An operator is pinned to this node alone.
    """
    _require_nodes(problem, (node,))
    if node == problem.source:
        raise InvalidInput(
            f"The source {problem.source!r} holds input and output and cannot be taken away; "
            "deploy the model from another source first."
        )
    constraints = problem.constraints.without(node)
    for operator, allowed in (constraints.pins or {}).items():
        if not allowed:
            raise PlanInfeasible(
                f"Operator {operator!r} is pinned to {node}, which is removed; unpin it or keep a node."
            )
    return _changed(
        problem,
        nodes=tuple(kept for kept in problem.nodes if kept.name != node),
        links=tuple(link for link in problem.links if node not in (link.source, link.target)),
        operators=tuple(_operator_without(operator, node) for operator in problem.operators),
        tensors=tuple(_tensor_without(tensor, node) for tensor in problem.tensors),
        constraints=constraints,
    )


def with_link(
    problem: Problem,
    source: str,
    target: str,
    *,
    bandwidth_bytes_per_s: float | None = None,
    latency_s: float | None = None,
) -> Problem:
    """The problem with one link changed, or added where there was none.

    Args:
        problem: A valid problem.
        source: Sending node.
        target: Receiving node.
        bandwidth_bytes_per_s: New rate; None keeps it. [B/s]
        latency_s: New latency; None keeps it, 0 for a link that is added. [s]

    Raises:
        UnknownNode: The problem has no such node.
        InvalidInput: Both ends are one node, a value is out of range, or an added link has no bandwidth.
    """
    _require_nodes(problem, (source, target))
    if source == target:
        raise InvalidInput(f"A link joins two nodes, not {source!r} to itself; name another end.")
    if bandwidth_bytes_per_s is not None and not (math.isfinite(bandwidth_bytes_per_s) and bandwidth_bytes_per_s > 0):
        raise InvalidInput(
            f"The bandwidth of link {source}:{target} is {bandwidth_bytes_per_s}; give a finite number above 0 B/s."
        )
    if latency_s is not None and not (math.isfinite(latency_s) and latency_s >= 0):
        raise InvalidInput(f"The latency of link {source}:{target} is {latency_s}; give a finite number of seconds.")
    old = next((link for link in problem.links if (link.source, link.target) == (source, target)), None)
    if old is None:
        if bandwidth_bytes_per_s is None:
            raise InvalidInput(f"There is no link {source}:{target} yet; give its bandwidth to add it.")
        added = Link(
            source=source, target=target, bandwidth_bytes_per_s=bandwidth_bytes_per_s, latency_s=latency_s or 0.0
        )
        return _changed(problem, links=(*problem.links, added))
    new = msgspec.structs.replace(
        old,
        bandwidth_bytes_per_s=old.bandwidth_bytes_per_s if bandwidth_bytes_per_s is None else bandwidth_bytes_per_s,
        latency_s=old.latency_s if latency_s is None else latency_s,
    )
    return _changed(problem, links=tuple(new if link is old else link for link in problem.links))


def moved_off(assignment: Assignment, problem: Problem) -> Assignment:
    """An assignment made for more nodes, with what ran on a node the problem lacks moved to the source.

    It is a start for planning and may break limits.
    """
    nodes = {node.name for node in problem.nodes}
    node_of = {name: node if node in nodes else problem.source for name, node in assignment.node_of.items()}
    return Assignment(node_of, assignment.quantized, assignment.codecs)


def fallbacks(
    problem: Problem, assignment: Assignment, *, time_limit_s: float, tolerance: float = 0.0
) -> Mapping[str, Solution]:
    """Plan for the loss of each node but the source.

    Args:
        problem: The problem of the running plan.
        assignment: The running plan; every search starts from it.
        time_limit_s: For all plans together. [s]
        tolerance: As of `solve`. [1]

    Returns:
        Node to the plan without it, those the running plan uses first. A node it does not use gets the running
        plan itself, unscored. `infeasible` says in its reason why there is no plan without the node; a node for
        which time did not suffice is left out. Where no plan without it sustains the rate that is asked for, the best at any
        rate is better than none.
    """
    used = set(assignment.node_of.values())
    others = [node.name for node in problem.nodes if node.name != problem.source]
    others.sort(key=lambda node: node not in used)
    clock = Clock(time_limit_s)
    found: dict[str, Solution] = {}
    for place, node in enumerate(others):
        if node not in used:
            found[node] = _unchanged(problem, assignment, node)
            continue
        waiting = sum(other in used for other in others[place:])
        share_s = clock.left_s() / waiting
        try:
            smaller = _in_need(without_node(problem, node), Clock(share_s * RATE_SHARE))
            share_s = min(share_s, clock.left_s())
            found[node] = solve(smaller, hint=moved_off(assignment, smaller), time_limit_s=share_s, tolerance=tolerance)
        except PlanInfeasible as error:
            found[node] = _infeasible(str(error))
        except PlanningTimedOut:
            continue
    return found


def without_rate(problem: Problem) -> Problem:
    """The problem at any rate."""
    return msgspec.structs.replace(problem, constraints=msgspec.structs.replace(problem.constraints, min_rate_hz=None))


def _in_need(problem: Problem, clock: Clock) -> Problem:
    """The problem, at any rate unless a plan is found that sustains the one asked for."""
    if problem.constraints.min_rate_hz is None or Session(problem, None, clock).first().plan is not None:
        return problem
    return without_rate(problem)


def _unchanged(problem: Problem, assignment: Assignment, node: str) -> Solution:
    evaluation = evaluate(without_node(problem, node), assignment)
    return uncompared(assignment, evaluation, reason=f"The plan does not use {node!r} and stays.")


def _infeasible(reason: str) -> Solution:
    return Solution(
        status="infeasible",
        assignment=None,
        evaluation=None,
        score=None,
        bound=None,
        gap=None,
        ranges=Ranges(),
        timings=Timings(build_s=0.0, solve_s=0.0, total_s=0.0),
        reason=reason,
    )


def _changed(problem: Problem, **fields: object) -> Problem:
    changed = msgspec.structs.replace(problem, **fields)
    validate(changed)
    return changed


def _require_nodes(problem: Problem, nodes: Collection[str]) -> None:
    known = [node.name for node in problem.nodes]
    for node in nodes:
        if node not in known:
            raise UnknownNode(f"There is no node {node!r} in this problem; choose among {', '.join(known)}.")


def _times_without(times_s: Mapping[str, float], gone: str) -> dict[str, float]:
    return {node: time_s for node, time_s in times_s.items() if node != gone}


def _operator_without(operator: Operator, gone: str) -> Operator:
    int8_s = operator.quantized_time_s
    return msgspec.structs.replace(
        operator,
        time_s=_times_without(operator.time_s, gone),
        held_on=tuple(node for node in operator.held_on if node != gone),
        quantized_held_on=tuple(node for node in operator.quantized_held_on if node != gone),
        quantized_time_s=None if int8_s is None else _times_without(int8_s, gone),
    )


def _tensor_without(tensor: Tensor, gone: str) -> Tensor:
    return (
        tensor
        if tensor.codecs is None
        else msgspec.structs.replace(tensor, codecs=tuple(_codec_without(codec, gone) for codec in tensor.codecs))
    )


def _codec_without(codec: CodecOption, gone: str) -> CodecOption:
    return msgspec.structs.replace(
        codec,
        encode_s=_times_without(codec.encode_s, gone),
        decode_s=_times_without(codec.decode_s, gone),
    )
