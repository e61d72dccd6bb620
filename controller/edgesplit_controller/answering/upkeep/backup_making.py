"""Making of backups: all that the controller keeps of models, as it is at one moment.

Owns: what a backup holds. Its rule: models with their blobs, goals, and deployments with the plans that serve, so that a
controller without a past can go on where this one stands; no keys, no events, nothing that nodes measure again. Not here: the
archive's form (`edgesplit.backup_archive`), holding files still (`storage/backup_snapshots.py`), sending them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from edgesplit.backup_archive import STATE
from edgesplit.errors import InvalidInput
from edgesplit.names import planned_name
from edgesplit.operations.upkeep_operations import BackupOffer
from edgesplit.release import installed_version
from edgesplit_controller.answering.replies import Progress
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.models.catalog import Catalog
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.storage.backup_snapshots import BackupSnapshots, Snapshot
from edgesplit_controller.storage.blob_writes import BlobWrites
from edgesplit_controller.storage.deployment_state import DeploymentState, State
from edgesplit_controller.storage.rollout_state import Rollout
from edgesplit_controller.storage.store import Store

__all__ = ["BackupMaking", "portable"]

FETCHED_WITHIN_S = 60.0
"""How long a backup waits for whoever asked for it to come. [s]"""


class BackupMaking:
    """One controller's.

    Args:
        store: The folder.
        catalog: The models.
        rollouts: Hold the state.
        snapshots: Hold files still.
        writing: Keeps blobs from being freed meanwhile.
        events: Where it is told.
        unix_clock: [s since the epoch]
    """

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        rollouts: Rollouts,
        snapshots: BackupSnapshots,
        *,
        writing: BlobWrites,
        events: EventLog,
        unix_clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._rollouts = rollouts
        self._snapshots = snapshots
        self._writing = writing
        self._events = events
        self._unix_clock = unix_clock

    async def make(self, progress: Progress) -> BackupOffer:
        """Hold everything as it is now.

        Raises:
            InvalidInput: A model was removed meanwhile.
            StoreUnwritable: It cannot be held.
        """
        progress("holding files still", None)
        async with self._catalog.unchanged():
            with self._writing():
                try:
                    snapshot = await self._held()
                except FileNotFoundError as error:
                    raise InvalidInput("a model was removed while it was backed up: run the command again") from error
        asyncio.get_running_loop().call_later(FETCHED_WITHIN_S, self._snapshots.expire, snapshot.ticket)
        models = len(snapshot.manifest.models)
        text = f"a backup of {models} models was made, {snapshot.nbytes} bytes"
        self._events.add("backup-made", text, data={"models": models, "bytes": snapshot.nbytes})
        return BackupOffer(path=f"/backups/{snapshot.ticket}", nbytes=snapshot.nbytes)

    async def _held(self) -> Snapshot:
        state = portable(self._rollouts.state, self._catalog.records)
        digests = self._catalog.digests.union(*(kept.digests for kept in state.deployments.values()))
        files: dict[str, Path] = {}
        for name in sorted(self._catalog.records):
            folder = self._catalog.folders.folder(name)
            files |= {f"models/{name}/{path.name}": path for path in sorted(folder.iterdir()) if path.name[0] != "."}
        files |= {f"blobs/{digest}": self._store.blobs.folder / digest for digest in sorted(digests)}
        return await asyncio.to_thread(
            self._snapshots.make,
            {STATE: msgspec.json.encode(state)},
            files,
            version=installed_version(),
            made_unix_s=self._unix_clock(),
        )


def portable(state: State, models: Mapping[str, object]) -> State:
    """What of a state means something elsewhere and later: of each deployment the plan that serves, and nothing under way.

    Args:
        state: As it is.
        models: Names of the models there are, planning shapes among them.
    """
    deployments = {
        name: settled
        for name, kept in state.deployments.items()
        if planned_name(name) in models and (settled := _settled(kept)) is not None
    }
    return msgspec.structs.replace(state, deployments=deployments, removed=(), restored=())


def _settled(deployment: DeploymentState) -> DeploymentState | None:
    """A deployment with the plan that serves alone, and its local fallback; None where none serves."""
    active = deployment.active
    if active is None:
        return None
    local = tuple(one for one in deployment.local_fallbacks if one.epoch == active.epoch.local_fallback)
    return DeploymentState(
        source=active.epoch.source,
        inputs=deployment.inputs,
        outputs=deployment.outputs,
        rollout=Rollout(active=active.epoch),
        plans={active.epoch.number: active},
        local_fallbacks=local,
    )
