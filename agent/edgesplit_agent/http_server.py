"""The agent's HTTP endpoint: inference by the Open Inference Protocol v2, blobs for other nodes, metrics and health.

Owns: the aiohttp application and the listening socket. Its rule: no client, slow, huge or one of thousands, can take the
agent down with it. Not here: the number of connections and the time of those that say nothing (`edgesplit.daemon.http_guard`),
the protocol (`openinference/`), blobs (`artifacts/blob_server.py`), the metrics themselves (`reporting/metrics.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from aiohttp import HttpVersion10, web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from edgesplit.daemon.http_guard import Guard, GuardLimits
from edgesplit.errors import InvalidConfiguration
from edgesplit.trust.access import Access
from edgesplit.trust.https_entrance import EntranceLimits, HttpsEntrance, certificate_of
from edgesplit.wire.address import TcpAddress, is_loopback
from edgesplit_agent.artifacts.blob_server import BlobServer
from edgesplit_agent.configuration import HttpSection
from edgesplit_agent.http_access import HttpAccess
from edgesplit_agent.openinference.answers import answer_failures
from edgesplit_agent.openinference.routes import InferenceEndpoint
from edgesplit_agent.reporting.metrics import PrometheusMetrics
from edgesplit_agent.serving.served_models import ServedModels

__all__ = ["HttpEndpoint"]

HEADER_S = 10.0
"""For a request's whole header, from its first byte or from the connection's beginning. [s]"""
IDLE_S = 30.0
"""A connection is closed when no other request has begun so long after an answer. [s]"""
LINGER_S = 2.0
"""After an answer, how long the rest of a refused body is read, so that the client sees the answer. [s]"""
SHUTDOWN_S = 2.0


class HttpEndpoint:
    """Serves inference, `/metrics` and health.

    Args:
        section: Where to listen, and limits.
        metrics: What `/metrics` shows.
        models: Who answers inference requests.
        blobs: Folder of verified blobs that other nodes may fetch.
        ready: Whether the agent serves.
        version: Of edgesplit.
        access: Whom a node of a secured fleet lets in; HTTPS then, unless it listens on loopback alone. None: everybody.
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
        access: Access | None = None,
    ) -> None:
        self._section = section
        self._shown = metrics
        self.inference = InferenceEndpoint(models, ready=ready, version=version, limits=section)
        limits = GuardLimits(section.max_connections, section.max_connections_per_address, HEADER_S, IDLE_S)
        self._guard = Guard(self._connection, limits)
        self._entrance: HttpsEntrance | None = None
        middlewares = [self._watched, answer_failures]
        if access is not None:
            middlewares.append(HttpAccess(access, self._guard.refused).authorized)
            if not is_loopback(section.address.host):
                self._entrance = HttpsEntrance(
                    self._guard, access.contexts.open_server, EntranceLimits(), self._guard.refused
                )
        self._access = access
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
            keepalive_timeout=IDLE_S,
            lingering_time=LINGER_S,
            shutdown_timeout=SHUTDOWN_S,
        )
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen.

        Returns:
            The bound host:port.

        Raises:
            InvalidConfiguration: The address cannot be bound.
        """
        await self._runner.setup()
        address = self._section.address
        front = self._guard if self._entrance is None else self._entrance
        try:
            self._server = await asyncio.get_running_loop().create_server(front, address.host, address.port)
        except OSError as error:
            await self._runner.cleanup()
            cause = error.strerror or error
            raise InvalidConfiguration(f"[http] listen {self._section.listen} cannot be bound: {cause}") from error
        bound = self._server.sockets[0].getsockname()
        return str(TcpAddress(bound[0], bound[1]))

    async def close(self) -> None:
        """Stop listening; requests that are being answered get a moment to end."""
        if self._server is not None:
            self._server.close()
        if self._entrance is not None:
            self._entrance.close()
        await self._runner.cleanup()
        await self.inference.close()

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._guard)

    @property
    def refused(self) -> Mapping[str, int]:
        """What limits for strangers turned away or ended, by kind."""
        return self._guard.refused

    def drop_revoked(self) -> None:
        """End connections whose certificate is trusted no more: the list has changed."""
        access = self._access
        if access is not None:
            self._guard.end_where(lambda transport: access.is_revoked(certificate_of(transport)))

    def _connection(self) -> asyncio.Protocol | None:
        return None if self._runner.server is None else self._runner.server()

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
        return web.Response(body=generate_latest(self._shown.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
