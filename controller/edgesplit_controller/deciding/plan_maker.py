"""Making one plan: gathering what is known, solving, weighing.

Owns: the way from the registry's present figures to a draft. Its rule: heavy steps run in one worker thread at a time, on
values taken before; nothing here changes any state. Not here: when to plan, compiling, rollouts.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping

import msgspec

from edgesplit.errors import InvalidInput, PlanInfeasible
from edgesplit.planning.battery_allowance import BatteryAllowance
from edgesplit.planning.goals import Goals
from edgesplit.planning.plan import Assignment, Evaluation, FixedPlan, Solution, uncompared
from edgesplit.planning.problem import Problem
from edgesplit.planning.spreads import PredictionInterval
from edgesplit.significance import PREDICTION_CHANGE, differs
from edgesplit_controller.configuration import PlanningSection
from edgesplit_controller.deciding.battery_solving import fitted, lenient, solve_within
from edgesplit_controller.deciding.changes.fleet_snapshot import FleetSnapshot, snapshot_of
from edgesplit_controller.deciding.changes.rate_reason import forgiving
from edgesplit_controller.deciding.changes.switch_decision import Decision, decide, decide_fixed
from edgesplit_controller.deciding.changes.trigger import Learned
from edgesplit_controller.fleet.node_readiness import check_source, refuse_holder
from edgesplit_controller.fleet.node_speeds import Speeds
from edgesplit_controller.fleet.reach.candidates import Candidates
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.fleet.runtime_support import too_old
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.planner import evaluate, score
from edgesplit_controller.planner.studies.sampling import interval_of
from edgesplit_controller.planner.studies.shared_solves import SharedSolves
from edgesplit_controller.rollout.draft import Draft
from edgesplit_controller.stating.assignment_fit import fits
from edgesplit_controller.stating.fixed_plan import fixed_assignment, placed_units
from edgesplit_controller.stating.held_weights import HeldWeights, held_weights
from edgesplit_controller.stating.loads import promised
from edgesplit_controller.stating.predicting.predicted_plan import PresentTimes, predicted
from edgesplit_controller.stating.predicting.prediction_intervals import Certainty, interval_under, sampled_under
from edgesplit_controller.stating.problem_statement import Candidate, build_problem
from edgesplit_controller.storage.deployment_state import DeploymentState, PlanRecord, active_plans

__all__ = ["PlanMaker"]


class PlanMaker:
    """Makes plans from what registry and models say now.

    Args:
        registry: The fleet.
        speeds: Its execution profiles as they hold now.
        reach: Which of its nodes plans may use.
        certainty: How sure its figures are.
        settings: Time limit, latency model, thresholds.
        heavy: Held while a problem is solved.
        drained: Nodes that no plan may use but as its source.

    Attributes:
        solved: How many problems were solved since the start, by model.
    """

    def __init__(
        self,
        registry: Registry,
        speeds: Speeds,
        reach: Candidates,
        certainty: Certainty,
        settings: PlanningSection,
        *,
        heavy: asyncio.Lock,
        drained: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        self._registry = registry
        self._speeds = speeds
        self._reach = reach
        self._certainty = certainty
        self._settings = settings
        self._heavy = heavy
        self._drained = drained
        self._solves = SharedSolves()
        self.solved = Counter[str]()

    def snapshot(
        self, record: ModelRecord, source: str, goals: Goals, others: Mapping[str, DeploymentState]
    ) -> FleetSnapshot:
        """What `problem` would be made of now, without making it."""
        loads = None
        if goals.min_rate_hz is not None:
            loads = promised(active_plans(others), model=record.name, source=source)
        used_bytes = _held(record, others).taken_bytes
        left_open = self._left_open(goals, source)
        among = self._reach.of(record, source, left_open, others.get(record.name))
        return snapshot_of(self._registry, self._speeds, record, among, used_bytes=used_bytes, loads=loads)

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
        check_source(self._registry, record, source)
        held = _held(record, others)
        loads = promised(active_plans(others), model=record.name, source=source)
        left_open = self._left_open(goals, source)
        among = self._reach.of(record, source, left_open, others.get(record.name))
        candidates: list[Candidate] = []
        for name in sorted(among):
            node = self._registry.node(name)
            profile = self._speeds.profile(name, record.name, record.sha256)
            if not node.usable or node.status is None or node.metrics is None or profile is None:
                continue
            if too_old(node.status, record):
                continue
            limit = node.status.memory_limit_bytes
            free = max(0.0, limit - held.taken_bytes.get(name, 0.0)) if limit > 0 else None
            holds = held.shared.get(name, frozenset()) if free is not None else frozenset[tuple[str, bool]]()
            candidates.append(
                Candidate(
                    *(name, node.metrics.compute_w, node.metrics.transmit_w, free, profile, holds),
                    load=loads.nodes.get(name, 0.0),
                )
            )
        return build_problem(
            record.name,
            record.graph,
            quantizable=record.manifest.quantizable,
            noise=record.manifest.noise,
            source=source,
            candidates=candidates,
            links=self._registry.links(among),
            goals=left_open,
            latency_model=self._settings.latency_model,
            codecs=record.manifest.codecs,
            link_loads=loads.links,
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
    ) -> tuple[Draft, Decision, PlanRecord | None]:
        """Solve a problem and weigh the result against what serves.

        Args:
            record: The model.
            problem: From `problem`.
            goals: Those the problem was stated with.
            serving: The active plan, or None.
            forced: Why hysteresis does not apply, or empty.
            battery: What the battery floor allows; None without a floor.

        Returns:
            The draft, whether to switch to it, and what serves with its predictions under the same figures and goals.

        Raises:
            PlanInfeasible: No plan satisfies the constraints; the planner's reason.
        """
        comparable = serving if _comparable(serving, record, problem) else None
        before = comparable.assignment if comparable is not None else None
        now = self._now(record, problem)
        self.solved[record.name] += 1
        async with self._heavy:
            (solution, limited, battery), old = await asyncio.to_thread(self._solve, problem, before, battery)
            assignment = solution.assignment
            if assignment is None or solution.evaluation is None:
                raise PlanInfeasible(f"{record.name} has no plan: {solution.reason}")
            stated, evaluation = await asyncio.to_thread(predicted, record, limited, now, assignment)
            stated, evaluation = fitted(stated, assignment, evaluation, goals.device_energy_limit_j)
            old_problem = problem
            if old is not None and before is not None:
                old_problem, old = await asyncio.to_thread(_held_to, record, problem, limited, now, before)
            sampled = await asyncio.to_thread(sampled_under, now.evidence, record, stated, assignment, evaluation)
            old_sampled = None
            if old is not None and before is not None:
                old_sampled = await asyncio.to_thread(sampled_under, now.evidence, record, old_problem, before, old)
        decision = decide(
            old,
            evaluation,
            problem,
            solution.ranges,
            assignments=(before if old is not None else None, assignment),
            forced=forced,
            thresholds=self._settings.thresholds,
            samples=(old_sampled, sampled),
        )
        interval = None if sampled is None else interval_of(sampled, evaluation)
        draft = Draft(stated, goals, solution, assignment, evaluation, battery, interval)
        if serving is not None and old is not None:
            old_interval = None if old_sampled is None else interval_of(old_sampled, old)
            serving = _reevaluated(serving, draft, old_problem, old, old_interval, same=decision.same)
        return draft, decision, serving

    def fixed(self, record: ModelRecord, problem: Problem, goals: Goals, plan: FixedPlan) -> Assignment:
        """The assignment that a plan means which somebody made.

        Raises:
            InvalidInput: It names what there is not, or a node that is forbidden.
            NotProfiledYet: A node of it has not timed the model yet.
            EdgesplitError: A node of it cannot be used.
        """
        known = {node.name for node in problem.nodes}
        for node in sorted(set(placed_units(plan, record.graph, problem.source).values()) - known):
            if node in self._drained():
                raise InvalidInput(
                    f"the plan uses {node}, which is drained: splitctl undrain {node} lets plans use it again"
                )
            refuse_holder(
                self._registry, record, goals, node, is_candidate=node in self._reach.matching(problem.source, goals.on)
            )
        return fixed_assignment(plan, problem, record.graph)

    async def fixed_draft(
        self,
        record: ModelRecord,
        problem: Problem,
        goals: Goals,
        serving: PlanRecord | None,
        *,
        assignment: Assignment,
        battery: BatteryAllowance | None,
        kept: bool = True,
    ) -> tuple[Draft, Decision, PlanRecord | None]:
        """The same as `draft` of a plan that was made elsewhere: evaluated, not solved, and taken as it is.

        Args:
            record: As of `draft`.
            problem: Likewise.
            goals: Likewise.
            serving: Likewise.
            assignment: The plan.
            battery: As of `draft`.
            kept: It stays, whatever changes: somebody made it. Else it was made together with others'.

        Raises:
            PlanInfeasible: It breaks a constraint.
        """
        now = self._now(record, problem)
        async with self._heavy:
            broken = (await asyncio.to_thread(evaluate, problem, assignment)).violations
            stated, evaluation = problem, None
            if not broken:
                stated, evaluation = await asyncio.to_thread(predicted, record, problem, now, assignment)
                broken = evaluation.violations
            if broken or evaluation is None:
                raise PlanInfeasible(f"{record.name} cannot be served by this plan: {broken[0]}")
            sampled = await asyncio.to_thread(sampled_under, now.evidence, record, stated, assignment, evaluation)
        if battery is not None and battery.limit_j is not None:
            battery = msgspec.structs.replace(battery, kept=evaluation.device_energy_j <= battery.limit_j)
        before = serving.assignment if serving is not None and _comparable(serving, record, problem) else None
        decision = decide_fixed(
            evaluation,
            problem,
            assignments=(before, assignment),
            sampled=sampled,
            made="fixed" if kept else "made together with others",
        )
        interval = None if sampled is None else interval_of(sampled, evaluation)
        solution = uncompared(assignment, evaluation)
        draft = Draft(stated, goals, solution, assignment, evaluation, battery, interval, fixed=kept)
        if serving is not None and decision.same:
            serving = _reevaluated(serving, draft, stated, evaluation, interval, same=True)
        return draft, decision, serving

    async def evaluated(self, problem: Problem, plan: PlanRecord) -> Evaluation | None:
        """What a problem predicts for a plan, in times that favour none; None where the plan does not fit the problem any more."""
        if not fits(problem, plan.assignment):
            return None
        return await asyncio.to_thread(evaluate, problem, plan.assignment)

    def learned(self, model: str) -> Learned:
        """What predictions rest on beside a problem; equal as long as they would be the same."""
        return self._speeds.timed_s(model), self._speeds.coded(model), self._certainty.handling_told_s(model)

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
        async with self._heavy:
            stated, evaluation = await asyncio.to_thread(predicted, record, problem, now, serving.assignment)
            interval = await asyncio.to_thread(
                interval_under, now.evidence, record, stated, serving.assignment, evaluation
            )
        stated, evaluation = fitted(stated, serving.assignment, evaluation, serving.goals.device_energy_limit_j)
        if interval is None:
            return serving  # it cannot run any more
        refreshed = msgspec.structs.replace(
            serving,
            problem=stated,
            evaluation=evaluation,
            latency_interval_s=interval.latency_s,
            energy_interval_j=interval.energy_j,
        )
        pairs = zip(_shown(serving), _shown(refreshed), strict=True)
        return refreshed if any(differs(old, new, PREDICTION_CHANGE) for old, new in pairs) else serving

    def _left_open(self, goals: Goals, source: str) -> Goals:
        """Goals that forbid drained nodes, too; a source cannot be replaced."""
        drained = {*self._drained()} - {source}
        return (
            msgspec.structs.replace(goals, forbidden=tuple(sorted({*goals.forbidden, *drained}))) if drained else goals
        )

    def _now(self, record: ModelRecord, problem: Problem) -> PresentTimes:
        found = {node.name: self._speeds.profile(node.name, record.name, record.sha256) for node in problem.nodes}
        profiles = {name: profile for name, profile in found.items() if profile is not None}
        evidence = self._certainty.evidence(record.name, problem)
        return PresentTimes(profiles, self._speeds.timed_s(record.name), self._speeds.coded(record.name), evidence)

    def _solve(
        self, problem: Problem, before: Assignment | None, battery: BatteryAllowance | None
    ) -> tuple[tuple[Solution, Problem, BatteryAllowance | None], Evaluation | None]:
        old = evaluate(problem, before) if before is not None else None
        if old is not None and not old.timeline_s < float("inf"):
            old = None  # a link it needs is gone
        hint = before if old is not None else None
        solved = solve_within(
            problem,
            battery,
            hint=hint,
            time_limit_s=self._settings.time_limit_s,
            tolerance=self._settings.tolerance,
            solves=self._solves,
        )
        return solved, old


def _shown(plan: PlanRecord) -> tuple[float, ...]:
    """Predictions of a plan that people see; without an interval it is no wider than the prediction. [s, J]"""
    latency_s, energy_j = plan.evaluation.timeline_s, plan.evaluation.energy_j
    ends = (*(plan.latency_interval_s or (latency_s,) * 2), *(plan.energy_interval_j or (energy_j,) * 2))
    return (latency_s, energy_j, *ends)


def _held_to(
    record: ModelRecord, problem: Problem, limited: Problem, now: PresentTimes, serving: Assignment
) -> tuple[Problem, Evaluation]:
    """The same of what serves, which a battery's limit and a rate forgive a little."""
    stated, evaluation = predicted(record, forgiving(lenient(problem, limited)), now, serving)
    # People are told the limit itself, not what is forgiven.
    if evaluation.violations:
        return predicted(record, limited, now, serving)
    constraints = msgspec.structs.replace(stated.constraints, min_rate_hz=limited.constraints.min_rate_hz)
    return msgspec.structs.replace(stated, constraints=constraints), evaluation


def _reevaluated(
    serving: PlanRecord,
    draft: Draft,
    problem: Problem,
    evaluation: Evaluation,
    interval: PredictionInterval | None,
    *,
    same: bool,
) -> PlanRecord:
    """The serving plan with its predictions under a draft's figures and goals."""
    solution = draft.solution
    value, gap = solution.score, solution.gap
    if not same:
        # Another plan was found: where a switch does not pay, the gap is what is left on the table.
        value = score(problem, evaluation, solution.ranges)
        gap = max(0.0, value - solution.bound) if solution.bound is not None else None
    return msgspec.structs.replace(
        serving,
        problem=problem,
        evaluation=evaluation,
        latency_interval_s=interval.latency_s if interval is not None else None,
        energy_interval_j=interval.energy_j if interval is not None else None,
        status=solution.status if same else "feasible",
        concession=solution.concession if same else serving.concession,
        score=value,
        gap=gap,
        solve_s=solution.timings.total_s,
        goals=draft.goals,
        battery=draft.battery,
        fixed=draft.fixed,
    )


def _comparable(serving: PlanRecord | None, record: ModelRecord, problem: Problem) -> bool:
    """Whether the serving assignment can be evaluated on a problem: same model and source, all it uses there."""
    return (
        serving is not None
        and record.fits(serving.version)
        and serving.epoch.source == problem.source
        and fits(problem, serving.assignment)
    )


def _held(record: ModelRecord, others: Mapping[str, DeploymentState]) -> HeldWeights:
    """What the plans of the other models, and of the model's other planning shapes, hold on each node."""
    plans = ((name, plan) for name, plan in active_plans(others) if name != record.name)
    return held_weights(plans, model=record.name, sha256=record.sha256)
