"""Change of one model's plan: state, solve, weigh, and roll out if it pays.

Owns: this way, the same whoever wants the change, and what is told of it. Its rule: one change of a model at a time, and none
that leaves it without a plan; where a rate is asked for, one change of all models at a time, so that nothing is promised twice. Not here: when (`deployer.py`, `replanner.py`), how plans are made (`plan_maker.py`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import msgspec

from edgesplit.control.event_messages import EventData
from edgesplit.errors import PlanInfeasible, PreparationFailed, StoreUnwritable
from edgesplit.planning.goals import Goals
from edgesplit.planning.plan import Assignment, FixedPlan
from edgesplit.planning.problem import Problem
from edgesplit_controller.deciding.battery_floors import BatteryFloors
from edgesplit_controller.deciding.changes.declined import DeclinedPlans
from edgesplit_controller.deciding.changes.fleet_figures import figures_of
from edgesplit_controller.deciding.changes.trigger import ModelChange, ModelWatch, Trigger
from edgesplit_controller.deciding.fallbacks import Fallbacks
from edgesplit_controller.deciding.plan_maker import PlanMaker
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.rollout.activation import Activation
from edgesplit_controller.rollout.draft import Draft
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.stating.noise_tightening import tightened
from edgesplit_controller.storage.deployment_state import DeploymentState, PlanRecord

__all__ = ["PlanChanges"]


class PlanChanges:
    """Changes plans of all models.

    Args:
        rollouts: Their state.
        models: By name.
        maker: Makes plans.
        batteries: What battery floors allow.
        fallbacks: Planned anew after each change.
        activation: Brings plans to their nodes.
        declined: Counts what is planned and declined.
        events: Where decisions are told.

    Attributes:
        planned: Counts plans by model, `Trigger.kind` and what came of them: adopted, kept (the same plan), declined (its gain
            does not justify a switch), infeasible, or abandoned (nodes did not prepare it, or it could not be remembered).
    """

    def __init__(
        self,
        rollouts: Rollouts,
        models: Mapping[str, ModelRecord],
        *,
        maker: PlanMaker,
        batteries: BatteryFloors,
        fallbacks: Fallbacks,
        activation: Activation,
        declined: DeclinedPlans,
        events: EventLog,
    ) -> None:
        self._rollouts = rollouts
        self._models = models
        self._maker = maker
        self._batteries = batteries
        self._fallbacks = fallbacks
        self._activation = activation
        self._declined = declined
        self._events = events
        self._promising = asyncio.Lock()
        self.planned: Counter[tuple[str, str, str]] = Counter()

    def stated(self, model: str, source: str, goals: Goals) -> Problem:
        """As the fleet is now, under the noise model as far as it is believed."""
        problem = self._maker.problem(self._models[model], source, goals, self._rollouts.state.deployments)
        return tightened(problem, self._rollouts.state.tightenings.get(model))

    def problem(self, model: str, watch: ModelWatch, source: str, goals: Goals) -> Problem:
        """The problem to plan a model by; why there is none is told.

        Raises:
            PlanInfeasible: The source is forbidden, or pins cannot be kept.
            EdgesplitError: The source is unknown, offline, or has not profiled the model.
        """
        try:
            problem = self.stated(model, source, goals)
        except PlanInfeasible as error:
            if watch.complaint != str(error):  # a fleet that changes without helping is no news
                self._events.add("plan-infeasible", str(error), model=model)
            watch.complaint = str(error)
            raise
        watch.complaint = ""
        return problem

    def fixed(self, model: str, problem: Problem, goals: Goals, plan: FixedPlan) -> Assignment:
        """The assignment that a plan means which somebody made.

        Raises:
            NotProfiledYet: A node of it has not timed the model yet.
            EdgesplitError: It names what there is not, or what cannot be used.
        """
        return self._maker.fixed(self._models[model], problem, goals, plan)

    async def change(
        self,
        model: str,
        watch: ModelWatch,
        problem: Problem,
        goals: Goals,
        trigger: Trigger,
        *,
        fixed: Assignment | None = None,
        kept: bool = True,
    ) -> ModelChange:
        """Solve, weigh, and roll out if it pays; the caller holds the watch's lock.

        Args:
            model: Its name.
            watch: What is known of its planning.
            problem: As it is now.
            goals: Those it was stated with.
            trigger: Why it is planned.
            fixed: Served as it is, instead of solving and weighing.
            kept: That plan stays, whatever changes.

        Raises:
            PlanInfeasible: No plan satisfies the constraints, or the fixed one does not.
            PreparationFailed: The new epoch was abandoned; goals and plan stay.
            StoreUnwritable: It could not be remembered.
        """
        if goals.min_rate_hz is None:
            return await self._change(model, watch, problem, goals, trigger, fixed=fixed, kept=kept)
        # What others are promised may change until it is one's turn, and nobody else's while it is.
        clock = asyncio.get_running_loop().time
        begun_s = clock()
        async with self._promising:
            problem = self.stated(model, problem.source, goals)
            trigger = replace(trigger, deadline_s=trigger.deadline_s + clock() - begun_s)
            return await self._change(model, watch, problem, goals, trigger, fixed=fixed, kept=kept)

    async def _change(
        self,
        model: str,
        watch: ModelWatch,
        problem: Problem,
        goals: Goals,
        trigger: Trigger,
        *,
        fixed: Assignment | None,
        kept: bool,
    ) -> ModelChange:
        record, deployment = self._models[model], self._rollouts.state.deployments.get(model)
        serving = deployment.active if deployment is not None else None
        before, watch.figures = watch.figures, figures_of(problem)
        battery = self._batteries.considered(model, problem.source, goals)
        forced = trigger.cause if trigger.forced else ""
        try:
            if fixed is not None:
                draft, decision, refreshed = await self._maker.fixed_draft(
                    record, problem, goals, serving, assignment=fixed, battery=battery, kept=kept
                )
            else:
                draft, decision, refreshed = await self._maker.draft(
                    record, problem, goals, serving, forced=forced, battery=battery
                )
        except PlanInfeasible as error:
            self._events.add("plan-infeasible", str(error), model=model, data={"trigger": trigger.cause})
            self.planned[model, trigger.kind, "infeasible"] += 1
            if trigger.forced:
                watch.figures = before  # the old goals stay, and with them the nodes they allow
            raise
        self._batteries.decided(model, serving, draft.battery, draft.evaluation.device_energy_j)
        data = {**decision.data, "trigger": trigger.cause, "verdict": decision.text}
        reason = decision.text if trigger.forced else f"{trigger.cause}: {decision.text}"
        concession = draft.solution.concession
        if concession is not None:
            reason = f"{reason}; it has {concession.text}"
            data |= {"concession": concession.share, "components_of_best": concession.components_of_best}
        try:
            if refreshed is not None and not decision.adopt and not _changes_local_fallback(record, draft, serving):
                self._decline(model, refreshed, f"{trigger.cause}: {decision.text}", trigger, data)
                self.planned[model, trigger.kind, "kept" if decision.same else "declined"] += 1
                return ModelChange(refreshed.epoch.number, False, decision.text, decision.unsure)
            epoch = await self._activation.roll_out(record, draft, reason, data, trigger.deadline_s)
            self.planned[model, trigger.kind, "adopted"] += 1
            return ModelChange(epoch, not decision.same, reason)
        except (PreparationFailed, StoreUnwritable):
            watch.figures = before  # goals and plan stay as they were
            self.planned[model, trigger.kind, "abandoned"] += 1
            raise
        finally:
            self._fallbacks.refresh(model)

    async def supposed(self, model: str, deployment: DeploymentState, goals: Goals) -> tuple[Draft, bool]:
        """The plan that goals which are set would bring, and whether it is another than the one that serves.

        Raises:
            PlanInfeasible: There is none.
        """
        source, serving = deployment.source, deployment.active
        problem = self.stated(model, source, goals)
        battery = self._batteries.considered(model, source, goals)
        draft, decision, _ = await self._maker.draft(
            self._models[model], problem, goals, serving, forced="goals were set", battery=battery
        )
        return draft, decision.adopt

    def _decline(self, model: str, refreshed: PlanRecord, reason: str, trigger: Trigger, data: EventData) -> None:
        # The plan stays, but what it predicts now is what people should see.
        deployment = self._rollouts.state.deployments[model]
        epoch = refreshed.epoch.number
        plans = deployment.plans | {epoch: msgspec.structs.replace(refreshed, reason=reason)}
        self._rollouts.keep(model, msgspec.structs.replace(deployment, plans=plans), goals=refreshed.goals)
        self._rollouts.publish(model)  # its source checks noise against the present bound
        more = self._declined.add(model, reason, answers=trigger.answers, forced=trigger.forced)
        if more is not None:
            text = f"{model} stays on epoch {epoch} ({reason}{more})"
            self._events.add("replan-declined", text, model=model, data=data)


def _changes_local_fallback(record: ModelRecord, draft: Draft, serving: PlanRecord | None) -> bool:
    """Whether pins now allow, or no longer allow, the same plan its local fallback: only a new epoch can tell nodes."""
    if serving is None or serving.goals.pins == draft.goals.pins:
        return False
    return (serving.epoch.local_fallback is not None) != draft.needs_local_fallback(record)
