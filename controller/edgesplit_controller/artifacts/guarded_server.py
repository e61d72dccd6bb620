"""A listening HTTP server of the controller, behind limits for strangers and, where it is secured, TLS.

Owns: the socket, the guard of its connections, and their end. Its rule: nobody slow or silent is waited for. Not here: routes, and who may
use them (`artifact_server.py`, the dashboard's), the limits (`edgesplit.daemon.http_guard`), handshakes (`edgesplit.trust.https_entrance`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from edgesplit.daemon.http_guard import Guard, GuardLimits
from edgesplit.trust.https_entrance import EntranceLimits, HttpsEntrance
from edgesplit.wire.address import TcpAddress

__all__ = ["GuardedServer"]


class GuardedServer:
    """One of them.

    Args:
        tls: How connections are secured; None where they are not.
        limits: Of connections.
        entrance_limits: Of handshakes.
        handshake_failed: Told of those that failed; see `HttpsEntrance`.

    Attributes:
        guard: Of its connections.
    """

    def __init__(
        self,
        tls: ssl.SSLContext | None,
        limits: GuardLimits,
        entrance_limits: EntranceLimits,
        handshake_failed: Callable[[str, OSError], None] | None = None,
    ) -> None:
        self.guard = Guard(self._connection, limits)
        self._entrance: HttpsEntrance | None = None
        if tls is not None:
            self._entrance = HttpsEntrance(self.guard, tls, entrance_limits, self.guard.refused, handshake_failed)
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None

    @property
    def listens(self) -> bool:
        """Whether anybody is let in now."""
        return self._server is not None

    async def start(self, application: web.Application, host: str, port: int, **options: Any) -> str:
        """Listen and return the bound host:port.

        Args:
            application: Has `watched` as its first middleware.
            host: Where.
            port: 0: any.
            options: Further ones of aiohttp's runner.

        Raises:
            OSError: The address cannot be listened on; nothing is left open.
        """
        self._runner = runner = web.AppRunner(
            application, access_log=None, keepalive_timeout=self.guard.limits.idle_s, **options
        )
        await runner.setup()
        front = self.guard if self._entrance is None else self._entrance
        try:
            self._server = await asyncio.get_running_loop().create_server(front, host, port)
        except OSError:
            await self.close()
            raise
        bound = self._server.sockets[0].getsockname()
        return str(TcpAddress(bound[0], bound[1]))

    def stop_listening(self) -> None:
        """Let nobody in any more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._entrance is not None:
            self._entrance.close()

    async def close(self) -> None:
        """Stop; what is being answered gets a moment to end."""
        self.stop_listening()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def watched(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Tell the guard that a connection is being answered."""
        with self.guard.answering(request.transport):
            return await handler(request)

    def _connection(self) -> asyncio.Protocol | None:
        return None if self._runner is None or self._runner.server is None else self._runner.server()
