"""Deployments: every deployed model is kept on its best plan.

Owns: what commands change of deployments and goals, and whose turn it is. Its rule: one change of a model at a time; goals are
kept once a plan of them serves. Not here: changing a plan (`plan_change.py`), planning again by itself (`replanner.py`), how
nodes get there (`rollout/driver.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import msgspec

from edgesplit.errors import ChangeUnderWay, NotDeployed, NotProfiledYet, PlanInfeasible
from edgesplit.names import base_name, source_of
from edgesplit.planning.battery_allowance import BatteryAllowance
from edgesplit.planning.goals import Goals
from edgesplit.planning.plan import Assignment, FixedPlan
from edgesplit.planning.problem import Problem
from edgesplit_controller.configuration import PlanningSection
from edgesplit_controller.deciding.battery_floors import BatteryFloors
from edgesplit_controller.deciding.changes.declined import DeclinedPlans
from edgesplit_controller.deciding.changes.fleet_figures import figures_of
from edgesplit_controller.deciding.changes.trigger import ModelChange, ModelWatch, Trigger
from edgesplit_controller.deciding.fallbacks import Fallbacks
from edgesplit_controller.deciding.measured_links import MeasuredLinks
from edgesplit_controller.deciding.plan_change import PlanChanges
from edgesplit_controller.deciding.plan_maker import PlanMaker
from edgesplit_controller.deciding.relevance import Relevance
from edgesplit_controller.deciding.replanner import Replanner
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.models.planning_shapes import deployments_of
from edgesplit_controller.rollout.activation import Activation
from edgesplit_controller.rollout.draft import Draft
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.stating.goals import goals_text
from edgesplit_controller.storage.deployment_state import DeploymentState

__all__ = ["Deployer"]

TICK_S = 0.25
MEASURE_S = 5.0
"""How long deploying waits for links that nobody measured before. [s]"""
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
        links: Which of them are measured.
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
        links: MeasuredLinks,
        events: EventLog,
        settings: PlanningSection,
        clock: Callable[[], float],
    ) -> None:
        self._rollouts = rollouts
        self._registry = registry
        self._models = models
        self._batteries = batteries
        self._fallbacks = fallbacks
        self._links = links
        self._events = events
        self._settings = settings
        self._clock = clock
        self.declined = DeclinedPlans(clock, time.time)
        relevance = Relevance(
            rollouts, maker, declined=self.declined, events=events, thresholds=settings.thresholds, clock=clock
        )
        self._changes = PlanChanges(
            rollouts,
            models,
            maker=maker,
            batteries=batteries,
            fallbacks=fallbacks,
            activation=activation,
            declined=self.declined,
            events=events,
        )
        self._replanner = Replanner(
            rollouts,
            registry,
            models,
            changes=self._changes,
            maker=maker,
            batteries=batteries,
            relevance=relevance,
            declined=self.declined,
            settings=settings,
            clock=clock,
        )
        self._fleet_moved = asyncio.Event()
        self._ticker: asyncio.Task[None] | None = None
        self._finishing: list[asyncio.Task[None]] = []

    @property
    def deployments(self) -> Mapping[str, DeploymentState]:
        """By model."""
        return self._rollouts.state.deployments

    @property
    def planned(self) -> Mapping[tuple[str, str, str], int]:
        """How often was planned since the start, by model, why (`Trigger.kind`) and what came of it."""
        return self._changes.planned

    @property
    def models(self) -> Mapping[str, ModelRecord]:
        """By name, deployed or not."""
        return self._models

    def start(self) -> None:
        """Publish what is remembered, then wait for `settle` before acting on what nodes report."""
        for name, deployment in self.deployments.items():
            self._take_over(name, deployment)
            if deployment.rollout.upcoming is not None:
                self._finishing.append(asyncio.create_task(self._finish(name), name=f"finish-{name}"))
        self._ticker = asyncio.create_task(self._tick(), name="deployer-tick")

    def adopt(self, model: str) -> None:
        """A deployment came out of a backup: have nodes hold what it names, and look whether its plan is still the best."""
        self._take_over(model, self.deployments[model])
        self._fallbacks.refresh(model)
        self.look_again(model)

    def _take_over(self, model: str, deployment: DeploymentState) -> None:
        """Publish what was remembered of a deployment, and watch the fleet for it."""
        if deployment.active is not None:
            self._replanner.watch(model).figures = figures_of(deployment.active.problem)
        self._rollouts.publish(model)

    def settle(self, *, patient: bool) -> None:
        """What the broker retained has arrived; while patient, nodes that are unknown yet may still come."""
        self._rollouts.settled, self._rollouts.patient = True, patient
        self.fleet_changed()
        self._rollouts.withdraw_left_overs()
        for name in tuple(self.deployments) if not patient else ():
            self._fallbacks.refresh(name)  # who is there, and what is configured, may differ from before the restart

    async def close(self) -> None:
        """Stop planning; what serves goes on serving."""
        running = [task for task in (*self._replanner.tasks, *self._finishing, self._ticker) if task]
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
            self._replanner.watch(name).dirty.set()

    def figures_changed(self, node: str) -> None:
        """What a node measured changed, and nobody came or went: look whether the plans that may use it still hold."""
        self._fleet_moved.set()
        for name in self._links.concerned(node):
            self._replanner.watch(name).dirty.set()

    def store_healed(self) -> None:
        """What could not be written can be now: take every step again that was refused."""
        self._rollouts.store_healed()
        self._replanner.cause_returned()
        self.fleet_changed()
        for name in tuple(self.deployments):
            self._fallbacks.refresh(name)

    def cause_returned(self) -> None:
        """A node is there again: plans that were given up may have been for its sake."""
        self._replanner.cause_returned()

    def look_again(self, model: str) -> None:
        """Something that plans of a model stand on changed: look whether its plan still holds."""
        self._replanner.watch(model).dirty.set()

    def look_anew(self, model: str) -> None:
        """What a model may be planned with, or whether, is another: look at it as if the fleet had changed."""
        for name in deployments_of(self.deployments, model):
            watch = self._replanner.watch(name)
            watch.snapshot = None
            watch.dirty.set()

    def goals(self, model: str | None) -> Goals:
        """The goals of a model, or the default of new ones."""
        return self._rollouts.state.goals_of(model)

    def keep_goals(self, goals: Mapping[str | None, Goals]) -> None:
        """Remember goals of models that are not deployed, and of None the default of new ones, in one write.

        Raises:
            StoreUnwritable: None is remembered.
        """
        before = {model: self.goals(model) for model in goals}
        named = {model: new for model, new in goals.items() if model is not None}
        default = goals.get(None, self._rollouts.state.default_goals)
        self._rollouts.update(default_goals=default, goals=self._rollouts.state.goals | named)
        for model, new in named.items():
            if new != before[model]:
                self._events.add("goals-changed", f"{model}: {goals_text(new)}", model=model)

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
        problem = self._changes.stated(model, source, goals)
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

    async def deploy(
        self,
        model: str,
        source: str,
        wait_s: float,
        plan: FixedPlan | None = None,
        *,
        beforehand: Assignment | None = None,
        on: str | None = None,
    ) -> ModelChange:
        """Plan, prepare, activate; on another source than before, move there.

        Args:
            model: Its name.
            source: Where requests arise.
            wait_s: How long it may take to serve. [s]
            plan: Served as it is; it stays until a plan is asked for again, by this without one or by other goals.
            beforehand: A plan that was made together with others', served where it can still be.
            on: Selector of the nodes that its plans may use, empty for those of the source's site; None: the one that its model has.

        Raises:
            PlanInfeasible: No plan satisfies the goals, or the one that was given does not.
            PreparationFailed: It did not serve within `wait_s`.
            ChangeUnderWay: Another change did not end within `wait_s`.
            EdgesplitError: The source is unknown, offline, or cannot run the model.
        """
        deadline_s = self._clock() + wait_s
        async with self._turn(model, deadline_s) as watch:
            goals = msgspec.structs.replace(self.goals(model), on=self.goals(base_name(model)).on if on is None else on)
            with self._links.expecting(model, source, goals):
                await self._until_measured(model, source, goals, deadline_s)
                problem, fixed = await self._problem_once_profiled(
                    model, watch, source, goals, deadline_s=deadline_s, plan=plan
                )
                trigger = Trigger("deployed", True, deadline_s, kind="deployed")
                if beforehand is not None:
                    with contextlib.suppress(PlanInfeasible):  # the fleet changed since
                        return await self._changes.change(
                            model, watch, problem, goals, trigger, fixed=beforehand, kept=False
                        )
                return await self._changes.change(model, watch, problem, goals, trigger, fixed=fixed)

    async def set_goals(self, model: str, goals: Goals) -> ModelChange:
        """Plan under new goals, without hysteresis; they are kept only once a plan of them serves.

        Raises:
            PlanInfeasible: There is none; goals and plan stay.
            PreparationFailed: The new epoch was abandoned; goals and plan stay.
            ChangeUnderWay: Another change did not end in time; goals and plan stay.
            StoreUnwritable: They could not be remembered.
        """
        async with self._turn(model) as watch:
            deployment = self.deployments.get(model)
            if deployment is None:
                self.keep_goals({model: goals})
                return ModelChange(0, False, "not deployed")
            problem = self._changes.problem(model, watch, deployment.source, goals)
            return await self._changes.change(
                model, watch, problem, goals, Trigger("goals were set", True, self._limit_s(), kind="goals-set")
            )

    async def supposed(self, model: str, goals: Goals) -> tuple[Draft, bool]:
        """The plan that a deployed model would have under new goals, and whether its assignment is another; nothing is changed.

        Raises:
            PlanInfeasible: There is none.
            ChangeUnderWay: Another change did not end in time.
            NotDeployed: It is not deployed.
        """
        async with self._turn(model):
            return await self._changes.supposed(model, self._deployment(model), goals)

    async def plan_again(self, model: str, cause: str, kind: str) -> ModelChange:
        """Plan a deployed model anew under the goals that it has, without hysteresis.

        Args:
            model: Its name.
            cause: Why, in a few words.
            kind: The same for programs.

        Raises:
            EdgesplitError: There is no plan now; what served before serves on.
        """
        async with self._turn(model) as watch:
            goals = self.goals(model)
            problem = self._changes.problem(model, watch, self._deployment(model).source, goals)
            trigger = Trigger(cause, True, self._limit_s(), kind=kind)
            return await self._changes.change(model, watch, problem, goals, trigger)

    async def change_ended(self, model: str) -> None:
        """Wait until no change of a model is under way.

        Raises:
            ChangeUnderWay: It did not end in time.
        """
        async with self._turn(model):
            return

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
                "paused": {name: since for name, since in state.paused.items() if name != model},
            }
            if model in self.deployments:
                await self._end(model, watch, **forgotten)
            else:
                self._rollouts.update(**forgotten)

    async def _end(self, model: str, watch: ModelWatch, **changes: object) -> int:
        deployment = self._deployment(model)
        if source_of(model):  # as long as it is deployed it has goals of its own; then it has its model's
            changes |= {
                "goals": {name: goals for name, goals in self._rollouts.state.goals.items() if name != model},
                "tightenings": {name: one for name, one in self._rollouts.state.tightenings.items() if name != model},
            }
        self._rollouts.drop(model, **changes)
        self._fallbacks.refresh(model)
        watch.figures = None
        active = deployment.rollout.active
        epoch = active.number if active is not None else 0
        self._events.add("epoch-retired", f"{model} was undeployed; epoch {epoch} ended", model=model)
        await self._rollouts.drained(model, deployment.source, DRAIN_LIMIT_S)
        return epoch

    @asynccontextmanager
    async def _turn(self, model: str, deadline_s: float | None = None) -> AsyncGenerator[ModelWatch]:
        """Have the only change of a model; an unfinished one of before a restart is one too.

        Raises:
            ChangeUnderWay: Another did not end in time.
        """
        watch = self._replanner.watch(model)
        patience_s = self._settings.time_limit_s + self._settings.prepare_limit_s
        limit_s = deadline_s - self._clock() if deadline_s is not None else patience_s
        try:
            async with asyncio.timeout(max(0.0, limit_s)):
                await watch.lock.acquire()
                try:
                    # Whoever had the turn before may have been cancelled, and what it began is prepared without it.
                    await self._rollouts.finished(model)
                except BaseException:
                    watch.lock.release()
                    raise
        except TimeoutError:
            what = self._rollouts.unfinished(model) or f"another change of {model} is being planned"
            raise ChangeUnderWay(f"{what}: nothing was changed; run the command again then") from None
        try:
            yield watch
        finally:
            watch.snapshot = None  # what was decided stands on another fleet than the watcher saw last
            watch.lock.release()
            self._replanner.promises_changed(model)

    async def _finish(self, model: str) -> None:
        """Let a rollout that a restart interrupted end before anything else of its model changes."""
        watch = self._replanner.watch(model)
        async with watch.lock:
            await self._rollouts.finished(model)
        deployment = self.deployments.get(model)
        if deployment is not None and deployment.active is not None:
            watch.figures = figures_of(deployment.active.problem)
        self._fallbacks.refresh(model)
        watch.dirty.set()

    async def _tick(self) -> None:
        """Deadlines pass without anybody reporting anything."""
        while True:
            await asyncio.sleep(TICK_S)
            self._links.look()
            for name in tuple(self.deployments):
                self._rollouts.step(name)

    async def _until_measured(self, model: str, source: str, goals: Goals, deadline_s: float) -> None:
        """In a large fleet links are measured only once they may be used: the first plan is worth a moment's wait."""
        limit_s = min(deadline_s, self._clock() + MEASURE_S)
        if not self._registry.node(source).usable:
            return  # planning says why
        while not self._links.all_are and self._clock() < limit_s:
            if not self._links.missing(model, source, goals):
                return
            self._fleet_moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, limit_s - self._clock())):
                    await self._fleet_moved.wait()

    async def _problem_once_profiled(
        self, model: str, watch: ModelWatch, source: str, goals: Goals, *, deadline_s: float, plan: FixedPlan | None
    ) -> tuple[Problem, Assignment | None]:
        """The problem, and what a given plan means in it, as soon as the source and its nodes have profiled the model."""
        while True:
            self._fleet_moved.clear()
            try:
                problem = self._changes.problem(model, watch, source, goals)
                return problem, None if plan is None else self._changes.fixed(model, problem, goals, plan)
            except NotProfiledYet:
                if self._clock() >= deadline_s:
                    raise
            try:
                async with asyncio.timeout(max(0.0, deadline_s - self._clock())):
                    await self._fleet_moved.wait()
            except TimeoutError:
                continue  # the next round raises

    def _deployment(self, model: str) -> DeploymentState:
        deployment = self.deployments.get(model)
        if deployment is None:
            raise NotDeployed(f"{model} is not deployed: deploy it first")
        return deployment

    def _limit_s(self) -> float:
        return self._clock() + self._settings.prepare_limit_s
