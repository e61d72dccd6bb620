"""Rollout driver: takes every model's rollout through its steps.

Owns: the persisted state and what nodes report of it; every step of the state machine is saved, published and told
here. Its rule: state is on disk before it holds here or nodes hear of it. A step that cannot be written is not taken, and tried again. A plan's goals become its model's in the write
that says it serves, so that a change that comes to nothing has none to take back.
Not here: the state machine's rules (`rollout/steps.py`), making plans (`deciding/deployer.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from edgesplit.control.plan_messages import Observed, Shadowing
from edgesplit.errors import PreparationFailed, StoreUnwritable
from edgesplit.planning.goals import Goals
from edgesplit.retrying import Retry, RetryRule, retry_after
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.rollout.desired_state import stepped
from edgesplit_controller.rollout.noise_checks import unchecked_bound
from edgesplit_controller.rollout.publisher import Outbox, StatePublisher
from edgesplit_controller.rollout.steps import Notice, World, advance, begin, remaining_s, with_fallbacks
from edgesplit_controller.stating.goals import goals_text
from edgesplit_controller.storage.deployment_state import DeploymentState, FallbackRecord, PlanRecord, State
from edgesplit_controller.storage.rollout_state import FallbackEpoch, Rollout

__all__ = ["Rollouts"]

WRITING = RetryRule(first_s=1.0, most_s=8.0)
"""When a step that could not be written is tried again, unless the store is known to take writes before."""


@dataclass
class _HeldRollout:
    """What is known of a model but not persisted.

    Attributes:
        observed: Latest report by node.
        outcome: Resolved when the upcoming epoch is activated, failed with why it was abandoned.
        moved: Set whenever something is observed.
        ended: Set whenever nothing is being prepared any more.
        deadline_s: When the upcoming epoch is given up, on the caller's clock. [s]
        writing: Of a step that could not be written.
    """

    observed: dict[str, Observed] = field(default_factory=dict[str, Observed])
    outcome: asyncio.Future[None] | None = None
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    deadline_s: float = 0.0
    writing: Retry | None = None


class Rollouts:
    """All deployments' rollouts.

    Args:
        state: As it was remembered.
        save: Writes the state to disk.
        registry: Who is there.
        events: Where steps are told.
        outbox: Where desired state goes.
        clock: Monotonic seconds.
        wall_clock: Seconds since the epoch.
        most_s: What an unfinished rollout gets at most after a restart. [s]
        shadowing: What the source of a model's plan is asked to check.
        unmanaged: Something that nodes hold could not be taken over with the store.

    Attributes:
        state: What is remembered; change it with `update` and `keep`.
        settled: What the broker retained has arrived; before, nothing is concluded from silence.
        patient: Nodes that are unknown yet may still come.
        state_is_new: Nothing was remembered when this began.
    """

    def __init__(
        self,
        state: State,
        *,
        save: Callable[[State], None],
        registry: Registry,
        events: EventLog,
        outbox: Outbox,
        clock: Callable[[], float],
        wall_clock: Callable[[], float] = time.time,
        most_s: float = 60.0,
        shadowing: Callable[[str, PlanRecord], Shadowing | None] = lambda _model, _plan: None,
        unmanaged: bool = False,
    ) -> None:
        self.state = state
        self.settled = False
        self.patient = True
        self._save = save
        self._registry = registry
        self._events = events
        self._publisher = StatePublisher(outbox, registry, shadowing)
        self._clock = clock
        self.state_is_new = state == State()
        self._unmanaged = unmanaged
        self._wall_clock = wall_clock
        self._shadowing = shadowing
        self._models: dict[str, _HeldRollout] = {}
        self._given_out: dict[str, int] = {}
        for model, deployment in state.deployments.items():
            left_s = remaining_s(deployment.rollout, wall_clock(), most_s)
            self._held(model).deadline_s = clock() + left_s

    def update(self, **changes: object) -> None:
        """Save a changed state, and have it hold.

        Raises:
            StoreUnwritable: The state is as before.
        """
        changed = msgspec.structs.replace(self.state, **changes)
        epochs = {model: max(number, changed.epochs.get(model, 0)) for model, number in self._given_out.items()}
        changed = msgspec.structs.replace(changed, epochs=changed.epochs | epochs)
        self._save(changed)
        self.state = changed

    def note(self, **changes: object) -> None:
        """Change what is only tidied up with: it holds at once and is saved now or with whatever is saved next."""
        self.state = msgspec.structs.replace(self.state, **changes)
        with contextlib.suppress(StoreUnwritable):
            self.update()

    def keep(self, model: str, deployment: DeploymentState, goals: Goals | None = None) -> None:
        """Change and save one deployment, and with it the model's goals unless those are None.

        Raises:
            StoreUnwritable: Nothing changed.
        """
        before = self.state.goals.get(model, self.state.default_goals)
        known = self.state.goals if goals is None else self.state.goals | {model: goals}
        self.update(deployments=self.state.deployments | {model: deployment}, goals=known)
        if goals is not None and goals != before:
            self._events.add("goals-changed", f"{model}: {goals_text(goals)}", model=model)

    def observe(self, node: str, model: str, observed: Observed | None) -> None:
        """Take in what a node holds of a model."""
        held = self._held(model)
        if observed is None:
            held.observed.pop(node, None)
        else:
            held.observed[node] = observed
        held.moved.set()
        self.step(model)
        self._withdraw_again(node, model, observed)

    def withdraw_left_overs(self) -> None:
        """Have nodes let go of what they hold and should not: they were away when that was said."""
        for model, held in tuple(self._models.items()):
            for node, observed in tuple(held.observed.items()):
                self._withdraw_again(node, model, observed)

    def _withdraw_again(self, node: str, model: str, observed: Observed | None) -> None:
        """Say again that nothing of a model should be held, to a node that holds something.

        A broker repeats what it keeps to whoever connects again, and not that it keeps something no more.
        """
        if observed is None or not self.settled or all(state.state == "draining" for state in observed.epochs):
            return
        # Of a model that this store never planned, or that could not be taken over with it, it is not for this controller to say.
        left_alone = self._unmanaged and model not in self.state.deployments
        if self.highest_epoch(model) and not left_alone:
            self._publisher.withdraw_again(node, model)

    def forget_node(self, node: str) -> None:
        """A node is gone for good."""
        if node in self.state.drained:
            self.note(drained={name: since for name, since in self.state.drained.items() if name != node})
        for model, held in self._models.items():
            if held.observed.pop(node, None) is not None:
                self.step(model)
        self._publisher.forget_node(node)

    def node_joined(self, node: str) -> None:
        """Tell a node what it was told before, where that was removed with it: plans that still name it go on with it."""
        for model, deployment in self.state.deployments.items():
            if any(node in plan.participants for plan in deployment.rollout.epochs):
                self.publish(model)

    def sources(self) -> dict[str, str]:
        """Model to the node that answers its requests, or is to: nobody else can."""
        return {
            model: plan.source
            for model, deployment in self.state.deployments.items()
            for plan in (deployment.rollout.active, deployment.rollout.upcoming)
            if plan is not None
        }

    def serving(self, model: str) -> int | None:
        """The epoch the source says it serves."""
        deployment = self.state.deployments.get(model)
        observed = self._held(model).observed.get(deployment.source) if deployment is not None else None
        return observed.serving if observed is not None else None

    def highest_epoch(self, model: str) -> int:
        """The highest number ever given out; what others say of numbers counts for nothing."""
        return max(self.state.epochs.get(model, 0), self._given_out.get(model, 0))

    def next_epoch(self, model: str) -> int:
        """A number never given out before; it is on disk with whatever names it."""
        number = self._given_out[model] = self.highest_epoch(model) + 1
        return number

    def unfinished(self, model: str) -> str:
        """What is being prepared of a model and how long that may still take, in words; empty if nothing is."""
        deployment = self.state.deployments.get(model)
        upcoming = deployment.rollout.upcoming if deployment is not None else None
        if upcoming is None:
            return ""
        left_s = max(0.0, self._held(model).deadline_s - self._clock())
        return f"epoch {upcoming.number} of {model} is still being prepared, for at most {left_s:.0f} s more"

    async def finished(self, model: str) -> None:
        """Wait until nothing is being prepared of a model."""
        held = self._held(model)
        while self.unfinished(model):
            held.ended.clear()
            await held.ended.wait()

    def unchecked(self, model: str) -> str:
        """Why the noise bound of what serves a model will not be checked, in one sentence; empty where it will."""
        deployment = self.state.deployments.get(model)
        active = deployment.active if deployment is not None else None
        if active is None:
            return ""
        return unchecked_bound(model, active, asked=self._shadowing(model, active) is not None)

    def is_prepared(self, model: str, node: str, epoch: int) -> bool:
        """Whether a node says that it has an epoch ready."""
        observed = self._held(model).observed.get(node)
        return observed is not None and any(
            state.epoch == epoch and state.state == "prepared" for state in observed.epochs
        )

    async def drained(self, model: str, node: str, limit_s: float) -> bool:
        """Wait until a node holds no epoch of a model, or is offline; False where time is up before."""

        def has_let_go() -> bool:
            observed = self._held(model).observed.get(node)
            return observed is None or not observed.epochs or not self._registry.node(node).online

        return await self._until(model, has_let_go, limit_s)

    async def served(self, model: str, limit_s: float) -> bool:
        """Wait until a model's source says that it serves the plan that it should; False where time is up, or it is offline, before."""
        deployment = self.state.deployments[model]

        def serves() -> bool:
            active = self.state.deployments.get(model, deployment).rollout.active
            return active is not None and self.serving(model) == active.number

        there = self._registry.node(deployment.source).online
        return there and await self._until(model, serves, limit_s)

    async def _until(self, model: str, is_so: Callable[[], bool], limit_s: float) -> bool:
        """Wait for what nodes report of a model; False where time is up before."""
        held = self._held(model)
        deadline_s = self._clock() + limit_s
        while not is_so():
            if (remaining_s := deadline_s - self._clock()) <= 0:
                return False
            held.moved.clear()
            with contextlib.suppress(TimeoutError):  # then it is looked again: a node may have gone offline meanwhile
                async with asyncio.timeout(min(remaining_s, 1.0)):
                    await held.moved.wait()
        return True

    def roll_out(
        self, model: str, deployment: DeploymentState, made: PlanRecord, deadline_s: float
    ) -> asyncio.Future[None]:
        """Start preparing a plan; resolved once it serves, failed with why it was abandoned.

        Raises:
            StoreUnwritable: It was not begun.
        """
        held = self._held(model)
        limit_s = max(0.0, deadline_s - self._clock())
        rollout = begin(deployment.rollout, made.epoch, begun_unix_s=self._wall_clock(), limit_s=limit_s)
        plans = deployment.plans | {made.epoch.number: made}
        self.keep(model, msgspec.structs.replace(deployment, rollout=rollout, plans=plans))
        held.outcome = asyncio.get_running_loop().create_future()
        held.deadline_s = deadline_s
        self.publish(model)
        self.step(model)
        return held.outcome

    def hold_fallbacks(self, model: str, fallbacks: Mapping[FallbackEpoch, FallbackRecord]) -> None:
        """Give the active plan of a model these fallbacks, in place of those it has."""
        deployment = self.state.deployments[model]
        rollout = with_fallbacks(deployment.rollout, tuple(fallbacks))
        held = deployment.fallbacks | {plan.epoch: plan for plan in fallbacks.values()}
        self.keep(model, msgspec.structs.replace(deployment, rollout=rollout, fallbacks=held))
        self.publish(model)
        self.step(model)

    def store_healed(self) -> None:
        """Steps that could not be written can be now."""
        for model, held in self._models.items():
            if held.writing is not None:
                held.writing = None
                self.step(model)

    def step(self, model: str) -> None:
        """Let a rollout take every step that what is known allows; what cannot be written is tried again later."""
        deployment, held = self.state.deployments.get(model), self._held(model)
        if deployment is None or not self.settled:
            return
        if held.writing is not None and self._clock() < held.writing.next_at_s:
            return
        names = frozenset(node for plan in deployment.rollout.epochs for node in (*plan.participants, plan.source))
        gone = self._registry.gone(names)
        if self.patient:
            gone = frozenset(name for name in gone if self._registry.knows(name))
        overdue = self._clock() >= held.deadline_s
        rollout, notices = advance(deployment.rollout, World(held.observed, gone, overdue))
        if rollout == deployment.rollout:
            return
        try:
            self._commit(model, deployment, rollout, notices)
        except StoreUnwritable as error:
            held.writing = retry_after(held.writing, self._clock(), random.random(), WRITING)  # noqa: S311  no secret
            if overdue and rollout.upcoming is None and deployment.rollout.upcoming is not None:
                _end(held, _unwritten(model, notices, error))
            return
        held.writing = None
        for notice in notices:
            self._tell(model, notice, deployment.plans.get(notice.epoch.number))

    def _commit(self, model: str, deployment: DeploymentState, rollout: Rollout, notices: tuple[Notice, ...]) -> None:
        """Have a step hold: written, then published."""
        if rollout.active is None and rollout.upcoming is None:
            self.drop(model)  # a first deployment that came to nothing leaves nothing behind
            return
        after = stepped(deployment, rollout)
        activated = any(notice.kind == "activated" for notice in notices)
        self.keep(model, after, goals=after.active.goals if activated and after.active is not None else None)
        self.publish(model)

    def publish(self, model: str) -> None:
        """Tell nodes what changed."""
        self._publisher.publish(model, self.state.deployments[model])

    def announce(self, model: str) -> None:
        """Tell where requests go, where the source has another address than was told."""
        deployment = self.state.deployments.get(model)
        if deployment is not None and self.settled:
            self._publisher.announce(model, deployment)

    def drop(self, model: str, **changes: object) -> None:
        """Forget a deployment and have every node let go of it.

        Args:
            model: Its model.
            changes: What else of the state changes in the same write.

        Raises:
            StoreUnwritable: It is still deployed.
        """
        kept = {name: deployment for name, deployment in self.state.deployments.items() if name != model}
        self.update(deployments=kept, **changes)
        self._publisher.clear(model)
        self._held(model).ended.set()

    def _tell(self, model: str, notice: Notice, record: PlanRecord | None) -> None:
        epoch = notice.epoch
        data: dict[str, str | float | int | bool | None] = {"epoch": epoch.number}
        if notice.kind == "activated" and record is not None:
            data |= {"latency_s": record.evaluation.timeline_s, "energy_j": record.evaluation.energy_j}
            data |= {"noise": record.evaluation.noise, "reason": record.reason}
        name = f"{model} epoch {epoch.number}"
        texts = {
            "prepared": f"{name} is prepared on {', '.join(epoch.participants)}",
            "activated": f"{name} serves" + (f": {record.reason}" if record is not None else ""),
            "abandoned": f"{name} was abandoned: {notice.reason}",
            "retired": f"{name} has ended and is freed",
        }
        self._events.add(f"epoch-{notice.kind}", texts[notice.kind], model=model, data=data)
        if notice.kind == "activated":
            if unchecked := self.unchecked(model):
                self._events.add("noise-unchecked", unchecked, model=model, data={"epoch": epoch.number})
            _end(self._held(model), None)
        elif notice.kind == "abandoned":
            why = f"{name} was abandoned because {notice.reason}; what served before serves on, under the goals it had"
            _end(self._held(model), PreparationFailed(why))

    def _held(self, model: str) -> _HeldRollout:
        return self._models.setdefault(model, _HeldRollout())


def _end(held: _HeldRollout, failure: Exception | None) -> None:
    """Nothing is being prepared any more: tell whoever waits for what was."""
    held.ended.set()
    if held.outcome is None or held.outcome.done():
        return
    if failure is None:
        held.outcome.set_result(None)
    else:
        held.outcome.set_exception(failure)


def _unwritten(model: str, notices: tuple[Notice, ...], error: StoreUnwritable) -> StoreUnwritable:
    """Why a plan's time is up though what became of it cannot be written."""
    (ended,) = [notice for notice in notices if notice.kind in {"activated", "abandoned"}]
    what = "serves" if ended.kind == "activated" else "is given up"
    cause = str(error).removeprefix("nothing was changed: ")
    return StoreUnwritable(f"{model} epoch {ended.epoch.number} {what}, which is remembered once it can be: {cause}")
