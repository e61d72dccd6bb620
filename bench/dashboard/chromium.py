"""Debian's Chromium without a window, driven by Playwright: pages opened as people open them, the dashboard's above all.

Owns: starting the browser, and what a page complained about. Its rule: nothing is downloaded; the browser is the distribution's, and one
is enough, since each view has a profile of its own. Not here: who serves the pages (`scene.py`, `fed_server.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, sync_playwright

__all__ = ["BINARY", "OVERFLOWING", "PAGES", "READY", "View", "address_of", "chromium", "view"]

BINARY = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

PAGES = {
    "fleet": "#/",
    "node": "#/node/{node}",
    "model": "#/model/{model}",
    "what-if": "#/model/{model}/what-if",
    "frontier": "#/model/{model}/frontier",
    "trace": "#/model/{model}/trace",
    "live": "#/live/{model}",
    "events": "#/events",
    "operate": "#/operate",
}
"""Pages by name, and the part of the address behind the base."""

READY = {
    "fleet": ".page-fleet :is(.map-node, .site)",
    "node": ".page-node .charts .chart",
    "model": ".page-model .gantt-bar",
    "what-if": ".page-whatif .conditions",
    "frontier": ".page-frontier .curve .point",
    "trace": ".page-trace .gantt-bar",
    "live": ".page-live .charts .chart",
    "events": ".page-events tbody tr",
    "operate": ".page-operate #models tbody tr",
}
"""What is on a page as soon as it shows what it is for, by name of the page.

The page itself is named, since the one before it stays until it is fetched, and has tables and charts too."""

OVERFLOWING = """[...document.querySelectorAll('body *')]
    .filter((e) => e.getBoundingClientRect().width > 0 && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .filter((e) => !e.closest('.scroll, .gantt-scroller, .tabs, .menu-list, .unseen, svg'))
    .map((e) => `${e.tagName}.${e.className}: ${(e.textContent || '').slice(0, 40)}`)"""
"""Elements that are wider than the page, outside of what scrolls by itself."""


@dataclass
class View:
    """A page and what went wrong on it.

    Attributes:
        complaints: Errors on its console, exceptions, and requests that failed.
        transferred_bytes: Of all bodies, as they came over the network. [B]
    """

    page: Page
    complaints: list[str] = field(default_factory=list[str])

    def turn_to(self, base: str, name: str, *, model: str = "", node: str = "") -> None:
        """Open one of PAGES, and wait until it has taken the place of the one before, whatever it shows."""
        self.page.goto(address_of(base, name, model=model, node=node))
        self.page.locator(READY[name].split()[0]).wait_for(state="attached")

    def open(self, base: str, name: str, *, model: str = "", node: str = "", timeout_s: float = 60.0) -> None:
        """Open one of PAGES, and wait until it shows what it is for."""
        self.turn_to(base, name, model=model, node=node)
        self.page.locator(READY[name]).first.wait_for(state="visible", timeout=1000 * timeout_s)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "assert"}:
            self.complaints.append(f"console: {message.text}")

    def _on_failure(self, request: Request) -> None:
        # What a page that is left was still asking for is given up by it, and the stream with it.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"{request.method} {request.url}: {request.failure}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.request.method} {response.url}: {response.status}")

    def listen(self) -> None:
        """Note complaints from now on."""
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        self.page.on("requestfailed", self._on_failure)
        self.page.on("response", self._on_response)


def address_of(base: str, name: str, *, model: str = "", node: str = "") -> str:
    """Of one of PAGES."""
    return f"{base}/{PAGES[name].format(model=quote(model, safe=''), node=quote(node, safe=''))}"


@contextmanager
def chromium() -> Generator[Browser]:
    """A browser; BINARY must not be None."""
    assert BINARY is not None
    # Containers have no sandbox for a browser of root, and little memory at /dev/shm.
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BINARY, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def view(
    browser: Browser,
    width: int = 1280,
    *,
    scheme: Literal["light", "dark"] = "light",
    motion: Literal["reduce", "no-preference"] = "no-preference",
    height: int = 800,
    mobile: bool = False,
) -> Generator[View]:
    """A tab with a profile of its own; `mobile`: as on a phone, which heeds what a page says of its width."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        reduced_motion=motion,
        locale="en-GB",
        is_mobile=mobile,
    )
    try:
        shown = View(context.new_page())
        shown.listen()
        yield shown
    finally:
        context.close()
