"""Signing in at a secured fleet's dashboard, in a real browser: the address that splitctl prints opens it, once."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from bench.dashboard.chromium import view
from tests.trust.running_fleet import Secured, secured

WITHIN_MS = 60_000
"""Ends what hangs, and decides nothing else."""
REVOKE = """() => fetch("api/operations", {
  method: "POST", headers: { "X-Edgesplit": "dashboard" }, body: JSON.stringify({ op: "revoke-certificates", role: "operator", name: "ann" })
}).then((answer) => answer.text())"""
NOBODY = "Nobody is signed in here"


def address(fleet: Secured) -> str:
    """What `splitctl dashboard` opens."""
    opened = fleet.run("dashboard")
    return f"{opened['url']}/#ticket={opened['ticket']}"


def heading(page: Page, text: str) -> None:
    expect(page.locator("h1")).to_have_text(text, timeout=WITHIN_MS)


def test_a_ticket_opens_the_page_once_and_the_session_outlives_the_controller(browser: Browser, tmp_path: Path) -> None:
    with secured(tmp_path) as fleet, view(browser) as ann, view(browser) as other:
        url = address(fleet)
        ann.page.goto(url)
        heading(ann.page, "Fleet")
        assert "ticket" not in ann.page.url
        expect(ann.page.locator("#bar")).to_contain_text("ann")
        other.page.goto(url)
        heading(other.page, "Not signed in")
        expect(other.page.locator("main")).to_contain_text("run splitctl dashboard again")
        other.page.goto(url.partition("#")[0])
        heading(other.page, NOBODY)
        assert ann.complaints == []
        fleet.restart_controller()
        ann.complaints.clear()  # that nobody answered meanwhile
        ann.page.reload()
        heading(ann.page, "Fleet")
        expect(ann.page.locator("#bar")).to_contain_text("ann")
        ann.page.get_by_role("button", name="Sign out").click()
        heading(ann.page, NOBODY)
        ann.page.reload()
        heading(ann.page, NOBODY)


def test_an_open_page_of_a_revoked_operator_shows_nothing_more(browser: Browser, tmp_path: Path) -> None:
    with secured(tmp_path) as fleet, view(browser) as ann:
        ann.page.goto(address(fleet))
        heading(ann.page, "Fleet")
        ann.page.evaluate(REVOKE)
        heading(ann.page, NOBODY)
