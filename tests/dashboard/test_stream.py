"""The stream of the dashboard: whole documents when they changed, events in order, and nothing for nobody."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from edgesplit.operations.plan_operations import DeployModel
from edgesplit_controller.dashboard import stream as stream_module
from edgesplit_controller.dashboard.stream import Stream
from edgesplit_controller.dashboard.stream_documents import Made
from edgesplit_controller.event_log import EventLog
from tests.controller.fleet import BAD_LINK, Fleet
from tests.controller.tiny_models import convolutions
from tests.dashboard.browser import Browser, Messages, base_of
from tests.waiting import until

DOCUMENTS = ("fleet", "activity", "status", "models")


async def test_whoever_comes_is_told_all_once_and_then_what_changed(watched: Fleet) -> None:
    async with Browser(base_of(watched)) as page, page.listening() as messages:
        assert messages.response.content_type == "text/event-stream"
        kind, said = await messages.next()
        assert (kind, len(said["controller_instance"])) == ("serving", 16)
        first = await messages.until(*DOCUMENTS)
        assert [node["name"] for node in first["fleet"]["nodes"]] == ["cloud", "device", "edge"]
        assert len(first["fleet"]["links"]) == 6
        assert (first["models"], first["status"]["ok"]) == ([], True)
        await watched.client.add("tiny", convolutions())
        await watched.client.ask(DeployModel(name="tiny", source="device"))
        while True:
            _, models = await messages.next("models")
            if models and models[0]["serving"]:
                break
        assert (models[0]["name"], models[0]["source"], models[0]["deployed"]) == ("tiny", "device", True)
        assert models[0]["planned_unix_s"] > time.time() - 60
        watched.agents["device"].peers["edge"] = BAD_LINK
        watched.agents["device"].publish_links()
        while True:
            _, fleet = await messages.next("fleet")
            (link,) = (row for row in fleet["links"] if (row["from"], row["to"]) == ("device", "edge"))
            if link["bandwidth_bytes_per_s"] == BAD_LINK[0]:
                break


class Documents:
    """What a stream tells, as the test has it; counts how often it was asked."""

    every_s = 0.01

    def __init__(self) -> None:
        self.made = 0
        self.fleet = b"1"
        self.fails = False

    async def all(self) -> dict[str, Made]:
        self.made += 1
        if self.fails:
            raise ValueError("a defect")
        return {"fleet": Made(self.fleet, self.fleet), "models": Made(b"[]", b"[]")}


class Streaming:
    """A stream behind a server of its own."""

    def __init__(self) -> None:
        self.documents = Documents()
        self.events = EventLog(None, lambda _event: None)
        self.stream = Stream(self.documents, self.events, "one", time.monotonic)
        self.trusted = True
        self.base = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        return await self.stream.serve(request, lambda: self.trusted)

    @contextlib.asynccontextmanager
    async def listening(self, **headers: str) -> AsyncIterator[Messages]:
        async with Browser(self.base) as page, page.listening(**headers) as messages:
            yield messages


@pytest.fixture
async def streaming() -> AsyncIterator[Streaming]:
    made = Streaming()
    application = web.Application()
    application.router.add_get("/api/stream", made.answer)
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await made.stream.close()
    await runner.cleanup()


async def test_nothing_is_made_while_nobody_listens(streaming: Streaming) -> None:
    documents, stream = streaming.documents, streaming.stream
    await asyncio.sleep(0.1)
    assert (documents.made, streaming.events.watchers) == (0, [])
    async with streaming.listening() as messages:
        await messages.until("fleet", "models")
    await until(lambda: not len(stream))
    await until(lambda: not streaming.events.watchers)
    made = documents.made
    await asyncio.sleep(0.1)
    assert documents.made == made
    async with streaming.listening() as messages:  # and it begins anew
        await messages.until("fleet", "models")


async def test_what_did_not_change_is_not_told_again_and_documents_are_made_once_for_all(streaming: Streaming) -> None:
    documents = streaming.documents
    async with contextlib.AsyncExitStack() as stack:
        pages = [await stack.enter_async_context(streaming.listening()) for _ in range(3)]
        for page in pages:
            await page.until("serving", "fleet", "models")
        made = documents.made
        await until(lambda: documents.made > made + 5)
        documents.fleet = b"2"
        for page in pages:
            assert await page.next() == ("fleet", 2)


async def test_a_page_that_comes_back_goes_on_where_it_was(streaming: Streaming) -> None:
    for number in range(300):
        streaming.events.add("planned", f"event {number}")
    async with streaming.listening() as messages:
        told = [(await messages.next("event"))[1]["text"] for _ in range(200)]
        assert (told[0], told[-1]) == ("event 100", "event 299")
        last = messages.last_id
    streaming.events.add("planned", "meanwhile")
    async with streaming.listening(**{"Last-Event-ID": last}) as messages:
        assert (await messages.next("event"))[1]["text"] == "meanwhile"
        streaming.events.add("planned", "now")
        assert (await messages.next("event"))[1]["text"] == "now"
    for other in ("another.299", "one.", "one.-1", "one.²", "one." + "9" * 5000, "nonsense"):
        async with streaming.listening(**{"Last-Event-ID": other.encode("ascii", "replace").decode()}) as messages:
            assert (await messages.next("event"))[1]["text"] == "event 102"


async def test_one_who_reads_nothing_holds_nobody_up_and_is_cut_off(
    streaming: Streaming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "STALL_S", 0.5)
    documents, stream = streaming.documents, streaming.stream
    documents.fleet = b'"' + b"x" * (4 << 20) + b'"'
    port = int(streaming.base.rpartition(":")[2])
    _reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await until(lambda: len(stream) == 1)
    await until(lambda: documents.made > 2)
    documents.fleet = b'"' + b"y" * (8 << 20) + b'"'
    await until(lambda: len(stream) == 0)
    await until(lambda: not streaming.events.watchers)
    writer.close()
    documents.fleet = b"3"
    async with streaming.listening() as messages:
        assert await messages.next("fleet") == ("fleet", 3)


async def test_pages_are_bounded_in_number_and_the_rest_is_told_so(
    streaming: Streaming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "MOST_LISTENERS", 2)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(streaming.listening())
        async with aiohttp.ClientSession() as session, session.get(f"{streaming.base}/api/stream") as response:
            assert response.status == 503
            assert (await response.json())["error"]["code"] == "overloaded"


async def test_whoever_may_not_be_told_any_more_is_told_no_more(streaming: Streaming) -> None:
    async with streaming.listening() as messages:
        await messages.until("fleet")
        streaming.trusted = False
        streaming.stream.look_again()
        with pytest.raises(asyncio.IncompleteReadError):
            while True:
                await messages.next()


async def test_a_defect_in_a_document_ends_no_stream(streaming: Streaming) -> None:
    documents = streaming.documents
    documents.fails = True
    async with streaming.listening() as messages:
        await messages.until("serving")
        await until(lambda: documents.made > 3)
        documents.fails = False
        assert (await messages.until("fleet"))["fleet"] == 1


async def test_a_controller_that_ends_lets_pages_go_and_the_next_one_says_that_it_is_another(watched: Fleet) -> None:
    seen: list[Any] = []
    for _ in range(2):
        async with Browser(base_of(watched)) as page, page.listening() as messages:
            seen.append((await messages.until("serving"))["serving"]["controller_instance"])
            await watched.stop_controller()
            with pytest.raises(asyncio.IncompleteReadError):
                while True:
                    await messages.next()
            await watched.start_controller()
    assert seen[0] != seen[1]
