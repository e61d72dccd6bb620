"""What every command of splitctl makes the controller do.

Owns: one method per operation of `edgesplit.operations.operation`, with the semantics of docs/splitctl.md. Its rule: it
decides nothing the catalog, the deployer or the registry owns; it puts their answers together. Not here: the exchange
with the client (`answering/inbox.py`), the documents' building (`rendering.py`).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from edgesplit.errors import EdgesplitError, InvalidInput, NodeUnreachable, NotDeployed, StoreUnwritable
from edgesplit.operations.event_operations import ListEvents
from edgesplit.operations.fleet_operations import ListLinks, ListNodes, RemoveNode
from edgesplit.operations.goal_operations import AllowNode, ForbidNode, PinOperators, SetWeights, UnpinOperators
from edgesplit.operations.model_operations import (
    AddModel,
    ListModels,
    ModelAddedDocument,
    ModelDocument,
    ProfileModel,
    RemoveModel,
    ShowModel,
)
from edgesplit.operations.operation import Operation
from edgesplit.operations.plan_operations import (
    DeployDocument,
    DeployModel,
    ExportProblem,
    PlanDocument,
    ShowPlan,
    ShowSource,
    SourceDocument,
    UndeployModel,
)
from edgesplit.operations.study_operations import ExplainPlan, TraceFrontier, WhatIf
from edgesplit_controller.answering.goal_changes import GoalChanges
from edgesplit_controller.answering.inbox import Progress
from edgesplit_controller.answering.node_removal import NodeRemoval
from edgesplit_controller.answering.rendering import (
    added_document,
    fallback_rows,
    link_rows,
    model_document,
    node_rows,
    plan_document,
)
from edgesplit_controller.answering.studies import Studies
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.deciding.noise_guard import NoiseGuard
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.fleet.node_speeds import Speeds
from edgesplit_controller.fleet.profiling_progress import Profiling
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.models.catalog import Catalog
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.stating.pinning import pin_rows
from edgesplit_controller.storage.deployment_state import PlanRecord

__all__ = ["Operations"]


class Operations:
    """All operations.

    Args:
        registry: The fleet.
        catalog: The models.
        rollouts: What nodes serve.
        deployer: The deployments.
        events: The history.
        speeds: How profiles are corrected.
        studies: Answer what changes nothing.
        guard: Knows measured noise.
        profiling: Waits for nodes.
        removal: Forgets nodes.
        when_written: Does something once no blobs are being written that nobody names yet.

    Whatever changes something begins with a write: where that fails, nothing else was done.
    """

    def __init__(
        self,
        registry: Registry,
        catalog: Catalog,
        rollouts: Rollouts,
        deployer: Deployer,
        events: EventLog,
        *,
        speeds: Speeds,
        studies: Studies,
        guard: NoiseGuard,
        profiling: Profiling,
        removal: NodeRemoval,
        when_written: Callable[[Callable[[], None]], None],
    ) -> None:
        self._registry = registry
        self._catalog = catalog
        self._rollouts = rollouts
        self._deployer = deployer
        self._events = events
        self._guard = guard
        self._profiling = profiling
        self._speeds = speeds
        self._when_written = when_written
        self._asking: dict[type, Callable[[Any], object]] = {
            ListNodes: lambda _: node_rows(self._registry, self._speeds, time.time()),
            ListLinks: lambda _: link_rows(self._registry),
            ListModels: lambda _: [self._document(record) for record in self._catalog.records.values()],
            ShowModel: lambda asked: self._document(self._catalog.get(asked.name)),
            ShowPlan: lambda asked: self.plan(asked.name),
            ExportProblem: lambda asked: self._active(asked.name).problem,
            ShowSource: lambda asked: self._source(asked.name, asked.via),
            ListEvents: lambda asked: self._events.last(asked.limit, asked.selection),
        }
        self._working: dict[type, Callable[[Any, Progress], Awaitable[object]]] = {
            AddModel: self._add,
            ProfileModel: lambda asked, progress: profiling.ask_again(
                self._catalog.get(asked.name), asked.node, progress
            ),
            RemoveNode: lambda asked, _progress: removal.remove(asked.name),
            RemoveModel: lambda asked, progress: self._remove(asked.name, progress),
            DeployModel: self._deploy,
            UndeployModel: lambda asked, progress: self._undeploy(asked.name, progress),
            ExplainPlan: lambda asked, progress: studies.explain(asked, self._active(asked.name), progress),
            WhatIf: lambda asked, progress: studies.what_if(asked, self._active(asked.name), progress),
            TraceFrontier: lambda asked, progress: studies.frontier(asked, self._active(asked.name), progress),
        }
        changes = GoalChanges(registry, catalog, deployer, rollouts.unchecked)
        self._changing: dict[type, Callable[[Any], Awaitable[object]]] = {
            SetWeights: changes.set_weights,
            PinOperators: changes.pin,
            UnpinOperators: changes.unpin,
            ForbidNode: changes.forbid,
            AllowNode: changes.allow,
        }

    async def perform(self, operation: Operation, progress: Progress) -> Any:
        """Carry out an operation and return its document.

        Raises:
            EdgesplitError: It cannot be done; the sentence for the client.
        """
        kind = type(operation)
        if kind in self._changing or isinstance(operation, AddModel | RemoveModel | DeployModel | UndeployModel):
            self._begin(operation)
            if unfinished := self._deployer.unfinished(getattr(operation, "name", "")):
                progress(unfinished, None)
        if kind in self._changing:
            progress("planning and preparing", None)
            try:
                return await self._changing[kind](operation)
            finally:
                self._collect()
        if kind in self._working:
            return await self._working[kind](operation, progress)
        return self._asking[kind](operation)

    def _begin(self, operation: Operation) -> None:
        """Write the state as it is: a change that the store could not take is not even begun.

        Raises:
            StoreUnwritable: It takes no writes.
        """
        try:
            self._rollouts.update()
        except StoreUnwritable:
            if isinstance(operation, AddModel):
                self._catalog.discard(operation)
            raise

    def plan(self, name: str) -> PlanDocument:
        """The active plan of a model.

        Raises:
            UnknownModel: There is no such model.
            NotDeployed: It does not serve.
        """
        plan = self._active(name)
        usage = self._registry.usage(name, plan.plan.epoch)
        record = self._catalog.get(name)
        pins = pin_rows(record.graph, plan.goals.pins, plan.plan.source)
        rows = fallback_rows(self._deployer.deployments[name], plan, partial(self._rollouts.is_prepared, name))
        battery, noise, serving = (
            self._deployer.battery(name),
            self._guard.document(name, plan),
            self._rollouts.serving(name),
        )
        return plan_document(
            plan,
            usage,
            serving,
            speeds=self._speeds,
            pins=pins,
            fallbacks=rows,
            battery=battery,
            noise=noise,
            declined=self._deployer.declined.of(name),
        )

    async def _add(self, asked: AddModel, progress: Progress) -> ModelAddedDocument:
        self._forget_removed(asked.name)
        try:
            record = await self._catalog.add(asked, progress)
        except BaseException:
            self._collect()  # a refused model leaves no blobs, which may be what the store has no room for
            raise
        self._guard.believe(record.name)
        text = (
            f"model {record.name} was added: {len(record.graph.operators)} operators in {len(record.graph.units)} units"
        )
        self._events.add("model-added", text, model=record.name)
        warnings = await self._profiling.wait(record, progress)
        not_profiled = self._profiling.failures(record)
        if record.name in self._deployer.deployments:
            progress("moving the deployment to the new version", None)
            try:
                await self._deployer.model_replaced(record.name)
            except EdgesplitError as error:
                warnings.append(f"the deployment still serves the old version: {error}")
        self._collect()
        return added_document(record, self._registry, warnings, not_profiled)

    async def _remove(self, name: str, progress: Progress) -> ModelDocument:
        document = self._document(self._catalog.get(name))
        if name in self._deployer.deployments:
            progress(f"ending the serving of {name}", None)
        await self._deployer.remove(name)
        if self._catalog.remove(name):
            self._rollouts.note(removed=tuple(other for other in self._rollouts.state.removed if other != name))
        self._speeds.forget_model(name)
        self._events.add("model-removed", f"model {name} was removed", model=name)
        self._collect()
        return document

    def _forget_removed(self, name: str) -> None:
        """Make room for a new model of a name whose old one could not be deleted when it was removed.

        Raises:
            StoreUnwritable: It still cannot.
        """
        if name in self._rollouts.state.removed and name not in self._catalog.records:
            self._catalog.delete(name)
            self._rollouts.update(removed=tuple(other for other in self._rollouts.state.removed if other != name))

    async def _deploy(self, asked: DeployModel, progress: Progress) -> DeployDocument:
        started_s = time.monotonic()
        self._catalog.get(asked.name)
        if not asked.wait_s > 0:
            raise InvalidInput(f"--wait is {asked.wait_s:g}: give a number of seconds greater than 0")
        progress("planning and preparing", None)
        change = await self._deployer.deploy(asked.name, asked.source, asked.wait_s)
        self._collect()
        seconds = time.monotonic() - started_s
        warnings = tuple(filter(None, [self._rollouts.unchecked(asked.name)]))
        return DeployDocument(
            model=asked.name, epoch=change.epoch, seconds=seconds, reason=change.reason, warnings=warnings
        )

    async def _undeploy(self, name: str, progress: Progress) -> DeployDocument:
        started_s = time.monotonic()
        self._catalog.get(name)
        progress("waiting for the last requests", None)
        epoch = await self._deployer.undeploy(name)
        self._collect()
        return DeployDocument(model=name, epoch=epoch, seconds=time.monotonic() - started_s)

    def _source(self, name: str, via: str | None) -> SourceDocument:
        self._catalog.get(name)
        deployment = self._deployer.deployments.get(name)
        if deployment is None or deployment.rollout.active is None:
            raise NotDeployed(f"{name} is not deployed: run splitctl deploy {name} --source NODE")
        node = via if via is not None else deployment.source
        self._registry.check_known(node)
        status = self._registry.node(node).status
        if status is None or not status.online:
            raise NodeUnreachable(f"node {node} is offline: start its agent or go --via another node")
        return SourceDocument(
            model=name,
            source=deployment.source,
            via=node,
            address=status.advertise,
            epoch=self._rollouts.serving(name),
            inputs=deployment.inputs,
            outputs=deployment.outputs,
        )

    def _active(self, name: str) -> PlanRecord:
        self._catalog.get(name)
        deployment = self._deployer.deployments.get(name)
        if deployment is None or deployment.active is None:
            raise NotDeployed(f"{name} is not deployed: run splitctl deploy {name} --source NODE")
        return deployment.active

    def _document(self, record: ModelRecord) -> ModelDocument:
        deployment = self._deployer.deployments.get(record.name)
        goals, tightening = self._deployer.goals(record.name), self._guard.tightening(record.name)
        return model_document(record, self._registry, deployment, goals, tightening)

    def _collect(self) -> None:
        self._when_written(
            lambda: self._catalog.collect(
                lambda: {digest for kept in self._deployer.deployments.values() for digest in kept.digests}
            )
        )
