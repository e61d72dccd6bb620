"""Planning of fallbacks: for every node that could vanish, after the plan that serves.

Owns: when fallbacks are planned, and handing them to the rollout. Its rule: nothing here delays a plan that is to serve. Not
here: which fallbacks are worth having (`deciding/fallback_choice.py`), which fit the nodes' memory
(`rollout/fallback_memory.py`), when the source moves to one (the agents').
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import msgspec
import structlog

from edgesplit.control.plan_messages import EpochSpec
from edgesplit.errors import EdgesplitError
from edgesplit.formatting import between, time_span
from edgesplit.planning.plan import per_node
from edgesplit.planning.spreads import PredictionInterval
from edgesplit_controller.configuration import PlanningSection
from edgesplit_controller.deciding.fallback_choice import FallbackDraft, plan_fallbacks, still_hold
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.planner.studies.variations import without_node
from edgesplit_controller.rollout.compilation import compile_plan
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.rollout.fallback_memory import fitting, held_fallbacks
from edgesplit_controller.stating.predicting.prediction_intervals import Certainty
from edgesplit_controller.storage.blob_writes import BlobWrites
from edgesplit_controller.storage.deployment_state import DeploymentState, FallbackRecord, PlanRecord
from edgesplit_controller.storage.rollout_state import FallbackEpoch

__all__ = ["Fallbacks"]

LEAST_TIME_S = 1.0
"""What fallbacks get of the time limit even where the plan itself used it up. [s]"""
_Basis = tuple[object, ...]
"""What fallbacks were planned for; figures that scatter are not part of it."""


class Fallbacks:
    """The fallbacks of all deployments.

    Args:
        rollouts: Holds them.
        registry: Addresses and memory of the nodes.
        certainty: How sure predictions are.
        models: By name.
        blobs: Where component graphs go.
        writing: Told when they do.
        events: Where new fallbacks are told.
        settings: Which fallbacks nodes keep ready, and the time limit.

    Attributes:
        solved: How often fallbacks were planned since the start, by model.
    """

    def __init__(
        self,
        rollouts: Rollouts,
        *,
        registry: Registry,
        certainty: Certainty,
        models: Mapping[str, ModelRecord],
        blobs: BlobStore,
        writing: BlobWrites,
        events: EventLog,
        settings: PlanningSection,
    ) -> None:
        self._rollouts = rollouts
        self._registry = registry
        self._certainty = certainty
        self._models = models
        self._blobs = blobs
        self._writing = writing
        self._events = events
        self._settings = settings
        self._log = structlog.get_logger(part="fallbacks")
        self._one_at_a_time = asyncio.Lock()
        self._planned_for: dict[str, tuple[_Basis, int]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.solved = Counter[str]()

    @property
    def idle(self) -> bool:
        """Whether none are being planned."""
        return all(task.done() for task in self._tasks.values())

    def refresh(self, model: str) -> None:
        """Plan the fallbacks of a model anew, in the background; what was under way for it is dropped."""
        before = self._tasks.pop(model, None)
        if before is not None:
            before.cancel()
        if model in self._rollouts.state.deployments:
            self._tasks[model] = asyncio.create_task(self._refresh(model), name=f"fallbacks-{model}")

    async def close(self) -> None:
        """Stop planning; what nodes hold stays."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _refresh(self, model: str) -> None:
        try:
            async with self._one_at_a_time:
                await self._plan(model)
        except EdgesplitError as error:
            self._log.warning("fallbacks-not-planned", model=model, reason=str(error))
        except Exception:
            # The plan that serves must not suffer from a defect in planning for the worst.
            self._log.exception("fallbacks-failed-unexpectedly", model=model)

    async def _plan(self, model: str) -> None:
        active = self._plannable(model)
        if active is None:
            return
        drafts: list[FallbackDraft] = []
        open_to = _without(active, self._rollouts.state.drained)
        basis = _basis(open_to, self._settings.fallbacks, self._registry.addresses)
        thresholds = self._settings.thresholds
        if self._settings.fallbacks == "per-node":
            deployment = self._rollouts.state.deployments[model]
            held = held_fallbacks(deployment)
            if self._planned_for.get(model) == (basis, len(held)) and await asyncio.to_thread(
                still_hold, open_to.problem, held, thresholds
            ):
                return  # figures scatter, and what nodes hold is as good
            left_s = max(LEAST_TIME_S, self._settings.time_limit_s - active.solve_s)
            self.solved[model] += 1
            drafts = await asyncio.to_thread(
                plan_fallbacks, open_to, left_s, held, thresholds, self._settings.tolerance
            )
        if self._plannable(model) is not active:
            return  # another plan is on its way, and with it this comes again
        self._planned_for[model] = basis, len(drafts)
        with self._writing():
            fallbacks = await self._compiled(self._models[model], active, drafts)
            if self._plannable(model) is active:
                deployments, limits = self._rollouts.state.deployments, self._registry.memory_limit_bytes
                self._hold(model, fitting(model, fallbacks, deployments, limits))

    def _plannable(self, model: str) -> PlanRecord | None:
        """The plan to make fallbacks for, unless another is being prepared."""
        deployment = self._rollouts.state.deployments.get(model)
        record = self._models.get(model)
        if deployment is None or deployment.active is None or record is None or deployment.rollout.upcoming is not None:
            return None
        return deployment.active if record.fits(deployment.active.version) else None

    async def _compiled(
        self, record: ModelRecord, active: PlanRecord, drafts: Sequence[FallbackDraft]
    ) -> dict[FallbackEpoch, FallbackRecord]:
        """Every draft as a fallback; one that nodes hold already keeps its number."""
        deployment, addresses = self._rollouts.state.deployments[record.name], self._registry.addresses
        found: dict[FallbackEpoch, FallbackRecord] = {}
        for draft in drafts:
            nodes = {active.epoch.source, *draft.assignment.node_of.values()}
            if not nodes <= addresses.keys():
                continue
            held = _held(deployment, draft, addresses)
            if held is None:
                epoch = self._rollouts.next_epoch(record.name)
                specs = await asyncio.to_thread(
                    compile_plan,
                    record.graph,
                    self._blobs,
                    record.manifest.ranges,
                    draft.assignment,
                    draft.evaluation,
                    epoch=epoch,
                    source=active.epoch.source,
                    addresses=addresses,
                )
                ready = False
            else:
                epoch, specs, ready = held.number, deployment.fallbacks[held.number].specs, held.ready
            fallback = FallbackEpoch(number=epoch, lost=draft.lost, participants=tuple(sorted(specs)), ready=ready)
            interval = self._certainty.interval(record, active.problem, draft.assignment, draft.evaluation)
            found[fallback] = _fallback_record(epoch, active, draft, specs, interval)
        return found

    def _hold(self, model: str, fallbacks: Mapping[FallbackEpoch, FallbackRecord]) -> None:
        before = self._rollouts.state.deployments[model].rollout.fallbacks
        if not fallbacks and not before:
            return
        self._rollouts.hold_fallbacks(model, fallbacks)
        if {fallback.number for fallback in before} == {fallback.number for fallback in fallbacks}:
            return
        for fallback, plan in fallbacks.items():
            text = (
                f"{model} epoch {fallback.number} on {', '.join(fallback.participants)} is kept for the loss of "
                f"{' or '.join(fallback.lost)}: {between(plan.latency_s, plan.latency_interval_s, time_span)}"
            )
            data = {"epoch": fallback.number, "latency_s": plan.latency_s, "energy_j": plan.energy_j}
            if plan.latency_interval_s is not None:
                data["latency_low_s"], data["latency_high_s"] = plan.latency_interval_s
            self._events.add("fallback-planned", text, model=model, data=data)


def _without(active: PlanRecord, drained: Collection[str]) -> PlanRecord:
    """A plan whose fallbacks may not use some nodes, but those that it uses itself."""
    problem = active.problem
    unused = {node.name for node in problem.nodes} - {problem.source, *active.assignment.node_of.values()}
    for node in sorted(unused.intersection(drained)):
        problem = without_node(problem, node)
    return active if problem is active.problem else msgspec.structs.replace(active, problem=problem)


def _basis(active: PlanRecord, kept_ready: str, addresses: Mapping[str, str]) -> _Basis:
    names = tuple(node.name for node in active.problem.nodes)
    known = tuple((name, addresses.get(name)) for name in names)
    return active.assignment, active.version, active.epoch.source, active.goals, known, kept_ready


def _held(deployment: DeploymentState, draft: FallbackDraft, addresses: Mapping[str, str]) -> FallbackEpoch | None:
    """The fallback that nodes hold of a draft, unless a node of it has moved."""
    for fallback in deployment.rollout.fallbacks:
        plan = deployment.fallbacks[fallback.number]
        parts = plan.specs.values()
        if plan.assignment == draft.assignment and all(
            addresses.get(node) == address for part in parts for node, address in part.participants.items()
        ):
            return fallback
    return None


def _fallback_record(
    epoch: int,
    active: PlanRecord,
    draft: FallbackDraft,
    specs: dict[str, EpochSpec],
    interval: PredictionInterval | None,
) -> FallbackRecord:
    return FallbackRecord(
        epoch=epoch,
        sha256=active.sha256,
        specs=specs,
        assignment=draft.assignment,
        latency_s=draft.evaluation.timeline_s,
        energy_j=draft.evaluation.energy_j,
        noise=draft.evaluation.noise,
        per_node=per_node(active.problem, draft.assignment, draft.evaluation),
        components=draft.evaluation.components,
        latency_interval_s=interval.latency_s if interval is not None else None,
        energy_interval_j=interval.energy_j if interval is not None else None,
        rate_hz=draft.evaluation.rate_hz,
    )
