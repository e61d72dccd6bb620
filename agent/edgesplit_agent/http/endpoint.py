"""The agent's HTTP endpoint: the listening sockets, and limits on who connects.

Owns: the sockets, which listen from the start on, and what takes connections from them, which the first one has loaded. Its rule: no
client, slow, huge or one of thousands, can take the agent down with it; nobody waits for longer than it takes to load. Not here: what
requests are answered (`application.py`), the number of connections and the time of those that say nothing (`edgesplit.daemon.http_guard`).

An agent that nobody asks anything by HTTP does without aiohttp and prometheus_client. Until they are here, connections are completed by the
kernel and wait in its queue, as they do beside a busy loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from edgesplit.daemon.http_guard import Guard, GuardLimits
from edgesplit.errors import InvalidConfiguration
from edgesplit.late_libraries import LateModule, imported
from edgesplit.trust.access import Access
from edgesplit.trust.https_entrance import EntranceLimits, HttpsEntrance, certificate_of
from edgesplit.wire.address import TcpAddress, is_loopback
from edgesplit_agent.configuration import HttpSection
from edgesplit_agent.reporting.metrics import PrometheusMetrics
from edgesplit_agent.serving.served_models import ServedModels

if TYPE_CHECKING:
    from edgesplit_agent.http import application
else:
    application = LateModule("edgesplit_agent.http.application")

__all__ = ["HttpEndpoint"]

HEADER_S = 10.0
"""For a request's whole header, from its first byte or from the connection's beginning. [s]"""
IDLE_S = 30.0
"""A connection is closed when no other request has begun so long after an answer. [s]"""
BACKLOG = 128
"""Connections that the kernel completes before they are accepted."""

_log = structlog.get_logger(part="http")


class HttpEndpoint:
    """Serves inference, blobs, `/metrics` and health.

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
        limits = GuardLimits(section.max_connections, section.max_connections_per_address, HEADER_S, IDLE_S)
        self._guard = guard = Guard(self._connection, limits)
        self._front: Callable[[], asyncio.Protocol] = guard
        self._entrance: HttpsEntrance | None = None
        if access is not None and not is_loopback(section.address.host):
            self._entrance = HttpsEntrance(guard, access.contexts.open_server, EntranceLimits(), guard.refused)
            self._front = self._entrance
        self._access = access

        def made() -> application.HttpApplication:
            return application.HttpApplication(
                section,
                metrics,
                models,
                blobs=blobs,
                ready=ready,
                version=version,
                access=access,
                guard=guard,
                idle_s=IDLE_S,
            )

        self._make: Callable[[], application.HttpApplication] = made
        self.application: application.HttpApplication | None = None
        """Once somebody connected."""
        self._server: asyncio.Server | None = None
        self._loading: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen.

        Returns:
            The bound host:port.

        Raises:
            InvalidConfiguration: The address cannot be bound.
        """
        loop, address = asyncio.get_running_loop(), self._section.address
        try:
            server = await loop.create_server(
                self._front, address.host, address.port, backlog=BACKLOG, start_serving=False
            )
        except OSError as error:
            raise self._unbound(error) from error
        self._server = server
        try:
            for bound in server.sockets:
                # The same socket: asyncio's has no `listen`, and would accept at once.
                with bound.dup() as own:
                    own.listen(BACKLOG)
                loop.add_reader(bound.fileno(), self._somebody_connects)
        except OSError as error:
            server.close()
            raise self._unbound(error) from error
        return str(self.addresses[0])

    async def close(self) -> None:
        """Stop listening; requests that are being answered get a moment to end."""
        if self._loading is not None and not self._loading.done():
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        if self._entrance is not None:
            self._entrance.close()
        if self.application is not None:
            await self.application.close()

    @property
    def addresses(self) -> list[TcpAddress]:
        """Where it listens: a name may stand for several."""
        names = [] if self._server is None else [listening.getsockname() for listening in self._server.sockets]
        return [TcpAddress(name[0], name[1]) for name in names]

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
        return None if self.application is None else self.application.connection()

    def _unbound(self, error: OSError) -> InvalidConfiguration:
        return InvalidConfiguration(f"[http] listen {self._section.listen} cannot be bound: {error.strerror or error}")

    def _somebody_connects(self) -> None:
        """Take no more notice of the sockets until what serves them is here."""
        assert self._server is not None  # noqa: S101 - its sockets woke the loop
        for listening in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        self._loading = asyncio.create_task(self._load(self._server))

    async def _load(self, server: asyncio.Server) -> None:
        try:
            await imported(application)
        except ImportError as error:
            _log.error("http-not-served", text="what answers requests by HTTP cannot be loaded", error=str(error))
            server.close()
            return
        made = self._make()
        await made.start()
        self.application = made
        await server.start_serving()
