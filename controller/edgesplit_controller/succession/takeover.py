"""Taking over what the fleet keeps: a store is filled from the archive that nodes keep of the last controller's.

Owns: what becomes of each piece. Its rule: the last list holds over what is in the store; what cannot be had is left as it is, at nodes
and on the broker, and said; nothing is deleted. Nobody else decides meanwhile: whoever calls holds the controller's name. Not
here: who holds the name and what the broker keeps (`candidacy.py`), fetching (`blob_holders.py`), the pieces (`archive/pieces.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import structlog

from edgesplit.control.archive_messages import Archive
from edgesplit.control.component_messages import sizes_of
from edgesplit.control.plan_messages import Observed
from edgesplit.control.registration_messages import NodeStatus
from edgesplit.names import planned_name
from edgesplit_controller.archive.pieces import DEPLOYMENTS, MODELS, STATE, deployment_of, model_of, state_of
from edgesplit_controller.models.catalog import needed_blobs
from edgesplit_controller.models.model_folders import ModelFolders
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.storage.deployment_state import DeploymentState, State
from edgesplit_controller.storage.store import Store
from edgesplit_controller.succession.blob_holders import BlobHolders

__all__ = ["EPOCHS_LEFT_OUT", "FleetView", "TakenOver", "sizes_of_record", "take_over"]

EPOCHS_LEFT_OUT = 1_000
"""Numbers skipped after a takeover: the last controller may have handed out some of which nothing is known any more."""
V = TypeVar("V")


@dataclass(frozen=True)
class FleetView:
    """What the broker says of the fleet.

    Attributes:
        archive: The last list of what is kept; None where nobody says one.
        nodes: Registrations of nodes that are there.
        observed: What nodes hold, by node and deployment.
    """

    archive: Archive | None
    nodes: tuple[NodeStatus, ...]
    observed: Mapping[tuple[str, str], Observed]


@dataclass
class TakenOver:
    """What came of it.

    Attributes:
        models: That are there now, and came from nodes or were held already.
        deployments: Likewise.
        missing: What could not be had, each with why.
        set_aside: Models of this store that the last controller had removed.
    """

    models: list[str] = field(default_factory=list[str])
    deployments: list[str] = field(default_factory=list[str])
    missing: dict[str, str] = field(default_factory=dict[str, str])
    set_aside: list[str] = field(default_factory=list[str])

    @property
    def sentence(self) -> str:
        """For people."""
        found = [
            f"{what} {', '.join(names)}"
            for what, names in (("models", self.models), ("plans of", self.deployments))
            if names
        ]
        parts = [f"taken over from what the fleet keeps: {'; '.join(found) or 'nothing'}"]
        parts += [f"{name} could not be had: {why}" for name, why in self.missing.items()]
        if self.set_aside:
            parts.append(f"set aside, for they were removed meanwhile: {', '.join(self.set_aside)}")
        return "; ".join(parts)


def sizes_of_record(record: ModelRecord) -> dict[str, int]:
    """Blobs of a model's offer whose size is known. [B]"""
    offer = record.manifest.offer
    return sizes_of(*(graph for graph in (offer.float_graph, offer.quantized_graph) if graph is not None))


async def take_over(
    store: Store, look: Callable[[], FleetView], holders: BlobHolders, *, patience_s: float
) -> TakenOver:
    """Fill a store from what the fleet keeps.

    Args:
        store: Held by this process; no service of it runs.
        look: What is known of the fleet now.
        holders: Who is asked for blobs.
        patience_s: How long to wait for nodes that have what is missing. [s]

    Raises:
        StoreUnwritable: The store takes no writes; what it held is still there.
    """
    limit_s = asyncio.get_running_loop().time() + patience_s
    while True:
        view = look()
        taking = _Taking(store, view, holders)
        await taking.gather()
        if not taking.result.missing or asyncio.get_running_loop().time() >= limit_s:
            break
        await asyncio.sleep(1.0)
    await asyncio.to_thread(taking.write)
    structlog.get_logger(part="succession").info("taken-over", text=taking.result.sentence)
    return taking.result


class _Taking:
    """One look at everything."""

    def __init__(self, store: Store, view: FleetView, holders: BlobHolders) -> None:
        self.result = TakenOver()
        self._store = store
        self._view = view
        self._holders = holders
        self._folders = ModelFolders(store.path, store.health, store.log)
        self._state = State()
        self._own_state_holds = False
        self._records: dict[str, ModelRecord] = {}
        self._deployments: dict[str, DeploymentState] = {}

    async def gather(self) -> None:
        """Have all that is to be taken over in memory, and its blobs on disk.

        Raises:
            StoreUnwritable: The store takes no more blobs.
        """
        own_state = await asyncio.to_thread(self._store.load_state)
        own_records = await asyncio.to_thread(self._folders.load, own_state.removed)
        archive = self._view.archive
        if archive is None:
            self._state, self._records = own_state, own_records
            self._deployments = dict(own_state.deployments)
        else:
            await self._read(archive, own_state, own_records)
        await self._complete()

    async def _read(self, archive: Archive, own_state: State, own_records: Mapping[str, ModelRecord]) -> None:
        """Read every piece of a list; what the list does not know of this store stays, unless it was removed."""
        missing = await self._holders.fetch(archive.sizes, self._holders_of(archive))
        digests = {entry.name: entry.digest for entry in archive.entries}
        if own_state != State() and not self._store.reign.is_behind(archive):
            self._own_state_holds = True
            self._state, self._deployments, self._records = own_state, dict(own_state.deployments), dict(own_records)
            digests = {name: one for name, one in digests.items() if name.removeprefix(MODELS) not in own_records}
        else:
            if STATE not in digests:
                self.result.missing[STATE] = (
                    "no node could keep the records: the [http] of none can be reached from elsewhere"
                )
            state = self._piece(STATE, digests, missing, state_of)
            self._state = state if state is not None else msgspec.structs.replace(own_state, deployments={})
        for name, digest in digests.items():
            short = name.partition("/")[2]
            if name.startswith(MODELS):
                record = self._piece(name, {name: digest}, missing, model_of) or own_records.get(short)
                if record is not None:
                    self._records[short] = record
            elif name.startswith(DEPLOYMENTS) and not self._own_state_holds:
                deployment = self._piece(name, {name: digest}, missing, deployment_of)
                deployment = deployment or own_state.deployments.get(short)
                if deployment is not None and self._fits(short, deployment):
                    self._deployments[short] = deployment
        removed = self._store.reign.descends_from(archive) and STATE in digests
        for name, record in own_records.items():
            if MODELS + name in digests or name in self._records or self._own_state_holds:
                continue
            if removed:
                self.result.set_aside.append(name)
            else:
                self._records[name] = record

    def _piece(
        self, name: str, digests: Mapping[str, str], missing: Iterable[str], read: Callable[[bytes], V]
    ) -> V | None:
        digest = digests.get(name)
        if digest is None:
            return None
        if digest in missing:
            self.result.missing[name] = "no node that is there keeps it"
            return None
        try:
            return read(self._store.blobs.read(digest))
        except ValueError as error:
            self.result.missing[name] = f"what is kept cannot be read ({error})"
            return None

    def _fits(self, name: str, deployment: DeploymentState) -> bool:
        """Whether what its source serves is among what is known: else the record is older than the plan that serves."""
        observed = self._view.observed.get((deployment.source, name))
        if observed is None or observed.serving is None:
            return True
        known = {*deployment.plans, *(local.epoch for local in deployment.local_fallbacks)}
        held = {state.epoch for state in observed.epochs}
        if observed.serving in known or known & held:
            return True
        self.result.missing[DEPLOYMENTS + name] = (
            f"{deployment.source} serves epoch {observed.serving}, of which no record is kept; it serves on, and is planned again "
            "by splitctl deploy"
        )
        return False

    async def _complete(self) -> None:
        """Have the blobs of every model here; one without them is left out, with its deployments."""
        for name, record in tuple(self._records.items()):
            sizes = sizes_of_record(record)
            self._store.drop_damaged_blobs(sizes)
            wanted: dict[str, int | None] = dict.fromkeys(needed_blobs(record))
            wanted |= sizes
            missing = await self._holders.fetch(wanted, self._view.nodes)
            if missing:
                self.result.missing[MODELS + name] = (
                    f"{len(missing)} of its {len(wanted)} blobs are at no node that is there"
                )
                del self._records[name]
        for name, deployment in tuple(self._deployments.items()):
            if planned_name(name) not in self._records:
                self.result.missing.setdefault(DEPLOYMENTS + name, "its model could not be had")
                del self._deployments[name]
                continue
            # Whoever prepares a part anew asks for these; nodes that hold it need none.
            await self._holders.fetch(dict.fromkeys(deployment.digests), self._view.nodes)
        self.result.models = sorted(self._records)
        self.result.deployments = sorted(self._deployments)

    def _holders_of(self, archive: Archive) -> list[NodeStatus]:
        """Nodes, those first that shall keep the archive."""
        return sorted(self._view.nodes, key=lambda node: node.node not in archive.keepers)

    def write(self) -> None:
        """Have it hold: models first, so that no plan names one that is not there.

        Raises:
            StoreUnwritable: The store takes no writes.
        """
        here = self._folders.load()
        for name, record in self._records.items():
            if name not in here or here[name].manifest != record.manifest:
                self._folders.save(record)
        for name in self.result.set_aside:
            self._store.log.set_aside(
                self._folders.folder(name), "it was removed under another controller", "it is gone"
            )
        self._store.save_state(self._renumbered())
        if self._view.archive is not None:
            self._store.save_reign(self._store.reign.after(self._view.archive))
        self._store.unmanaged = bool(self.result.missing)

    def _renumbered(self) -> State:
        """The state, with numbers of epochs that nobody can have heard of."""
        if self._own_state_holds:
            return msgspec.structs.replace(self._state, deployments=self._deployments)
        epochs = dict(self._state.epochs)
        for (_, name), observed in self._view.observed.items():
            held = (*(state.epoch for state in observed.epochs), observed.serving or 0)
            epochs[name] = max(epochs.get(name, 0), *held)
        for name, deployment in self._deployments.items():
            epochs[name] = max(
                epochs.get(name, 0), *deployment.plans, *(one.epoch for one in deployment.local_fallbacks), 0
            )
        epochs = {name: number + EPOCHS_LEFT_OUT for name, number in epochs.items()}
        return msgspec.structs.replace(self._state, deployments=self._deployments, epochs=epochs)
