"""HTTP server of the controller: blobs for agents, uploads from splitctl, metrics, health.

Owns: the routes. Its rule: nobody slow or silent is waited for; in a secured fleet nobody is answered without TLS. Not here: the writing
of uploads (`artifacts/upload_receiver.py`), connections (`artifacts/guarded_server.py`), who may use a route in a secured
fleet, and joining it (`artifacts/trust_routes.py`).

    GET, HEAD /blobs/DIGEST      with Range
    PUT, HEAD /uploads/DIGEST
    GET       /backups/TICKET      once
    GET       /metrics           Prometheus
    GET       /health, /healthz  200, or 503 with what is wrong
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest

from edgesplit.daemon.http_guard import GuardLimits, sent_in_time
from edgesplit.errors import ArtifactMissing, InvalidConfiguration
from edgesplit.trust.https_entrance import EntranceLimits
from edgesplit_controller.artifacts.backup_download import send_backup
from edgesplit_controller.artifacts.guarded_server import GuardedServer
from edgesplit_controller.artifacts.trust_routes import TrustRoutes
from edgesplit_controller.artifacts.upload_receiver import UploadReceiver
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.storage.backup_snapshots import BackupSnapshots

__all__ = ["ArtifactServer"]

STALL_S = 30.0
"""Longest that a download may make nothing of its time, before its size counts. [s]"""
LEAST_BYTES_PER_S = 16 * 1024
"""Of a download, after `STALL_S`; a slower receiver is cut off and goes on where it stood. [B/s]"""
LIMITS = GuardLimits()
ENTRANCE_LIMITS = EntranceLimits()
_LIMITED = (
    "# HELP edgesplit_limited_total What limits for strangers turned away or ended, by kind (docs/failure.md).\n"
    "# TYPE edgesplit_limited_total counter\n"
)
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class ArtifactServer:
    """Serves a blob store and takes uploads.

    Args:
        blobs: What agents fetch.
        uploads: Takes files of models.
        metrics: Renders the metrics page.
        health: Says whether the controller works, and a word about it.
        trust: Who may do what, over TLS; None where nothing is secured.
        backups: Those that are held for fetching.
        limited: What limits turned away elsewhere in the controller, by kind.
    """

    def __init__(
        self,
        blobs: BlobStore,
        uploads: UploadReceiver,
        *,
        metrics: Callable[[], bytes],
        health: Callable[[], tuple[bool, str]],
        trust: TrustRoutes | None = None,
        backups: BackupSnapshots | None = None,
        limited: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._limited = limited
        self._backups = backups
        self._blobs = blobs
        self._uploads = uploads
        self._metrics = metrics
        self._health = health
        self._trust = trust
        tls, failed = (None, None) if trust is None else (trust.tls, trust.handshake_failed)
        self._server = GuardedServer(tls, LIMITS, ENTRANCE_LIMITS, failed)

    @property
    def refused(self) -> Mapping[str, int]:
        """What limits for strangers turned away or ended, and who was not let in, by kind."""
        own = self._server.guard.refused + (self._trust.refused if self._trust is not None else Counter())
        return own + Counter(self._limited())

    def end_revoked(self) -> None:
        """Cut off whoever is trusted no more."""
        if self._trust is not None:
            self._server.guard.end_where(self._trust.is_revoked)

    async def start(self, host: str, port: int) -> str:
        """Listen and return the bound host:port.

        Raises:
            InvalidConfiguration: The address cannot be listened on.
        """
        middlewares = [self._server.watched, *([self._trust.checked] if self._trust is not None else [])]
        application = web.Application(middlewares=middlewares)
        if self._trust is not None:
            self._trust.add_to(application)
        application.router.add_get("/blobs/{digest}", self._get_blob)
        application.router.add_put("/uploads/{digest}", self._uploads.put)
        application.router.add_head("/uploads/{digest}", self._uploads.head)
        if self._backups is not None:
            application.router.add_get("/backups/{ticket}", partial(send_backup, snapshots=self._backups))
        application.router.add_get("/metrics", self._get_metrics)
        application.router.add_get("/health", self._get_health)
        application.router.add_get("/healthz", self._get_health)
        try:
            return await self._server.start(application, host, port)
        except OSError as error:
            raise InvalidConfiguration(
                f"[artifacts] listen {host}:{port} cannot be used: {error.strerror or error}"
            ) from error

    async def close(self) -> None:
        """Stop; downloads in progress are cut off and resumed by their agents later."""
        await self._server.close()

    async def _get_blob(self, request: web.Request) -> web.StreamResponse:
        try:
            path = self._blobs.path(request.match_info["digest"])
        except ArtifactMissing as error:
            return web.Response(status=404, text=f"{error}\n")
        return _Blob(path, STALL_S + path.stat().st_size / LEAST_BYTES_PER_S)

    async def _get_metrics(self, _request: web.Request) -> web.StreamResponse:
        limited = [f'edgesplit_limited_total{{kind="{kind}"}} {count}\n' for kind, count in self.refused.items()]
        page = "".join([_LIMITED, *sorted(limited)]) if limited else ""
        return web.Response(body=self._metrics() + page.encode(), headers={"Content-Type": _TEXT})

    async def _get_health(self, _request: web.Request) -> web.StreamResponse:
        works, word = self._health()
        return web.Response(status=200 if works else 503, text=f"{word}\n")


class _Blob(web.FileResponse):
    """A file that its receiver has to have taken in time."""

    def __init__(self, path: Path, limit_s: float) -> None:
        super().__init__(path, headers={"Content-Type": "application/octet-stream"})
        self._limit_s = limit_s

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Send it; aiohttp calls this once a handler has returned, and only once may it be called."""
        return await sent_in_time(super().prepare(request), lambda: request.transport, self._limit_s)
