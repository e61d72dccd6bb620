"""The dashboard of a running secured fleet, from splitctl's ticket to the operator's revocation."""

from __future__ import annotations

import asyncio
from pathlib import Path

from edgesplit.operations.fleet_operations import ListNodes
from edgesplit.operations.trust_operations import GiveJoinToken, RevokeCertificates
from tests.dashboard.browser import Browser
from tests.trust.running_fleet import secured


async def test_an_operator_s_ticket_opens_a_session_that_ends_with_the_operator(tmp_path: Path) -> None:
    with secured(tmp_path) as fleet:
        opened = await asyncio.to_thread(fleet.run, "dashboard")
        assert (opened["local"], bool(opened["ticket"])) == (True, True)
        async with Browser(opened["url"]) as page:
            assert (await page.get("/api/session"))[0] == 401
            assert await page.sign_in(opened["ticket"]) == 200
            assert await page.sign_in(opened["ticket"]) == 401
            _, who = await page.get("/api/session")
            assert (who["secured"], who["operator"]) == (True, "ann")
            (*_, reply) = await page.ask(ListNodes())
            assert reply == {"kind": "result", "value": []}
            (*_, reply) = await page.ask(GiveJoinToken(kind="node", name="camera", digest="0" * 64))
            assert (reply["kind"], reply["value"]["name"]) == ("result", "camera")
            events = await asyncio.to_thread(fleet.run, "events")
            asked = [event for event in events if event["kind"] == "operator-asked"]
            assert [(event["data"]["by"], event["data"]["operation"]) for event in asked] == [
                ("ann", "open-dashboard"),
                ("ann", "give-join-token"),
            ]
            (*_, reply) = await page.ask(RevokeCertificates(role="operator", name="ann"))
            assert reply["value"]["name"] == "ann"
            assert (await page.get("/api/session"))[0] == 401
