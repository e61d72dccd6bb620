"""`python -m bench.dashboard`: what the dashboard costs, beside its aims; or its pictures.

Owns: the course and what is printed. Its rule: a figure that misses its aim is printed as one. Not here: measuring (`costs.py`).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import click
from playwright.sync_api import Browser, Page

from bench.dashboard.chromium import BINARY, chromium, view
from bench.dashboard.costs import Interaction, first_paint_s, idle_shares, interactions, opening_s, transferred_bytes
from bench.dashboard.fed_documents import MODEL, large_fleet, large_network
from bench.dashboard.fed_server import fed_server
from bench.dashboard.pictures import picture_all, picture_for_readme
from bench.dashboard.scene import PICTURED_NODES, Scene, scene
from bench.scene import broker
from demo.run import NODES

__all__ = ["main"]

PAINT_AIM_S, TRANSFER_AIM_BYTES, BROWSER_AIM, CONTROLLER_AIM, INTERACTION_AIM_S = 1.0, 500_000, 0.05, 0.005, 0.1
MANY_NODES, MANY_UNITS = 1000, 1852
_TOLD_AFTER_MS, _LAID_OUT_MS = 500, 60_000
"""A layout that takes a while is told of meanwhile."""
_SETTLE_S, _RESTS_AFTER_S = 3.0, 125.0
_IDLE = (
    ("fleet, just opened", "fleet", _SETTLE_S),
    ("fleet, nobody at it", "fleet", _RESTS_AFTER_S),
    ("model", "model", _SETTLE_S),
    ("live", "live", _SETTLE_S),
)
"""What is looked at, its page, and how long nobody touched it before. The map's tensors rest after two minutes."""


@contextmanager
def _running(*, three_nodes: bool) -> Generator[Scene]:
    with (
        tempfile.TemporaryDirectory(prefix="edgesplit-bench-", ignore_cleanup_errors=True) as name,
        broker(Path(name)) as url,
        scene(Path(name), broker=url, nodes=PICTURED_NODES if three_nodes else NODES) as running,
    ):
        yield running


@click.command()
@click.option("--seconds", default=30.0, show_default=True, help="For how long each share of a core is taken.")
@click.option("--pictures", type=click.Path(path_type=Path), help="Write every page at three widths, light and dark.")
@click.option("--readme", type=click.Path(path_type=Path), help="Write the two pictures of README into this folder.")
@click.option("--strict", is_flag=True, help="Exit 1 where an aim is missed.")
def main(seconds: float, pictures: Path | None, readme: Path | None, strict: bool) -> None:
    """Measure the dashboard's page in Chromium, on the demo's fleet and on made-up large ones.

    Example: python -m bench.dashboard --readme docs
    """
    if BINARY is None:
        sys.exit("Chromium is not installed (sh tests/ensure_chromium.sh)")
    with chromium() as browser:
        if pictures is not None or readme is not None:
            with _running(three_nodes=readme is not None) as running:
                if pictures is not None:
                    picture_all(browser, running, pictures)
                if readme is not None:
                    picture_for_readme(browser, running, readme)
            return
        missed = [*_costs(browser, seconds), *_large(browser)]
    for line in missed:
        print(f"MISSED: {line}")
    sys.exit(int(strict and bool(missed)))


def _costs(browser: Browser, seconds: float) -> list[str]:
    missed = []

    def tell(what: str, found: float, aim: float, text: str) -> None:
        print(f"{what}: {text}")
        if found > aim:
            missed.append(f"{what}: {text}")

    with _running(three_nodes=False) as running:
        paints = first_paint_s(browser, running.base)
        middle = statistics.median(paints)
        tell(
            "first paint",
            middle,
            PAINT_AIM_S,
            f"median {middle:.3f} s, at most {max(paints):.3f} s; aim {PAINT_AIM_S} s",
        )
        first, whole = transferred_bytes(browser, running.base, running.model, running.node)
        aim = f"aim {TRANSFER_AIM_BYTES / 1e3:.0f} kB"
        tell(
            "transferred",
            whole,
            TRANSFER_AIM_BYTES,
            f"{first / 1e3:.0f} kB first, {whole / 1e3:.0f} kB for all pages; {aim}",
        )
        for what, name, settle_s in _IDLE:
            of_browser, of_controller, alone = idle_shares(
                browser,
                running.base,
                name,
                model=running.model,
                node=running.node,
                controller=running.fleet.pid("controller"),
                settle_s=settle_s,
                seconds=seconds,
            )
            added = of_controller - alone
            tell(f"{what}, browser", of_browser, BROWSER_AIM, f"{of_browser:.1%} of a core; aim {BROWSER_AIM:.0%}")
            text = f"{added:+.2%} of a core ({of_controller:.2%} with the page, {alone:.2%} without); aim {CONTROLLER_AIM:.1%}"
            tell(f"{what}, controller", added, CONTROLLER_AIM, text)
    return missed


def _large(browser: Browser) -> list[str]:
    """Many nodes and many units."""
    found: list[Interaction] = []
    with fed_server(large_fleet(MANY_NODES)) as base, view(browser) as opened:
        wall_s = opening_s(opened, base, "fleet", model=MODEL, node="edge")
        print(f"{MANY_NODES} nodes: shown after {wall_s:.2f} s")
        found += interactions(
            opened,
            [
                (f"{MANY_NODES} nodes: sort", lambda page: page.locator("thead button", has_text="Load").first.click()),
                (f"{MANY_NODES} nodes: filter", lambda page: page.get_by_label("Filter: Nodes").fill("node-07")),
                (f"{MANY_NODES} nodes: filter ends", lambda page: page.get_by_label("Filter: Nodes").fill("")),
            ],
        )
    with fed_server(large_network(MANY_UNITS)) as base, view(browser) as opened:
        wall_s = opening_s(opened, base, "model", model=MODEL, node="edge")
        opened.page.locator(".graph-picture canvas").focus()
        opened.page.get_by_role("button", name="Open all components").click()
        opened.page.wait_for_timeout(_TOLD_AFTER_MS)
        opened.page.wait_for_function("document.querySelector('.graph-said').textContent === ''", timeout=_LAID_OUT_MS)
        print(f"{MANY_UNITS} units: shown after {wall_s:.2f} s")
        found += interactions(opened, [(f"{MANY_UNITS} units: {name}", act) for name, act in _WALK])
    missed = []
    for row in found:
        text = f"{row.name}: {1e3 * row.processor_s:.0f} ms of the page's thread, {1e3 * row.wall_s:.0f} ms until drawn; aim {1e3 * INTERACTION_AIM_S:.0f} ms"
        print(text)
        if row.processor_s > INTERACTION_AIM_S:
            missed.append(text)
    return missed


def _pressing(key: str) -> Callable[[Page], object]:
    def press(page: Page) -> None:
        page.locator(".graph-picture canvas").focus()
        page.keyboard.press(key)

    return press


_WALK = [
    (name, _pressing(key)) for name, key in (("larger", "+"), ("step", "ArrowRight"), ("next cut", "c"), ("all", "0"))
]

if __name__ == "__main__":
    main()
