"""Node removal: forgetting a node that is gone for good.

Owns: when that may be, and that nothing of the node is left on the broker or here. Its rule: a node that is connected
would come right back, and a source cannot be replaced by planning again, so both are refused before anything is
forgotten. Not here: what each part forgets (their `forget_node`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from edgesplit.errors import InvalidInput, NodeOnline, UnknownNode
from edgesplit.names import checked_name
from edgesplit.operations.fleet_operations import NodeRemovedDocument
from edgesplit.topic_table import everything_of_node, topics_of_node
from edgesplit.trust.subjects import Subject
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.rollout.driver import Rollouts

__all__ = ["NodeRemoval", "Remembers", "RetainedMessages"]


class Remembers(Protocol):
    """A part that keeps something about nodes."""

    def forget_node(self, node: str, /) -> None:
        """A node is gone for good."""


class RetainedMessages(Protocol):
    """What the broker keeps."""

    async def retained(self, topic_filter: str, /) -> frozenset[str]:
        """Topics below a filter of which it keeps a message."""
        ...

    def wipe(self, topic: str, /) -> None:
        """Remove one."""


class NodeRemoval:
    """Removes nodes.

    Args:
        broker: Keeps their retained messages.
        registry: Says who is online.
        rollouts: Say who is a source.
        deployer: Goals that name nodes, models, and looking again.
        remembering: All parts that keep something about nodes.
        distrust: Ends the trust in a node's certificates; None where nodes have none.
        events: Where it is told.
    """

    def __init__(
        self,
        broker: RetainedMessages,
        *,
        registry: Registry,
        rollouts: Rollouts,
        deployer: Deployer,
        remembering: Iterable[Remembers],
        events: EventLog,
        distrust: Callable[[Subject], Awaitable[object]] | None = None,
    ) -> None:
        self._distrust = distrust
        self._broker = broker
        self._registry = registry
        self._rollouts = rollouts
        self._deployer = deployer
        self._remembering = tuple(remembering)
        self._events = events

    async def remove(self, name: str) -> NodeRemovedDocument:
        """Forget a node and remove all retained messages of it.

        Raises:
            UnknownNode: Nothing is known of it.
            StoreUnwritable: The end of its trust cannot be written; nothing was changed.
            NodeOnline: Its agent is connected.
            InvalidInput: A model is deployed from it.
        """
        checked_name("node", name)
        found = await self._broker.retained(everything_of_node(name))
        self._check(name, found)
        if self._distrust is not None:
            await self._distrust(Subject("node", name))
        models = (*self._rollouts.state.epochs, *self._deployer.models)
        known = topics_of_node(name, dict.fromkeys(models))
        for topic in sorted({*known, *found}):
            self._broker.wipe(topic)
        for part in self._remembering:
            part.forget_node(name)
        self._deployer.fleet_changed()
        named_by = tuple(sorted(model for model in self._deployer.models if self._names(model, name)))
        text = f"node {name} was removed; it is a new one should it ever come back"
        self._events.add("node-removed", text, node=name, data={"topics": len(found)})
        return NodeRemovedDocument(name=name, topics=tuple(sorted(found)), named_by=named_by)

    def _check(self, name: str, found: frozenset[str]) -> None:
        if not found and not self._registry.knows(name):
            known = ", ".join(self._registry.nodes) or "none yet"
            raise UnknownNode(f"no node {name!r} is registered: the known ones are {known}")
        if self._registry.node(name).online:
            raise NodeOnline(
                f"node {name} is online and would come right back: stop its agent first (systemctl disable --now "
                f"edgesplit-agent on that machine), {'end its trust with splitctl node revoke, ' if self._distrust else ''}"
                "or keep plans off it with splitctl forbid"
            )
        sourced = [model for model, source in self._rollouts.sources().items() if source == name]
        if sourced:
            raise InvalidInput(
                f"{', '.join(sorted(sourced))} is deployed from {name}, and no other node can answer in its place: "
                "undeploy it, or deploy it from another node, first"
            )

    def _names(self, model: str, node: str) -> bool:
        goals = self._deployer.goals(model)
        return node in goals.forbidden or any(node in pin.nodes for pin in goals.pins)
