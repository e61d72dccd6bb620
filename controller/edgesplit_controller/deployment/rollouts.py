"""Driving every model's rollout and telling nodes what to hold.

Owns: the persisted state and what nodes report of it; every step of the state machine is saved, published and told
here. Its rule: state is on disk before nodes hear of it, and what nodes should hold is derived from it, never edited.
Not here: the state machine's rules (`rollout.py`), making plans (`deployer.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import msgspec

from edgesplit.messages import Deployment, Desired, EpochSpec, Observed, Shadowing
from edgesplit_controller.deployment.rollout import Notice, Spare, World, advance, begin, parts, with_spares
from edgesplit_controller.deployment.state import DeploymentState, PlanRecord, SparePlan, State

if TYPE_CHECKING:
    from edgesplit_controller.events import EventLog
    from edgesplit_controller.registry import Registry

__all__ = ["Outbox", "Rollouts"]


class Outbox(Protocol):
    """Where desired state goes."""

    def publish_desired(self, desired: Desired) -> None:
        """What a node should hold of a model."""

    def clear_desired(self, node: str, model: str) -> None:
        """A node should hold nothing of a model."""

    def publish_deployment(self, deployment: Deployment) -> None:
        """Who the source of a model is."""

    def clear_deployment(self, model: str) -> None:
        """A model has no source any more."""


@dataclass
class _Held:
    """What is known of a model but not persisted.

    Attributes:
        observed: Latest report by node.
        published: What nodes were told, by node.
        outcome: Resolved when the upcoming epoch is activated (empty) or abandoned (the reason).
        moved: Set whenever something is observed.
    """

    observed: dict[str, Observed] = field(default_factory=dict[str, Observed])
    published: dict[str, Desired] = field(default_factory=dict[str, Desired])
    announced: Deployment | None = None
    outcome: asyncio.Future[str] | None = None
    moved: asyncio.Event = field(default_factory=asyncio.Event)


class Rollouts:
    """All deployments' rollouts.

    Args:
        state: As it was remembered.
        save: Writes the state to disk.
        registry: Who is there.
        events: Where steps are told.
        outbox: Where desired state goes.
        clock: Monotonic seconds.
        shadowing: What the source of a model's plan is asked to check.

    Attributes:
        state: What is remembered; change it with `update` and `keep`.
        settled: What the broker retained has arrived; before, nothing is concluded from silence.
        patient: Nodes that are unknown yet may still come.
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
        shadowing: Callable[[str, PlanRecord], Shadowing | None] = lambda _model, _plan: None,
    ) -> None:
        self.state = state
        self.settled = False
        self.patient = True
        self._save = save
        self._registry = registry
        self._events = events
        self._outbox = outbox
        self._clock = clock
        self._shadowing = shadowing
        self._models: dict[str, _Held] = {}

    def update(self, **changes: object) -> None:
        """Change and save the state."""
        self.state = msgspec.structs.replace(self.state, **changes)
        self._save(self.state)

    def keep(self, model: str, deployment: DeploymentState) -> None:
        """Change and save one deployment."""
        self.update(deployments=self.state.deployments | {model: deployment})

    def observe(self, node: str, model: str, observed: Observed | None) -> None:
        """Take in what a node holds of a model."""
        held = self._held(model)
        if observed is None:
            held.observed.pop(node, None)
        else:
            held.observed[node] = observed
        held.moved.set()
        self.step(model)

    def serving(self, model: str) -> int | None:
        """The epoch the source says it serves."""
        deployment = self.state.deployments.get(model)
        observed = self._held(model).observed.get(deployment.source) if deployment is not None else None
        return observed.serving if observed is not None else None

    def highest_epoch(self, model: str) -> int:
        """The highest number ever given out, or seen at a node (should the state have been lost)."""
        seen = [state.epoch for observed in self._held(model).observed.values() for state in observed.epochs]
        return max([self.state.epochs.get(model, 0), *seen])

    def next_epoch(self, model: str) -> int:
        """A number never given out before."""
        number = self.highest_epoch(model) + 1
        self.update(epochs=self.state.epochs | {model: number})
        return number

    def is_prepared(self, model: str, node: str, epoch: int) -> bool:
        """Whether a node says that it has an epoch ready."""
        observed = self._held(model).observed.get(node)
        return observed is not None and any(
            state.epoch == epoch and state.state == "prepared" for state in observed.epochs
        )

    async def drained(self, model: str, node: str, limit_s: float) -> None:
        """Wait until a node holds no epoch of a model, is offline, or time is up."""
        held = self._held(model)
        deadline_s = self._clock() + limit_s
        while (remaining_s := deadline_s - self._clock()) > 0:
            observed = held.observed.get(node)
            if observed is None or not observed.epochs or not self._registry.node(node).online:
                return
            held.moved.clear()
            try:
                async with asyncio.timeout(min(remaining_s, 1.0)):
                    await held.moved.wait()
            except TimeoutError:
                continue  # look again: the node may have gone offline meanwhile

    def roll_out(
        self, model: str, deployment: DeploymentState, made: PlanRecord, deadline_s: float
    ) -> asyncio.Future[str]:
        """Start preparing a plan; resolved with nothing once it serves, or with why it was abandoned."""
        held = self._held(model)
        held.outcome = asyncio.get_running_loop().create_future()
        rollout = begin(deployment.rollout, made.plan, deadline_s)
        plans = deployment.plans | {made.plan.epoch: made}
        self.keep(model, msgspec.structs.replace(deployment, rollout=rollout, plans=plans))
        self.publish(model)
        self.step(model)
        return held.outcome

    def hold_spares(self, model: str, spares: Mapping[Spare, SparePlan]) -> None:
        """Give the active plan of a model these spares, in place of those it has."""
        deployment = self.state.deployments[model]
        rollout = with_spares(deployment.rollout, tuple(spares))
        held = deployment.spares | {plan.epoch: plan for plan in spares.values()}
        self.keep(model, msgspec.structs.replace(deployment, rollout=rollout, spares=held))
        self.publish(model)
        self.step(model)

    def step(self, model: str) -> None:
        """Let a rollout take every step that what is known allows."""
        deployment = self.state.deployments.get(model)
        if deployment is None or not self.settled:
            return
        names = frozenset(node for plan in deployment.rollout.plans for node in (*plan.participants, plan.source))
        gone = self._registry.gone(names)
        if self.patient:
            gone = frozenset(name for name in gone if self._registry.knows(name))
        world = World(self._held(model).observed, gone, self._clock())
        rollout, notices = advance(deployment.rollout, world)
        if rollout == deployment.rollout:
            return
        held = {plan.epoch for plan in rollout.plans} | {spare.epoch for spare in rollout.spares}
        fallbacks = {plan.fallback for plan in rollout.plans}
        stepped = msgspec.structs.replace(
            deployment,
            rollout=rollout,
            source=rollout.active.source if rollout.active is not None else deployment.source,
            plans={epoch: plan for epoch, plan in deployment.plans.items() if epoch in held},
            local=tuple(plan for plan in deployment.local if plan.epoch in fallbacks),
            spares={epoch: spare for epoch, spare in deployment.spares.items() if epoch in held},
        )
        self.keep(model, stepped)
        if rollout.active is None and rollout.upcoming is None:
            self.drop(model)  # a first deployment that came to nothing leaves nothing behind
        else:
            self.publish(model)
        for notice in notices:
            self._tell(model, notice, deployment.plans.get(notice.plan.epoch))

    def publish(self, model: str) -> None:
        """Tell nodes what changed; the source's address first, so that requests know where to go."""
        deployment = self.state.deployments[model]
        held = self._held(model)
        self._announce(model, deployment, held)
        wanted = _desired(model, deployment, self._shadowing)
        for node in held.published.keys() - wanted.keys():
            self._outbox.clear_desired(node, model)
        for node, desired in wanted.items():
            if held.published.get(node) != desired:
                self._outbox.publish_desired(desired)
        held.published = wanted

    def drop(self, model: str) -> None:
        """Forget a deployment and have every node let go of it."""
        held = self._held(model)
        nodes = set(held.published) | set(self._registry.nodes)
        self.update(deployments={name: kept for name, kept in self.state.deployments.items() if name != model})
        self._outbox.clear_deployment(model)
        for node in sorted(nodes):
            self._outbox.clear_desired(node, model)
        held.published, held.announced = {}, None

    def _announce(self, model: str, deployment: DeploymentState, held: _Held) -> None:
        active = deployment.active
        if active is None:
            return
        status = self._registry.node(deployment.source).status
        known = active.specs[deployment.source].participants[deployment.source]
        announced = Deployment(
            model=model,
            source=deployment.source,
            advertise=status.advertise if status is not None else known,
            inputs=deployment.inputs,
            outputs=deployment.outputs,
        )
        if announced != held.announced:
            held.announced = announced
            self._outbox.publish_deployment(announced)

    def _tell(self, model: str, notice: Notice, record: PlanRecord | None) -> None:
        plan = notice.plan
        data: dict[str, str | float | int | bool | None] = {"epoch": plan.epoch}
        if notice.kind == "activated" and record is not None:
            data |= {"latency_s": record.evaluation.timeline_s, "energy_j": record.evaluation.energy_j}
            data |= {"noise": record.evaluation.noise, "reason": record.reason}
        name = f"{model} epoch {plan.epoch}"
        texts = {
            "prepared": f"{name} is prepared on {', '.join(plan.participants)}",
            "activated": f"{name} serves" + (f": {record.reason}" if record is not None else ""),
            "abandoned": f"{name} was abandoned: {notice.reason}",
            "retired": f"{name} has ended and is freed",
        }
        self._events.add(f"epoch-{notice.kind}", texts[notice.kind], model=model, data=data)
        outcome = self._held(model).outcome
        if notice.kind in {"activated", "abandoned"} and outcome is not None and not outcome.done():
            outcome.set_result(notice.reason)

    def _held(self, model: str) -> _Held:
        return self._models.setdefault(model, _Held())


def _desired(
    model: str, deployment: DeploymentState, shadowing: Callable[[str, PlanRecord], Shadowing | None]
) -> dict[str, Desired]:
    """What every node should hold of a model."""
    local = {plan.epoch: plan.spec for plan in deployment.local}
    wanted: dict[str, Desired] = {}
    for node, part in parts(deployment.rollout).items():
        specs: list[EpochSpec] = [deployment.spec(epoch, node) for epoch in part.plans]
        specs += [local[epoch] for epoch in part.local if epoch in local]
        served = deployment.plans.get(part.serve) if part.serve is not None else None
        wanted[node] = Desired(
            node=node,
            model=model,
            inputs=deployment.inputs,
            outputs=deployment.outputs,
            epochs=tuple(sorted(specs, key=lambda spec: spec.epoch)),
            serve=part.serve,
            fallback=part.fallback,
            fallbacks=dict(part.spares),
            shadowing=shadowing(model, served) if served is not None else None,
        )
    return wanted
