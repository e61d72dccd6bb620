"""The agent's HTTP endpoint: metrics and health.

Owns: the aiohttp application. Its rule: it only reads; no request of it changes the agent. Not here: the metrics
themselves (`telemetry.py`).
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from edgesplit.errors import InvalidConfiguration
from edgesplit_agent.configuration import split_address
from edgesplit_agent.telemetry import Telemetry

__all__ = ["HttpEndpoint"]


class HttpEndpoint:
    """Serves `/metrics` and the health paths of the Open Inference Protocol v2.

    Args:
        listen: host:port.
        telemetry: What `/metrics` shows.
        ready: Whether the agent serves.
    """

    def __init__(self, listen: str, telemetry: Telemetry, ready: Callable[[], bool]) -> None:
        self._host, self._port = split_address(listen)
        self._telemetry = telemetry
        self._ready = ready
        application = web.Application()
        application.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/v2/health/live", self._live),
                web.get("/v2/health/ready", self._is_ready),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False)

    async def start(self) -> str:
        """Listen.

        Returns:
            The bound host:port.

        Raises:
            InvalidConfiguration: The address cannot be bound.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            address = f"{self._host}:{self._port}"
            raise InvalidConfiguration(f"[http] listen {address} cannot be bound: {error.strerror or error}") from error
        return f"{self._host}:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._telemetry.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _live(self, _request: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _is_ready(self, _request: web.Request) -> web.Response:
        ready = self._ready()
        return web.json_response({"ready": ready}, status=200 if ready else 503)
