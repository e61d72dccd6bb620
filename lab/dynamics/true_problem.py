"""The planning problem in given conditions: what an oracle solves, knowing every change.

Owns: true rates, delays, speeds, nodes and goals put into a problem that the controller exported before. Its rule:
pure; what the conditions do not say stays as it was measured. Not here: solving (`edgesplit_controller.planner`), what
conditions there are (`conditions.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from edgesplit.planning.problem import Link, Objective, Operator, Problem, Tensor
from lab.dynamics.conditions import Conditions, slowness

__all__ = ["true_problem"]


def true_problem(problem: Problem, base: Conditions, now: Conditions) -> Problem:
    """The problem in other conditions than those it was exported in.

    Rates are those that links are set to; what a link's measured latency had over its delay stays; a node's times change as its
    slowness does. A battery's floor is not in it: what it allows depends on how often requests come.

    Args:
        problem: As `splitctl plan --export` wrote it.
        base: The conditions it was exported in.
        now: Those to plan in.
    """
    there = {node.name for node in problem.nodes} - now.gone
    factors = {name: slowness(now.nodes[name]) / slowness(base.nodes[name]) for name in there}
    pins = {name: tuple(node for node in allowed if node in there) for name, allowed in _pins(problem).items()}
    return msgspec.structs.replace(
        problem,
        nodes=tuple(node for node in problem.nodes if node.name in there),
        links=tuple(_true_link(link, base, now) for link in problem.links if _carries(link, now)),
        operators=tuple(_true_operator(operator, factors) for operator in problem.operators),
        tensors=tuple(_true_tensor(tensor, factors) for tensor in problem.tensors),
        objective=Objective(
            latency_weight=now.wanted.latency,
            energy_weight=now.wanted.energy,
            latency_model=problem.objective.latency_model,
        ),
        constraints=msgspec.structs.replace(problem.constraints, max_noise=now.wanted.max_noise, pins=pins or None),
        handling_s=problem.handling_s * factors[problem.source],
    )


def _pins(problem: Problem) -> Mapping[str, tuple[str, ...]]:
    return problem.constraints.pins or {}


def _carries(link: Link, now: Conditions) -> bool:
    return now.links[link.source, link.target].up and not {link.source, link.target} & now.gone


def _true_link(link: Link, base: Conditions, now: Conditions) -> Link:
    pair = (link.source, link.target)
    beside_s = max(link.latency_s - base.links[pair].delay_s, 0.0)
    shape = now.links[pair]
    return msgspec.structs.replace(
        link, bandwidth_bytes_per_s=shape.rate_bytes_per_s, latency_s=shape.delay_s + beside_s
    )


def _true_operator(operator: Operator, factors: Mapping[str, float]) -> Operator:
    return msgspec.structs.replace(
        operator,
        time_s=_scaled(operator.time_s, factors),
        quantized_time_s=None if operator.quantized_time_s is None else _scaled(operator.quantized_time_s, factors),
    )


def _true_tensor(tensor: Tensor, factors: Mapping[str, float]) -> Tensor:
    if tensor.codecs is None:
        return tensor
    codecs = tuple(
        msgspec.structs.replace(
            codec, encode_s=_scaled(codec.encode_s, factors), decode_s=_scaled(codec.decode_s, factors)
        )
        for codec in tensor.codecs
    )
    return msgspec.structs.replace(tensor, codecs=codecs)


def _scaled(seconds: Mapping[str, float], factors: Mapping[str, float]) -> dict[str, float]:
    """Of the nodes that are there. [s]"""
    return {node: value * factors[node] for node, value in seconds.items() if node in factors}
