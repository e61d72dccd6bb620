"""Making of model records in a process of their own, and reading what it made.

Owns: the folder through which records come. Its rule: one at a time, who calls sees to that; what fails is the process's error as it
would have been here. Not here: the work (`intake/`), the process's life (`intake_runs.py`), what becomes of a record (`catalog.py`).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

from edgesplit_controller.models.intake_messages import FirstStageRequest, IntakeFailed, IntakeProgress, ShapeRequest
from edgesplit_controller.models.intake_runs import IntakeRun
from edgesplit_controller.models.model_record import ModelRecord, read_record
from edgesplit_controller.models.named_shapes import Shape
from edgesplit_controller.models.submission import Progress, Submission
from edgesplit_controller.storage.store import Store

__all__ = ["RecordMaking"]

MADE = "made"
"""The folder, in the controller's."""


class RecordMaking:
    """The making of records.

    Args:
        store: Where blobs and uploads lie.
        run: Does the work.
    """

    def __init__(self, store: Store, run: IntakeRun) -> None:
        self._store = store
        self._run = run
        self._folder = store.path / MADE
        self._clear()  # what is there is of a controller that ended meanwhile

    async def first(self, submission: Submission, progress: Progress) -> tuple[ModelRecord, ...]:
        """Make the records of a model that can be deployed in float, one for each planning shape.

        Raises:
            EdgesplitError: The submission is refused; its sentence.
            StoreUnwritable: The controller's folder takes no writes.
        """
        return await self._made(FirstStageRequest.of(submission, self._folder, self._store.blobs.folder), progress)

    async def shape(self, first: Path, name: str, shapes: Mapping[str, Shape], *, automatic: bool) -> ModelRecord:
        """Make the record of a further planning shape.

        Args:
            first: Where the model's own record lies.
            name: Of the planning shape.
            shapes: Of inputs with open axes.
            automatic: Whether no user named it.

        Raises:
            EdgesplitError: The model does not take it.
        """
        request = ShapeRequest(
            folder=str(self._folder),
            blobs=str(self._store.blobs.folder),
            first=str(first),
            name=name,
            shapes=dict(shapes),
            automatic=automatic,
        )
        (record,) = await self._made(request, lambda _text, _fraction: None)
        return record

    async def _made(self, request: FirstStageRequest | ShapeRequest, progress: Progress) -> tuple[ModelRecord, ...]:
        def tell(message: IntakeProgress) -> None:
            progress(message.what, message.fraction)

        self._clear()
        try:
            with self._store.health.writing(mixed=True):
                self._folder.mkdir()
                ended = await self._run(request, tell)
                if isinstance(ended, IntakeFailed):
                    raise ended.error
            return await asyncio.to_thread(self._read)
        finally:
            self._clear()

    def _read(self) -> tuple[ModelRecord, ...]:
        records = map(read_record, sorted(self._folder.iterdir(), key=lambda folder: int(folder.name)))
        return tuple(record for record in records if record is not None)

    def _clear(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
