"""Estimate of what handling a request takes beside its plan's timeline: hand-overs, copies, waiting, the client's own part.

Owns: what served requests say about that, and what follows for a plan. Its rule: pure; a Bayesian linear regression (a Kalman
filter of constants) in seconds: so much a request, so much for every tensor that travels, so much a byte of inputs and outputs,
and what one plan has of its own. Not here: the timeline (the planner's), who listens (`fleet/handling.py`).

The client's own part is not seen by the source that counts requests; it is a constant of clients beside the source
(`python -m bench.overhead`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edgesplit_controller.fleet.estimation.gaussian_filter import GaussianFilter

__all__ = ["Handling", "PlanShape", "client_s", "expected_handling", "served_requests"]

REQUEST, CROSSING, BYTE = "request", "crossing", "byte"
REQUEST_S, CROSSING_S, BYTE_S = (2e-4, 3e-4), (3e-4, 3e-4), (5e-10, 5e-10)
"""Before anything was served: mean and standard deviation. [s], [s], [s/B]"""
CLIENT_S, CLIENT_S_PER_BYTE = 2e-4, 5e-10
"""A client beside the source: its own thread, and copying inputs and outputs. [s, s/B]"""
OWN_SHARE, LEAST_OWN_S = 0.01, 2e-4
"""What a plan has of its own: standard deviation, as a share of its latency, and at least. [1, s]"""
MOST_SHARE = 0.1
"""What is beyond so much of the latency is no handling: something else was served meanwhile. [1]"""
NOISE_SHARE = 0.01
"""Scatter of single requests around their mean, as a share of the latency. [1]"""
KEPT_PLANS = 16


@dataclass(frozen=True)
class PlanShape:
    """What handling a request of a plan depends on.

    Attributes:
        key: Equal for equal plans.
        crossings: Tensors that travel, each receiver counted.
        nbytes: Of inputs and outputs. [B]
        timeline_s: Of the plan without handling. [s]
    """

    key: str
    crossings: int
    nbytes: float
    timeline_s: float


@dataclass(frozen=True)
class Handling:
    """What is believed of one model at one source."""

    belief: GaussianFilter = field(
        default_factory=lambda: (
            GaussianFilter()
            .with_quantity(REQUEST, REQUEST_S[0], REQUEST_S[1] ** 2)
            .with_quantity(CROSSING, CROSSING_S[0], CROSSING_S[1] ** 2)
            .with_quantity(BYTE, BYTE_S[0], BYTE_S[1] ** 2)
        )
    )


def expected_handling(handling: Handling, plan: PlanShape) -> tuple[float, float]:
    """What handling takes beside a plan's timeline, the client's part included, and its standard deviation. [s, s]"""
    mean, variance = handling.belief.expected(_weights(plan))
    if _own(plan) not in handling.belief:
        variance += _own_s(plan) ** 2
    return max(mean + client_s(plan), 0.0), math.sqrt(variance)


def client_s(plan: PlanShape) -> float:
    """A client's own part of a request. [s]"""
    return CLIENT_S + CLIENT_S_PER_BYTE * plan.nbytes


def served_requests(handling: Handling, plan: PlanShape, latency_s: float, requests: int) -> Handling:
    """Take in what requests took at their source.

    Args:
        handling: Before.
        plan: Which served them; its timeline as it is predicted now.
        latency_s: Mean, at the source, waiting for other requests not included. [s]
        requests: How many, at least one.
    """
    beyond_s = latency_s - plan.timeline_s
    if (
        not plan.timeline_s > 0
        or abs(beyond_s) > MOST_SHARE * latency_s + REQUEST_S[1] + CROSSING_S[1] * plan.crossings
    ):
        return handling
    belief, own = handling.belief, _own(plan)
    if own not in belief:
        belief = belief.with_quantity(own, 0.0, _own_s(plan) ** 2)
    # The mean of many requests is no surer than the timeline that it is held against.
    variance = (NOISE_SHARE * latency_s) ** 2 * (1 / requests + 1)
    belief = belief.observed(_weights(plan), beyond_s, variance)
    surplus = [name for name in belief.kinds if name not in (REQUEST, CROSSING, BYTE)][:-KEPT_PLANS]
    return replace(handling, belief=belief.without(surplus) if surplus else belief)


def _weights(plan: PlanShape) -> Mapping[str, float]:
    return {REQUEST: 1.0, CROSSING: float(plan.crossings), BYTE: plan.nbytes, _own(plan): 1.0}


def _own(plan: PlanShape) -> str:
    return f"plan {plan.key}"


def _own_s(plan: PlanShape) -> float:
    return max(OWN_SHARE * plan.timeline_s, LEAST_OWN_S)
