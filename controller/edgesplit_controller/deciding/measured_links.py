"""Measured links: agents are told to which peers they keep links, where plans may use them.

Owns: what each agent was told last. Its rule: what counts follows from registrations, deployments and goals; it is looked at as often as the
deployer likes, and computed only where one of these changed. A link takes both its ends a connection, pings and probes, so a thousand nodes
must not have half a million of them. Not here: the derivation (`fleet/reach`), measuring (agents).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from edgesplit.planning.goals import Goals
from edgesplit.planning.selector import SITE
from edgesplit_controller.fleet.reach.candidates import Candidates
from edgesplit_controller.fleet.reach.peers import among_sites, peers_of_groups
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.rollout.driver import Rollouts

__all__ = ["MeasuredLinks", "PeerPort"]


class PeerPort(Protocol):
    """Where agents are told."""

    def publish_peers(self, node: str, peers: tuple[str, ...]) -> None:
        """To which nodes a node keeps links."""


class MeasuredLinks:
    """Of the whole fleet.

    Args:
        registry: Who there is, and what they say of links.
        candidates: Which nodes plans may use; in a fleet of no more than one may choose among, all links are measured.
        rollouts: What is deployed.
        models: By name.
        port: Where agents are told.
    """

    def __init__(
        self,
        registry: Registry,
        candidates: Candidates,
        rollouts: Rollouts,
        models: Mapping[str, ModelRecord],
        port: PeerPort,
    ) -> None:
        self._registry = registry
        self._candidates = candidates
        self._rollouts = rollouts
        self._models = models
        self._port = port
        self._coming: dict[str, tuple[str, Goals]] = {}
        self._basis: tuple[object, ...] = ()
        self._peers: dict[str, frozenset[str]] = {}
        self._told: dict[str, frozenset[str]] = {}
        self._concerned: dict[str, tuple[str, ...]] = {}

    @property
    def all_are(self) -> bool:
        """Whether the fleet is so small that links are measured before a deployment may use them."""
        return len(self._registry.nodes) <= self._candidates.most

    def of(self, node: str) -> frozenset[str]:
        """The peers of a node."""
        return self._peers.get(node, frozenset())

    def concerned(self, node: str) -> tuple[str, ...]:
        """The deployments whose plans may use a node."""
        return self._concerned.get(node, ())

    def look(self) -> None:
        """Tell agents what changed, once what nodes said before a restart is in."""
        basis = self._present_basis()
        if basis == self._basis or not self._rollouts.settled:
            return
        self._basis = basis
        self._peers = peers_of_groups(tuple(self._groups()))
        nodes = self._registry.nodes
        for name in self._told.keys() - nodes.keys():
            del self._told[name]
        for name in nodes:
            peers = self.of(name)
            if self._told.get(name) != peers:
                self._told[name] = peers
                self._port.publish_peers(name, tuple(sorted(peers)))

    @contextmanager
    def expecting(self, model: str, source: str, goals: Goals) -> Generator[None]:
        """Have links measured for a deployment that is about to come."""
        self._coming[model] = source, goals
        self.look()
        try:
            yield
        finally:
            del self._coming[model]

    def missing(self, model: str, source: str, goals: Goals) -> frozenset[str]:
        """Candidates that are online and of whose link from the source, or to it, nothing was heard yet."""
        record = self._models.get(model)
        if record is None:
            return frozenset()
        among = self._candidates.of(record, source, goals, self._rollouts.state.deployments.get(model))
        there = among - self._registry.gone(among)
        return frozenset(
            name
            for name in there
            if name != source and not (self._was_heard(name, source) and self._was_heard(source, name))
        )

    def _present_basis(self) -> tuple[object, ...]:
        """What peers follow from; refreshed predictions of a plan are not among it."""
        state, registry = self._rollouts.state, self._registry
        plans = ((name, one.source, one.rollout.active) for name, one in state.deployments.items())
        return registry.revision, registry.profiles_revision, state.goals, tuple(plans), tuple(self._coming.items())

    def _was_heard(self, node: str, peer: str) -> bool:
        links = self._registry.node(node).links
        return links is not None and peer in {*(link.to for link in links.links), *(one.to for one in links.unreached)}

    def _groups(self) -> Iterator[frozenset[str]]:
        if self.all_are:
            yield from among_sites({name: self._candidates.labels(name).get(SITE, "") for name in self._registry.nodes})
        state = self._rollouts.state
        wanted = {name: (one.source, state.goals_of(name)) for name, one in state.deployments.items()}
        concerned: dict[str, list[str]] = {}
        for name, (source, goals) in (*wanted.items(), *self._coming.items()):
            record = self._models.get(name)
            if record is None:
                continue
            group = self._candidates.of(record, source, goals, state.deployments.get(name))
            for node in group if name in wanted else ():
                concerned.setdefault(node, []).append(name)
            yield group
        self._concerned = {node: tuple(dict.fromkeys(names)) for node, names in concerned.items()}
