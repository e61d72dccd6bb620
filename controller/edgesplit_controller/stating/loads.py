"""Loads: what is promised to other deployments of the time of nodes and links.

Owns: this sum. Its rule: pure; only a rate is a promise, and the planning shapes of a model at one source, which share its requests, are
promised the one that takes most. Not here: memory that others take (`held_weights.py`), what a load means to a plan (`planner`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edgesplit.names import base_name
from edgesplit_controller.planner.meaning.exact import busy_seconds
from edgesplit_controller.storage.deployment_state import PlanRecord

__all__ = ["Loads", "promised"]

_Share = dict[str | tuple[str, str], float]


@dataclass(frozen=True)
class Loads:
    """Shares of time that are promised, at most 1. [1]

    Attributes:
        nodes: By name.
        links: By sending and receiving node.
    """

    nodes: Mapping[str, float] = field(default_factory=dict[str, float])
    links: Mapping[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])


def promised(plans: Iterable[tuple[str, PlanRecord]], *, model: str, source: str) -> Loads:
    """Add up what plans other than a model's own take at the rates they were made for.

    Args:
        plans: With the names of their deployments.
        model: Whose problem is stated: the name of any of its planning shapes and deployments.
        source: Where its requests arise; its other planning shapes there leave each other their time.
    """
    own = base_name(model), source
    most: dict[tuple[str, str], _Share] = {}
    for name, plan in plans:
        rate, key = plan.goals.min_rate_hz, (base_name(name), plan.problem.source)
        if not rate or key == own:
            continue
        shares = most.setdefault(key, {})
        for subject, seconds in busy_seconds(plan.problem, plan.assignment).items():
            shares[subject] = max(shares.get(subject, 0.0), rate * seconds)
    total: _Share = {}
    for shares in most.values():
        for subject, share in shares.items():
            total[subject] = min(1.0, total.get(subject, 0.0) + share)
    return Loads(
        {subject: share for subject, share in total.items() if isinstance(subject, str)},
        {subject: share for subject, share in total.items() if isinstance(subject, tuple)},
    )
