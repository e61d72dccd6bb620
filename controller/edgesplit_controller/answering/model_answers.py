"""Answers about models: adding, profiling, listing, removing.

Owns: the operations of `edgesplit.operations.model_operations`. Its rule: it decides nothing the catalog, the deployer or
the registry owns; it puts their answers together. Not here: serving (`plan_answers.py`), goals (`goal_changes.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import msgspec

from edgesplit.errors import EdgesplitError, StoreUnwritable
from edgesplit.names import base_name
from edgesplit.operations.model_operations import (
    AddModel,
    ListModels,
    ModelAddedDocument,
    ModelDocument,
    ModelOperation,
    PlanningShapeRow,
    ProfiledRow,
    ProfileModel,
    ProfilingRow,
    RemoveModel,
    ShowModel,
    TighteningDocument,
)
from edgesplit.planning.goals import Goals
from edgesplit_controller.answering.replies import Progress
from edgesplit_controller.answering.state_changes import StateChanges
from edgesplit_controller.deciding.beside.shape_watch import ShapeWatch
from edgesplit_controller.deciding.beside.source_watch import SourceWatch
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.deciding.noise_guard import NoiseGuard
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.fleet.profiling_progress import Profiling, profiling_rows
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.models.catalog import Catalog
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.models.planning_shapes import is_first, of_model, planned_for
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.rollout.noise_checks import refused_int8
from edgesplit_controller.storage.deployment_state import DeploymentState, Tightening

__all__ = ["ModelAnswers"]


class ModelAnswers:
    """All of them.

    Args:
        registry: The fleet.
        catalog: The models.
        rollouts: Remember which models are removed.
        deployer: The deployments.
        events: Where it is told.
        shapes: Deploys further planning shapes, and forgets them.
        sources: Ends the serving at further sources.
        guard: Knows how noise models are tightened.
        profiling: Waits for nodes.
        changes: What every change begins and ends with.
    """

    def __init__(
        self,
        registry: Registry,
        catalog: Catalog,
        rollouts: Rollouts,
        deployer: Deployer,
        events: EventLog,
        *,
        shapes: ShapeWatch,
        sources: SourceWatch,
        guard: NoiseGuard,
        profiling: Profiling,
        changes: StateChanges,
    ) -> None:
        self._registry = registry
        self._catalog = catalog
        self._rollouts = rollouts
        self._deployer = deployer
        self._events = events
        self._shapes = shapes
        self._sources = sources
        self._guard = guard
        self._profiling = profiling
        self._changes = changes

    async def answer(
        self, asked: ModelOperation, progress: Progress
    ) -> ModelAddedDocument | list[ProfiledRow] | list[ModelDocument] | ModelDocument:
        """Carry out an operation.

        Raises:
            EdgesplitError: It cannot be done; the sentence for the client.
        """
        match asked:
            case AddModel():
                return await self._add(asked, progress)
            case ProfileModel():
                return await self._profiling.ask_again(self._catalog.get(asked.name), asked.node, progress)
            case ListModels():
                return [self._document(record) for name, record in self._catalog.records.items() if is_first(name)]
            case ShowModel():
                return self._document(self._catalog.get(asked.name))
            case RemoveModel():
                return await self._remove(asked.name, progress)
            case _:
                assert_never(asked)

    async def _add(self, asked: AddModel, progress: Progress) -> ModelAddedDocument:
        try:
            self._changes.begin(asked.name, progress)
        except StoreUnwritable:
            self._catalog.discard(asked)
            raise
        self._forget_removed(asked.name)
        before = {name: self._catalog.get(name) for name in of_model(self._catalog.records, asked.name)}
        try:
            record = await self._catalog.add(asked, progress)
        except BaseException:
            self._changes.collect()  # a refused model leaves no blobs, which may be what the store has no room for
            raise
        for name in self._catalog.shapes_of(record.name):
            self._guard.believe(name)
        text = (
            f"model {record.name} was added: {len(record.graph.operators)} operators in {len(record.graph.units)} units"
        )
        self._events.add("model-added", text, model=record.name)
        for name, stale in before.items():
            if self._catalog.records.get(name) is stale:
                await self._shapes.forget(name)  # a planning shape that the new version was not given
        if asked.wait == "all":
            await self._catalog.until_complete(record.name, progress)
            records = [self._catalog.get(name) for name in self._catalog.shapes_of(record.name)]
            warnings = [text for one in records for text in await self._profiling.wait(one, progress)]
        else:
            warnings = await self._profiling.wait_for_any(record, progress)
        record = self._catalog.get(record.name)
        not_profiled = self._profiling.failures(record)
        for name in of_model(self._deployer.deployments, record.name):
            if name in self._catalog.deployed:
                progress("moving the deployment to the new version", None)
                try:
                    await self._deployer.plan_again(name, "the model was replaced", "model-replaced")
                except EdgesplitError as error:
                    warnings.append(f"the deployment of {name} still serves the old version: {error}")
        self._changes.collect()
        return self._added(record, warnings, not_profiled)

    async def _remove(self, name: str, progress: Progress) -> ModelDocument:
        self._changes.begin(name, progress)
        document = self._document(self._catalog.get(name))
        await self._sources.undeployed(name)
        for one in reversed(of_model(self._catalog.records, name) if is_first(name) else (name,)):
            if one in self._deployer.deployments:
                progress(f"ending the serving of {one}", None)
            await self._shapes.forget(one)
        self._events.add("model-removed", f"model {name} was removed", model=name)
        self._changes.collect()
        return document

    def _forget_removed(self, name: str) -> None:
        """Make room for a new model of a name whose old one could not be deleted when it was removed.

        Raises:
            StoreUnwritable: It still cannot.
        """
        for one in of_model(self._rollouts.state.removed, name):
            if one not in self._catalog.records:
                self._catalog.delete(one)
                self._rollouts.update(removed=tuple(other for other in self._rollouts.state.removed if other != one))

    def _document(self, record: ModelRecord) -> ModelDocument:
        deployment = self._deployer.deployments.get(record.name)
        goals, tightening = self._deployer.goals(record.name), self._guard.tightening(record.name)
        completion = self._catalog.completion(record.name)
        document = _model_document(record, self._registry, deployment, goals, tightening)
        shapes = tuple(map(self._shape_row, of_model(self._catalog.records, base_name(record.name))))
        paused_unix_s = self._rollouts.state.paused_unix_s(record.name)
        return msgspec.structs.replace(document, completion=completion, shapes=shapes, paused_unix_s=paused_unix_s)

    def _shape_row(self, name: str) -> PlanningShapeRow:
        record, deployment = self._catalog.get(name), self._deployer.deployments.get(name)
        active = deployment.active if deployment is not None else None
        return PlanningShapeRow(
            name=name,
            inputs=planned_for(record),
            automatic=record.manifest.automatic,
            profiled=_profiled(record, self._registry)[0],
            epoch=active.epoch.number if active is not None else None,
            predicted_latency_s=active.evaluation.latency_s if active is not None else None,
        )

    def _added(
        self, record: ModelRecord, warnings: Sequence[str], not_profiled: tuple[ProfilingRow, ...]
    ) -> ModelAddedDocument:
        document = _added_document(record, self._registry, warnings, not_profiled)
        return msgspec.structs.replace(document, completion=self._catalog.completion(record.name))


def _added_document(
    record: ModelRecord, registry: Registry, warnings: Sequence[str], not_profiled: tuple[ProfilingRow, ...]
) -> ModelAddedDocument:
    """`splitctl model add`."""
    manifest = record.manifest
    return ModelAddedDocument(
        name=record.name,
        sha256=record.sha256,
        operators=len(record.graph.operators),
        units=len(record.graph.units),
        tensors=len(record.graph.tensors),
        quantizable=manifest.quantizable,
        noise_model=manifest.noise_report if record.is_complete else None,
        stage=manifest.stage,
        warnings=(*manifest.warnings, *warnings),
        profiled=_profiled(record, registry)[0],
        not_profiled=not_profiled,
        codecs=manifest.codecs_report,
    )


def _model_document(
    record: ModelRecord,
    registry: Registry,
    deployment: DeploymentState | None,
    goals: Goals,
    tightening: Tightening | None = None,
) -> ModelDocument:
    """`splitctl model list` and `model show`."""
    active = deployment.rollout.active if deployment is not None else None
    manifest = record.manifest
    there, away = _profiled(record, registry)
    factor = tightening.factor if tightening is not None else 1.0
    return ModelDocument(
        name=record.name,
        sha256=record.sha256,
        operators=len(record.graph.operators),
        units=len(record.graph.units),
        tensors=len(record.graph.tensors),
        quantizable=manifest.quantizable,
        noise_model=manifest.noise_report if record.is_complete else None,
        stage=manifest.stage,
        codecs=manifest.codecs_report,
        inputs=record.inputs,
        outputs=record.outputs,
        weight_bytes=record.weight_bytes,
        deployed=active is not None,
        source=active.source if active is not None else None,
        epoch=active.number if active is not None else None,
        profiled=there,
        profiled_offline=away,
        goals=goals,
        warnings=tuple(filter(None, (*manifest.warnings, refused_int8(record, goals.max_noise, factor=factor)))),
        noise_tightening=_tightening(tightening) if tightening is not None else None,
        profiling=profiling_rows(record, registry),
        asked=registry.asked_sizes(record.name),
    )


def _profiled(record: ModelRecord, registry: Registry) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Nodes that profiled a model: those that are there, and those that are not."""
    nodes, online = registry.profiled(record.name, record.sha256), registry.online()
    return tuple(name for name in nodes if name in online), tuple(name for name in nodes if name not in online)


def _tightening(tightening: Tightening) -> TighteningDocument:
    return TighteningDocument(
        factor=tightening.factor,
        float_only=tightening.float_only,
        epoch=tightening.epoch,
        samples=tightening.samples,
        predicted=tightening.predicted,
        measured=tightening.measured,
        bound=tightening.bound,
        at_unix_s=tightening.at_unix_s,
    )
