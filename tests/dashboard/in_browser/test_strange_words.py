"""Names and sentences that strangers can set: markup stays text, and words of any length break no page."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, expect

from bench.dashboard.chromium import PAGES, view
from bench.dashboard.fed_documents import MODEL, fed_documents, renamed
from bench.dashboard.fed_server import fed_server
from tests.dashboard.in_browser.reading import assert_fits

WITHIN_MS = 60_000


def hostile(name: str) -> str:
    return f'<img src=x onerror="window.owned=1"><script>window.owned=1</script>&lt;{name}\'"><b>'


def german(name: str) -> str:
    return f"Geschwindigkeitsbegrenzungseinrichtungsüberwachung{hashlib.sha256(name.encode()).hexdigest()[:4]}"


@pytest.mark.parametrize("rename", [hostile, german], ids=["markup", "long words"])
@pytest.mark.parametrize("width", [380, 1280])
def test_every_page_takes_any_name_as_text_and_fits(
    browser: Browser, width: int, rename: Callable[[str], str]
) -> None:
    with fed_server(renamed(fed_documents(), rename)) as base, view(browser, width) as opened:
        for name in PAGES:
            opened.open(base, name, model=rename(MODEL), node=rename("edge"))
            page = opened.page
            expect(page.locator("main")).to_contain_text(rename("edge" if name == "node" else MODEL)[:40])
            if name == "model":
                page.get_by_role("button", name="Explain this plan").click()
                expect(page.locator(".why li").first).to_be_visible(timeout=WITHIN_MS)
                page.locator(".graph-picture canvas").focus()
                page.keyboard.press("ArrowRight")
                expect(page.locator(".graph-card")).to_be_visible()
            for summary in page.locator("main details:not([open]) > summary:visible").all():
                summary.click()
            assert page.locator("main img, main script, main b:has(b)").count() == 0
            assert_fits(page, width)
        assert opened.page.evaluate("window.owned") is None
        assert opened.complaints == []


@pytest.mark.parametrize("name", list(PAGES))
def test_a_page_says_what_is_missing_of_what_it_asked(browser: Browser, name: str) -> None:
    base_documents = fed_documents()
    with fed_server(base_documents) as base, view(browser) as opened:
        refuse = {"status": 502, "body": "the way is cut", "content_type": "text/plain"}
        opened.page.route("**/api/operations", lambda route: route.fulfill(**refuse))
        opened.page.route("**/api/models/**", lambda route: route.fulfill(**refuse))
        opened.page.route("**/api/history/**", lambda route: route.fulfill(**refuse))
        opened.page.goto(f"{base}/{PAGES[name].format(model=MODEL, node='edge')}")
        expect(opened.page.locator("h1")).to_have_count(1)
        expect(opened.page.locator(".loading:visible, [aria-busy=true]")).to_have_count(0)
        assert not [said for said in opened.complaints if said.startswith("exception")]
        if name not in {"fleet", "events", "operate"}:
            expect(opened.page.locator(".problem:visible").first).to_be_visible()
