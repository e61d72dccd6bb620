"""What a test asks of an open page: what axe-core finds, where the tabulator goes, whether all of it fits."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from bench.dashboard.chromium import OVERFLOWING
from tests.waiting import blocking_until

__all__ = ["barriers", "missed_by_the_keyboard", "too_wide", "walk_the_network"]

LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
SPARE_STOPS = 20
REACHABLE = """() => {
  const all = document.querySelectorAll('a[href], button, input, select, textarea, summary, canvas[tabindex="0"], [tabindex="0"]');
  // What can scroll is a stop of the browser's own, and what a closed part hides is none.
  const able = [...all].filter((e) => !e.disabled && e.tabIndex >= 0 && e.checkVisibility({ visibilityProperty: true }));
  window.reachable = new Map(able.map((e, index) => [e, index]));
  return able.map((e) => `${e.tagName.toLowerCase()}.${e.className} ${(e.getAttribute('aria-label') || e.textContent || '').slice(0, 40)}`);
}"""
FOLLOW = """() => {
  window.stops = [];
  addEventListener('focusin', ({ target }) => {
    const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(target);
    const seen = (outlineStyle !== 'none' && parseFloat(outlineWidth) > 0) || boxShadow !== 'none';
    window.stops.push({ index: window.reachable.get(target) ?? -1, seen });
  }, { signal: (window.following = new AbortController()).signal });
}"""
FOLLOWED = "() => { window.following.abort(); return window.stops; }"


def barriers(page: Page, *, contrast_alone: bool = False) -> list[str]:
    """What axe-core finds against WCAG 2.1 A and AA, or only what has too little contrast."""
    chosen = {"type": "rule", "values": ["color-contrast"]} if contrast_alone else {"type": "tag", "values": LEVELS}
    found = Axe().run(page, options={"runOnly": chosen, "resultTypes": ["violations"]})
    return [
        f"{rule['id']}: {node['html'][:160]} ({node.get('failureSummary', '')[:200]})"
        for rule in found.response["violations"]
        for node in rule["nodes"]
    ]


def too_wide(page: Page) -> list[str]:
    """What is wider than the page, but for tables and tabs that scroll by themselves."""
    wider: list[str] = page.evaluate(OVERFLOWING)
    whole = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wider if whole <= 0 else [*wider, f"the page scrolls by {whole} pixels"]


def missed_by_the_keyboard(page: Page) -> list[str]:
    """Controls that Tab never reaches, or on which nobody sees where they are."""
    names: list[str] = page.evaluate(REACHABLE)
    page.evaluate(FOLLOW)
    # Once around, wherever it begins; what scrolls and the page itself are further stops.
    for _ in range(len(names) + SPARE_STOPS):
        page.keyboard.press("Tab")
    stops: list[dict[str, Any]] = page.evaluate(FOLLOWED)
    met = {stop["index"] for stop in stops}
    missed = [f"never reached: {name}" for index, name in enumerate(names) if index not in met]
    unseen = sorted({stop["index"] for stop in stops if stop["index"] >= 0 and not stop["seen"]})
    return missed + [f"focus is not seen: {names[index]}" for index in unseen]


def walk_the_network(page: Page) -> None:
    """Come to something of the network by arrow keys, which is said as soon as the network is laid out."""
    page.locator(".graph-picture canvas").focus()

    def walked() -> bool:
        page.keyboard.press("ArrowRight")
        return page.locator(".graph-card").is_visible()

    blocking_until(walked, "a card of what the arrow keys came to")
