"""Answers about maintenance.

Owns: the operations of `edgesplit.operations.upkeep_operations`. Its rule: it decides nothing; each has a module beside this one.
"""

from __future__ import annotations

from typing import assert_never

from edgesplit.operations.upkeep_operations import (
    BackupOffer,
    DrainDocument,
    DrainNode,
    MakeBackup,
    PausePlanning,
    PausesDocument,
    RestoreBackup,
    RestoreDocument,
    ResumePlanning,
    UndrainNode,
    UpkeepOperation,
)
from edgesplit_controller.answering.replies import Progress
from edgesplit_controller.answering.upkeep.backup_making import BackupMaking
from edgesplit_controller.answering.upkeep.node_drains import NodeDrains
from edgesplit_controller.answering.upkeep.planning_pauses import PlanningPauses
from edgesplit_controller.answering.upkeep.restoring import Restoring

__all__ = ["UpkeepAnswers"]


class UpkeepAnswers:
    """All of them.

    Args:
        drains: Of nodes.
        pauses: Of re-planning.
        backups: Makes them.
        restoring: Takes them over.
    """

    def __init__(self, drains: NodeDrains, pauses: PlanningPauses, backups: BackupMaking, restoring: Restoring) -> None:
        self._drains = drains
        self._pauses = pauses
        self._backups = backups
        self._restoring = restoring

    async def answer(
        self, asked: UpkeepOperation, progress: Progress
    ) -> DrainDocument | PausesDocument | BackupOffer | RestoreDocument:
        """Carry out an operation.

        Raises:
            EdgesplitError: It cannot be done; the sentence for the client.
        """
        match asked:
            case DrainNode():
                return await self._drains.drain(asked.name, progress)
            case UndrainNode():
                return self._drains.undrain(asked.name)
            case PausePlanning():
                return await self._pauses.pause(asked.model, progress)
            case ResumePlanning():
                return self._pauses.resume(asked.model)
            case MakeBackup():
                return await self._backups.make(progress)
            case RestoreBackup():
                return await self._restoring.restore(asked, progress)
            case _:
                assert_never(asked)
