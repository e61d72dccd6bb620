"""A dashboard without a controller behind it: its page, and documents that somebody made up.

Owns: serving both on loopback, from a thread of its own. Its rule: whatever a page asks is answered with the document that stands for it,
whatever it asked about. Not here: the documents (`fed_documents.py`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from aiohttp import web

import edgesplit_controller.dashboard
from bench.dashboard.fed_documents import FedDocuments
from edgesplit_controller.dashboard.static_files import INDEX, StaticFiles

__all__ = ["fed_server"]

STATIC = Path(edgesplit_controller.dashboard.__file__).parent / "static"
STARTED_WITHIN_S = 30.0


def _message(kind: str, document: object) -> bytes:
    return f"event: {kind}\ndata: ".encode() + msgspec.json.encode(document) + b"\n\n"


class _FedServer:
    def __init__(self, documents: FedDocuments) -> None:
        self._documents = documents
        self._files = StaticFiles(STATIC)
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.base = ""

    async def run(self, started: threading.Event) -> None:
        application = web.Application()
        router = application.router
        router.add_get("/", self._page)
        router.add_get("/static/{name:.+}", self._static)
        router.add_get("/api/session", self._session)
        router.add_get("/api/stream", self._stream)
        router.add_post("/api/operations", self._operation)
        router.add_get("/api/models/{name}/graph", self._graph)
        router.add_get("/api/history/{kind}/{name}", self._history)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        await self._ended.wait()
        await runner.cleanup()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)

    async def _page(self, request: web.Request) -> web.Response:
        return await self._files.send(request, INDEX)

    async def _static(self, request: web.Request) -> web.Response:
        return await self._files.send(request, request.match_info["name"])

    async def _session(self, _request: web.Request) -> web.Response:
        return self._json({"secured": False, "operator": None, "may_change": True, "version": "0"})

    async def _graph(self, _request: web.Request) -> web.Response:
        return self._json(self._documents.graph)

    async def _history(self, request: web.Request) -> web.Response:
        return self._json(self._documents.histories[request.match_info["kind"]])

    async def _operation(self, request: web.Request) -> web.Response:
        operation = msgspec.json.decode(await request.read())
        answer = {"kind": "result", "value": self._documents.answers[operation["op"]]}
        return web.Response(body=msgspec.json.encode(answer) + b"\n", content_type="application/x-ndjson")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        await response.write(b"retry: 2000\n\n")
        for kind, document in self._documents.stream:
            await response.write(_message(kind, document))
        await self._ended.wait()
        return response

    @staticmethod
    def _json(document: object) -> web.Response:
        return web.Response(body=msgspec.json.encode(document), content_type="application/json")


@contextmanager
def fed_server(documents: FedDocuments) -> Generator[str]:
    """Its base URL, without a slash at its end."""
    started = threading.Event()
    made: list[_FedServer] = []

    async def serve() -> None:
        made.append(_FedServer(documents))
        await made[0].run(started)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="fed-dashboard", daemon=True)
    thread.start()
    if not started.wait(STARTED_WITHIN_S):
        raise TimeoutError("the server of made-up documents did not start")
    try:
        yield made[0].base
    finally:
        made[0].end()
        thread.join()
