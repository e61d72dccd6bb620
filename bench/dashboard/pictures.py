"""Pictures of the dashboard's pages, as they are on the demo's fleet.

Owns: which, and where they are written. Its rule: nothing is retouched; what is seen is what the page showed. Not here: the fleet (`scene.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser

from bench.dashboard.chromium import PAGES, view
from bench.dashboard.scene import Scene

__all__ = ["picture_all", "picture_for_readme"]

WIDTHS = (380, 1280, 1920)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SETTLED_MS = 1500
COLOURS = 128
"""Of README's pictures, which are flat areas and text."""
README_WIDTH, README_HEIGHT = 1180, 568
FLOWS_WITHIN_MS = 120_000


def picture_all(browser: Browser, running: Scene, folder: Path) -> None:
    """Every page at every width, light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    for scheme in SCHEMES:
        for width in WIDTHS:
            with view(browser, width, scheme=scheme, height=900) as opened:
                for name in PAGES:
                    opened.open(running.base, name, model=running.model, node=running.node)
                    opened.page.wait_for_timeout(SETTLED_MS)
                    opened.page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)


def picture_for_readme(browser: Browser, running: Scene, folder: Path) -> None:
    """The fleet's map while tensors flow, light and dark."""
    for scheme in SCHEMES:
        with view(browser, README_WIDTH, scheme=scheme, height=README_HEIGHT) as opened:
            opened.open(running.base, "fleet")
            opened.page.locator(".stream i").first.wait_for(timeout=FLOWS_WITHIN_MS)
            opened.page.wait_for_timeout(SETTLED_MS)
            path = folder / ("dashboard.png" if scheme == "light" else "dashboard-dark.png")
            opened.page.screenshot(path=path)
            with Image.open(path) as picture:
                flat = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
            flat.save(path, optimize=True)
