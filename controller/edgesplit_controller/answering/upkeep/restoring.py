"""Restoring of backups: models, goals and deployments of an archive take their places here.

Owns: what a backup may overwrite, and the order in which it comes to hold. Its rule: everything is checked and lies on disk
before anything holds, and one write decides: before it nothing is restored, after it everything is, by the next start if need
be. A model that serves here goes on serving until a plan of the restored one does. Not here: what a backup holds
(`backup_making.py`), its form (`edgesplit.backup_archive`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from edgesplit.backup_archive import STATE, BackupManifest, check_archive, members
from edgesplit.errors import EdgesplitError, InvalidInput, ModelExists
from edgesplit.names import base_name
from edgesplit.operations.upkeep_operations import RestoreBackup, RestoreDocument, RestoreRow
from edgesplit.planning.goals import Goals
from edgesplit_controller.answering.replies import Progress
from edgesplit_controller.answering.state_changes import StateChanges
from edgesplit_controller.deciding.beside.shape_watch import ShapeWatch
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.models.catalog import Catalog
from edgesplit_controller.models.planning_shapes import of_model
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.storage.blob_writes import BlobWrites
from edgesplit_controller.storage.deployment_state import State
from edgesplit_controller.storage.store import Store

__all__ = ["Restoring", "merged"]

V = TypeVar("V")

SKIPPED_EPOCHS = 1000
"""Numbers that are left out, for those that were given out since the backup must never come again."""
SERVING_WITHIN_S = 20.0
"""How long restored plans are waited for; they go on coming to serve. [s]"""
PLANNED_WITHIN_S = 60.0
"""How long a model that serves here may take to serve as it was backed up: nodes have to time it first. [s]"""
_CHUNK_BYTES = 1 << 20


class Restoring:
    """One controller's.

    Args:
        store: The folder.
        catalog: The models.
        rollouts: Hold the state.
        deployer: The deployments.
        shapes: Forgets planning shapes that the backup does not know.
        writing: Keeps blobs from being freed meanwhile.
        changes: What every change begins and ends with.
        events: Where it is told.
        hear_again: Has the broker repeat what it keeps: what nodes said of plans that nobody knew counts now.
    """

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        rollouts: Rollouts,
        deployer: Deployer,
        *,
        shapes: ShapeWatch,
        writing: BlobWrites,
        changes: StateChanges,
        events: EventLog,
        hear_again: Callable[[], None],
    ) -> None:
        self._hear_again = hear_again
        self._store = store
        self._catalog = catalog
        self._rollouts = rollouts
        self._deployer = deployer
        self._shapes = shapes
        self._writing = writing
        self._changes = changes
        self._events = events
        self._one_at_a_time = asyncio.Lock()

    async def restore(self, asked: RestoreBackup, progress: Progress) -> RestoreDocument:
        """Take over a backup that was uploaded.

        Raises:
            InvalidInput: It is none, or is damaged.
            ModelExists: It would overwrite what is here, and may not.
            StoreUnwritable: Nothing is restored, unless the sentence says otherwise.
        """
        self._changes.begin("", progress)
        try:
            async with self._one_at_a_time:
                return await self._restore(self._store.upload(asked.file, "backup"), asked.replace, progress)
        finally:
            self._store.remove_uploads([asked.file])
            if not self._rollouts.state.restored:  # else the next start installs what is staged
                self._catalog.folders.discard_staged()
            self._changes.collect()

    async def _restore(self, archive: Path, replace: bool, progress: Progress) -> RestoreDocument:
        progress("checking the backup", None)
        manifest = await asyncio.to_thread(check_archive, archive)
        self._check(manifest.models, _state_of(archive), replace=replace)
        with self._writing():  # until they are named, nobody may free the blobs
            progress("unpacking", None)
            await asyncio.to_thread(self._unpack, archive)
            names = sorted({name.split("/")[1] for name in _names(manifest) if name.startswith("models/")})
            for name in names:
                await asyncio.to_thread(self._catalog.folders.staged, name)
            async with self._catalog.unchanged():
                state = _state_of(archive)
                self._check(manifest.models, state, replace=replace)  # what is here may have changed meanwhile
                before = frozenset(self._catalog.records)
                serving = frozenset(self._rollouts.state.deployments)
                self._rollouts.update(**merged(self._rollouts.state, state, names))
                self._catalog.take_restored(names)
                self._rollouts.note(restored=())
        self._hear_again()
        for name in sorted(before - {*names}):
            if base_name(name) in manifest.models:
                await self._shapes.forget(name)
        progress("bringing plans to their nodes", None)
        rows = await asyncio.gather(*(self._row(name, state, before, serving) for name in manifest.models))
        text = f"a backup was restored: {', '.join(manifest.models) or 'no model'}"
        self._events.add("backup-restored", text, data={"models": len(rows), "made_unix_s": manifest.made_unix_s})
        drained = tuple(sorted(self._rollouts.state.drained))
        return RestoreDocument(made_unix_s=manifest.made_unix_s, models=tuple(rows), drained=drained)

    def _check(self, models: Collection[str], state: State, *, replace: bool) -> None:
        """Refuse to overwrite what is here, unless that is wanted.

        Raises:
            ModelExists: With all that would be.
        """
        there = [f"the model {name}" for name in models if of_model(self._catalog.records, name)]
        own = self._rollouts.state.default_goals
        if own not in (Goals(), state.default_goals):
            there.append("the goals of models that are added later")
        if there and not replace:
            raise ModelExists(
                f"the backup would overwrite {', '.join(there)}: add --replace if it shall; nothing was changed"
            )

    def _unpack(self, archive: Path) -> None:
        """Write blobs, which change nothing as long as nobody names them, and records, which hold once they are installed."""
        self._catalog.folders.discard_staged()
        for name, stream in members(archive):
            top, *rest = name.split("/")
            if top == "blobs" and not self._store.blobs.has(rest[0]):
                self._store.blobs.put_chunks(iter(partial(stream.read, _CHUNK_BYTES), b""))
            elif top == "models":
                self._catalog.folders.stage(rest[0], rest[1], stream)

    async def _row(self, name: str, state: State, before: Collection[str], serving: Collection[str]) -> RestoreRow:
        """Bring the plans of one model to their nodes, and say where it stands."""
        deployed = of_model(state.deployments, name)
        pending = [await self._serve(one, state, serving) for one in (*deployed, *_others(serving, name, deployed))]
        deployment = self._deployer.deployments.get(name)
        active = deployment.active if deployment is not None else None
        return RestoreRow(
            model=name,
            replaced=name in before,
            source=deployment.source if deployment is not None else None,
            epoch=active.epoch.number if active is not None else 0,
            pending="; ".join(filter(None, pending)),
        )

    async def _serve(self, name: str, state: State, serving: Collection[str]) -> str:
        """Have one deployment serve; why it does not yet, empty where it does."""
        if name in serving:
            kept = state.deployments.get(name) or self._deployer.deployments[name]
            try:
                await self._deployer.deploy(name, kept.source, PLANNED_WITHIN_S)
            except EdgesplitError as error:
                return f"{name} still serves what it did: {error}"
            return ""
        self._deployer.adopt(name)
        if await self._rollouts.served(name, SERVING_WITHIN_S):
            return ""
        return f"{name} serves as soon as {self._deployer.deployments[name].source} and its peers have what they need"


def merged(now: State, backup: State, models: Collection[str]) -> dict[str, object]:
    """What of a state a backup changes.

    What is deployed now stays deployed, with the plans that serve, until it is planned again; numbers of epochs go on beyond
    all that can have been given out.

    Args:
        now: As it is.
        backup: From the archive.
        models: Records of the archive, planning shapes among them.
    """
    restored = {base_name(name) for name in models}
    numbers = {
        name: max(number, now.epochs.get(name, 0)) + SKIPPED_EPOCHS
        for name, number in backup.epochs.items()
        if base_name(name) in restored
    }

    return {
        "default_goals": backup.default_goals,
        "goals": _overlaid(now.goals, backup.goals, restored),
        "tightenings": _overlaid(now.tightenings, backup.tightenings, restored),
        "sources": _overlaid(now.sources, backup.sources, restored),
        "paused": _overlaid(now.paused, backup.paused, restored),
        "deployments": {name: kept for name, kept in backup.deployments.items() if base_name(name) in restored}
        | dict(now.deployments),
        "epochs": now.epochs | numbers,
        "drained": backup.drained | now.drained,
        "removed": tuple(name for name in now.removed if name not in models),
        "restored": tuple(models),
    }


def _overlaid(mine: Mapping[str, V], its: Mapping[str, V], restored: Collection[str]) -> dict[str, V]:
    """What is known by model, of the restored ones as the backup has it."""
    kept = {name: value for name, value in mine.items() if base_name(name) not in restored}
    return kept | {name: value for name, value in its.items() if base_name(name) in restored}


def _state_of(archive: Path) -> State:
    """The state in an archive that was checked.

    Raises:
        InvalidInput: There is none, or this release cannot read it.
    """
    for name, stream in members(archive):
        if name == STATE:
            return _decoded(stream)
    raise InvalidInput("the backup holds no state: it was not made by splitctl backup")


def _decoded(stream: IO[bytes]) -> State:
    try:
        return msgspec.json.decode(stream.read(), type=State)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the state of the backup cannot be read by this release: {error}") from error


def _names(manifest: BackupManifest) -> list[str]:
    return [file.name for file in manifest.files]


def _others(serving: Collection[str], model: str, deployed: Collection[str]) -> list[str]:
    """Deployments of a model here that the backup does not know."""
    return [name for name in of_model(serving, model) if name not in deployed]
