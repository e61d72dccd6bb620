"""Names and sentences that strangers can set: markup stays text, and words of any length break no page."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, expect

from bench.dashboard.chromium import PAGES, view
from bench.dashboard.fed_documents import MODEL, fed_documents, renamed
from bench.dashboard.fed_server import fed_server
from tests.dashboard.in_browser.reading import too_wide, walk_the_network

WITHIN_MS = 60_000


def hostile(name: str) -> str:
    return f'<img src=x onerror="window.owned=1"><script>window.owned=1</script>&lt;{name}\'"><b>'


def german(name: str) -> str:
    return f"Geschwindigkeitsbegrenzungseinrichtungsüberwachung{hashlib.sha256(name.encode()).hexdigest()[:4]}"


@pytest.mark.parametrize("rename", [hostile, german], ids=["markup", "long words"])
@pytest.mark.parametrize("width", [380, 1280])
def test_every_page_takes_any_name_as_text_and_fits(browser: Browser, width: int, rename: Callable[[str], str]) -> None:
    with fed_server(renamed(fed_documents(), rename)) as base, view(browser, width) as opened:
        for name in PAGES:
            opened.open(base, name, model=rename(MODEL), node=rename("edge"))
            page = opened.page
            expect(page.locator("main")).to_contain_text(rename("edge" if name == "node" else MODEL))
            if name == "model":
                page.get_by_role("button", name="Explain this plan").click()
                expect(page.locator(".why li").first).to_be_visible(timeout=WITHIN_MS)
                walk_the_network(page)
            page.evaluate("document.querySelectorAll('main details').forEach((one) => { one.open = true; })")
            page.locator(".menu summary").click()
            expect(page.locator(".menu-list")).to_contain_text(rename(MODEL))
            assert page.locator("main img, main script, main b:has(b)").count() == 0
            assert too_wide(page) == [], name
        assert opened.page.evaluate("window.owned") is None
        assert opened.complaints == []


def test_pages_say_what_was_not_answered(browser: Browser) -> None:
    with fed_server(fed_documents()) as base, view(browser) as opened:
        for pattern in ("**/api/operations", "**/api/models/**", "**/api/history/**"):
            opened.page.route(pattern, lambda route: route.fulfill(status=502, body="cut", content_type="text/plain"))
        for name in PAGES:
            opened.turn_to(base, name, model=MODEL, node="edge")
            expect(opened.page.locator("h1")).to_have_count(1)
            expect(opened.page.locator(".loading:visible, [aria-busy=true]")).to_have_count(0)
            if name not in {"fleet", "events", "operate"}:
                expect(opened.page.locator(".problem:visible").first).to_be_visible()
        assert [said for said in opened.complaints if said.startswith("exception")] == []
