"""Answers about served models: deploying them, their active plans, where their requests go.

Owns: the operations of `edgesplit.operations.plan_operations`. Its rule: it decides nothing the catalog, the deployer or
the registry owns; it puts their answers together. Not here: the plan's document (`plan_documents.py`), plans that might
be (`studies.py`).
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import assert_never

import msgspec

from edgesplit.errors import EdgesplitError, InvalidInput, NodeUnreachable
from edgesplit.names import planned_name
from edgesplit.operations.plan_operations import (
    DeployDocument,
    DeployModel,
    ExportProblem,
    PlanDocument,
    PlanOperation,
    ShowPlan,
    ShowSource,
    SourceDocument,
    SourceRow,
    UndeployModel,
)
from edgesplit.planning.problem import Problem
from edgesplit.planning.selector import parsed_selector
from edgesplit_controller.answering.plan_documents import (
    fallback_rows,
    measured_noise,
    pin_rows,
    plan_document,
    source_row,
)
from edgesplit_controller.answering.replies import Progress
from edgesplit_controller.answering.serving.active_plan import active_plan
from edgesplit_controller.answering.state_changes import StateChanges
from edgesplit_controller.deciding.beside.shape_watch import ShapeWatch
from edgesplit_controller.deciding.beside.source_watch import SourceWatch, is_pattern
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.deciding.noise_guard import NoiseGuard
from edgesplit_controller.fleet.node_speeds import Speeds
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.fleet.traffic import Traffic
from edgesplit_controller.models.catalog import Catalog
from edgesplit_controller.models.planning_shapes import deployments_of, of_model
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.rollout.noise_checks import refused_int8
from edgesplit_controller.stating.predicting.prediction_intervals import Certainty
from edgesplit_controller.stating.promised_streams import waiting_beside
from edgesplit_controller.storage.deployment_state import active_plans

__all__ = ["PlanAnswers"]

MOST_NAMED = 12
"""Labels that a refusal quotes."""


class PlanAnswers:
    """All of them.

    Args:
        registry: The fleet.
        catalog: The models.
        rollouts: What nodes serve.
        deployer: The deployments.
        speeds: How profiles are corrected.
        traffic: What is asked of nodes.
        certainty: How sure predictions are.
        guard: Knows measured noise.
        shapes: Deploys further planning shapes.
        sources: Deploys at further sources.
        changes: What every change begins and ends with.
    """

    def __init__(
        self,
        registry: Registry,
        catalog: Catalog,
        rollouts: Rollouts,
        deployer: Deployer,
        *,
        speeds: Speeds,
        traffic: Traffic,
        certainty: Certainty,
        guard: NoiseGuard,
        shapes: ShapeWatch,
        sources: SourceWatch,
        changes: StateChanges,
    ) -> None:
        self._registry = registry
        self._catalog = catalog
        self._rollouts = rollouts
        self._deployer = deployer
        self._speeds = speeds
        self._traffic = traffic
        self._certainty = certainty
        self._guard = guard
        self._shapes = shapes
        self._sources = sources
        self._changes = changes

    async def answer(
        self, asked: PlanOperation, progress: Progress
    ) -> DeployDocument | PlanDocument | Problem | SourceDocument:
        """Carry out an operation.

        Raises:
            EdgesplitError: It cannot be done; the sentence for the client.
        """
        match asked:
            case DeployModel():
                return await self._deploy(asked, progress)
            case UndeployModel():
                return await self._undeploy(asked.name, progress)
            case ShowPlan():
                return await self._plan(asked.name)
            case ExportProblem():
                return active_plan(self._catalog, self._deployer, asked.name).problem
            case ShowSource():
                return self._source(asked.name, asked.via)
            case _:
                assert_never(asked)

    async def _deploy(self, asked: DeployModel, progress: Progress) -> DeployDocument:
        self._changes.begin(asked.name, progress)
        started_s = time.monotonic()
        self._catalog.shapes_of(asked.name)
        if not asked.wait_s > 0:
            raise InvalidInput(f"--wait is {asked.wait_s:g}: give a number of seconds greater than 0")
        if asked.plan is not None and is_pattern(asked.source):
            raise InvalidInput(f"--plan is of one source, and {asked.source!r} may mean several: name one node")
        if asked.on:
            self._check_selected(asked.on)
        first = self._sources.first(asked.name, asked.source)
        self._check_open(asked.name, first)
        progress("planning and preparing" if asked.plan is None else "preparing", None)
        change = await self._deployer.deploy(asked.name, first, asked.wait_s, asked.plan, on=asked.on)
        left_s = max(0.0, started_s + asked.wait_s - time.monotonic())
        unplanned = (
            *await self._select_beside(asked.name, asked.on),
            *await self._shapes.deployed(asked.name),
            *await self._sources.deployed(asked.name, asked.source, left_s),
        )
        self._changes.collect()
        seconds = time.monotonic() - started_s
        refused = refused_int8(self._catalog.get(asked.name), self._deployer.goals(asked.name).max_noise)
        warnings = (*filter(None, [self._rollouts.unchecked(asked.name), refused]), *unplanned)
        return DeployDocument(
            model=asked.name,
            epoch=change.epoch,
            seconds=seconds,
            reason=change.reason,
            warnings=warnings,
            sources=self._source_rows(asked.name),
        )

    def _check_open(self, model: str, source: str) -> None:
        """Refuse a source that is drained, unless the model is deployed from it already."""
        deployment = self._deployer.deployments.get(model)
        if source in self._rollouts.state.drained and (deployment is None or deployment.source != source):
            raise InvalidInput(
                f"node {source} is drained: let plans use it again with splitctl undrain {source}, or choose another source"
            )

    def _check_selected(self, on: str) -> None:
        """Refuse a selector that means no node: it would leave everything on the source, and nobody asks for that by labels.

        Raises:
            InvalidInput: It cannot be read, or selects none.
        """
        selector = parsed_selector(on)
        labels = [node.status.labels for node in self._registry.nodes.values() if node.status is not None]
        if not any(map(selector.matches, labels)):
            known = ", ".join(sorted({f"{key}={value}" for one in labels for key, value in one.items()})[:MOST_NAMED])
            raise InvalidInput(
                f"no node has the labels {selector}: there are {known or 'no labels yet ([node] labels)'}"
            )

    async def _select_beside(self, model: str, on: str) -> tuple[str, ...]:
        """Have what is deployed beside a model's first planning shape and source follow its selector; a sentence for each that cannot."""
        sentences: list[str] = []
        for name in of_model(self._deployer.deployments, model):
            goals = self._deployer.goals(name)
            if name == model or goals.on == on:
                continue
            try:
                await self._deployer.set_goals(name, msgspec.structs.replace(goals, on=on))
            except EdgesplitError as error:
                sentences.append(f"{name} keeps its plan: {error}")
        return tuple(sentences)

    def _source_rows(self, model: str) -> tuple[SourceRow, ...]:
        """What serves at each source of a model."""
        deployments = self._deployer.deployments
        active = ((name, deployments[name].active) for name in deployments_of(deployments, planned_name(model)))
        return tuple(
            source_row(name, plan, self._registry.usage(name, plan.epoch.number))
            for name, plan in active
            if plan is not None
        )

    async def _undeploy(self, name: str, progress: Progress) -> DeployDocument:
        self._changes.begin(name, progress)
        started_s = time.monotonic()
        self._catalog.shapes_of(name)
        progress("waiting for the last requests", None)
        epoch = await self._deployer.undeploy(name)
        await self._sources.undeployed(name)
        await self._shapes.undeployed(name)
        self._changes.collect()
        return DeployDocument(model=name, epoch=epoch, seconds=time.monotonic() - started_s)

    async def _plan(self, name: str) -> PlanDocument:
        plan = active_plan(self._catalog, self._deployer, name)
        usage = self._registry.usage(name, plan.epoch.number)
        record = self._catalog.get(name)
        pins = pin_rows(record.graph, plan.goals.pins, plan.epoch.source)
        rows = fallback_rows(
            self._deployer.deployments[name],
            plan,
            partial(self._rollouts.is_prepared, name),
            partial(self._certainty.interval, record, plan.problem),
        )
        battery, noise, serving = (
            self._deployer.battery(name),
            measured_noise(self._guard.finding(name, plan)),
            self._rollouts.serving(name),
        )
        stated = plan.problem, plan.assignment, plan.evaluation
        plans = tuple(active_plans(self._deployer.deployments))
        waiting = await asyncio.to_thread(waiting_beside, name, stated, plan.goals.min_rate_hz, plans)
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
            sources=self._source_rows(name),
            served_per_s=self._traffic.requests_per_s(plan.epoch.source, name),
            waiting=waiting,
            paused_unix_s=self._rollouts.state.paused_unix_s(name),
        )

    def _source(self, name: str, via: str | None) -> SourceDocument:
        active_plan(self._catalog, self._deployer, name)
        deployment = self._deployer.deployments[name]
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
