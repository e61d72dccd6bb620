"""The report's page as a reader has it: opened in headless Chromium, on a phone and a desktop, in light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from bench.dashboard.chromium import BINARY, chromium, view
from lab.reporting.report import write_report
from lab.results import write_results
from tests.lab.made_up_results import made_up_results

pytestmark = pytest.mark.skipif(BINARY is None, reason="Chromium is not installed")

SMALLEST_LABEL_PX = 8.5
"""Of a figure's text as it is shown."""

TOO_WIDE = """[...document.querySelectorAll('body *')]
    .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1 && !e.closest('.scroll, svg'))
    .map(e => e.tagName + '.' + e.className + ': ' + (e.textContent || '').slice(0, 40))"""
SHOWN_SVG = "[...document.querySelectorAll('svg')].filter(e => e.getBoundingClientRect().width > 0)"
LABELS_PX = (
    f"{SHOWN_SVG}.flatMap(e => [...e.querySelectorAll('text')])"
    ".map(e => parseFloat(getComputedStyle(e).fontSize) * Math.hypot(e.getScreenCTM().a, e.getScreenCTM().b))"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made-up")
    write_results(folder / "results.json", made_up_results(rounds=2))
    return write_report(folder, pictures=False)[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_is_whole_at_this_width_and_in_this_scheme(
    page: Path, browser: Browser, width: int, *, dark: bool
) -> None:
    with view(browser, width, scheme="dark" if dark else "light", mobile=width < 600) as shown:
        tab, asked = shown.page, list[str]()
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(page.resolve().as_uri())
        assert shown.complaints == []
        assert [url[:200] for url in asked if not url.startswith(("file:", "data:"))] == []
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        assert tab.evaluate(TOO_WIDE) == []
        panels = tab.evaluate("document.querySelectorAll('.panel').length")
        assert tab.evaluate(f"{SHOWN_SVG}.length") == panels > 20
        assert tab.evaluate("[...document.images].filter(e => !e.complete || !e.naturalWidth).length") == 0
        assert min(tab.evaluate(LABELS_PX)) >= SMALLEST_LABEL_PX
        ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(20, 23, 27)" if dark else "rgb(253, 253, 252)")
        drawn = tab.evaluate(f"getComputedStyle({SHOWN_SVG}[0].querySelector('path')).fill")
        assert drawn == ground


def test_links_lead_somewhere_on_the_page(page: Path, browser: Browser) -> None:
    with view(browser, 1280) as shown:
        tab = shown.page
        tab.goto(page.resolve().as_uri())
        dead = "[...document.querySelectorAll('a[href^=\"#\"]')].map(e => e.getAttribute('href')).filter(h => !document.querySelector(h))"
        assert tab.evaluate(dead) == []
        doubled = "(ids => ids.filter((id, n) => ids.indexOf(id) !== n))([...document.querySelectorAll('[id]')].map(e => e.id))"
        assert tab.evaluate(doubled) == []
        assert tab.evaluate("document.querySelectorAll('a[download^=\"cells.csv\"]').length") == 1
