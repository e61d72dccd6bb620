"""Goal changes: commands that change weights, limits, pins and forbidden nodes of models.

Owns: which models a change concerns, each with all its planning shapes, and what is kept when some of them have no plan under
it. Its rule: a model, or a planning shape, without a plan under its new goals keeps goals and plan. Not here: the goals' own rules (`stating/goals.py`),
planning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, assert_never

from edgesplit.errors import EdgesplitError, InvalidInput, PlanInfeasible, StoreUnwritable
from edgesplit.operations.goal_operations import (
    AllowNode,
    ForbiddenRow,
    ForbidNode,
    GoalOperation,
    PinOperators,
    PinsDocument,
    SetWeights,
    UnpinOperators,
    WeightsRow,
)
from edgesplit.operations.plan_summary import PlanSummary
from edgesplit.planning.goals import Goals
from edgesplit_controller.answering.plan_documents import pin_rows, plan_summary
from edgesplit_controller.answering.replies import Progress
from edgesplit_controller.answering.state_changes import StateChanges
from edgesplit_controller.deciding.changes.trigger import ModelChange
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.models.catalog import Catalog
from edgesplit_controller.models.planning_shapes import deployments_of
from edgesplit_controller.rollout.noise_checks import refused_int8
from edgesplit_controller.stating.goals import merged_goals, with_forbidden, with_pin, without_forbidden, without_pin
from edgesplit_controller.stating.pinning import check_rule
from edgesplit_controller.storage.deployment_state import PlanRecord

__all__ = ["GoalChanges"]


class GoalChanges:
    """All such commands.

    Args:
        registry: Knows which nodes there are.
        catalog: The models.
        deployer: Keeps goals and plans under them.
        changes: What every change begins and ends with.
        unchecked: Says of a model why the noise bound of what serves it will not be checked, if that is so.
    """

    def __init__(
        self,
        registry: Registry,
        catalog: Catalog,
        deployer: Deployer,
        changes: StateChanges,
        unchecked: Callable[[str], str],
    ) -> None:
        self._registry = registry
        self._catalog = catalog
        self._deployer = deployer
        self._changes = changes
        self._unchecked = unchecked

    async def answer(
        self, asked: GoalOperation, progress: Progress
    ) -> list[WeightsRow] | PinsDocument | list[ForbiddenRow]:
        """Carry out an operation.

        Raises:
            EdgesplitError: It cannot be done; the sentence for the client.
        """
        if isinstance(asked, SetWeights) and asked.dry_run:
            progress("planning", None)
            return await self._set_weights(asked)
        self._changes.begin(asked.name if isinstance(asked, PinOperators | UnpinOperators) else "", progress)
        progress("planning and preparing", None)
        try:
            match asked:
                case SetWeights():
                    return await self._set_weights(asked)
                case PinOperators():
                    return await self._pin(asked)
                case UnpinOperators():
                    return await self._unpin(asked)
                case ForbidNode():
                    return await self._forbid(asked)
                case AllowNode():
                    return await self._allow(asked)
                case _:
                    assert_never(asked)
        finally:
            self._changes.collect()

    async def _set_weights(self, asked: SetWeights) -> list[WeightsRow]:
        """Change weights and limits, of one model or of all and those added later.

        Raises:
            EdgesplitError: One model or more could not follow; the others did.
        """

        def merged(goals: Goals) -> Goals:
            return merged_goals(
                goals,
                latency=asked.latency,
                energy=asked.energy,
                max_noise=asked.max_noise,
                device_energy_j=asked.device_energy_j,
                min_rate=asked.min_rate,
                min_battery=asked.min_battery,
                battery_hours=asked.battery_hours,
                battery_requests_per_s=asked.battery_requests_per_s,
            )

        goals = {name: merged(self._deployer.goals(name)) for name in self._models(asked.model)}
        self._check_batteries(goals)
        if asked.dry_run:
            return await self._supposed(goals)
        changes = await self._set(
            goals, merged(self._deployer.goals(None)) if asked.model is None else None, whatever=True
        )
        return [
            WeightsRow(model=name, epoch=change.epoch, changed=change.changed, warnings=self._warnings(name))
            for name, change in changes.items()
        ]

    async def _supposed(self, goals: Mapping[str, Goals]) -> list[WeightsRow]:
        """What would result of new goals, one row a model; nothing is changed.

        Raises:
            EdgesplitError: One model or more could not follow.
        """
        rows: list[WeightsRow] = []
        failures: list[EdgesplitError] = []
        for name, wanted in goals.items():
            if name not in self._deployer.deployments:
                rows.append(WeightsRow(model=name, epoch=0, changed=False))
                continue
            try:
                draft, changed = await self._deployer.supposed(name, wanted)
            except EdgesplitError as error:
                failures.append(error)
                continue
            then = plan_summary(
                draft.problem, draft.solution.status, draft.assignment, draft.evaluation, draft.interval
            )
            active = self._deployer.deployments[name].active
            epoch, now = (0, None) if active is None else (active.epoch.number, _summary(active))
            rows.append(WeightsRow(model=name, epoch=epoch, changed=changed, then=then, now=now))
        if failures:
            raise _joined(failures)
        return rows

    async def _pin(self, asked: PinOperators) -> PinsDocument:
        """Keep operators on some nodes.

        Raises:
            UnknownModel, UnknownNode, InvalidInput: The pin names what is not there.
            PlanInfeasible: It leaves no plan; nothing changed.
        """
        record = self._catalog.get(asked.name)
        for rule in (asked.rule, *asked.also):
            for node in rule.nodes:
                if node in record.graph.operator and not self._registry.knows(node):
                    raise InvalidInput(f"{node} is an operator and no node: patterns stand in front of --node")
                self._registry.check_known(node)
            check_rule(record.name, record.graph, rule)

        def pinned(goals: Goals) -> Goals:
            for rule in (asked.rule, *asked.also):
                goals = with_pin(goals, rule)
            return goals

        return await self._repin(asked.name, pinned)

    async def _unpin(self, asked: UnpinOperators) -> PinsDocument:
        """Lift pins.

        Raises:
            UnknownModel, InvalidInput: There is no such model or pin.
        """
        self._catalog.get(asked.name)

        def unpinned(goals: Goals) -> Goals:
            for select in (asked.select, *asked.also):
                goals = without_pin(goals, select)
            return goals

        return await self._repin(asked.name, unpinned)

    async def _forbid(self, asked: ForbidNode) -> list[ForbiddenRow]:
        """Use a node no more.

        Raises:
            UnknownModel, UnknownNode: There is no such model or node.
            PlanInfeasible: A model has no plan without it; that one changed nothing, nor did what later ones get.
        """
        self._registry.check_known(asked.node)
        return await self._bar(asked.model, lambda goals: with_forbidden(goals, asked.node))

    async def _allow(self, asked: AllowNode) -> list[ForbiddenRow]:
        """Undo `_forbid`.

        Raises:
            UnknownModel: There is no such model.
            InvalidInput: The node is not forbidden.
        """
        names = [*self._models(asked.model), *((None,) if asked.model is None else ())]
        if not any(asked.node in self._deployer.goals(name).forbidden for name in names):
            whom = f" for {asked.model}" if asked.model is not None else ""
            raise InvalidInput(f"node {asked.node!r} is not forbidden{whom}: there is nothing to allow")
        return await self._bar(asked.model, lambda goals: without_forbidden(goals, asked.node))

    async def _repin(self, name: str, change: Callable[[Goals], Goals]) -> PinsDocument:
        goals = {one: change(self._deployer.goals(one)) for one in self._models(name)}
        done = await self._set(goals)
        deployment = self._deployer.deployments.get(name)
        source = deployment.source if deployment is not None else None
        rows = pin_rows(self._catalog.get(name).graph, goals[name].pins, source)
        return PinsDocument(
            model=name,
            epoch=done[name].epoch,
            changed=any(one.changed for one in done.values()),
            pins=rows,
            warnings=self._warnings(name),
        )

    def _warnings(self, name: str) -> tuple[str, ...]:
        refused = refused_int8(self._catalog.get(name), self._deployer.goals(name).max_noise)
        return tuple(filter(None, [self._unchecked(name), refused]))

    async def _bar(self, model: str | None, change: Callable[[Goals], Goals]) -> list[ForbiddenRow]:
        goals = {name: change(self._deployer.goals(name)) for name in self._models(model)}
        changes = await self._set(goals, change(self._deployer.goals(None)) if model is None else None)
        return [
            ForbiddenRow(model=name, epoch=done.epoch, changed=done.changed, forbidden=goals[name].forbidden)
            for name, done in changes.items()
        ]

    async def _set(
        self, goals: Mapping[str, Goals], default: Goals | None = None, *, whatever: bool = False
    ) -> dict[str, ModelChange]:
        """Plan every model under its new goals; raises what failed once all are done.

        What needs no plan (models that are not deployed, the default of new ones) comes last and in one write: a store
        that fails on the way leaves it as it was.

        Args:
            goals: By model.
            default: Of new models; None leaves it.
            whatever: The default changes even if a model has no plan under its new goals.
        """
        deployed = [name for name in goals if name in self._deployer.deployments]
        done: Sequence[Any] = await asyncio.gather(
            *(self._deployer.set_goals(name, goals[name]) for name in deployed), return_exceptions=True
        )
        unexpected = next((one for one in done if not isinstance(one, ModelChange | EdgesplitError)), None)
        if unexpected is not None:
            raise unexpected
        results: dict[str | None, ModelChange | EdgesplitError] = {}
        results |= {
            name: one for name, one in zip(deployed, done, strict=True) if isinstance(one, ModelChange | EdgesplitError)
        }
        others: dict[str | None, Goals] = {name: goals[name] for name in goals if name not in results}
        failed = any(isinstance(one, EdgesplitError) for one in done)
        if default is not None and (whatever or not failed):
            others[None] = default
        if others and not any(isinstance(one, StoreUnwritable) for one in done):
            results |= self._keep(others, followed=any(isinstance(one, ModelChange) for one in done))
        failures = [one for one in results.values() if isinstance(one, EdgesplitError)]
        if failures:
            followed = [name for name, one in results.items() if name is not None and isinstance(one, ModelChange)]
            raise _joined(failures, followed)
        return {name: change for name in goals if isinstance(change := results[name], ModelChange)}

    def _keep(
        self, goals: Mapping[str | None, Goals], *, followed: bool
    ) -> dict[str | None, ModelChange | EdgesplitError]:
        """Remember goals that need no plan.

        Args:
            goals: By model; of None the default of new ones.
            followed: Deployed models serve under theirs already.
        """
        try:
            self._deployer.keep_goals(goals)
        except StoreUnwritable as error:
            if not followed:
                return {None: error}
            cause = str(error).removeprefix("nothing was changed: ")
            return {None: StoreUnwritable(f"deployed models follow the new goals, others and new ones do not: {cause}")}
        return {name: ModelChange(0, False, "not deployed") for name in goals if name is not None}

    def _check_batteries(self, goals: Mapping[str, Goals]) -> None:
        """Refuse a battery floor that could limit none of the models that are deployed, before anything changes."""
        refusals: list[EdgesplitError] = []
        for name, wanted in goals.items():
            try:
                self._deployer.check_battery(name, wanted)
            except EdgesplitError as error:
                refusals.append(error)
        if refusals and len(refusals) == sum(name in self._deployer.deployments for name in goals):
            raise _joined(refusals)

    def _models(self, model: str | None) -> list[str]:
        """Names of the planning shapes that a command concerns, and of their deployments at further sources."""
        shapes = self._catalog.shapes_of(model) if model is not None else sorted(self._catalog.records)
        deployed = self._deployer.deployments
        return list(dict.fromkeys(name for shape in shapes for name in (shape, *deployments_of(deployed, shape))))


def _summary(plan: PlanRecord) -> PlanSummary:
    """A plan that serves, in figures."""
    return plan_summary(plan.problem, plan.status, plan.assignment, plan.evaluation, plan.interval)


def _joined(failures: Sequence[EdgesplitError], followed: Sequence[str] = ()) -> EdgesplitError:
    """One error for several models, or planning shapes of one; infeasible if any of them has no plan.

    Args:
        failures: Of those that keep their goals.
        followed: Those that have the new ones.
    """
    gravest = next((failure for failure in failures if isinstance(failure, PlanInfeasible)), failures[0])
    others = (f"the new goals hold for {', '.join(followed)}",) if followed else ()
    return type(gravest)("; ".join((*map(str, failures), *others)))
