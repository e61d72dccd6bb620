"""The latency-energy Pareto frontier.

Owns: which plans trade latency for energy without waste. Its rule: no point returned is dominated by another one, and
each says whether it is proven. Not here: drawing, weights.

The augmented epsilon-constraint method: energy is capped at steps between the least there is and that of the fastest
plan, latency is minimised under each cap, and a tiny price on energy keeps plans from wasting what the cap leaves.
Caps that a plan already keeps are skipped.

References: G. Mavrotas, Effective implementation of the epsilon-constraint method in multi-objective mathematical
programming problems, Applied Mathematics and Computation 213, 2009.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from edgesplit.planning.plan import Assignment, Status
from edgesplit.planning.problem import Problem

__all__ = ["Frontier", "FrontierPoint", "frontier"]


class FrontierPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One plan of the frontier.

    Attributes:
        latency_s: Under the problem's latency model. [s]
        energy_j: All nodes. [J]
        device_energy_j: The source's share. [J]
        noise: Predicted noise of the output. [1]
        assignment: The plan.
        status: `optimal`: no plan with at most this energy is faster; `feasible`: not proven in time.
    """

    latency_s: float
    energy_j: float
    device_energy_j: float
    noise: float
    assignment: Assignment
    status: Status


class Frontier(msgspec.Struct, frozen=True, kw_only=True):
    """Non-dominated plans, from the fastest to the most frugal.

    Attributes:
        points: Sorted by rising latency and so by falling energy; never empty.
    """

    points: tuple[FrontierPoint, ...]


def frontier(
    problem: Problem,
    *,
    points: int = 12,
    time_limit_s: float = 60.0,
    on_point: Callable[[FrontierPoint], None] | None = None,
) -> Frontier:
    """Compute plans along the frontier; the problem's weights play no role.

    Args:
        problem: A valid problem.
        points: Most points wanted, both ends included; at least 2.
        time_limit_s: For all of them together; what is known when it passes is returned. [s]
        on_point: Called with each point when it is found, the two ends first.

    Raises:
        PlanInfeasible: No plan satisfies the constraints.
        PlanningTimedOut: Time ran out before any plan was known.
    """
    from edgesplit_controller.planner.studies.pareto import trace  # noqa: PLC0415, ortools takes 0.3 s

    return trace(problem, points=points, time_limit_s=time_limit_s, on_point=on_point)
