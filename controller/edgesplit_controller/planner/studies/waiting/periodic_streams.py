"""Periodic streams of requests: what deployments with a promised rate bring to nodes and links.

Owns: a plan as the pieces of work that each of its requests brings to nodes and link directions, in their order. Its rule: values only; a piece
is what its node or link does not interrupt: a component, a coding, a tensor on a link. Not here: what follows for who waits
(`worst_case.py`, `random_phases.py`).

A stream sends at most one request per period, at moments that nobody else knows (its phase). A node works on one piece at a time, and so
does a direction of a link, whose latency does not occupy it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from edgesplit.planning.plan import Assignment, Evaluation
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.studies.fixed_order import steps_of

__all__ = ["PeriodicStream", "PieceOfWork", "Resource", "stream_of"]

Resource = str | tuple[str, str]
"""A node, by name, or a direction of a link, by its ends."""


@dataclass(frozen=True, slots=True)
class PieceOfWork:
    """What a request brings to one node or link, uninterrupted.

    Attributes:
        resource: Where.
        seconds: For how long it occupies it; what takes no time waits for nobody. [s]
        lag_s: How long after that it is done: latency of a link. [s]
        before: Places of the pieces of the request that must be done before; all are earlier.
        behind: Place of the piece of the same request that must have left the node or link before, or None.
    """

    resource: Resource
    seconds: float
    lag_s: float = 0.0
    before: tuple[int, ...] = ()
    behind: int | None = None


@dataclass(frozen=True)
class PeriodicStream:
    """Requests of one deployment.

    Attributes:
        name: Tells it from others.
        period_s: No two requests begin in less; infinite where no rate is promised: one request alone. [s]
        pieces: Of each request, in an order in which their starts can be computed.
        begin_s: When the first of them may start: taking the request in. [s]
    """

    name: str
    period_s: float
    pieces: tuple[PieceOfWork, ...]
    begin_s: float = 0.0

    @cached_property
    def starts_s(self) -> tuple[float, ...]:
        """When each piece starts after its request began, where nobody waits for others. [s]"""
        left: list[float] = []
        done: list[float] = []
        starts: list[float] = []
        for piece in self.pieces:
            start_s = max([self.begin_s, *(done[place] for place in piece.before)])
            if piece.behind is not None:
                start_s = max(start_s, left[piece.behind])
            starts.append(start_s)
            left.append(start_s + piece.seconds)
            done.append(left[-1] + piece.lag_s)
        return tuple(starts)

    @cached_property
    def latency_s(self) -> float:
        """Of a request that waits for no other. [s]"""
        ends = (start + piece.seconds + piece.lag_s for start, piece in zip(self.starts_s, self.pieces, strict=True))
        return max(ends, default=self.begin_s)

    def busy_s(self, resource: Resource) -> float:
        """How long a request occupies a node or link. [s]"""
        return sum(piece.seconds for piece in self.pieces if piece.resource == resource)

    def load(self, resource: Resource) -> float:
        """Share of the time of a node or link that it takes. [1]"""
        return self.busy_s(resource) / self.period_s

    @property
    def resources(self) -> tuple[Resource, ...]:
        """Nodes and links that it uses, in the order of their first use."""
        return tuple(dict.fromkeys(piece.resource for piece in self.pieces))


def stream_of(
    name: str, rate_hz: float | None, problem: Problem, assignment: Assignment, evaluation: Evaluation
) -> PeriodicStream:
    """The requests of a plan.

    Args:
        name: Of the deployment.
        rate_hz: Promised; None where no rate is. [1/s]
        problem: With which the plan was evaluated.
        assignment: The plan.
        evaluation: `evaluate` of both.
    """
    pieces = tuple(
        PieceOfWork(
            (step.node, step.to) if step.to else step.node, step.occupied_s, step.lag_s, step.before, step.behind
        )
        for step in steps_of(problem, assignment, evaluation)
    )
    return PeriodicStream(name, math.inf if rate_hz is None else 1.0 / rate_hz, pieces, problem.handling_s)
