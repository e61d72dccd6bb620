"""Web servers of tests, on free ports."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web
from aiohttp.typedefs import Middleware

__all__ = ["start_server"]


async def start_server(routes: Iterable[web.AbstractRouteDef], *middlewares: Middleware) -> tuple[web.AppRunner, str]:
    """Serve on loopback until the runner is cleaned up; its base URL."""
    application = web.Application(middlewares=middlewares)
    application.add_routes(routes)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"
