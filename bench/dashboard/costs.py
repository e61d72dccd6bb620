"""What an open page costs: its first paint, its bytes, processor time of browser and controller, time of an interaction.

Owns: measuring. Its rule: processor time where a share is judged, since wall time is also other programs'; wall time is told beside it and
is an upper bound. Not here: which pages, and what is aimed at (`__main__.py`).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from playwright.sync_api import Browser, Page, Request

from bench.dashboard.chromium import PAGES, READY, View, address_of, view
from bench.process_figures import processor_s

__all__ = ["Interaction", "first_paint_s", "idle_shares", "interactions", "opening_s", "transferred_bytes"]

_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
_NEXT_FRAME = "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"


@dataclass(frozen=True)
class Interaction:
    """Something that people do on a page.

    Attributes:
        wall_s: Until the frame after it was drawn, median. [s]
        processor_s: Of the page's main thread for it, median. [s]
    """

    name: str
    wall_s: float
    processor_s: float


def first_paint_s(browser: Browser, base: str, times: int = 5) -> list[float]:
    """From asking to the first content, each time with an empty cache. [s]"""
    found = []
    for _ in range(times):
        with view(browser) as opened:
            opened.page.goto(base)
            opened.page.locator(READY["fleet"]).first.wait_for()
            found.append(opened.page.evaluate(_PAINT) / 1000)
    return found


def transferred_bytes(browser: Browser, base: str, model: str, node: str) -> tuple[int, int]:
    """Of files, compressed as they came, workers' among them: of the fleet's page, and of all pages one after another. [B]"""
    with view(browser) as opened:
        loaded: list[Request] = []
        opened.page.on("requestfinished", lambda request: loaded.append(request))  # noqa: PLW0108  Playwright marks handlers
        first = 0
        for name in PAGES:
            opened.open(base, name, model=model, node=node)
            first = first or _files_bytes(loaded)
        return first, _files_bytes(loaded)


def _files_bytes(loaded: Sequence[Request]) -> int:
    return sum(request.sizes()["responseBodySize"] for request in loaded if "/api/" not in request.url)


def idle_shares(
    browser: Browser, base: str, name: str, *, model: str, node: str, controller: int, settle_s: float, seconds: float
) -> tuple[float, float, float]:
    """Shares of a core while a page is open and nobody touches it: of the browser, of the controller, and of it without a page. [1]"""
    alone = _share(lambda: processor_s(controller), seconds)
    with view(browser) as opened:
        opened.open(base, name, model=model, node=node)
        time.sleep(settle_s)
        begun = time.monotonic(), _browser_s(browser), processor_s(controller)
        time.sleep(seconds)
        passed_s = time.monotonic() - begun[0]
        shares = (_browser_s(browser) - begun[1]) / passed_s, (processor_s(controller) - begun[2]) / passed_s
    return (*shares, alone)


def interactions(
    opened: View, acts: Sequence[tuple[str, Callable[[Page], object]]], times: int = 5
) -> list[Interaction]:
    """Each of these several times, in turn."""
    page = opened.page
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def main_thread_s() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(float(row["value"]) for row in metrics if row["name"] == "TaskDuration")

    walls: dict[str, list[float]] = {name: [] for name, _ in acts}
    used: dict[str, list[float]] = {name: [] for name, _ in acts}
    for _ in range(times):
        for name, act in acts:
            begun = time.perf_counter(), main_thread_s()
            act(page)
            page.evaluate(_NEXT_FRAME)
            walls[name].append(time.perf_counter() - begun[0])
            used[name].append(main_thread_s() - begun[1])
    return [Interaction(name, statistics.median(walls[name]), statistics.median(used[name])) for name in walls]


def opening_s(opened: View, base: str, name: str, *, model: str, node: str) -> float:
    """From asking for a page until it shows what it is for. [s]"""
    begun_s = time.perf_counter()
    opened.page.goto(address_of(base, name, model=model, node=node))
    opened.page.locator(READY[name]).first.wait_for()
    return time.perf_counter() - begun_s


def _share(used_s: Callable[[], float], seconds: float) -> float:
    begun = time.monotonic(), used_s()
    time.sleep(seconds)
    return (used_s() - begun[1]) / (time.monotonic() - begun[0])


def _browser_s(browser: Browser) -> float:
    """Processor time of all its processes so far. [s]"""
    session = browser.new_browser_cdp_session()
    try:
        return sum(float(row["cpuTime"]) for row in session.send("SystemInfo.getProcessInfo")["processInfo"])
    finally:
        session.detach()
