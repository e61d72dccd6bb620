"""What a controller's dashboard consists of, made and connected.

Its rule: it only makes it; nothing is started here. Not here: the other parts (`assembly.py`), start and end (`service.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgesplit.operations.operation import Operation
from edgesplit.wire.address import host_of, is_loopback
from edgesplit_controller.answering.inspection.served_models import FleetNow
from edgesplit_controller.answering.replies import Perform
from edgesplit_controller.artifacts.upload_receiver import UploadReceiver
from edgesplit_controller.assembly import Deciders, Knowledge
from edgesplit_controller.configuration import DashboardSection
from edgesplit_controller.dashboard.browser_admission import BrowserAdmission
from edgesplit_controller.dashboard.dashboard_address import DashboardAddress
from edgesplit_controller.dashboard.dashboard_server import DashboardServer
from edgesplit_controller.dashboard.dashboard_sessions import DashboardSessions
from edgesplit_controller.dashboard.history_keeper import HistoryKeeper
from edgesplit_controller.dashboard.operation_route import OperationRoute
from edgesplit_controller.dashboard.static_files import StaticFiles
from edgesplit_controller.dashboard.stream import Stream
from edgesplit_controller.dashboard.stream_documents import StreamDocuments
from edgesplit_controller.storage.store import Store
from edgesplit_controller.trust.fleet_trust import FleetTrust

__all__ = ["PAGE", "make_dashboard"]

PAGE = Path(__file__).with_name("dashboard") / "static"
"""Where the page's files lie."""


def make_dashboard(
    section: DashboardSection,
    known: Knowledge,
    decide: Deciders,
    perform: Perform,
    *,
    store: Store,
    uploads: UploadReceiver,
    trust: FleetTrust | None,
    instance: str,
    broker: Callable[[], str],
    page: Path = PAGE,
) -> DashboardServer | None:
    """Make the dashboard; None where the configuration wants none.

    Args:
        section: `[dashboard]`.
        known: What there is.
        decide: What decides over plans.
        perform: Carries out operations.
        store: Remembers who signed in.
        uploads: Takes files of models.
        trust: The fleet's; None where it has no authority.
        instance: Under which the controller holds its name.
        broker: The broker's numeric address, or empty.
        page: Where the page's files lie.
    """
    if not section.listen:
        return None
    local = is_loopback(host_of(section.listen))
    tls = None if trust is None or local else trust.contexts.open_server
    sessions = None if trust is None else _sessions(store, trust)
    address = DashboardAddress(section, broker, tls=tls is not None)
    now = FleetNow(known.registry, known.catalog, known.rollouts, known.traffic, decide.links.of)

    async def look(operation: Operation) -> Any:
        return await perform(operation, _tell_nobody, None)

    return DashboardServer(
        address,
        BrowserAdmission(sessions, address.names, tls=tls is not None),
        sessions,
        tls,
        files=StaticFiles(page),
        operations=OperationRoute(perform),
        look=look,
        uploads=uploads,
        stream=Stream(StreamDocuments(look, now), known.events, instance, time.monotonic),
        history=HistoryKeeper(now),
        authority="" if trust is None else trust.authority.digest,
    )


def _sessions(store: Store, trust: FleetTrust) -> DashboardSessions:
    """Who signed in, over restarts too."""
    return DashboardSessions(time.time, trust.is_trusted, remembered=store.load_sessions(), save=store.save_sessions)


def _tell_nobody(_text: str, _fraction: float | None) -> None:
    """Nobody waits for the progress of what is only looked at."""
