"""Making one plan: gathering what is known, solving, weighing, compiling.

Owns: the way from the registry's present figures to a `PlanRecord`. Its rule: heavy steps (solver, cutting) run in one
worker thread at a time, on values taken before; nothing here changes any state. Not here: when to plan, rollouts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from edgesplit.control.profile_messages import ExecutionProfile
from edgesplit.errors import InvalidInput, NodeUnreachable, NotProfiledYet, PlanInfeasible, UnknownNode
from edgesplit.planning.battery_allowance import BatteryAllowance
from edgesplit.planning.goals import Goals
from edgesplit.planning.plan import Assignment, Evaluation, Solution
from edgesplit.planning.problem import Problem
from edgesplit.significance import PREDICTION_CHANGE, differs
from edgesplit_controller.configuration import Planning
from edgesplit_controller.deciding.battery_solving import Limited, fitted, solve_within
from edgesplit_controller.deciding.changes.fleet_snapshot import FleetSnapshot, Glances
from edgesplit_controller.deciding.changes.replan_reasons import Decision, decide
from edgesplit_controller.fleet.node_speeds import Speeds
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.planner import evaluate, score
from edgesplit_controller.rollout.compilation import compile_local, compile_plan, is_local
from edgesplit_controller.stating.assignment_fit import fits
from edgesplit_controller.stating.predictions import as_timed, placed
from edgesplit_controller.stating.problem_statement import Candidate, build_problem, whole_weight_bytes
from edgesplit_controller.storage.deployment_state import DeploymentState, LocalFallback, PlanRecord
from edgesplit_controller.storage.rollout_state import EpochPlan

__all__ = ["Draft", "PlanMaker"]


@dataclass(frozen=True)
class Draft:
    """A solved problem and the verdict on switching to it.

    Attributes:
        problem: With the times that hold in this assignment (see `predictions`).
        evaluation: Of the assignment under it.
        old: What serves, under the present figures; None where it cannot run any more.
        old_problem: With the times that hold in what serves.
        battery: What the battery floor allowed, and whether the plan keeps it.
    """

    problem: Problem
    goals: Goals
    solution: Solution
    assignment: Assignment
    evaluation: Evaluation
    old: Evaluation | None
    decision: Decision
    old_problem: Problem | None = None
    battery: BatteryAllowance | None = None


class PlanMaker:
    """Makes plans from what registry and models say now.

    Args:
        registry: The fleet.
        speeds: Its execution profiles as they hold now.
        blobs: Where component graphs go.
        settings: Time limit, latency model, thresholds.
    """

    def __init__(self, registry: Registry, speeds: Speeds, blobs: BlobStore, settings: Planning) -> None:
        self._registry = registry
        self._speeds = speeds
        self._blobs = blobs
        self._settings = settings
        self._glances = Glances(registry, speeds)
        self._one_at_a_time = asyncio.Lock()

    def glance(self, record: ModelRecord, goals: Goals, others: Mapping[str, DeploymentState]) -> FleetSnapshot:
        """What `problem` would be made of now, without making it."""
        return self._glances.look(record, goals, _memory_taken(record.name, others))

    def problem(self, record: ModelRecord, source: str, goals: Goals, others: Mapping[str, DeploymentState]) -> Problem:
        """State the problem of one model now.

        Args:
            record: The model.
            source: Where requests arise.
            goals: Weights and limits.
            others: Deployments whose plans take memory too; the model's own is left out.

        Raises:
            UnknownNode: No node of the source's name registered.
            NodeUnreachable: The source is offline or refused.
            NotProfiledYet: The source's times are not in.
        """
        self._check_source(record, source)
        taken = _memory_taken(record.name, others)
        candidates: list[Candidate] = []
        for name, node in self._registry.nodes.items():
            profile = self._speeds.profile(name, record.name, record.sha256)
            if not node.usable or node.status is None or node.metrics is None or profile is None:
                continue
            limit = node.status.memory_limit_bytes
            free = max(0.0, limit - taken.get(name, 0.0)) if limit > 0 else None
            candidates.append(Candidate(name, node.metrics.compute_w, node.metrics.transmit_w, free, profile))
        return build_problem(
            record.name,
            record.graph,
            quantizable=record.manifest.quantizable,
            noise=record.manifest.noise,
            source=source,
            candidates=candidates,
            links=self._registry.links(),
            goals=goals,
            latency_model=self._settings.latency_model,
            codecs=record.manifest.codecs,
        )

    async def draft(
        self,
        record: ModelRecord,
        problem: Problem,
        goals: Goals,
        serving: PlanRecord | None,
        *,
        forced: str,
        battery: BatteryAllowance | None,
    ) -> Draft:
        """Solve a problem and weigh the result against what serves.

        Args:
            record: The model.
            problem: From `problem`.
            goals: Those the problem was stated with.
            serving: The active plan, or None.
            forced: Why hysteresis does not apply, or empty.
            battery: What the battery floor allows; None without a floor.

        Raises:
            PlanInfeasible: No plan satisfies the constraints; the planner's reason.
        """
        comparable = serving if _comparable(serving, record, problem) else None
        before = comparable.assignment if comparable is not None else None
        now = self._now(record, problem)
        async with self._one_at_a_time:
            limited, old = await asyncio.to_thread(self._solve, problem, before, battery)
            solution = limited.solution
            if solution.assignment is None or solution.evaluation is None:
                raise PlanInfeasible(f"{record.name} has no plan: {solution.reason}")
            stated, evaluation = await asyncio.to_thread(_predicted, record, limited.problem, now, solution.assignment)
            stated, evaluation = fitted(stated, solution.assignment, evaluation, goals.device_energy_limit_j)
            old_problem: Problem | None = None
            if old is not None and before is not None:
                old_problem, old = await asyncio.to_thread(_judged, record, limited, now, before)
        decision = decide(
            old,
            evaluation,
            problem,
            solution.ranges,
            assignments=(before if old is not None else None, solution.assignment),
            forced=forced,
            thresholds=self._settings.thresholds,
        )
        return Draft(
            stated, goals, solution, solution.assignment, evaluation, old, decision, old_problem, limited.battery
        )

    async def compile(
        self, record: ModelRecord, draft: Draft, epoch: int, fallback: LocalFallback | int | None, reason: str
    ) -> tuple[PlanRecord, LocalFallback | None]:
        """Cut the model along a draft and make the fallback beside it.

        Args:
            record: The model.
            draft: The plan.
            epoch: Its number.
            fallback: One made before for the same source and model, or the number of one to make, or None.
            reason: Why the plan was made.

        Returns:
            The plan, and its fallback unless it needs none.
        """
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._compile, record, draft, epoch, fallback, reason)

    async def noise(self, problem: Problem, plan: PlanRecord) -> float | None:
        """Noise that a problem predicts for a plan; None where the plan does not fit the problem any more. [1]"""
        if not fits(problem, plan.assignment):
            return None
        return (await asyncio.to_thread(evaluate, problem, plan.assignment)).noise

    def timed_s(self, model: str) -> dict[tuple[str, str], float]:
        """What components that were timed take now, by node and key. [s]"""
        return self._speeds.timed_s(model)

    async def refresh(self, record: ModelRecord, serving: PlanRecord, problem: Problem) -> PlanRecord:
        """The serving plan with its predictions under the present figures, if these changed them notably.

        Nothing is solved: status, score and gap stay those of the last decision.

        Args:
            record: The model.
            serving: Its active plan.
            problem: From `problem`.
        """
        if not _comparable(serving, record, problem):
            return serving
        now = self._now(record, problem)
        # A battery's limit is not in the problem: the plan was made under it.
        limit_j = serving.problem.constraints.device_energy_limit_j
        constraints = msgspec.structs.replace(problem.constraints, device_energy_limit_j=limit_j)
        problem = msgspec.structs.replace(problem, constraints=constraints)
        async with self._one_at_a_time:
            stated, evaluation = await asyncio.to_thread(_predicted, record, problem, now, serving.assignment)
        stated, evaluation = fitted(stated, serving.assignment, evaluation, serving.goals.device_energy_limit_j)
        before, after = serving.evaluation, evaluation
        pairs = ((before.timeline_s, after.timeline_s), (before.energy_j, after.energy_j))
        if not any(differs(old, new, PREDICTION_CHANGE) for old, new in pairs) or not after.timeline_s < float("inf"):
            return serving
        return msgspec.structs.replace(serving, problem=stated, evaluation=evaluation)

    def reevaluate(self, record: PlanRecord, draft: Draft, reason: str) -> PlanRecord:
        """The serving plan with its predictions under the draft's figures and goals."""
        if draft.old is None:
            return record
        problem, solution = draft.old_problem or draft.problem, draft.solution
        value, gap = solution.score, solution.gap
        if not draft.decision.same:
            # Another plan was found and a switch does not pay: the gap is what is left on the table.
            value = score(problem, draft.old, solution.ranges)
            gap = max(0.0, value - solution.bound) if solution.bound is not None else None
        return msgspec.structs.replace(
            record,
            problem=problem,
            evaluation=draft.old,
            status=draft.solution.status if draft.decision.same else "feasible",
            score=value,
            gap=gap,
            solve_s=draft.solution.timings.total_s,
            reason=reason,
            goals=draft.goals,
            battery=draft.battery,
        )

    def needs_fallback(self, record: ModelRecord, draft: Draft) -> bool:
        """Whether a fallback adds anything, is allowed, and its weights fit beside the plan's on the source."""
        source = draft.problem.source
        if is_local(draft.assignment, source):
            return False
        if any(source not in nodes for nodes in (draft.problem.constraints.pins or {}).values()):
            return False  # what must not run on the source must not run there in need either
        limit = next(node.memory_bytes for node in draft.problem.nodes if node.name == source)
        needed = draft.evaluation.memory_bytes.get(source, 0.0) + whole_weight_bytes(record.graph)
        return limit is None or needed <= limit

    def _now(self, record: ModelRecord, problem: Problem) -> _Times:
        found = {node.name: self._speeds.profile(node.name, record.name, record.sha256) for node in problem.nodes}
        profiles = {name: profile for name, profile in found.items() if profile is not None}
        return _Times(profiles, self.timed_s(record.name))

    def _check_source(self, record: ModelRecord, source: str) -> None:
        if not self._registry.knows(source):
            known = ", ".join(self._registry.nodes) or "none yet"
            raise UnknownNode(f"no node {source!r} is registered: choose among the known ones ({known})")
        node = self._registry.node(source)
        if node.refused:
            raise NodeUnreachable(f"node {source} cannot be the source: {node.refused}")
        if not node.online or node.metrics is None:
            raise NodeUnreachable(f"node {source} is offline: start its agent or choose another source")
        if self._registry.profile(source, record.name, record.sha256) is None:
            report = node.profiles.get(record.name)
            failed = report is not None and report.sha256 == record.sha256 and report.state == "failed"
            if failed and report is not None and report.retry is not None:
                raise NotProfiledYet(
                    f"node {source} has not profiled {record.name} yet ({report.detail}) and tries again by itself: "
                    f"see splitctl model show {record.name}"
                )
            if failed and report is not None:
                raise InvalidInput(f"node {source} cannot run {record.name}: {report.detail or 'its profiling failed'}")
            raise NotProfiledYet(f"node {source} has not profiled {record.name} yet: wait a little and try again")

    def _solve(
        self, problem: Problem, before: Assignment | None, battery: BatteryAllowance | None
    ) -> tuple[Limited, Evaluation | None]:
        old = evaluate(problem, before) if before is not None else None
        if old is not None and not old.timeline_s < float("inf"):
            old = None  # a link it needs is gone
        hint = before if old is not None else None
        return solve_within(problem, battery, hint=hint, time_limit_s=self._settings.time_limit_s), old

    def _compile(
        self, record: ModelRecord, draft: Draft, epoch: int, fallback: LocalFallback | int | None, reason: str
    ) -> tuple[PlanRecord, LocalFallback | None]:
        source = draft.problem.source
        addresses = {
            name: node.status.advertise for name, node in self._registry.nodes.items() if node.status is not None
        }
        specs = compile_plan(
            record.graph,
            self._blobs,
            record.manifest.ranges,
            draft.assignment,
            draft.evaluation,
            epoch=epoch,
            source=source,
            addresses=addresses,
        )
        local = fallback if isinstance(fallback, LocalFallback) else None
        if isinstance(fallback, int):
            spec = compile_local(record.graph, self._blobs, epoch=fallback, source=source, address=addresses[source])
            local = LocalFallback(epoch=fallback, source=source, sha256=record.sha256, spec=spec)
        plan = EpochPlan(
            epoch=epoch,
            source=source,
            participants=tuple(sorted(specs)),
            local_fallback=local.epoch if local is not None else None,
        )
        made = PlanRecord(
            plan=plan,
            sha256=record.sha256,
            version=record.version,
            specs=specs,
            problem=draft.problem,
            assignment=draft.assignment,
            evaluation=draft.evaluation,
            status=draft.solution.status,
            score=draft.solution.score,
            gap=draft.solution.gap,
            solve_s=draft.solution.timings.total_s,
            reason=reason,
            goals=draft.goals,
            battery=draft.battery,
            components=draft.evaluation.components,
        )
        return made, local


@dataclass(frozen=True)
class _Times:
    """What is known of compute times now.

    Attributes:
        profiles: By node.
        timed_s: Of components that were timed, by node and key. [s]
    """

    profiles: Mapping[str, ExecutionProfile]
    timed_s: Mapping[tuple[str, str], float]


def _predicted(
    record: ModelRecord, problem: Problem, now: _Times, assignment: Assignment
) -> tuple[Problem, Evaluation]:
    """The problem with the times that hold in exactly this assignment, and what the assignment takes under them."""
    restated = placed(problem, record.graph, record.manifest.quantizable, now.profiles, assignment)
    evaluation = evaluate(restated, assignment)
    timed = as_timed(restated, record.graph, assignment, evaluation.components, now.timed_s)
    return (restated, evaluation) if timed is restated else (timed, evaluate(timed, assignment))


def _judged(record: ModelRecord, limited: Limited, now: _Times, serving: Assignment) -> tuple[Problem, Evaluation]:
    """The same of what serves, which a battery's limit forgives a little."""
    problem, evaluation = _predicted(record, limited.lenient, now, serving)
    # People are told the limit itself, not what is forgiven.
    return _predicted(record, limited.problem, now, serving) if evaluation.violations else (problem, evaluation)


def _comparable(serving: PlanRecord | None, record: ModelRecord, problem: Problem) -> bool:
    """Whether the serving assignment can be evaluated on a problem: same model and source, all it uses there."""
    return (
        serving is not None
        and serving.version == record.version
        and serving.plan.source == problem.source
        and fits(problem, serving.assignment)
    )


def _memory_taken(model: str, others: Mapping[str, DeploymentState]) -> dict[str, float]:
    """Weights that the other models' plans hold on each node. [B]"""
    taken: dict[str, float] = {}
    for name, deployment in others.items():
        plan = deployment.active
        for node, nbytes in (plan.evaluation.memory_bytes if name != model and plan is not None else {}).items():
            taken[node] = taken.get(node, 0.0) + nbytes
    return taken
