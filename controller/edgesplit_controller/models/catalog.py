"""Model catalogue: the models there are, and adding and removing them.

Owns: the records, their offers to the nodes, freeing blobs nobody needs. Its rule: one intake at a time; a model is there
once it is on disk, and a refused one leaves nothing behind. Not here: the intake's steps (`intake.py`), waiting for
execution profiles (`fleet/profiling_progress.py`), deployments.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from edgesplit.control.profile_messages import ModelOffer
from edgesplit.errors import ModelExists, UnknownModel
from edgesplit.names import checked_name
from edgesplit.operations.model_operations import AddModel
from edgesplit_controller.graph.protos import external_fields, is_external
from edgesplit_controller.models.intake import take_in
from edgesplit_controller.models.model_folders import ModelFolders
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.models.submission import Progress, Submission
from edgesplit_controller.storage.store import Store

__all__ = ["Catalog", "NodeReports", "OfferPort"]


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


class Catalog:
    """All models.

    Args:
        store: Where they live.
        reports: What is forgotten with a model.
        offers: Where offers go.
        metrics: What noise may be read as besides rho, module:function each.
        removed: Models whose removal was decided before.
    """

    def __init__(
        self,
        store: Store,
        reports: NodeReports,
        offers: OfferPort,
        metrics: tuple[str, ...] = (),
        *,
        removed: Collection[str] = (),
    ) -> None:
        self._store = store
        self._folders = ModelFolders(store.path, store.health)
        self._reports = reports
        self._offers = offers
        self._metrics = metrics
        self._records = self._folders.load(removed)
        self._intake = asyncio.Lock()

    @property
    def records(self) -> Mapping[str, ModelRecord]:
        """By name."""
        return self._records

    def get(self, name: str) -> ModelRecord:
        """A model.

        Raises:
            UnknownModel: There is none of that name; the sentence names those there are.
        """
        record = self._records.get(name)
        if record is None:
            known = ", ".join(sorted(self._records)) or "none yet"
            raise UnknownModel(f"no model {name!r} was added: the known ones are {known}")
        return record

    def offer_all(self) -> None:
        """Publish every model's offer."""
        for record in self._records.values():
            self._offers.publish_offer(record.manifest.offer)

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
        try:
            async with self._intake:
                self._check_free(name, request.replace)
                record = await self._take_in(self._submission(name, request), progress)
                before, self._records[name] = self._records.get(name), record
                if before is not None and before.manifest.offer != record.manifest.offer:
                    # The same file with other samples or candidates has other units and int8 kernels to time.
                    self._reports.forget_profiles(name)
        finally:
            self.discard(request)
        self._offers.publish_offer(record.manifest.offer)
        return record

    def discard(self, request: AddModel) -> None:
        """Delete what was uploaded for a model that was taken in, or refused."""
        self._store.remove_uploads({request.file, *request.external.values(), *filter(None, [request.calibration])})

    async def _take_in(self, submission: Submission, progress: Progress) -> ModelRecord:
        """Make the record and write it, in a thread."""
        loop = asyncio.get_running_loop()

        def tell(text: str, fraction: float | None) -> None:
            loop.call_soon_threadsafe(progress, text, fraction)

        def write() -> ModelRecord:
            with self._store.health.writing(mixed=True):
                record = take_in(submission, self._store.blobs, tell)
            self._folders.save(record)
            return record

        return await asyncio.to_thread(write)

    def remove(self, name: str) -> bool:
        """Forget a model whose removal is on disk already; False if its folder still has to go."""
        del self._records[name]
        gone = self._folders.remove(name)
        self._reports.forget_model(name)
        self._offers.clear_offer(name)
        return gone

    def tidy(self, removed: Collection[str]) -> tuple[str, ...]:
        """Delete what is left on disk of models that were removed; returns those of which something stays."""
        return tuple(name for name in removed if not self._folders.remove(name))

    def delete(self, name: str) -> None:
        """Delete what is left on disk of a model that was removed.

        Raises:
            StoreUnwritable: It is still there.
        """
        with self._store.health.writing():
            if not self._folders.remove(name):
                raise OSError(f"what is left of {name} cannot be deleted")

    def collect(self, needed: Callable[[], Collection[str]]) -> None:
        """Free blobs that neither a model nor `needed` names; not while an intake writes some."""
        if self._intake.locked():
            return
        kept = {digest for record in self._records.values() for digest in record.digests}
        kept |= {weight for record in self._records.values() for weight in _external_digests(record)}
        self._store.collect(kept | set(needed()))

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
        )


def _external_digests(record: ModelRecord) -> list[str]:
    """Weights of the stored graphs themselves, which plans are cut from."""
    graphs = [record.graph.proto, *([record.graph.open.proto] if record.graph.open is not None else [])]
    return [
        external_fields(tensor)["location"]
        for proto in graphs
        for tensor in proto.graph.initializer
        if is_external(tensor)
    ]
