"""Keeping every deployed model on its best plan.

Owns: planning on demand and by itself: when, under which goals, and what comes of it. Its rule: one change of a model
at a time, and none that leaves it without a plan. Not here: how plans are made (`plan_maker.py`), how nodes get there
(`rollout/driver.py`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import msgspec
import structlog

from edgesplit.control.event_messages import EventData
from edgesplit.errors import (
    ChangeUnderWay,
    EdgesplitError,
    NotDeployed,
    NotProfiledYet,
    PlanInfeasible,
    PreparationFailed,
    StoreUnwritable,
)
from edgesplit.planning.battery_allowance import BatteryAllowance
from edgesplit.planning.goals import Goals
from edgesplit.planning.problem import Problem
from edgesplit.retrying import RetryRule, hastened, retry_after
from edgesplit_controller.configuration import PlanningSection
from edgesplit_controller.deciding.battery_floors import BatteryFloors
from edgesplit_controller.deciding.changes.declined import DeclinedPlans
from edgesplit_controller.deciding.changes.fleet_figures import Figures, figures_of
from edgesplit_controller.deciding.changes.trigger import ModelChange, ModelWatch, Trigger
from edgesplit_controller.deciding.fallbacks import Fallbacks
from edgesplit_controller.deciding.plan_maker import PlanMaker
from edgesplit_controller.deciding.relevance import Relevance
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.rollout.activation import Activation
from edgesplit_controller.rollout.draft import Draft
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.stating.goals import goals_text
from edgesplit_controller.stating.noise_tightening import tightened
from edgesplit_controller.storage.deployment_state import DeploymentState, PlanRecord

__all__ = ["Deployer"]

TICK_S = 0.25
REPLANNING = RetryRule(first_s=30.0, most_s=600.0)
"""After an abandoned epoch the controller plans again even if nothing else changes."""
REFRESH_EVERY_S = 2.0
DRAIN_LIMIT_S = 15.0
"""How long `undeploy` waits for the last requests to end."""


class Deployer:
    """All deployments.

    Args:
        rollouts: Their state.
        registry: The fleet.
        models: By name; the caller adds and removes.
        maker: Makes plans.
        batteries: What battery floors allow.
        fallbacks: Plans for the worst, after each change.
        activation: Brings plans to their nodes.
        events: Where decisions are told.
        settings: Debounce and limits.
        clock: Monotonic seconds, the same as the rollouts'.

    Attributes:
        declined: What was planned again and declined.
    """

    def __init__(
        self,
        rollouts: Rollouts,
        *,
        registry: Registry,
        models: Mapping[str, ModelRecord],
        maker: PlanMaker,
        batteries: BatteryFloors,
        fallbacks: Fallbacks,
        activation: Activation,
        events: EventLog,
        settings: PlanningSection,
        clock: Callable[[], float],
    ) -> None:
        self._rollouts = rollouts
        self._registry = registry
        self._models = models
        self._maker = maker
        self._batteries = batteries
        self._fallbacks = fallbacks
        self._activation = activation
        self._events = events
        self._settings = settings
        self._clock = clock
        self.declined = DeclinedPlans(clock, time.time)
        self._judgement = Relevance(
            rollouts, maker, declined=self.declined, events=events, thresholds=settings.thresholds, clock=clock
        )
        self._log = structlog.get_logger(part="deployer")
        self._watches: dict[str, ModelWatch] = {}
        self._fleet_moved = asyncio.Event()
        self._ticker: asyncio.Task[None] | None = None
        self._finishing: list[asyncio.Task[None]] = []

    @property
    def deployments(self) -> Mapping[str, DeploymentState]:
        """By model."""
        return self._rollouts.state.deployments

    @property
    def models(self) -> Mapping[str, ModelRecord]:
        """By name, deployed or not."""
        return self._models

    def start(self) -> None:
        """Publish what is remembered, then wait for `settle` before acting on what nodes report."""
        for name, deployment in self.deployments.items():
            if deployment.active is not None:
                self._watch(name).figures = figures_of(deployment.active.problem)
            self._rollouts.publish(name)
            if deployment.rollout.upcoming is not None:
                self._finishing.append(asyncio.create_task(self._finish(name), name=f"finish-{name}"))
        self._ticker = asyncio.create_task(self._tick(), name="deployer-tick")

    def settle(self, *, patient: bool) -> None:
        """What the broker retained has arrived; while patient, nodes that are unknown yet may still come."""
        self._rollouts.settled, self._rollouts.patient = True, patient
        self.fleet_changed()
        for name in tuple(self.deployments) if not patient else ():
            self._fallbacks.refresh(name)  # who is there, and what is configured, may differ from before the restart

    async def close(self) -> None:
        """Stop planning; what serves goes on serving."""
        watching = [watch.task for watch in self._watches.values()]
        running = [task for task in (*watching, *self._finishing, self._ticker) if task]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._fallbacks.close()

    def fleet_changed(self) -> None:
        """Nodes, links or profiles changed: look whether plans still hold."""
        self._fleet_moved.set()
        for name in tuple(self.deployments):
            self._rollouts.announce(name)
            self._rollouts.step(name)
            self._watch(name).dirty.set()

    def figures_changed(self) -> None:
        """What nodes measured changed, and nobody came or went: look whether plans still hold."""
        self._fleet_moved.set()
        for name in tuple(self.deployments):
            self._watch(name).dirty.set()

    def store_healed(self) -> None:
        """What could not be written can be now: take every step again that was refused."""
        self.cause_returned()
        self.fleet_changed()
        for name in tuple(self.deployments):
            self._fallbacks.refresh(name)

    def cause_returned(self) -> None:
        """A node is there again, or room in the store: plans that were given up may have been for its sake."""
        for watch in self._watches.values():
            if watch.retry is not None:
                watch.retry = hastened(watch.retry, self._clock())
                asyncio.get_running_loop().call_later(watch.retry.next_at_s - self._clock(), self._retry, watch)

    def look_again(self, model: str) -> None:
        """Something that plans of a model stand on changed: look whether its plan still holds."""
        self._watch(model).dirty.set()

    def goals(self, model: str | None) -> Goals:
        """The goals of a model, or the default of new ones."""
        state = self._rollouts.state
        return state.default_goals if model is None else state.goals.get(model, state.default_goals)

    def keep_goals(self, goals: Mapping[str | None, Goals]) -> None:
        """Remember goals of models that are not deployed, and of None the default of new ones, in one write.

        Raises:
            StoreUnwritable: None is remembered.
        """
        before = {model: self.goals(model) for model in goals}
        named = {model: wanted for model, wanted in goals.items() if model is not None}
        default = goals.get(None, self._rollouts.state.default_goals)
        self._rollouts.update(default_goals=default, goals=self._rollouts.state.goals | named)
        for model, wanted in named.items():
            if wanted != before[model]:
                self._events.add("goals-changed", f"{model}: {goals_text(wanted)}", model=model)

    def unfinished(self, model: str) -> str:
        """What is being prepared of a model, in words; empty if nothing is."""
        return self._rollouts.unfinished(model)

    def problem(self, model: str, source: str, goals: Goals) -> Problem:
        """The problem of a model as it is now, under goals that need not be its own.

        Where its plan does not keep the battery floor, none does: what it takes from the source is the limit then.

        Raises:
            PlanInfeasible: The source is forbidden, or pins cannot be kept.
            EdgesplitError: The source is unknown, offline, or has not profiled the model.
        """
        problem = self._stated(model, source, goals)
        deployment = self.deployments.get(model)
        active = deployment.active if deployment is not None else None
        return self._batteries.limiting(problem, active, goals)

    def battery(self, model: str) -> BatteryAllowance | None:
        """What the battery floor of a deployed model allows now; None without a floor."""
        active = self._deployment(model).active
        return None if active is None else self._batteries.shown(active, self.goals(model))

    def check_battery(self, model: str, goals: Goals) -> None:
        """Refuse a battery floor that could not limit anything where a model is deployed.

        Raises:
            InvalidInput: Its source has no battery, or one that does not say how much it holds.
        """
        deployment = self.deployments.get(model)
        if deployment is not None and goals.min_battery != self.goals(model).min_battery:
            self._batteries.check(deployment.source, goals)

    async def deploy(self, model: str, source: str, wait_s: float) -> ModelChange:
        """Plan, prepare, activate; on another source than before, move there.

        Raises:
            PlanInfeasible: No plan satisfies the goals.
            PreparationFailed: It did not serve within `wait_s`.
            ChangeUnderWay: Another change did not end within `wait_s`.
            EdgesplitError: The source is unknown, offline, or cannot run the model.
        """
        deadline_s = self._clock() + wait_s
        async with self._turn(model, deadline_s):
            goals = self.goals(model)
            problem = await self._problem_once_profiled(model, source, goals, deadline_s)
            return await self._change(model, problem, goals, Trigger("deployed", True, deadline_s))

    async def set_goals(self, model: str, goals: Goals) -> ModelChange:
        """Plan under new goals, without hysteresis; they are kept only once a plan of them serves.

        Raises:
            PlanInfeasible: There is none; goals and plan stay.
            PreparationFailed: The new epoch was abandoned; goals and plan stay.
            ChangeUnderWay: Another change did not end in time; goals and plan stay.
            StoreUnwritable: They could not be remembered.
        """
        async with self._turn(model):
            deployment = self.deployments.get(model)
            if deployment is None:
                self.keep_goals({model: goals})
                return ModelChange(0, False, "not deployed")
            problem = self._problem(model, deployment.source, goals)
            return await self._change(model, problem, goals, Trigger("goals were set", True, self._limit_s()))

    async def model_replaced(self, model: str) -> ModelChange:
        """Move a deployment to the new version of its model.

        Raises:
            EdgesplitError: There is no plan of it; the old version serves on.
        """
        async with self._turn(model):
            goals = self.goals(model)
            problem = self._problem(model, self._deployment(model).source, goals)
            return await self._change(model, problem, goals, Trigger("the model was replaced", True, self._limit_s()))

    async def undeploy(self, model: str) -> int:
        """End serving; returns the epoch that served, 0 for none, once the last request ended.

        Raises:
            NotDeployed: It does not serve.
        """
        async with self._turn(model) as watch:
            return await self._end(model, watch)

    async def remove(self, model: str) -> None:
        """End serving, if it serves, and forget the goals: the removal of a model, in one write.

        Raises:
            ChangeUnderWay: Another change did not end in time.
            StoreUnwritable: It is still there, and serves as before.
        """
        async with self._turn(model) as watch:
            state = self._rollouts.state
            forgotten: dict[str, object] = {
                "goals": {name: goals for name, goals in state.goals.items() if name != model},
                "tightenings": {name: one for name, one in state.tightenings.items() if name != model},
                "removed": tuple(sorted({*state.removed, model})),
            }
            if model in self.deployments:
                await self._end(model, watch, **forgotten)
            else:
                self._rollouts.update(**forgotten)

    async def _end(self, model: str, watch: ModelWatch, **changes: object) -> int:
        deployment = self._deployment(model)
        self._rollouts.drop(model, **changes)
        self._fallbacks.refresh(model)
        watch.figures = None
        active = deployment.rollout.active
        epoch = active.epoch if active is not None else 0
        self._events.add("epoch-retired", f"{model} was undeployed; epoch {epoch} ended", model=model)
        await self._rollouts.drained(model, deployment.source, DRAIN_LIMIT_S)
        return epoch

    @asynccontextmanager
    async def _turn(self, model: str, deadline_s: float | None = None) -> AsyncGenerator[ModelWatch]:
        """Have the only change of a model; an unfinished one of before a restart is one too.

        Raises:
            ChangeUnderWay: Another did not end in time.
        """
        watch = self._watch(model)
        patience_s = self._settings.time_limit_s + self._settings.prepare_limit_s
        limit_s = deadline_s - self._clock() if deadline_s is not None else patience_s
        try:
            async with asyncio.timeout(max(0.0, limit_s)):
                await watch.lock.acquire()
        except TimeoutError:
            what = self._rollouts.unfinished(model) or f"another change of {model} is being planned"
            raise ChangeUnderWay(f"{what}: nothing was changed; run the command again then") from None
        try:
            yield watch
        finally:
            watch.lock.release()

    async def _finish(self, model: str) -> None:
        """Let a roll-out that a restart interrupted end before anything else of its model changes."""
        watch = self._watch(model)
        async with watch.lock:
            await self._rollouts.finished(model)
        deployment = self.deployments.get(model)
        if deployment is not None and deployment.active is not None:
            watch.figures = figures_of(deployment.active.problem)
        self._fallbacks.refresh(model)
        watch.dirty.set()

    async def _change(self, model: str, problem: Problem, goals: Goals, trigger: Trigger) -> ModelChange:
        """Solve, weigh, and roll out if it pays; the caller holds the model's lock."""
        record, watch = self._models[model], self._watch(model)
        deployment = self.deployments.get(model)
        serving = deployment.active if deployment is not None else None
        before, watch.figures = watch.figures, figures_of(problem)
        battery = self._batteries.considered(model, problem.source, goals)
        forced = trigger.cause if trigger.forced else ""
        try:
            draft, decision, refreshed = await self._maker.draft(
                record, problem, goals, serving, forced=forced, battery=battery
            )
        except PlanInfeasible as error:
            self._events.add("plan-infeasible", str(error), model=model, data={"trigger": trigger.cause})
            if trigger.forced:
                watch.figures = before  # the old goals stay, and with them the nodes they allow
            raise
        self._batteries.decided(model, serving, draft.battery, draft.evaluation.device_energy_j)
        data = {**decision.data, "trigger": trigger.cause, "verdict": decision.text}
        reason = decision.text if trigger.forced else f"{trigger.cause}: {decision.text}"
        try:
            if refreshed is not None and not decision.adopt and not _changes_local_fallback(record, draft, serving):
                self._decline(model, refreshed, f"{trigger.cause}: {decision.text}", trigger, data)
                return ModelChange(refreshed.plan.epoch, False, decision.text)
            epoch = await self._activation.roll_out(record, draft, reason, data, trigger.deadline_s)
            return ModelChange(epoch, not decision.same, reason)
        except (PreparationFailed, StoreUnwritable):
            watch.figures = before  # goals and plan stay as they were
            raise
        finally:
            self._fallbacks.refresh(model)

    def _decline(self, model: str, refreshed: PlanRecord, reason: str, trigger: Trigger, data: EventData) -> None:
        # The plan stays, but what it predicts now is what people should see.
        deployment = self._deployment(model)
        epoch = refreshed.plan.epoch
        plans = deployment.plans | {epoch: msgspec.structs.replace(refreshed, reason=reason)}
        self._rollouts.keep(model, msgspec.structs.replace(deployment, plans=plans), goals=refreshed.goals)
        self._rollouts.publish(model)  # its source checks noise against the present bound
        more = self.declined.add(model, reason, answers=trigger.answers, forced=trigger.forced)
        if more is not None:
            text = f"{model} stays on epoch {epoch} ({reason}{more})"
            self._events.add("replan-declined", text, model=model, data=data)

    async def _watch_fleet(self, model: str, watch: ModelWatch) -> None:
        """Plan again whenever the fleet has changed enough."""
        while True:
            await watch.dirty.wait()
            await asyncio.sleep(self._settings.debounce_s)
            watch.dirty.clear()
            try:
                async with watch.lock:
                    await self._replan(model, watch)
            except StoreUnwritable:
                continue  # it was said, and all is looked at again once the store can be written
            except EdgesplitError as error:
                retry = watch.retry
                again = {"next_try_s": round(retry.next_at_s - self._clock(), 1)} if retry is not None else {}
                self._log.warning("replan-failed", model=model, reason=str(error), **again)
            except Exception:
                # A defect in planning one model must not end the controller; the plan that serves stays.
                self._log.exception("replan-failed-unexpectedly", model=model)

    async def _replan(self, model: str, watch: ModelWatch) -> None:
        deployment = self.deployments.get(model)
        if deployment is None or deployment.active is None or model not in self._models or not self._rollouts.settled:
            return
        if self._rollouts.patient and not all(map(self._registry.knows, deployment.active.plan.participants)):
            return
        record, source = self._models[model], deployment.source
        if not self._registry.node(source).usable or self._registry.profile(source, model, record.sha256) is None:
            return  # nobody else can answer; it serves again by itself once it is back
        goals = self.goals(model)
        active = deployment.active
        due = self._batteries.reasons(active, goals)
        glance = self._maker.glance(record, goals, self.deployments)
        if not due and not self._judgement.worth_stating(model, watch, active, goals, glance):
            return
        watch.glance = glance
        problem = self._problem(model, source, goals)
        waits = watch.retry is not None and self._clock() < watch.retry.next_at_s
        found = (*self._judgement.reasons(model, watch, active, problem, glance), *due)
        tried = watch.tried if waits else None
        if tried and not self._judgement.reasons(model, watch, active, problem, glance, since=tried):
            return  # the same plan would be made, and given up, again
        breach = await self._breach(model, problem, active, watch)
        if not found and not breach and active.goals == goals:
            await self._refresh(model, watch, problem)
            return
        texts = [*([breach] if breach else []), *(reason.text for reason in found)]
        cause = "; ".join(texts[:3]) or "goals differ from the plan's"
        answers = self._judgement.tell(model, found) or bool(breach) or not found
        chance = bool(found) and not breach and all(reason.quiet for reason in found)
        try:
            change = await self._change(model, problem, goals, Trigger(cause, False, self._limit_s(), answers))
            if chance:
                self.declined.tried(model, adopted=change.changed)
        except (PreparationFailed, StoreUnwritable):
            watch.tried = figures_of(problem)
            watch.retry = retry_after(watch.retry, self._clock(), random.random(), REPLANNING)  # noqa: S311  no secret
            asyncio.get_running_loop().call_later(watch.retry.next_at_s - self._clock(), self._retry, watch)
            raise
        watch.retry = None

    async def _breach(self, model: str, problem: Problem, active: PlanRecord, watch: ModelWatch) -> str:
        """That the plan that serves is noisier than its bound, as was measured, unless planning could not help it."""
        tightening = self._rollouts.state.tightenings.get(model)
        if tightening is None or watch.breach == (active.plan.epoch, tightening):
            return ""
        limit = problem.constraints.max_noise
        noise = await self._maker.noise(problem, active)
        if limit is None or noise is None or noise <= limit:
            return ""
        watch.breach = active.plan.epoch, tightening
        return f"its measured noise {tightening.measured:.3g} exceeds the bound {limit:.3g}"

    async def _refresh(self, model: str, watch: ModelWatch, problem: Problem) -> None:
        """Let the serving plan predict by the present figures, though they are no reason to plan again."""
        wait_s = watch.refreshed_s + REFRESH_EVERY_S - self._clock()
        if wait_s > 0:
            watch.glance = None  # then look again, whatever happened meanwhile
            asyncio.get_running_loop().call_later(wait_s, watch.dirty.set)
            return
        watch.refreshed_s = self._clock()
        serving = self._deployment(model).active
        basis = problem, self._maker.timed_s(model)
        if serving is None or basis == watch.refreshed:
            return
        watch.refreshed = basis
        refreshed = await self._maker.refresh(self._models[model], serving, problem)
        deployment = self._deployment(model)
        if refreshed is not serving and deployment.active is serving:
            plans = deployment.plans | {serving.plan.epoch: refreshed}
            self._rollouts.keep(model, msgspec.structs.replace(deployment, plans=plans))

    @staticmethod
    def _retry(watch: ModelWatch) -> None:
        watch.figures, watch.breach, watch.glance = Figures(), None, None
        watch.dirty.set()

    async def _tick(self) -> None:
        """Deadlines pass without anybody reporting anything."""
        while True:
            await asyncio.sleep(TICK_S)
            for name in tuple(self.deployments):
                self._rollouts.step(name)

    def _watch(self, model: str) -> ModelWatch:
        watch = self._watches.get(model)
        if watch is None:
            watch = self._watches[model] = ModelWatch()
            watch.task = asyncio.create_task(self._watch_fleet(model, watch), name=f"watch-{model}")
        return watch

    async def _problem_once_profiled(self, model: str, source: str, goals: Goals, deadline_s: float) -> Problem:
        """The problem, as soon as the source has profiled the model."""
        while True:
            self._fleet_moved.clear()
            try:
                return self._problem(model, source, goals)
            except NotProfiledYet:
                if self._clock() >= deadline_s:
                    raise
            try:
                async with asyncio.timeout(max(0.0, deadline_s - self._clock())):
                    await self._fleet_moved.wait()
            except TimeoutError:
                continue  # the next round raises

    def _problem(self, model: str, source: str, goals: Goals) -> Problem:
        watch = self._watch(model)
        try:
            problem = self._stated(model, source, goals)
        except PlanInfeasible as error:
            if watch.complaint != str(error):  # a fleet that changes without helping is no news
                self._events.add("plan-infeasible", str(error), model=model)
            watch.complaint = str(error)
            raise
        watch.complaint = ""
        return problem

    def _stated(self, model: str, source: str, goals: Goals) -> Problem:
        """As the fleet is now, under the noise model as far as it is believed."""
        problem = self._maker.problem(self._models[model], source, goals, self.deployments)
        return tightened(problem, self._rollouts.state.tightenings.get(model))

    def _deployment(self, model: str) -> DeploymentState:
        deployment = self.deployments.get(model)
        if deployment is None:
            raise NotDeployed(f"{model} is not deployed: deploy it first")
        return deployment

    def _limit_s(self) -> float:
        return self._clock() + self._settings.prepare_limit_s


def _changes_local_fallback(record: ModelRecord, draft: Draft, serving: PlanRecord | None) -> bool:
    """Whether pins now allow, or no longer allow, the same plan its local fallback: only a new epoch can tell nodes."""
    if serving is None or serving.goals.pins == draft.goals.pins:
        return False
    return (serving.plan.local_fallback is not None) != draft.needs_local_fallback(record)
