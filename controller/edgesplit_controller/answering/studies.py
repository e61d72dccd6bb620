"""Studies of an active plan that change nothing: explain, what-if, frontier.

Owns: stating their problems, running the planner's functions in a thread, their documents. Its rule: one study at a
time, beside planning and never in its way; the plan that serves is not touched. Not here: the studies' mathematics
(the planner's), printing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import assert_never

import msgspec

from edgesplit.errors import InvalidInput, PlanInfeasible
from edgesplit.formatting import speed, time_span
from edgesplit.operations.plan_summary import PlanSummary
from edgesplit.operations.study_operations import (
    ExplainDocument,
    ExplainPlan,
    FrontierDocument,
    FrontierRow,
    StudyOperation,
    TraceFrontier,
    WhatIf,
    WhatIfDocument,
)
from edgesplit.planning.explanation import Explanation
from edgesplit.planning.goals import Goals
from edgesplit.planning.plan import Assignment, Evaluation, Solution, per_node
from edgesplit.planning.problem import Problem
from edgesplit.planning.spreads import PredictionInterval
from edgesplit_controller.answering.plan_documents import placed_network, plan_summary
from edgesplit_controller.answering.replies import Progress
from edgesplit_controller.answering.serving.active_plan import active_plan
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.models.catalog import Catalog
from edgesplit_controller.planner import evaluate, solve
from edgesplit_controller.planner.studies.explanation import explain
from edgesplit_controller.planner.studies.frontier import Frontier, FrontierPoint, frontier
from edgesplit_controller.planner.studies.rate_frontier import RateAxis, rate_frontier
from edgesplit_controller.planner.studies.variations import moved_off, with_link, without_node
from edgesplit_controller.stating.goals import goals_text, merged_goals
from edgesplit_controller.stating.predicting.prediction_intervals import Certainty, interval_under
from edgesplit_controller.stating.promised_streams import waiting_beside
from edgesplit_controller.storage.deployment_state import PlanRecord, active_plans

__all__ = ["Studies", "supposed_problem", "supposed_texts"]

MOST_POINTS = 200
LONGEST_S = 3600.0

_Stated = tuple[Problem, Assignment, Evaluation]
"""A plan under a problem."""


class Studies:
    """All studies.

    Args:
        catalog: The models.
        deployer: States problems.
        registry: Knows which nodes there are.
        certainty: How sure predictions are.
        time_limit_s: What one what-if may take. [s]
        tolerance: Of plans that would be made. [1]
    """

    def __init__(
        self,
        catalog: Catalog,
        deployer: Deployer,
        registry: Registry,
        certainty: Certainty,
        *,
        time_limit_s: float,
        tolerance: float,
    ) -> None:
        self._catalog = catalog
        self._deployer = deployer
        self._registry = registry
        self._certainty = certainty
        self._time_limit_s = time_limit_s
        self._tolerance = tolerance
        self._one_at_a_time = asyncio.Lock()

    async def answer(
        self, asked: StudyOperation, progress: Progress
    ) -> ExplainDocument | WhatIfDocument | FrontierDocument:
        """Carry out an operation.

        Raises:
            EdgesplitError: It cannot be done; the sentence for the client.
        """
        active = active_plan(self._catalog, self._deployer, asked.name)
        match asked:
            case ExplainPlan():
                return await self._explain(asked, active, progress)
            case WhatIf():
                return await self._what_if(asked, active, progress)
            case TraceFrontier():
                return await self._frontier(asked, active, progress)
            case _:
                assert_never(asked)

    async def _explain(self, asked: ExplainPlan, active: PlanRecord, progress: Progress) -> ExplainDocument:
        """Why the active plan is as it is.

        Raises:
            InvalidInput: The time limit makes no sense.
            PlanInfeasible: The plan breaks a constraint meanwhile; the controller is about to replace it.
        """
        _check_limit(asked.time_limit_s)
        problem = self._decided_on(asked.name, active)
        async with self._one_at_a_time:
            progress("solving changed problems", None)
            found = await asyncio.to_thread(_explain, problem, active, asked.time_limit_s)
        return _explain_document(asked.name, active, found)

    def _decided_on(self, name: str, active: PlanRecord) -> Problem:
        """The problem as decisions see it: with times that favour no assignment, where the plan's own are its own.

        Explained in its own times, a plan would be held against others that are charged for transitions between float
        and int8 that only the plan itself has.
        """
        problem = self._deployer.problem(name, active.epoch.source, active.goals)
        # A battery's limit is not in the problem: the plan was made under it.
        limit_j = active.problem.constraints.device_energy_limit_j
        constraints = msgspec.structs.replace(problem.constraints, device_energy_limit_j=limit_j)
        return msgspec.structs.replace(problem, constraints=constraints)

    async def _what_if(self, asked: WhatIf, active: PlanRecord, progress: Progress) -> WhatIfDocument:
        """The plan that would result.

        Raises:
            UnknownNode, InvalidInput: What is supposed names no node, or makes no sense.
            PlanInfeasible: There would be no plan.
        """
        self._check_nodes(asked)
        goals = merged_goals(
            self._deployer.goals(asked.name),
            latency=asked.latency,
            energy=asked.energy,
            max_noise=asked.max_noise,
            device_energy_j=asked.device_energy_j,
            min_rate=asked.min_rate,
        )
        problem = supposed_problem(self._deployer.problem(asked.name, active.epoch.source, goals), asked)
        texts = supposed_texts(asked, self._deployer.goals(asked.name), goals)
        async with self._one_at_a_time:
            progress("planning under these conditions", None)
            solution, old = await asyncio.to_thread(
                _solve_supposed, problem, active, self._time_limit_s, self._tolerance
            )
        if solution.assignment is None or solution.evaluation is None:
            raise PlanInfeasible(f"{asked.name} would have no plan: {solution.reason}")
        before, after = active.assignment, solution.assignment
        moved = [entry for entry in problem.operators if before.node_of.get(entry.name) != after.node_of[entry.name]]
        # What is supposed of a link is certain.
        evidence = self._certainty.evidence(asked.name, problem).without_links(
            (link.from_, link.to) for link in asked.links
        )
        interval_of = partial(interval_under, evidence, self._catalog.get(asked.name), problem)
        plans = tuple(active_plans(self._deployer.deployments))

        async def summary(
            stated: _Stated, status: str, rate_hz: float | None, interval: PredictionInterval | None
        ) -> PlanSummary:
            waiting = await asyncio.to_thread(waiting_beside, asked.name, stated, rate_hz, plans)
            return plan_summary(stated[0], status, *stated[1:], interval, waiting=waiting)

        now, best = (active.problem, before, active.evaluation), solution.evaluation
        return WhatIfDocument(
            model=asked.name,
            epoch=active.epoch.number,
            supposed=texts,
            active=await summary(now, active.status, active.goals.min_rate_hz, active.interval),
            active_then=None
            if old is None
            else await summary((problem, before, old), active.status, goals.min_rate_hz, interval_of(before, old)),
            then=await summary((problem, after, best), solution.status, goals.min_rate_hz, interval_of(after, best)),
            same=not moved and before.quantized == after.quantized and dict(before.codecs) == dict(after.codecs),
            moved=sum(len(entry.listed) for entry in moved),
            solve_s=solution.timings.total_s,
            placed=placed_network(active.epoch.source, after, best),
        )

    async def _frontier(self, asked: TraceFrontier, active: PlanRecord, progress: Progress) -> FrontierDocument:
        """What latency costs in energy, or what either costs in rate, under the model's limits and the present figures.

        Raises:
            InvalidInput: The number of points or the time limit makes no sense.
            PlanInfeasible: No plan satisfies the constraints.
        """
        _check_limit(asked.time_limit_s)
        if not 2 <= asked.points <= MOST_POINTS:
            raise InvalidInput(f"--points is {asked.points}: give 2 to {MOST_POINTS}")
        goals = self._deployer.goals(asked.name)
        problem = self._deployer.problem(asked.name, active.epoch.source, goals)
        loop, count = asyncio.get_running_loop(), 0

        def on_point(_point: FrontierPoint) -> None:
            nonlocal count
            count += 1
            text, fraction = f"{count} of at most {asked.points} points", min(1.0, count / asked.points)
            loop.call_soon_threadsafe(progress, "tracing the frontier: " + text, fraction)

        started_s = time.monotonic()
        async with self._one_at_a_time:
            progress("tracing the frontier", 0.0)
            found = await asyncio.to_thread(_trace, problem, asked, on_point)
            interval_of = partial(
                interval_under,
                self._certainty.evidence(asked.name, problem),
                self._catalog.get(asked.name),
                problem,
            )
            rows = await asyncio.to_thread(_frontier_rows, problem, active.assignment, found, interval_of)
        return _frontier_document(asked, problem, active, rows, time.monotonic() - started_s)

    def _check_nodes(self, asked: WhatIf) -> None:
        named = [*asked.without, *(end for link in asked.links for end in (link.from_, link.to))]
        for node in named:
            self._registry.check_known(node)


def supposed_problem(problem: Problem, asked: WhatIf) -> Problem:
    """A problem under what is supposed of links and nodes; goals are in it already.

    Raises:
        UnknownNode: A node takes no part in planning now (offline, forbidden, without links).
        InvalidInput: A link or figure that cannot be, or the source is to be left out.
        PlanInfeasible: A pin leaves an operator no node.
    """
    for link in asked.links:
        problem = with_link(
            problem, link.from_, link.to, bandwidth_bytes_per_s=link.bandwidth_bytes_per_s, latency_s=link.latency_s
        )
    for node in dict.fromkeys(asked.without):
        problem = without_node(problem, node)
    return problem


def supposed_texts(asked: WhatIf, before: Goals, goals: Goals) -> tuple[str, ...]:
    """What is supposed, for people."""
    texts: list[str] = []
    for link in asked.links:
        figures: list[str] = []
        if link.bandwidth_bytes_per_s is not None:
            figures.append(speed(link.bandwidth_bytes_per_s))
        if link.latency_s is not None:
            figures.append(time_span(link.latency_s))
        texts.append(f"link {link.from_} -> {link.to} has {' and '.join(figures)}")
    texts += [f"node {node} is gone" for node in asked.without]
    if goals != before:
        texts.append(f"the goals are {goals_text(goals)}")
    return tuple(texts)


def _explain(problem: Problem, active: PlanRecord, time_limit_s: float) -> Explanation:
    try:
        return explain(problem, active.assignment, time_limit_s=time_limit_s)
    except (InvalidInput, PlanInfeasible):
        # The fleet has changed so that the plan does not fit it any more; it is explained as it was made.
        return explain(active.problem, active.assignment, time_limit_s=time_limit_s)


def _solve_supposed(
    problem: Problem, active: PlanRecord, time_limit_s: float, tolerance: float
) -> tuple[Solution, Evaluation | None]:
    """The plan that would be made of a problem, and the active one under it if it could run."""
    old: Evaluation | None = None
    able = {entry.name for entry in problem.operators if entry.quantizable}
    comparable = set(active.assignment.node_of) == {entry.name for entry in problem.operators}
    if comparable and active.assignment.quantized <= able:
        if set(active.assignment.node_of.values()) <= {node.name for node in problem.nodes}:
            old = evaluate(problem, active.assignment)
            if not old.timeline_s < float("inf"):
                old = None  # a link it needs would be gone
        hint = moved_off(active.assignment, problem)
        return solve(problem, hint=hint, time_limit_s=time_limit_s, tolerance=tolerance), old
    return solve(problem, time_limit_s=time_limit_s, tolerance=tolerance), None


def _trace(problem: Problem, asked: TraceFrontier, on_point: Callable[[FrontierPoint], None]) -> Frontier:
    if asked.axes != "latency,energy":
        first: RateAxis = "energy" if asked.axes == "energy,rate" else "latency"
        return rate_frontier(problem, first, points=asked.points, time_limit_s=asked.time_limit_s, on_point=on_point)
    return frontier(problem, points=asked.points, time_limit_s=asked.time_limit_s, on_point=on_point)


def _explain_document(model: str, active: PlanRecord, found: Explanation) -> ExplainDocument:
    return ExplainDocument(
        model=model,
        epoch=active.epoch.number,
        cuts=found.cuts,
        binding=found.bindings,
        relaxations=found.relaxations,
        complete=found.complete,
        concession=active.concession,
    )


def _frontier_rows(
    problem: Problem,
    active: Assignment,
    found: Frontier,
    interval_of: Callable[[Assignment, Evaluation], PredictionInterval | None],
) -> tuple[FrontierRow, ...]:
    rows: list[FrontierRow] = []
    for point in found.points:
        evaluation = evaluate(problem, point.assignment)
        interval, same = interval_of(point.assignment, evaluation), point.assignment == active
        rows.append(_frontier_row(problem, point.status, point.assignment, evaluation, interval, active=same))
    return tuple(rows)


def _frontier_document(
    asked: TraceFrontier, problem: Problem, active: PlanRecord, rows: tuple[FrontierRow, ...], seconds: float
) -> FrontierDocument:
    now = _frontier_row(
        active.problem, active.status, active.assignment, active.evaluation, active.interval, active=True
    )
    return FrontierDocument(
        model=asked.name,
        epoch=active.epoch.number,
        latency_model=problem.objective.latency_model,
        points=rows,
        active=now,
        seconds=seconds,
        axes=asked.axes,
    )


def _frontier_row(
    problem: Problem,
    status: str,
    assignment: Assignment,
    evaluation: Evaluation,
    interval: PredictionInterval | None,
    *,
    active: bool,
) -> FrontierRow:
    return FrontierRow(
        latency_s=evaluation.latency_s,
        timeline_s=evaluation.timeline_s,
        energy_j=evaluation.energy_j,
        device_energy_j=evaluation.device_energy_j,
        noise=evaluation.noise,
        status=status,
        per_node=per_node(problem, assignment, evaluation),
        quantized=tuple(sorted(assignment.quantized)),
        active=active,
        timeline_interval_s=interval.latency_s if interval is not None else None,
        energy_interval_j=interval.energy_j if interval is not None else None,
        rate_hz=evaluation.rate_hz,
        bottleneck=evaluation.bottleneck,
    )


def _check_limit(time_limit_s: float) -> None:
    if not 0 < time_limit_s <= LONGEST_S:
        raise InvalidInput(f"--time-limit is {time_limit_s:g}: give a number of seconds above 0, at most {LONGEST_S:g}")
