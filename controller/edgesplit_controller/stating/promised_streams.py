"""Promised streams: deployments as the requests that nodes and links must expect of them, and what these wait for each other.

Owns: which plans count, and as which stream. Its rule: pure; only a rate is a promise, and the planning shapes of a model at one source, which
share its requests, are the one that takes most. Not here: how much of nodes is promised (`loads.py`), the analysis of waiting
(`planner/studies/waiting`).
"""

from __future__ import annotations

from collections.abc import Iterable

from edgesplit.names import base_name
from edgesplit.planning.plan import Assignment, Evaluation
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.studies.waiting.loaded_latency import ExpectedWaiting, expected_waiting
from edgesplit_controller.planner.studies.waiting.periodic_streams import PeriodicStream, stream_of
from edgesplit_controller.storage.deployment_state import PlanRecord

__all__ = ["promised_streams", "waiting_beside"]


def promised_streams(plans: Iterable[tuple[str, PlanRecord]], *, model: str, source: str) -> tuple[PeriodicStream, ...]:
    """The requests of plans other than a model's own, at the rates they were made for.

    Args:
        plans: With the names of their deployments.
        model: Whose requests meet them: the name of any of its planning shapes and deployments.
        source: Where those arise; the model's other planning shapes there take their place.
    """
    own = base_name(model), source
    most: dict[tuple[str, str], tuple[float, PeriodicStream]] = {}
    for name, plan in plans:
        rate_hz, key = plan.goals.min_rate_hz, (base_name(name), plan.problem.source)
        if not rate_hz or key == own:
            continue
        stream = stream_of(name, rate_hz, plan.problem, plan.assignment, plan.evaluation)
        busy_s = sum(piece.seconds for piece in stream.pieces)
        if key not in most or busy_s > most[key][0]:
            most[key] = busy_s, stream
    return tuple(stream for _, stream in most.values())


def waiting_beside(
    name: str,
    plan: tuple[Problem, Assignment, Evaluation],
    rate_hz: float | None,
    plans: Iterable[tuple[str, PlanRecord]],
) -> ExpectedWaiting:
    """What requests of a plan wait for those of others, and of its own where several are on their way.

    Args:
        name: Of its deployment.
        plan: The problem with which it was evaluated, its assignment, and the evaluation.
        rate_hz: That it promises, or None. [1/s]
        plans: That serve, with the names of their deployments.
    """
    others = promised_streams(plans, model=name, source=plan[0].source)
    return expected_waiting(stream_of(name, rate_hz, *plan), others)
