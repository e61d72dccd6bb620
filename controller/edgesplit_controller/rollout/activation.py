"""Activation: from a draft to an epoch that serves.

Owns: a plan's number and local fallback, its compilation, and waiting until it serves or was abandoned. Its rule: blobs
are written within `BlobWrites`, so that none is collected before a plan names it, and cutting shares its thread with other
heavy work. Not here: whether to switch (`deciding/`), the steps of the rollout (`rollout/driver.py`).
"""

from __future__ import annotations

import asyncio
import time

import msgspec

from edgesplit.control.event_messages import EventData
from edgesplit.control.plan_messages import EpochSpec
from edgesplit.formatting import between, time_span
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.rollout.compilation import compile_local, compile_plan
from edgesplit_controller.rollout.draft import Draft
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.rollout.fallback_memory import fitting, held_fallbacks
from edgesplit_controller.storage.blob_writes import BlobWrites
from edgesplit_controller.storage.deployment_state import DeploymentState, LocalFallback, PlanRecord

__all__ = ["Activation"]


class Activation:
    """Brings plans to their nodes.

    Args:
        rollouts: Drives them there.
        registry: Addresses and memory of the nodes.
        blobs: Where component graphs go.
        writing: Told when blobs are written that no plan names yet.
        events: Where plans are told.
        heavy: Held while a model is cut.
    """

    def __init__(
        self,
        rollouts: Rollouts,
        registry: Registry,
        blobs: BlobStore,
        *,
        writing: BlobWrites,
        events: EventLog,
        heavy: asyncio.Lock,
    ) -> None:
        self._rollouts = rollouts
        self._registry = registry
        self._blobs = blobs
        self._writing = writing
        self._events = events
        self._heavy = heavy

    async def roll_out(self, record: ModelRecord, draft: Draft, reason: str, data: EventData, deadline_s: float) -> int:
        """Compile, prepare, and return the epoch once it serves.

        Args:
            record: The model.
            draft: The plan.
            reason: Why it was made.
            data: Figures of the event that tells of it.
            deadline_s: When it is given up, on the rollouts' clock. [s]

        Raises:
            PreparationFailed: The epoch was abandoned; what served before serves on, under the goals it had.
            StoreUnwritable: It could not be begun, or what became of it could not be remembered in time.
        """
        model = record.name
        local, local_epoch = self._local_fallback(record, draft)
        epoch = self._rollouts.next_epoch(model)
        with self._writing():
            async with self._heavy:
                specs = await asyncio.to_thread(self._compiled, record, draft, epoch)
                if local_epoch is not None and local is None:
                    local = await asyncio.to_thread(self._compiled_local, record, draft.problem.source, local_epoch)
            made = draft.numbered(record, epoch, specs, local_epoch, reason, made_unix_s=time.time())
            outcome = self._begin(record, made, local, deadline_s)
        latency = between(draft.evaluation.timeline_s, made.latency_interval_s, time_span)
        where = ", ".join(made.epoch.participants)
        text = f"{model} epoch {epoch} planned on {where} ({reason}): {latency}"
        self._events.add("planned", text, model=model, data={**data, "epoch": epoch})
        self._trim_fallbacks()
        await outcome
        return epoch

    def _local_fallback(self, record: ModelRecord, draft: Draft) -> tuple[LocalFallback | None, int | None]:
        """The local fallback that nodes hold, and its number; without one to hold, the number of one to make, or None."""
        if not draft.needs_local_fallback(record):
            return None, None
        deployment = self._rollouts.state.deployments.get(record.name)
        for local in deployment.local_fallbacks if deployment is not None else ():
            if (local.source, local.sha256) == (draft.problem.source, record.sha256):
                return local, local.epoch
        return None, self._rollouts.next_epoch(record.name)

    def _compiled(self, record: ModelRecord, draft: Draft, epoch: int) -> dict[str, EpochSpec]:
        return compile_plan(
            record.graph,
            self._blobs,
            record.manifest.ranges,
            draft.assignment,
            draft.evaluation,
            epoch=epoch,
            source=draft.problem.source,
            addresses=self._registry.addresses,
        )

    def _compiled_local(self, record: ModelRecord, source: str, epoch: int) -> LocalFallback:
        address = self._registry.addresses[source]
        spec = compile_local(record.graph, self._blobs, epoch=epoch, source=source, address=address)
        return LocalFallback(epoch=epoch, source=source, sha256=record.sha256, spec=spec)

    def _begin(
        self, record: ModelRecord, made: PlanRecord, local: LocalFallback | None, deadline_s: float
    ) -> asyncio.Future[None]:
        """Have nodes prepare a plan and its local fallback; see `Rollouts.roll_out`."""
        before = self._rollouts.state.deployments.get(record.name)
        kept = {plan.epoch: plan for plan in (before.local_fallbacks if before is not None else ())}
        if local is not None:
            kept[local.epoch] = local
        deployment = msgspec.structs.replace(
            before or DeploymentState(source=made.epoch.source, inputs=(), outputs=()),
            inputs=record.inputs,
            outputs=record.outputs,
            local_fallbacks=tuple(kept.values()),
        )
        return self._rollouts.roll_out(record.name, deployment, made, deadline_s)

    def _trim_fallbacks(self) -> None:
        """Let go of fallbacks that no longer fit beside what nodes hold and prepare."""
        for model, deployment in tuple(self._rollouts.state.deployments.items()):
            held = held_fallbacks(deployment)
            kept = fitting(model, held, self._rollouts.state.deployments, self._registry.memory_limit_bytes)
            if len(kept) < len(held):
                self._rollouts.hold_fallbacks(model, kept)
