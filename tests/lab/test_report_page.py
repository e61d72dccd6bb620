"""The report's page as a reader has it: opened in headless Chromium, on a phone and a desktop, in light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.reporting.report import write_report
from lab.results import write_results
from tests.lab.chromium import BINARY, opened
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


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_the_page_is_whole_at_this_width_and_in_this_scheme(page: Path, width: int, *, dark: bool) -> None:
    async with opened() as tab:
        await tab.load(page, width, dark=dark)
        assert tab.complaints == []
        assert await tab.ask("document.documentElement.scrollWidth") == width
        assert await tab.ask(TOO_WIDE) == []
        assert await tab.ask(f"{SHOWN_SVG}.length") == await tab.ask("document.querySelectorAll('.panel').length") > 20
        assert await tab.ask("[...document.images].filter(e => !e.complete || !e.naturalWidth).length") == 0
        assert min(await tab.ask(LABELS_PX)) >= SMALLEST_LABEL_PX
        ground = await tab.ask("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(20, 23, 27)" if dark else "rgb(253, 253, 252)")
        drawn = await tab.ask(f"getComputedStyle({SHOWN_SVG}[0].querySelector('path')).fill")
        assert drawn == ground


async def test_links_lead_somewhere_on_the_page(page: Path) -> None:
    async with opened() as tab:
        await tab.load(page, 1280, dark=False)
        dead = "[...document.querySelectorAll('a[href^=\"#\"]')].map(e => e.getAttribute('href')).filter(h => !document.querySelector(h))"
        assert await tab.ask(dead) == []
        doubled = "(ids => ids.filter((id, n) => ids.indexOf(id) !== n))([...document.querySelectorAll('[id]')].map(e => e.id))"
        assert await tab.ask(doubled) == []
        assert await tab.ask("document.querySelectorAll('a[download^=\"cells.csv\"]').length") == 1
