"""Documents of the dashboard's stream: what each kind holds, how often it is made, and when it counts as changed.

Owns: these documents. Its rule: rows are those of `splitctl --json`; that time passes changes nothing, since whoever reads an age knows
when it was told. In a large fleet they are made more seldom, and hold what a page about the whole fleet shows. Not here: who is
told (`stream.py`).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from edgesplit.operations.fleet_operations import LinkRow, ListLinks, ListNodes, NodeRow
from edgesplit.operations.inspection.status_operations import ActivityDocument, ShowActivity, ShowStatus, StatusDocument
from edgesplit.operations.model_operations import CompletionRow
from edgesplit.operations.operation import Operation
from edgesplit_controller.answering.inspection.served_models import FleetNow, answering_epoch
from edgesplit_controller.models.planning_shapes import is_first

__all__ = ["KINDS", "LARGE_FLEET", "FleetDocument", "Look", "Made", "StreamDocuments", "StreamedModel"]

Look = Callable[[Operation], Awaitable[Any]]
"""Carries out an operation that changes nothing."""

KINDS = ("fleet", "activity", "status", "models")
LARGE_FLEET = 100
"""Nodes from where on documents are made more seldom and hold less."""
EVERY_S, LARGE_EVERY_S = 1.0, 5.0
TOLD_AGAIN_S = 10.0
"""Ages and what was last heard are told again after this, though nothing changed. [s]"""


class FleetDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Nodes and the links between them.

    Attributes:
        at_unix_s: When this was so, on the controller's clock. [s since the epoch]
        nodes: As `splitctl nodes`; of a large fleet without what only a node's own page needs.
        links: As `splitctl links`; of a large fleet those that a plan uses, and those that are down.
        other_links: How many more there are.
    """

    at_unix_s: float
    nodes: Sequence[NodeRow]
    links: Sequence[LinkRow]
    other_links: int = 0


class StreamedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that was added, in a line.

    Attributes:
        name: Of the model.
        source: Where its requests arise; of several sources the first; None while it is not deployed.
        epoch: Number of the plan that answers them; None where it does not serve.
        serving: Whether its source answers requests now.
        planned_unix_s: When its active plan was made; None while it has none. [s since the epoch]
        deployed: Whether it is meant to serve.
        paused: It is not planned again by itself.
        completion: How far its second stage of intake is; None where none is under way.
    """

    name: str
    source: str | None
    epoch: int | None
    serving: bool
    planned_unix_s: float | None
    deployed: bool
    paused: bool
    completion: CompletionRow | None


@dataclass(frozen=True)
class Made:
    """A document.

    Attributes:
        content: In JSON.
        key: The same as long as nothing changed but ages.
    """

    content: bytes
    key: bytes


class StreamDocuments:
    """Makes them.

    Args:
        look: Carries out operations.
        now: Nodes, models and plans.
        clock: Seconds since the epoch.
    """

    def __init__(self, look: Look, now: FleetNow, clock: Callable[[], float] = time.time) -> None:
        self._look = look
        self._now = now
        self._clock = clock

    @property
    def is_large(self) -> bool:
        """Whether the fleet is."""
        return len(self._now.registry.nodes) > LARGE_FLEET

    @property
    def every_s(self) -> float:
        """Between two documents of a kind. [s]"""
        return LARGE_EVERY_S if self.is_large else EVERY_S

    async def all(self) -> dict[str, Made]:
        """One of each kind."""
        activity: ActivityDocument = await self._look(ShowActivity())
        status: StatusDocument = await self._look(ShowStatus())
        models = self.models()
        encode = msgspec.json.encode
        timeless_status = msgspec.structs.replace(
            status, nodes=tuple(msgspec.structs.replace(row, last_seen_s=None) for row in status.nodes)
        )
        timeless_activity = msgspec.structs.replace(activity, at_unix_s=0.0, links=_timeless(activity.links))
        found = encode(models)
        return {
            "fleet": await self._fleet(activity),
            "activity": Made(encode(activity), encode(timeless_activity)),
            "status": Made(encode(status), encode(timeless_status)),
            "models": Made(found, found),
        }

    def models(self) -> list[StreamedModel]:
        """Every model that was added."""
        return [self._model(name) for name in self._now.catalog.records if is_first(name)]

    def _model(self, name: str) -> StreamedModel:
        deployment = self._now.deployments.get(name)
        source = None if deployment is None else deployment.source
        active = None if deployment is None else deployment.active
        epoch = None if source is None else answering_epoch(self._now, name, source)
        return StreamedModel(
            name=name,
            source=source,
            epoch=epoch,
            serving=epoch is not None,
            planned_unix_s=None if active is None or not active.made_unix_s else active.made_unix_s,
            deployed=deployment is not None,
            paused=self._now.rollouts.state.paused_unix_s(name) is not None,
            completion=self._now.catalog.completion(name),
        )

    async def _fleet(self, activity: ActivityDocument) -> Made:
        nodes: list[NodeRow] = await self._look(ListNodes())
        if self.is_large:
            document = FleetDocument(
                at_unix_s=self._clock(),
                nodes=[_Brief.of(row) for row in nodes],
                links=activity.links,
                other_links=activity.other_links,
            )
        else:
            links: list[LinkRow] = await self._look(ListLinks())
            document = FleetDocument(at_unix_s=self._clock(), nodes=nodes, links=links)
        timeless = msgspec.structs.replace(
            document,
            at_unix_s=0.0,
            nodes=[msgspec.structs.replace(row, last_seen_s=None) for row in document.nodes],
            links=_timeless(document.links),
        )
        return Made(msgspec.json.encode(document), msgspec.json.encode(timeless))


class _Brief(NodeRow, frozen=True, kw_only=True, omit_defaults=True):
    """A node of a large fleet: what a map and its table show."""

    @classmethod
    def of(cls, row: NodeRow) -> _Brief:
        return cls(
            name=row.name,
            online=row.online,
            advertise=row.advertise,
            cpu_percent=row.cpu_percent,
            memory_available_bytes=row.memory_available_bytes,
            compute_w=row.compute_w,
            transmit_w=row.transmit_w,
            power_origin=row.power_origin,
            refused=row.refused,
            last_seen_s=row.last_seen_s,
            drained_unix_s=row.drained_unix_s,
            labels=row.labels,
        )


def _timeless(links: Sequence[LinkRow]) -> tuple[LinkRow, ...]:
    return tuple(msgspec.structs.replace(row, age_s=None) for row in links)
