"""Operations over HTTP: one in the body, its replies in lines as they come.

Owns: the form of the replies (a JSON document a line, those of `splitctl --json`). Its rule: an operation that only looks is given up once
nobody waits for it; one that changes something goes on, as splitctl's do. Not here: what operations do (`answering/dispatch.py`), the replies
themselves (`answering/replies.py`), who may ask (`browser_admission.py`).
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import msgspec
from aiohttp import web

from edgesplit.errors import InvalidInput, Overloaded
from edgesplit.mqtt.topic import LARGE_BYTES
from edgesplit.operations.operation import Operation, Reply
from edgesplit.trust.subjects import Subject
from edgesplit_controller.answering.dispatch import changes_nothing
from edgesplit_controller.answering.replies import Perform, Progress, decoded_operation, last_reply
from edgesplit_controller.dashboard.api_answers import body_of, failed

__all__ = ["OperationRoute"]

MOST_OPERATIONS = 64
"""Under way at a time."""
MOST_WAITING = 64
"""Replies that wait for a slow reader; of progress, what is more is left out."""
STALL_S = 30.0
"""Longest that a reader may take nothing. [s]"""
_HEADERS = {"Content-Type": "application/x-ndjson", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class OperationRoute:
    """Of one dashboard.

    Args:
        perform: Carries out operations.
    """

    def __init__(self, perform: Perform) -> None:
        self._perform = perform
        self._tasks: set[asyncio.Task[Reply]] = set()

    async def answer(self, request: web.Request, asker: Subject | None) -> web.StreamResponse:
        """Carry out what a request asks for.

        Args:
            request: Its body is an operation.
            asker: Who asks; None where nobody has to say.
        """
        try:
            operation = decoded_operation(await body_of(request, LARGE_BYTES))
        except InvalidInput as error:
            return failed(error, HTTPStatus.BAD_REQUEST)
        if len(self._tasks) >= MOST_OPERATIONS:
            text = f"the controller is answering {MOST_OPERATIONS} requests of its dashboard: ask again later"
            return failed(Overloaded(text), HTTPStatus.SERVICE_UNAVAILABLE)
        waiting: asyncio.Queue[Reply] = asyncio.Queue()
        task = asyncio.create_task(self._carried_out(operation, asker, waiting), name="dashboard-operation")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        response = web.StreamResponse(headers=_HEADERS)
        try:
            await response.prepare(request)
            while (reply := await waiting.get()).kind == "progress":
                await _write(response, reply)
            await _write(response, reply)
            await response.write_eof()
        except (TimeoutError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            if changes_nothing(operation):
                task.cancel()
        return response

    async def close(self) -> None:
        """Give up what is being done."""
        running = tuple(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _carried_out(self, operation: Operation, asker: Subject | None, waiting: asyncio.Queue[Reply]) -> Reply:
        def send(reply: Reply) -> None:
            if waiting.qsize() < MOST_WAITING:
                waiting.put_nowait(reply)

        async def work(progress: Progress) -> object:
            return await self._perform(operation, progress, asker)

        try:
            reply = await last_reply("", work, send, "dashboard")
        except asyncio.CancelledError:
            text = "the controller is stopping: ask again once it is back"
            waiting.put_nowait(Reply(id="", kind="failure", text=text, code="controller-stopping", exit_code=4))
            raise
        waiting.put_nowait(reply)
        return reply


async def _write(response: web.StreamResponse, reply: Reply) -> None:
    async with asyncio.timeout(STALL_S):
        await response.write(_line(reply))


def _line(reply: Reply) -> bytes:
    match reply.kind:
        case "progress":
            document: dict[str, object] = {"kind": "progress", "text": reply.text, "fraction": reply.fraction}
        case "result":
            document = {"kind": "result", "value": reply.value}
        case "failure":
            document = {"kind": "failure", "text": reply.text, "code": reply.code, "exit_code": reply.exit_code}
    return msgspec.json.encode(document) + b"\n"
