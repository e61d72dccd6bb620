"""One Chromium for a file of tests; skipped where there is none, or the page's libraries were not brought, which fails CI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from bench.dashboard.chromium import BINARY, chromium

VENDOR = Path(__file__).parents[3] / "controller/edgesplit_controller/dashboard/static/vendor"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Without a window."""
    if BINARY is None:
        pytest.skip("Chromium is not installed")
    if not VENDOR.is_dir():
        pytest.skip("the page's libraries were not brought")
    with chromium() as running:
        yield running
