"""The document of `splitctl solve`.

Owns: its keys, and their filling from a solution. Its rule: that of all documents, a key is never renamed; what an infeasible
problem has not is null or empty. Not here: planning, people's view of a plan (`views/plan_view.py`).
"""

from __future__ import annotations

import msgspec

from edgesplit.planning.plan import Component, Concession, NodeShare, Ranges, Solution, Status, TimelineEntry, per_node
from edgesplit.planning.problem import Problem

__all__ = ["SolutionDocument", "SolvingTimes", "solution_document"]


class SolvingTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of `solve` went.

    Attributes:
        load_s: Reading the file. [s]
        build_s: Costs, presolve and models. [s]
        solve_s: In the solver. [s]
        total_s: From opening the file to the result, imports excluded. [s]
    """

    load_s: float
    build_s: float
    solve_s: float
    total_s: float


class SolutionDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `solve`; figures are None, lists and objects empty where there is no plan.

    Attributes:
        status: `optimal`: proven, of the best plan where a tolerance was given; `feasible`: time ran out before the proof; `infeasible`: no plan keeps the constraints.
        latency_s: Under the problem's own `latency_model`. [s]
        timeline_s: End of the simulated timeline. [s]
        energy_j: Of all nodes. [J]
        device_energy_j: Of the source. [J]
        noise: Predicted noise of the output. [1]
        score: What was minimised; 0 is the best latency and the best energy at once. [1]
        bound: No plan has a lower score, proven. [1]
        gap: score - bound, at least 0. [1]
        assignment: Operator, as the problem names it, to its node.
        quantized: Operators that run in int8.
        codecs: Cut tensor to its codec; others travel uncoded.
        per_node: Node to what sits on it.
        components: In an order in which they may run.
        timeline: What happens when, by start.
        ranges: The scales of the score.
        timings: Where the time went.
        reason: Why there is no plan, or what stopped the proof; else empty.
        rate_hz: Requests a second that the plan sustains, many at a time; None where nothing takes any time. [1/s]
        bottleneck: The node, or the link as `FROM:TO`, that bounds this rate; None with it.
        concession: With `--tolerance`, what the plan gives up against the best one; None where it is that plan.
    """

    status: Status
    latency_s: float | None
    timeline_s: float | None
    energy_j: float | None
    device_energy_j: float | None
    noise: float | None
    score: float | None
    bound: float | None
    gap: float | None
    assignment: dict[str, str]
    quantized: tuple[str, ...]
    codecs: dict[str, str]
    per_node: dict[str, NodeShare]
    components: tuple[Component, ...]
    timeline: tuple[TimelineEntry, ...]
    ranges: Ranges
    timings: SolvingTimes
    reason: str
    rate_hz: float | None = None
    bottleneck: str | None = None
    concession: Concession | None = None


def solution_document(problem: Problem, solution: Solution, load_s: float) -> SolutionDocument:
    """Say what came of a problem.

    Args:
        problem: That was solved.
        solution: What came of it.
        load_s: What reading it took. [s]
    """
    evaluation, assignment, timings = solution.evaluation, solution.assignment, solution.timings
    return SolutionDocument(
        status=solution.status,
        latency_s=evaluation.latency_s if evaluation is not None else None,
        timeline_s=evaluation.timeline_s if evaluation is not None else None,
        energy_j=evaluation.energy_j if evaluation is not None else None,
        device_energy_j=evaluation.device_energy_j if evaluation is not None else None,
        noise=evaluation.noise if evaluation is not None else None,
        score=solution.score,
        bound=solution.bound,
        gap=solution.gap,
        assignment=dict(assignment.node_of) if assignment is not None else {},
        quantized=tuple(sorted(assignment.quantized)) if assignment is not None else (),
        codecs=dict(assignment.codecs) if assignment is not None else {},
        per_node=per_node(problem, assignment, evaluation) if assignment is not None and evaluation is not None else {},
        components=evaluation.components if evaluation is not None else (),
        timeline=evaluation.timeline if evaluation is not None else (),
        ranges=solution.ranges,
        timings=SolvingTimes(
            load_s=load_s,
            build_s=timings.build_s,
            solve_s=timings.solve_s,
            total_s=load_s + timings.total_s,
        ),
        reason=solution.reason,
        rate_hz=evaluation.rate_hz if evaluation is not None else None,
        bottleneck=evaluation.bottleneck if evaluation is not None else None,
        concession=solution.concession,
    )
