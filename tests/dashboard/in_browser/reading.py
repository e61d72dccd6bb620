"""What a test asks of an open page: what axe-core finds, where the tabulator goes, whether all of it fits."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from bench.dashboard.chromium import OVERFLOWING

__all__ = ["barriers", "missed_by_the_keyboard", "too_wide"]

LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
MOST_STOPS = 400
REACHABLE = """() => {
  const all = document.querySelectorAll('a[href], button, input, select, textarea, summary, canvas[tabindex="0"], [tabindex="0"]');
  // What can scroll is a stop of the browser's own, and what a closed part hides is none.
  const able = [...all].filter((e) => !e.disabled && e.tabIndex >= 0 && e.checkVisibility({ visibilityProperty: true }));
  window.reachable = new Map(able.map((e, index) => [e, index]));
  return able.map((e) => `${e.tagName.toLowerCase()}.${e.className} ${(e.getAttribute('aria-label') || e.textContent || '').slice(0, 40)}`);
}"""
FOCUSED = """() => {
  const e = document.activeElement;
  const style = getComputedStyle(e);
  const seen = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
  return { index: window.reachable.get(e) ?? -1, seen: seen || style.boxShadow !== 'none', body: e === document.body };
}"""


def barriers(page: Page) -> list[str]:
    """What axe-core finds against WCAG 2.1 A and AA, contrast among it."""
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": LEVELS}, "resultTypes": ["violations"]})
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
    met: set[int] = set()
    unseen: set[int] = set()
    rounds = 0
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        # It begins somewhere on the page, comes to its end, and goes once around.
        rounds += focused["body"]
        if rounds > 1:
            break
        if focused["index"] >= 0:
            met.add(focused["index"])
            if not focused["seen"]:
                unseen.add(focused["index"])
    missed = [f"never reached: {name}" for index, name in enumerate(names) if index not in met]
    return missed + [f"focus is not seen: {names[index]}" for index in sorted(unseen)]
