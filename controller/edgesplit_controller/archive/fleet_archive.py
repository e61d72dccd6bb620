"""Fleet archive: has the controller's own records kept by nodes, as blobs that they fetch like others.

Owns: the blobs of the archive and the list of them that is published. Its rule: a piece is written once what it is of changed in
more than figures; a list is published once all its blobs are on disk. A disk that takes no writes leaves the list as it is.
Not here: what a piece is (`pieces.py`), reading it again (`succession`), agents' side.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import msgspec

from edgesplit.control.archive_messages import KEPT_ARCHIVE, Archive, ArchiveEntry
from edgesplit.errors import StoreUnwritable
from edgesplit.wire.address import host_of, is_loopback
from edgesplit_controller.archive.keepers import chosen_keepers
from edgesplit_controller.archive.pieces import (
    DEPLOYMENTS,
    MODELS,
    STATE,
    deployment_key,
    deployment_piece,
    model_piece,
    rest_of,
    state_piece,
)
from edgesplit_controller.fleet.registry import FleetNode, Registry
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.storage.blob_writes import BlobWrites
from edgesplit_controller.storage.deployment_state import State
from edgesplit_controller.storage.store import Store

__all__ = ["FleetArchive", "gives_blobs"]

FIRST_S = 2.0
LOOK_EVERY_S = 5.0
"""How often it is looked who is there to keep the records, and again after a write that failed. [s]"""


@dataclass(frozen=True)
class _Piece:
    """One that is on disk.

    Attributes:
        key: What it was made of.
    """

    key: object
    entry: ArchiveEntry


class _Same:
    """Equal to itself alone: comparing records would read their graphs."""

    def __init__(self, record: ModelRecord) -> None:
        self._record = record

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other._record is self._record

    __hash__ = None  # type: ignore[assignment]  # nobody looks it up


class FleetArchive:
    """One controller's.

    Args:
        store: Where blobs lie, and which store this is.
        state: All that is remembered of deployments.
        records: The models by name.
        registry: Who could keep them.
        publish: Takes each list.
        writing: Told when blobs are written that no list names yet.
        secured: Whether nodes give blobs over TLS alone.

    Attributes:
        on_change: Called, on the event loop, once something that is remembered changed and holds.
    """

    def __init__(
        self,
        store: Store,
        *,
        state: Callable[[], State],
        records: Callable[[], Mapping[str, ModelRecord]],
        registry: Registry,
        publish: Callable[[Archive], None],
        writing: BlobWrites,
        secured: bool = False,
    ) -> None:
        self._store = store
        self._state = state
        self._records = records
        self._registry = registry
        self._publish = publish
        self._writing = writing
        self._secured = secured
        self.on_change: Callable[[], None] = _nobody
        self._moved = asyncio.Event()
        self._pieces: dict[str, _Piece] = {}
        self._published: Archive | None = None
        self._edition = 0
        self._begun = False
        self._made: set[str] = set()

    @property
    def digests(self) -> frozenset[str]:
        """Blobs that keepers may still fetch."""
        written = {piece.entry.digest for piece in self._pieces.values()}
        return frozenset(written | (self._published.sizes.keys() if self._published is not None else set()))

    def changed(self) -> None:
        """Something that is remembered is being changed; to be called on the event loop."""
        self._moved.set()
        # Who writes it down tells so before the new value is in place.
        asyncio.get_running_loop().call_soon(self.on_change)

    async def keep(self) -> None:
        """Keep the archive up to date, for ever; with the first list a reign begins."""
        # Who kept the records until now is known once the broker has told.
        await asyncio.sleep(FIRST_S)
        while True:
            self._moved.clear()
            with contextlib.suppress(StoreUnwritable):  # the store's health says so, and it is tried again
                self._outnumber_others()
                await self.bring_up_to_date()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._moved.wait()

    def _outnumber_others(self) -> None:
        """Have nodes that keep records of another store obey this one, which went its own way before they came.

        Raises:
            StoreUnwritable: The number could not be remembered.
        """
        reign = self._store.reign
        kept = [node.latest(KEPT_ARCHIVE) for node in self._registry.nodes.values()]
        others = [one.number for one in kept if one is not None and one.store != reign.store and not one.is_empty]
        if self._records() and others and max(others) >= reign.number:
            self._store.save_reign(msgspec.structs.replace(reign, number=max(others) + 1))
            self._published = None

    async def bring_up_to_date(self) -> None:
        """Write the pieces that changed, and publish the list if it did.

        Raises:
            StoreUnwritable: A piece could not be written.
        """
        state = self._state()
        keepers = self._keepers(state)
        if self._published is None and not self._records() and not state.deployments:
            return  # what the broker keeps of an earlier controller may be wanted yet
        made: dict[str, tuple[object, Callable[[], bytes]]] = {}
        if keepers:
            made = self._wanted(state)
        if not self._begun:
            self._store.save_reign(self._store.reign.begun())
            self._begun = True
        with self._writing():
            for name, (key, make) in made.items():
                piece = self._pieces.get(name)
                if piece is None or piece.key != key:
                    self._pieces[name] = _Piece(key, await asyncio.to_thread(self._written, name, make))
            self._pieces = {name: self._pieces[name] for name in made}
            self._say(keepers)
        self._tidy()

    def _wanted(self, state: State) -> dict[str, tuple[object, Callable[[], bytes]]]:
        """What each piece is of, and how it is made."""
        made: dict[str, tuple[object, Callable[[], bytes]]] = {STATE: (rest_of(state), partial(state_piece, state))}
        for name, deployment in state.deployments.items():
            made[DEPLOYMENTS + name] = deployment_key(deployment), partial(deployment_piece, deployment)
        for name, record in self._records().items():
            made[MODELS + name] = _Same(record), partial(model_piece, record)
        return made

    def _written(self, name: str, make: Callable[[], bytes]) -> ArchiveEntry:
        content = make()
        digest = self._store.blobs.put(content)
        self._made.add(digest)
        return ArchiveEntry(name=name, digest=digest, nbytes=len(content))

    def _keepers(self, state: State) -> tuple[str, ...]:
        """Who shall keep the records; nobody where there are none."""
        if not self._records() and not state.deployments:
            return ()
        nodes = self._registry.nodes
        kept = [name for name, node in nodes.items() if node.latest(KEPT_ARCHIVE) is not None]
        return chosen_keepers(
            {deployment.source for deployment in state.deployments.values()},
            self._published.keepers if self._published is not None else kept,
            able=[name for name, node in nodes.items() if gives_blobs(node, secured=self._secured)],
            known=nodes.keys(),
        )

    def _say(self, keepers: tuple[str, ...]) -> None:
        before = self._published
        entries = tuple(piece.entry for _, piece in sorted(self._pieces.items()))
        if before is not None and (before.keepers, before.entries) == (keepers, entries):
            return
        self._edition += 1
        reign = self._store.reign
        self._published = Archive(
            store=reign.store,
            number=reign.number,
            edition=self._edition,
            before=reign.before,
            keepers=keepers,
            entries=entries,
        )
        self._publish(self._published)

    def _tidy(self) -> None:
        """Delete blobs of pieces that no list names any more: nobody else can want them."""
        named = self.digests
        for digest in self._made - named:
            with contextlib.suppress(OSError):  # the next collection of blobs deletes it
                self._store.blobs.remove(digest)
        self._made = set(named)


def gives_blobs(node: FleetNode, *, secured: bool) -> bool:
    """Whether a node is there and its blobs can be fetched: from elsewhere than its own machine, unless all live on one.

    Args:
        node: It.
        secured: Whether blobs are given over TLS alone, which an endpoint on loopback does not speak.
    """
    status = node.status
    if status is None or not status.online or node.refused or not status.http:
        return False
    return not is_loopback(host_of(status.http)) or (not secured and is_loopback(host_of(status.advertise)))


def _nobody() -> None:
    """Nobody wants to know."""
