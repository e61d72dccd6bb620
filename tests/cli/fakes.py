"""Stand-ins for the controller and an agent, speaking the real protocols over real sockets.

Owns: answers given as data. Its rule: the wire is real, only decisions are faked. Not here: tests.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from demo.ports import free_port
from edgesplit.control.event_messages import EVENT, Event
from edgesplit.control.registration_messages import CONTROLLER_STATUS, ControllerStatus
from edgesplit.errors import EdgesplitError
from edgesplit.mqtt.bus import MessageBus
from edgesplit.operations.operation import OPERATION_REQUEST, REPLY, Operation, OperationRequest, Reply
from edgesplit.release import PROTOCOL
from edgesplit.wire.connection import Connection
from edgesplit.wire.endpoints import serve
from edgesplit.wire.frames import Frame, FrameLimits, pack_tensors, unpack_tensors
from edgesplit.wire.headers import Failure, Hello, Infer, Result
from edgesplit.wire.tensors import Array

T = TypeVar("T")
Answer = Callable[[Any], Any]


class LoopThread:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


class FakeController:
    """Answers operations from a table; an answer may raise an EdgesplitError."""

    def __init__(self, broker: str, *, protocol: int = PROTOCOL, online: bool = True, silent: bool = False) -> None:
        self.broker = broker
        self.answers: dict[type, Answer] = {}
        self.progress: list[tuple[str, float | None]] = []
        self.operations: list[Operation] = []
        self.uploads: dict[str, bytes] = {}
        self.puts: list[str] = []
        self.backups: dict[str, bytes] = {}
        self.refuse_uploads = ""
        self._status = ControllerStatus(
            online=online, protocol=protocol, version="9.9", instance="one", artifacts=f"http://127.0.0.1:{free_port()}"
        )
        self._silent = silent
        self._thread = LoopThread()

    def __enter__(self) -> FakeController:
        self._thread.run(self._start())
        return self

    def __exit__(self, *_error: object) -> None:
        self._thread.run(self._stop())
        self._thread.stop()

    def publish_event(self, event: Event) -> None:
        async def publish() -> None:
            self._bus.publish(EVENT, event, event.origin)

        self._thread.run(publish())

    def publish_status(self, **changes: Any) -> None:
        async def publish() -> None:
            self._status = msgspec.structs.replace(self._status, **changes)
            self._bus.publish(CONTROLLER_STATUS, self._status)

        self._thread.run(publish())

    async def _start(self) -> None:
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("HEAD", "/uploads/{digest}", self._held)
        application.router.add_put("/uploads/{digest}", self._take)
        application.router.add_get("/backups/{ticket}", self._give)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", int(self._status.artifacts.rpartition(":")[2])).start()
        self._bus = MessageBus(self.broker, client_id="fake-controller")
        self._bus.subscribe(OPERATION_REQUEST, self._on_request)
        await self._bus.connect(10)
        self._bus.publish(CONTROLLER_STATUS, self._status)

    async def _stop(self) -> None:
        self._bus.clear(CONTROLLER_STATUS)
        await self._bus.close()
        await self._runner.cleanup()

    async def _held(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["digest"] in self.uploads else 404)

    async def _take(self, request: web.Request) -> web.Response:
        data, digest = await request.read(), request.match_info["digest"]
        if self.refuse_uploads:
            return web.Response(status=400, text=self.refuse_uploads)
        assert hashlib.sha256(data).hexdigest() == digest
        self.puts.append(digest)
        self.uploads[digest] = data
        return web.Response(status=201)

    async def _give(self, request: web.Request) -> web.Response:
        content = self.backups.get(request.match_info["ticket"])
        return web.Response(status=404) if content is None else web.Response(body=content)

    def _on_request(self, topic: str, request: OperationRequest | None) -> None:
        if request is None or self._silent:
            return
        client = topic.rpartition("/")[2]
        operation: Operation = msgspec.json.decode(request.operation, type=Operation)
        self.operations.append(operation)

        def reply(**fields: Any) -> None:
            self._bus.publish(REPLY, Reply(id=request.id, **fields), client)

        reply(kind="progress", text="")
        for text, fraction in self.progress:
            reply(kind="progress", text=text, fraction=fraction)
        try:
            document = self.answers[type(operation)](operation)
        except EdgesplitError as error:
            reply(kind="failure", code=error.code, text=str(error), exit_code=error.exit_code)
        else:
            reply(kind="result", value=msgspec.Raw(msgspec.json.encode(document)))


class FakeAgent:
    """Answers requests on the data plane with `compute`, which may raise an EdgesplitError."""

    def __init__(self, compute: Callable[[dict[str, Array]], tuple[dict[str, Array], int]]) -> None:
        self.compute = compute
        self.address = ""
        self.in_flight = 0
        self.most_in_flight = 0
        self.hold_until = 0
        self._held: list[Callable[[], None]] = []
        self._thread = LoopThread()

    def __enter__(self) -> FakeAgent:
        self._server, self.address = self._thread.run(
            serve("127.0.0.1:0", self, limits=FrameLimits(), queue_bytes=1 << 20)
        )
        return self

    def __exit__(self, *_error: object) -> None:
        async def stop() -> None:
            self._server.close()

        self._thread.run(stop())
        self._thread.stop()

    def on_opened(self, connection: Connection) -> None:
        connection.send(
            Hello(protocol=PROTOCOL, role="agent", node="device", version="9.9", instance="one"), urgent=True
        )

    def on_closed(self, connection: Connection, reason: EdgesplitError | None) -> None:
        """Nothing to clean up."""

    def on_frame(self, connection: Connection, frame: Frame) -> None:
        header = frame.header
        if not isinstance(header, Infer):
            return
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

        def answer() -> None:
            self.in_flight -= 1
            try:
                outputs, epoch = self.compute(unpack_tensors(header.tensors, frame.payloads))
            except EdgesplitError as error:
                connection.send(Failure(id=header.id, code=error.code, message=str(error)))
                return
            heads, payloads = pack_tensors([(name, array, "raw") for name, array in outputs.items()])
            connection.send(Result(id=header.id, epoch=epoch, tensors=heads), payloads)

        # Held answers prove that so many requests are in flight at once, without a clock.
        self._held.append(answer)
        if len(self._held) >= self.hold_until:
            held, self._held = self._held, []
            for release in held:
                release()
