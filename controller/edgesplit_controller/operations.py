"""What every command of splitctl makes the controller do.

Owns: one method per operation of `edgesplit.requests`, with the semantics INTERFACES.md fixes. Its rule: it decides
nothing the catalog, the deployer or the registry owns; it puts their answers together. Not here: the exchange with
the client (`inbox.py`), the documents' building (`documents.py`).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from edgesplit.errors import EdgesplitError, InvalidInput, NodeUnreachable, NotDeployed, PlanInfeasible, UnknownNode
from edgesplit.requests import (
    AddModel,
    DeployDocument,
    DeployModel,
    ExportProblem,
    GoalsDocument,
    ListEvents,
    ListLinks,
    ListModels,
    ListNodes,
    ModelAddedDocument,
    ModelDocument,
    Operation,
    PlanDocument,
    RemoveModel,
    SetWeights,
    ShowModel,
    ShowPlan,
    ShowSource,
    SourceDocument,
    UndeployModel,
    WeightsRow,
)
from edgesplit_controller.documents import added_document, link_rows, model_document, node_rows, plan_document
from edgesplit_controller.inbox import Progress

if TYPE_CHECKING:
    from edgesplit_controller.deployment.deployer import Deployer
    from edgesplit_controller.deployment.rollouts import Rollouts
    from edgesplit_controller.deployment.state import PlanRecord
    from edgesplit_controller.events import EventLog
    from edgesplit_controller.models.catalog import Catalog
    from edgesplit_controller.models.record import ModelRecord
    from edgesplit_controller.registry import Registry

__all__ = ["Operations", "merged_goals"]


class Operations:
    """All operations.

    Args:
        registry: The fleet.
        catalog: The models.
        rollouts: What nodes serve.
        deployer: The deployments.
        events: The history.
    """

    def __init__(
        self, registry: Registry, catalog: Catalog, rollouts: Rollouts, deployer: Deployer, events: EventLog
    ) -> None:
        self._registry = registry
        self._catalog = catalog
        self._rollouts = rollouts
        self._deployer = deployer
        self._events = events
        self._asking: dict[type, Callable[[Any], object]] = {
            ListNodes: lambda _: node_rows(self._registry),
            ListLinks: lambda _: link_rows(self._registry, time.time()),
            ListModels: lambda _: [self._document(record) for record in self._catalog.records.values()],
            ShowModel: lambda asked: self._document(self._catalog.get(asked.name)),
            ShowPlan: lambda asked: self.plan(asked.name),
            ExportProblem: lambda asked: self._active(asked.name).problem,
            ShowSource: lambda asked: self._source(asked.name, asked.via),
            ListEvents: lambda asked: self._events.last(asked.limit),
        }

    async def perform(self, operation: Operation, progress: Progress) -> Any:
        """Carry out an operation and return its document.

        Raises:
            EdgesplitError: It cannot be done; the sentence for the client.
        """
        match operation:
            case AddModel():
                return await self._add(operation, progress)
            case RemoveModel():
                return await self._remove(operation.name, progress)
            case DeployModel():
                return await self._deploy(operation, progress)
            case UndeployModel():
                return await self._undeploy(operation.name, progress)
            case SetWeights():
                return await self._set_weights(operation, progress)
            case _:
                return self._asking[type(operation)](operation)

    def plan(self, name: str) -> PlanDocument:
        """The active plan of a model.

        Raises:
            UnknownModel: There is no such model.
            NotDeployed: It does not serve.
        """
        plan = self._active(name)
        usage = self._registry.usage(name, plan.plan.epoch)
        return plan_document(plan, usage, self._rollouts.serving(name))

    async def _add(self, asked: AddModel, progress: Progress) -> ModelAddedDocument:
        record = await self._catalog.add(asked, progress)
        text = (
            f"model {record.name} was added: {len(record.graph.operators)} operators in {len(record.graph.units)} units"
        )
        self._events.add("model-added", text, model=record.name)
        warnings = await self._catalog.wait_for_profiles(record, progress)
        if record.name in self._deployer.deployments:
            progress("moving the deployment to the new version", None)
            try:
                await self._deployer.model_replaced(record.name)
            except EdgesplitError as error:
                warnings.append(f"the deployment still serves the old version: {error}")
        self._collect()
        return added_document(record, self._registry, warnings)

    async def _remove(self, name: str, progress: Progress) -> ModelDocument:
        document = self._document(self._catalog.get(name))
        if name in self._deployer.deployments:
            progress(f"ending the serving of {name}", None)
            await self._deployer.undeploy(name)
        self._catalog.remove(name)
        self._deployer.forget_goals(name)
        self._events.add("model-removed", f"model {name} was removed", model=name)
        self._collect()
        return document

    async def _deploy(self, asked: DeployModel, progress: Progress) -> DeployDocument:
        started_s = time.monotonic()
        self._catalog.get(asked.name)
        if not asked.wait_s > 0:
            raise InvalidInput(f"--wait is {asked.wait_s:g}: give a number of seconds greater than 0")
        progress("planning and preparing", None)
        change = await self._deployer.deploy(asked.name, asked.source, asked.wait_s)
        self._collect()
        seconds = time.monotonic() - started_s
        return DeployDocument(model=asked.name, epoch=change.epoch, seconds=seconds, reason=change.reason)

    async def _undeploy(self, name: str, progress: Progress) -> DeployDocument:
        started_s = time.monotonic()
        self._catalog.get(name)
        progress("waiting for the last requests", None)
        epoch = await self._deployer.undeploy(name)
        self._collect()
        return DeployDocument(model=name, epoch=epoch, seconds=time.monotonic() - started_s)

    async def _set_weights(self, asked: SetWeights, progress: Progress) -> list[WeightsRow]:
        names = [self._catalog.get(asked.model).name] if asked.model is not None else sorted(self._catalog.records)
        goals = {name: merged_goals(self._deployer.goals(name), asked) for name in names}
        if asked.model is None:
            self._deployer.keep_goals(None, merged_goals(self._deployer.goals(None), asked))
        progress("planning and preparing", None)
        results = await asyncio.gather(
            *(self._deployer.set_goals(name, goals[name]) for name in names), return_exceptions=True
        )
        rows: list[WeightsRow] = []
        failures: list[EdgesplitError] = []
        for name, result in zip(names, results, strict=True):
            if isinstance(result, EdgesplitError):
                failures.append(result)
            elif isinstance(result, BaseException):
                raise result
            else:
                rows.append(WeightsRow(model=name, epoch=result.epoch, changed=result.changed))
        self._collect()
        if failures:
            raise _joined(failures)
        return rows

    def _source(self, name: str, via: str | None) -> SourceDocument:
        self._catalog.get(name)
        deployment = self._deployer.deployments.get(name)
        if deployment is None or deployment.rollout.active is None:
            raise NotDeployed(f"{name} is not deployed: run splitctl deploy {name} --source NODE")
        node = via if via is not None else deployment.source
        if not self._registry.knows(node):
            known = ", ".join(self._registry.nodes) or "none yet"
            raise UnknownNode(f"no node {node!r} is registered: choose among the known ones ({known})")
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
        return model_document(record, self._registry, deployment, self._deployer.goals(record.name))

    def _collect(self) -> None:
        deployments = self._deployer.deployments
        self._catalog.collect(lambda: {digest for kept in deployments.values() for digest in kept.digests})


def merged_goals(goals: GoalsDocument, asked: SetWeights) -> GoalsDocument:
    """Goals after `set-weights`: naming one weight sets the other to 0, naming neither keeps both, limits persist.

    Raises:
        InvalidInput: A weight or limit is negative or not finite, or both weights are 0.
    """
    latency_weight, energy_weight = goals.latency_weight, goals.energy_weight
    if asked.latency is not None or asked.energy is not None:
        latency_weight, energy_weight = asked.latency or 0.0, asked.energy or 0.0
    merged = GoalsDocument(
        latency_weight=latency_weight,
        energy_weight=energy_weight,
        max_noise=goals.max_noise if asked.max_noise is None else asked.max_noise.value,
        device_energy_limit_j=(
            goals.device_energy_limit_j if asked.device_energy_j is None else asked.device_energy_j.value
        ),
    )
    for name, value in msgspec.structs.asdict(merged).items():
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise InvalidInput(f"the goal {name} is {value}: give a number of 0 or more")
    if merged.latency_weight + merged.energy_weight <= 0:
        raise InvalidInput("both weights are 0: give latency or energy a weight greater than 0")
    return merged


def _joined(failures: list[EdgesplitError]) -> EdgesplitError:
    """One error for several models; infeasible if any of them has no plan."""
    gravest = next((failure for failure in failures if isinstance(failure, PlanInfeasible)), failures[0])
    return type(gravest)("; ".join(str(failure) for failure in failures))
