"""A dashboard of a secured fleet, over the parts of a running controller; operations are noted, not carried out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from edgesplit.operations.operation import Operation
from edgesplit.trust.subjects import Subject
from edgesplit_controller.answering.replies import Progress
from edgesplit_controller.artifacts.upload_receiver import UploadReceiver
from edgesplit_controller.configuration import DashboardSection
from edgesplit_controller.dashboard.dashboard_server import DashboardServer
from edgesplit_controller.dashboard_assembly import make_dashboard
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.storage.store import Store
from edgesplit_controller.trust.fleet_trust import FleetTrust
from edgesplit_controller.trust.identities import make_identity
from tests.controller.fleet import Fleet
from tests.trust.secured_broker import found

ANN = Subject("operator", "ann")


class SecuredDashboard:
    """Its server, who is trusted, and who asked for what."""

    def __init__(self, folder: Path, fleet: Fleet, listen: str, advertise: str = "") -> None:
        self.founded = found(folder)
        self.trust = FleetTrust(
            folder / "trust",
            send=lambda _topic, _payload: False,
            broker_url=lambda: "mqtts://10.9.0.9:8883",
            events=EventLog(None, lambda _event: None),
        )
        make_identity(self.founded.authority, self.trust.record, ANN, folder / "ann", now_s=time.time())
        self.asked: list[tuple[str, Subject | None]] = []
        self.store = Store(folder / "store")
        uploads = folder / "uploads"
        uploads.mkdir()
        made = make_dashboard(
            DashboardSection(listen=listen, advertise=advertise),
            fleet.service.known,
            fleet.service.decide,
            self.perform,
            store=self.store,
            uploads=UploadReceiver(uploads, 1 << 20),
            trust=self.trust,
            instance="0123456789abcdef",
            broker=lambda: "",
        )
        assert made is not None
        self.server: DashboardServer = made
        self.trust.on_change.append(made.end_revoked)

    async def perform(self, operation: Operation, _progress: Progress, asker: Subject | None) -> Any:
        self.asked.append((type(operation).__name__, asker))
        return []

    @contextlib.asynccontextmanager
    async def serving(self, host: str) -> AsyncIterator[SecuredDashboard]:
        await self.server.start(host, 0)
        assert self.server.problem == ""
        yield self
        await self.server.close()
