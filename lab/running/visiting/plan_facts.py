"""Facts of a plan from splitctl's documents: what it predicts, what tells it from another, what its requests cost.

Owns: the way from `PlanDocument` to `PlanFacts`, signatures, means between two looks. Its rule: pure; a figure that a document does
not have is None. Not here: asking for documents (`lab/running/deployment.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from edgesplit.planning.problem import Problem
from lab.results import PlanFacts, PlannedStep

__all__ = ["Spent", "counted", "facts_of", "plan_signature", "solution_signature", "spent"]


@dataclass(frozen=True)
class Spent:
    """What requests between two looks at a plan cost, means per request.

    Attributes:
        energy_j: Of all nodes, configured watts times measured seconds; None where a node counted no request. [J]
        compute_s: By node. [s]
    """

    energy_j: float | None
    compute_s: Mapping[str, float]


def facts_of(plan: Mapping[str, Any], *, signature: str, deploy_s: float | None) -> PlanFacts:
    """What a plan says of itself before its first request."""
    interval = plan.get("latency_interval_s")
    shares = {node: share for node, share in plan["per_node"].items() if share["operators"]}
    return PlanFacts(
        status=plan["status"],
        predicted_s=plan["latency_s"],
        interval_s=None if interval is None else (interval[0], interval[1]),
        predicted_j=plan["energy_j"],
        predicted_noise=plan["noise"],
        operators={node: share["operators"] for node, share in shares.items()},
        components={node: share["components"] for node, share in shares.items()},
        quantized=list(plan["quantized"]),
        codecs=dict(plan["codecs"]),
        timeline=[_step(entry) for entry in plan["timeline"]],
        solve_s=plan.get("solve_s"),
        deploy_s=deploy_s,
        signature=signature,
    )


def _step(entry: Mapping[str, Any]) -> PlannedStep:
    component = entry.get("component")
    transfer = entry["kind"] == "transfer"
    return PlannedStep(
        kind=entry["kind"],
        what=str(component) if component is not None else str(entry.get("tensor") or ""),
        node=None if transfer else entry["node"],
        link=f"{entry['from']}->{entry['to']}" if transfer else None,
        start_s=entry["start_s"],
        end_s=entry["end_s"],
    )


def plan_signature(plan: Mapping[str, Any]) -> str:
    """What tells a plan from another: where each operator runs, what is int8, what is coded."""
    places = ((part["node"], operator) for part in plan["components"] for operator in part["operators"])
    return _signature(places, plan["quantized"], plan["codecs"])


def solution_signature(solution: Mapping[str, Any], problem: Problem) -> str:
    """The same of a solution of a problem."""
    listed = {entry.name: entry.listed for entry in problem.operators if entry.role is None}
    places = ((node, operator) for name, node in solution["assignment"].items() for operator in listed.get(name, ()))
    return _signature(places, solution["quantized"], solution["codecs"])


def _signature(places: Iterable[tuple[str, str]], quantized: Sequence[str], codecs: Mapping[str, str]) -> str:
    whole = (sorted(set(places)), sorted(quantized), sorted(codecs.items()))
    return hashlib.sha256(msgspec.json.encode(whole)).hexdigest()[:16]


def counted(plan: Mapping[str, Any]) -> dict[str, int]:
    """Requests that each node has told of, of a plan's epoch."""
    return {node: int(row["requests"]) for node, row in plan["energy_per_node"].items()}


def spent(before: Mapping[str, Any], after: Mapping[str, Any], nodes: Iterable[str]) -> Spent:
    """What the requests between two looks at a plan cost.

    Args:
        before: The plan's document.
        after: The same, later.
        nodes: Those that take part.
    """
    energy_j = 0.0
    whole = True
    for node in nodes:
        joules = _mean_between(
            before["energy_per_node"].get(node), after["energy_per_node"].get(node), ("compute_j", "transmit_j")
        )
        whole = whole and joules is not None
        energy_j += joules or 0.0
    shares_before, shares_after = (plan["measured"].get("per_node", {}) for plan in (before, after))
    compute = {node: _mean_between(shares_before.get(node), shares_after.get(node), ("compute_s",)) for node in nodes}
    return Spent(
        energy_j if whole else None, {node: seconds for node, seconds in compute.items() if seconds is not None}
    )


def _mean_between(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, keys: Sequence[str]
) -> float | None:
    """The sum of some figures, as a mean over the requests between two means over all requests so far."""
    if after is None or any(after[key] is None for key in keys):
        return None
    already = before["requests"] if before is not None else 0
    requests = after["requests"] - already
    if requests <= 0:
        return None
    earlier = sum((before[key] or 0.0) * already for key in keys) if before is not None else 0.0
    return float((sum(after[key] * after["requests"] for key in keys) - earlier) / requests)
