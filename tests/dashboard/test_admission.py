"""Who is let into the dashboard: sessions of a secured fleet, and requests that other web pages have a browser send."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from edgesplit.errors import InvalidConfiguration, NotTrusted, Overloaded
from edgesplit.operations.event_operations import ListEvents
from edgesplit.operations.fleet_operations import ListNodes
from edgesplit.operations.inspection.dashboard_operation import OpenDashboard
from edgesplit.operations.inspection.status_operations import ShowStatus
from edgesplit.trust.subjects import Subject
from edgesplit_controller.dashboard.browser_admission import HEADERS
from edgesplit_controller.dashboard.dashboard_sessions import (
    MOST_SESSIONS,
    MOST_TICKETS,
    SESSION_S,
    TICKET_S,
    DashboardSessions,
)
from edgesplit_controller.storage.saved_sessions import SavedSessions
from tests.controller.fleet import Fleet
from tests.dashboard.browser import MARK, Browser, base_of
from tests.dashboard.secured_dashboard import ANN, SecuredDashboard


@pytest.fixture
async def secured(tmp_path: Path, watched: Fleet) -> AsyncIterator[SecuredDashboard]:
    async with SecuredDashboard(tmp_path / "secured", watched, "127.0.0.1:0").serving("127.0.0.1") as running:
        yield running


class Clock:
    """Seconds, as the test has them."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_ticket_opens_one_session_within_a_minute_and_a_session_ends() -> None:
    clock, trusted = Clock(), {ANN}
    sessions = DashboardSessions(clock, trusted.__contains__)
    ticket = sessions.give_ticket(ANN).text
    token, session = sessions.open(ticket)
    assert sessions.of(token) == session
    for worthless in (ticket, token, "", "\ud800", "x" * 100_000):
        with pytest.raises(NotTrusted, match="run splitctl dashboard again"):
            sessions.open(worthless)
    late = sessions.give_ticket(ANN).text
    clock.now_s = TICKET_S
    with pytest.raises(NotTrusted):
        sessions.open(late)
    clock.now_s = SESSION_S - 1
    assert sessions.of(token) is not None
    trusted.clear()
    assert sessions.of(token) is None
    trusted.add(ANN)
    clock.now_s = SESSION_S
    assert sessions.of(token) is None


def test_sessions_outlive_the_controller_but_not_their_time_nor_their_operator() -> None:
    clock, trusted = Clock(), {ANN}
    clock.now_s = 1e9
    saved: list[SavedSessions] = []
    sessions = DashboardSessions(clock, trusted.__contains__, save=saved.append)
    token, session = sessions.open(sessions.give_ticket(ANN).text)
    assert token not in repr(saved)

    def again() -> DashboardSessions:
        return DashboardSessions(clock, trusted.__contains__, remembered=saved[-1], save=saved.append)

    assert (again().of(token), again().cookie) == (session, sessions.cookie)
    clock.now_s -= 60
    assert again().of(token) is None  # it would hold for longer than one that begins now
    clock.now_s += 60 + SESSION_S
    assert again().of(token) is None
    clock.now_s -= SESSION_S
    # Revoked, and let in again under the same name: whoever holds the cookie of before is not.
    trusted.clear()
    sessions.end_untrusted()
    trusted.add(ANN)
    assert (sessions.of(token), again().of(token), saved[-1].sessions) == (None, None, ())


def test_signing_out_is_remembered_too() -> None:
    saved: list[SavedSessions] = []
    sessions = DashboardSessions(Clock(), lambda _: True, save=saved.append)
    _, session = sessions.open(sessions.give_ticket(ANN).text)
    sessions.end(session)
    sessions.end(session)
    assert [len(entry.sessions) for entry in saved] == [1, 0]


def test_tickets_and_sessions_are_bounded_in_number() -> None:
    sessions = DashboardSessions(Clock(), lambda _: True)
    for _ in range(MOST_TICKETS):
        sessions.give_ticket(ANN)
    with pytest.raises(Overloaded):
        sessions.give_ticket(ANN)
    sessions = DashboardSessions(Clock(), lambda _: True)
    tokens = [sessions.open(sessions.give_ticket(ANN).text)[0] for _ in range(MOST_SESSIONS + 1)]
    assert (sessions.of(tokens[0]), sessions.of(tokens[1]) is not None) == (None, True)


async def test_without_a_session_nobody_is_told_anything(secured: SecuredDashboard) -> None:
    async with Browser(secured.server.base) as page:
        for path in (
            "/api/session",
            "/api/stream",
            "/api/models/m/graph",
            "/api/history/nodes/device",
            "/api/history/models/m",
        ):
            status, document = await page.get(path)
            assert (status, document["error"]["code"]) == (401, "not-trusted"), path
        async with page.session.post(
            f"{page.base}/api/operations", data=b'{"op":"list-nodes"}', headers=MARK
        ) as answer:
            assert answer.status == 401
        async with page.session.put(f"{page.base}/api/uploads/{'0' * 64}", data=b"x") as answer:
            assert answer.status == 401
        assert await page.sign_in("guessed") == 401
    assert secured.asked == []
    assert secured.server.refused["dashboard-wrong-ticket"] == 1
    with pytest.raises(NotTrusted, match="splitctl login"):
        secured.server.open(None)


async def test_an_operator_signs_in_asks_under_their_name_and_signs_out(secured: SecuredDashboard) -> None:
    ticket = secured.server.open(ANN).ticket
    async with Browser(secured.server.base) as page, Browser(secured.server.base) as thief:
        assert await page.sign_in(ticket) == 200
        assert await thief.sign_in(ticket) == 401  # a ticket that was seen over somebody's shoulder
        (cookie,) = page.session.cookie_jar
        assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "Strict", "")
        _, who = await page.get("/api/session")
        assert (who["secured"], who["operator"], who["may_change"]) == (True, "ann", True)
        replies = await page.ask(ListNodes())
        assert (replies[-1]["kind"], secured.asked) == ("result", [("ListNodes", ANN)])
        content = b"a model"
        digest = hashlib.sha256(content).hexdigest()
        async with page.session.put(f"{page.base}/api/uploads/{digest}", data=content) as answer:
            assert answer.status == 201
        async with page.session.delete(f"{page.base}/api/session", headers=MARK) as answer:
            assert answer.status == 204
        assert (await page.get("/api/session"))[0] == 401


async def test_a_revoked_operator_s_pages_end_at_once(secured: SecuredDashboard) -> None:
    async with Browser(secured.server.base) as page:
        await page.sign_in(secured.server.open(ANN).ticket)
        waiting = secured.server.open(ANN).ticket
        async with page.listening() as messages:
            await messages.until("serving")
            await secured.trust.revoke(ANN)
            with pytest.raises(asyncio.IncompleteReadError):
                while True:
                    await messages.next()
        assert (await page.get("/api/session"))[0] == 401
        assert await page.sign_in(waiting) == 401


async def test_beyond_loopback_it_speaks_tls_with_the_fleet_s_certificate(tmp_path: Path, watched: Fleet) -> None:
    made = SecuredDashboard(tmp_path / "secured", watched, "0.0.0.0:0", "dash.example:443")
    async with made.serving("127.0.0.1") as running:
        port = running.server.listens.port
        context = ssl.create_default_context(cafile=str(tmp_path / "secured" / "trust" / "authority.pem"))
        context.check_hostname = False
        ticket = running.server.open(ANN)
        assert (ticket.url, ticket.local) == ("https://dash.example:443", False)
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector, base_url=f"https://127.0.0.1:{port}") as session:
            body = msgspec.json.encode({"ticket": ticket.ticket})
            origin = {**MARK, "Host": "dash.example", "Origin": "https://dash.example"}
            async with session.post("/api/session", data=body, headers=origin) as answer:
                assert answer.status == 200
                assert answer.cookies[next(iter(answer.cookies))]["secure"]
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"http://127.0.0.1:{port}/api/session")


async def test_every_answer_keeps_browsers_to_the_page_s_own_origin(watched: Fleet) -> None:
    async with Browser(base_of(watched)) as page:
        for path in ("/", "/static/none.js", "/api/session", "/nowhere", "/api/stream"):
            async with page.session.get(page.base + path) as answer:
                assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, path


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7481", "127.0.0.1.evil.example", "", "10.0.0.1", "[::1", "::1:1:x"]
)
async def test_names_that_the_dashboard_is_not_known_by_are_refused(watched: Fleet, host: str) -> None:
    async with Browser(base_of(watched)) as page:
        status, document = await page.get("/api/session", Host=host)
        assert (status, document["error"]["code"]) == (403, "not-trusted")


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"])
async def test_a_tunnel_may_end_at_any_port(watched: Fleet, host: str) -> None:
    async with Browser(base_of(watched)) as page:
        assert (await page.get("/api/session", Host=host))[0] == 200


async def test_what_another_page_has_a_browser_send_is_refused(watched: Fleet) -> None:
    own = base_of(watched)
    operation = msgspec.json.encode(ListEvents())
    foreign: list[dict[str, str]] = [
        {},
        {"X-Edgesplit": "other"},
        {**MARK, "Origin": "http://evil.example"},
        {**MARK, "Origin": "null"},
        {**MARK, "Origin": own.replace("http:", "https:")},
        {**MARK, "Origin": "http://localhost:1"},
        {**MARK, "Sec-Fetch-Site": "same-site"},
        {**MARK, "Sec-Fetch-Site": "cross-site"},
    ]
    async with aiohttp.ClientSession() as session:
        for headers in foreign:
            async with session.post(f"{own}/api/operations", data=operation, headers=headers) as answer:
                assert answer.status == 403, headers
            async with session.delete(f"{own}/api/session", headers=headers) as answer:
                assert answer.status == 403, headers
        async with session.put(f"{own}/api/uploads/{'0' * 64}", data=b"", headers={"Origin": "null"}) as answer:
            assert answer.status == 403
        async with session.get(f"{own}/api/stream", headers={"Sec-Fetch-Site": "cross-site"}) as answer:
            assert answer.status == 403
        async with session.options(
            f"{own}/api/operations", headers={**MARK, "Origin": "http://evil.example"}
        ) as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers
        good = {**MARK, "Origin": own, "Sec-Fetch-Site": "same-origin"}
        async with session.post(f"{own}/api/operations", data=operation, headers=good) as answer:
            assert answer.status == 200


async def test_a_fleet_without_an_authority_has_nobody_sign_in(watched: Fleet) -> None:
    document = await watched.client.ask(OpenDashboard())
    assert (document["url"], document["ticket"], document["local"]) == (base_of(watched), "", True)
    async with Browser(document["url"]) as page:
        _, who = await page.get("/api/session")
        assert (who["secured"], who["operator"], who["may_change"]) == (False, None, True)
        assert await page.sign_in("any") == 401


async def test_a_controller_without_a_dashboard_says_so(fleet: Fleet) -> None:
    with pytest.raises(InvalidConfiguration, match=r"set \[dashboard\] listen"):
        await fleet.client.ask(OpenDashboard())


async def test_a_port_that_is_taken_ends_no_controller(tmp_path: Path, watched: Fleet) -> None:
    taken = base_of(watched).rpartition("//")[2]
    other = Fleet(tmp_path / "other", dashboard=taken)
    await other.start()
    try:
        status: Any = await other.client.ask(ShowStatus())
        assert [row["what"] for row in status["problems"]] == [
            f"the controller: the dashboard cannot listen on {taken} (Address already in use)"
        ]
        with pytest.raises(InvalidConfiguration, match="cannot listen"):
            await other.client.ask(OpenDashboard())
    finally:
        await other.stop()


def test_an_operator_of_another_authority_is_trusted_until_their_session_ends(tmp_path: Path, watched: Fleet) -> None:
    made = SecuredDashboard(tmp_path / "secured", watched, "127.0.0.1:0")
    assert made.trust.is_trusted(Subject("operator", "of-an-enterprise"))
    assert made.trust.is_trusted(ANN)
    made.trust.record.revoke(ANN, now_s=time.time())
    assert not made.trust.is_trusted(ANN)
