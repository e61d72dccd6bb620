"""From a draft to an epoch that serves.

Owns: a plan's number and fallback, its compilation, and waiting until it serves or was abandoned. Its rule: blobs are
written within `Writing`, so that none is collected before a plan names it. Not here: whether to switch (`deciding/deployer.py`),
the steps of the roll-out (`rollout/driver.py`).
"""

from __future__ import annotations

import asyncio

import msgspec

from edgesplit.formatting import time_span
from edgesplit_controller.deciding.changes.trigger import Data, ModelChange
from edgesplit_controller.deciding.fallbacks import Fallbacks, Writing
from edgesplit_controller.deciding.plan_maker import Draft, PlanMaker
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.storage.deployment_state import DeploymentState, LocalFallback, PlanRecord

__all__ = ["Activation"]


class Activation:
    """Brings plans to their nodes.

    Args:
        rollouts: Drives them there.
        maker: Compiles them.
        fallbacks: Their memory gives way to a new plan.
        writing: Told when blobs are written that no plan names yet.
        events: Where plans are told.
    """

    def __init__(
        self, rollouts: Rollouts, maker: PlanMaker, fallbacks: Fallbacks, writing: Writing, events: EventLog
    ) -> None:
        self._rollouts = rollouts
        self._maker = maker
        self._fallbacks = fallbacks
        self._writing = writing
        self._events = events

    async def roll_out(
        self, record: ModelRecord, draft: Draft, reason: str, data: Data, deadline_s: float
    ) -> ModelChange:
        """Compile, prepare, and return once the epoch serves.

        Args:
            record: The model.
            draft: The plan.
            reason: Why it was made.
            data: Figures of the event that tells of it.
            deadline_s: When it is given up, on the deployer's clock. [s]

        Raises:
            PreparationFailed: The epoch was abandoned; what served before serves on, under the goals it had.
            StoreUnwritable: It could not be begun, or what became of it could not be remembered in time.
        """
        model = record.name
        epoch, fallback = self._numbers(model, record, draft)
        with self._writing():
            made, local = await self._maker.compile(record, draft, epoch, fallback, reason)
            outcome = self._begin(record, draft, made, local, deadline_s)
        where = ", ".join(made.plan.participants)
        text = f"{model} epoch {epoch} planned on {where} ({reason}): {time_span(draft.evaluation.timeline_s)}"
        self._events.add("planned", text, model=model, data=data | {"epoch": epoch})
        self._fallbacks.trim()
        await outcome
        return ModelChange(epoch, not draft.decision.same, reason)

    def gains_fallback(self, record: ModelRecord, draft: Draft, serving: PlanRecord) -> bool:
        """Whether pins now allow, or no longer allow, the same plan its fallback: only a new epoch can tell nodes."""
        held = serving.plan.local_fallback is not None
        return serving.goals.pins != draft.goals.pins and held != self._maker.needs_fallback(record, draft)

    def _begin(
        self, record: ModelRecord, draft: Draft, made: PlanRecord, local: LocalFallback | None, deadline_s: float
    ) -> asyncio.Future[None]:
        """Have nodes prepare a plan and its fallback; see `Rollouts.roll_out`."""
        model = record.name
        before = self._rollouts.state.deployments.get(model)
        kept = {plan.epoch: plan for plan in (before.local_fallbacks if before is not None else ())}
        if local is not None:
            kept[local.epoch] = local
        deployment = msgspec.structs.replace(
            before or DeploymentState(source=draft.problem.source, inputs=(), outputs=()),
            inputs=record.inputs,
            outputs=record.outputs,
            local_fallbacks=tuple(kept.values()),
        )
        return self._rollouts.roll_out(model, deployment, made, deadline_s)

    def _numbers(self, model: str, record: ModelRecord, draft: Draft) -> tuple[int, LocalFallback | int | None]:
        """The new plan's epoch, and its fallback: one that exists, the number of a new one, or none."""
        fallback: LocalFallback | int | None = None
        if self._maker.needs_fallback(record, draft):
            wanted = (draft.problem.source, record.sha256)
            deployment = self._rollouts.state.deployments.get(model)
            existing = deployment.local_fallbacks if deployment is not None else ()
            fallback = next((plan for plan in existing if (plan.source, plan.sha256) == wanted), None)
            if fallback is None:
                fallback = self._rollouts.next_epoch(model)
        return self._rollouts.next_epoch(model), fallback
