"""The agent's HTTP application: inference by the Open Inference Protocol v2, blobs for other nodes, metrics and health.

Owns: the routes, and aiohttp's server of connections. Its rule: it is imported once somebody connects, for it needs aiohttp and
prometheus_client. Not here: the listening socket (`endpoint.py`), the protocol (`openinference/`), blobs (`artifacts/blob_server.py`), the metrics
themselves (`reporting/metrics.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import HttpVersion10, web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from edgesplit.daemon.http_guard import Guard
from edgesplit.trust.access import Access
from edgesplit_agent.artifacts.blob_server import BlobServer
from edgesplit_agent.configuration import HttpSection
from edgesplit_agent.http.rights import HttpAccess
from edgesplit_agent.openinference.answers import answer_failures
from edgesplit_agent.openinference.routes import InferenceEndpoint
from edgesplit_agent.reporting.metrics import PrometheusMetrics
from edgesplit_agent.reporting.metrics_page import registry_of
from edgesplit_agent.serving.served_models import ServedModels

__all__ = ["HttpApplication"]

LINGER_S = 2.0
"""After an answer, how long the rest of a refused body is read, so that the client sees the answer. [s]"""
SHUTDOWN_S = 2.0


class HttpApplication:
    """Answers requests.

    Args:
        section: Limits.
        metrics: What `/metrics` shows.
        models: Who answers inference requests.
        blobs: Folder of verified blobs that other nodes may fetch.
        ready: Whether the agent serves.
        version: Of edgesplit.
        access: Whom a node of a secured fleet lets in; None: everybody.
        guard: Of the connections; told while one is being answered.
        idle_s: A connection is closed when no other request has begun so long after an answer. [s]
    """

    def __init__(
        self,
        section: HttpSection,
        metrics: PrometheusMetrics,
        models: ServedModels,
        *,
        blobs: Path,
        ready: Callable[[], bool],
        version: str,
        access: Access | None,
        guard: Guard,
        idle_s: float,
    ) -> None:
        self._guard = guard
        self._registry = registry_of(metrics)
        self.inference = InferenceEndpoint(models, ready=ready, version=version, limits=section)
        middlewares = [self._watched, answer_failures]
        if access is not None:
            middlewares.append(HttpAccess(access, guard.refused).authorized)
        application = web.Application(middlewares=middlewares)
        application.add_routes(
            [web.get("/metrics", self._metrics), *self.inference.routes(), *BlobServer(blobs).routes()]
        )
        self._runner = web.AppRunner(
            application,
            access_log=None,
            handle_signals=False,
            # A client that is gone ends its request on every node.
            handler_cancellation=True,
            # Bodies are decompressed within limits, by the reader that needs them.
            auto_decompress=False,
            keepalive_timeout=idle_s,
            lingering_time=LINGER_S,
            shutdown_timeout=SHUTDOWN_S,
        )

    async def start(self) -> None:
        """Be ready for connections."""
        await self._runner.setup()

    def connection(self) -> asyncio.Protocol | None:
        """The protocol of one more connection; None where none is taken."""
        return None if self._runner.server is None else self._runner.server()

    async def close(self) -> None:
        """Requests that are being answered get a moment to end."""
        await self._runner.cleanup()
        await self.inference.close()

    @web.middleware
    async def _watched(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.version < HttpVersion10 and request.transport is not None:
            # The parser takes a line without a version for HTTP/0.9, of which nobody would understand the answer.
            request.transport.abort()
            raise ConnectionResetError("a request without a version of HTTP")
        with self._guard.answering(request.transport):
            return await handler(request)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
