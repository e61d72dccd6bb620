"""The models the controller knows, and adding and removing them.

Owns: the records, their offers to the nodes, waiting for execution profiles, freeing blobs nobody needs. Its rule: one
intake at a time; a model is there once it is on disk, and a refused one leaves nothing behind. Not here: the intake's steps
(`intake.py`), deployments.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Protocol

from edgesplit.errors import ModelExists, UnknownModel
from edgesplit.names import checked_name
from edgesplit.profiles import ModelOffer
from edgesplit.requests import AddModel
from edgesplit_controller.models.intake import take_in
from edgesplit_controller.models.record import ModelRecord
from edgesplit_controller.models.submission import Progress, Submission

if TYPE_CHECKING:
    from edgesplit_controller.registry import Registry
    from edgesplit_controller.store import Store

__all__ = ["Catalog", "OfferPort"]

POLL_S = 0.1


class OfferPort(Protocol):
    """Where offers go."""

    def publish_offer(self, offer: ModelOffer) -> None:
        """Every node should profile a model."""

    def clear_offer(self, model: str, nodes: Collection[str]) -> None:
        """A model is gone; `nodes` may have reported on it."""


class Catalog:
    """All models.

    Args:
        store: Where they live.
        registry: Which nodes are online and what they profiled.
        offers: Where offers go.
        silence_s: How long a node may stay silent while it should profile. [s]
        metrics: What noise may be read as besides rho, module:function each.
        removed: Models whose removal was decided before.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        offers: OfferPort,
        silence_s: float,
        metrics: tuple[str, ...] = (),
        *,
        removed: Collection[str] = (),
    ) -> None:
        self._store = store
        self._registry = registry
        self._offers = offers
        self._silence_s = silence_s
        self._metrics = metrics
        self._records = store.load_models(removed)
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
                    self._registry.forget_profiles(name)
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
            self._store.save_model(record)
            return record

        return await asyncio.to_thread(write)

    async def wait_for_profiles(self, record: ModelRecord, progress: Progress) -> list[str]:
        """Wait until every online node profiled a model or failed to.

        Returns:
            A warning for every node that did not.
        """
        heard: dict[str, tuple[float, float]] = {}
        while True:
            waiting, fractions = self._profiling(record)
            now_s = time.monotonic()
            for name, fraction in fractions.items():
                if heard.get(name, (-1.0, 0.0))[0] != fraction:
                    heard[name] = (fraction, now_s)
            silent = {name for name in waiting if now_s - heard[name][1] > self._silence_s}
            if not waiting - silent:
                return self._warnings(record, silent)
            progress(
                f"profiling on {', '.join(sorted(waiting - silent))}", sum(fractions.values()) / max(1, len(fractions))
            )
            await asyncio.sleep(POLL_S)

    def remove(self, name: str) -> bool:
        """Forget a model whose removal is on disk already; False if its folder still has to go."""
        del self._records[name]
        gone = self._store.remove_model(name)
        self._registry.forget_model(name)
        self._offers.clear_offer(name, tuple(self._registry.nodes))
        return gone

    def delete(self, name: str) -> None:
        """Delete what is left on disk of a model that was removed.

        Raises:
            StoreUnwritable: It is still there.
        """
        with self._store.health.writing():
            if not self._store.remove_model(name):
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

    def _profiling(self, record: ModelRecord) -> tuple[set[str], dict[str, float]]:
        """Online nodes that are not done, and how far every online node is."""
        waiting: set[str] = set()
        fractions: dict[str, float] = {}
        for name in self._registry.online():
            report = self._registry.node(name).profiles.get(record.name)
            if report is None or report.sha256 != record.sha256:
                waiting.add(name)
                fractions[name] = 0.0
            elif report.state == "running":
                waiting.add(name)
                fractions[name] = report.fraction
            else:
                fractions[name] = 1.0
        return waiting, fractions

    def _warnings(self, record: ModelRecord, silent: set[str]) -> list[str]:
        warnings: list[str] = []
        for name in self._registry.online():
            report = self._registry.node(name).profiles.get(record.name)
            if name in silent:
                warnings.append(f"node {name} did not profile {record.name} in time: no plan uses it until it does")
            elif report is not None and report.state == "failed":
                why = report.detail or "it gave no reason"
                warnings.append(f"node {name} could not profile {record.name}: {why}; no plan uses it")
        if not self._registry.online():
            warnings.append(f"no node is online: nodes profile {record.name} once they are")
        return warnings


def _external_digests(record: ModelRecord) -> list[str]:
    """Weights of the stored graph itself, which plans are cut from."""
    from edgesplit_controller.graph.protos import external_fields, is_external  # noqa: PLC0415 - onnx loads late

    return [
        external_fields(tensor)["location"] for tensor in record.graph.proto.graph.initializer if is_external(tensor)
    ]
