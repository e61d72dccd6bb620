"""Model catalogue: the models there are, and adding and removing them.

Owns: the records, their offers to the nodes, their completion, freeing blobs nobody needs. Its rule: one intake at a time; a model
is there once it is on disk, and a refused one leaves nothing behind; beside a process that makes records none completes a model
(each has a model's memory); a completed record takes the place of the first, and those
of further planning shapes follow it. Not here: the intake's steps (`intake/`, in processes of their own), whose completion is under way (`background_completion.py`), waiting for execution profiles
(`fleet/profiling_progress.py`), deployments.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from edgesplit.control.profile_messages import ModelOffer
from edgesplit.daemon.heap import trim_heap
from edgesplit.errors import EdgesplitError, InvalidInput, ModelExists, UnknownModel
from edgesplit.names import base_name, checked_name, source_of
from edgesplit.operations.model_operations import AddModel, CompletionRow
from edgesplit_controller.graph.protos import external_fields, is_external
from edgesplit_controller.models.background_completion import BackgroundCompletion, CompletionListener
from edgesplit_controller.models.deployed_records import DeployedRecords
from edgesplit_controller.models.intake_messages import CompletionRequest
from edgesplit_controller.models.intake_runs import IntakeRun, run_in_process
from edgesplit_controller.models.model_folders import ModelFolders
from edgesplit_controller.models.model_record import Manifest, ModelRecord, uncompleted
from edgesplit_controller.models.named_shapes import Shape
from edgesplit_controller.models.planning_shapes import first_free, follows, is_first, of_model, planned_for
from edgesplit_controller.models.record_making import RecordMaking
from edgesplit_controller.models.submission import Progress, Submission
from edgesplit_controller.storage.store import Store

__all__ = ["Catalog", "ModelListener", "NodeReports", "OfferPort", "needed_blobs"]


RESULT = "completed-"
PROGRESS_S = 0.3
"""Between two words on a completion that is waited for. [s]"""


class OfferPort(Protocol):
    """Where offers go."""

    def publish_offer(self, offer: ModelOffer) -> None:
        """Every node should profile a model."""

    def clear_offer(self, model: str) -> None:
        """A model is gone."""


class NodeReports(Protocol):
    """What nodes reported about models."""

    def forget_profiles(self, model: str) -> None:
        """Nodes' profiles of a model hold no more."""

    def forget_model(self, model: str) -> None:
        """A model is gone."""


class ModelListener(CompletionListener, Protocol):
    """Who is told how models become complete."""

    def completed(self, record: ModelRecord) -> None:
        """A model's completed record took the place of the first."""


class Catalog:
    """All models.

    Args:
        store: Where they live.
        reports: What is forgotten with a model.
        offers: Where offers go.
        metrics: What noise may be read as besides rho, module:function each.
        removed: Models whose removal was decided before.
        restored: Models of a backup whose restoring was decided before.
        run: Does the work of an intake.

    Attributes:
        deployed: The records by the names of deployments.
        folders: Where records lie.
    """

    def __init__(
        self,
        store: Store,
        reports: NodeReports,
        offers: OfferPort,
        metrics: tuple[str, ...] = (),
        *,
        removed: Collection[str] = (),
        restored: Collection[str] = (),
        run: IntakeRun = run_in_process,
    ) -> None:
        self._store = store
        self.folders = ModelFolders(store.path, store.health, store.log)
        self._reports = reports
        self._offers = offers
        self._metrics = metrics
        self._records = self.folders.load(removed, restored)
        self.deployed: Mapping[str, ModelRecord] = DeployedRecords(self._records)
        self._intake = asyncio.Lock()
        self._making = RecordMaking(store, run)
        for leftover in store.path.glob(f"{RESULT}*"):
            leftover.unlink(missing_ok=True)  # of a controller that ended before it was taken
        self._completion = BackgroundCompletion(run)
        self._listener: ModelListener | None = None
        self._following: set[asyncio.Task[None]] = set()

    @property
    def records(self) -> Mapping[str, ModelRecord]:
        """By name."""
        return self._records

    def get(self, name: str) -> ModelRecord:
        """A model, a planning shape, or a deployment of one.

        Raises:
            UnknownModel: There is none of that name; the sentence names those there are.
        """
        record = self.deployed.get(name)
        if record is None:
            known = ", ".join(sorted(filter(is_first, self._records))) or "none yet"
            raise UnknownModel(f"no model {name!r} was added: the known ones are {known}")
        return record

    def shapes_of(self, name: str) -> tuple[str, ...]:
        """Names of the records of all planning shapes of a model, the first one first.

        Raises:
            UnknownModel: There is none of that name.
            InvalidInput: It is the name of a further planning shape.
        """
        self.get(name)
        if not is_first(name):
            model, source = base_name(name), source_of(name)
            what = f"the deployment of {model} at {source}" if source else f"a planning shape of {model}"
            raise InvalidInput(f"{name} is {what}, and what is wanted of one holds for all: name {model}")
        return of_model(self._records, name)

    def begin(self, listener: ModelListener) -> None:
        """Publish every model's offer, and go on with those that are not complete.

        Args:
            listener: Who is told.
        """
        self._listener = self._completion.listener = listener
        for record in self._records.values():
            self._offers.publish_offer(record.manifest.offer)
            self._complete(record)
            if is_first(record.name):
                task = asyncio.create_task(self._follow(record), name=f"follow-{record.name}")
                self._following.add(task)
                task.add_done_callback(self._following.discard)

    @property
    def digests(self) -> set[str]:
        """Blobs that the models name."""
        return {digest for record in self._records.values() for digest in needed_blobs(record)}

    @asynccontextmanager
    async def unchanged(self) -> AsyncGenerator[None]:
        """While this is held, no record is made, nor another put in the place of one."""
        async with self._intake:
            yield

    def take_restored(self, names: Collection[str]) -> None:
        """Have records of a backup hold, which is written already; the caller holds `unchanged`.

        Raises:
            StoreUnwritable: The next start has them.
        """
        for name in names:
            self._completion.cancel(name)
            self._put(self.folders.install_staged(name))
        for name in names:
            self._complete(self._records[name])

    async def close(self) -> None:
        """End what is being completed; `begin` begins it again."""
        for task in self._following:
            task.cancel()
        await self._completion.close()

    def completion(self, model: str) -> CompletionRow | None:
        """How far a model's completion is; None where none is under way."""
        return self._completion.row(base_name(model))

    async def until_complete(self, model: str, progress: Progress) -> None:
        """Wait until a model's completion ended, whatever came of it."""
        ending = asyncio.ensure_future(self._completion.ended(model))
        try:
            while not ending.done():
                row = self._completion.row(model)
                if row is not None:
                    progress(row.what, row.fraction)
                await asyncio.wait([ending], timeout=PROGRESS_S)
        finally:
            ending.cancel()

    async def add(self, request: AddModel, progress: Progress) -> ModelRecord:
        """Take in an uploaded model and offer it to the nodes.

        Raises:
            ModelExists: There is one of that name and it shall not be replaced.
            EdgesplitError: The upload is missing or refused; its sentence.
        """
        name = checked_name("model", request.name)
        self._check_free(name, request.replace)
        if self._intake.locked():
            progress("waiting for another model's intake", None)
        records: tuple[ModelRecord, ...] = ()
        try:
            async with self._intake:
                self._check_free(name, request.replace)
                submission = self._submission(name, request)
                async with self._completion.standing_aside():
                    records = await self._take_in(submission, progress)
                    self._completion.cancel(name)
                for one in records:
                    self._put(one)
        finally:
            self.discard(request)
        self._complete(records[0])
        return records[0]

    async def add_shape(self, model: str, shapes: Mapping[str, Shape]) -> ModelRecord | None:
        """Plan for one more shape of a model by itself; None where its model was replaced or removed meanwhile.

        Raises:
            EdgesplitError: The model does not take it.
        """
        async with self._completion.between(), self._intake:
            first = self.get(model)
            name = first_free(self._records, model)
            try:
                record = await self._making.shape(self.folders.folder(model), name, shapes, automatic=True)
            except EdgesplitError:
                if self._records.get(model) is first:
                    raise
                return None
            if self._records.get(model) is not first:
                return None
            self.folders.save(record)
            self._put(record)
        return record

    def _put(self, record: ModelRecord) -> None:
        """A record is on disk: it holds, and nodes are asked to time it."""
        before, self._records[record.name] = self._records.get(record.name), record
        if before is not None and before.manifest.offer != record.manifest.offer:
            # The same file with other samples or candidates has other units and int8 kernels to time.
            self._reports.forget_profiles(record.name)
        self._offers.publish_offer(record.manifest.offer)

    def discard(self, request: AddModel) -> None:
        """Delete what was uploaded for a model that was taken in, or refused."""
        self._store.remove_uploads({request.file, *request.external.values(), *filter(None, [request.calibration])})

    async def _take_in(self, submission: Submission, progress: Progress) -> tuple[ModelRecord, ...]:
        """Make the first record of each planning shape and write them."""
        records = await self._making.first(submission, progress)

        def write() -> None:
            for one in records:
                self.folders.save(one, submission.calibration if is_first(one.name) else None)
            trim_heap()

        await asyncio.to_thread(write)
        return records

    def _complete(self, record: ModelRecord) -> None:
        """Have the second stage done, unless it is; of a further planning shape the model's own does."""
        if record.is_complete or not is_first(record.name):
            return
        result = self._store.path / f"{RESULT}{record.name}.json"
        request = CompletionRequest(
            folder=str(self.folders.folder(record.name)),
            blobs=str(self._store.blobs.folder),
            metrics=self._metrics,
            result=str(result),
        )
        self._completion.start(
            record.name, request, partial(self._take_result, record, result), partial(self._take_failure, record)
        )

    async def _take_result(self, record: ModelRecord, result: Path) -> None:
        def read() -> Manifest:
            return msgspec.json.decode(result.read_bytes(), type=Manifest)

        await self._replace(record, await asyncio.to_thread(read))
        await asyncio.to_thread(result.unlink, missing_ok=True)

    async def _take_failure(self, record: ModelRecord, reason: str) -> None:
        await self._replace(record, uncompleted(record, reason).manifest)

    async def _replace(self, record: ModelRecord, manifest: Manifest) -> None:
        """Put a completed record in the place of the first; what is known of the graph stays."""
        graph = record.graph if manifest.units == record.graph.units else record.graph.with_units(manifest.units)
        done = ModelRecord(manifest, graph)
        async with self._intake:
            if self._records.get(record.name) is not record:
                return
            self.folders.save(done)  # here and now: the model may be removed while a thread of its own would write
            self._records[record.name] = done
        self._offers.publish_offer(manifest.offer)
        if self._listener is not None:
            self._listener.completed(done)
        await self._follow(done)

    async def _follow(self, first: ModelRecord) -> None:
        """Make the records of further planning shapes anew that were made of another record of their model."""
        for name in of_model(self._records, first.name)[1:]:
            async with self._completion.between(), self._intake:
                stale = self._records.get(name)
                if stale is None or follows(stale, first):
                    continue
                try:
                    made = await self._making.shape(
                        *(self.folders.folder(first.name), name, planned_for(stale)),
                        automatic=stale.manifest.automatic,
                    )
                except EdgesplitError as error:
                    structlog.get_logger("catalog").warning("shape-not-followed", model=name, reason=str(error))
                    continue
                if self._records.get(first.name) is not first or self._records.get(name) is not stale:
                    continue  # removed or replaced meanwhile
                self.folders.save(made)
                self._records[name] = made
            self._offers.publish_offer(made.manifest.offer)
            if self._listener is not None and made.is_complete:
                self._listener.completed(made)

    def remove(self, name: str) -> bool:
        """Forget a model whose removal is on disk already; False if its folder still has to go."""
        self._completion.cancel(name)
        del self._records[name]
        gone = self.folders.remove(name)
        self._reports.forget_model(name)
        self._offers.clear_offer(name)
        return gone

    def tidy(self, removed: Collection[str]) -> tuple[str, ...]:
        """Delete what is left on disk of models that were removed; returns those of which something stays."""
        return tuple(name for name in removed if not self.folders.remove(name))

    def delete(self, name: str) -> None:
        """Delete what is left on disk of a model that was removed.

        Raises:
            StoreUnwritable: It is still there.
        """
        with self._store.health.writing():
            if not self.folders.remove(name):
                raise OSError(f"what is left of {name} cannot be deleted")

    def collect(self, needed: Callable[[], Collection[str]]) -> None:
        """Free blobs that neither a model nor `needed` names; not while an intake or a completion writes some."""
        if self._intake.locked() or self._completion.under_way:
            return
        self._store.collect(self.digests | set(needed()))

    def _check_free(self, name: str, replace: bool) -> None:
        if name in self._records and not replace:
            raise ModelExists(f"a model {name!r} was added before: choose another name or add --replace")

    def _submission(self, name: str, request: AddModel) -> Submission:
        return Submission(
            name=name,
            file=self._store.upload(request.file, "model file"),
            external={
                location: self._store.upload(digest, f"external data {location!r}")
                for location, digest in request.external.items()
            },
            calibration=(
                self._store.upload(request.calibration, "calibration file") if request.calibration is not None else None
            ),
            max_quantizable=request.max_quantizable,
            exclude=request.exclude,
            metric=request.metric,
            metrics=self._metrics,
            shapes=request.shapes,
            fixed=request.fixed,
        )


def needed_blobs(record: ModelRecord) -> frozenset[str]:
    """Blobs of a model's offer, and weights of the stored graphs themselves, which plans are cut from."""
    graphs = [record.graph.proto, *([record.graph.open.proto] if record.graph.open is not None else [])]
    return record.digests | {
        external_fields(tensor)["location"]
        for proto in graphs
        for tensor in proto.graph.initializer
        if is_external(tensor)
    }
