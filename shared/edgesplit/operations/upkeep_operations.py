"""Operations for maintenance (drained nodes, paused re-planning, backups) and the documents that answer them.

Owns: these operations and their documents. Its rule: keys may be added, never renamed. Not here: forgetting a node
(`fleet_operations.py`), what a model may use for good (`goal_operations.py`), a backup's form (`edgesplit.backup_archive`).
"""

from __future__ import annotations

import msgspec

from edgesplit.operations.exchange import TaggedOperation

__all__ = [
    "BackupOffer",
    "DrainDocument",
    "DrainNode",
    "DrainRow",
    "MakeBackup",
    "PausePlanning",
    "PausesDocument",
    "RestoreBackup",
    "RestoreDocument",
    "RestoreRow",
    "ResumePlanning",
    "UndrainNode",
    "UpkeepOperation",
]


class DrainNode(TaggedOperation, frozen=True, kw_only=True, tag="drain-node"):
    """Leave a node out of plans, and move off it what runs there. Answered with `DrainDocument`."""

    name: str


class UndrainNode(TaggedOperation, frozen=True, kw_only=True, tag="undrain-node"):
    """Undo `DrainNode`. Answered with `DrainDocument`."""

    name: str


class DrainRow(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment that had a part on a node that was drained.

    Attributes:
        model: Name of the model; of a further planning shape or source, NAME@2 or NAME~SOURCE.
        epoch: Number of the plan that serves now; 0 where none does.
        moved: Whether that is another plan than before.
        stays: Why a part of it stays on the node, and what to do; empty where nothing of it is held there any more.
    """

    model: str
    epoch: int
    moved: bool
    stays: str = ""


class DrainDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`splitctl drain` and `splitctl undrain`.

    Attributes:
        node: Name of the node.
        drained: Whether plans leave it out now.
        models: Deployments that had a part there, in alphabetical order; none of `undrain`.
    """

    node: str
    drained: bool
    models: tuple[DrainRow, ...] = ()


class PausePlanning(TaggedOperation, frozen=True, kw_only=True, tag="pause-planning"):
    """Plan no more by itself. Answered with `PausesDocument`.

    Attributes:
        model: Of this model alone; None: of all, and of those deployed later.
    """

    model: str | None = None


class ResumePlanning(TaggedOperation, frozen=True, kw_only=True, tag="resume-planning"):
    """Plan by itself again. Answered with `PausesDocument`.

    Attributes:
        model: This model; None: all, also those that were paused one by one.
    """

    model: str | None = None


class PausesDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What is not planned again by itself now.

    Attributes:
        all_unix_s: Since when no model is; None where that was not asked for. [s since the epoch]
        models: Models that were paused one by one, and since when. [s since the epoch]
    """

    all_unix_s: float | None
    models: dict[str, float]


class MakeBackup(TaggedOperation, frozen=True, kw_only=True, tag="make-backup"):
    """Hold all that the controller keeps as it is now, ready to be fetched. Answered with `BackupOffer`."""


class BackupOffer(msgspec.Struct, frozen=True, kw_only=True):
    """Where a backup can be fetched, once and within a minute.

    Attributes:
        path: Below the controller's HTTP address.
        nbytes: Length of the archive. [B]
    """

    path: str
    nbytes: int


class RestoreBackup(TaggedOperation, frozen=True, kw_only=True, tag="restore-backup"):
    """Take over an uploaded backup. Answered with `RestoreDocument`.

    Attributes:
        file: Digest of the uploaded archive.
        replace: What is there may be overwritten.
    """

    file: str
    replace: bool = False


class RestoreRow(msgspec.Struct, frozen=True, kw_only=True):
    """A model that was restored.

    Attributes:
        model: Its name.
        replaced: Whether one of its name was there.
        source: From which it was deployed; None where it was not.
        epoch: Number of the plan that serves, or is to serve as soon as its nodes are there; 0 where it was not deployed.
        pending: Why that plan does not serve yet; empty where it does, and where it was not deployed.
    """

    model: str
    replaced: bool
    source: str | None
    epoch: int
    pending: str = ""


class RestoreDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`splitctl restore`.

    Attributes:
        made_unix_s: When the backup was made. [s since the epoch]
        models: Those of the backup, in alphabetical order.
        drained: Nodes that are drained now.
        keys: Files of the fleet's authority that were written; none unless `--keys` asked for them alone.
    """

    made_unix_s: float
    models: tuple[RestoreRow, ...] = ()
    drained: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


UpkeepOperation = DrainNode | UndrainNode | PausePlanning | ResumePlanning | MakeBackup | RestoreBackup
