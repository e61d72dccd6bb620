"""Drained nodes: plans leave a node out, and what runs there moves off it.

Owns: what draining a node takes, and when it is done. Its rule: the mark is written first and stays whatever comes of the
moves, so that nothing new comes to the node; each deployment moves make-before-break, and one that cannot says why and
serves on. Not here: what planning does with the mark (`deciding/plan_maker.py`, `deciding/fallbacks.py`), forgetting a node
(`answering/node_removal.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from edgesplit.errors import EdgesplitError, InvalidInput
from edgesplit.names import base_name
from edgesplit.operations.upkeep_operations import DrainDocument, DrainRow
from edgesplit_controller.answering.replies import Progress
from edgesplit_controller.answering.state_changes import StateChanges
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.deciding.fallbacks import Fallbacks
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.storage.deployment_state import DeploymentState

__all__ = ["NodeDrains"]

LET_GO_S = 60.0
"""How long a node may still hold what was moved off it: requests end there, and fallbacks are planned anew. [s]"""


class NodeDrains:
    """Of all nodes.

    Args:
        registry: Knows the nodes.
        rollouts: Remember which are drained, and what they hold.
        deployer: Plans what runs there anew.
        fallbacks: Are planned anew, too.
        changes: What every change begins and ends with.
        events: Where it is told.
        unix_clock: [s since the epoch]
    """

    def __init__(
        self,
        registry: Registry,
        rollouts: Rollouts,
        deployer: Deployer,
        *,
        fallbacks: Fallbacks,
        changes: StateChanges,
        events: EventLog,
        unix_clock: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._rollouts = rollouts
        self._deployer = deployer
        self._fallbacks = fallbacks
        self._changes = changes
        self._events = events
        self._unix_clock = unix_clock

    async def drain(self, node: str, progress: Progress) -> DrainDocument:
        """Leave a node out of plans, and wait until it holds no part of any; again for one that is drained already.

        Raises:
            UnknownNode: No node of this name registered.
            StoreUnwritable: Nothing was changed.
        """
        self._registry.check_known(node)
        self._changes.begin("", progress)
        drained = self._rollouts.state.drained
        if node not in drained:
            self._rollouts.update(drained=drained | {node: self._unix_clock()})
            text = f"node {node} is drained: plans leave it out until it is undrained"
            self._events.add("node-drained", text, node=node)
        there = [name for name, kept in sorted(self._deployer.deployments.items()) if node in _holders(kept)]
        progress(f"moving {len(there)} deployments off {node}", None)
        rows = await asyncio.gather(*(self._empty(name, node) for name in there))
        self._deployer.fleet_changed()
        self._changes.collect()
        return DrainDocument(node=node, drained=True, models=tuple(rows))

    def undrain(self, node: str) -> DrainDocument:
        """Let plans use a node again, wherever that pays.

        Raises:
            InvalidInput: It is not drained.
            StoreUnwritable: Nothing was changed.
        """
        drained = self._rollouts.state.drained
        if node not in drained:
            known = ", ".join(sorted(drained)) or "none"
            raise InvalidInput(f"node {node!r} is not drained: the drained ones are {known}")
        self._rollouts.update(drained={name: since for name, since in drained.items() if name != node})
        self._events.add("node-undrained", f"node {node} is drained no more: plans may use it", node=node)
        self._deployer.cause_returned()
        self._deployer.fleet_changed()
        for name in self._deployer.deployments:
            self._fallbacks.refresh(name)
        return DrainDocument(node=node, drained=False)

    async def _empty(self, name: str, node: str) -> DrainRow:
        """Move one deployment off a node, and wait until the node holds nothing of it."""
        before = self._epoch(name)
        stays = await self._move(name, node)
        if not stays and not await self._rollouts.drained(name, node, LET_GO_S):
            stays = f"it was still held there after {LET_GO_S:g} s, as by requests under way: run the command again"
        after = self._epoch(name)
        return DrainRow(model=name, epoch=after, moved=after != before, stays=stays)

    async def _move(self, name: str, node: str) -> str:
        """Plan one deployment without a node; why that cannot be, empty where it can."""
        deployment = self._deployer.deployments.get(name)
        if deployment is None:
            return ""  # it was undeployed meanwhile
        if deployment.source == node:
            return (
                f"{node} is its source, and no other node can answer in its place: deploy {base_name(name)} from another "
                "node, or undeploy it"
            )
        if node not in _users(deployment):
            self._fallbacks.refresh(name)
            return ""
        if deployment.active is not None and deployment.active.fixed:
            return f"its plan was given and stays as it is: deploy {base_name(name)} without --plan to have it moved"
        try:
            await self._deployer.plan_again(name, f"node {node} is drained", "node-drained")
        except EdgesplitError as error:
            return str(error)
        return ""

    def _epoch(self, name: str) -> int:
        deployment = self._deployer.deployments.get(name)
        active = deployment.active if deployment is not None else None
        return active.epoch.number if active is not None else 0


def _users(deployment: DeploymentState) -> set[str]:
    """Nodes that a plan runs on which serves or is to serve."""
    rollout = deployment.rollout
    return {node for plan in (rollout.active, rollout.upcoming) if plan is not None for node in plan.participants}


def _holders(deployment: DeploymentState) -> set[str]:
    """Nodes that hold anything of a deployment."""
    rollout = deployment.rollout
    held = {node for epoch in rollout.epochs for node in epoch.participants}
    held |= {node for fallback in rollout.fallbacks for node in fallback.participants}
    return held | {deployment.source}
