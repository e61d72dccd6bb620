"""The dashboard's HTTP interface: the documents of splitctl, and bounds for whoever asks too much."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import msgspec
import pytest

from edgesplit.mqtt.topic import LARGE_BYTES
from edgesplit.operations.fleet_operations import ListLinks, ListNodes
from edgesplit.operations.inspection.graph_operation import ShowGraph
from edgesplit.operations.inspection.status_operations import ShowStatus
from edgesplit.operations.model_operations import AddModel
from edgesplit.operations.plan_operations import DeployModel, ShowPlan
from edgesplit.operations.study_operations import LinkChange, WhatIf
from edgesplit_controller.dashboard import api_answers, operation_route
from edgesplit_controller.dashboard.operation_route import OperationRoute
from edgesplit_controller.dashboard.static_files import StaticFiles
from tests.controller.fleet import Fleet
from tests.controller.tiny_models import convolutions
from tests.dashboard.browser import MARK, Browser, base_of
from tests.waiting import until


async def test_operations_are_answered_as_splitctl_s_are(watched: Fleet) -> None:
    await watched.client.add("tiny", convolutions())
    async with Browser(base_of(watched)) as page:
        replies = await page.ask(DeployModel(name="tiny", source="device"))
        assert replies[0] == {"kind": "progress", "text": "accepted", "fraction": None}
        assert {reply["kind"] for reply in replies[:-1]} == {"progress"}
        assert (replies[-1]["kind"], replies[-1]["value"]["model"]) == ("result", "tiny")
        (*_, reply) = await page.ask(ShowPlan(name="tiny"))
        assert reply["value"].keys() == (await watched.client.ask(ShowPlan(name="tiny"))).keys()
        (*_, reply) = await page.ask(ShowGraph(name="tiny"))
        assert reply == {"kind": "result", "value": await watched.client.ask(ShowGraph(name="tiny"))}
        (*_, reply) = await page.ask(ShowPlan(name="none"))
        assert (reply["kind"], reply["code"], reply["exit_code"]) == ("failure", "unknown-model", 1)
        slow = (LinkChange(from_="device", to="edge", bandwidth_bytes_per_s=1e3),)
        (*_, reply) = await page.ask(WhatIf(name="tiny", links=slow))
        assert reply["kind"] == "result"


async def test_a_model_is_uploaded_and_added_over_it(watched: Fleet) -> None:
    content = convolutions()
    digest = hashlib.sha256(content).hexdigest()
    async with Browser(base_of(watched)) as page:
        async with page.session.put(f"{page.base}/api/uploads/{digest}", data=content + b"x", headers=MARK) as answer:
            assert answer.status == 400
        async with page.session.put(f"{page.base}/api/uploads/{digest}", data=content, headers=MARK) as answer:
            assert answer.status == 201
        (*progress, reply) = await page.ask(AddModel(name="<img src=x onerror=alert(1)>", file=digest))
        assert reply["code"] == "invalid-input"
        (*progress, reply) = await page.ask(AddModel(name="tiny", file=digest))
        assert (reply["kind"], reply["value"]["name"]) == ("result", "tiny")
        assert len(progress) > 1


async def test_a_graph_says_units_and_tensors_and_a_browser_s_copy_is_known(watched: Fleet) -> None:
    await watched.client.add("tiny", convolutions())
    async with Browser(base_of(watched)) as page:
        async with page.session.get(f"{page.base}/api/models/tiny/graph") as answer:
            graph, tag = await answer.json(), answer.headers["ETag"]
        names = [operator for unit in graph["units"] for operator in unit["operators"]]
        assert names == [f"{kind}{number}" for number in range(4) for kind in ("conv", "relu")]
        assert [unit["id"] for unit in graph["units"]] == list(range(len(graph["units"])))
        assert [(edge["from"], edge["to"]) for edge in graph["edges"]] == [
            (number, number + 1) for number in range(len(graph["units"]) - 1)
        ]
        assert (graph["inputs"][0]["units"], graph["outputs"][0]["units"]) == ([0], [len(graph["units"]) - 1])
        async with page.session.get(f"{page.base}/api/models/tiny/graph", headers={"If-None-Match": tag}) as answer:
            assert (answer.status, await answer.read()) == (304, b"")
        await watched.client.ask(DeployModel(name="tiny", source="device"))
        plan = await watched.client.ask(ShowPlan(name="tiny"))
        assert {name for part in plan["components"] for name in part["operators"]} == set(names)
        assert (await page.get("/api/models/none/graph"))[0] == 404


async def test_figures_of_nodes_and_deployments_are_kept(watched: Fleet) -> None:
    await watched.client.add("tiny", convolutions())
    epoch = (await watched.client.ask(DeployModel(name="tiny", source="device")))["epoch"]
    dashboard = watched.service.dashboard
    assert dashboard is not None
    async with Browser(base_of(watched)) as page:
        assert (await page.get("/api/history/nodes/none"))[0] == 404
        assert (await page.get("/api/history/models/none"))[0] == 404
        assert (await page.get("/api/history/other/tiny"))[0] == 404
        dashboard.history.sample()
        status, node = await page.get("/api/history/nodes/device")
        assert (status, node["step_s"], len(node["at_unix_s"])) == (200, 10.0, len(node["series"]["cpu_percent"]))
        assert {"compute_w", "transmit_w", "bandwidth:edge", "latency:cloud"} <= node["series"].keys()
        assert (node["units"]["bandwidth:edge"], node["origin"]["compute_w"]) == ("B/s", "configured")
        status, model = await page.get("/api/history/models/tiny")
        assert (status, model["epochs"][-1]["epoch"], model["origin"]["predicted_latency_s"]) == (
            200,
            epoch,
            "predicted",
        )
        predicted = (await watched.client.ask(ShowPlan(name="tiny")))["latency_s"]
        assert model["series"]["predicted_latency_s"][-1] == pytest.approx(predicted, rel=1e-6)


# --- whoever asks too much -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[" * 100_000, b'{"op":"none"}', b'{"op":"show-plan"}', b"\xff", b'{"op":"what-if","name":1}'],
)
async def test_what_is_no_operation_is_one_sentence(watched: Fleet, body: bytes) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{base_of(watched)}/api/operations", data=body, headers=MARK) as answer,
    ):
        assert answer.status == 400
        assert (await answer.json())["error"]["code"] == "invalid-input"


async def test_giant_and_endless_bodies_are_refused(watched: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_answers, "BODY_S", 0.3)

    async def endless() -> AsyncIterator[bytes]:
        yield b'{"op":'
        await asyncio.sleep(60)

    own = base_of(watched)
    async with aiohttp.ClientSession() as session:
        for path, body, words in (
            ("/api/operations", b" " * (LARGE_BYTES + 1), "at most"),
            ("/api/session", b" " * 5000, "at most"),
            ("/api/operations", endless(), "in time"),
        ):
            async with session.post(own + path, data=body, headers=MARK) as answer:
                assert answer.status == 400
                assert words in (await answer.json())["error"]["message"]


async def test_a_thousand_connections_are_bounded_and_a_page_comes_through(
    watched: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    dashboard = watched.service.dashboard
    assert dashboard is not None
    host, port = dashboard.listens.host, dashboard.listens.port
    silent = [await asyncio.open_connection(host, port) for _ in range(1000)]
    try:
        await until(lambda: dashboard.refused.get("http-connections", 0) > 0)
        await asyncio.sleep(2.1)  # whoever came so lately does not give way
        async with Browser(base_of(watched)) as page:
            assert (await page.get("/api/session"))[0] == 200
        limited = await _metrics(watched)
        assert 'edgesplit_limited_total{kind="http-connections"}' in limited
    finally:
        for _, writer in silent:
            writer.close()


async def _metrics(fleet: Fleet) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{fleet.client.artifacts}/metrics") as answer:
        return await answer.text()


class Slow:
    """Work that the test ends."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.may_end = asyncio.Event()

    async def perform(self, operation: Any, progress: Any, _asker: Any) -> str:
        name = type(operation).__name__
        self.begun.append(name)
        try:
            for number in range(1000):
                progress(f"step {number}", None)
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.ended.append(f"{name} given up")
            raise
        self.ended.append(f"{name} done")
        return "done"


@pytest.fixture
async def slow() -> AsyncIterator[tuple[Slow, str]]:
    work = Slow()
    route = OperationRoute(work.perform)

    async def answer(request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        return await route.answer(request, None)

    application = aiohttp.web.Application()
    application.router.add_post("/api/operations", answer)
    runner = aiohttp.web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
    yield work, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await route.close()
    await runner.cleanup()


async def test_a_page_that_goes_away_ends_what_only_looks_and_nothing_that_changes(slow: tuple[Slow, str]) -> None:
    work, base = slow
    async with aiohttp.ClientSession() as session:
        for operation in (ShowStatus(), DeployModel(name="m", source="n")):
            await session.post(f"{base}/api/operations", data=msgspec.json.encode(operation))
    await until(lambda: work.ended == ["ShowStatus given up"])
    work.may_end.set()
    await until(lambda: len(work.ended) == 2)
    assert work.ended[1] == "DeployModel done"


async def test_operations_under_way_are_bounded_and_progress_is_left_out_rather_than_kept(
    slow: tuple[Slow, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    work, base = slow
    monkeypatch.setattr(operation_route, "MOST_OPERATIONS", 2)
    async with Browser(base) as page:
        asking = [asyncio.create_task(page.ask(operation)) for operation in (ListNodes(), ListLinks())]
        await until(lambda: len(work.begun) == 2)
        async with page.session.post(f"{base}/api/operations", data=msgspec.json.encode(ShowStatus())) as answer:
            assert answer.status == 503
            assert (await answer.json())["error"]["code"] == "overloaded"
        work.may_end.set()
        for replies in await asyncio.gather(*asking):
            assert replies[-1] == {"kind": "result", "value": "done"}
            assert len(replies) <= operation_route.MOST_WAITING + 2


# --- the page's files ------------------------------------------------------------------------------------------------


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[tuple[Path, str]]:
    folder = tmp_path / "static"
    (folder / "js").mkdir(parents=True)
    (tmp_path / "secret.js").write_text("private words")
    (folder / "index.html").write_text("<!doctype html>" + " " * 1000)
    (folder / "js" / "main.js").write_text("let x = 1;\n" * 100)
    (folder / "notes.toml").write_text("private words")
    (folder / ".hidden.js").write_text("private words")
    (folder / "link.js").symlink_to(tmp_path / "secret.js")
    served = StaticFiles(folder)

    async def answer(request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        return await served.send(request, request.match_info["name"])

    application = aiohttp.web.Application()
    application.router.add_get("/static/{name:.+}", answer)
    runner = aiohttp.web.AppRunner(application)
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
    yield folder, f"http://127.0.0.1:{runner.addresses[0][1]}/static/"
    await runner.cleanup()


async def test_files_are_compressed_and_known_again_and_a_changed_one_is_read_again(files: tuple[Path, str]) -> None:
    folder, base = files
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        async with session.get(f"{base}js/main.js", headers={"Accept-Encoding": "gzip"}) as answer:
            packed = await answer.read()
            assert (answer.content_type, answer.headers["Content-Encoding"]) == ("text/javascript", "gzip")
            assert (gzip.decompress(packed), len(packed) < 100) == (b"let x = 1;\n" * 100, True)
            assert answer.headers["Cache-Control"] == "no-cache"
            tag = answer.headers["ETag"]
        async with session.get(f"{base}js/main.js", headers={"Accept-Encoding": "identity"}) as answer:
            assert await answer.read() == b"let x = 1;\n" * 100
        async with session.get(f"{base}js/main.js", headers={"If-None-Match": tag}) as answer:
            assert answer.status == 304
        (folder / "js" / "main.js").write_text("let y = 2;")
        async with session.get(f"{base}js/main.js", headers={"If-None-Match": tag}) as answer:
            assert (answer.status, await answer.read()) == (200, b"let y = 2;")


@pytest.mark.parametrize(
    "name",
    ["none.js", "notes.toml", ".hidden.js", "link.js", "js", "js/", "../secret.js", "%2e%2e/secret.js", "js/%2e%2e/%2e%2e/secret.js",
     "/etc/passwd", "%2fetc%2fpasswd", "main.js%00", "js//main.js", "a" * 5000 + ".js"],
)  # fmt: skip
async def test_nothing_else_is_read(files: tuple[Path, str], name: str) -> None:
    _, base = files
    host, port = base.split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /static/{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert b" 404 " in answer.splitlines()[0] or b" 400 " in answer.splitlines()[0]
    assert b"private words" not in answer
