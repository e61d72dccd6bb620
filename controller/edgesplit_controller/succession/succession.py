"""Succession: one process that stands by, takes over, serves, and stands by again once another decides.

Owns: which of these it does now. Its rule: a store is held while a service of it runs or is filled, and by nobody who stands by; at a
broker, whoever has the name decides, and nobody serves from a store that is behind. Not here: each of these (`candidacy.py`,
`takeover.py`, `service.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets

import structlog

from edgesplit.control.event_messages import EventLevel
from edgesplit.errors import InvalidConfiguration, NameTaken, StoreUnwritable
from edgesplit.trust.tls import TlsContexts
from edgesplit_controller.configuration import ControllerConfiguration
from edgesplit_controller.models.intake_runs import IntakeRun, run_in_process
from edgesplit_controller.models.model_folders import ModelFolders
from edgesplit_controller.service import Service, another_controller
from edgesplit_controller.storage.store import Store, is_in_use
from edgesplit_controller.succession.blob_holders import BlobHolders
from edgesplit_controller.succession.candidacy import Candidacy
from edgesplit_controller.succession.takeover import TakenOver, sizes_of_record, take_over
from edgesplit_controller.trust_assembly import make_security

__all__ = ["Succession"]

LOCK_EVERY_S = 1.0
"""How often a store that another process holds is asked for. [s]"""
AGAIN_S = 5.0
"""Until a takeover is tried again that the store did not take. [s]"""
PATIENCE_S = 30.0
"""How long nodes that have what is missing are waited for. [s]"""


class Succession:
    """One controller process.

    Args:
        configuration: Effective values.
        run: Carries out completions of models.
        patience_s: How long nodes that have what is missing are waited for. [s]

    Attributes:
        service: What decides now; None while this process stands by.
    """

    def __init__(
        self, configuration: ControllerConfiguration, run: IntakeRun = run_in_process, *, patience_s: float = PATIENCE_S
    ) -> None:
        self.service: Service | None = None
        self._configuration = configuration
        self._run = run
        self._patience_s = patience_s
        self._waits_for = ""
        self._candidacy: Candidacy | None = None
        self._settled = asyncio.Event()
        self._base = ""
        self._life: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(part="succession")

    @property
    def fault(self) -> str:
        """Why there is no connection to the broker, in one sentence; empty while nothing is known."""
        if self.service is not None:
            return self.service.fault
        return self._candidacy.fault if self._candidacy is not None else ""

    @property
    def standing(self) -> str:
        """What this controller does now and what is wrong with that, for `systemctl status`."""
        if self.service is not None:
            return self.service.standing
        if self._candidacy is not None and not self._candidacy.rival and self._candidacy.fault:
            return f"standing by without a broker: {self._candidacy.fault}"
        rival = self._candidacy.rival if self._candidacy is not None else ""
        return f"standing by: {self._waits_for or rival or 'asking for the place of the controller'}"

    async def start(self) -> str:
        """Begin; returns once this controller serves, with the base URL of its artifacts, or stands by, with nothing.

        Raises:
            NameTaken: Another controller serves at the broker, and this one does not stand by.
            InvalidConfiguration: The store or a file of the identity cannot be used.
        """
        self._life = asyncio.create_task(self._live(), name="succession")
        settling = asyncio.ensure_future(self._settled.wait())
        try:
            await asyncio.wait({self._life, settling}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            settling.cancel()
        if self._life.done():
            self._life.result()
        return self._base

    async def failed(self) -> None:
        """Wait for what ends this process by itself, and raise it."""
        if self._life is not None:
            await asyncio.shield(self._life)

    async def close(self) -> None:
        """End in order; agents go on serving."""
        if self._life is not None:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)

    async def _live(self) -> None:
        stands_by = looks_first = self._configuration.controller.standby
        while True:
            store = await self._held_store(stands_by=stands_by)
            try:
                await self._reign(store, stands_by=stands_by, looks_first=looks_first)
            finally:
                store.close()
            # Whoever served once and may no more waits for its next turn, whatever the configuration says of the first.
            stands_by = looks_first = True

    async def _held_store(self, *, stands_by: bool) -> Store:
        """The store, once no other process holds it.

        Raises:
            InvalidConfiguration: It cannot be used, or another process holds it and this one does not stand by.
        """
        path = self._configuration.store_path
        while True:
            try:
                store = Store(path)
            except InvalidConfiguration:
                if not stands_by or not is_in_use(path):
                    raise
                waits_for = f"another controller holds the store {path}, which this one takes up once that has ended"
                if waits_for != self._waits_for:
                    self._log.info("standing-by", text=waits_for)
                self._waits_for = waits_for
                self._settled.set()
                await asyncio.sleep(LOCK_EVERY_S)
            else:
                self._waits_for = ""
                return store

    async def _reign(self, store: Store, *, stands_by: bool, looks_first: bool) -> None:
        """Serve from a store until another controller decides; first look at the fleet where that is needed.

        Raises:
            NameTaken: Another controller serves, and this one does not stand by.
        """
        taken: TakenOver | None = None
        instance = secrets.token_hex(8)
        try:
            if looks_first or not await asyncio.to_thread(_is_whole, store):
                self._candidacy = self._applied(store, instance, stands_by=stands_by)
                taken = await self._taken_over(store, self._candidacy, stands_by=stands_by)
            service = Service(self._configuration, store, self._run, instance=instance)
            try:
                await self._serve(service, taken)
            finally:
                self.service = None
                await service.close()
        finally:
            candidacy, self._candidacy = self._candidacy, None
            if candidacy is not None:
                await candidacy.close(served=False)

    async def _serve(self, service: Service, taken: TakenOver | None) -> None:
        """Serve until another controller decides.

        Raises:
            NameTaken: Another controller serves already.
        """
        self.service = service
        over = asyncio.ensure_future(service.turn.over())
        try:
            try:
                self._base = await service.start()
            except NameTaken:
                if service.turn.is_over or self._candidacy is not None:
                    return  # somebody decided, or came first: look again
                raise
            if self._candidacy is not None:
                candidacy, self._candidacy = self._candidacy, None
                await candidacy.close(served=True)
            if taken is not None and (taken.models or taken.deployments or taken.missing):
                level: EventLevel = "warning" if taken.missing else "info"
                service.known.events.add("store-taken-over", taken.sentence, level=level)
            if self._settled.is_set():
                self._log.info("ready", artifacts=self._base)
            self._settled.set()
            why = await over
            self._log.warning("stepping-down", text=why)
        finally:
            over.cancel()

    def _applied(self, store: Store, instance: str, *, stands_by: bool) -> Candidacy:
        return Candidacy(
            self._configuration.broker.address,
            instance,
            sealing=make_security(self._configuration, store),
            stands_by=stands_by,
            refusal=another_controller,
        )

    async def _taken_over(self, store: Store, candidacy: Candidacy, *, stands_by: bool) -> TakenOver | None:
        """Hold the name, then fill the store where it is behind or damaged; what came of that.

        Raises:
            NameTaken: Another controller serves, and this one does not stand by.
        """
        holding = asyncio.ensure_future(candidacy.held())
        try:
            said = ""
            while not holding.done():
                await asyncio.wait({holding}, timeout=LOCK_EVERY_S)
                if stands_by and candidacy.rival and not holding.done():
                    if candidacy.rival != said:
                        said = candidacy.rival
                        self._log.info("standing-by", text=said)
                    self._settled.set()
            holding.result()
        finally:
            holding.cancel()
        secured = self._configuration.security.secured
        tls = TlsContexts.load(self._configuration.security.files).to_nodes if secured else None
        while True:
            archive = candidacy.view().archive
            is_behind = archive is not None and store.reign.is_behind(archive)
            if archive is not None and is_behind and not self._configuration.controller.take_over:
                with contextlib.suppress(StoreUnwritable):
                    store.save_reign(store.reign.after(archive))
                return None
            if not is_behind and await asyncio.to_thread(_is_whole, store) and not store.log.damages:
                return None
            try:
                return await take_over(
                    store, candidacy.view, BlobHolders(store.blobs, tls), patience_s=self._patience_s
                )
            except StoreUnwritable as error:
                self._log.error("not-taken-over", reason=str(error))
                if not is_behind:
                    store.unmanaged = True  # what could be read serves, and what could not is left as it is
                    return None
                await asyncio.sleep(AGAIN_S)


def _is_whole(store: Store) -> bool:
    """Whether everything a store should hold is there; what is damaged is set aside."""
    state = store.load_state()
    records = ModelFolders(store.path, store.health, store.log).load(state.removed)
    missing = [store.drop_damaged_blobs(sizes_of_record(record)) for record in records.values()]
    return not any(missing) and not store.log.damages
