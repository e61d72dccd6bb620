"""Replanning: every deployed model is planned again by itself whenever the fleet has changed enough.

Owns: watching the fleet for each model, and trying again what was given up. Its rule: what only scatters states no problem,
a model that is paused is not planned, and a defect in planning one model ends nothing else. Not here: whether a change counts (`relevance.py`), changing a
plan (`plan_change.py`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from edgesplit.errors import EdgesplitError, PreparationFailed, StoreUnwritable
from edgesplit.planning.plan import Evaluation
from edgesplit.planning.problem import Problem
from edgesplit.retrying import Retry, RetryRule, hastened, retry_after
from edgesplit_controller.configuration import PlanningSection
from edgesplit_controller.deciding.battery_floors import BatteryFloors
from edgesplit_controller.deciding.changes.declined import DeclinedPlans
from edgesplit_controller.deciding.changes.fleet_figures import Figures, figures_of
from edgesplit_controller.deciding.changes.fleet_snapshot import FleetSnapshot
from edgesplit_controller.deciding.changes.rate_reason import rate_reason
from edgesplit_controller.deciding.changes.replan_reasons import Reason
from edgesplit_controller.deciding.changes.trigger import ModelWatch, Trigger
from edgesplit_controller.deciding.plan_change import PlanChanges
from edgesplit_controller.deciding.plan_maker import PlanMaker
from edgesplit_controller.deciding.relevance import Relevance
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.storage.deployment_state import PlanRecord

__all__ = ["Replanner"]

REPLANNING = RetryRule(first_s=30.0, most_s=600.0)
"""After an abandoned epoch the controller plans again even if nothing else changes."""
DOUBTED = RetryRule(first_s=3.0, most_s=1_800.0)
"""A plan that was held back as unsure: soon, for a link or node that just changed is known better within seconds."""
REPLACED = "another version of the model was added"
UNSURE = "more may be known of a plan whose gain was unsure"
"""Cause of planning again though nothing changed."""
REFRESH_EVERY_S = 2.0
"""Predictions follow the fleet at most so often. [s]"""


class Replanner:
    """Watches the fleet for all models.

    Args:
        rollouts: What is deployed.
        registry: The fleet.
        models: By name.
        changes: Changes plans.
        maker: States and predicts.
        batteries: What battery floors allow.
        relevance: Whether a change of the fleet counts.
        declined: What was tried in vain.
        settings: Debounce and limits.
        clock: Monotonic seconds, the same as the rollouts'.
    """

    def __init__(
        self,
        rollouts: Rollouts,
        registry: Registry,
        models: Mapping[str, ModelRecord],
        *,
        changes: PlanChanges,
        maker: PlanMaker,
        batteries: BatteryFloors,
        relevance: Relevance,
        declined: DeclinedPlans,
        settings: PlanningSection,
        clock: Callable[[], float],
    ) -> None:
        self._rollouts = rollouts
        self._registry = registry
        self._models = models
        self._changes = changes
        self._maker = maker
        self._batteries = batteries
        self._relevance = relevance
        self._declined = declined
        self._settings = settings
        self._clock = clock
        self._log = structlog.get_logger(part="replanner")
        self._watches: dict[str, ModelWatch] = {}

    @property
    def tasks(self) -> tuple[asyncio.Task[None], ...]:
        """What runs."""
        return tuple(watch.task for watch in self._watches.values() if watch.task is not None)

    def watch(self, model: str) -> ModelWatch:
        """What is known of a model's planning; from now on the fleet is watched for it."""
        watch = self._watches.get(model)
        if watch is None:
            watch = self._watches[model] = ModelWatch()
            watch.task = asyncio.create_task(self._watch_fleet(model, watch), name=f"watch-{model}")
        return watch

    def cause_returned(self) -> None:
        """A node is there again, or room in the store: plans that were given up may have been for its sake."""
        for watch in self._watches.values():
            if watch.retry is not None:
                watch.retry = hastened(watch.retry, self._clock())
                asyncio.get_running_loop().call_later(watch.retry.next_at_s - self._clock(), self._retry, watch)

    def promises_changed(self, model: str) -> None:
        """What is promised to a model's requests became another: others look whether that is a chance, or breaks their rates."""
        for name, watch in self._watches.items():
            if name != model:
                watch.dirty.set()

    async def _watch_fleet(self, model: str, watch: ModelWatch) -> None:
        """Plan again whenever the fleet has changed enough."""
        while True:
            await watch.dirty.wait()
            await asyncio.sleep(self._settings.debounce_s)
            watch.dirty.clear()
            try:
                async with watch.lock:
                    # Whoever had the turn before may have been cancelled, and what it began is prepared without it.
                    await self._rollouts.finished(model)
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
        deployment = self._rollouts.state.deployments.get(model)
        if deployment is None or deployment.active is None or model not in self._models:
            return
        record, source = self._models[model], deployment.source
        if not self._is_known(deployment.active) or not self._is_able(record, source):
            return
        goals = self._rollouts.state.goals_of(model)
        active = deployment.active
        kept = active.fixed and record.fits(active.version)  # somebody's own plan stays until another is asked for
        paused = self._rollouts.state.paused_unix_s(model) is not None
        due = () if kept or paused else self._batteries.reasons(active, goals)
        snapshot = self._maker.snapshot(record, source, goals, self._rollouts.state.deployments)
        if not due and not self._relevance.worth_stating(model, watch, active, goals, snapshot):
            return
        watch.snapshot = snapshot
        problem = self._changes.problem(model, watch, source, goals)
        if kept or paused:
            keeping = (
                self._keep(model, watch, active, problem, snapshot) if kept else self._refresh(model, watch, problem)
            )
            await keeping
            return
        waits = watch.retry is not None and self._clock() < watch.retry.next_at_s
        found = (*self._relevance.reasons(model, watch, active, problem, snapshot), *due)
        tried = watch.tried if waits else None
        if tried and not self._relevance.reasons(model, watch, active, problem, snapshot, since=tried):
            return  # the same plan would be made, and given up, again
        breach = await self._no_longer_allowed(model, problem, active, watch)
        unsure, watch.unsure = watch.unsure, False
        replaced = not record.fits(active.version)
        if not found and not breach and not unsure and not replaced and active.goals == goals:
            await self._refresh(model, watch, problem)
            return
        texts = [*([breach] if breach else []), *([REPLACED] if replaced else []), *(reason.text for reason in found)]
        cause = "; ".join(texts[:3]) or (UNSURE if active.goals == goals else "goals differ from the plan's")
        answers = self._relevance.tell(model, found) or bool(breach) or replaced or not (found or unsure)
        quiet = all(reason.quiet for reason in found) and {reason.kind for reason in found} != {"link-appeared"}
        chance = bool(found or unsure) and not breach and not replaced and quiet
        kind = _kind(found, breach=bool(breach), replaced=replaced, unsure=unsure)
        trigger = Trigger(cause, False, self._clock() + self._settings.prepare_limit_s, answers, kind=kind)
        try:
            change = await self._changes.change(model, watch, problem, goals, trigger)
            if chance:
                self._declined.tried(model, adopted=change.changed)
            self._doubt(watch, unsure=change.unsure)
            if change.changed and goals.min_rate_hz is not None:
                self.promises_changed(model)
        except (PreparationFailed, StoreUnwritable):
            watch.tried = figures_of(problem)
            watch.retry = retry_after(watch.retry, self._clock(), random.random(), REPLANNING)  # noqa: S311  no secret
            asyncio.get_running_loop().call_later(watch.retry.next_at_s - self._clock(), self._retry, watch)
            raise
        watch.retry = None

    def _is_known(self, active: PlanRecord) -> bool:
        """Whether all that a plan uses was heard of, or need not be waited for any more after a restart."""
        rollouts = self._rollouts
        return rollouts.settled and (not rollouts.patient or all(map(self._registry.knows, active.epoch.participants)))

    def _is_able(self, record: ModelRecord, source: str) -> bool:
        """Whether a source can answer; nobody else can, and it serves again by itself once it is back."""
        profile = self._registry.profile(source, record.name, record.sha256)
        return self._registry.node(source).usable and profile is not None

    async def _keep(
        self, model: str, watch: ModelWatch, active: PlanRecord, problem: Problem, snapshot: FleetSnapshot
    ) -> None:
        """Let a fixed plan predict by the present figures, and tell whether it can be served."""
        self._relevance.tell(model, self._relevance.reasons(model, watch, active, problem, snapshot))
        watch.figures = figures_of(problem)
        await self._refresh(model, watch, problem)
        self._relevance.tell_standing(model, watch, self._rollouts.state.deployments[model].active or active, problem)

    async def _no_longer_allowed(self, model: str, problem: Problem, active: PlanRecord, watch: ModelWatch) -> str:
        """Which limit the plan that serves breaks by now, unless it was planned for already; empty if none.

        That is its noise bound under the tightened noise model, or the rate it was to sustain.
        """
        limits, tightening = problem.constraints, self._rollouts.state.tightenings.get(model)
        if tightening is not None and watch.breach == (active.epoch.number, tightening):
            tightening = None
        if tightening is None and limits.min_rate_hz is None:
            return ""
        now = await self._maker.evaluated(problem, active)
        if now is None:
            return ""
        if tightening is not None and limits.max_noise is not None and now.noise > limits.max_noise:
            watch.breach = active.epoch.number, tightening
            return f"its measured noise {tightening.measured:.3g} exceeds the bound {limits.max_noise:.3g}"
        return "" if limits.min_rate_hz is None else self._too_slow(limits.min_rate_hz, active, now, watch)

    def _too_slow(self, asked_hz: float, active: PlanRecord, now: Evaluation, watch: ModelWatch) -> str:
        """That a plan falls behind the rate asked for, in one sentence; empty if it does not, or was planned for already."""
        epoch, rate_hz = watch.slow or (0, None)
        considered_hz = rate_hz if epoch == active.epoch.number else None
        reason = rate_reason(asked_hz, now, considered_hz, self._settings.thresholds.change)
        if reason:
            watch.slow = active.epoch.number, now.rate_hz
        return reason

    async def _refresh(self, model: str, watch: ModelWatch, problem: Problem) -> None:
        """Let the serving plan predict by the present figures, though they are no reason to plan again."""
        wait_s = watch.refreshed_s + REFRESH_EVERY_S - self._clock()
        if wait_s > 0:
            watch.snapshot = None  # then look again, whatever happened meanwhile
            asyncio.get_running_loop().call_later(wait_s, watch.dirty.set)
            return
        watch.refreshed_s = self._clock()
        serving = self._rollouts.state.deployments[model].active
        basis = problem, self._maker.learned(model)
        if serving is None or basis == watch.refreshed:
            return
        watch.refreshed = basis
        refreshed = await self._maker.refresh(self._models[model], serving, problem)
        deployment = self._rollouts.state.deployments[model]
        if refreshed is not serving and deployment.active is serving:
            plans = deployment.plans | {serving.epoch.number: refreshed}
            self._rollouts.keep(model, msgspec.structs.replace(deployment, plans=plans))

    def _doubt(self, watch: ModelWatch, *, unsure: bool) -> None:
        """Look again, ever later, as long as it is only not known whether a better plan is better."""
        if not unsure:
            watch.doubt = None
            return
        watch.doubt = retry_after(watch.doubt, self._clock(), random.random(), DOUBTED)  # noqa: S311  no secret
        asyncio.get_running_loop().call_later(
            watch.doubt.next_at_s - self._clock(), self._look_again, watch, watch.doubt
        )

    @staticmethod
    def _look_again(watch: ModelWatch, doubt: Retry) -> None:
        if watch.doubt is doubt:  # else it was planned meanwhile
            watch.unsure, watch.snapshot = True, None
            watch.dirty.set()

    @staticmethod
    def _retry(watch: ModelWatch) -> None:
        watch.figures, watch.breach, watch.slow, watch.snapshot = Figures(), None, None, None
        watch.dirty.set()


def _kind(found: Sequence[Reason], *, breach: bool, replaced: bool, unsure: bool) -> str:
    """Why it is planned again, in the order in which it is told."""
    if breach:
        return "limit-broken"
    if replaced:
        return "model-replaced"
    if found:
        return found[0].kind
    return "gain-unsure" if unsure else "goals-set"
