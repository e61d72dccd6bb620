"""A plan as values: assignment, components, timeline, evaluation, solution.

Owns: the frozen result types. Its rule: values only, everything here can be encoded as JSON. Not here: how any of it is
computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from edgesplit.planning.problem import Problem

__all__ = [
    "Assignment",
    "Component",
    "Concession",
    "Evaluation",
    "FixedPlan",
    "NodeShare",
    "Ranges",
    "Solution",
    "Status",
    "TimelineEntry",
    "Timings",
    "per_node",
    "uncompared",
]

Status = Literal["optimal", "feasible", "infeasible"]


class Assignment(msgspec.Struct, frozen=True):
    """The decision: where operators run, which run in int8, how cut tensors travel.

    Attributes:
        node_of: Operator (as the problem names it) to node.
        quantized: Operators that run in int8.
        codecs: Cut tensor to its codec; a tensor left out travels raw.
    """

    node_of: Mapping[str, str]
    quantized: frozenset[str] = frozenset()
    codecs: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])


class FixedPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that somebody made elsewhere, to be served as it is; a document of `splitctl solve --json` is one.

    Attributes:
        assignment: Operator to its node. Operators are ONNX operators or units, named by one of their operators; the
            others of a unit follow. Every unit of the model is named.
        quantized: Operators that run in int8.
        codecs: Cut tensor to its codec; others travel uncoded.
    """

    assignment: dict[str, str]
    quantized: tuple[str, ...] = ()
    codecs: dict[str, str] = {}


class Component(msgspec.Struct, frozen=True):
    """Operators of one node that run as one submodel.

    Attributes:
        id: Position in an order in which components may run.
        node: Where it runs.
        operators: Members of the placed operators, in graph order.
        inputs: Tensors it needs from other components.
        outputs: Tensors other components need from it.
    """

    id: int
    node: str
    operators: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class NodeShare(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a plan sits on a node.

    Attributes:
        operators: How many ONNX operators.
        components: How many components.
        quantized: How many placed operators (units) run in int8.
    """

    operators: int
    components: int
    quantized: int


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happens in the predicted run of a plan.

    Attributes:
        kind: compute (a component), encode, transfer or decode (a tensor).
        start_s: When it starts. [s]
        end_s: When it ends; for a transfer, when the tensor has arrived. [s]
        node: Where it happens, unless a transfer.
        source: Sending node of a transfer.
        target: Receiving node of a transfer.
        component: Identifier of the component that computes.
        tensor: Name of the tensor that is coded or travels.
    """

    kind: Literal["compute", "transfer", "encode", "decode"]
    start_s: float
    end_s: float
    node: str | None = None
    source: str | None = msgspec.field(default=None, name="from")
    target: str | None = msgspec.field(default=None, name="to")
    component: int | None = None
    tensor: str | None = None


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """An assignment's costs, recomputed from the problem alone.

    Attributes:
        latency_s: Under the problem's own latency model. [s]
        timeline_s: End of the simulated timeline. [s]
        energy_j: All nodes. [J]
        device_energy_j: The source's share. [J]
        noise: Predicted noise of the output. [1]
        memory_bytes: Node to bytes of weights it holds for this plan, beside those it holds whatever the plan is. [B]
        rate_hz: Requests a second that it sustains beside the load of others, many at a time; None where nothing takes any
            time, or where it could not run. [1/s]
        bottleneck: The node, or the link as `FROM:TO`, that bounds this rate; None with it.
        violations: One sentence per broken constraint; empty when the assignment is a plan.
        components: In an order in which they may run.
        timeline: Ordered by start.
    """

    latency_s: float
    timeline_s: float
    energy_j: float
    device_energy_j: float
    noise: float
    memory_bytes: Mapping[str, float]
    violations: tuple[str, ...]
    components: tuple[Component, ...]
    timeline: tuple[TimelineEntry, ...]
    rate_hz: float | None = None
    bottleneck: str | None = None


class Ranges(msgspec.Struct, frozen=True, kw_only=True):
    """The scales behind the score; an upper end is None where the score did not need it.

    Attributes:
        best_latency_s: Least latency L*. [s]
        latency_at_best_energy_s: Least latency among plans with energy E*, L^. [s]
        best_energy_j: Least energy E*. [J]
        energy_at_best_latency_j: Least energy among plans with latency L*, E^. [J]
    """

    best_latency_s: float | None = None
    latency_at_best_energy_s: float | None = None
    best_energy_j: float | None = None
    energy_at_best_latency_j: float | None = None


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the planning time went.

    Attributes:
        build_s: Costs, presolve and models. [s]
        solve_s: In the solver. [s]
        total_s: From the call to the result, imports excluded. [s]
    """

    build_s: float
    solve_s: float
    total_s: float


class Concession(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan gives up against the best one, within a tolerance, to have fewer components or fewer bytes cut.

    Attributes:
        tolerance: By how much it might be worse. [1]
        share: By how much it is worse: weighted latency and energy, each as a multiple of its best value. [1]
        components: That it has.
        components_of_best: That the best plan has.
        cut_bytes: Of all its transfers. [B]
        cut_bytes_of_best: Likewise of the best plan. [B]
        latency_of_best_s: Of the best plan, under the problem's latency model. [s]
        energy_of_best_j: Likewise, of all nodes. [J]
        text: All of it in a sentence.
    """

    tolerance: float
    share: float
    components: int
    components_of_best: int
    cut_bytes: float
    cut_bytes_of_best: float
    latency_of_best_s: float
    energy_of_best_j: float
    text: str


class Solution(msgspec.Struct, frozen=True, kw_only=True):
    """The planner's answer.

    Attributes:
        status: `optimal`: the best plan is proven to a relative gap of 1e-6; `feasible` ran out of time.
        assignment: None when infeasible.
        evaluation: Of the assignment; None when infeasible.
        score: As docs/problem-file.md defines it; None when infeasible. [1]
        bound: Proven lower bound of the score. [1]
        gap: score - bound, at least 0. [1]
        ranges: The scales the score used.
        timings: Where the time went.
        reason: One sentence; why there is no plan, or what stopped the proof.
        concession: What it gives up against the best plan found; None where it is that plan.
    """

    status: Status
    assignment: Assignment | None
    evaluation: Evaluation | None
    score: float | None
    bound: float | None
    gap: float | None
    ranges: Ranges
    timings: Timings
    reason: str = ""
    concession: Concession | None = None


def uncompared(
    assignment: Assignment, evaluation: Evaluation, *, ranges: Ranges | None = None, reason: str = ""
) -> Solution:
    """A plan that was compared with no other, so that it has neither score nor bound.

    Args:
        assignment: The plan.
        evaluation: Of it.
        ranges: The scales that a score would use, where they are known.
        reason: One sentence; why no other was looked at.
    """
    return Solution(
        status="feasible",
        assignment=assignment,
        evaluation=evaluation,
        score=None,
        bound=None,
        gap=None,
        ranges=Ranges() if ranges is None else ranges,
        timings=Timings(build_s=0.0, solve_s=0.0, total_s=0.0),
        reason=reason,
    )


def per_node(problem: Problem, assignment: Assignment, evaluation: Evaluation) -> dict[str, NodeShare]:
    """Count operators (as users know them, not units), components and quantized operators on every node."""
    counts = {node.name: [0, 0, 0] for node in problem.nodes}
    for operator in problem.operators:
        count = counts[assignment.node_of[operator.name]]
        count[0] += len(operator.listed)
        count[2] += operator.name in assignment.quantized
    for component in evaluation.components:
        counts[component.node][1] += 1
    return {
        name: NodeShare(operators=operators, components=components, quantized=quantized)
        for name, (operators, components, quantized) in counts.items()
    }
